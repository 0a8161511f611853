"""Gaussian-process regression on arrays.

Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006): the exact posterior and
its evidence (chapters 2 and 5), the same averaged over variances or on a part of the points
(section 8.3.4), and in weights instead of functions (section 2.1). A covariance is a sum of
*terms*, each with a variance of its own, plus noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Bounds of log variances of values that are about 1 in size; they keep the optimizer where a
# covariance is neither lost in rounding nor beyond any value.
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -16.0, 4.0

# Draws of variances are ranked on so many of the values: most are ruled out by a part of them. Half
# or twice as many leave the errors of latencies as they are, and so do half or twice of the next
# two constants (docs/results/sensitivity.txt).
SUBSET = 60
# Distances of so few pairs are summed up here, which takes a millisecond: to import
# scipy.spatial takes 70, a tenth of a whole forecast.
_FEW_PAIRS = 100_000
# Variances are optimized on so many of the values; a step takes the cube of that.
OPTIMIZED_ROWS = 300
KEPT = 12
# Draws that all values are conditioned on, and of more than OPTIMIZED_ROWS values, where one
# inverse is what takes the time and the optimum has next to all of the weight.
KEPT_OF_MANY = 2
# Of the best draw's evidence, below which a draw is dropped.
MIN_SHARE = 1e-4
# From so many values for each variance on, the optimum is among the draws.
VALUES_PER_VARIANCE = 2

# Terms may be of low rank, and variances differ by nine orders of magnitude: without it the
# Cholesky factor of a covariance fails in rounding.
_JITTER = 1e-8
_POINT_JITTER = 1e-6
# A point that alone holds a direction of the basis has a leverage of 1 in rounding.
_MIN_LEFT = 1e-6


# -- exact --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditioned:
    """A zero-mean Gaussian process conditioned on n values.

    Attributes:
        weights: the mean at a point is its covariances with the n points times these, shape (n,).
        inverse: inverse covariance of the values, shape (n, n): what they take from the variance of
            a point is its covariances times this, times the same.
        log_evidence: logarithm of the values' density, without ``-n / 2 log(2 pi)``.
    """

    weights: Floats
    inverse: Floats
    log_evidence: float

    @classmethod
    def on(cls, covariance: Floats, values: Floats) -> Conditioned:
        """Condition on values (n,) of covariance (n, n), noise included (algorithm 2.1)."""
        lower = np.linalg.cholesky(covariance)
        # The whole inverse, as left-out errors need its diagonal in any case.
        inverse = np.asarray(scipy.linalg.cho_solve((lower, True), np.eye(len(values))))
        evidence = -0.5 * values @ inverse @ values - np.log(np.diag(lower)).sum()
        return cls(inverse @ values, inverse, float(evidence))

    def left_out(self) -> tuple[Floats, Floats]:
        """Every value minus what the others say of it, and its variance given them, each (n,).

        In closed form (equation 5.12).
        """
        diagonal = np.diag(self.inverse)
        return self.weights / diagonal, 1 / diagonal


def log_evidence(covariance: Floats, values: Floats) -> float:
    """:attr:`Conditioned.log_evidence` alone, at half of the cost."""
    lower = np.linalg.cholesky(covariance)
    solved = scipy.linalg.solve_triangular(lower, values, lower=True, check_finite=False)
    return float(-0.5 * solved @ solved - np.log(np.diag(lower)).sum())


def covariance_of(terms: Floats, variances: Floats, noise: Floats | float = 1.0) -> Floats:
    """Covariance of n values, shape (n, n).

    Args:
        terms: every term's covariances at a variance of 1, shape (terms, n, n).
        variances: of the terms, then of the noise, shape (terms + 1,).
        noise: factor of the noise's variance, of every value (n,) or of all.
    """
    covariance = np.tensordot(variances[:-1], terms, 1)
    covariance[np.diag_indices_from(covariance)] += variances[-1] * noise + _JITTER * (
        1.0 + np.diag(covariance)
    )
    return np.asarray(covariance)


def maximize_evidence(
    terms: Floats,
    values: Floats,
    start: Floats,
    noise: Floats | None = None,
    *,
    deviation: float = 2.0,
) -> Floats:
    """Log variances of the largest evidence times a Gaussian prior around ``start``.

    Args:
        terms: shape (terms, n, n); see :func:`covariance_of`.
        values: shape (n,).
        start: log variances of the terms, then of the noise, shape (terms + 1,).
        noise: factor of the noise's variance for every value, shape (n,); 1 by default.
        deviation: of the prior.

    Returns:
        Shape (terms + 1,).
    """
    from scipy.optimize import minimize

    factor = np.ones(len(values)) if noise is None else noise
    eye = np.eye(len(values))

    def loss(log_variances: Floats) -> tuple[float, Floats]:
        """Negative log posterior and its gradient (equation 5.9)."""
        variances = np.exp(log_variances)
        lower, _ = scipy.linalg.cho_factor(covariance_of(terms, variances, factor), lower=True)
        inverse = scipy.linalg.cho_solve((lower, True), eye)
        solved = inverse @ values
        inner = np.outer(solved, solved) - inverse
        slopes = [(inner * term).sum() for term in terms] + [factor @ np.diag(inner)]
        away = (log_variances - start) / deviation
        value = 0.5 * values @ solved + np.log(np.diag(lower)).sum() + 0.5 * away @ away
        return float(value), -0.5 * variances * np.array(slopes) + away / deviation

    bounds = [(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)] * len(start)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}
    )
    return np.asarray(found.x, dtype=np.float64)


# -- averaged over variances --------------------------------------------------------------------


@dataclass(frozen=True)
class AveragedPosterior:
    """The posterior given k values, averaged over draws of the variances by their evidence.

    Attributes:
        weights: the mean at a point is the sum over terms and values of its covariance with the
            value's point times this, shape (terms, k).
        shares: weight of every draw, shape (draws,).
        variances: the draws, the noise last, shape (draws, terms + 1).
        inverses: inverse covariances of the values, shape (draws, k, k).
        values: shape (k,).
    """

    weights: Floats
    shares: Floats
    variances: Floats
    inverses: Floats
    values: Floats

    @classmethod
    def of(
        cls,
        terms: Floats,
        values: Floats,
        log_variances: Floats,
        noise: Floats | None = None,
        *,
        fixed: npt.NDArray[np.bool_] | None = None,
    ) -> AveragedPosterior:
        """Condition on k values; works from one value up.

        Args:
            terms: shape (terms, k, k); see :func:`covariance_of`.
            values: shape (k,).
            log_variances: draws from a prior over them, shape (draws, terms + 1).
            noise: factor of the noise's variance for every value, shape (k,); 1 by default.
            fixed: variances that are the same in all draws, and stay so, shape (terms + 1,).
        """
        k, draws = len(values), log_variances
        factor = np.ones(k) if noise is None else noise
        # A generator of its own with a fixed seed: the same measurements give the same predictor.
        part = np.random.default_rng(0).permutation(k)[:SUBSET]
        draws = draws[np.argsort(-_evidences(terms, values, draws, factor, part))]
        best = draws[0]
        if k > SUBSET:
            draws = draws[: KEPT if k <= OPTIMIZED_ROWS else KEPT_OF_MANY]
        if k >= VALUES_PER_VARIANCE * len(best):
            part = np.random.default_rng(1).permutation(k)[:OPTIMIZED_ROWS]
            inside = terms[:, part][:, :, part]
            found = maximize_evidence(inside, values[part], best, factor[part])
            if fixed is not None:
                found[fixed] = best[fixed]
            draws = np.vstack([found, draws])
        return cls.at(terms, values, draws, factor)

    @classmethod
    def at(
        cls, terms: Floats, values: Floats, log_variances: Floats, noise: Floats
    ) -> AveragedPosterior:
        """The average over all these draws, but for those of next to no evidence."""
        variances = np.exp(log_variances)
        found = [Conditioned.on(covariance_of(terms, v, noise), values) for v in variances]
        evidence = np.array([f.log_evidence for f in found])
        shares = np.exp(evidence - evidence.max())
        shares /= shares.sum()
        # Every draw that is kept costs an inverse (k, k) in memory, and time in each prediction.
        kept = np.flatnonzero(shares > MIN_SHARE * shares.max())
        shares = shares[kept] / shares[kept].sum()
        inverses = np.ascontiguousarray(np.stack([found[n].inverse for n in kept]))
        weights = np.einsum("c,ct,ck->tk", shares, variances[kept, :-1], inverses @ values)
        return cls(weights, shares, variances[kept], inverses, values)

    def left_out(self) -> tuple[Floats, Floats]:
        """Mean and variance of every value given the others, each (k,) (equation 5.12)."""
        diagonal = np.diagonal(self.inverses, axis1=1, axis2=2)
        means = self.values - (self.inverses @ self.values) / diagonal
        mean = self.shares @ means
        variance = self.shares @ (1 / diagonal + means**2) - mean**2
        return mean, variance

    def variance(self, own: Floats, cross: Floats) -> Floats:
        """Variance of a new value at q points, noise included, shape (q,).

        Args:
            own: every point's covariance with itself by term, shape (terms, q).
            cross: its covariance with the values' points, shape (terms, q, k).
        """
        mean, square = np.zeros(own.shape[1]), np.zeros(own.shape[1])
        for share, variances, inverse in zip(
            self.shares, self.variances, self.inverses, strict=True
        ):
            covariance = np.tensordot(variances[:-1], cross, 1)
            known = covariance @ inverse
            m = known @ self.values
            v = variances[:-1] @ own + variances[-1] - (known * covariance).sum(axis=1)
            mean += share * m
            # In rounding a variance can come out below that of the noise alone.
            square += share * (np.maximum(v, variances[-1]) + m**2)
        return np.asarray(square - mean**2)


def _evidences(terms: Floats, values: Floats, draws: Floats, noise: Floats, part: Rows) -> Floats:
    """Log evidence of a part of the values, shape (draws,)."""
    inside, some, factor = terms[:, part][:, :, part], values[part], noise[part]
    return np.array([log_evidence(covariance_of(inside, np.exp(d), factor), some) for d in draws])


# -- on a part of the points --------------------------------------------------------------------


@dataclass(frozen=True)
class Projected:
    """A Gaussian process projected on m < n points, its basis, and conditioned on n values.

    Attributes:
        weights: the mean at a point is its covariances with the basis times these, shape (m,).
        knowledge: what the values take from the variance of a point is its covariances with the
            basis, times this, times the same; shape (m, m).
        scores: absolute left-out residuals in their standard deviations, of the values outside the
            basis: new points are no part of it either.
    """

    weights: Floats
    knowledge: Floats
    scores: Floats

    @classmethod
    def on(
        cls,
        basis: Rows,
        cross: Callable[[Rows], Floats],
        prior: Callable[[Rows], Floats],
        values: Floats,
        noise: float,
        *,
        chunk: int = 4_096,
    ) -> Projected:
        """The projected process (section 8.3.4); O(n m^2).

        Args:
            basis: rows of the m points of the basis, all different.
            cross: rows -> their covariances with the basis, shape (rows, m).
            prior: rows -> their prior variances, shape (rows,).
            values: shape (n,).
            noise: variance of a value.
            chunk: rows that are looked at at once.
        """
        own = cross(basis)
        own[np.diag_indices_from(own)] += _POINT_JITTER * float(np.diag(own).mean())
        gram, right = noise * own, np.zeros(len(basis))
        for rows in _chunks(np.arange(len(values)), chunk):
            covariance = cross(rows)
            gram += covariance.T @ covariance
            right += covariance.T @ values[rows]
        factor, eye = scipy.linalg.cho_factor(gram, lower=True), np.eye(len(basis))
        weights = np.asarray(scipy.linalg.cho_solve(factor, right))
        inverse = noise * np.asarray(scipy.linalg.cho_solve(factor, eye))
        own_factor = scipy.linalg.cho_factor(own, lower=True)
        own_inverse = np.asarray(scipy.linalg.cho_solve(own_factor, eye))
        scores = []
        # Points of the basis are fitted more closely than any new one will be.
        for rows in _chunks(np.setdiff1d(np.arange(len(values)), basis), chunk):
            covariance = cross(rows)
            leverage = ((covariance @ inverse) * covariance).sum(axis=1) / noise
            left = np.maximum(1.0 - leverage, _MIN_LEFT)
            beyond = prior(rows) - ((covariance @ own_inverse) * covariance).sum(axis=1)
            deviation = np.sqrt(noise / left + np.maximum(beyond, 0.0))
            scores.append(np.abs(values[rows] - covariance @ weights) / left / deviation)
        return cls(weights, own_inverse - inverse, np.concatenate(scores))


def _chunks(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


# -- in weights ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Regression:
    """Linear regression whose p weights are standard normal a priori, under noise of variance 1.

    Attributes:
        coefficients: mean of the weights, shape (p,).
        residual: values minus what the weights say of them, shape (n,).
    """

    coefficients: Floats
    residual: Floats
    _factor: tuple[Floats, bool]
    _x: Floats
    _weighted: Floats

    @classmethod
    def on(cls, x: Floats, values: Floats, weights: Floats) -> Regression:
        """Condition on values (n,) at features (n, p), the noise's variance being 1 / weights."""
        weighted = x * weights[:, None]
        gram = weighted.T @ x
        gram[np.diag_indices_from(gram)] += 1.0
        factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True)
        coefficients = np.asarray(scipy.linalg.cho_solve(factor, weighted.T @ values))
        return cls(coefficients, values - x @ coefficients, factor, x, weighted)

    def left_out(self) -> Floats:
        """Every value minus what the others say of it, shape (n,), by its leverage."""
        leverage = (self._weighted * scipy.linalg.cho_solve(self._factor, self._x.T).T).sum(axis=1)
        return np.asarray(self.residual / np.maximum(1.0 - leverage, 1e-3))


def squared_exponential(a: Floats, b: Floats) -> Floats:
    """Correlations ``exp(-|a - b|^2 / 2)`` of points, shape (len(a), len(b))."""
    if len(a) * len(b) > _FEW_PAIRS:
        from scipy.spatial.distance import cdist

        return np.asarray(np.exp(-0.5 * cdist(a, b, "sqeuclidean")))
    total = np.zeros((len(a), len(b)))
    for x, y in zip(a.T, b.T, strict=True):  # sums in the order of cdist: equal to the last bit
        difference = np.subtract.outer(x, y)
        total += difference * difference
    return np.asarray(np.exp(-0.5 * total))


def process_features(x: Floats, points: Floats, amplitude: float) -> tuple[Floats, Floats]:
    """Features of a process with a squared exponential kernel of length 1: Nyström's method.

    Williams and Seeger, *Using the Nyström Method to Speed Up Kernel Machines* (2001).

    Args:
        x: shape (n, dimensions).
        points: inducing points, shape (m, dimensions).
        amplitude: standard deviation of the process.

    Returns:
        Features whose weights are standard normal (n, m), and the variance that they leave out
        (n,).
    """
    if not len(points):
        return np.zeros((len(x), 0)), np.full(len(x), amplitude**2)
    inside = squared_exponential(points, points) + _POINT_JITTER * np.eye(len(points))
    half = np.linalg.cholesky(inside)
    # Not solve_triangular: a forecast needs no more of scipy.linalg, which takes 30 ms to import.
    cross = np.linalg.solve(half, squared_exponential(points, x)).T
    left = np.maximum(1 - np.einsum("nm,nm->n", cross, cross), 0.0)
    return amplitude * cross, amplitude**2 * left


def whitening(points: Floats) -> Floats:
    """Return the matrix (m, m) that turns correlations with m points into features.

    The features of x are ``amplitude * squared_exponential(x, points) @ whitening(points)``: where
    many are asked for one by one, the points' own part is found once.
    """
    inside = squared_exponential(points, points) + _POINT_JITTER * np.eye(len(points))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(inside)).T)


def spread_points(points: Floats, count: int) -> Floats:
    """Up to ``count`` of the points (n, dimensions), each far from those before it.

    Gonzalez, *Clustering to Minimize the Maximum Intercluster Distance* (1985).
    """
    points = np.unique(points, axis=0)
    if len(points) <= count:
        return points
    chosen = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return points[chosen]
