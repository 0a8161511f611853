"""Forecasts of networks on devices, as one record for tables and pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast.data import LATENCY_MS, Dataset, Quantity
from latcast.graph.read import Network, ReadOptions, read_with
from latcast.report.table import lazy
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import Predictor
from ._model import open_model
from .forecast_archs import ArchsForecast, ArchsOnTarget, BlockTime, ForecastArch
from .forecast_network import forecast_network, rows_of
from .forecast_records import NetworkForecast
from .inputs import GivenArchs, as_archs, is_archs
from .resolve import Resolved, TargetQuery, UnresolvedError, resolve
from .zoo import SUFFIX

if TYPE_CHECKING:
    from .base_model import BaseModel
    from .forecast_quantity import QuantityForecast


def forecast(
    networks: Network | GivenArchs,
    devices: str | Path | Sequence[str | Path],
    *,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | Sequence[str] | None = None,
    threads: int | None = None,
    space: str | SearchSpace | None = None,
    base: str | Path | BaseModel | None = None,
    similar_to: str | None = None,
    coverage: float = 0.9,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_axis: int | Mapping[str, int] | None = None,
    trip_count: int | None = None,
    strict: bool = False,
) -> ArchsForecast | NetworkForecast | QuantityForecast:
    """How long networks take on devices, and where the milliseconds go.

    Args:
        networks: a network as :func:`latcast.read_graph` takes it (a graph, a file, a name such
            as ``timm:resnet18``, a torch module with its ``shapes``); or architectures: those of a
            batch or a dataset, a dict or string in their space's own form, a list of them, a frame
            with a column ``arch`` or one per gene, a JSON file, or ``-`` for standard input.
        devices: what :func:`latcast.models.resolve.resolve` takes: shipped models, devices,
            targets, model files; of each, all that fit are answered for. Files of models of another
            quantity, such as energy, are answered in its unit, by a record of their own.
        runtime: of the targets; what is given holds exactly.
        batch: likewise.
        precision: likewise; of several, each device has a row for each, and of a graph the record
            has the probability that the others are faster than the first.
        threads: likewise, of the CPU.
        space: of architectures in a file; that of the model by default.
        base: base model for architectures on devices by their specification.
        similar_to: a device of the catalogue that a device of another name is like.
        coverage: of the intervals, between 0 and 1.
        shapes: of inputs that a graph's file leaves open, by their names, or of symbols; of a
            torch module's, by the names of its arguments.
        batch_axis: which side of the inputs of a graph's file is the batch.
        trip_count: trips of every loop of a graph's file whose count is no constant.
        strict: whether an operator of unknown cost is an error.

    Raises:
        ValueError: no device can be answered, the networks cannot be read, or ``strict`` and the
            cost of an operator is not known.
        FileNotFoundError: there is no such file.
    """
    names = [devices] if isinstance(devices, str | Path) else list(devices)
    wanted = [precision] if isinstance(precision, str) or precision is None else precision
    query = [TargetQuery(runtime, batch, p, threads) for p in wanted]
    the_space = find_space(space) if isinstance(space, str) else space
    options = ReadOptions(None, shapes or {}, batch_axis, trip_count)
    archs_of = _archs_of(networks)
    if isinstance(networks, Archs | Dataset) and archs_of is not None:
        the_space = networks.space
    network: Any = networks
    if (of := quantity_of(names)) != LATENCY_MS:
        from .forecast_quantity import forecast_quantity

        for name, value in (("base", base), ("similar_to", similar_to), ("strict", strict)):
            if value:
                raise UnresolvedError(
                    f"{name} is for forecasts of latency; {names[0]} is a model of {of.plural}"
                )
        asked: Any = archs_of or network
        if archs_of is None and not isinstance(network, str | Path):
            asked = read_with(network, options)
        return forecast_quantity(asked, names, query, of, options, coverage, the_space)
    if archs_of is not None:
        return _of_archs(
            archs_of, names, query, the_space, coverage, base=base, similar_to=similar_to
        )
    return forecast_network(
        network, names, query, options, coverage, strict=strict, similar_to=similar_to
    )


# --- architectures ----------------------------------------------------------------------------


def _archs_of(networks: Any) -> Callable[[SearchSpace], Archs] | None:
    """Return the function that makes architectures of a space; None if the input is a network."""
    if not is_archs(networks):
        return None
    read = cache(lambda s: as_archs(networks, find_space(s)))
    return lambda space: read(space.name)


def _of_archs(
    archs_of: Callable[[SearchSpace], Archs],
    names: Sequence[str | Path],
    queries: Sequence[TargetQuery],
    space: SearchSpace | None,
    coverage: float,
    **options: Any,
) -> ArchsForecast:
    def answer(found: Resolved) -> ArchsOnTarget:
        return _archs_row(found, archs_of(space or found.of_space.space), coverage)

    def find(name: str, query: TargetQuery) -> list[Resolved]:
        return resolve(name, query, space=space, **options)

    return ArchsForecast(tuple(rows_of(names, queries, find, answer, ArchsOnTarget)))


def quantity_of(names: Sequence[str | Path]) -> Quantity:
    """Return the quantity of the first model file among names; latency without any."""
    first = str(names[0]) if names else ""
    if not first.endswith(SUFFIX) or not Path(first).exists():
        return LATENCY_MS
    model = open_model(first)
    return model.fitted.quantity if isinstance(model, Predictor) else LATENCY_MS


def _archs_row(found: Resolved, archs: Archs, coverage: float) -> ArchsOnTarget:
    predictor = found.of_space
    return ArchsOnTarget(
        found.name,
        str(predictor.target),
        found.basis,
        archs.space.name,
        coverage,
        lazy(len(archs), lambda part: _forecasts(predictor, _part(archs, part), coverage)),
        (*found.notes, *_doubts_of_archs(found.name, predictor, archs, coverage)),
    )


def _part(archs: Archs, part: slice) -> Archs:
    """Some rows of a batch; all of them are the batch itself, whose sums a model may remember."""
    return archs if part == slice(0, len(archs)) else archs[part]


def _forecasts(predictor: Predictor, archs: Archs, coverage: float) -> list[ForecastArch]:
    """Forecasts of some of the architectures."""
    predicted = predictor.predict(archs).tolist()
    explanation = predictor.explain(archs)
    nothing: list[None] = [None] * len(archs)
    lower, upper = (
        (ends.tolist() for ends in predictor.predict_interval(archs, coverage))
        if predictor.covers(coverage)
        else (nothing, nothing)
    )
    # Not as a frame: for one architecture polars took a tenth of the time of its forecast.
    columns = archs.space.cost_columns(archs)
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    costs = [dict(zip(columns, row, strict=True)) for row in values]
    rows = predictor.space.block_table.blocks
    blocks = [
        tuple(
            BlockTime(rows[i].name, ms) for i, ms in zip(ids, all_ms, strict=True) if i < len(rows)
        )
        for ids, all_ms in zip(
            explanation.block_ids.tolist(), explanation.blocks_ms.tolist(), strict=True
        )
    ]
    rest = explanation.network_ms.tolist()
    return list(map(ForecastArch, predicted, lower, upper, costs, blocks, rest))


def _doubts_of_archs(name: str, predictor: Predictor, archs: Archs, coverage: float) -> list[str]:
    """Return the doubts about a forecast of architectures."""
    notes = predictor.doubts(archs)
    notes += predictor.fitted.notes(name)
    if not predictor.covers(coverage):
        notes.append(f"{name} has too little calibration for {coverage:g} intervals")
    seen = predictor.fitted.seen.get("r", [])
    unseen = set(archs.space.expand(archs).genes[:, -1].tolist()) - set(seen)
    if seen and unseen:
        notes.append(
            f"{name} was trained on resolutions {', '.join(map(str, seen))}; at "
            f"{', '.join(map(str, sorted(unseen)))} it extrapolates, and its interval is too "
            "narrow there"
        )
    return notes
