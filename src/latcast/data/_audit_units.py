"""Latencies that are most likely in another unit, by what devices can do at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.devices import Target, device, target_facts
from latcast.spaces import Archs

from ._audited import Audited, Finding
from ._dataset import Dataset
from ._quantity import LATENCY_MS

Floats = npt.NDArray[np.float64]

# Rows that are looked at: a unit is of all rows, and the median of these tells.
MAX_ROWS = 60
# Of the public tables, HELP, OFANAS and ours (518 targets on devices of the catalogue) the median
# latency is 1.3 to 1,150 times the physical bound and five microseconds for each kernel; nearly
# all lie between 2.5 and 60.
KERNEL_MS, LOWEST_RATIO, HIGHEST_RATIO, TYPICAL_RATIO = 0.005, 0.5, 2_000.0, 10.0
# Of any device: the fastest of these targets takes 7.5 microseconds a kernel at the median, the
# slowest computes 45 million multiply-adds a second; a kernel takes at most a millisecond besides.
FASTEST_KERNEL_MS, TYPICAL_KERNEL_MS = 0.003, 0.1
SLOWEST_MACS, SLOWEST_KERNEL_MS = 1e7, 1.0
# Of the multiply-adds of its definition, what a convolution is computed with at least: below the
# 64/324 of Winograd's largest tiles (latcast.networks.bound), which need not be loaded to say so.
MIN_MACS_SHARE = 1 / 8


@dataclass(frozen=True)
class _Facts:
    """Facts of a target for its bound; fp32 may be computed in halves where the target has them."""

    facts: Mapping[str, float | None]
    precision: str

    @property
    def in_halves(self) -> bool:
        return self.precision == "fp32" and bool(self.facts.get("has_fp16"))


@dataclass(frozen=True)
class Doubt:
    """A unit that latencies are most likely in.

    Attributes:
        unit: in words.
        factor: of the values, to make them milliseconds.
        median_ms: median of the values as they are.
        times: of the least that is possible (of the most, where they are too slow), the median.
        is_fast: whether they are too fast, rather than too slow.
        whom: what they are compared to.
    """

    unit: str
    factor: float
    median_ms: float
    times: float
    is_fast: bool
    whom: str

    @property
    def sentence(self) -> str:
        """The suspicion and its reason, for a message."""
        if self.is_fast:
            why = f"only {self.times:.2g} of the least that {self.whom} can take"
        else:
            why = f"{self.times:,.2g} times as slow as {self.whom} should be at worst"
        return (
            f"latencies look like {self.unit}, not milliseconds for a whole batch: the median, "
            f"{self.median_ms:.3g}, is {why}"
        )

    @property
    def advice(self) -> str:
        """The remedy, if it is so."""
        named = {"seconds": "s", "microseconds": "us", "nanoseconds": "ns"}.get(self.unit)
        return (
            f"Read the table with --unit {named} (in Python, unit={named!r})"
            if named
            else f"Multiply the values by {self.factor:g}"
        )


@dataclass(frozen=True)
class _Work:
    """Lower bounds of the work of n networks on a target.

    Attributes:
        kernels: that are run, shape (n,).
        macs: multiply-adds, shape (n,).
        bound_ms: by the device's arithmetic and its memory, shape (n,); 0 where it is unknown.
    """

    kernels: Floats
    macs: Floats
    bound_ms: Floats

    @classmethod
    def of(cls, data: Dataset, facts: Mapping[str, float | None]) -> _Work:
        """Counted kernel by kernel.

        Raises:
            ValueError: the networks are of another batch than the target.
        """
        from latcast.networks import Networks
        from latcast.networks.bound import bound_ms

        networks = Networks.of(data.networks, data.target)
        kernels = np.asarray(networks.counts.sum(axis=1)).ravel()
        macs = np.asarray(networks.counts @ networks.fact("macs"))
        return cls(kernels, macs, bound_ms(networks, _Facts(facts, data.target.precision)))

    @classmethod
    def around(
        cls, archs: Archs, facts: Mapping[str, float | None], target: Target
    ) -> tuple[_Work, _Work]:
        """Bound the work of architectures from below and above, by facts of their blocks.

        Fusing leaves at least one kernel and makes none, dead code may be run or not, Winograd's
        tiles and half precision may help or not, and a cache may hold all constants or none.
        """
        space, own = archs.space, archs.space.expand(archs)
        table = space.block_table.facts
        macs, params, launches = (
            space.gather(archs, table[name]) for name in ("macs", "param_bytes", "launches")
        )
        live = own.space.live_blocks(own)
        fewest_macs = target.batch * (macs * live).sum(axis=1)
        most_macs = target.batch * macs.sum(axis=1)
        peak, bandwidth = facts.get("bound_flops"), facts.get("bandwidth_gb_s")
        below = MIN_MACS_SHARE * fewest_macs / peak * 1e3 if peak else np.zeros(len(archs))
        above = 2 * most_macs / peak * 1e3 if peak else np.zeros(len(archs))
        if bandwidth:
            above = above + params.sum(axis=1) / (bandwidth * 1e9) * 1e3
        one = np.ones(len(archs))
        return cls(one, fewest_macs, below), cls(launches.sum(axis=1), most_macs, above)

    def ratios(
        self, values: Floats, facts: Mapping[str, float | None]
    ) -> tuple[float, float, float]:
        """The median latency by the least that is possible, and between what it has to lie."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if facts.get("bound_flops") is not None:
                times = _median(values / (self.bound_ms + KERNEL_MS * self.kernels))
                return times, LOWEST_RATIO, HIGHEST_RATIO
            times = _median(values / (FASTEST_KERNEL_MS * self.kernels))
            at_worst = self.macs / SLOWEST_MACS * 1e3 + SLOWEST_KERNEL_MS * self.kernels
            slowest = _median(values / at_worst)
        return times, 1.0, times / slowest if slowest > 0 else np.inf


def unit_doubt(data: Dataset) -> Doubt | None:
    """The unit that latencies are most likely in; None where they may well be milliseconds.

    They are compared to what the device's arithmetic, its memory and the launches of kernels take
    at least; of a device that is not known, to what any device does.
    """
    possible = np.flatnonzero(data.possible)
    if data.quantity != LATENCY_MS or not possible.size:
        return None
    rows = possible[np.linspace(0, len(possible) - 1, min(len(possible), MAX_ROWS)).astype(int)]
    some, target = data[rows], data.target
    facts = _facts(target)
    # Nearly all are what they claim to be, which is told without a look at any kernel.
    if isinstance(some.networks, Archs):
        fewest, most = _Work.around(some.networks, facts, target)
        slowest, fastest = fewest.ratios(some.values, facts), most.ratios(some.values, facts)
        if fastest[0] >= fastest[1] and slowest[0] <= slowest[2]:
            return None
    try:
        work = _Work.of(some, facts)
    except ValueError:  # of another batch than the target: what they cost here is not known
        return None
    times, low, high = work.ratios(some.values, facts)
    if not np.isfinite(times) or low <= times <= high:
        return None
    is_known = facts.get("bound_flops") is not None
    whom = target.device if is_known else "any device"
    typical = TYPICAL_RATIO if is_known else TYPICAL_KERNEL_MS / FASTEST_KERNEL_MS
    is_fast = times < low
    others = _faster_units(target.batch) if is_fast else {"microseconds": 1e-3, "nanoseconds": 1e-6}
    unit = min(others, key=lambda name: abs(np.log(times * others[name] / typical)))
    by = times / low if is_fast else times / high
    return Doubt(unit, others[unit], float(np.median(some.values)), by, is_fast, whom)


def check_units(audited: Audited) -> Iterator[Finding]:
    """Seconds, microseconds, or milliseconds of one sample of a batch."""
    if (doubt := unit_doubt(audited.data)) is None:
        return
    yield Finding(
        "unit",
        "warning",
        doubt.sentence,
        {
            "unit": doubt.unit,
            "factor": doubt.factor,
            "median_ms": doubt.median_ms,
            "times": doubt.times,
        },
        "A model of these rows forecasts another unit, and what is adapted to them mixes two.",
        f"{doubt.advice} if so; else check the target's device, batch and precision.",
    )


def _faster_units(batch: int) -> dict[str, float]:
    one = {f"milliseconds of one of the {batch} samples of a batch": float(batch)}
    return {"seconds": 1e3, **(one if batch > 1 else {})}


def _median(values: Floats) -> float:
    found = values[np.isfinite(values)]
    return float(np.median(found)) if found.size else np.nan


def _facts(target: Target) -> Mapping[str, float | None]:
    """Facts of a target by the catalogue; empty for a device that is not in it."""
    try:
        return target_facts(device(target.device), target.runtime, target.threads, target.precision)
    except ValueError:
        return {}
