"""Records of forecasts of one network of any kind, and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from latcast._names import short_list
from latcast.devices import Device, DeviceList, Target, devices, unit_of_runtime
from latcast.graph import GraphInput
from latcast.graph.inspection import inputs_table
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted, end_of, start_of
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.report.text import (
    BOUND_COLOURS,
    bound_text,
    bytes_text,
    count_text,
    extrapolation_text,
    interval_column,
    ms_beside,
    ms_column,
    ms_text,
    shared_notes,
)

# Kernels that tables show; the record holds all.
MAX_LISTED = 10
# Reasons why a device's model may be wrong that tables show, those of the most milliseconds.
MAX_REASONS = 5
NAME_WIDTH, OPERATORS_WIDTH = 22, 18
_BOUNDS = ("compute", "bandwidth", "launch")


@dataclass(frozen=True)
class NetworkCosts:
    """The costs of a network at the batch of the first answer.

    Attributes:
        name: of the network.
        layers: number of layers that compute something.
        kernels: number of kernels that they are fused to.
        macs: multiply-accumulates.
        params: parameters.
        param_bytes: memory traffic of weights, bytes.
        activation_bytes: memory traffic of activations, bytes.
    """

    name: str
    layers: int
    kernels: int
    macs: int
    params: int
    param_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class UnsupportedOperator:
    """An operator whose cost is not known.

    Attributes:
        operator: its name, with its domain.
        layers: how many layers are of it.
        unknown: what is not known: the ``operator``, its ``shapes``, or a loop's ``trip count``.
    """

    operator: str
    layers: int
    unknown: str


@dataclass(frozen=True)
class Unsupported:
    """Layers whose cost is not known and is estimated.

    Attributes:
        layers: how many layers have no known cost.
        share: of all layers that compute something, 0 to 1.
        operators: what they are, the most frequent first.
    """

    layers: int
    share: float
    operators: tuple[UnsupportedOperator, ...]


@dataclass(frozen=True)
class ForecastKernel:
    """A kernel on a target.

    Attributes:
        name: of its main layer.
        operators: the operators that it fuses.
        kind: such as ``conv``.
        layers: names of the layers that it fuses.
        inputs: names of the kernels that it reads; what it reads of the network's inputs is left
            out.
        out_shape: of what it writes; null where it is not known.
        ms: predicted, ms.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        share: of the network's milliseconds, 0 to 1.
        macs: multiply-accumulates.
        param_bytes: constants that it reads, bytes.
        traffic_bytes: memory traffic, bytes, of those and of activations.
        gflop_s: what it reaches, GFLOP/s.
        bound: by ``compute``, ``bandwidth`` (of the memory) or ``launch``, or ``unknown``.
        extrapolation: in what it is out of the model's distribution; null where it is not.
    """

    name: str
    operators: str
    kind: str
    layers: list[str]
    inputs: list[str]
    out_shape: Sequence[int] | None
    ms: float
    lower_ms: float
    upper_ms: float
    share: float
    macs: int
    param_bytes: int
    traffic_bytes: int
    gflop_s: float
    bound: str
    extrapolation: str | None


@dataclass(frozen=True)
class Extrapolated:
    """Kernels that are out of a model's distribution for one reason.

    Attributes:
        kind: of the kernels.
        subject: fact or operator that is out of distribution.
        values: values of the fact.
        seen: the range of the fact that the model knows; null where it knows none.
        kernels: number of kernels.
        share: of the network's milliseconds, 0 to 1.
    """

    kind: str
    subject: str
    values: list[float]
    seen: list[float] | None
    kernels: int
    share: float


@dataclass(frozen=True)
class Specification:
    """The catalogue's facts of a target's device.

    Attributes:
        title: its maker's name for it.
        cores: how many.
        peak_flops: in the target's precision, FLOP/s; null where not known.
        bandwidth_gb_s: of the memory, GB/s.
        device: with all that the catalogue, or a file of the user's, states; null in records of
            earlier versions.
    """

    title: str
    cores: int
    peak_flops: float | None
    bandwidth_gb_s: float
    device: Device | None = None


@dataclass(frozen=True)
class NetworkOnTarget:
    """A network on one target, or why there is no answer.

    Attributes:
        device: as it was asked for; name of the model where several answer.
        target: the target that the latency is of.
        basis: ``measurements`` on the device, or ``specification`` where there are none.
        batch: samples of the forward pass that the latency is of; null where nothing tells which
            side of the network's inputs is the batch.
        precision: of nine tenths of the network's multiply-accumulates, as its file holds what
            they read, or ``mixed``; null without any.
        precisions: share of the multiply-accumulates by precision, the largest first.
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms.
        upper_ms: upper end of the interval, ms.
        per_sample_ms: latency divided by the batch, ms.
        share_by_bound: what kernels are bound by -> share of the milliseconds.
        share_by_kind: kind of kernel -> share of the milliseconds, the largest first.
        extrapolated_share: share of the milliseconds that is out of the model's distribution.
        extrapolated_kernels: share of the kernels that is.
        extrapolated_upper_share: share of the milliseconds if those take as long as their
            intervals allow.
        cheapest_ms: latency with the cheapest branches and the fewest trips of loops; null where
            the network has one way to run. ``latency_ms`` is with the dearest.
        unsupported_share: operator -> share of the milliseconds it is estimated to take.
        extrapolations: what is out of the model's distribution, the largest share first.
        costs: ``macs``, ``params``, ``param_bytes``, ``activation_bytes``.
        kernels: in running order.
        specification: of the device; null where the catalogue does not know it.
        model: card of the model: data, rows, families, split, metrics, licence, …
        notes: doubts about the answer, a sentence each.
        error: why there is no answer; null where there is one, and then all others are null.
    """

    device: str
    target: str | None = None
    basis: str | None = None
    batch: int | None = None
    precision: str | None = None
    precisions: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    lower_ms: float | None = None
    upper_ms: float | None = None
    per_sample_ms: float | None = None
    share_by_bound: Mapping[str, float] | None = None
    share_by_kind: Mapping[str, float] | None = None
    extrapolated_share: float | None = None
    extrapolated_kernels: float | None = None
    extrapolated_upper_share: float | None = None
    cheapest_ms: float | None = None
    unsupported_share: Mapping[str, float] | None = None
    extrapolations: tuple[Extrapolated, ...] = ()
    costs: Mapping[str, int] | None = None
    kernels: tuple[ForecastKernel, ...] = ()
    specification: Specification | None = None
    model: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class FasterPrecision:
    """Whether a precision is faster than the one that was asked for first.

    Attributes:
        device: as it was asked for.
        target: in fp32, whatever the two are.
        precision: that may be faster.
        than: the other.
        probability: that it is, 0 to 1, by the intervals of both.
    """

    device: str
    target: str
    precision: str
    than: str
    probability: float


class DeviceRows(Record):
    """A record with an entry for each device that was asked for, or why there is no answer."""

    devices: Sequence[Any]

    @property
    def errors(self) -> list[str]:
        """The errors of devices that cannot be answered."""
        return [f"{d.device}: {d.error}" for d in self.devices if d.error is not None]

    def doubts(self) -> Iterator[str]:
        yield from shared_notes(
            (((d.device, d.target or d.device), text) for d in self.devices for text in d.notes),
            [(d.device, d.target or "") for d in self.devices if d.error is None],
        )


@dataclass(frozen=True, repr=False)
class NetworkForecast(DeviceRows):
    """Latency of one network on devices, kernel by kernel.

    Attributes:
        file: of the network; null where it was given as a graph.
        network: costs of the network.
        inputs: of its file, with the sides that the first answer is for.
        coverage: of the intervals, 0 to 1.
        unsupported: unsupported operators.
        devices: an entry for each, in the order in which they were asked for.
        notes: doubts about the answers together, a sentence each.
        faster: precisions beside the first one of each device, where several were asked for.
    """

    schema = "network-forecast"
    frame = "devices"
    no_figure = "no device has an answer"

    file: str | None
    network: NetworkCosts
    inputs: tuple[GraphInput, ...]
    coverage: float
    unsupported: Unsupported
    devices: tuple[NetworkOnTarget, ...]
    notes: tuple[str, ...]
    faster: tuple[FasterPrecision, ...] = ()

    @property
    def answered(self) -> list[NetworkOnTarget]:
        """The devices that are answered."""
        return [d for d in self.devices if d.error is None]

    def headline(self) -> str:
        return f"{self.network.name}: latency forecast"

    def answer(self) -> str:
        rows = [(_name_of(d, self.answered), d) for d in self.answered]
        if not rows:
            return "No device can be answered."
        left = short_list(d.device for d in self.devices if d.error is not None)
        return charts.latencies_in_words(rows, self.network.name) + (
            f" No answer for {left}." if left else ""
        )

    def figures(self) -> Iterator[Figure]:
        if not (answered := self.answered):
            return
        rows = [(d.target or d.device, d.latency_ms, d.lower_ms, d.upper_ms) for d in answered]
        caption = f"Points are forecasts, bars {100 * self.coverage:g} % intervals."
        yield charts.intervals("Forecast", rows, of="target", caption=caption)
        told = [(d.target or d.device, f"{ms_text(d.latency_ms)} ms", d) for d in answered]
        kinds = [(name, d.share_by_kind or {}, note) for name, note, d in told]
        yield charts.shares("Where the milliseconds go", kinds, of="target")
        bounds = [
            (name, {bound_text(b): x for b, x in (d.share_by_bound or {}).items()}, note)
            for name, note, d in told
        ]
        yield charts.shares("What kernels are bound by", bounds, of="target", colours=BOUND_COLOURS)

    def sections(self) -> Iterator[Section]:
        from latcast.report.network_page import network_sections
        from latcast.report.page import sections_of

        found = self.to_dict()
        answered = [d for d in found["devices"] if d["error"] is None]
        if answered:
            network, *others, made = network_sections(found | {"devices": answered})
            yield from sections_of(self.figures(), ())
            yield network
            yield from others
            if specified := self._specified():
                heading = "The devices" if len(specified) > 1 else "The device"
                yield heading, list(DeviceList(specified).beside_each_other())
            yield made

    def _specified(self) -> tuple[Device, ...]:
        """Return the devices of which the specification is known, each once."""
        found = [d.specification.device for d in self.answered if d.specification]
        return tuple({device.name: device for device in found if device}.values())

    def to_node_data(self) -> dict[str, dict[str, Any]]:
        """Return Google Model Explorer's data: name of a column -> its ``GraphNodeData``, as JSON.

        Columns are ``ms``, ``lower``, ``upper`` and ``bound`` of the first device that is answered
        (:func:`.report.node_data.node_data`), and likewise ``2.ms``, … of others. Nodes go by what
        Model Explorer's adapters call those of the file.
        """
        from .forecast_exports import node_data_of

        return node_data_of(self.to_dict())

    def to_trace(self, profile: str | Path | None = None) -> dict[str, Any]:
        """A trace of Chrome's format, for Perfetto: a track for every device, as JSON.

        Args:
            profile: a measured one to show below: ONNX Runtime's, or a dataset with the times of
                layers (:func:`.forecast_exports.read_profile`).

        Raises:
            ValueError: the profile cannot be read, or is of another network.
            FileNotFoundError: there is no such file.
        """
        from .forecast_exports import trace_of

        return trace_of(self.to_dict(), profile)

    def annotate(self, out: str | Path) -> int:
        """Write a copy of the ONNX file whose metadata, which Netron shows, tell the forecast.

        Keys begin with ``latcast`` and the target. The model has the latency, its interval and
        what it is bound by, a node its kernel's, or the name of the kernel that it is fused into.
        All else of the file stays as it is, so that it runs as before.

        Returns:
            Number of nodes that have metadata of the forecast.

        Raises:
            ValueError: the network is no ONNX file, or the copy would miss its weights.
            FileNotFoundError: the file is gone.
        """
        from .forecast_exports import annotate_file

        return annotate_file(self.to_dict(), out)

    def doubts(self) -> Iterator[str]:
        answered = self.answered
        rows = [(d.device, d.target or d.device) for d in answered]
        notes = ((row, text) for row, d in zip(rows, answered, strict=True) for text in d.notes)
        words = {row: _words_of(d) for row, d in zip(rows, answered, strict=True)}
        yield from shared_notes(notes, rows, words)
        yield from _notes_of_runtimes(answered)
        yield from _notes_of_alike(answered)
        yield from Record.doubts(self)

    def parts(self) -> Iterator[Table | str]:
        yield from self.tables(MAX_LISTED)

    def tables(self, listed: int) -> Iterator[Table | str]:
        """Yield the printed parts, with the ``listed`` most expensive kernels."""
        yield self._devices()
        if threads := self._threads():
            yield threads
        for each in self.faster:
            yield (
                f"{each.device}: {each.precision} is faster than {each.than} with a probability "
                f"of {100 * each.probability:.0f} %"
            )
        yield (
            "bound by: compute / memory / launch\n"
            "extrapolated: out of the model's distribution, of the ms at most / of the kernels\n"
        )
        n = self.network
        yield (
            f"{counted(n.layers, 'layer')} in {counted(n.kernels, 'kernel')}, "
            f"{count_text(n.macs)} MACs, {count_text(n.params)} parameters\n"
            f"memory traffic: {bytes_text(n.param_bytes)} of weights, "
            f"{bytes_text(n.activation_bytes)} of activations\n"
        )
        if self.inputs:
            yield inputs_table(self.inputs)
        if listed:
            yield self._kernels(listed)
        yield self._unsupported()
        yield from self._extrapolated()

    def _devices(self) -> Table:
        answered = self.answered
        columns = [
            Column("target", "target", detail=0),
            ms_column("ms", "latency_ms"),
            interval_column(self.coverage),
            Column("bound by %", lambda d: [d.share_by_bound[b] for b in _BOUNDS], ".0f", 100),
            Column("extrapolated %", _extrapolated_shares, ".0f", 100),
        ]
        if any((d.batch or 1) > 1 for d in answered):
            columns.insert(3, ms_column("ms/sample", "per_sample_ms", 1))
        if any(d.batch != Target.parse(d.target or "").batch for d in answered):
            columns.insert(1, Column("batch", "batch"))
        if any(d.precision not in (None, Target.parse(d.target or "").precision) for d in answered):
            columns.insert(1, Column("file in", "precision"))
        if len(answered) > 1:
            columns.insert(0, Column("", lambda d: _label(answered.index(d))))
        return Table(columns, answered, start_of(self.network.name, 90))

    def _threads(self) -> str:
        """What CPUs a thread on every core is forecast for; empty where threads are named."""
        found = {}
        for each in self.answered:
            target = Target.parse(each.target or "")
            device = devices().get(target.device)
            part = unit_of_runtime(target.runtime) or "cpu"
            if not target.threads and part == "cpu" and device and device.kind in ("cpu", "phone"):
                found[target.device] = device.cores
        if not found:
            return ""
        told = ", ".join(f"{cores} on {name}" for name, cores in found.items())
        return f"threads: {told}, one for each core (--threads); latcast measure takes 1 by default"

    def _kernels(self, listed: int) -> Table:
        answered = self.answered
        several = len(answered) > 1
        kernels = sorted(answered[0].kernels, key=lambda k: -k.ms)[:listed]
        shown = sum(k.share for k in kernels)
        columns = [
            Column("kernel", lambda k: end_of(k.name, NAME_WIDTH)),
            Column("operators", lambda k: start_of(k.operators, OPERATORS_WIDTH)),
            Column("MACs", "macs", count_text),
            Column("bytes", "traffic_bytes", count_text),
        ]
        if several:
            columns += [self._beside(n) for n in range(len(answered))]
        else:
            columns[2:2] = [ms_column("ms", "ms"), Column("%", "share", ".1f", 100, detail=0)]
            columns += [
                Column("GFLOP/s", lambda k: k.gflop_s if k.macs else None, ".1f"),
                Column(
                    "bound by", lambda k: bound_text(k.bound) + (" ?" if k.extrapolation else "")
                ),
            ]
        most = f"the {counted(len(kernels), 'most expensive kernel')}"
        title = f"{most}, {100 * shown:.0f} % of the ms"
        return Table(columns, kernels, title + (" of A" if several else ""))

    def _beside(self, n: int) -> Column:
        """Milliseconds of the first device's kernels on the n-th."""
        first, other = self.answered[0], self.answered[n]
        times = ms_beside(first.kernels, other.kernels)
        extrapolated = {layer for k in other.kernels if k.extrapolation for layer in k.layers}

        def cell(kernel: ForecastKernel) -> str:
            ms = times.get(kernel.name)  # none where the runtime fuses the kernel into another
            return ms_text(ms) + (" ?" if kernel.name in extrapolated else "")

        return Column(f"{_label(n)} ms", cell, detail=0)

    def _unsupported(self) -> Table | str:
        if not self.unsupported.layers:
            return "every operator is supported"
        columns = (
            Column("operator", lambda o: start_of(o.operator, 40)),
            Column("layers", "layers"),
            Column("what is not known", lambda o: f"the {o.unknown}"),
            Column("estimated % of the ms", self._estimated, ".1f", 100),
        )
        layers = counted(self.unsupported.layers, "layer")
        share = f"{layers}, {100 * self.unsupported.share:.1f} % of all"
        return Table(columns, self.unsupported.operators, f"unsupported operators: {share}")

    def _estimated(self, operator: UnsupportedOperator) -> Sequence[float]:
        return [(d.unsupported_share or {}).get(operator.operator, 0.0) for d in self.answered]

    def _extrapolated(self) -> Iterator[str]:
        answered = self.answered
        for n, device in enumerate(answered):
            if device.extrapolations:
                of = f" ({_label(n)})" if len(answered) > 1 else ""
                yield f"? out of the model's distribution{of}:"
                reasons = device.extrapolations
                # One more is told: a line that it is left out would be as long.
                listed = len(reasons) if len(reasons) == MAX_REASONS + 1 else MAX_REASONS
                yield from (f"  {extrapolation_text(e)}" for e in reasons[:listed])
                if others := reasons[listed:]:
                    share = sum(e.share for e in others)
                    yield (
                        f"  {counted(len(others), 'other reason')}, {100 * share:.1f} "
                        "% of the ms (--json)"
                    )


def _name_of(device: NetworkOnTarget, answered: Sequence[NetworkOnTarget]) -> str:
    """A device's name; its target's where another target of it is answered, too."""
    alone = sum(d.device == device.device for d in answered) == 1
    return device.device if alone else device.target or device.device


def _words_of(row: NetworkOnTarget) -> list[str]:
    """What notes call a row's device, its chip and its runtime, the longest first."""
    target = Target.parse(row.target or "")
    device = devices().get(target.device)
    chips = [] if device is None else [device.group, device.name]
    words = {row.device, row.target or "", target.device, target.runtime, *chips} - {""}
    return sorted(words, key=lambda word: (-len(word), word))


def _notes_of_runtimes(answered: Sequence[NetworkOnTarget]) -> Iterator[str]:
    """Yield a note where devices are forecast by several runtimes that nobody asked for."""
    by = {row.device: Target.parse(row.target or "").runtime for row in answered}
    if len(set(by.values())) > 1:
        who = ", ".join(f"{name} by {runtime}" for name, runtime in list(by.items())[:4])
        who += ", …" * (len(by) > 4)
        yield f"note: rows differ in their runtime, too ({who}): --runtime asks all devices for one"


def _notes_of_alike(answered: Sequence[NetworkOnTarget]) -> Iterator[str]:
    """Yield a note on each group of devices whose forecasts are one."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for row in answered:
        numbers = map(ms_text, (row.latency_ms, row.lower_ms, row.upper_ms))
        key = ((row.target or "").partition("/")[2], *numbers)
        alike.setdefault(key, []).append(row.device)
    for names in (list(dict.fromkeys(x)) for x in alike.values()):
        if len(names) > 1:
            yield f"note: {', '.join(names)}: one forecast, as nothing that counts differs"


def _extrapolated_shares(device: NetworkOnTarget) -> list[float | None]:
    return [device.extrapolated_upper_share, device.extrapolated_kernels]


def _label(n: int) -> str:
    """Short name of the n-th device, for the columns of tables."""
    return ascii_uppercase[n] if n < len(ascii_uppercase) else str(n + 1)
