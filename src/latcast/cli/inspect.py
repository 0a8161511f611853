"""``latcast inspect``: the layers of a model file, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latcast.report.text import end_of, shape_text

from ._common import print_table, read_graph
from ._console import Console, command, print_json
from ._options import INPUT, GraphShapes

if TYPE_CHECKING:
    from latcast.graph import Graph, Layer


@command
def inspect(
    console: Console,
    model: Annotated[Path, typer.Argument(help="ONNX file, or .pt2 of torch.export.save.")],
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Batch, where the file leaves it open (1 by default) or can change.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    shape: GraphShapes = None,
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", min=0, metavar="N", help="Show the N that do most work; all by default."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where an operator is not supported.")
    ] = False,
) -> None:
    """List a model's layers with their costs; none of its code runs.

    Example: latcast inspect model.onnx --batch 8 --layers 20
    """
    graph = read_graph(model, batch, shape)
    record = inspection(graph)
    if strict and record["uncosted"]:
        raise ValueError(f"every layer must have a known cost (--strict); {_missed(record)}")
    record["layers"] = _busiest(record["layers"], layers)
    if console.json:
        print_json(record)
    else:
        _print(record)
    if record["uncosted"]:
        console.note(f"note: the cost of some layers is not known: {_missed(record)}")


def inspection(graph: Graph) -> dict[str, Any]:
    """What there is to tell of a network; MACs that nobody knows are None."""
    layers = [_layer(x) for x in graph.layers]
    return {
        "network": graph.name,
        "total": _sums(layers),
        "kinds": [
            {"kind": kind} | _sums([x for x in layers if x["kind"] == kind])
            for kind in dict.fromkeys(x["kind"] for x in layers)
        ],
        "uncosted": [
            {"operator": name, "layers": count, "share": count / len(layers)}
            for name, count in graph.uncosted.items()
        ],
        "layers": layers,
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "operator": layer.operator,
        "kind": layer.kind,
        "in_shapes": layer.in_shapes,
        "out_shapes": layer.out_shapes,
        "macs": layer.macs if layer.is_costed else None,
        "params": layer.params,
        "param_bytes": layer.param_bytes,
        "read_bytes": layer.read_bytes,
        "write_bytes": layer.write_bytes,
        "moved_bytes": _moved_bytes(layer),
    }


def _moved_bytes(layer: Layer) -> int:
    """Activations and constants that go through memory; those of a view stay where they are."""
    if layer.kind == "view":
        return 0
    return layer.read_bytes + layer.write_bytes + layer.param_bytes


def _sums(layers: list[dict[str, Any]]) -> dict[str, int]:
    names = ("macs", "params", "param_bytes", "read_bytes", "write_bytes", "moved_bytes")
    return {"layers": len(layers)} | {n: sum(x[n] or 0 for x in layers) for n in names}


def _busiest(layers: list[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """The layers with most MACs, then most bytes, in running order."""
    if most is None or most >= len(layers):
        return layers
    work = [(x["macs"] or 0, x["moved_bytes"]) for x in layers]
    chosen = sorted(range(len(layers)), key=lambda n: work[n], reverse=True)[:most]
    return [layers[n] for n in sorted(chosen)]


def _missed(record: dict[str, Any]) -> str:
    return ", ".join(
        f"{end_of(x['operator'], 48)} x {x['layers']} ({100 * x['share']:.1f} % of layers)"
        for x in record["uncosted"]
    )


def _print(record: dict[str, Any]) -> None:
    columns = ["layer", "operator", "output", "MACs (M)", "parameters", "moved (kB)"]
    if record["layers"]:
        print_table(columns, [_row(x) for x in record["layers"]])
    total = record["total"]
    print_table(
        ["kind", "layers", "MACs (M)", "%", "parameters (M)", "moved (MB)"],
        [
            [
                name,
                f"{x['layers']:,}",
                f"{x['macs'] / 1e6:,.2f}",
                f"{100 * x['macs'] / max(1, total['macs']):.1f}",
                f"{x['params'] / 1e6:,.3f}",
                f"{x['moved_bytes'] / 1e6:,.2f}",
            ]
            for name, x in [*((k["kind"], k) for k in record["kinds"]), ("all", total)]
        ],
        title=f"{end_of(record['network'], 48)}: {total['layers']:,} layers",
    )


def _row(layer: dict[str, Any]) -> list[str]:
    known = layer["macs"] is not None
    return [
        end_of(layer["name"], 48),
        end_of(layer["operator"] if layer["op"] == "unknown" else layer["op"], 24),
        shape_text(layer["out_shapes"][0] if layer["out_shapes"] else ()),
        f"{layer['macs'] / 1e6:,.2f}" if known else "–",
        f"{layer['params']:,}",
        f"{layer['moved_bytes'] / 1e3:,.1f}" if known else "–",
    ]
