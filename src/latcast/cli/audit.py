"""``latcast audit``: what is wrong with a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import Console, command
from ._options import InputFormat, SpaceName, TargetName, read_any_data


@command
def audit(
    console: Console,
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or HELP's .pt.")],
    space: SpaceName = None,
    target: TargetName = None,
    input_format: InputFormat = None,
) -> None:
    """Look for what is wrong with a dataset.

    Example: latcast audit measured.csv --space ofa-mobilenet-v3 --target my-phone/onnxruntime/b1
    """
    from latcast.data.audit_report import AuditReport

    dataset = read_any_data(data, space, target, input_format)
    with console.progress("auditing"):
        report = AuditReport.of(dataset, data.name)
    console.show(report)
