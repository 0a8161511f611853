"""The posterior of a target's prices by a few measurements, and of networks beside them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg.lapack import dpotrs
from scipy.sparse.csgraph import connected_components

from latcast.math.laplace import factored, inverted, mode
from latcast.networks import Networks

from ._efficiency import Efficiency
from ._gpu import Facts
from ._work import Times, Work

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Prior:
    """The prior of a target before its measurements.

    Attributes:
        mean: of the weights, shape (p,).
        covariance: shape (p, p).
        precision: its inverse, shape (p, p).
        log_prices: of a unit of every part of the work in seconds, shape (4,).
        overlap: of the parts, as :meth:`Work.log_ms` takes it.
        efficiency: of kernels in the target's precision, where its domain has learnt one.
        log_inference: of what is beside the kernels, as :meth:`Work.log_ms` takes it.
        before: the covariance before measurements of the target moved its weights; None where
            none did.
    """

    mean: Floats
    covariance: Floats
    precision: Floats
    log_prices: Floats
    overlap: tuple[float, float] = (1.0, 1.0)
    efficiency: Efficiency | None = None
    log_inference: float = -np.inf
    before: Floats | None = None

    def work(self, networks: Networks, facts: Facts) -> Work:
        """Return the work of kernels of networks on a target with these facts."""
        work = Work.of(networks).run_by(networks, facts)
        if self.efficiency is None:
            return work
        return work.times(self.efficiency.log_factors(networks, facts))

    def times(self, work: Work, weights: Floats) -> Times:
        """Return the times of kernels on this target at some weights."""
        return work.at(weights, self.log_prices, self.overlap, self.log_inference)

    def log_ms(self, work: Work, counts: sp.csr_matrix, weights: Floats) -> tuple[Floats, Floats]:
        """Log ms of networks on this target, and their slopes, as :meth:`Work.log_ms`."""
        times = self.times(work, weights)
        return times.log_ms(counts), times.slopes(counts)

    def variance_before(self, slopes: Floats) -> Floats:
        """Variance of log ms (n,) before measurements of the target, by slopes (n, p)."""
        if self.before is None:
            return np.zeros(len(slopes))
        return np.asarray(np.einsum("ij,ij->i", slopes @ self.before, slopes))


# Deviations by which measurements must be off together before that is the device's, and the most
# that a prior may leave open of a level that it claims to know: the shipped model states .10 to .16
# of devices that were measured, and .66 or more of others, whose prior moves by itself (on chips of
# ncnn that were left out, levels of theirs cost 2 to 10 % more mean error after one network).
LEAST_OFF, LEVEL_KNOWN = 3.0, 0.3
# Variance of the median of many normal values over that of their mean.
_OF_MEDIAN = np.pi / 2


@dataclass(frozen=True)
class Level:
    """A factor of all latencies of a target that contradicts what was known of it.

    A measured device leaves its level next to no doubt, and so its prior holds on to it: the
    networks of a board that is three times as fast would each be taken for fast ones. Yet a clock
    may be held down, and a device may be another one than its name says.

    Attributes:
        log_factor: of the latencies; 0 where measurements are as the prior allows.
        variance: of it.
    """

    log_factor: float = 0.0
    variance: float = 0.0

    @classmethod
    def of(cls, off: Floats, shared: float, own: Floats) -> Level:
        """Estimate it by the median of measurements, which one spike among three does not move.

        Args:
            off: log ms of measurements less those by the prior, shape (k,).
            shared: variance that the prior states of their mean.
            own: variance of each measurement beside that, shape (k,).
        """
        middle = float(np.median(off))
        around = 1.4826 * float(np.median(np.abs(off - middle)))
        noise = max(float(np.median(own)), around**2) / len(off)
        noise *= _OF_MEDIAN if len(off) > 2 else 1.0
        if shared > LEVEL_KNOWN**2 or middle**2 <= LEAST_OFF**2 * (shared + noise):
            return cls()
        return cls(middle * (1 - noise / middle**2), noise)


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
        level: what all networks are off by together, as of :class:`Level`.
    """

    weights: Floats
    covariance: Floats
    slopes: Floats
    pull: Floats
    rest: Rest
    weighted: Floats
    root: Floats
    level: Level = Level()

    @cached_property
    def inverse(self) -> Floats:
        """Inverse covariance of the measurements, by Woodbury's identity, shape (k, k)."""
        return self.solve(np.eye(len(self.pull)))

    def solve(self, values: Floats) -> Floats:
        """:attr:`inverse` times values (k, m)."""
        told = self.weighted @ (self.covariance @ (self.weighted.T @ values))
        return np.asarray(self.rest.solve(values) - told)

    @cached_property
    def inverse_diagonal(self) -> Floats:
        """Its diagonal, shape (k,)."""
        told = np.einsum("ij,ij->i", self.weighted @ self.covariance, self.weighted)
        return np.asarray(self.rest.inverse_diagonal() - told)


class Rest:
    """Covariance (k, k) of measurements beside the weights; most often a diagonal.

    Where only some rows are related, such as those of one network at several batches, it is
    inverted block by block: a whole factor of a thousand rows takes most of a posterior's time.
    """

    def __init__(self, covariance: Floats) -> None:
        self._diagonal, self._root = covariance.diagonal().copy(), np.ones(len(covariance))
        self._factor = self._blocks = None
        if np.count_nonzero(covariance) > len(covariance):
            if len(covariance) > _LARGEST_BLOCK:
                self._blocks = _inverse_of_blocks(covariance)
            if self._blocks is None:
                self._factor = factored(covariance)

    def scaled(self, root: Floats) -> Rest:
        """Return the same with deviations multiplied by ``root``, shape (k,)."""
        found = copy(self)
        found._root = self._root * root
        return found

    def solve(self, values: Floats) -> Floats:
        """Its inverse times values (k, …)."""
        return (self._solve((values.T / self._root).T).T / self._root).T

    def _solve(self, values: Floats) -> Floats:
        if self._blocks is not None:
            return np.asarray(self._blocks @ values)
        if self._factor is not None:
            return np.asarray(dpotrs(self._factor, values, lower=1)[0])
        return np.asarray((values.T / self._diagonal).T)

    def inverse_diagonal(self) -> Floats:
        """The diagonal of its inverse, shape (k,)."""
        alone = 1 / self._diagonal
        if self._blocks is not None:
            alone = self._blocks.diagonal()
        elif self._factor is not None:
            alone = self._solve(np.eye(len(self._diagonal))).diagonal()
        return np.asarray(alone / self._root**2)


# Related rows of which a block is inverted by itself.
_LARGEST_BLOCK = 32


def _inverse_of_blocks(covariance: Floats) -> sp.csr_matrix | None:
    """Inverse of a covariance of small blocks in any order; None where one is large."""
    number, label = connected_components(sp.csr_matrix(covariance), directed=False)
    sizes = np.bincount(label, minlength=number)
    if sizes.max() > _LARGEST_BLOCK:
        return None
    order = np.argsort(label, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rows: list[Numbers] = []
    columns: list[Numbers] = []
    values: list[Floats] = []
    for size in np.unique(sizes).tolist():
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        blocks = np.linalg.inv(covariance[members[:, :, None], members[:, None, :]])
        rows.append(np.repeat(members, size))
        columns.append(np.repeat(members, size, axis=0).ravel())
        values.append(blocks.ravel())
    where = np.concatenate(rows), np.concatenate(columns)
    return sp.csr_matrix((np.concatenate(values), where), shape=covariance.shape)


def posterior(
    prior: Prior,
    work: Work,
    counts: sp.csr_matrix,
    log_ms: Floats,
    rest: Rest,
    start: Floats | None = None,
    doubt: Floats | None = None,
) -> Posterior:
    """Laplace's approximation of the weights after k measurements.

    Args:
        prior: of the target.
        work: of the kernels.
        counts: of the measured networks, shape (k, d).
        log_ms: what was measured, less what is known of the networks beside their work, (k,).
        rest: covariance of what neither the work tells nor is known.
        start: weights to begin with; the prior's mean if None.
        doubt: factor of each measurement's variance, shape (k,); 1 if None. Correlations of
            networks are kept, so that a doubted row still follows its like.
    """
    root = np.ones(len(log_ms)) if doubt is None else np.sqrt(doubt)
    problem = _Problem(prior, work, counts, log_ms, rest.scaled(root))
    weights = prior.mean if start is None or not len(log_ms) else start
    if len(log_ms):
        weights = mode(problem, weights)
    forecast, slopes = problem.forecast(weights)
    weighted = problem.rest.solve(slopes)
    covariance = inverted(prior.precision + slopes.T @ weighted)
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
        self._last: tuple[Floats, Times] | None = None

    def _times(self, weights: Floats) -> Times:
        # Slopes are asked for where the energy was: the times there are the same.
        if self._last is None or self._last[0] is not weights:
            self._last = weights, self._prior.times(self._work, weights)
        return self._last[1]

    def forecast(self, weights: Floats) -> tuple[Floats, Floats]:
        """Log ms of the measured networks (k,), and their slopes (k, p)."""
        times = self._times(weights)
        return times.log_ms(self._counts), times.slopes(self._counts)

    def energy(self, weights: Floats) -> float:
        """Up to a constant."""
        away = weights - self._prior.mean
        error = self._log_ms - self._times(weights).log_ms(self._counts)
        value = error @ self.rest.solve(error) + away @ self.prior_precision @ away
        return float(value / 2) if np.isfinite(value) else np.inf

    def linearized(self, weights: Floats) -> tuple[Floats, Floats]:
        """Precision and minus the gradient, the sum's logarithm to first order."""
        forecast, slopes = self.forecast(weights)
        weighted = self.rest.solve(slopes)
        gradient = weighted.T @ (self._log_ms - forecast)
        gradient -= self.prior_precision @ (weights - self._prior.mean)
        return self.prior_precision + slopes.T @ weighted, gradient
