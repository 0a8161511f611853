"""A page on what a network costs: what the template shows, worked out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .drawing import DRAWN, inspection_drawing
from .network_page import templates
from .page import split
from .record import Section
from .text import KIND_COLOURS, OTHER_COLOUR

MAX_ROWS = 200
MAX_TENSORS = 12
# Of the chart of memory, in its own units; a layer is a step, of large networks the largest of
# several is drawn.
WIDTH, HEIGHT = 900, 220
MAX_STEPS = 450


def inspection_sections(record: Mapping[str, Any]) -> Iterator[Section]:
    """Yield the sections of a page on a network's costs; texts of the record are escaped.

    Args:
        record: of :class:`latcast.graph.inspection.Inspection`, as JSON.
    """
    layers = record["layers"]
    held = [x["held_bytes"] for x in layers]
    body = templates().get_template("inspection.html.j2").render(
        record,
        bars=[(what, _bar(record["kinds"], field)) for what, field in (
            ("MACs", "macs"), ("weights", "param_bytes"), ("memory traffic", "moved_bytes"))],
        area=_area(held), most=max(held, default=0), width=WIDTH, height=HEIGHT,
        rows=sorted(layers, key=lambda x: -x["moved_bytes"])[:MAX_ROWS],
        kernel_rows=sorted(record["kernels"], key=lambda x: -x["moved_bytes"])[:MAX_ROWS],
        tensors=record["peak"]["tensors"][:MAX_TENSORS],
        savings=record["fused"]["savings"][:MAX_TENSORS],
        max_rows=MAX_ROWS,
    )  # fmt: skip
    drawing = inspection_drawing(record)
    for heading, parts in split(body):
        if heading == "Memory of activations" and drawing is not None:
            yield DRAWN, [drawing]
        yield heading, parts


def _bar(kinds: Sequence[Mapping[str, Any]], field: str) -> list[dict[str, Any]]:
    """Return the shares of the kinds of layers, the largest first, without the smallest ones."""
    total = sum(x[field] for x in kinds) or 1
    parts = [
        {
            "name": x["kind"].replace("_", " "),
            "share": x[field] / total,
            "value": x[field],
            "colour": KIND_COLOURS.get(x["kind"], OTHER_COLOUR),
        }
        for x in sorted(kinds, key=lambda x: -x[field])
    ]
    return [x for x in parts if x["share"] > 0.002]


def _area(held: Sequence[int]) -> str:
    """Return the outline of the bytes that layers hold, as the points of an SVG polygon."""
    size = -(-len(held) // MAX_STEPS) or 1
    steps = [max(held[n : n + size]) for n in range(0, len(held), size)]
    most = max(steps, default=0) or 1
    points = [(0.0, float(HEIGHT))]
    for n, value in enumerate(steps):
        y = HEIGHT * (1 - value / most)
        points += [(WIDTH * n / len(steps), y), (WIDTH * (n + 1) / len(steps), y)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in [*points, (float(WIDTH), float(HEIGHT))])
