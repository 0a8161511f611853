"""Eight costs of a target, positive, with a log-normal prior that other targets have taught.

ms = sum_j exp(w_j) a_j of a network: MACs of 3x3, 1x1, other and depthwise convolutions and of
linear layers, bytes of activations and of weights, and the number of kernels. The logarithm of it
is linearized around the current w (Laplace), so that a posterior is a few Gauss-Newton steps:
Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from latcast.networks import OPS, Networks

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

COSTS = 8
# ms of one unit of each, of a middling phone; the prior learns the rest.
_NOMINAL = np.array([1e-7, 1e-7, 1e-7, 1e-6, 1e-7, 2e-7, 2e-7, 1e-2])
_CONVOLUTIONS = ("conv", "depthwise_conv", "conv_transpose")
_NOISE = 0.1**2
_ROUNDS, _STEPS = 8, 5
# Weight of a deviation of 0.5 each in the covariance of the targets, as of so many targets.
_PRIOR_TARGETS, _PRIOR_VARIANCE = 4.0, 0.5**2
_LONGEST_STEP = 3.0


@dataclass(frozen=True, eq=False)
class Prior:
    """Normal prior of the log costs: mean (8,), covariance (8, 8), and variance of the noise."""

    mean: Floats
    covariance: Floats
    noise: float


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Amounts of n networks: logarithms of their nominal ms, shape (n, 8); -inf for none."""

    log_amounts: Floats

    @staticmethod
    @lru_cache(maxsize=512)  # the same networks are asked for with every draw of measurements
    def of(networks: Networks) -> Coefficients:
        """Sums over the kernels of every network."""
        ops = np.array(OPS)[networks.ops]
        macs, window = networks.fact("macs"), networks.fact("window")
        is_conv = np.isin(ops, _CONVOLUTIONS)
        is_depthwise = is_conv & (networks.fact("groups") > 1) & (networks.fact("inputs") <= 1)
        rest = is_conv & ~is_depthwise
        kinds = (
            rest & (window > 8) & (window <= 9), rest & (window <= 1),
            rest & (window > 1) & ~((window > 8) & (window <= 9)), is_depthwise, ~is_conv,
        )  # fmt: skip
        columns = [macs * kind for kind in kinds]
        columns += [networks.fact("read_bytes") + networks.fact("write_bytes")]
        columns += [networks.fact("param_bytes"), np.ones(len(macs))]
        amounts = np.asarray(networks.counts @ np.column_stack(columns)) * _NOMINAL
        with np.errstate(divide="ignore"):
            return Coefficients(np.log(amounts))

    def log_ms(self, weights: Floats) -> Floats:
        """Logarithm of the latency of every network, (n,)."""
        return np.asarray(np.logaddexp.reduce(self.log_amounts + weights, axis=1))

    def shares(self, weights: Floats) -> Floats:
        """Share of every cost, which is the slope of :meth:`log_ms`, (n, 8)."""
        terms = self.log_amounts + weights
        return np.asarray(np.exp(terms - np.logaddexp.reduce(terms, axis=1)[:, None]))

    def posterior(self, prior: Prior, rows: Numbers, log_ms: Floats) -> tuple[Floats, Floats]:
        """Mean (8,) and covariance (8, 8) of the weights after networks ``rows`` were measured."""
        own, weights, covariance = (
            Coefficients(self.log_amounts[rows]),
            prior.mean,
            prior.covariance,
        )
        if not len(rows):
            return weights, covariance
        known = _inverse(prior.covariance)
        for _ in range(_STEPS):
            slopes = own.shares(weights)
            covariance = _inverse(known + slopes.T @ slopes / prior.noise)
            rest = log_ms - own.log_ms(weights) - slopes @ (prior.mean - weights)
            step = prior.mean + covariance @ (slopes.T @ rest) / prior.noise - weights
            weights = weights + step * min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-9))
        return weights, covariance

    def learn(self, targets: Sequence[tuple[Numbers, Floats]]) -> Prior:
        """The prior that makes rows of networks and their log ms, by target, most likely (EM)."""
        prior = Prior(np.zeros(COSTS), np.eye(COSTS), _NOISE)
        for _ in range(_ROUNDS):
            found = [self.posterior(prior, rows, y) for rows, y in targets]
            means = np.array([mean for mean, _ in found])
            middle = means.mean(axis=0)
            spread = (means - middle).T @ (means - middle) + sum(c for _, c in found)
            spread = spread + _PRIOR_TARGETS * _PRIOR_VARIANCE * np.eye(COSTS)
            errors = np.concatenate(
                [
                    y - Coefficients(self.log_amounts[rows]).log_ms(w)
                    for (rows, y), (w, _) in zip(targets, found, strict=True)
                ]
            )
            noise = max(float(np.mean(errors**2)), 1e-4)
            prior = Prior(middle, spread / (len(targets) + _PRIOR_TARGETS), noise)
        return prior


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
