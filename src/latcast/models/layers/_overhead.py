"""What a profiler adds to every kernel that it times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.math.least_squares import non_negative
from latcast.math.robust import huber, reweighted, robust_deviation

from ._posterior import Observed

Floats = npt.NDArray[np.float64]

ROUNDS = 8
LEAST_LEFT = 0.1
"""Of a time, that is left to a kernel however short it was."""
WHOLE = 0.5
"""Share of a network's kernels that must be timed for their times to be all of it."""
SPREAD = 0.5
"""How far the overhead of a single kernel may be from the mean, as a share of it."""


def without_overhead(observed: Observed) -> Observed:
    """The profiler's times less what timing itself took, adding up to the networks' latencies.

    The overhead is one number for all kernels: with it, times of a network's kernels add up to
    the network's latency, but for a factor. It is found by non-negative least squares of relative
    errors, with Huber's weights. A network is profiled once, in whatever state its machine is then:
    what is left of its times is brought to its latency, which was measured several times.
    """
    overhead_ms = _overhead_ms(observed)
    times = sp.csr_matrix(observed.times_ms, copy=True)
    times.data = np.maximum(times.data - overhead_ms, LEAST_LEFT * times.data)
    counts = observed.kernels.counts
    share = _row_sums(counts.multiply(times != 0)) / np.maximum(_row_sums(counts), 1)
    sums = _row_sums(times.multiply(counts))
    whole = share >= WHOLE
    factors = np.where(whole, observed.total_ms / np.where(whole, sums, 1.0), 1.0)
    times = sp.csr_matrix(sp.diags(factors) @ times)
    return Observed(observed.kernels, observed.total_ms, times, SPREAD * overhead_ms)


def _overhead_ms(observed: Observed) -> float:
    counts, times = observed.kernels.counts, observed.times_ms
    timed = _row_sums(counts.multiply(times != 0))
    # Only networks that were timed almost as a whole can tell.
    rows = np.flatnonzero(timed >= WHOLE * _row_sums(counts))
    if len(rows) < 2:
        return 0.0
    profiled_ms = _row_sums(times.multiply(counts))[rows]
    design = np.stack([profiled_ms, -timed[rows]], axis=1) / observed.total_ms[rows, None]
    ones = np.ones(len(rows))

    def fit(weights: Floats) -> tuple[Floats, Floats]:
        solution = non_negative(design, ones, weights)
        return solution, ones - design @ solution

    def weigh(residual: Floats) -> Floats:
        return huber(residual / (robust_deviation(residual, centre=0.0) + 1e-12))

    (factor, overhead), _ = reweighted(fit, weigh, len(rows), ROUNDS)
    return float(overhead / factor) if factor > 0 else 0.0


def _row_sums(matrix: sp.csr_matrix) -> Floats:
    return np.asarray(matrix.sum(axis=1)).ravel()
