"""Observations of kernels, and their physical prices: arithmetic, bytes and launches.

And what a profiler adds to every kernel that it times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy

from latcast.graph import OPERATORS
from latcast.math.least_squares import non_negative
from latcast.math.robust import huber, reweighted, robust_deviation
from latcast.networks import ALL_KINDS, OPS, Networks

Floats = npt.NDArray[np.float64]

# Kinds, and kinds of operators, that matrix units and dot products of short integers speed up.
_DENSE = ("conv", "conv_transpose", "linear", "matmul", "attention")
_IS_DENSE = np.array([kind in _DENSE for kind in ALL_KINDS])
_KIND_OF_OP = np.array(
    [ALL_KINDS.index(OPERATORS[op].kind if op in OPERATORS else op) for op in OPS]
)
# Prices of a kind: of an operation, of a byte of activations, of a byte of constants, of a launch.
WORK = 4
# Numbers that a vector register holds: what does not fill the last one is wasted.
VECTOR = 16
# Of a kernel's row against a network's.
TIMED_WEIGHT = 0.1
# Weight with which prices keep to those of more kernels, against rows as above.
KEEP = 0.2
# Of the networks' time, that each kind of work takes at least: a price of nothing is not one.
MIN_SHARE = 1e-3
# Of the price that it keeps to, a price has at least so much: a runtime that fuses more than the
# rules say makes some kernels next to free, and the logarithm of nothing is no number.
MIN_OF_NEAR = 0.1
ROUNDS = 6
# Factor between measured and predicted beyond which an error weighs no more.
MAX_FACTOR = 30.0
_TINY, _TINY_RIDGE = 1e-300, 1e-9
OVERHEAD_ROUNDS = 8
# Of a time, that is left to a kernel however short it was.
MIN_LEFT = 0.1
# Share of a network's kernels that must be timed for their times to be all of it.
WHOLE_SHARE = 0.5
# How far the overhead of a single kernel may be from the mean, as a share of it.
OVERHEAD_SPREAD = 0.5
# Step of the clocks of profilers.
CLOCK_MS = 1e-3


@dataclass(frozen=True)
class Noise:
    """Relative standard deviations.

    Attributes:
        network: of a network's latency given those of its kernels.
        kernel: of a kernel's latency given its facts.
        timing: of a profiler's time of it besides.
    """

    network: float = 0.02
    kernel: float = 0.1
    timing: float = 0.1


@dataclass(frozen=True)
class Observed:
    """The measurements of n networks of d kernels.

    Attributes:
        kernels: of the networks.
        total_ms: latency of every network, shape (n,).
        times_ms: of a kernel in a network by a profiler, the mean if the network has it several
            times; shape (n, d), nothing where it was not timed.
        clock_ms: standard deviation that such a time has however short it is.
        excess_variance: of the logarithm of every latency beyond a stable one's, shape (n,); none
            by default.
    """

    kernels: Networks
    total_ms: Floats
    times_ms: scipy.sparse.csr_matrix
    clock_ms: float = CLOCK_MS
    excess_variance: Floats | None = None

    def deviation(self, of_model: Floats) -> Floats:
        """Deviations (n,) of a model's errors with those of unstable measurements, shape (n,)."""
        if self.excess_variance is None or not self.excess_variance.any():
            return of_model
        return np.sqrt(of_model**2 + self.excess_variance)

    @cached_property
    def timed(self) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Kernels with a time, their geometric mean over networks in ms, and how many those are."""
        # Geometric means: a network that the profiler caught in a slow state moves them less, and
        # what is fitted is the logarithm.
        log = self.times_ms.copy()
        log.data = np.log(log.data)
        count = np.bincount(log.indices, minlength=log.shape[1])
        rows = np.flatnonzero(count)
        total = np.asarray(log.sum(axis=0)).ravel()
        return rows, np.exp(total[rows] / count[rows]), count[rows].astype(np.float64)

    def mean_where_timed(self, values: Floats) -> Floats:
        """Means of the networks' values (n, k) over those that each timed kernel was timed in."""
        where = scipy.sparse.csr_matrix(self.times_ms != 0, dtype=np.float64)
        rows, _, count = self.timed
        return np.asarray((where.T @ values)[rows] / count[:, None])


# A matrix (n, d) of networks by kernels, dense for one network alone.
Incidence: TypeAlias = "scipy.sparse.csr_matrix | Floats"


def network_shares(counts: Incidence, log_ms: Floats) -> tuple[Floats, Incidence]:
    """Milliseconds of every network (n,), and what share of them each kernel has (n, d)."""
    with np.errstate(over="ignore"):  # a step too long is halved
        parts = _columns_scaled(counts, np.exp(log_ms))
    total = np.asarray(parts.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore"):
        inverse = np.divide(1.0, total, out=np.zeros(len(total)), where=total != 0)
        if isinstance(parts, np.ndarray):
            return total, parts * inverse[:, None]
        return total, scipy.sparse.csr_matrix(scipy.sparse.diags(inverse) @ parts)


def _columns_scaled(counts: Incidence, factors: Floats) -> Incidence:
    if isinstance(counts, np.ndarray):
        return counts * factors
    return scipy.sparse.csr_matrix(counts @ scipy.sparse.diags(factors))


def network_deviation(shares: Incidence, noise: Noise) -> Floats:
    """Standard deviation of a network's log latency beside what the weights leave open, (n,).

    A kernel that a network has several times errs the same way each time.
    """
    squares = shares**2 if isinstance(shares, np.ndarray) else shares.multiply(shares)
    sums = np.asarray(squares.sum(axis=1)).ravel()
    return np.asarray(np.sqrt(noise.network**2 + noise.kernel**2 * sums))


@dataclass(frozen=True)
class Prices:
    """Milliseconds for each unit of work.

    Operators have prices of their own, and others for channels in blocks; those that rows say
    little of keep to those of their kind, and these to those of all kernels. An operator that was
    not seen in a layout has its price in the other, or that of its kind.

    Attributes:
        by_kind: shape (kinds, 4), columns as in :data:`WORK`.
        classes: operators, in blocks or not, that have prices of their own, ascending; shape (m,),
            as in :func:`classes_of`.
        by_class: their prices, shape (m, 4).
        fills_vectors: whether operations are those of whole vectors, as in :func:`work_of`; not of
            models in files that are older than that.
    """

    by_kind: Floats
    classes: npt.NDArray[np.int64]
    by_class: Floats
    fills_vectors: bool = True

    @classmethod
    def fit(cls, observed: Observed) -> Prices:
        """Prices of the kernels of some networks."""
        kernels, total_ms = observed.kernels, observed.total_ms
        timed, kernel_ms, _ = observed.timed
        latency_ms = np.concatenate([total_ms, kernel_ms])
        weights = np.concatenate([np.ones(len(total_ms)), np.full(len(timed), TIMED_WEIGHT)])

        def solve(groups: npt.NDArray[np.int64], near: Floats | None) -> Floats:
            design = _design(kernels, timed, groups)
            prices = _solve(design, weights, latency_ms, near)
            return prices.reshape(-1, WORK)

        # From all kernels over kinds to operators: each level has the one above to keep to, so that
        # an operator in two networks is not priced by their noise.
        pooled = solve(np.zeros(len(kernels.ops), dtype=np.int64), None)
        pooled = np.maximum(pooled, MIN_SHARE * _typical(kernels, total_ms))
        kinds, positions = np.unique(kernels.kinds, return_inverse=True)
        by_kind = np.tile(pooled, (len(ALL_KINDS), 1))
        by_kind[kinds] = solve(positions, np.tile(pooled, (len(kinds), 1)).ravel())
        by_kind = np.maximum(by_kind, MIN_OF_NEAR * pooled)
        classes, first, positions = np.unique(
            classes_of(kernels), return_index=True, return_inverse=True
        )
        near = by_kind[kernels.kinds[first]]
        by_class = solve(positions, near.ravel())
        by_class = np.maximum(by_class, MIN_OF_NEAR * near)
        if len(timed):
            # A profiler that never names an operator says that it is part of others.
            own = np.isin(classes, classes_of(kernels)[timed])
            # The last bit is the layout: `^ 1` is the same operator in the other one.
            other = np.isin(classes ^ 1, classes[own])
            by_class[~own] = MIN_OF_NEAR * near[~own]
            classes, by_class = classes[own | ~other], by_class[own | ~other]
        return cls(by_kind, classes, by_class)

    def __call__(self, kernels: Networks) -> Floats:
        """Milliseconds of every kernel, shape (d,), positive."""
        return np.asarray(self.parts(kernels).sum(axis=1))

    def scaled(self, factor: float, products: float = 1.0) -> Prices:
        """Prices so many times as high, and operations of dense products so many times again."""
        by_kind, by_class = self.by_kind * factor, self.by_class * factor
        by_kind[_IS_DENSE, 0] *= products
        by_class[_IS_DENSE[_KIND_OF_OP[self.classes // 2]], 0] *= products
        return replace(self, by_kind=by_kind, by_class=by_class)

    def parts(self, kernels: Networks) -> Floats:
        """Return the ms of every kernel by kind of work, shape (d, 4)."""
        prices = self.by_kind[kernels.kinds]
        wanted = classes_of(kernels)
        for classes in (wanted ^ 1, wanted):  # in the other layout, if not in its own
            found = np.minimum(np.searchsorted(self.classes, classes), len(self.classes) - 1)
            known = self.classes[found] == classes
            prices = np.where(known[:, None], self.by_class[found], prices)
        return np.asarray(work_of(kernels, fills_vectors=self.fills_vectors) * prices)


def classes_of(kernels: Networks) -> npt.NDArray[np.int64]:
    """Twice the number of the main operator, and one more in blocks; shape (d,)."""
    return np.asarray(2 * kernels.ops + kernels.fact("blocked").astype(np.int64))


def work_of(kernels: Networks, *, fills_vectors: bool = True) -> Floats:
    """Return the work of every kernel by kind, shape (d, 4).

    An operation is a MAC, or without any what is done for one pixel of the window of an output.
    Convolutions fill vectors with channels: of 20 outputs as many as of 32 are computed, and in
    blocks of channels a sum over 20 has 32 terms. On an EPYC a MAC in blocks takes .021 ns where
    vectors are filled and .063 ns where outputs fill a quarter to a half of one: .022 ns of what
    is computed.
    """
    macs = kernels.fact("macs")
    visits = kernels.fact("positions") * kernels.fact("outputs") * kernels.fact("window")
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    # Pooling and activations have no MACs, but take time for each element that they look at.
    operations = np.where(macs > 0, macs, visits)
    if fills_vectors:
        operations = operations * _filled(kernels)
    return np.stack([operations, moved, kernels.fact("param_bytes"), np.ones(len(macs))], axis=1)


def _filled(kernels: Networks) -> Floats:
    """Operations of convolutions on whole vectors of channels over those asked for, (d,)."""
    is_depthwise = kernels.kinds == ALL_KINDS.index("depthwise_conv")
    is_dense = kernels.kinds == ALL_KINDS.index("conv")
    outputs, inputs = kernels.fact("outputs"), kernels.fact("inputs")
    own = np.where(is_depthwise, outputs, outputs / np.maximum(kernels.fact("groups"), 1))
    # Fewer channels than a block are those of an image, which are read as they come.
    in_blocks = is_dense & (kernels.fact("blocked") > 0) & (inputs >= VECTOR)
    filled = np.where(is_dense | is_depthwise, vector_waste(own), 1.0)
    return np.where(in_blocks, filled * vector_waste(inputs), filled)


def vector_waste(channels: Floats) -> Floats:
    """Numbers in whole vector registers over the channels that they hold, from 1; shape (d,)."""
    channels = np.maximum(channels, 1.0)
    return np.asarray(np.ceil(channels / VECTOR) * VECTOR / channels)


def _typical(kernels: Networks, total_ms: Floats) -> Floats:
    """Prices at which each work alone would take as long as the networks do, shape (4,)."""
    sums = kernels.counts @ work_of(kernels)
    return np.asarray(total_ms.sum() / np.maximum(sums.sum(axis=0), 1.0))


def _design(
    kernels: Networks, timed: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]
) -> Floats:
    """Work of every network, then of every kernel that was timed, by group (d,) of kernels."""
    columns = (WORK * groups[:, None] + np.arange(WORK)).ravel()
    rows = np.repeat(np.arange(len(groups)), WORK)
    shape = (len(groups), WORK * (int(groups.max()) + 1))
    matrix = scipy.sparse.csr_matrix((work_of(kernels).ravel(), (rows, columns)), shape=shape)
    stacked: Floats = scipy.sparse.vstack([kernels.counts @ matrix, matrix[timed]]).toarray()
    return stacked


def _solve(dense: Floats, weights: Floats, latency_ms: Floats, near: Floats | None) -> Floats:
    """Prices that are not negative, by least squares of errors of the logarithm, as it were.

    Each round solves a non-negative problem (Lawson and Hanson, *Solving Least Squares Problems*,
    1974) of errors divided by the geometric mean of what was measured and what the last round
    predicted: to second order, that is the logarithm's error. Relative to the measured latencies
    alone, prices would come out low. ``near`` holds what prices keep to that the rows say nothing
    of.
    """
    scale = near if near is not None else _column_scale(dense, latency_ms)
    dense = dense * scale
    hold = KEEP**2 if near is not None else 0.0
    pull = hold + _TINY_RIDGE
    # In the first round nothing is predicted yet: errors are relative to the measured latency.
    prices = np.ones(len(scale))
    for round_ in range(ROUNDS):
        predicted = dense @ prices
        against = latency_ms if round_ == 0 else np.sqrt(latency_ms * predicted)
        against = np.clip(against, latency_ms / MAX_FACTOR, latency_ms * MAX_FACTOR)
        x, y = dense * (weights / against)[:, None], weights * latency_ms / against
        prices = non_negative(x, y, pull=pull, toward=hold / pull)
    return np.asarray(prices * scale)


def _column_scale(dense: Floats, latency_ms: Floats) -> Floats:
    return np.asarray(1 / np.maximum((dense / latency_ms[:, None]).max(axis=0), _TINY))


def without_overhead(observed: Observed) -> Observed:
    """The profiler's times less what timing itself took, adding up to the networks' latencies.

    The overhead is one number for all kernels: with it, times of a network's kernels add up to
    the network's latency, but for a factor. It is found by non-negative least squares of relative
    errors, with Huber's weights. A network is profiled once, in whatever state its machine is then:
    what is left of its times is brought to its latency, which was measured several times.
    """
    overhead_ms = _overhead_ms(observed)
    times = scipy.sparse.csr_matrix(observed.times_ms, copy=True)
    times.data = np.maximum(times.data - overhead_ms, MIN_LEFT * times.data)
    counts = observed.kernels.counts
    share = _row_sums(counts.multiply(times != 0)) / np.maximum(_row_sums(counts), 1)
    sums = _row_sums(times.multiply(counts))
    whole = share >= WHOLE_SHARE
    # A network that was timed in part only must not have its parts stretched to its whole latency.
    factors = np.where(whole, observed.total_ms / np.where(whole, sums, 1.0), 1.0)
    times = scipy.sparse.csr_matrix(scipy.sparse.diags(factors) @ times)
    return replace(observed, times_ms=times, clock_ms=OVERHEAD_SPREAD * overhead_ms)


def _overhead_ms(observed: Observed) -> float:
    counts, times = observed.kernels.counts, observed.times_ms
    timed = _row_sums(counts.multiply(times != 0))
    # Only networks that were timed almost as a whole can tell.
    rows = np.flatnonzero(timed >= WHOLE_SHARE * _row_sums(counts))
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

    (factor, overhead), _ = reweighted(fit, weigh, len(rows), OVERHEAD_ROUNDS)
    return float(overhead / factor) if factor > 0 else 0.0


def _row_sums(matrix: scipy.sparse.csr_matrix) -> Floats:
    return np.asarray(matrix.sum(axis=1)).ravel()
