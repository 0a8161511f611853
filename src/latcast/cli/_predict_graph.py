"""``latcast predict MODEL.onnx``: how long a network out of a file takes on devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import UsageError, note, print_json
from ._graph_tables import print_network
from ._graphs import read_graph
from ._layer_models import Settings, load_layer_model

if TYPE_CHECKING:
    from latcast.graph import Graph
    from latcast.models import LayerPredictor

MOST_LISTED = 5
"""Operators that an error names."""


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        path: the network.
        devices: names or files of layer models.
        settings: of their targets.
        shapes: of inputs, such as ``input=1x3x224x224``.
        coverage: of the intervals.
        listed: kernels that the table shows.
        strict: whether an operator of unknown cost is an error.
        page: HTML to write, or None.
    """

    path: Path
    devices: list[str]
    settings: Settings
    shapes: list[str]
    coverage: float
    listed: int
    strict: bool
    page: Path | None


def run(request: Request, *, json: bool, quiet: bool) -> None:
    """Forecast, print, write the page.

    Raises:
        UsageError: a device has no layer model, or a model cannot tell intervals of the coverage.
        ValueError: the network cannot be read, or ``strict`` and an operator's cost is not known.
    """
    if request.page is not None:
        from latcast._files import check_writable

        check_writable(request.page)
    models = {name: load_layer_model(name, request.settings) for name in request.devices}
    for name, model in models.items():
        if not model.covers(request.coverage):
            raise UsageError(
                f"--coverage {request.coverage:g} asks for more than {name} can tell: it was made "
                f"from {model.card.get('rows')} measurements; ask for less"
            )
    graphs = _graphs(request, models)
    for graph in graphs.values():
        if request.strict and graph.uncosted:
            raise ValueError(_uncosted(request.path, graph))
    record = _record(request, graphs, models)
    _note_batches(models, quiet=quiet)
    if request.page is not None:
        _write_page(request.page, record, quiet=quiet)
    if json:
        print_json(record)
    else:
        print_network(record, request.listed)


def _graphs(request: Request, models: dict[str, LayerPredictor]) -> dict[int, Graph]:
    """The network by batch size."""
    batches = sorted({model.target.batch for model in models.values()})
    return {batch: read_graph(request.path, batch, request.shapes) for batch in batches}


def _record(
    request: Request, graphs: dict[int, Graph], models: dict[str, LayerPredictor]
) -> dict[str, Any]:
    from latcast.models.forecast import network_record

    record = network_record(request.path.name, graphs, models, request.coverage)
    return {"file": str(request.path), **record}


def _uncosted(path: Path, graph: Graph) -> str:
    counts = sorted(graph.uncosted.items(), key=lambda item: -item[1])
    names = ", ".join(f"{name} x {n}" for name, n in counts[:MOST_LISTED])
    more = f" and {len(counts) - MOST_LISTED} others" if len(counts) > MOST_LISTED else ""
    return (
        f"{path}: all operators must have a known cost with --strict; the cost of {names}{more} is "
        "not known: leave --strict out for a forecast that estimates them"
    )


def _note_batches(models: dict[str, LayerPredictor], *, quiet: bool) -> None:
    batches = {model.target.batch for model in models.values()}
    if len(batches) > 1:
        note(
            f"note: batches differ ({', '.join(map(str, sorted(batches)))}); the milliseconds are "
            "those of a whole batch",
            quiet=quiet,
        )


def _write_page(path: Path, record: dict[str, Any], *, quiet: bool) -> None:
    from latcast._files import atomic_path
    from latcast.report.network_page import network_page

    with atomic_path(path) as temporary:
        temporary.write_text(network_page(record), encoding="utf-8")
    note(f"wrote {path}", quiet=quiet)
