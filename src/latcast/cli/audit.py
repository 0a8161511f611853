"""``latcast audit``: what is wrong with a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import (
    Debug,
    FormatName,
    Json,
    Quiet,
    SpaceName,
    TargetName,
    fails_cleanly,
    note,
    print_json,
    progress_bar,
    read_any_data,
)

if TYPE_CHECKING:
    from latcast.data import Dataset

FEW = 200


@fails_cleanly
def command(
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or HELP's .pt.")],
    space: SpaceName = None,
    target: TargetName = None,
    format_: FormatName = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look for what is wrong with a dataset.

    Example: latcast audit measured.csv --space ofa-mobilenet-v3 --target my-phone/onnxruntime/b1
    """
    from latcast.data.audit import audit

    dataset = read_any_data(data, space, target, format_)
    with progress_bar("auditing", quiet=quiet):
        findings = audit(dataset)
    if json:
        print_json([asdict(f) for f in findings])
        return
    distinct = len(set(dataset.unique_index().tolist()))
    typer.echo(f"{data.name}: {len(dataset)} rows, {distinct} {_subjects(dataset)}, target "
               f"{dataset.target}")  # fmt: skip
    for finding in findings:
        typer.echo(f"\n{finding.severity.upper()} {finding.kind}: {finding.message}")
        typer.echo(f"  what follows: {finding.consequence}")
        typer.echo(f"  what to do:   {finding.advice}")
    if not findings:
        typer.echo("nothing found")
    if distinct < FEW:
        note(f"note: with {distinct} networks drift and outliers can hardly be told", quiet=quiet)


def _subjects(dataset: Dataset) -> str:
    """What the rows are of."""
    if dataset.space is not None:
        return f"architectures of {dataset.archs.space.name}"
    return f"networks of {len(set(dataset.families))} families"
