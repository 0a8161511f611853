"""Latencies that are most likely in another unit, by what devices can do at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.devices import Target, device, target_facts
from latcast.networks import Networks
from latcast.networks.bound import bound_ms

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
    try:
        networks = Networks.of(some.networks, target)
    except ValueError:  # of another batch than the target: what they cost here is not known
        return None
    kernels = np.asarray(networks.counts.sum(axis=1)).ravel()
    macs = np.asarray(networks.counts @ networks.fact("macs"))
    facts = _facts(target)
    with np.errstate(divide="ignore", invalid="ignore"):
        if facts.get("bound_flops") is not None:
            least = bound_ms(networks, _Facts(facts, target.precision)) + KERNEL_MS * kernels
            times, whom = _median(some.values / least), target.device
            low, high, typical = LOWEST_RATIO, HIGHEST_RATIO, TYPICAL_RATIO
        else:
            least = FASTEST_KERNEL_MS * kernels
            times, whom = _median(some.values / least), "any device"
            at_worst = macs / SLOWEST_MACS * 1e3 + SLOWEST_KERNEL_MS * kernels
            slowest = _median(some.values / at_worst)
            low, typical = 1.0, TYPICAL_KERNEL_MS / FASTEST_KERNEL_MS
            high = times / slowest if slowest > 0 else np.inf
    if not np.isfinite(times) or low <= times <= high:
        return None
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
        f"Multiply the values by {doubt.factor:g} if so; else check the target's device, batch and "
        "precision.",
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
