"""Bayesian regression on the logarithm of sums: whole networks and single kernels together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._basis import Basis
from ._kernels import ALL_KINDS, KernelCounts
from ._prices import Prices

Floats = npt.NDArray[np.float64]

ROUNDS = 5
CLOCK_MS = 1e-3
"""Step of the clocks of profilers."""
PROFILE_DEVIATION = 0.15
"""How much a profiler's times of a kind may differ from what the kind takes without it."""


@dataclass(frozen=True)
class Noise:
    """Relative standard deviations.

    Attributes:
        network: of a network's latency given those of its kernels.
        kernel: of a kernel's latency given its facts.
        timing: of a profiler's time besides.
    """

    network: float = 0.03
    kernel: float = 0.12
    timing: float = 0.1


@dataclass(frozen=True)
class Posterior:
    """What is known of the weights of the features after the data.

    Attributes:
        mean: shape (features,).
        half: square root of the covariance: ``half.T @ half``, shape (features, features).
        evidence: logarithm of the marginal likelihood, by linearization.
    """

    mean: Floats
    half: Floats
    evidence: float


def learn(
    kernels: KernelCounts,
    total_ms: Floats,
    kernel_ms: Floats,
    prices: Prices,
    basis: Basis,
    noise: Noise,
    *,
    start: Posterior | None = None,
) -> Posterior:
    """Weights of the features, by Gauss and Newton's method.

    The logarithm of kernel k's milliseconds is that of its price plus features @ weights, and a
    network's latency the sum over its kernels. The logarithm of the sum is linear in the weights
    to first order, with the kernels' shares as slopes.

    Args:
        kernels: n networks of d kernels.
        total_ms: latency of every network, shape (n,).
        kernel_ms: of every kernel by a profiler, shape (d,), NaN where there is none.
        prices: of the prior mean.
        basis: of the features.
        noise: of the observations.
        start: prior of the weights; independent and standard normal by default.
    """
    features = basis.features(kernels)
    base = np.log(prices(kernels))
    timed = np.flatnonzero(np.isfinite(kernel_ms))
    kinds = sp.csr_matrix(
        (np.full(len(timed), PROFILE_DEVIATION), (np.arange(len(timed)), kernels.kinds[timed])),
        shape=(len(timed), len(ALL_KINDS)),
    )
    single = sp.hstack([features[timed], kinds], format="csr")
    single_y = np.log(kernel_ms[timed]) - base[timed]
    single_w = 1 / (
        noise.kernel**2 + noise.timing**2 + (CLOCK_MS / kernel_ms[timed]) ** 2
    )
    p = features.shape[1]
    weights = np.zeros(p)
    for _ in range(ROUNDS):
        ms, shares = _shares(kernels.counts, base + features @ weights)
        slopes = np.zeros((len(total_ms), p + len(ALL_KINDS)))
        slopes[:, :p] = (shares @ features).toarray()
        y = np.log(total_ms) - np.log(ms) + slopes[:, :p] @ weights
        spread = shares.multiply(shares).sum(axis=1).A1 if hasattr(shares.multiply(shares).sum(axis=1), "A1") else np.asarray(shares.multiply(shares).sum(axis=1)).ravel()
        w = 1 / (noise.network**2 + noise.kernel**2 * spread)
        w1 = _robust(single_w, single_y - single @ np.r_[weights, np.zeros(len(ALL_KINDS))]) if weights.any() else single_w
        precision = np.eye(slopes.shape[1]) + (slopes.T * w) @ slopes
        precision += np.asarray((single.T @ single.multiply(w1[:, None]).tocsr()).todense())
        right = slopes.T @ (w * y) + single.T @ (w1 * single_y)
        factor = np.linalg.cholesky(precision)
        solved = np.linalg.solve(factor, right)
        full = np.linalg.solve(factor.T, solved)
        weights = full[:p]
    evidence = 0.5 * float(
        solved @ solved
        - (w * y) @ y
        - (w1 * single_y) @ single_y
        + np.log(w).sum()
        + np.log(w1).sum()
    ) - float(np.log(np.diag(factor)).sum())
    half = np.linalg.solve(factor, np.eye(len(factor)))[:, :p]
    return Posterior(weights, half, evidence)


def _shares(counts: sp.csr_matrix, log_ms: Floats) -> tuple[Floats, sp.csr_matrix]:
    """Milliseconds of every network (n,), and each kernel's share of them (n, d)."""
    parts = counts @ sp.diags(np.exp(log_ms))
    total = np.asarray(parts.sum(axis=1)).ravel()
    return total, sp.csr_matrix(sp.diags(1 / total) @ parts)


def _robust(weights: Floats, residual: Floats, corner: float = 2.5) -> Floats:
    """Weights by Huber: what is far out counts less."""
    z = np.abs(residual) * np.sqrt(weights)
    return np.asarray(weights * np.minimum(1.0, corner / np.maximum(z, corner)))
