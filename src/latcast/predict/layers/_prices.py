"""What a kernel costs by physics alone: prices of arithmetic, bytes and launches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._kernels import ALL_KINDS, KernelCounts
from ._posterior import Observed

Floats = npt.NDArray[np.float64]

WORK = 4
"""Prices of a kind: of an operation, of a byte of activations, of a byte of constants, of a launch.
"""
CLASSES = 2 * len(ALL_KINDS)
TIMED_WEIGHT = 0.1
"""Of a kernel's row against a network's."""
KEEP = 0.03
"""How firmly a kind's prices keep to those of all kinds."""
LEAST_SHARE = 1e-3
"""Of the networks' time, that each kind of work takes at least: a price of nothing is not one."""
ROUNDS = 6
FARTHEST = 30.0
"""Factor between measured and predicted beyond which an error weighs no more."""
_TINY, _TINY_RIDGE = 1e-300, 1e-9


@dataclass(frozen=True)
class Prices:
    """Milliseconds for each unit of work.

    Kernels on channels in blocks have prices of their own.

    Attributes:
        by_class: shape (2 x kinds, 4), columns as in :data:`WORK`; kinds on blocks come last.
    """

    by_class: Floats

    @classmethod
    def fit(cls, observed: Observed) -> Prices:
        """Prices by kind, near those of all kinds together where rows say little."""
        kernels, total_ms = observed.kernels, observed.total_ms
        timed, kernel_ms, _ = observed.timed
        work = work_of(kernels)
        latency_ms = np.concatenate([total_ms, kernel_ms])
        weights = np.concatenate([np.ones(len(total_ms)), np.full(len(timed), TIMED_WEIGHT)])
        pooled = _solve(_design(kernels, timed, work), weights, latency_ms)
        pooled = np.maximum(pooled, LEAST_SHARE * _typical(work, kernels, total_ms))
        classes = classes_of(kernels)
        spread = np.hstack([work * (classes == n)[:, None] for n in range(CLASSES)])
        near = np.tile(pooled, CLASSES)
        priced = _solve(_design(kernels, timed, spread), weights, latency_ms, near)
        return cls(priced.reshape(CLASSES, WORK))

    def __call__(self, kernels: KernelCounts) -> Floats:
        """Milliseconds of every kernel, shape (d,), positive."""
        return np.asarray(self.parts(kernels).sum(axis=1))

    def parts(self, kernels: KernelCounts) -> Floats:
        """What every kernel pays for each work, in ms, shape (d, 4)."""
        return np.asarray(work_of(kernels) * self.by_class[classes_of(kernels)])


def classes_of(kernels: KernelCounts) -> npt.NDArray[np.int64]:
    """Row of the prices of every kernel, shape (d,)."""
    blocked = kernels.fact("blocked").astype(np.int64)
    return np.asarray(kernels.kinds + len(ALL_KINDS) * blocked)


def work_of(kernels: KernelCounts) -> Floats:
    """What every kernel does of each work, shape (d, 4).

    An operation is a MAC, or without any what is done for one pixel of the window of an output.
    """
    macs = kernels.fact("macs")
    visits = kernels.fact("positions") * kernels.fact("outputs") * kernels.fact("window")
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    operations = np.where(macs > 0, macs, visits)
    return np.stack([operations, moved, kernels.fact("param_bytes"), np.ones(len(macs))], axis=1)


def _typical(work: Floats, kernels: KernelCounts, total_ms: Floats) -> Floats:
    """Prices at which each work alone would take as long as the networks do, shape (4,)."""
    sums = kernels.counts @ work
    return np.asarray(total_ms.sum() / np.maximum(sums.sum(axis=0), 1.0))


def _design(kernels: KernelCounts, timed: npt.NDArray[np.int64], work: Floats) -> sp.csr_matrix:
    """Work of every network, then of every kernel that was timed."""
    matrix = sp.csr_matrix(work)
    return sp.vstack([kernels.counts @ matrix, matrix[timed]], format="csr")


def _solve(
    design: sp.csr_matrix, weights: Floats, latency_ms: Floats, near: Floats | None = None
) -> Floats:
    """Prices that are not negative, by least squares of errors of the logarithm, as it were.

    Each round solves a non-negative problem (Lawson and Hanson, *Solving Least Squares Problems*,
    1974) of errors divided by the geometric mean of what was measured and what the last round
    predicted: to second order, that is the logarithm's error. Relative to the measured latencies
    alone, prices would come out low. ``near`` holds what prices keep to that the rows say nothing
    of.
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    dense = design.toarray()
    scale = near if near is not None else _column_scale(dense, latency_ms)
    dense *= scale
    hold = KEEP * np.sqrt(len(latency_ms)) if near is not None else 0.0
    prices = np.ones(len(scale))
    for round_ in range(ROUNDS):
        predicted = dense @ prices
        against = latency_ms if round_ == 0 else np.sqrt(latency_ms * predicted)
        against = np.clip(against, latency_ms / FARTHEST, latency_ms * FARTHEST)
        x = dense * (weights / against)[:, None]
        gram = x.T @ x + (hold**2 + _TINY_RIDGE) * np.eye(len(scale))
        right = x.T @ (weights * latency_ms / against) + hold**2
        # The same problem with as many rows as columns.
        r = cholesky(gram)
        prices, _ = nnls(r, solve_triangular(r, right, trans=1))
    return np.asarray(prices * scale)


def _column_scale(dense: Floats, latency_ms: Floats) -> Floats:
    return np.asarray(1 / np.maximum((dense / latency_ms[:, None]).max(axis=0), _TINY))
