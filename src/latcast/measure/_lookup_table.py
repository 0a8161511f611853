"""Lookup tables from measuring: every block by itself, and from the runtime's profiles.

Three ways, none of which is right by itself: a block timed alone finds its inputs in the cache
and pays for its own start; a profiler's clock takes time, and what is fused or moved between
layouts is attributed to one layer; a fit to whole networks
(:func:`latcast.data.additive.fit_additive`) cannot tell blocks apart that only occur together. All
three are therefore compared with networks that none of them has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast import spaces
from latcast.devices import Target
from latcast.graph import Graph, folded
from latcast.spaces import Archs, SearchSpace

from ._campaign import Plan
from ._campaign_file import CampaignFile
from ._drift import estimate_drift
from ._drift_model import medians_by_network
from ._protocol import Protocol
from ._results import as_runs, profiles_of
from ._sources import BlockSource, archs_of

_PROFILED_PASSES = 30
_ONCE = Protocol(runs=1, warm_up_s=0.0, run_s=0.0, min_samples=1, reference_s=0.0, redo=0)
"""Runs beside which networks are profiled, whose own times do not count."""
_COVERING = 2_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far sums of a table are from whole networks that it has not seen.

    Attributes:
        way: ``isolated``, ``profile`` or ``networks``.
        bias: mean of sum / latency - 1.
        mape: mean of abs(sum / latency - 1).
        calibrated_mape: the same after ``scale * sum + overhead`` has been fitted to the
            calibration networks.
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


def distinct_rows(space: SearchSpace, resolutions: Sequence[int] | None = None) -> list[int]:
    """Rows of the block table that networks of these resolutions can have.

    Args:
        space: search space.
        resolutions: None where the space has but one.

    Raises:
        ValueError: the space has no such resolution.
    """
    archs = _covering(space, resolutions)
    ids = np.unique(space.block_ids(archs))
    return [int(i) for i in ids if i < len(space.block_table)]


def _covering(space: SearchSpace, resolutions: Sequence[int] | None) -> Archs:
    """Architectures that together have every block of these resolutions."""
    if resolutions is None:
        return space.sample(_COVERING, 0)
    return space.sample(_COVERING * len(resolutions), 0, restrict={"r": resolutions})


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
    accepted = [run for run in campaign.runs() if run.accepted]
    runs = as_runs(accepted)
    corrected_ms = estimate_drift(runs).corrected_ms
    table[[block.row for block in blocks]] = medians_by_network(
        runs.network, corrected_ms, len(blocks)
    )
    return table


def profiling_plan(target: Target, archs: Archs, seed: int = 0) -> Plan:
    """Plan of a campaign that profiles architectures, each once."""
    return Plan(target, archs, _ONCE, seed, profile_passes=_PROFILED_PASSES)


def profiled_table(campaign: CampaignFile) -> Floats:
    """Milliseconds of every block from the runtime's own profile of whole networks.

    A block's time is the mean over the networks that have it.

    Args:
        campaign: made by :func:`profiling_plan`.

    Returns:
        Shape (rows of the block table,), NaN for rows that no network had.

    Raises:
        ValueError: it is a campaign of other networks, or one could not be profiled.
    """
    archs, runs = archs_of(campaign.networks()), campaign.runs()
    failed = [run.details["profile_failed"] for run in runs if "profile_failed" in run.details]
    profiles = profiles_of(runs)
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
        layers = len(folded(block))
        times.append(sum(profile.get(position + i, 0.0) for i in range(layers)))
        position += layers
    return times


def compare(
    way: str, sums_ms: Floats, latency_ms: Floats, calibration: npt.NDArray[np.bool_]
) -> Comparison:
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
    scale, overhead = calibrate(sums_ms[few], latency_ms[few])
    ratio = sums_ms[rest] / latency_ms[rest] - 1
    calibrated = (scale * sums_ms[rest] + overhead) / latency_ms[rest] - 1
    return Comparison(
        way,
        float(ratio.mean()),
        float(np.abs(ratio).mean()),
        float(np.abs(calibrated).mean()),
        scale,
        overhead,
        int(rest.sum()),
    )


def calibrate(sums_ms: Floats, latency_ms: Floats) -> tuple[float, float]:
    """Scale and overhead that bring sums closest to latencies, by relative least squares."""
    design = np.stack([sums_ms, np.ones_like(sums_ms)], axis=1) / latency_ms[:, None]
    scale, overhead = np.linalg.lstsq(design, np.ones(len(sums_ms)), rcond=None)[0]
    return float(scale), float(overhead)
