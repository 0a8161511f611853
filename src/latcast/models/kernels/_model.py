"""A fitted layer model: milliseconds of kernels and of networks, with standard deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.graph import UNKNOWN
from latcast.math.laplace import NormalWeights
from latcast.networks import ALL_KINDS, Networks

from ._features import Basis, Whole
from ._posterior import Noise, network_deviation, network_shares
from ._prices import Prices

Floats = npt.NDArray[np.float64]

# Of the log latency of a kernel whose operator nobody knows: a factor of about three.
UNKNOWN_DEVIATION = 1.0


@dataclass(frozen=True)
class Forecast:
    """Log-normal forecasts of n networks of d kernels.

    Attributes:
        ms: medians, shape (n,).
        deviation: standard deviations of the logarithm, shape (n,).
        factor: of every network on its kernels: what does not add up, shape (n,).
        kernel_ms: milliseconds of each kernel without that factor, shape (d,).
        kernel_deviation: standard deviations of their logarithms, shape (d,).
    """

    ms: Floats
    deviation: Floats
    factor: Floats
    kernel_ms: Floats
    kernel_deviation: Floats


@dataclass(frozen=True)
class LayerModel:
    """Prices times what was learnt of efficiency.

    Attributes:
        prices: prior mean of every kernel's milliseconds.
        basis: features of a kernel's logarithm beside that.
        whole: features of a network's.
        weights: of the features of kernels, then of those of networks.
        noise: of observations.
    """

    prices: Prices
    basis: Basis
    whole: Whole
    weights: NormalWeights
    noise: Noise

    def forecast(self, kernels: Networks, beyond: Floats | float = 0.0) -> Forecast:
        """Latencies of n networks of d kernels.

        Args:
            kernels: of the networks.
            beyond: variances of kernels' log latencies that come besides, shape (d,).
        """
        features, rest = self.basis.features_and_rest(kernels)
        whole, whole_rest = self.whole.features_and_rest(kernels, self.prices)
        p = features.shape[1]
        log_ms = np.log(self.prices(kernels)) + features @ self.weights.mean[:p]
        total, shares = network_shares(kernels.counts, log_ms)
        factor = np.exp(whole @ self.weights.mean[p:])
        rest = (
            rest
            + beyond
            + np.where(kernels.kinds == ALL_KINDS.index(UNKNOWN), UNKNOWN_DEVIATION**2, 0.0)
        )
        variance = (
            self.weights.variance(np.hstack([shares @ features, whole]))
            + _correlated(shares, kernels.kinds, rest)
            + whole_rest
            + network_deviation(shares, self.noise) ** 2
        )
        alone = np.hstack([features, np.zeros((len(features), whole.shape[1]))])
        kernel_variance = self.weights.variance(alone) + rest + self.noise.kernel**2
        return Forecast(
            total * factor, np.sqrt(variance), factor, np.exp(log_ms), np.sqrt(kernel_variance)
        )


def _correlated(shares: sp.csr_matrix, kinds: npt.NDArray[np.int64], variance: Floats) -> Floats:
    """Variance of log sums (n,) if kernels of one kind err alike, those of others independently."""
    member = np.zeros((len(kinds), len(ALL_KINDS)))
    member[np.arange(len(kinds)), kinds] = np.sqrt(variance)
    by_kind = np.asarray(shares @ member)
    return np.asarray((by_kind**2).sum(axis=1))
