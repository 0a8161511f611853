"""``latcast inspect``: the layers of a model file, and what they cost."""

from __future__ import annotations

from pathlib import Path

from ._console import OUTPUT, Console, argument, command, option
from ._options import INPUT, FileInputs, Server, read_graph, read_options


@command
def inspect(
    console: Console,
    *,
    model: Path = argument("ONNX file, or .pt2 of torch.export.save."),
    inputs: FileInputs,
    batch: int | None = option(
        "Batch, where the file leaves it open (1 by default) or can change.", panel=INPUT, min=1
    ),
    layers: int | None = option(
        "Show the N that do most work; all by default.", panel=OUTPUT, min=0, metavar="N"
    ),
    sort: str | None = option(
        "Most first: macs, params, weights, traffic, intensity, memory; running order by default.",
        panel=OUTPUT,
        metavar="KEY",
    ),
    kernels: bool = option("List fused kernels, not layers.", False, panel=OUTPUT),
    in_place: bool = option(
        "Layers hold memory as if activations ran in place.", False, panel=INPUT
    ),
    server: Server = None,
    strict: bool = option("Fail where an operator is not supported.", False, panel=INPUT),
) -> None:
    """List a model's layers with their costs; none of its code runs.

    Example: latcast inspect model.onnx --batch 8 --layers 20 --sort memory
    """
    from latcast.graph.inspection import Inspection

    if server is None:
        with console.progress("reading"):
            graph = read_graph(model, batch, inputs)
            found = Inspection.of(graph, "in-place" if in_place else "none")
    else:
        from latcast.serve.client import Client

        asked = read_options(inputs, batch)
        found = Client(server).inspect(
            model, batch=batch, shapes=asked.shapes, batch_axis=asked.batch_axis,
            trip_count=asked.trip_count, in_place=in_place,
        )  # fmt: skip
    if strict and found.unsupported:
        raise ValueError(f"every operator must be supported (--strict); {found.unsupported_text()}")
    whole = found
    if sort is not None:
        found = found.sorted_by(sort, layers)
    elif layers is not None:
        found = found.busiest(layers)
    console.show(found, found.tables(by_kernel=kernels), whole)
