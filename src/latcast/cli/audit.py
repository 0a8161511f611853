"""``latcast audit``: what is wrong with a dataset, or with a folder of public tables."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, UsageError, argument, command, usage
from ._options import DataHints


@command
def audit(
    console: Console,
    *,
    data: Path = argument("Parquet, CSV or HELP's .pt; or a folder of public tables."),
    hints: DataHints,
) -> None:
    """Look for what is wrong with a dataset.

    Example: latcast audit measured.csv --space ofa-mobilenet-v3 --target my-phone/onnxruntime/b1
    """
    from latcast.data.audit_report import AuditReport, TablesAudit
    from latcast.data.public import find_tables

    if data.is_dir():
        if hints != DataHints():
            raise UsageError(
                f"{data} must be a file: space, target, format, unit, columns and quantity are of "
                "one; public tables state theirs"
            )
        with usage():
            find_tables(data)
        with console.progress("auditing"):
            tables = TablesAudit.of(data)
        console.show(tables)
        return
    dataset = hints.read(data)
    with console.progress("auditing"):
        report = AuditReport.of(dataset, data.name)
    console.show(report)
