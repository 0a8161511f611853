"""A fitted layer model: milliseconds of kernels and of networks, with standard deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.networks.graph import UNKNOWN

from ._basis import Basis
from ._kernels import ALL_KINDS, KernelCounts
from ._posterior import Noise, Weights, network_deviation, network_shares
from ._prices import Prices

Floats = npt.NDArray[np.float64]

UNKNOWN_DEVIATION = 1.0
"""Of the log latency of a kernel whose operator nobody knows: a factor of about three."""


@dataclass(frozen=True)
class Forecast:
    """Log-normal forecasts of n networks.

    Attributes:
        ms: medians, shape (n,).
        deviation: standard deviations of the logarithm, shape (n,).
        kernel_ms: milliseconds of each of the d kernels, shape (d,).
        kernel_deviation: standard deviations of their logarithms, shape (d,).
    """

    ms: Floats
    deviation: Floats
    kernel_ms: Floats
    kernel_deviation: Floats


@dataclass(frozen=True)
class LayerModel:
    """Prices times what was learnt of efficiency.

    Attributes:
        prices: prior mean of every kernel's milliseconds.
        basis: of the features of its logarithm's deviation.
        weights: of the features.
        noise: of observations.
    """

    prices: Prices
    basis: Basis
    weights: Weights
    noise: Noise

    def log_ms(self, kernels: KernelCounts) -> Floats:
        """Logarithm of the milliseconds of every kernel, shape (d,)."""
        return np.asarray(
            np.log(self.prices(kernels)) + self.basis.features(kernels) @ self.weights.mean
        )

    def forecast(self, kernels: KernelCounts) -> Forecast:
        """Latencies of n networks of d kernels."""
        features, rest = self.basis.features_and_rest(kernels)
        log_ms = np.log(self.prices(kernels)) + features @ self.weights.mean
        total, shares = network_shares(kernels.counts, log_ms)
        rest = rest + np.where(kernels.kinds == ALL_KINDS.index(UNKNOWN), UNKNOWN_DEVIATION**2, 0.0)
        variance = (
            self.weights.variance(np.asarray(shares @ features))
            + _correlated(shares, kernels.kinds, rest)
            + network_deviation(shares, self.noise) ** 2
        )
        kernel_variance = self.weights.variance(features) + rest + self.noise.kernel**2
        return Forecast(total, np.sqrt(variance), np.exp(log_ms), np.sqrt(kernel_variance))


def _correlated(shares: sp.csr_matrix, kinds: npt.NDArray[np.int64], variance: Floats) -> Floats:
    """Variance of log sums (n,) if kernels of one kind err alike, those of others independently."""
    member = sp.csr_matrix(
        (np.sqrt(variance), (np.arange(len(kinds)), kinds)), shape=(len(kinds), len(ALL_KINDS))
    )
    by_kind = (shares @ member).toarray()
    return np.asarray((by_kind**2).sum(axis=1))
