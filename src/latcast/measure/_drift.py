"""The drift of a machine during a campaign, estimated and taken out.

In logarithms, with ``factor = curve(t) + offset[process]`` for what the machine does to a visit::

    latency   = truth[architecture] + factor + noise
    reference = level + loading * factor + own offset[process] + noise

Noise follows Student's t. The curve is a random walk whose steps follow Cauchy's law, so that it
keeps still, climbs slowly, or jumps where the visits say so; offsets are normal. Scales are found
by expectation maximization, with the t as a normal of random precision (Lange, Little and Taylor
1989, *Robust statistical modeling using the t distribution*). Whether there are a curve and
offsets at all, how restless the curve is, and whether the reference helps, is decided by
predicting visits that were held out: the simplest model that is not clearly worse is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ._drift_model import Fit, Problem, choose, medians_by_arch

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

__all__ = ["Drift", "Visits", "estimate_drift", "medians_by_arch"]


@dataclass(frozen=True, eq=False)
class Visits:
    """Visits in order of time, as parallel arrays.

    Attributes:
        arch: number of the architecture, 0 … m - 1, shape (n,).
        process: number of the worker process, shape (n,).
        latency_ms: the visit's median, shape (n,).
        reference_ms: median of the reference network before and after, shape (n, 2); NaN where
            it was not timed.
        time_s: seconds since the campaign's start, shape (n,), never falling: the machine may
            change more in a longer gap. None: at equal distances.
    """

    arch: Integers
    process: Integers
    latency_ms: Floats
    reference_ms: Floats
    time_s: Floats | None = None

    def __len__(self) -> int:
        return len(self.arch)


@dataclass(frozen=True, eq=False)
class Drift:
    """What the machine did during a campaign.

    Attributes:
        factor: slowness of the machine at every visit, offset of the process included, shape
            (n,); its median is 1 (unless :meth:`shifted`), and it is 1 throughout where no drift
            could be shown.
        corrected_ms: the visits' medians without it, shape (n,).
        noise: what is left: relative standard deviation of one visit; NaN where no architecture
            was visited twice.
        loading: drift of the reference for a drift of the networks of 1; NaN where the reference
            was not used.
        process_spread: relative standard deviation of the processes' offsets; 0: none shown.
    """

    factor: Floats
    corrected_ms: Floats
    noise: float
    loading: float
    process_spread: float

    def shifted(self, by: float) -> Drift:
        """The same drift seen from a state of the machine ``by`` times as fast."""
        return replace(self, factor=self.factor * by, corrected_ms=self.corrected_ms / by)

    @property
    def range(self) -> float:
        """Difference of the slowest and the fastest state, as a share; single visits aside."""
        low, high = np.quantile(self.factor, (0.01, 0.99))
        return float(high / low - 1)


def estimate_drift(visits: Visits) -> Drift:
    """Estimate the drift from repeated visits and the reference network.

    Raises:
        ValueError: there is no visit, the arrays do not go together, a latency is not positive
            and finite, or time goes back.
    """
    problem = Problem(visits.arch, visits.process, *_checked(visits))
    fit = Fit(problem, np.ones(len(visits), dtype=np.bool_), choose(problem))
    factor = np.exp(fit.factor - np.median(fit.factor))
    corrected = np.asarray(visits.latency_ms, dtype=np.float64) / factor
    return Drift(factor, corrected, fit.noise(), fit.loading, fit.process_spread)


def _checked(visits: Visits) -> tuple[Floats, Floats, Floats]:
    """Latencies (n,), reference (n, 2) and times (n,)."""
    n = len(visits)
    latency = np.asarray(visits.latency_ms, dtype=np.float64)
    reference = np.asarray(visits.reference_ms, dtype=np.float64)
    time = np.asarray(np.arange(n) if visits.time_s is None else visits.time_s, dtype=np.float64)
    if not n:
        raise ValueError("drift needs at least one visit; got none")
    shapes = (visits.process.shape, latency.shape, time.shape, reference.shape)
    if shapes != ((n,), (n,), (n,), (n, 2)):
        raise ValueError(
            f"process, latency_ms and time_s must have the shape ({n},), and reference_ms "
            f"({n}, 2); got {shapes}"
        )
    if not (np.isfinite(latency) & (latency > 0)).all():
        row = int(np.argmin(np.isfinite(latency) & (latency > 0)))
        raise ValueError(
            f"latencies must be positive and finite; got {latency[row]} in visit {row}: "
            "leave it out"
        )
    if not (np.diff(time) >= 0).all():
        raise ValueError("visits must be in order of time; time_s falls: sort them")
    return latency, reference, time
