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
TIMED_WEIGHT = 0.1
"""Of a kernel's row against a network's."""
KEEP = 0.03
"""How firmly a kind's prices keep to those of all kinds."""
LEAST_SHARE = 1e-3
"""Of the networks' time, that each kind of work takes at least: a price of nothing is not one."""
_TINY = 1e-300


@dataclass(frozen=True)
class Prices:
    """Milliseconds for each unit of work.

    Attributes:
        by_kind: shape (kinds, 4), columns as in :data:`WORK`.
    """

    by_kind: Floats

    @classmethod
    def fit(cls, observed: Observed) -> Prices:
        """Prices that are not negative, by relative least squares."""
        kernels, total_ms = observed.kernels, observed.total_ms
        timed, kernel_ms, _ = observed.timed
        work = work_of(kernels)
        latency_ms = np.concatenate([total_ms, kernel_ms])
        weights = np.concatenate([np.ones(len(total_ms)), np.full(len(timed), TIMED_WEIGHT)])
        pooled = _solve(_design(kernels, timed, work), weights, latency_ms)
        pooled = np.maximum(pooled, LEAST_SHARE * _typical(work, kernels, total_ms))
        near = np.tile(pooled, len(ALL_KINDS))
        spread = np.hstack([work * (kernels.kinds == n)[:, None] for n in range(len(ALL_KINDS))])
        priced = _solve(_design(kernels, timed, spread), weights, latency_ms, near)
        return cls(priced.reshape(len(ALL_KINDS), WORK))

    def __call__(self, kernels: KernelCounts) -> Floats:
        """Milliseconds of every kernel, shape (d,), positive."""
        return np.asarray((work_of(kernels) * self.by_kind[kernels.kinds]).sum(axis=1))


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
    """Non-negative least squares of relative errors.

    Lawson and Hanson, *Solving Least Squares Problems* (1974). ``near`` holds what prices keep to
    that the rows say nothing of.
    """
    from scipy.optimize import nnls

    x = (sp.diags(weights / latency_ms) @ design).toarray()
    scale = near if near is not None else 1 / np.maximum(x.max(axis=0), _TINY)
    x = x * scale
    y = weights
    if near is not None:
        hold = KEEP * np.sqrt(len(y))
        x, y = np.vstack([x, hold * np.eye(len(near))]), np.append(y, np.full(len(near), hold))
    q, r = np.linalg.qr(x)
    prices, _ = nnls(r, q.T @ y)
    return np.asarray(prices * scale)
