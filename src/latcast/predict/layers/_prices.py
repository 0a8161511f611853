"""What a kernel costs by physics alone: prices of arithmetic, bytes and launches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._kernels import ALL_KINDS, KernelCounts

Floats = npt.NDArray[np.float64]

WORK = 4
"""Prices of a kind: of a MAC, of a byte of activations, of a byte of constants, of a launch."""
POOL_WEIGHT = 0.03
"""How firmly a kind's price keeps to that of all kinds, in relative errors of a row each."""
LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Prices:
    """Milliseconds for each unit of work.

    Attributes:
        by_kind: shape (kinds, 4), columns as in :data:`WORK`.
    """

    by_kind: Floats

    @classmethod
    def fit(
        cls, kernels: KernelCounts, total_ms: Floats, kernel_ms: Floats, weight: float
    ) -> Prices:
        """Prices that are not negative, by relative least squares.

        Args:
            kernels: n networks of d kernels.
            total_ms: of the networks, shape (n,).
            kernel_ms: of the kernels by a profiler, shape (d,), NaN where it is not known.
            weight: of a kernel's row against a network's.
        """
        timed = np.flatnonzero(np.isfinite(kernel_ms))
        work = work_of(kernels)
        observed = np.concatenate([total_ms, kernel_ms[timed]])
        relative = np.concatenate([np.ones(len(total_ms)), np.full(len(timed), weight)]) / observed
        pooled = _solve(_design(kernels, timed, work, by_kind=False), relative, observed)
        pooled = np.maximum(pooled, LEAST_SHARE * _typical(work, kernels, total_ms))
        priced = _solve(
            _design(kernels, timed, work, by_kind=True), relative, observed,
            np.tile(pooled, len(ALL_KINDS)),
        )  # fmt: skip
        return cls(priced.reshape(len(ALL_KINDS), WORK))

    def __call__(self, kernels: KernelCounts) -> Floats:
        """Milliseconds of every kernel, shape (d,), positive."""
        return np.einsum("dw,dw->d", work_of(kernels), self.by_kind[kernels.kinds])


def work_of(kernels: KernelCounts) -> Floats:
    """What every kernel does of each work, shape (d, 4)."""
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes")
    columns = (kernels.fact("macs"), moved, kernels.fact("param_bytes"), np.ones(len(moved)))
    return np.stack(columns, axis=1)


def _typical(work: Floats, kernels: KernelCounts, total_ms: Floats) -> Floats:
    """Prices at which each work alone would take as long as the networks do, shape (4,)."""
    sums = kernels.counts @ work
    return np.asarray(total_ms.sum() / np.maximum(sums.sum(axis=0), 1.0))


def _design(
    kernels: KernelCounts, timed: npt.NDArray[np.int64], work: Floats, *, by_kind: bool
) -> sp.csr_matrix:
    if by_kind:
        spread = [
            work * (kernels.kinds == kind)[:, None] for kind in range(len(ALL_KINDS))
        ]
        work = np.hstack(spread)
    matrix = sp.csr_matrix(work)
    return sp.vstack([kernels.counts @ matrix, matrix[timed]], format="csr")


def _solve(
    design: sp.csr_matrix, relative: Floats, observed: Floats, near: Floats | None = None
) -> Floats:
    """Non-negative least squares of relative errors (Lawson and Hanson 1974).

    ``near`` holds prices that those which the rows say nothing of keep to.
    """
    from scipy.optimize import nnls

    x = np.asarray((sp.diags(relative) @ design).todense())
    y = relative * observed
    scale = np.abs(x).max(axis=0) + 1e-300
    if near is not None:
        scale = near
        x = np.vstack([x * scale, POOL_WEIGHT * np.eye(len(scale)) * np.sqrt(len(observed))])
        y = np.concatenate([y, np.full(len(scale), POOL_WEIGHT * np.sqrt(len(observed)))])
    else:
        x = x / scale
        scale = 1 / scale
    q, r = np.linalg.qr(x)
    prices, _ = nnls(r, q.T @ y)
    return np.asarray(prices * scale)
