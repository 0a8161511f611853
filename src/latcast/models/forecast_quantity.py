"""Forecasts of another quantity than the latency, by models of it, in its own unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latcast.data import Quantity, quantity
from latcast.graph import Graph
from latcast.graph.read import ReadOptions
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.table import AT_ONCE, MISSING, Column, Table, lazy
from latcast.spaces import Archs, SearchSpace

from .forecast_network import batch_notes, graph_reader, rows_of
from .forecast_records import DeviceRows
from .query import Resolved, TargetQuery
from .resolve import resolve


@dataclass(frozen=True)
class ForecastValue:
    """A network's value on a target.

    Attributes:
        network: its name; of an architecture its number among those that were given.
        value: predicted, in the unit of the quantity, for a whole batch.
        lower: lower end of the prediction interval; null where there is no calibration.
        upper: upper end of the interval.
        costs: of the network: ``macs`` and ``params``.
    """

    network: str
    value: float
    lower: float | None
    upper: float | None
    costs: Mapping[str, int]


@dataclass(frozen=True)
class ValuesOnTarget:
    """Networks on one target, or why there is no answer.

    Attributes:
        device: as it was asked for.
        target: that the values are of.
        space: of the architectures; null of a network of any kind.
        networks: in the order in which they were given.
        notes: doubts about the answer, a sentence each.
        error: why there is no answer; null where there is one.
    """

    device: str
    target: str | None = None
    space: str | None = None
    networks: Sequence[ForecastValue] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, repr=False)
class QuantityForecast(DeviceRows):
    """Values of a quantity, such as energy, of networks on targets.

    Attributes:
        quantity: that is forecast, such as ``energy_mj``.
        unit: of all values, such as ``mJ``.
        coverage: of the intervals, 0 to 1.
        devices: an entry for each model, in the order in which they were asked for.
    """

    schema = "quantity-forecast"
    frame = "devices.networks"
    no_figure = "no model has an answer"

    quantity: str
    unit: str
    coverage: float
    devices: tuple[ValuesOnTarget, ...]

    def headline(self) -> str:
        label = quantity(self.quantity).label
        return f"{label[:1].upper()}{label[1:]} of networks on targets"

    def answer(self) -> str:
        of, told = quantity(self.quantity), []
        for d in self._answered:
            values = [row.value for row in d.networks[:AT_ONCE]]
            low, high = (f"{end:{of.format}}" for end in (min(values), max(values)))
            what = d.networks[0].network if len(values) == 1 else f"{len(d.networks):,} networks"
            span = low if len(values) == 1 else f"{low} to {high}"
            told.append(f"{what} {'has' if len(values) == 1 else 'have'} {span} on {d.target}")
        head = f"{of.label[:1].upper()}{of.label[1:]}, {self.unit}"
        return f"{head}: {'; '.join(told)}." if told else "No model has an answer."

    @property
    def _answered(self) -> list[ValuesOnTarget]:
        return [d for d in self.devices if d.error is None and d.networks]

    def figures(self) -> Iterator[Figure]:
        of = quantity(self.quantity)
        rows = [
            (f"{d.target}" + (f", {row.network}" if len(d.networks) > 1 else ""),
             row.value, row.lower, row.upper)
            for d in self._answered for row in d.networks[: charts.MAX_ROWS]
        ]  # fmt: skip
        if rows:
            yield charts.intervals(
                f"{of.label[:1].upper()}{of.label[1:]}", rows, of="target",
                label=f"{of.label}, {of.unit}",
                note=charts.note_in(of.format, of.unit),
                caption=f"Points are forecasts, bars {100 * self.coverage:g} % intervals."
                + (f" The first {charts.MAX_ROWS}." if len(rows) > charts.MAX_ROWS else ""),
            )  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        of = quantity(self.quantity)

        def interval(row: ForecastValue) -> str:
            if row.lower is None or row.upper is None:
                return MISSING
            return f"{row.lower:{of.format}} – {row.upper:{of.format}}"

        columns = (
            Column("network", "network"),
            Column(f"{of.label}, {of.unit}", "value", of.format),
            Column(f"{100 * self.coverage:g} % interval", interval),
            Column("MACs (M)", "costs.macs", ".1f", 1e-6),
            Column("parameters (M)", "costs.params", ".2f", 1e-6),
        )
        for device in self.devices:
            if device.error is None:
                space = f", {device.space}" if device.space else ""
                yield Table(columns, device.networks, f"{device.device} ({device.target}){space}")


def forecast_quantity(
    networks: str | Path | Graph | Callable[[SearchSpace], Archs],
    names: Sequence[str | Path],
    queries: Sequence[TargetQuery],
    of: Quantity,
    options: ReadOptions,
    coverage: float,
    space: SearchSpace | None = None,
) -> QuantityForecast:
    """:func:`latcast.models.forecast.forecast`, of models of another quantity.

    Args:
        networks: a network, or what makes architectures of a space.
        names: of models' files.
        queries: what the targets must be.
        of: what the models predict.
        options: of a graph's file.
        coverage: of the intervals.
        space: of architectures in a file; that of the model by default.

    Raises:
        ValueError, FileNotFoundError: as there; or a model is of another quantity.
    """
    is_archs = not isinstance(networks, str | Path | Graph)

    def find(name: str, query: TargetQuery) -> list[Resolved]:
        return resolve(name, query, role="space" if is_archs else "networks", space=space)

    def of_archs(found: Resolved) -> ValuesOnTarget:
        assert not isinstance(networks, str | Path | Graph)
        archs = networks(space or found.of_space.space)
        doubts = (*found.notes, *found.predictor.doubts(archs))
        values = lazy(len(archs), lambda part: _values(found, archs[part], part.start, coverage))
        return ValuesOnTarget(
            found.name, str(found.predictor.target), archs.space.name, values, doubts
        )

    def of_graph(found: Resolved) -> ValuesOnTarget:
        assert isinstance(networks, str | Path | Graph)
        model, file = found.predictor, not isinstance(networks, Graph)
        batch = model.target.batch
        graph = graph_reader(networks, options)(batch)
        exactly = queries[0].batch is not None and file
        notes = (*found.notes, *batch_notes(graph, batch, exactly=exactly), *graph.notes)
        told = model.explain(graph, coverage)
        costs = {"macs": graph.macs, "params": graph.params}
        value = ForecastValue(graph.name, told.ms, told.lower_ms, told.upper_ms, costs)
        return ValuesOnTarget(
            found.name, str(model.target), None, (value,), (*notes, *model.doubts(graph))
        )

    rows = rows_of(names, queries, find, of_archs if is_archs else of_graph, ValuesOnTarget, of)
    return QuantityForecast(of.name, of.unit, coverage, tuple(rows))


def _values(found: Resolved, archs: Archs, first: int, coverage: float) -> list[ForecastValue]:
    model = found.predictor
    nothing: list[None] = [None] * len(archs)
    lower, upper = (
        (ends.tolist() for ends in model.predict_interval(archs, coverage))
        if model.covers(coverage)
        else (nothing, nothing)
    )
    costs = archs.space.costs(archs).select("macs", "params").to_dicts()
    names = map(str, range(first, first + len(archs)))
    return list(map(ForecastValue, names, model.predict(archs).tolist(), lower, upper, costs))
