"""From what is believed of a target and its measurements to a function of networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import stdtrit

from latcast.math.conformal import Calibration
from latcast.spaces import Archs

from ._evidence import LEAST, OPTIMIZED_ROWS, Hyperprior, Posterior, optimize, posterior, terms_of
from ._network_features import Functions, NetworkFeatures

Floats = npt.NDArray[np.float64]

MOST_KERNEL_ROWS = 1_500
FEATURE_ROWS = 300
"""Above the first number of measurements, or from the second on where there are three times as
many as features, features are solved for, at one set of variances, instead of measurements."""
EMPIRICAL_ROWS = 100
"""From here on, intervals are quantiles of the measurements' own left-out errors."""
CHECKED_NETWORKS = 200
PRIOR_WEIGHT = 10.0
SCORES = 399
TAIL_FREEDOM = 5.0
OUTLIER = 3.5
LEAST_ROBUST_ROWS = 8
ROBUST_PASSES = 4
SHAPE_DEVIATION = 0.15


class _Predicts(Protocol):
    def predict(self, archs: Archs) -> Floats: ...


@dataclass(frozen=True)
class Blend:
    """A function of networks, and a multiple of what a predictor says.

    Attributes:
        function: one function.
        base: the predictor, or None.
        weight: its factor.
    """

    function: Functions
    base: _Predicts | None = None
    weight: float = 0.0

    def __call__(self, archs: Archs) -> Floats:
        """Values, shape (n,)."""
        values = self.function(archs)[:, 0]
        if self.base is not None:
            values += self.weight * self.base.predict(archs)
        return values

    def scaled(self, factor: float) -> Blend:
        """A multiple of it."""
        return Blend(self.function.combined([[factor]]), self.base, factor * self.weight)


@dataclass(frozen=True)
class Prior:
    """What is believed of a target's latencies before there is a measurement.

    A latency is ``scale * (mean + departure)``: means are 1 on average over the population,
    departures are a Gaussian process over the terms of :mod:`._evidence`.

    Attributes:
        features: of the space's networks.
        population: the networks over which features and means are scaled.
        mean: of networks.
        sources: how other targets depart from the mean, one function a target; None without any.
        hyper: over the variances of the terms; by default what public datasets have.
        log_scale: mean and deviation of the scale's logarithm, in ms; None if nothing is known.
    """

    features: NetworkFeatures
    population: Archs
    mean: Blend
    sources: Functions | None = None
    hyper: Hyperprior | None = None
    log_scale: tuple[float, float] | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms, the noise last."""
        groups = self.features.names
        return terms_of(groups if self.sources is None else ("sources", *groups))

    @property
    def variances(self) -> Hyperprior:
        """The prior over the variances of the terms."""
        hyper = self.hyper or Hyperprior.default(self.terms)
        deviation = 1.0 if self.log_scale is None else min(1.0, self.log_scale[1])
        return replace(hyper, log_scale_variance=max(LEAST, 2 * float(np.log(deviation))))

    def design(self, archs: Archs, mean: Floats) -> list[Floats]:
        """Features by term, each (n, features of the term); ``mean`` is that of ``archs``."""
        terms = [mean[:, None], np.ones((len(archs), 1))]
        if self.sources is not None:
            terms.append(self.sources(archs))
        return terms + self.features(archs)


@dataclass(frozen=True)
class Estimate:
    """A target's latencies.

    Attributes:
        latency_ms: of networks.
        calibration: errors to expect.
        left_out_ms: every measurement minus what the others say of it, shape (k,).
    """

    latency_ms: Blend
    calibration: Calibration
    left_out_ms: Floats


def guess(prior: Prior) -> Estimate:
    """What the prior says without a measurement.

    Raises:
        ValueError: nothing is known of the scale.
    """
    if prior.log_scale is None:
        raise ValueError("without a measurement, something must be known of the scale")
    log_scale, deviation = prior.log_scale
    spread = float(np.hypot(deviation, SHAPE_DEVIATION))
    scores = np.exp(spread * student_scores(TAIL_FREEDOM)) - 1.0
    latency = prior.mean.scaled(float(np.exp(log_scale)))
    return Estimate(latency, Calibration(scores, 1.0, equal_tailed=True), np.empty(0))


def estimate(prior: Prior, archs: Archs, latency_ms: Floats) -> Estimate:
    """Condition a prior on k measurements (at least one) of networks ``archs``."""
    mean = prior.mean(archs)
    scale = _scale(prior, mean, latency_ms)
    design = prior.design(archs, mean)
    residual = latency_ms / scale - mean
    features = sum(f.shape[1] for f in design)
    if len(archs) > min(MOST_KERNEL_ROWS, max(FEATURE_ROWS, 3 * features)):
        solved = _by_features(design, residual, prior.variances)
    else:
        solved = _by_measurements(prior, design, residual)
    c = solved.coefficients
    latency = prior.mean.scaled(scale * (1.0 + float(c[0][0])))
    groups = c[len(c) - len(prior.features.names) :]
    function = latency.function + prior.features.functions(
        [scale * group[None] for group in groups], np.array([scale * float(c[1][0])])
    )
    if prior.sources is not None:
        function += prior.sources.combined(scale * c[2])
    latency = replace(latency, function=function)
    calibration = _calibrate(solved, latency_ms, scale)
    return Estimate(latency, calibration, scale * solved.errors)


def student_scores(freedom: float, deviation: float = 1.0) -> Floats:
    """Quantiles of Student's t, ascending, shape (399,)."""
    levels = np.arange(1, SCORES + 1) / (SCORES + 1)
    return np.asarray(deviation * stdtrit(freedom, levels))


@dataclass(frozen=True)
class _Solved:
    """Coefficients of a departure, in units of the mean latency, and how good they are.

    Attributes:
        coefficients: by term, shape (features of the term,).
        errors: every measurement minus what the others say of it, shape (k,).
        deviation: of a new network's error that is to be expected; None where the errors
            themselves tell.
    """

    coefficients: list[Floats]
    errors: Floats
    deviation: float | None


def _scale(prior: Prior, mean: Floats, latency_ms: Floats) -> float:
    """Milliseconds that a mean of 1 stands for: the measurements' median, and what was believed."""
    ratio = float(np.median(np.log(latency_ms) - np.log(np.maximum(mean, 0.05))))
    if prior.log_scale is None:
        return float(np.exp(ratio))
    believed, deviation = prior.log_scale
    known, measured = deviation**-2, len(mean) / SHAPE_DEVIATION**2
    return float(np.exp((known * believed + measured * ratio) / (known + measured)))


def _by_measurements(prior: Prior, design: list[Floats], residual: Floats) -> _Solved:
    kernels = np.stack([f @ f.T for f in design])
    found = posterior(kernels, residual, prior.variances)
    mean, variance = found.left_out()
    noise = np.ones(len(residual))
    for _ in range(ROBUST_PASSES if len(residual) >= LEAST_ROBUST_ROWS else 0):
        # Without its worst outlier the noise is found to be smaller, and the outlier to be worse.
        z = np.abs(residual - mean) / np.sqrt(variance)
        if not (z > OUTLIER).any():
            break
        noise *= np.maximum(1.0, z / OUTLIER) ** 4
        found = posterior(kernels, residual, prior.variances, noise)
        mean, variance = found.left_out()
    coefficients = [f.T @ w for f, w in zip(design, found.weights, strict=True)]
    errors = residual - mean
    if len(residual) >= EMPIRICAL_ROWS:
        return _Solved(coefficients, errors, None)
    # Errors larger than expected widen what is expected of others, as far as they are many.
    z = np.minimum(np.abs(errors) / np.sqrt(variance), OUTLIER)
    larger = (PRIOR_WEIGHT + z @ z) / (PRIOR_WEIGHT + len(z))
    deviation = float(np.sqrt(larger * _expected_variance(prior, design, found)))
    return _Solved(coefficients, errors, deviation)


def _expected_variance(prior: Prior, design: list[Floats], found: Posterior) -> float:
    """Mean variance of a new measurement over networks of the population."""
    some = prior.population[:CHECKED_NETWORKS]
    new = prior.design(some, prior.mean(some))
    own = np.stack([(f**2).sum(axis=1) for f in new])
    cross = np.stack([f @ known.T for f, known in zip(new, design, strict=True)])
    return float(found.variance(own, cross).mean())


def _by_features(design: list[Floats], residual: Floats, hyper: Hyperprior) -> _Solved:
    """Ridge regression with the variances that suit a part of the measurements best."""
    part = np.random.default_rng(1).permutation(len(residual))[:OPTIMIZED_ROWS]
    kernels = np.stack([f[part] @ f[part].T for f in design])
    variances = np.exp(optimize(kernels, residual[part], hyper.middle))
    scales = np.repeat(np.sqrt(variances[:-1] / variances[-1]), [f.shape[1] for f in design])
    x = np.hstack(design) * scales
    weights = np.ones(len(residual))
    for _ in range(2):
        weighted = x * weights[:, None]
        gram = weighted.T @ x
        gram[np.diag_indices_from(gram)] += 1.0
        factor = cho_factor(gram, lower=True, overwrite_a=True)
        coefficients = cho_solve(factor, weighted.T @ residual)
        errors = residual - x @ coefficients
        z = np.abs(errors) / (1.4826 * np.median(np.abs(errors)) + 1e-12)
        weights = np.minimum(1.0, OUTLIER / np.maximum(z, OUTLIER)) ** 2
    leverage = (weighted * cho_solve(factor, x.T).T).sum(axis=1)
    errors = errors / np.maximum(1.0 - leverage, 1e-3)
    ends = np.cumsum([f.shape[1] for f in design])[:-1]
    return _Solved(np.split(coefficients * scales, ends), errors, None)


def _calibrate(solved: _Solved, latency_ms: Floats, scale: float) -> Calibration:
    if solved.deviation is None:
        predicted = latency_ms - scale * solved.errors
        return Calibration.fit(np.maximum(predicted, 0.1 * latency_ms.min()), latency_ms)
    return Calibration(student_scores(TAIL_FREEDOM, solved.deviation), 1.0)
