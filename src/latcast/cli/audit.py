"""``latcast audit``: what is wrong with a dataset, or with a folder of public tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import Console, UsageError, command, usage
from ._options import InputFormat, SpaceName, TargetName, read_any_data


@command
def audit(
    console: Console,
    data: Annotated[
        Path, typer.Argument(help="Parquet, CSV or HELP's .pt; or a folder of public tables.")
    ],
    space: SpaceName = None,
    target: TargetName = None,
    input_format: InputFormat = None,
) -> None:
    """Look for what is wrong with a dataset.

    Example: latcast audit measured.csv --space ofa-mobilenet-v3 --target my-phone/onnxruntime/b1
    """
    from latcast.data.audit_report import AuditReport, TablesAudit
    from latcast.data.public import find_tables

    if data.is_dir():
        if space or target or input_format:
            raise UsageError(
                f"{data} must be a file: space, target and format are of one; public tables state "
                "theirs"
            )
        with usage():
            find_tables(data)
        with console.progress("auditing"):
            tables = TablesAudit.of(data)
        console.show(tables)
        return
    dataset = read_any_data(data, space, target, input_format)
    with console.progress("auditing"):
        report = AuditReport.of(dataset, data.name)
    console.show(report)
