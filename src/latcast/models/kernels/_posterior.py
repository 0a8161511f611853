"""Bayesian regression on the logarithm of sums: whole networks and single kernels together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.laplace import NormalWeights, laplace, mode
from latcast.math.robust import HUBER_CORNER, huber
from latcast.networks import ALL_KINDS

from ._prices import Noise, Observed, network_deviation, network_shares

Floats = npt.NDArray[np.float64]

# How much a profiler's times of a kind may differ from what the kind takes without it.
PROFILE_DEVIATION = 0.2


def learn(
    observed: Observed,
    log_prices: Floats,
    features: Floats,
    whole: Floats,
    noise: Noise,
    before: NormalWeights | None = None,
    whole_timed: Floats | None = None,
) -> tuple[NormalWeights, float]:
    """Weights of features after the data, and the logarithm of the evidence.

    The logarithm of a kernel's milliseconds in a network is that of its price plus
    ``features @ weights``, plus ``whole @ weights`` of the network, and a network's latency is the
    sum over its kernels; the logarithm of the sum is linear in the weights to first order, with
    the kernels' shares as slopes. The profiler's times have Huber's weights.

    Args:
        observed: networks and kernels.
        log_prices: prior mean of the logarithm of every kernel's milliseconds, shape (d,).
        features: of every kernel, shape (d, features).
        whole: features of every network, shape (n, more features).
        noise: of the observations.
        before: what is known of the weights; standard normal by default.
        whole_timed: features beside their own of the kernels that were timed; by default the means
            of those of the networks that they were timed in.
    """
    if whole_timed is None:
        whole_timed = observed.mean_where_timed(whole)
    p = features.shape[1] + whole.shape[1]
    before = before or NormalWeights.standard(p)
    problem = _Problem(observed, log_prices, features, (whole, whole_timed), noise, before)
    weights = mode(problem, problem.centre)
    covariance, evidence = laplace(problem, weights)
    learnt = NormalWeights(weights[:p], before.prior, covariance[:p, :p])
    return learnt, evidence - problem.constant


class _Problem:
    """Negative log posterior of the weights, and of a factor on each kind's profiled times."""

    def __init__(
        self,
        observed: Observed,
        log_prices: Floats,
        features: Floats,
        wholes: tuple[Floats, Floats],
        noise: Noise,
        before: NormalWeights,
    ) -> None:
        whole, whole_timed = wholes
        kernels = observed.kernels
        timed, kernel_ms, times = observed.timed
        self._counts = kernels.counts
        self._base = log_prices
        self._features = features
        self._whole = whole
        self._noise = noise
        self._observed = observed
        self._log_total = np.log(observed.total_ms)
        # Profilers slow some kinds more than others: a factor a kind keeps that out of the
        # efficiencies.
        factors = np.zeros((len(timed), len(ALL_KINDS)))
        factors[np.arange(len(timed)), kernels.kinds[timed]] = PROFILE_DEVIATION
        self._single = _by_kind(
            kernels.kinds[timed],
            np.hstack([features[timed], whole_timed, factors]),
        )
        self._single_y = np.log(kernel_ms) - log_prices[timed]
        # A kernel's own noise does not average out over the networks that were profiled: only the
        # timing's does.
        variance = (
            noise.kernel**2 + (noise.timing**2 + (observed.clock_ms / kernel_ms) ** 2) / times
        )
        self._single_deviation = np.sqrt(variance)
        self.constant = float(np.log(self._single_deviation).sum())
        p = features.shape[1] + whole.shape[1]
        self.size = p + len(ALL_KINDS)
        self.centre = np.concatenate([before.mean, np.zeros(len(ALL_KINDS))])
        self.prior_precision = np.eye(self.size)
        if not np.array_equal(before.covariance, self.prior_precision[:p, :p]):
            self.prior_precision[:p, :p] = scipy.linalg.inv(before.covariance)

    def energy(self, weights: Floats) -> float:
        """Negative log posterior up to a constant that the weights do not change."""
        log_ms, deviation, _ = self._totals(weights)
        z = (self._log_total - log_ms) / deviation
        single = np.abs(self._single_residual(weights)) / self._single_deviation
        huber = np.where(
            single < HUBER_CORNER, 0.5 * single**2, HUBER_CORNER * (single - HUBER_CORNER / 2)
        )
        away = weights - self.centre
        value = 0.5 * (z @ z + away @ self.prior_precision @ away)
        value += np.log(deviation).sum() + huber.sum()
        return float(value) if np.isfinite(value) else np.inf

    def linearized(self, weights: Floats) -> tuple[Floats, Floats]:
        """Precision and minus the gradient, the sum's logarithm to first order."""
        log_ms, deviation, shares = self._totals(weights)
        slopes = np.zeros((len(log_ms), self.size))
        p, q = self._features.shape[1], self._whole.shape[1]
        slopes[:, :p] = shares @ self._features
        slopes[:, p : p + q] = self._whole
        slopes /= deviation[:, None]
        residual = self._single_residual(weights)
        z = np.abs(residual) / self._single_deviation
        w = huber(z) / self._single_deviation**2
        precision = self.prior_precision + slopes.T @ slopes
        for part in self._single:
            half = part.values * np.sqrt(w[part.rows])[:, None]
            precision[np.ix_(part.columns, part.columns)] += half.T @ half
        gradient = slopes.T @ ((self._log_total - log_ms) / deviation)
        gradient -= self.prior_precision @ (weights - self.centre)
        for part in self._single:
            gradient[part.columns] += part.values.T @ (w * residual)[part.rows]
        return precision, gradient

    def _single_residual(self, weights: Floats) -> Floats:
        residual = self._single_y.copy()
        for part in self._single:
            residual[part.rows] -= part.values @ weights[part.columns]
        return residual

    def _totals(self, weights: Floats) -> tuple[Floats, Floats, scipy.sparse.csr_matrix]:
        """Log of every network's ms, its standard deviation (n,), and kernels' shares (n, d)."""
        p, q = self._features.shape[1], self._whole.shape[1]
        log_ms = self._base + self._features @ weights[:p]
        total, shares = network_shares(self._counts, log_ms)
        log_total = np.log(total) + self._whole @ weights[p : p + q]
        deviation = self._observed.deviation(network_deviation(shares, self._noise))
        return log_total, deviation, shares


@dataclass(frozen=True)
class _Part:
    """Some rows of a matrix, without the columns that are 0 in all of them."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: Floats


def _by_kind(kinds: npt.NDArray[np.int64], matrix: Floats) -> list[_Part]:
    """The rows of each kind: kinds have features of their own, so that most of it is 0."""
    parts = []
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        columns = np.flatnonzero(matrix[rows].any(axis=0))
        parts.append(_Part(rows, columns, matrix[np.ix_(rows, columns)]))
    return parts
