"""A lookup table built by measuring: three ways to make one, compared with whole networks.

None of them is right by itself: a block timed alone finds its inputs in the cache and pays for its
own start; a profiler's clock takes time, and what is fused or moved between layouts is attributed
to one layer; a fit to whole networks (:func:`latcast.data.additive.fit_additive`) cannot tell
blocks apart that only occur together. All three are therefore compared with networks that none of
them has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast import measure, spaces
from latcast.data.additive import fit_additive
from latcast.devices import Target
from latcast.graph import Graph
from latcast.measure import BlockSource, CampaignFile, Plan, Protocol, Results, archs_of
from latcast.measure.runtimes import runtime as find_runtime
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.record import Record, Section
from latcast.report.table import Column, Table
from latcast.spaces import Archs, SearchSpace

from .lookup_table import LookupTable

# Networks that every table is calibrated on: two numbers, a scale and an overhead.
CALIBRATION = 20
WAYS = ("isolated", "profile", "networks")
_WAYS_IN_WORDS = {
    "isolated": "made of blocks timed alone",
    "profile": "made of the runtime's profile",
    "networks": "fitted to whole networks",
}
# Way -> ending of the file that keeps its raw records.
_RECORDS = {
    "networks": ".networks.campaign",
    "isolated": ".blocks.campaign",
    "profile": ".profiles.campaign",
}

Floats = npt.NDArray[np.float64]
# Way -> milliseconds of every block, and of what no block accounts for.
_Tables = dict[str, tuple[Floats, float]]
_PASSES = 30  # of every profile
# Runs beside which networks are profiled, whose own times do not count.
_ONCE = Protocol(runs=1, warm_up_s=0.0, run_s=0.0, min_samples=1, reference_s=0.0, redo=0)
# Samples at each resolution, among which every block is met; tests count the blocks.
_COVERING = 2_000


@dataclass(frozen=True)
class TableErrors:
    """Errors of a table: how far its sums are from whole networks that it has not seen.

    Attributes:
        way: ``isolated``, ``profile`` or ``networks``.
        bias: mean of sum / latency - 1.
        mape: mean of abs(sum / latency - 1).
        calibrated_mape: mean of abs(sum / latency - 1) after ``scale * sum + overhead`` has been
            fitted to the calibration networks.
        scale: of the calibration.
        overhead_ms: of the calibration.
        networks: how many it was compared with; the calibration's own are not among them.
    """

    way: str
    bias: float
    mape: float
    calibrated_mape: float
    scale: float
    overhead_ms: float
    networks: int


@dataclass(frozen=True, repr=False)
class MeasuredTable(Record):
    """A lookup table that was built, beside those of the other ways.

    Attributes:
        model: file that it is written to.
        target: the target that was measured.
        chosen: way of the table that was written.
        ways: how far sums of each table are from whole networks.
        warnings: doubts about the measurements, a sentence each.
        failed: row of a block -> why it could not be timed by itself.
    """

    schema = "lookup-table"
    frame = "ways"

    model: str
    target: str
    chosen: str
    ways: tuple[TableErrors, ...]
    warnings: list[str]
    failed: Mapping[int, str]

    def headline(self) -> str:
        return f"A lookup table of {self.target}"

    def answer(self) -> str:
        own = next((c for c in self.ways if c.way == self.chosen), None)
        if own is None:
            return ""
        others = len(self.ways) - 1
        closest = f", the closest of {len(self.ways)} ways" if others else ""
        return (
            f"The table is {_WAYS_IN_WORDS[own.way]}{closest}: its sums are "
            f"{100 * own.mape:.1f} % off whole networks that it has not seen on average, and "
            f"{100 * own.calibrated_mape:.1f} % once calibrated, as it is written."
        )

    def figures(self) -> Iterator[Figure]:
        for title, name in (
            ("Errors of sums as they are", "mape"),
            ("Errors of sums once calibrated", "calibrated_mape"),
        ):
            rows = [(_WAYS_IN_WORDS[c.way], 100 * getattr(c, name)) for c in self.ways]
            yield charts.bars(title, rows, "mean absolute error, %", of="table")

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("table", lambda c: c.way + (" *" if c.way == self.chosen else "")),
            Column("bias, %", "bias", "+.1f", 100),
            Column("MAPE, %", "mape", ".1f", 100),
            Column("calibrated MAPE, %", "calibrated_mape", ".1f", 100),
            Column("scale", "scale", ".3f"),
            Column("overhead, ms", "overhead_ms", ".3f"),
            Column("networks", "networks"),
        )
        yield Table(columns, self.ways, f"{self.target}: sums against whole networks")

    def sections(self) -> Iterator[Section]:
        from latcast.report.page import sections_of

        (table,) = self.parts()
        marked = "The way marked * is the one that is written."
        yield from sections_of(self.figures(), [table, marked])

    def doubts(self) -> Iterator[str]:
        for row, reason in self.failed.items():
            yield f"failed: block {row}: {reason}"
        if not any(c.way == "profile" for c in self.ways):
            yield "note: the runtime has no profiler that can be read; that way is left out"
        for warning in self.warnings:
            yield f"warning: {warning}"


@dataclass(frozen=True, repr=False)
class ConvertedTable(Record):
    """A model that was made of one of Once-For-All's lookup tables.

    Attributes:
        model: file that it is written to.
        target: that the table belongs to.
        resolutions: that it knows.
    """

    schema = "converted-lookup-table"
    no_figure = "the table itself is in the file"

    model: str
    target: str
    resolutions: list[int]

    def answer(self) -> str:
        return f"{self.model} forecasts {self.target} by Once-For-All's own lookup table."

    def parts(self) -> Iterator[Table | str]:
        yield f"{self.target}: resolutions {', '.join(map(str, self.resolutions))}"


@dataclass(frozen=True)
class TablePlan:
    """The blocks, the target and the way of building a table.

    Attributes:
        space: whose blocks are timed; not one that is a part of another.
        target: to measure on.
        resolutions: of the networks; None where the space has but one.
        networks: whole networks to compare with.
        seed: of everything chance decides.
        protocol: how networks are timed.
        host: to measure on, as :attr:`latcast.measure.Plan.host`.
        options: what the plan was made from, which its records keep (:func:`began_with`).
    """

    space: SearchSpace
    target: Target
    resolutions: Sequence[int] | None
    networks: int
    seed: int
    protocol: Protocol
    host: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def plans(self) -> dict[str, Plan]:
        """Campaigns by way: of whole networks, blocks by themselves, and profiles of networks.

        Raises:
            ValueError: the space has no such resolution, or the runtime cannot have the target.
        """
        target = self.target
        own: dict[str, Any] = {"host": self.host, "options": self.options}
        if not self.host:  # another host says it when it is asked for the target
            kind = find_runtime(target.runtime)
            kind(threads=target.threads, batch=target.batch, precision=target.precision)
        blocks = measure.blocks_of(self.space, distinct_rows(self.space, self.resolutions))
        plans = {
            "networks": Plan(target, self._sample(self.seed), self.protocol, self.seed, **own),
            "isolated": Plan(target, blocks, self.protocol, self.seed, **own),
        }
        if measure.host(self.host).has_profiler(target.runtime):
            archs = self._sample(self.seed + 1)
            plans["profile"] = Plan(target, archs, _ONCE, self.seed, profile_passes=_PASSES, **own)
        return plans

    def _sample(self, seed: int) -> Archs:
        restrict = None if self.resolutions is None else {"r": list(self.resolutions)}
        return self.space.sample(self.networks, seed, restrict=restrict).unique()


def began_with(out: Path) -> dict[str, Any]:
    """Options of the plan whose records are kept beside a model's file; none where there are none.

    Raises:
        ValueError: what is there is no campaign.
    """
    path = out.with_suffix(_RECORDS["networks"])  # the first that is begun
    if not path.exists():
        return {}
    with CampaignFile.open(path) as campaign:
        plan = campaign.plan()
    return {"host": plan.get("host", ""), **plan.get("options", {})}


def build_table(
    plan: TablePlan,
    out: Path,
    *,
    way: str | None = None,
    resume: bool = False,
    run: Callable[[CampaignFile], None] = measure.run,
) -> tuple[LookupTable, MeasuredTable]:
    """Time every block of a space, and compare the sums with whole networks.

    Tables are made in three ways: blocks timed by themselves, the runtime's own profile of whole
    networks, and a fit to whole networks. The one that is closest to networks it has not seen is
    taken, calibrated on 20 networks.

    Args:
        plan: what to measure.
        out: the model's file, which is not written; raw records are kept beside it.
        way: of :data:`WAYS`; the best by default.
        resume: go on with the records of an earlier run.
        run: makes the runs of a campaign.

    Raises:
        FileExistsError: there are records, and they are not to be resumed.
        AnotherCampaignError: the records are of another plan.
        ValueError: the space has no such resolution, or the runtime has no profiler and ``way``
            asks for it.
    """
    plans = plan.plans()

    @contextmanager
    def campaign(way: str) -> Iterator[CampaignFile]:
        path = out.with_suffix(_RECORDS[way])
        with measure.open_or_resume(path, plans[way], resume=resume) as file:
            run(file)
            yield file

    with campaign("networks") as file:
        whole = measure.results(file)
    with campaign("isolated") as file:
        blocks = [source for source in file.networks() if isinstance(source, BlockSource)]
        failed = {blocks[n].row: why for n, why in file.failures().items()}
        tables: _Tables = {"isolated": (isolated_table(file), 0.0)}
    if "profile" in plans:
        with campaign("profile") as file:
            tables["profile"] = (profiled_table(file), 0.0)
    comparisons, calibrated = _compare(plan.space, whole, tables, plan.seed)
    rows = [block.row for block in blocks]
    chosen = way or _best(comparisons, {w: v[rows] for w, (v, _) in calibrated.items()})
    if chosen not in calibrated:
        raise ValueError(
            f"{plan.target.runtime} has no profiler that can be read: choose another --way"
        )
    values, overhead = calibrated[chosen]
    card = {
        "data": dict(whole.dataset.provenance),
        "table": f"made by {chosen}, calibrated on {CALIBRATION} networks",
        "comparisons": [asdict(c) for c in comparisons],
    }
    model = LookupTable.from_blocks(
        plan.space, plan.target, values, overhead_ms=overhead, card=card
    )
    return model, MeasuredTable(
        str(out), str(plan.target), chosen, tuple(comparisons), list(whole.warnings), failed
    )


def _compare(
    space: SearchSpace, whole: Results, tables: _Tables, seed: int
) -> tuple[list[TableErrors], _Tables]:
    """Every table against the third of the networks that none has seen.

    Returns:
        The comparisons, and the tables with their overheads after calibration.
    """
    data = whole.dataset
    order = np.random.default_rng(seed).permutation(len(data))
    test, fitting = order[: len(data) // 3], order[len(data) // 3 :]
    fit = fit_additive(data.archs[fitting], data.latency_ms[fitting])
    # Blocks that all networks share are in the intercept.
    ways = {**tables, "networks": (fit.values_ms, fit.intercept)}
    kept = np.concatenate([fitting[:CALIBRATION], test])
    calibration = np.arange(len(kept)) < CALIBRATION
    comparisons: list[TableErrors] = []
    calibrated: _Tables = {}
    for way, (values, overhead) in ways.items():
        sums = space.block_sums(data.archs[kept], values) + overhead
        found = compare(way, sums, data.latency_ms[kept], calibration)
        comparisons.append(found)
        calibrated[way] = (found.scale * values, found.scale * overhead + found.overhead_ms)
    return comparisons, calibrated


def _best(comparisons: list[TableErrors], tables: dict[str, Floats]) -> str:
    """The way that is closest after calibration, of those that know every block."""
    complete = [c for c in comparisons if np.isfinite(tables[c.way]).all()]
    return min(complete or comparisons, key=lambda c: c.calibrated_mape).way


def compare(
    way: str, sums_ms: Floats, latency_ms: Floats, calibration: npt.NDArray[np.bool_]
) -> TableErrors:
    """Compare sums of a table with whole networks.

    Args:
        way: how the table was made.
        sums_ms: sum over every network's blocks, shape (n,); NaN where the table lacks a block.
        latency_ms: the networks' latencies, shape (n,).
        calibration: which networks are for calibrating only, shape (n,).

    Raises:
        ValueError: fewer than two networks of either kind have all their blocks in the table.
    """
    known = np.isfinite(sums_ms)
    few, rest = known & calibration, known & ~calibration
    if few.sum() < 2 or rest.sum() < 2:
        raise ValueError(
            "comparing needs at least 2 networks to calibrate on and 2 to test on, with all "
            f"their blocks in the table; got {few.sum()} and {rest.sum()}"
        )
    # By relative least squares: errors count as shares of the latencies.
    scale, overhead = np.polyfit(sums_ms[few], latency_ms[few], 1, w=1 / latency_ms[few])
    ratio = sums_ms[rest] / latency_ms[rest] - 1
    calibrated = (scale * sums_ms[rest] + overhead) / latency_ms[rest] - 1
    return TableErrors(
        way,
        float(ratio.mean()),
        float(np.abs(ratio).mean()),
        float(np.abs(calibrated).mean()),
        float(scale),
        float(overhead),
        int(rest.sum()),
    )


def distinct_rows(space: SearchSpace, resolutions: Sequence[int] | None = None) -> list[int]:
    """Rows of the block table that networks of these resolutions can have.

    Args:
        space: search space.
        resolutions: None where the space has but one.

    Raises:
        ValueError: the space has no such resolution.
    """
    restrict = None if resolutions is None else {"r": resolutions}
    archs = space.sample(_COVERING * len(resolutions or (0,)), 0, restrict=restrict)
    ids = np.unique(space.block_ids(archs))
    return [int(i) for i in ids if i < len(space.block_table)]


def isolated_table(campaign: CampaignFile) -> Floats:
    """Milliseconds of every block timed by itself; NaN for rows that were not.

    The drift of the machine during the campaign is taken out.

    Args:
        campaign: of blocks of one space (:func:`latcast.measure.blocks_of`).

    Returns:
        Shape (rows of the block table,).

    Raises:
        ValueError: it is a campaign of other networks.
    """
    blocks = [source for source in campaign.networks() if isinstance(source, BlockSource)]
    names = {block.space for block in blocks}
    if len(names) != 1:
        raise ValueError(f"{campaign.path} must be a campaign of blocks of one space; it is not")
    table = np.full(len(spaces.space(names.pop()).block_table), np.nan)
    table[[block.row for block in blocks]] = measure.corrected_medians(campaign)
    return table


def profiled_table(campaign: CampaignFile) -> Floats:
    """Milliseconds of every block from the runtime's own profile of whole networks.

    A block's time is the mean over the networks that have it.

    Args:
        campaign: of architectures of one space, all profiled.

    Returns:
        Shape (rows of the block table,), NaN for rows that no network had.

    Raises:
        ValueError: it is a campaign of other networks, or one could not be profiled.
    """
    archs, runs = archs_of(campaign.networks()), campaign.runs()
    failed = [run.details["profile_failed"] for run in runs if "profile_failed" in run.details]
    profiles = measure.profiles_of(runs)
    if archs is None or len(profiles) < len(archs):
        reasons = [*campaign.failures().values(), *failed, "there are none of all networks"]
        raise ValueError(f"{campaign.path} must hold profiles of architectures: {reasons[0]}")
    space = archs.space
    rows = len(space.block_table)
    totals, counts = np.zeros(rows), np.zeros(rows)
    for number, ids in enumerate(space.block_ids(archs).tolist()):
        present = [i for i in ids if i < rows]
        blocks = [space.block_table.blocks[i] for i in present]
        np.add.at(totals, present, block_times(blocks, profiles[number]))
        np.add.at(counts, present, 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(totals / counts)


def block_times(blocks: Sequence[Graph], profile: dict[int, float]) -> list[float]:
    """Milliseconds of every block from those of the network's layers.

    Folding takes batch norms out of a network: layer positions count without them.
    """
    times, position = [], 0
    for block in blocks:
        layers = len(block.folded)
        times.append(sum(profile.get(position + i, 0.0) for i in range(layers)))
        position += layers
    return times
