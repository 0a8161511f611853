"""The record of a campaign: what it measured, network by network, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latcast.data import ENERGY_MJ, PEAK_MEMORY_MB, Dataset
from latcast.devices import Target
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import counted, end_of
from latcast.report.record import Record, Section
from latcast.report.table import MISSING, Column, Table, pairs
from latcast.report.text import ms_text

from ._campaign import Plan, open_or_resume
from ._campaign_file import CampaignFile
from ._protocol import Protocol
from ._quantities import failed_quantities, quantity_datasets
from ._results import Results, results
from ._session import Progress, run
from ._sources import Networks
from ._sustained import SustainedNetwork, sustained_figures, sustained_networks, sustained_parts
from .hosts import host as find_host

# That notes tell of; the record holds all.
MAX_FAILURES = 5
# That a table tells of by themselves.
MAX_NETWORKS = 20
# Runs whose state of the machine a record keeps.
MAX_STATES = 200
PERCENTS = (50.0, 90.0, 99.0)


@dataclass(frozen=True)
class MeasuredNetwork:
    """The measurements of one network.

    Attributes:
        network: its name; of an architecture its row in the dataset.
        latency_ms: the median of its runs' medians, without the machine's drift, ms.
        p50_ms: median of all samples as they were measured, ms.
        p90_ms: their 90th percentile, ms; null with fewer than ten samples.
        p99_ms: their 99th percentile, ms; null with fewer than a hundred samples.
        inputs_per_s: throughput of passes one after the other: the batch over the latency.
        samples: how many there are; a sample of a short network is the mean of several passes.
        peak_memory_mb: peak memory of its passes beyond the runtime's floor, millions of bytes;
            null where it was not measured.
        energy_mj: energy of a pass of the whole batch beyond the idle machine's, mJ; likewise.
    """

    network: str
    latency_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    inputs_per_s: float
    samples: int
    peak_memory_mb: float | None
    energy_mj: float | None

    @classmethod
    def of(cls, data: Dataset, others: Mapping[str, Dataset]) -> tuple[MeasuredNetwork, ...]:
        """The rows of a dataset of latencies, with what ``others`` have by quantity."""
        names = data.names or [f"row {row}" for row in range(len(data))]
        found = data.percentiles(*PERCENTS)
        told = [[None if np.isnan(x) else float(x) for x in row] for row in found]
        counts = [len(samples) for samples in data.samples or ()] or [0] * len(data)
        values, rates = data.latency_ms.tolist(), data.inputs_per_s.tolist()
        # Rows are told apart by their places in the campaign.
        memory, energy = (_by_place(others.get(of.name)) for of in (PEAK_MEMORY_MB, ENERGY_MJ))
        return tuple(
            cls(name, ms, p50, p90, p99, rate, count, memory.get(place), energy.get(place))
            for name, ms, (p50, p90, p99), rate, count, place in zip(
                names, values, told, rates, counts, data.order.tolist(), strict=True
            )
        )


def _by_place(data: Dataset | None) -> dict[int, float]:
    """Values of a dataset by their places in the campaign."""
    return {} if data is None else dict(zip(data.order.tolist(), data.values.tolist(), strict=True))


@dataclass(frozen=True)
class MachineState:
    """How fast the machine was in a run.

    Attributes:
        run: its number among those that count, in order of time, from 1.
        slowness: factor on every latency; 1 is the state that the dataset's latencies are of.
    """

    run: int
    slowness: float

    @classmethod
    def of(cls, factor: Sequence[float]) -> tuple[MachineState, ...]:
        """Some of many runs, at equal distances."""
        shown = np.unique(np.linspace(0, len(factor) - 1, min(len(factor), MAX_STATES)).astype(int))
        return tuple(cls(n + 1, float(factor[n])) for n in shown.tolist())


@dataclass(frozen=True, repr=False)
class CampaignRecord(Record):
    """A campaign, and how far its latencies can be trusted.

    Attributes:
        dataset: file that it is written to.
        target: the target that was measured.
        architectures: how many were measured; null for networks of any kind.
        networks: how many of any kind were measured; null for architectures of a space.
        lowest_ms: latency of the fastest, ms.
        highest_ms: latency of the slowest, ms.
        failed: number of a network in the campaign -> why it could not be measured.
        unfinished: networks left out, since they have had fewer than two runs so far.
        unstable: networks whose latency is not known to 3 %.
        noise_of_a_run: standard deviation of one run, relative.
        drift_range: of the machine's speed during the campaign, relative.
        inference_share: share of the time that was inference.
        warnings: doubts about the campaign as a whole, a sentence each.
        audit: what the audit found in the dataset.
        failed_names: what those networks are called, by their numbers.
        datasets: quantity -> file of its dataset, of what is measured beside the latency;
            ``sustained`` -> that of latencies in the steady state.
        by_network: percentiles and throughput of every network, in the order of the dataset.
        sustained: of networks that ran back to back for long, their steady state and how they got
            there; empty where none did.
        states: of the machine during the campaign, of many runs some.
    """

    schema = "campaign"
    frame = "by_network"

    dataset: str
    target: str
    architectures: int | None
    networks: int | None
    lowest_ms: float
    highest_ms: float
    failed: Mapping[int, str]
    unfinished: int
    unstable: int
    noise_of_a_run: float
    drift_range: float
    inference_share: float
    warnings: list[str]
    audit: list[str]
    failed_names: Mapping[int, str]
    datasets: Mapping[str, str]
    by_network: tuple[MeasuredNetwork, ...]
    sustained: tuple[SustainedNetwork, ...] = ()
    states: tuple[MachineState, ...] = ()

    @classmethod
    def of(
        cls,
        found: Results,
        names: Mapping[int, str],
        path: str,
        others: Mapping[str, Dataset],
        sustained: tuple[SustainedNetwork, ...] = (),
    ) -> CampaignRecord:
        """The record of results.

        Args:
            found: of a campaign.
            names: of what failed, by their numbers.
            path: of the dataset.
            others: datasets of what was measured beside the latency, by quantity.
            sustained: what sustained runs told.
        """
        from latcast.data.audit import audit

        data = found.dataset
        is_of_space = data.space is not None
        issues = audit(data) if is_of_space else []
        return cls(
            dataset=path,
            target=str(data.target),
            architectures=len(data) if is_of_space else None,
            networks=None if is_of_space else len(data),
            lowest_ms=float(data.latency_ms.min()),
            highest_ms=float(data.latency_ms.max()),
            failed=dict(found.failures),
            unfinished=found.unfinished,
            unstable=int(found.unstable.sum()),
            noise_of_a_run=found.drift.noise,
            drift_range=found.drift.range,
            inference_share=found.inference_share,
            warnings=list(found.warnings),
            audit=[f"{f.kind}: {f.message}" for f in issues],
            failed_names=dict(names),
            datasets={name: str(dataset_path(path, name)) for name in others},
            by_network=MeasuredNetwork.of(data, others),
            sustained=sustained,
            states=MachineState.of(found.drift.factor.tolist()),
        )

    def headline(self) -> str:
        return f"Measured on {self.target}"

    def answer(self) -> str:
        what = "network" if self.architectures is None else "architecture"
        count = self.networks if self.architectures is None else self.architectures
        low, high = ms_text(self.lowest_ms), ms_text(self.highest_ms)
        took = f"{count} {what}s take {low} to {high} ms"
        if count == 1:
            took = f"1 {what} takes {low} ms"
        doubts = [
            f"{n} {name}"
            for n, name in (
                (self.unstable, "not known to 3 %"),
                (len(self.failed), "failed"),
                (self.unfinished, "unfinished"),
            )
            if n
        ]
        return (
            f"{took}; the machine drifted by {100 * self.drift_range:.1f} %, and a run scatters by "
            f"{100 * self.noise_of_a_run:.1f} %" + (f" ({', '.join(doubts)})." if doubts else ".")
        )  # fmt: skip

    def figures(self) -> Iterator[Figure]:
        yield from sustained_figures(self.sustained)
        if len(self.states) > 1:
            runs = [s.run for s in self.states]
            slower = [100 * (s.slowness - 1) for s in self.states]
            yield Figure(
                "The machine during the campaign", Axis("run"), Axis("slower by, %"),
                (Series("", runs, slower, "line"),), (Guide("", y=0.0),),
                "How much slower the machine was in every run; the dataset's latencies are "
                "corrected for it.",
            )  # fmt: skip
        rows = [(n.network, n.p50_ms or n.latency_ms, n.p50_ms, n.p99_ms or n.p90_ms)
                for n in sorted(self.by_network, key=lambda n: -n.latency_ms)]  # fmt: skip
        yield charts.intervals(
            "Samples", rows, of="network",
            caption="The median of all samples; the bar reaches to their 99th percentile, or the "
            "90th of fewer than a hundred."
            + (f" The slowest {charts.MAX_ROWS}." if len(rows) > charts.MAX_ROWS else ""),
        )  # fmt: skip

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        networks = self._networks("samples of every network")
        first = replace(next(self._summaries()), title="the campaign as a whole")
        others = sustained_parts(self.sustained) if self.sustained else ()
        yield from sections_of(self.figures(), [first, networks, *others])

    def parts(self) -> Iterator[Table | str]:
        yield from self._summaries()
        if len(self.by_network) <= MAX_NETWORKS:
            yield self._networks("samples as they were measured:")
        if self.sustained:
            yield from sustained_parts(self.sustained)

    def _networks(self, title: str) -> Table:
        """The table of all networks, without columns that hold nothing, such as of energy."""
        told = [c for c in _NETWORK_COLUMNS if any(c.cell(n) != MISSING for n in self.by_network)]
        return Table(told, self.by_network, title)

    def _summaries(self) -> Iterator[Table]:
        what = "networks" if self.architectures is None else "architectures"
        rows = [
            (what, self.networks if self.architectures is None else self.architectures),
            ("latency, ms", f"{self.lowest_ms:.3g} – {self.highest_ms:.3g}"),
            ("inputs a second", self._rates()),
            *self._others(),
            *self._tails(),
            ("noise of one run, %", f"{100 * self.noise_of_a_run:.2f}"),
            ("drift of the machine, %", f"{100 * self.drift_range:.2f}"),
            ("time spent in inference, %", f"{100 * self.inference_share:.0f}"),
            ("unstable", self.unstable),
            ("failed", len(self.failed)),
            ("unfinished", self.unfinished),
        ]
        yield pairs(("measured", "value"), rows, self.target)

    def _rates(self) -> str:
        rates = [network.inputs_per_s for network in self.by_network]
        return f"{min(rates):.4g} – {max(rates):.4g}"

    def _others(self) -> Iterator[tuple[str, str]]:
        """Yield the quantities that were measured beside the latency, each with its text."""
        for of in (PEAK_MEMORY_MB, ENERGY_MJ):
            values = [getattr(network, of.name) for network in self.by_network]
            if known := [value for value in values if value is not None]:
                yield f"{of.label}, {of.unit}", f"{min(known):.3g} – {max(known):.3g}"

    def _tails(self) -> Iterator[tuple[str, str]]:
        """How far percentiles are above the median of samples, in the median over networks."""
        for name in ("p90_ms", "p99_ms"):
            pairs = [(getattr(n, name), n.p50_ms) for n in self.by_network]
            over = [high / middle - 1 for high, middle in pairs if high and middle]
            if over:
                label = f"{name.removesuffix('_ms')} over the median of samples, %"
                yield label, f"{100 * float(np.median(over)):.2f}"

    def doubts(self) -> Iterator[str]:
        for number, reason in list(self.failed.items())[:MAX_FAILURES]:
            yield f"failed: {self.failed_names[number]}: {reason}"
        for warning in self.warnings:
            yield f"warning: {warning}"
        for issue in self.audit:
            yield f"audit: {issue}"
        for network in self.sustained:
            if network.steady_after_s is None:
                yield (
                    f"not steady: {network.network} still changed after {network.seconds:.0f} s: "
                    "--sustain it for longer"
                )


@dataclass(frozen=True, repr=False)
class FleetRecord(Record):
    """The results of the hosts of a fleet, target by target.

    Attributes:
        campaigns: of the targets, in the fleet's order.
        failed: campaign file of a target of which not all was measured -> the reason.
        runs_by_host: text of a host -> runs that it made since the fleet was started or resumed.
        left_out: text of a host that failed, whose share went on elsewhere -> the reason.
    """

    schema = "fleet"

    campaigns: tuple[CampaignRecord, ...]
    failed: Mapping[str, str]
    runs_by_host: Mapping[str, int]
    left_out: Mapping[str, str]

    def headline(self) -> str:
        return f"Measured by a fleet of {counted(len(self.runs_by_host), 'host')}"

    def answer(self) -> str:
        return _told_of(self.campaigns)

    def figures(self) -> Iterator[Figure]:
        yield self._runs()
        yield from _figures_of(self.campaigns)

    def _runs(self) -> Figure:
        rows = [(host, float(runs)) for host, runs in sorted(self.runs_by_host.items())]
        return charts.bars("Runs by host", rows, "runs", of="host", form=",.0f")

    def sections(self) -> Iterator[Section]:
        for campaign in self.campaigns:
            for heading, parts in campaign.sections():
                yield f"{heading} ({campaign.target})", parts
        yield "hosts", [self._runs(), *[*self.parts()][-1:]]

    def parts(self) -> Iterator[Table | str]:
        for campaign in self.campaigns:
            yield from campaign.parts()
            yield ""
        yield pairs(("host", "runs"), sorted(self.runs_by_host.items()), "hosts")

    def doubts(self) -> Iterator[str]:
        for campaign in self.campaigns:
            yield from (f"{campaign.target}: {doubt}" for doubt in campaign.doubts())
        for host, reason in self.left_out.items():
            yield f"left out: {host}: {reason}"
        for path, reason in self.failed.items():
            yield f"failed: {path}: {reason}"


_NETWORK_COLUMNS = (
    Column("network", lambda network: end_of(network.network, 60)),
    Column("latency, ms", "latency_ms", ".4g"),
    Column("p50", "p50_ms", ".4g"),
    Column("p90", "p90_ms", ".4g"),
    Column("p99", "p99_ms", ".4g"),
    Column("inputs/s", "inputs_per_s", ".4g"),
    Column("samples", "samples"),
    Column("memory, MB", "peak_memory_mb", ".4g"),
    Column("energy, mJ", "energy_mj", ".4g"),
)


@dataclass(frozen=True)
class PrecisionFactor:
    """How much longer networks took in one precision than in another.

    Attributes:
        precision: of the target.
        than: that of the first target.
        networks: that were measured in both.
        median: of the factors of their latencies; below 1 the precision is faster.
        lowest: the least factor.
        highest: the greatest factor.
        faster: share of the networks that are faster in the precision.
    """

    precision: str
    than: str
    networks: int
    median: float
    lowest: float
    highest: float
    faster: float


_FACTOR_COLUMNS = (
    Column("precision", "precision"),
    Column("than", "than"),
    Column("networks", "networks"),
    Column("median factor", "median", ".3g"),
    Column("lowest", "lowest", ".3g"),
    Column("highest", "highest", ".3g"),
    Column("faster, %", "faster", ".0f", 100),
)


@dataclass(frozen=True, repr=False)
class CampaignsRecord(Record):
    """Campaigns of several precisions, which took turns on one machine.

    Attributes:
        campaigns: a record of each.
        factors: latencies of each precision beside those of the first one.
    """

    schema = "campaigns"
    frame = "campaigns"

    campaigns: tuple[CampaignRecord, ...]
    factors: tuple[PrecisionFactor, ...]

    @classmethod
    def of(cls, found: Sequence[tuple[Dataset, CampaignRecord]]) -> CampaignsRecord:
        """The record of campaigns with their datasets, of which the first one is compared with."""
        (first, _), *others = found
        factors = [factor for data, _ in others if (factor := _factor(data, first)) is not None]
        return cls(tuple(record for _, record in found), tuple(factors))

    def answer(self) -> str:
        told = [
            f"{f.precision} takes {f.median:.2f} times as long as {f.than} in the median of "
            f"{counted(f.networks, 'network')}"
            for f in self.factors
        ]
        return f"{'; '.join(told)}." if told else _told_of(self.campaigns)

    def figures(self) -> Iterator[Figure]:
        if self.factors:
            yield self._factors()
        yield from _figures_of(self.campaigns)

    def _factors(self) -> Figure:
        rows = [(f"{f.precision} against {f.than}", f.median, f.lowest, f.highest)
                for f in self.factors]  # fmt: skip
        return charts.intervals(
            "Latencies of both precisions", rows, of="precision", label="times as long",
            guide=Guide("as long", x=1.0), note=charts.note_in(".3g", ""),
            caption="The median of the networks; bars reach from the least to the greatest factor.",
        )  # fmt: skip

    def sections(self) -> Iterator[Section]:
        if self.factors:
            table = Table(_FACTOR_COLUMNS, self.factors)
            yield "latencies of both precisions", [self._factors(), table]
        for campaign in self.campaigns:
            for heading, parts in campaign.sections():
                yield f"{heading} ({campaign.target})", parts

    def parts(self) -> Iterator[Table | str]:
        for campaign in self.campaigns:
            yield from campaign.parts()
        if self.factors:
            yield Table(_FACTOR_COLUMNS, self.factors, "\nlatencies of both precisions:")

    def doubts(self) -> Iterator[str]:
        for campaign in self.campaigns:
            yield from (f"{campaign.target}: {text}" for text in campaign.doubts())


def _figures_of(campaigns: Sequence[CampaignRecord]) -> Iterator[Figure]:
    for campaign in campaigns:
        for figure in campaign.figures():
            yield replace(figure, title=f"{figure.title} ({campaign.target})")


def _told_of(campaigns: Sequence[CampaignRecord]) -> str:
    return " ".join(f"{campaign.target}: {campaign.answer()}" for campaign in campaigns)


def _factor(data: Dataset, first: Dataset) -> PrecisionFactor | None:
    """Return the factor over networks in both datasets, by name or genes; None without any."""
    own, other = (dict(zip(_keys(d), d.latency_ms.tolist(), strict=True)) for d in (data, first))
    factors = np.array([own[key] / other[key] for key in own if key in other])
    if not len(factors):
        return None
    return PrecisionFactor(
        data.target.precision, first.target.precision, len(factors), float(np.median(factors)),
        float(factors.min()), float(factors.max()), float((factors < 1).mean()),
    )  # fmt: skip


def _keys(data: Dataset) -> Sequence[object]:
    return data.names if data.space is None else [genes.tobytes() for genes in data.archs.genes]


def dataset_path(path: str | Path, name: str) -> Path:
    """The file of a quantity's dataset, beside that of the latencies: ``cpu.energy_mj.parquet``."""
    return Path(path).with_suffix(f".{name}.parquet")


def conclude(
    campaign: CampaignFile, path: str, *, like_ms: float | None = None
) -> tuple[Dataset, CampaignRecord]:
    """The dataset of a campaign's latencies, and its record.

    Args:
        campaign: an open campaign file.
        path: what the record calls the dataset's file; it is not written.
        like_ms: as of :func:`latcast.measure.results`.

    Raises:
        ValueError: as of :func:`latcast.measure.results`.
    """
    found, sources = results(campaign, like_ms=like_ms), campaign.networks()
    is_of_space = found.dataset.space is not None
    names = {n: f"architecture {n}" if is_of_space else sources[n].name for n in found.failures}
    others = quantity_datasets(campaign, found.dataset)
    warnings = [*found.warnings, *failed_quantities(campaign.runs())]
    found = replace(found, warnings=warnings)
    sustained = sustained_networks(campaign, found.dataset)
    return found.dataset, CampaignRecord.of(found, names, path, others, sustained)


def measure_networks(
    networks: Networks,
    target: str | Target,
    out: str | Path,
    *,
    runs: int | None = None,
    seed: int = 0,
    host: str = "",
    quantities: Sequence[str] = (),
    resume: bool = False,
    time_limit_s: float | None = None,
    like_ms: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CampaignRecord:
    """Time networks on this machine or another, and write a dataset.

    The raw record is kept beside the dataset, in a file that ends in ``.campaign``.

    Args:
        networks: what :class:`latcast.measure.Plan` takes: architectures, variants, ONNX files.
        target: that the latencies are of, such as ``my-machine/onnxruntime/b1/t1``.
        out: dataset to write (``.parquet``).
        runs: of every network, in as many processes.
        seed: of the networks' parameters and of the order of runs.
        host: where to measure, as :func:`latcast.measure.hosts.host` takes it; here by default.
        quantities: what is measured beside the latency, a dataset each.
        resume: go on with what the campaign's file holds.
        time_limit_s: measure as many of the networks as fit.
        like_ms: the reference network's latency in an earlier campaign, to correct to.
        on_progress: called after every run.

    Raises:
        Exception: as of :func:`latcast.measure.open_or_resume`, :func:`latcast.measure.run` and
            :func:`latcast.measure.results`.
    """
    out = Path(out)
    if out.suffix != ".parquet":
        raise ValueError(f"out must end in .parquet; got {out}")
    the_target = Target.parse(target) if isinstance(target, str) else target
    with find_host(host) as board:
        board.check(the_target)
        protocol = Protocol(**board.protocol, **({} if runs is None else {"runs": runs}))
        plan = Plan(the_target, networks, protocol, seed, host=host, quantities=quantities)
        with open_or_resume(out.with_suffix(".campaign"), plan, resume=resume) as campaign:
            run(campaign, on=board, time_budget_s=time_limit_s, on_progress=on_progress)
            data, record = conclude(campaign, str(out), like_ms=like_ms)
            others = quantity_datasets(campaign, data)
    data.save(out)
    for name, other in others.items():
        other.save(record.datasets[name])
    return record
