"""A network's latency as one of its open sides grows, or as a figure of its device does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, Unpack

from latcast.devices import Shown, shown_figure
from latcast.devices import devices as all_devices
from latcast.graph.read import Network, ReadOptions, name_of
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import start_of
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import count_text, interval_column, ms_column, ms_text, shared_notes

from .forecast_network import forecast_network
from .forecast_records import NetworkOnTarget
from .kernels import Kernels
from .resolve import TargetQuery, UnresolvedError, resolve

BATCH = "batch"
# More is a typing error sooner than a curve.
MAX_VALUES = 100
# Targets that the answer of a sweep tells of, a sentence each.
MAX_TOLD = 4


@dataclass(frozen=True)
class SweepPoint:
    """A network with one value of what varies, on one target, or why there is no answer.

    Attributes:
        value: of the side, or of the device's figure.
        device: as it was asked for; name of the model where several answer.
        target: the target that the latency is of.
        batch: samples of the forward pass; null where nothing tells which side is the batch.
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        per_sample_ms: latency divided by the batch, ms.
        extrapolated_share: share of the milliseconds that is out of the model's distribution.
        macs: multiply-accumulates.
        activation_bytes: memory traffic of activations, bytes.
        notes: doubts about the answer, a sentence each.
        error: why there is no answer; null where there is one.
    """

    value: float
    device: str
    target: str | None = None
    batch: int | None = None
    latency_ms: float | None = None
    lower_ms: float | None = None
    upper_ms: float | None = None
    per_sample_ms: float | None = None
    extrapolated_share: float | None = None
    macs: int | None = None
    activation_bytes: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @classmethod
    def of(cls, value: float, row: NetworkOnTarget) -> SweepPoint:
        """The point of a forecast."""
        costs = row.costs or {}
        return cls(
            value, row.device, row.target, row.batch, row.latency_ms, row.lower_ms, row.upper_ms,
            row.per_sample_ms, row.extrapolated_share, costs.get("macs"),
            costs.get("activation_bytes"), row.notes, row.error,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class NetworkSweep(Record):
    """Latencies of a network by one of its sides, or by a figure of its devices.

    Attributes:
        file: of the network.
        side: that grows: ``batch``, ``sequence``, ``resolution``, a symbol of the file, or the
            side of an input, such as ``x.2``; or the figure, such as ``bandwidth_gb_s``.
        coverage: of the intervals, 0 to 1.
        points: by device, then by value.
        own: of a figure, device -> what it has itself, null where that is not known; with another
            value it is a device that does not exist.
    """

    schema = "network-sweep"
    frame = "points"
    no_figure = "no device has an answer"

    file: str
    side: str
    coverage: float
    points: tuple[SweepPoint, ...]
    own: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def _shown(self) -> Shown:
        """How values of the side or figure are shown."""
        return shown_figure(self.side) if self.own else Shown(start_of(self.side, 24), "", 1.0)

    def _value(self, value: float) -> str:
        shown = self._shown
        return f"{value * shown.factor:g} {shown.unit}".strip()

    @property
    def errors(self) -> list[str]:
        """The errors of points that cannot be answered."""
        name = self._shown.name
        return [f"{p.device}, {name} {self._value(p.value)}: {p.error}"
                for p in self.points if p.error]  # fmt: skip

    def headline(self) -> str:
        return f"{Path(self.file).name}: latency by {self._shown.name}"

    def answer(self) -> str:
        told = [self._told(name, own) for name, own in self._by_target().items() if len(own) > 1]
        others = len(told) - MAX_TOLD
        more = [f"The table has {others} more."] if others > 0 else []
        return " ".join([*told[:MAX_TOLD], *more])

    def _told(self, name: str, own: Sequence[SweepPoint]) -> str:
        """How the latency of one target goes, a sentence."""
        low, high = own[0], own[-1]
        figure, samples = self._shown.name, ""
        if self.side == BATCH:
            best = min(own, key=lambda p: p.per_sample_ms or float("inf"))
            samples = (
                f"; a sample takes least, {ms_text(best.per_sample_ms)} ms, at batch {best.value:g}"
            )
        start, end = (f"{ms_text(p.latency_ms)} ms at" for p in (low, high))
        first, last = self._value(low.value), self._value(high.value)
        stated = self.own.get(_device_of(low))
        if stated is not None:
            return (
                f"On {name}, whose {figure} is {self._value(stated)}, latency would go from "
                f"{start} {first} to {end} {last}, all else as it is."
            )
        return f"On {name} latency goes from {start} {figure} {first} to {end} {last}{samples}."

    def _by_target(self) -> dict[str, list[SweepPoint]]:
        """The points that are answered by their target, in order of value.

        Of a sweep of the batch, targets that differ in nothing else are one.
        """
        found: dict[str, list[SweepPoint]] = {}
        for point in self.points:
            if point.error is None:
                name = point.target or point.device
                own = re.sub(r"/b\d+(?=/|$)", "", name) if self.side == BATCH else name
                found.setdefault(own, []).append(point)
        return {name: sorted(own, key=lambda p: p.value) for name, own in found.items()}

    def figures(self) -> Iterator[Figure]:
        answered = [p for p in self.points if p.error is None]
        by_target = self._by_target()
        series = tuple(
            Series(
                name, [p.value for p in own], [p.latency_ms or 0.0 for p in own], "line",
                [p.lower_ms for p in own], [p.upper_ms for p in own],
                [f"{name}\n{self._shown.name} {self._value(p.value)}: "
                 f"{charts.interval_note(p.latency_ms, p.lower_ms, p.upper_ms)}" for p in own],
            )
            for name, own in by_target.items()
        )  # fmt: skip
        if series:
            name, unit, factor = self._shown
            wide = charts.is_wide([p.value for p in answered])
            values = sorted({p.value for p in answered})
            label = f"{name}, {unit}" if unit else name
            x = Axis(label, log=wide, scale=factor, at=values)
            y = Axis("latency, ms", log=charts.is_wide([p.latency_ms for p in answered]))
            caption = f"Bands are {100 * self.coverage:g} % intervals."
            used = {_device_of(p) for p in answered}
            guides = tuple(
                Guide(f"{device}: {self._value(value)}", x=value)
                for device, value in self.own.items()
                if device in used and value is not None
            )
            if guides:
                caption += (
                    f" Dashed lines are what the devices have; with another {name}, and all else "
                    "as it is, each is a device that does not exist."
                )
            yield Figure(f"Latency by {name}", x, y, series, guides, caption)

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        yield from sections_of(self.figures(), self._parts("All values"))

    def parts(self) -> Iterator[Table | str]:
        yield from self._parts(start_of(Path(self.file).name, 90))

    def _parts(self, title: str) -> Iterator[Table | str]:
        name, unit, factor = self._shown
        columns = [
            Column("target", "target"),
            Column(f"{name}, {unit}" if unit else name, "value", "g", factor, detail=0),
            Column("batch", "batch"),
            ms_column("ms", "latency_ms"),
            interval_column(self.coverage),
            ms_column("ms/sample", "per_sample_ms", 1),
            Column("MACs", "macs", count_text, detail=2),
            Column("extrapolated %", "extrapolated_share", ".0f", 100),
        ]
        if self.side == BATCH:
            del columns[2]
        answered = [p for p in self.points if p.error is None]
        yield Table(columns, answered, title)

    def doubts(self) -> Iterator[str]:
        """Notes of points; those of one device that differ in numbers alone are told once."""
        found: dict[tuple[str, str], list[tuple[SweepPoint, str]]] = {}
        for point in self.points:
            for text in point.notes:
                key = point.device, re.sub(r"\d+(\.\d+)?", "#", text)
                found.setdefault(key, []).append((point, text))
        notes = (((device, device), self._note(told)) for (device, _), told in found.items())
        yield from shared_notes(notes, [(p.device, p.device) for p in self.points])
        for device, value in self.own.items():
            if value is not None:
                yield (
                    f"note: {device} has {self._value(value)}: with another {self._shown.name}, "
                    "and all else as it is, it is a device that does not exist"
                )
            times: dict[str, list[float]] = {}
            for p in self.points:
                if _device_of(p) == device and p.latency_ms is not None and p.target:
                    times.setdefault(p.target, []).append(p.latency_ms)
            if times and all(len(own) > 1 and min(own) == max(own) for own in times.values()):
                yield (
                    f"note: {device}: {self._shown.name} has no part in these forecasts: they are "
                    "the same for all of its values"
                )

    def _note(self, told: Sequence[tuple[SweepPoint, str]]) -> str:
        """Return what several points of a device tell alike, and at which values."""
        (first, text), name = told[0], self._shown.name
        values = list(dict.fromkeys(p.value for p, _ in told))
        of_all = len(values) == len({p.value for p in self.points})
        where = "" if of_all else f"{name} {', '.join(map(self._value, values))}: "
        alike = len({text for _, text in told}) > 1
        which = f" (at {name} {self._value(first.value)}; alike at the others)" if alike else ""
        return f"{where}{text}{which}"


def _device_of(point: SweepPoint) -> str:
    return (point.target or point.device).partition("/")[0]


class Asked(TypedDict, total=False):
    """The options of every forecast of a sweep, as in :func:`latcast.models.forecast.forecast`.

    Attributes:
        runtime: of the targets; what is given holds exactly.
        batch: likewise; not of a sweep of the batch.
        precision: likewise, or several, each a curve.
        threads: likewise, of the CPU.
        coverage: of the intervals, between 0 and 1.
        shapes: of inputs that the file leaves open besides, by their names.
        batch_axis: which side of the inputs is the batch.
        trip_count: trips of every loop of the file whose count is no constant.
        strict: whether an operator of unknown cost is an error.
    """

    runtime: str | None
    batch: int | None
    precision: str | Sequence[str] | None
    threads: int | None
    coverage: float
    shapes: Mapping[str, Sequence[int]] | None
    batch_axis: int | Mapping[str, int] | None
    trip_count: int | None
    strict: bool


def sweep(
    network: Network,
    devices: str | Path | Sequence[str | Path],
    side: str,
    values: Sequence[int],
    **asked: Unpack[Asked],
) -> NetworkSweep:
    """How a network's latency grows with one side of its inputs.

    Of every batch a device's model of that batch answers where it has one, else the model that
    is there, which extrapolates.

    Args:
        network: the file of a network, or its name; a graph or module has its sides already.
        devices: as of :func:`latcast.models.forecast.forecast`.
        side: ``batch``; an open side, by its symbol or as ``INPUT.AXIS``; ``sequence`` or
            ``resolution`` for all open sides that are lengths or sides of images.
        values: of the side.
        asked: of the targets and of the file (:class:`Asked`).

    Raises:
        ValueError: no value can be answered, or none, too many or no positive ones are given.
        FileNotFoundError: there is no such file.
    """
    _check_values(values, 1)
    if not isinstance(network, str | Path):
        raise ValueError(
            "a sweep of a side must be of a file, or a name such as timm:resnet18, which is read "
            f"for every value; got {type(network).__name__}: its sides are fixed"
        )
    if side == BATCH and asked.get("batch") is not None:
        raise ValueError("a sweep of the batch gives the batch itself: leave out the other one")

    def change(name: str, value: float, query: TargetQuery, options: ReadOptions) -> _Question:
        if side != BATCH:
            return query, replace(options, shapes={**options.shapes, side: (int(value),)}), None
        exact = replace(query, batch=int(value))
        # A device's own model that extrapolates in the batch makes one curve with its other points.
        own = _has_layer_model(name, query) and not _has_layer_model(name, exact)
        return query if own else exact, replace(options, batch=int(value)), None

    return _swept(network, devices, side, values, change, asked)


def vary(
    network: Network,
    devices: str | Path | Sequence[str | Path],
    figure: str,
    values: Sequence[float],
    **asked: Unpack[Asked],
) -> NetworkSweep:
    """How a network's latency follows a figure of its device, such as the memory's bandwidth.

    All other figures stay, but the peaks, which go with the cores and the clock. Which share of the
    peak and of the bandwidth is used stays as forecast of the device itself.

    Args:
        network: as of :func:`latcast.models.forecast.forecast`.
        devices: of the catalogue, or of the user's own files.
        figure: a key of :data:`latcast.devices.RANGES`.
        values: of the figure, in its unit.
        asked: of the targets and of the file (:class:`Asked`).

    Raises:
        ValueError: no value can be answered, or none, too many or no positive ones are given.
        FileNotFoundError: there is no such file.
    """
    _check_values(values, 0)

    def change(_: str, value: float, query: TargetQuery, options: ReadOptions) -> _Question:
        return query, options, (figure, value)

    found = _swept(network, devices, figure, values, change, asked)
    known = all_devices()
    names = dict.fromkeys(_device_of(p) for p in found.points)
    return replace(found, own={n: getattr(known.get(n), figure, None) for n in names})


_Question = tuple[TargetQuery, ReadOptions, tuple[str, float] | None]
"""What is asked of a target, of the file, and of the device's figure."""
_Change = Callable[[str, float, TargetQuery, ReadOptions], _Question]


def _check_values(values: Sequence[float], least: float) -> None:
    if not 0 < len(values) <= MAX_VALUES or min(values) < least or min(values) <= 0:
        raise ValueError(
            f"a sweep must have 1 to {MAX_VALUES} positive values; got {list(values)[:8]}"
        )


def _swept(
    network: Network,
    devices: str | Path | Sequence[str | Path],
    of: str,
    values: Sequence[float],
    change: _Change,
    asked: Asked,
) -> NetworkSweep:
    """Points by device, then by value; ``change`` puts the value into the question.

    Raises:
        Exception: the first of the reasons, where no value can be answered.
    """
    precision = asked.get("precision")
    precisions = [precision] if precision is None or isinstance(precision, str) else precision
    queries = [
        TargetQuery(asked.get("runtime"), asked.get("batch"), p, asked.get("threads"))
        for p in precisions
    ]
    coverage, shapes = asked.get("coverage", 0.9), asked.get("shapes") or {}
    options = ReadOptions(None, shapes, asked.get("batch_axis"), asked.get("trip_count"))
    points: list[SweepPoint] = []
    errors: list[Exception] = []
    names = [devices] if isinstance(devices, str | Path) else devices
    for name, query in dict.fromkeys((n, q) for n in names for q in queries):
        for value in dict.fromkeys(values):
            try:
                target, read, figure = change(str(name), value, query, options)
                found = forecast_network(
                    network, [name], target, read, coverage,
                    strict=asked.get("strict", False), vary=figure,
                )  # fmt: skip
            except (ValueError, FileNotFoundError) as error:
                errors.append(error)
                message = " ".join(str(error).split())
                points.append(SweepPoint(value, str(name), error=message))
            else:
                points += [SweepPoint.of(value, row) for row in found.devices]
    if len(errors) == len(points):
        raise errors[0]
    return NetworkSweep(name_of(network), of, coverage, tuple(points))


def _has_layer_model(device: str, query: TargetQuery) -> bool:
    try:
        found = resolve(device, query, role="networks")
    except UnresolvedError:
        return False
    return any(isinstance(each.predictor, Kernels) for each in found)
