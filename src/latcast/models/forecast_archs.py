"""Records of forecasts of architectures, and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Series
from latcast.report.record import Section
from latcast.report.table import AT_ONCE, Column, Table, numbered
from latcast.report.text import interval_column, ms_text

from .forecast_records import DeviceRows

# Forecasts that are rows of a figure; more are points.
_MAX_ROWS = 12


@dataclass(frozen=True)
class BlockTime:
    """The latency of a block.

    Attributes:
        block: its name.
        ms: milliseconds attributed to it.
    """

    block: str
    ms: float


@dataclass(frozen=True)
class ForecastArch:
    """An architecture on a target.

    Attributes:
        latency_ms: predicted, ms for a whole batch.
        lower_ms: lower end of the prediction interval, ms; null where there is no calibration.
        upper_ms: upper end of the interval, ms.
        costs: of the network: ``macs``, ``params``, ``activation_bytes``, ``blocks``.
        blocks: what each block takes, in the order of the network.
        network_ms: what no single block accounts for, ms.
    """

    latency_ms: float
    lower_ms: float | None
    upper_ms: float | None
    costs: Mapping[str, int]
    blocks: tuple[BlockTime, ...]
    network_ms: float


@dataclass(frozen=True)
class ArchsOnTarget:
    """Architectures on one target, or why there is no answer.

    Attributes:
        device: as it was asked for; name of the model where several answer.
        target: the target that the latencies are of.
        basis: ``measurements``, or ``specification`` where the device has no model of its own.
        space: of the architectures.
        coverage: of the intervals, 0 to 1.
        architectures: in the order in which they were given.
        notes: doubts about the answer, a sentence each.
        error: why there is no answer; null where there is one.
    """

    device: str
    target: str | None = None
    basis: str | None = None
    space: str | None = None
    coverage: float | None = None
    architectures: Sequence[ForecastArch] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    def parts(self) -> Iterator[Table]:
        """A table of the architectures; of a single one, where the milliseconds go, too."""
        columns = (
            Column("architecture", lambda row: row[0]),
            Column("latency ms", lambda row: row[1].latency_ms, ".3f", detail=0),
            interval_column(self.coverage or 0, ".3f", lambda row: row[1]),
            Column("MACs (M)", lambda row: row[1].costs["macs"], ".1f", 1e-6),
            Column("parameters (M)", lambda row: row[1].costs["params"], ".2f", 1e-6),
        )
        rows = numbered(self.architectures)
        yield Table(columns, rows, f"{self.device} ({self.target}), {self.space}")
        if len(rows) > 1:
            return
        (only,) = self.architectures
        whole = BlockTime("whole network (no single block)", only.network_ms)
        shares = (
            Column("block", "block"),
            Column("ms", "ms", ".3f"),
            Column("%", lambda part: part.ms / only.latency_ms, ".1f", 100),
        )
        yield Table(shares, [*only.blocks, whole], "where the milliseconds go")


@dataclass(frozen=True, repr=False)
class ArchsForecast(DeviceRows):
    """Latencies of architectures on devices.

    Attributes:
        devices: an entry for each, in the order in which they were asked for.
    """

    schema = "architectures-forecast"
    frame = "devices.architectures"
    no_figure = "no device has an answer"

    devices: tuple[ArchsOnTarget, ...]

    def headline(self) -> str:
        answered = [d for d in self.devices if d.error is None]
        of = f" of {answered[0].space}" if answered else ""
        count = len(answered[0].architectures) if answered else 0
        return f"Latency of {count:,} architectures{of}" if count != 1 else f"Latency{of}"

    def answer(self) -> str:
        answered = [d for d in self.devices if d.error is None and d.architectures]
        if not answered:
            return "No device can be answered."
        if any(len(d.architectures) > 1 for d in answered):
            ranges = ((d.device, [a.latency_ms for a in d.architectures[:AT_ONCE]])
                      for d in answered)  # fmt: skip
            count = max(len(d.architectures) for d in answered)
            told = "; ".join(
                f"{ms_text(min(ms))} to {ms_text(max(ms))} ms on {name}" for name, ms in ranges
            )
            return f"The {count:,} architectures take {told}."
        rows = [(d.device, d.architectures[0]) for d in answered]
        return charts.latencies_in_words(rows, "The architecture")

    def figures(self) -> Iterator[Figure]:
        answered = [d for d in self.devices if d.error is None and d.architectures]
        rows = [
            (f"{d.target}" + (f", architecture {n}" if len(d.architectures) > 1 else ""),
             a.latency_ms, a.lower_ms, a.upper_ms)
            for d in answered for n, a in enumerate(d.architectures[: charts.MAX_ROWS])
        ]  # fmt: skip
        if len(rows) > _MAX_ROWS:
            yield self._by_macs(answered)
        elif rows:
            yield charts.intervals("Forecast", rows, of="target")
        for d in answered:
            if len(d.architectures) == 1 and d.architectures[0].blocks:
                blocks = [(b.block, b.ms) for b in d.architectures[0].blocks]
                title = f"Where the milliseconds go on {d.device}"
                yield charts.bars(title, sorted(blocks, key=lambda b: -b[1])[:15], "ms", of="block")

    def _by_macs(self, answered: Sequence[ArchsOnTarget]) -> Figure:
        """Draw a point for each architecture, of more than rows have room for."""
        series = []
        for d in answered:
            shown = d.architectures[:AT_ONCE]
            labels = [
                f"{d.target}, architecture {n}\n"
                f"{charts.interval_note(a.latency_ms, a.lower_ms, a.upper_ms)}"
                for n, a in enumerate(shown)
            ]
            series.append(
                Series(
                    d.target or d.device, [a.costs["macs"] for a in shown],
                    [a.latency_ms for a in shown], lower=[a.lower_ms for a in shown],
                    upper=[a.upper_ms for a in shown], labels=labels,
                )
            )  # fmt: skip
        wide = charts.is_wide([ms for each in series for ms in each.y])
        return Figure("Latency by MACs", Axis("MACs, M", scale=1e-6),
                      Axis("latency, ms", log=wide), tuple(series))  # fmt: skip

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        figures = {figure.title: figure for figure in self.figures()}
        blocks = {title: figure for title, figure in figures.items() if figure.y.label == "block"}
        yield from sections_of((f for t, f in figures.items() if t not in blocks), ())
        answered = [d for d in self.devices if d.error is None]
        yield from sections_of((), (table for d in answered for table in [*d.parts()][:1]))
        # Blocks in numbers stand below their drawing.
        tables = {f"Where the milliseconds go on {d.device}": [*d.parts()][1:] for d in answered}
        for title, figure in blocks.items():
            shown: list[Table | Figure | str] = [figure, *tables[title]]
            yield title, shown

    def parts(self) -> Iterator[Table | str]:
        for device in self.devices:
            if device.error is None:
                yield from device.parts()
