"""Bayesian regression on few measurements, averaged over its hyper-parameters.

A function is its prior mean plus a Gaussian process whose covariance is a sum of *terms*, each with
a variance of its own, plus noise (Rasmussen and Williams, *Gaussian Processes for Machine
Learning*, 2006, chapters 2 and 5). The variances are not chosen but averaged over: draws from a
prior over them are weighted by their evidence, which works from one measurement up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Floats = npt.NDArray[np.float64]

LEAST, MOST = -16.0, 4.0
"""Bounds of log variances."""

DRAWS = 160
SPREAD = 0.7
MOST_SHRUNK = 6.0
SUBSET = 60
OPTIMIZED_ROWS = 300
KEPT = 12
KEPT_OF_MANY = 2
JITTER = 1e-8

DEFAULTS = {
    "constant": (-6.0, 2.5),
    "sources": (-4.2, 1.0),
    "physics": (-4.0, 1.5),
    "blocks": (-9.3, 1.0),
    "rows": (-9.9, 1.0),
    "live": (-11.0, 2.0),
    "units": (-9.0, 1.5),
    "noise": (-8.7, 1.6),
}
"""Term -> mean and deviation of the logarithm of its variance, as shares of the mean latency
squared, rounded: what suits one target given another, over pairs of targets
(`scripts/default_variances.py`). The scale has none: see :class:`Hyperprior`."""


@dataclass(frozen=True)
class Hyperprior:
    """What is believed of the variances before there is a measurement.

    Attributes:
        terms: names of the terms; the noise comes last.
        optima: log variances that fitted other targets best, shape (targets, terms), or (0, terms).
        log_scale_variance: of the scale, the same in all draws. The prior mean is scaled to the
            measurements: small variances of the scale would seem likely because of that alone.
    """

    terms: tuple[str, ...]
    optima: Floats
    log_scale_variance: float = 0.0

    @classmethod
    def default(cls, terms: tuple[str, ...]) -> Hyperprior:
        """The prior where no other target is known."""
        return cls(terms, np.empty((0, len(terms))))

    @property
    def centre(self) -> Floats:
        """Means of :data:`DEFAULTS`, shape (terms,)."""
        return np.array([DEFAULTS.get(t, (self.log_scale_variance, 0.0))[0] for t in self.terms])

    @property
    def deviation(self) -> Floats:
        """Deviations of :data:`DEFAULTS`, shape (terms,)."""
        return np.array([DEFAULTS.get(t, (0.0, 0.0))[1] for t in self.terms])

    @property
    def middle(self) -> Floats:
        """Mean of the log variances that suit other targets, or of the defaults, (terms,)."""
        log_variances = self.optima.mean(axis=0) if len(self.optima) else self.centre
        return self.with_scale(np.asarray(log_variances))

    @property
    def expected(self) -> Floats:
        """Mean variance of every term, shape (terms,)."""
        log_variances = self.optima if len(self.optima) else self.centre[None]
        return np.asarray(np.exp(self.with_scale(log_variances.copy())).mean(axis=0))

    def draws(self, n: int = DRAWS) -> Floats:
        """Log variances, shape (n, terms): the other targets' own, and draws around them.

        In half of the draws all terms but scale, constant and noise shrink together: the new
        target may be much like what is known already.
        """
        rng = np.random.default_rng(0)
        if len(self.optima):
            start = self.optima[rng.integers(0, len(self.optima), n)]
            result = start + SPREAD * rng.normal(size=start.shape)
            result[: len(self.optima)] = self.optima[:n]
        else:
            result = self.centre + self.deviation * rng.normal(size=(n, len(self.terms)))
        shrinks = [i for i, t in enumerate(self.terms) if t not in ("scale", "constant", "noise")]
        shrunk = rng.uniform(0.0, MOST_SHRUNK, n) * (np.arange(n) % 2 == 1)
        shrunk[: len(self.optima)] = 0.0
        result[:, shrinks] -= shrunk[:, None]
        return self.with_scale(np.clip(result, LEAST, MOST))

    def with_scale(self, log_variances: Floats) -> Floats:
        """Set the variance of the scale in log variances (…, terms), in place."""
        log_variances[..., [t == "scale" for t in self.terms]] = self.log_scale_variance
        return log_variances


@dataclass(frozen=True)
class Posterior:
    """What k measurements tell of the departure from the prior mean.

    Attributes:
        weights: the mean departure of a network is the sum over terms and measurements of its
            covariance with the measurement times this, shape (terms, k).
        shares: weight of every draw of the variances, shape (draws,).
        variances: the draws, the noise last, shape (draws, terms + 1).
        inverses: inverse covariances of the measurements, shape (draws, k, k).
        residual: measurements minus prior mean, shape (k,).
    """

    weights: Floats
    shares: Floats
    variances: Floats
    inverses: Floats
    residual: Floats

    def left_out(self) -> tuple[Floats, Floats]:
        """Mean and variance of every measurement's residual given the others, each (k,).

        In closed form (Rasmussen and Williams, equation 5.12).
        """
        diagonal = np.diagonal(self.inverses, axis1=1, axis2=2)
        means = self.residual - (self.inverses @ self.residual) / diagonal
        mean = self.shares @ means
        variance = self.shares @ (1 / diagonal + means**2) - mean**2
        return mean, variance

    def variance(self, own: Floats, cross: Floats) -> Floats:
        """Variance of a new measurement of q networks, noise included, shape (q,).

        Args:
            own: every network's covariance with itself by term, shape (terms, q).
            cross: its covariance with the measurements, shape (terms, q, k).
        """
        mean, square = np.zeros(own.shape[1]), np.zeros(own.shape[1])
        for share, variances, inverse in zip(
            self.shares, self.variances, self.inverses, strict=True
        ):
            covariance = np.tensordot(variances[:-1], cross, 1)
            known = covariance @ inverse
            m = known @ self.residual
            v = variances[:-1] @ own + variances[-1] - (known * covariance).sum(axis=1)
            mean += share * m
            square += share * (np.maximum(v, variances[-1]) + m**2)
        return np.asarray(square - mean**2)


def posterior(
    kernels: Floats, residual: Floats, prior: Hyperprior, noise: Floats | None = None
) -> Posterior:
    """Condition on k measurements.

    Args:
        kernels: covariances of the measurements by term, shape (terms, k, k).
        residual: measurements minus prior mean, shape (k,), in units of the mean latency.
        prior: over the variances of the terms and of the noise.
        noise: factor of the noise's variance for every measurement, shape (k,); 1 by default.
    """
    k = len(residual)
    factor = np.ones(k) if noise is None else noise
    draws = prior.draws()
    # Most draws are ruled out by a part of the measurements.
    part = np.random.default_rng(0).permutation(k)[:SUBSET]
    tried = _Conditioned.on(kernels[:, part][:, :, part], residual[part], draws, factor[part])
    draws = draws[np.argsort(-tried.log_evidence)]
    best = draws[0]
    if k > SUBSET:
        draws = draws[: KEPT if k <= OPTIMIZED_ROWS else KEPT_OF_MANY]
    if k >= 2 * len(prior.terms):
        part = np.random.default_rng(1).permutation(k)[:OPTIMIZED_ROWS]
        found = optimize(kernels[:, part][:, :, part], residual[part], best, factor[part])
        draws = np.vstack([prior.with_scale(found), draws])
    result = _Conditioned.on(kernels, residual, draws, factor)
    shares = np.exp(result.log_evidence - result.log_evidence.max())
    shares /= shares.sum()
    kept = shares > 1e-4 * shares.max()
    shares = shares[kept] / shares[kept].sum()
    variances, inverses = np.exp(draws[kept]), result.inverses[kept]
    solved = inverses @ residual
    weights = np.einsum("c,ct,ck->tk", shares, variances[:, :-1], solved)
    return Posterior(weights, shares, variances, inverses, residual)


@dataclass(frozen=True)
class _Conditioned:
    """Log evidence (draws,) and inverse covariances (draws, k, k)."""

    log_evidence: Floats
    inverses: Floats

    @classmethod
    def on(cls, kernels: Floats, residual: Floats, draws: Floats, noise: Floats) -> _Conditioned:
        variances = np.exp(draws)
        evidence, inverses = np.empty(len(draws)), np.empty((len(draws), *kernels.shape[1:]))
        for n, v in enumerate(variances):
            covariance = _covariance(kernels, v, noise)
            lower = np.linalg.cholesky(covariance)
            inverse = cho_solve((lower, True), np.eye(len(residual)))
            inverses[n] = inverse
            evidence[n] = -0.5 * residual @ inverse @ residual - np.log(np.diag(lower)).sum()
        return cls(evidence, inverses)


def optimize(
    kernels: Floats,
    residual: Floats,
    start: Floats,
    noise: Floats | None = None,
    *,
    deviation: float = 2.0,
) -> Floats:
    """Log variances of the largest evidence times a Gaussian around ``start``, shape (terms,)."""
    from scipy.optimize import minimize

    factor = np.ones(len(residual)) if noise is None else noise
    eye = np.eye(len(residual))

    def loss(log_variances: Floats) -> tuple[float, Floats]:
        variances = np.exp(log_variances)
        lower, _ = cho_factor(_covariance(kernels, variances, factor), lower=True)
        inverse = cho_solve((lower, True), eye)
        solved = inverse @ residual
        inner = np.outer(solved, solved) - inverse
        slopes = [(inner * kernel).sum() for kernel in kernels] + [factor @ np.diag(inner)]
        away = (log_variances - start) / deviation
        value = 0.5 * residual @ solved + np.log(np.diag(lower)).sum() + 0.5 * away @ away
        return float(value), -0.5 * variances * np.array(slopes) + away / deviation

    bounds = [(LEAST, MOST)] * len(start)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}
    )
    return np.asarray(found.x, dtype=np.float64)


def _covariance(kernels: Floats, variances: Floats, noise: Floats) -> Floats:
    covariance = np.tensordot(variances[:-1], kernels, 1)
    covariance[np.diag_indices_from(covariance)] += variances[-1] * noise + JITTER * (
        1.0 + np.diag(covariance)
    )
    return np.asarray(covariance)


def terms_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of all terms for groups of features: scale and constant first, the noise last."""
    return ("scale", "constant", *groups, "noise")
