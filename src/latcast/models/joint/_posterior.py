"""What a few measurements of a target tell about its prices, and about networks beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, cholesky

from latcast.math.laplace import mode
from latcast.networks import Networks

from ._efficiency import Efficiency
from ._gpu import Facts
from ._work import Work

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of a target before its measurements.

    Attributes:
        mean: of the weights, shape (p,).
        covariance: shape (p, p).
        precision: its inverse, shape (p, p).
        log_prices: of a unit of every part of the work in seconds, shape (4,).
        overlap: of the parts, as :meth:`Work.log_ms` takes it.
        efficiency: of kernels in the target's precision, where its domain has learnt one.
        log_inference: of what is beside the kernels, as :meth:`Work.log_ms` takes it.
    """

    mean: Floats
    covariance: Floats
    precision: Floats
    log_prices: Floats
    overlap: tuple[float, float] = (1.0, 1.0)
    efficiency: Efficiency | None = None
    log_inference: float = -np.inf

    def work(self, networks: Networks, facts: Facts) -> Work:
        """Of kernels of networks on a target with these facts."""
        work = Work.of(networks).run_by(networks, facts)
        if self.efficiency is None:
            return work
        return work.times(self.efficiency.log_factors(networks, facts))

    def log_ms(self, work: Work, counts: sp.csr_matrix, weights: Floats) -> tuple[Floats, Floats]:
        """Log ms of networks on this target, and their slopes, as :meth:`Work.log_ms`."""
        return work.log_ms(counts, weights, self.log_prices, self.overlap, self.log_inference)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weights of one target after k measurements.

    Attributes:
        weights: mean, shape (p,).
        covariance: shape (p, p).
        slopes: of the measured networks at the mean, shape (k, p).
        pull: inverse covariance of the measurements times what the prior leaves of them, (k,).
        rest: covariance of the measurements beside the weights.
        weighted: its inverse times the slopes, shape (k, p).
        root: factor of the deviation of each measurement by how far it is off, which ``rest`` has
            and networks elsewhere have not, shape (k,).
    """

    weights: Floats
    covariance: Floats
    slopes: Floats
    pull: Floats
    rest: Rest
    weighted: Floats
    root: Floats

    @cached_property
    def inverse(self) -> Floats:
        """Inverse covariance of the measurements, by Woodbury's identity, shape (k, k)."""
        alone = self.rest.solve(np.eye(len(self.pull)))
        return np.asarray(alone - self.weighted @ self.covariance @ self.weighted.T)

    @cached_property
    def inverse_diagonal(self) -> Floats:
        """Its diagonal, shape (k,)."""
        told = np.einsum("ij,ij->i", self.weighted @ self.covariance, self.weighted)
        return np.asarray(self.rest.inverse_diagonal() - told)


class Rest:
    """Covariance (k, k) of measurements beside the weights; most often a diagonal."""

    def __init__(self, covariance: Floats) -> None:
        self._variance = covariance.diagonal().copy()
        self._factor = None
        if np.count_nonzero(covariance) > len(covariance):
            self._factor = cho_factor(covariance, lower=True)

    def solve(self, values: Floats) -> Floats:
        """Its inverse times values (k, …)."""
        if self._factor is not None:
            return np.asarray(cho_solve(self._factor, values))
        return np.asarray((values.T / self._variance).T)

    def inverse_diagonal(self) -> Floats:
        """The diagonal of its inverse, shape (k,)."""
        if self._factor is None:
            return 1 / self._variance
        return np.asarray(self.solve(np.eye(len(self._variance))).diagonal())


def posterior(
    prior: Prior,
    work: Work,
    counts: sp.csr_matrix,
    log_ms: Floats,
    rest: Floats,
    start: Floats | None = None,
    doubt: Floats | None = None,
) -> Posterior:
    """Laplace's approximation of the weights after k measurements.

    Args:
        prior: of the target.
        work: of the kernels.
        counts: of the measured networks, shape (k, d).
        log_ms: what was measured, less what is known of the networks beside their work, (k,).
        rest: covariance of what neither the work tells nor is known, shape (k, k).
        start: weights to begin with; the prior's mean if None.
        doubt: factor of each measurement's variance, shape (k,); 1 if None. Correlations of
            networks are kept, so that a doubted row still follows its like.
    """
    root = np.ones(len(log_ms)) if doubt is None else np.sqrt(doubt)
    problem = _Problem(prior, work, counts, log_ms, Rest(rest * root[:, None] * root))
    weights = prior.mean if start is None or not len(log_ms) else start
    if len(log_ms):
        weights = mode(problem, weights)
    forecast, slopes = problem.forecast(weights)
    weighted = problem.rest.solve(slopes)
    precision = prior.precision + slopes.T @ weighted
    factor = (cholesky(precision, lower=True), True)
    covariance = np.asarray(cho_solve(factor, np.eye(len(weights))))
    pull = problem.rest.solve(log_ms - forecast)
    return Posterior(weights, covariance, slopes, pull, problem.rest, weighted, root)


# Degrees of freedom of Student's t.
FREEDOM = 4.0


def doubted(after: Posterior) -> Floats:
    """Factors of the variances of measurements by how far each is off the others, shape (k,).

    So Student's t is a normal distribution of unknown variance (expectation and maximization).
    """
    away = after.pull * after.root / np.sqrt(after.inverse_diagonal)
    return np.asarray((FREEDOM + away**2) / (FREEDOM + 1))


class _Problem:
    """Negative log posterior of a target's weights."""

    def __init__(
        self, prior: Prior, work: Work, counts: sp.csr_matrix, log_ms: Floats, rest: Rest
    ) -> None:
        self._prior, self._work, self._counts, self._log_ms = prior, work, counts, log_ms
        self.rest = rest
        self.prior_precision = prior.precision

    def forecast(self, weights: Floats) -> tuple[Floats, Floats]:
        """Log ms of the measured networks (k,), and their slopes (k, p)."""
        return self._prior.log_ms(self._work, self._counts, weights)

    def energy(self, weights: Floats) -> float:
        """Up to a constant."""
        away = weights - self._prior.mean
        prior = self._prior
        error = self._log_ms - self._work.log_ms_alone(
            self._counts, weights, prior.log_prices, prior.overlap, prior.log_inference
        )
        value = error @ self.rest.solve(error) + away @ self.prior_precision @ away
        return float(value / 2) if np.isfinite(value) else np.inf

    def linearized(self, weights: Floats) -> tuple[Floats, Floats]:
        """Precision and minus the gradient, the sum's logarithm to first order."""
        forecast, slopes = self.forecast(weights)
        weighted = self.rest.solve(slopes)
        gradient = weighted.T @ (self._log_ms - forecast)
        gradient -= self.prior_precision @ (weights - self._prior.mean)
        return self.prior_precision + slopes.T @ weighted, gradient
