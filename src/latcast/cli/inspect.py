"""``latcast inspect``: the layers of a model file, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import Console, command, write_text
from ._options import INPUT, FileInputs, read_graph


@command
def inspect(
    console: Console,
    model: Annotated[Path, typer.Argument(help="ONNX file, or .pt2 of torch.export.save.")],
    inputs: FileInputs,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Batch, where the file leaves it open (1 by default) or can change.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", min=0, metavar="N", help="Show the N that do most work; all by default."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="KEY",
            help="Most first: macs, params, weights, traffic, intensity, memory; running order "
            "by default.",
        ),
    ] = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="List fused kernels, not layers.")
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Layers hold memory as if activations ran in place."),
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page, too.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where an operator is not supported.")
    ] = False,
) -> None:
    """List a model's layers with their costs; none of its code runs.

    Example: latcast inspect model.onnx --batch 8 --layers 20 --sort memory
    """
    from latcast.graph.inspection import Inspection

    found = Inspection.of(read_graph(model, batch, inputs), "in-place" if in_place else "none")
    if strict and found.unsupported:
        raise ValueError(f"every operator must be supported (--strict); {found.unsupported_text()}")
    if html is not None:
        write_text(html, found.to_html())
        console.note(f"wrote {html}")
    if sort is not None:
        found = found.sorted_by(sort, layers)
    elif layers is not None:
        found = found.busiest(layers)
    console.show(found, found.tables(by_kernel=kernels))
