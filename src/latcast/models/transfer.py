"""Functions of networks, from a target's prior and its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from latcast.data.additive import incidence
from latcast.math.conformal import Calibration, quantile, student_scores
from latcast.math.gaussian_process import (
    MAX_LOG_VARIANCE,
    MIN_LOG_VARIANCE,
    OPTIMIZED_ROWS,
    AveragedPosterior,
    Regression,
    maximize_evidence,
)
from latcast.math.least_squares import priced_beside
from latcast.math.robust import huber, reweighted, robust_deviation
from latcast.spaces import Archs

from .features import Functions, NetworkFeatures
from .posterior_deviation import PosteriorDeviation, references

Floats = npt.NDArray[np.float64]

# What halving and doubling the constants below does to errors and intervals is told by
# docs/results/sensitivity.txt; where no experiment is named, none chose them.
MAX_KERNEL_ROWS = 1_500
# Above the first number of measurements, or from the second on where there are three times as many
# as features, features are solved for, at one set of variances, instead of measurements.
FEATURE_ROWS = 300
# From here on, intervals are quantiles of the measurements' own left-out errors.
EMPIRICAL_ROWS = 100
# Coverage at which those reach as far, at least, as the posterior has it.
TOLD = 0.9
# Left-out errors that the stated variance counts for: few must not shrink an interval. Halved or
# doubled, coverages move by less than half a point.
PRIOR_WEIGHT = 10.0
# Degrees of freedom of Student's t: errors have heavier tails than normal ones. The one constant
# that intervals follow: halved, a 90 % interval of ten measurements covers 4 points more.
TAIL_FREEDOM = 5.0
# Deviations beyond which a left-out error is an outlier: of 1,000 normal ones, half a one. Halved,
# the error of ten measurements rises from 2.40 to 2.55 %; doubled, nothing changes on clean data.
OUTLIER = 3.5
# Among fewer measurements, an outlier cannot be told from the others' noise.
MIN_ROBUST_ROWS = 8
# One pass left an outlier its weight, as the noise had been found with it inside; with one of 20
# measurements ten times off, errors fell from 5.9 to 1.4 % by repeating it (0.6 % without it).
ROBUST_PASSES = 4
FEATURE_ROUNDS = 2
# Of a measurement, what a forecast of it by the others counts as at least.
LEAST_SHARE = 0.1
# Power of errors left out by which prices weigh beside what known targets tell. With 2 targets much
# like known ones lose (a TITAN RTX's 0.47 % become 0.50), with 4 they do not; ten measurements of
# HELP's Galaxy A50 are 5.2 % off without prices, 4.6 and 4.4 % with them (FBNet). Weights of least
# squares, plain and shrunk, were between (five rules).
PRICES_POWER = 4.0
# Relative deviation of a network's latency from the mean's shape, before there are measurements; it
# weighs them against what is believed of the scale.
SHAPE_DEVIATION = 0.15
# Draws from the prior over the variances, which takes them all once for up to 60 measurements.
DRAWS = 160
# Share of the draws that hold to no known target. Targets that are alike suit each other with small
# variances, which all draws around them share: what the measurements of a target unlike them say
# was then taken for noise. Chosen among 0, 1/4, 1/2 and 1 (docs/tried.md): with GPUs of batch 1
# known, the error of ten measurements of batch 256 fell from 9.0 to 0.8 %; with GPUs known, that of
# our CPU from 5.3 to 4.7 %. Where known targets are like the new one it moved by 0.2 points at
# most; with defaults alone it rose by up to 0.25.
UNLIKE = 0.5
# Deviation of a draw's log variances from those of a known target; halved or doubled, it changes
# errors by a fortieth with three measurements, and not with ten.
SPREAD = 0.7
# In half of the draws the variances are divided by up to e to the power of this: a new target may
# be much like a known one. Halved or doubled, it changes errors by a fiftieth with three
# measurements, and not with ten.
MAX_SHRUNK = 6.0

# Term -> mean and deviation of the logarithm of its variance, as shares of the mean latency
# squared, rounded: what suits one target given another, over pairs of targets
# (`scripts/default_variances.py`), none of them scored in docs/results. With wider defaults, half
# of what ten measurements say was taken for noise: over pairs of our own datasets the error at ten
# fell from 5.2 to 2.7 %, and nothing was lost with more. The scale has none: see Hyperprior.
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


@dataclass(frozen=True)
class Hyperprior:
    """The prior of the variances, before any measurement.

    Attributes:
        terms: names of the terms; the noise comes last.
        optima: log variances that fitted other targets best, shape (targets, terms), or (0, terms).
        log_scale_variance: of the scale, the same in all draws. The prior mean is scaled to the
            measurements: small variances of the scale would seem likely because of that alone.
        defaults: as :data:`DEFAULTS`, by term.
    """

    terms: tuple[str, ...]
    optima: Floats
    log_scale_variance: float = 0.0
    defaults: Mapping[str, tuple[float, float]] = field(default_factory=lambda: DEFAULTS)

    @classmethod
    def default(
        cls, terms: tuple[str, ...], defaults: Mapping[str, tuple[float, float]] | None = None
    ) -> Hyperprior:
        """The prior where no other target is known; some ``defaults`` may be others."""
        return cls(terms, np.empty((0, len(terms))), defaults={**DEFAULTS, **(defaults or {})})

    @property
    def centre(self) -> Floats:
        """Means of the defaults, shape (terms,)."""
        scale = (self.log_scale_variance, 0.0)
        return np.array([self.defaults.get(t, scale)[0] for t in self.terms])

    @property
    def deviation(self) -> Floats:
        """Deviations of the defaults, shape (terms,)."""
        return np.array([self.defaults.get(t, (0.0, 0.0))[1] for t in self.terms])

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
        """Log variances, shape (n, terms): the other targets' own, draws around them, defaults.

        A share of :data:`UNLIKE` follows the defaults whatever other targets are known: that those
        are alike says nothing of a target unlike them, and the measurements tell which it is. In
        half of the draws all terms but scale, constant and noise shrink together: the new target
        may be much like what is known already.
        """
        rng = np.random.default_rng(0)
        around = n - round(UNLIKE * n) if len(self.optima) else 0
        known = self.optima[:around]
        start = self.optima[rng.integers(0, len(self.optima), n)] if around else self.centre
        away = rng.normal(size=(n, len(self.terms)))
        result = self.centre + self.deviation * away
        result[:around] = (start + SPREAD * away)[:around]
        result[: len(known)] = known
        shrinks = [i for i, t in enumerate(self.terms) if t not in ("scale", "constant", "noise")]
        shrunk = rng.uniform(0.0, MAX_SHRUNK, n) * (np.arange(n) % 2 == 1)
        # The other targets' own variances stay among the draws as they are.
        shrunk[: len(known)] = 0.0
        result[:, shrinks] -= shrunk[:, None]
        return self.with_scale(np.clip(result, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE))

    def with_scale(self, log_variances: Floats) -> Floats:
        """Set the variance of the scale in log variances (…, terms), in place."""
        log_variances[..., [t == "scale" for t in self.terms]] = self.log_scale_variance
        return log_variances


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
    """The prior of a target's latencies, before any measurement.

    A latency is ``scale * (mean + departure)``: means are 1 on average over the population,
    departures are a Gaussian process over the terms of :class:`Hyperprior`.

    Attributes:
        features: of the space's networks.
        population: the networks over which features and means are scaled.
        mean: of networks.
        sources: directions in which latencies are likely to depart from the mean: other targets,
            or those of all arithmetic and all memory traffic; None without any.
        hyper: over the variances of the terms; by default what public datasets have.
        log_scale: mean and deviation of the scale's logarithm, in ms; None if nothing is known.
        errors: of targets left out, in deviations that were stated of them, ascending; by default
            Student's t.
    """

    features: NetworkFeatures
    population: Archs
    mean: Blend
    sources: Functions | None = None
    hyper: Hyperprior | None = None
    log_scale: tuple[float, float] | None = None
    errors: Floats | None = None

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
        return replace(
            hyper, log_scale_variance=max(MIN_LOG_VARIANCE, 2 * float(np.log(deviation)))
        )

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
        deviation: of every network, in whose units the calibration is then; None where errors are
            taken to be alike.
    """

    latency_ms: Blend
    calibration: Calibration
    left_out_ms: Floats
    deviation: PosteriorDeviation | None = None


def guess(prior: Prior) -> Estimate:
    """Return the estimate of the prior, without a measurement.

    Raises:
        ValueError: nothing is known of the scale.
    """
    if prior.log_scale is None:
        raise ValueError("without a measurement, something must be known of the scale")
    log_scale, deviation = prior.log_scale
    # What is not known of the scale and of the shape are errors of different origin: they add as
    # variances.
    spread = float(np.hypot(deviation, SHAPE_DEVIATION))
    errors = student_scores(TAIL_FREEDOM) if prior.errors is None else prior.errors
    scores = np.exp(spread * errors) - 1.0
    latency = prior.mean.scaled(float(np.exp(log_scale)))
    return Estimate(latency, Calibration(scores, 1.0, equal_tailed=True), np.empty(0))


def estimate(
    prior: Prior, archs: Archs, latency_ms: Floats, excess_variance: Floats | None = None
) -> Estimate:
    """Condition a prior on k measurements (at least one) of networks ``archs``.

    ``excess_variance`` is that of the measurements' logarithms beyond stable ones', shape (k,).
    """
    mean = prior.mean(archs)
    scale = _scale(prior, mean, latency_ms)
    # In noises that are to be expected: a factor on the noise's variance is what the draws share.
    excess = np.zeros(len(archs)) if excess_variance is None else excess_variance
    noise = 1 + excess * (latency_ms / scale) ** 2 / float(prior.variances.expected[-1])
    design = prior.design(archs, mean)
    residual = latency_ms / scale - mean
    features = sum(f.shape[1] for f in design)
    if len(archs) > min(MAX_KERNEL_ROWS, max(FEATURE_ROWS, 3 * features)):
        solved = _by_features(design, residual, noise, prior.variances)
    else:
        solved = _by_measurements(prior, design, residual, noise)
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
    deviation = solved.deviation and solved.deviation.scaled(scale)
    return Estimate(latency, calibration, scale * solved.errors, deviation)


def averaged(
    found: Estimate,
    prior: Prior,
    archs: Archs,
    latency_ms: Floats,
    excess_variance: Floats | None = None,
) -> Estimate:
    """An estimate averaged with three prices, of a MAC, of a byte and of a network.

    Both are fitted to the same k measurements, as of :func:`estimate`, and weighted by what these
    are off when they are left out: known targets may be unlike a new one whose latencies follow
    its networks' MACs. With hundreds of measurements nothing is left to average. In
    spaces with dead code it is not known what a target runs: of HELP's six test targets, with ten,
    a Pixel 2 gains (Spearman 0.900 to 0.904) and a Raspberry Pi 4 loses (0.956 to 0.948) by prices
    of all blocks, and the other way round (0.900 to 0.892, 0.957 to 0.962) by those of all or of
    live blocks, whichever err less.
    """
    if len(archs) >= EMPIRICAL_ROWS or prior.features.has_dead:
        return found
    facts = prior.features.space.block_table.facts
    moved = facts["read_bytes"] + facts["write_bytes"] + facts["param_bytes"]
    of_rows = np.stack([facts["macs"], moved], axis=1)
    work = np.column_stack([incidence(archs) @ of_rows, np.ones(len(archs))])
    told = np.maximum(latency_ms - found.left_out_ms, LEAST_SHARE * latency_ms)
    scatter = np.sqrt(np.zeros(len(archs)) if excess_variance is None else excess_variance)
    errors = np.log(latency_ms / told)
    prices, weight, left = priced_beside(work, latency_ms, errors, scatter, PRICES_POWER)
    own = found.latency_ms.scaled(1 - weight)
    constant = prior.features.constant(weight * float(prices[2]))
    priced = replace(constant, rows=constant.rows + weight * (of_rows @ prices[:2]))
    left_out = (1 - weight) * found.left_out_ms + weight * (latency_ms - left)
    return replace(
        found, latency_ms=replace(own, function=own.function + priced), left_out_ms=left_out
    )


@dataclass(frozen=True)
class _Solved:
    """Coefficients of a departure, in units of the mean latency, and how good they are.

    Attributes:
        coefficients: by term, shape (features of the term,).
        errors: every measurement minus what the others say of it, shape (k,).
        deviation: of new networks' errors that are to be expected; None where the errors
            themselves tell.
        stated: what the posterior has for that of each error, shape (k,), where there are enough
            to tell whether it is right.
    """

    coefficients: list[Floats]
    errors: Floats
    deviation: PosteriorDeviation | None = None
    stated: Floats | None = None


def _scale(prior: Prior, mean: Floats, latency_ms: Floats) -> float:
    """Milliseconds that a mean of 1 stands for: the measurements' median, and what was believed."""
    # The median: one of ten measurements that is ten times off must not scale all others. The mean
    # is a mixture, and may be next to 0 for networks unlike the population.
    ratio = float(np.median(np.log(latency_ms) - np.log(np.maximum(mean, 0.05))))
    if prior.log_scale is None:
        return float(np.exp(ratio))
    believed, deviation = prior.log_scale
    known, measured = deviation**-2, len(mean) / SHAPE_DEVIATION**2
    return float(np.exp((known * believed + measured * ratio) / (known + measured)))


def _by_measurements(
    prior: Prior, design: list[Floats], residual: Floats, noise: Floats
) -> _Solved:
    terms = np.stack([f @ f.T for f in design])
    draws = prior.variances.draws()
    scale = np.array([name == "scale" for name in prior.terms])
    found = AveragedPosterior.of(terms, residual, draws, noise, fixed=scale)
    mean, variance = found.left_out()
    for _ in range(ROBUST_PASSES if len(residual) >= MIN_ROBUST_ROWS else 0):
        # Without its worst outlier the noise is found to be smaller, and the outlier to be worse.
        z = np.abs(residual - mean) / np.sqrt(variance)
        if not (z > OUTLIER).any():
            break
        # The fourth power lets a gross outlier go within a few passes, and hardly touches one at
        # the limit.
        noise = noise * np.maximum(1.0, z / OUTLIER) ** 4
        found = AveragedPosterior.of(terms, residual, draws, noise, fixed=scale)
        mean, variance = found.left_out()
    coefficients = [f.T @ w for f, w in zip(design, found.weights, strict=True)]
    errors = residual - mean
    many = len(residual) >= EMPIRICAL_ROWS
    # Errors larger than expected widen what is expected of others, as far as they are many.
    z = np.minimum(np.abs(errors) / np.sqrt(variance), OUTLIER)
    larger = 1.0 if many else float((PRIOR_WEIGHT + z @ z) / (PRIOR_WEIGHT + len(z)))
    some = references(prior.population, prior.mean(prior.population))
    new = prior.design(some, prior.mean(some))
    base = prior.mean.function, prior.mean.weight
    deviation = PosteriorDeviation.of(
        found, design, new, prior.features, base, prior.sources, larger
    )
    return _Solved(coefficients, errors, deviation, np.sqrt(variance) if many else None)


def _by_features(
    design: list[Floats], residual: Floats, noise: Floats, hyper: Hyperprior
) -> _Solved:
    """Ridge regression with the variances that suit a part of the measurements best."""
    part = np.random.default_rng(1).permutation(len(residual))[:OPTIMIZED_ROWS]
    terms = np.stack([f[part] @ f[part].T for f in design])
    variances = np.exp(maximize_evidence(terms, residual[part], hyper.middle, noise[part]))
    scales = np.repeat(np.sqrt(variances[:-1] / variances[-1]), [f.shape[1] for f in design])
    x = np.hstack(design) * scales

    def fit(weights: Floats) -> tuple[Regression, Floats]:
        found = Regression.on(x, residual, weights / noise)
        return found, found.residual

    def weigh(errors: Floats) -> Floats:
        errors = errors / np.sqrt(noise)
        return huber(errors / (robust_deviation(errors, centre=0.0) + 1e-12), OUTLIER) ** 2

    found, _ = reweighted(fit, weigh, len(residual), FEATURE_ROUNDS)
    ends = np.cumsum([f.shape[1] for f in design])[:-1]
    return _Solved(np.split(found.coefficients * scales, ends), found.left_out())


def _calibrate(solved: _Solved, latency_ms: Floats, scale: float) -> Calibration:
    if solved.deviation is None:
        predicted = latency_ms - scale * solved.errors
        return Calibration.fit(np.maximum(predicted, LEAST_SHARE * latency_ms.min()), latency_ms)
    if solved.stated is None:
        return Calibration(student_scores(TAIL_FREEDOM), 1.0, in_deviations=True)
    scores = np.sort(solved.errors / solved.stated)
    # Variances were chosen on the very values: errors left out may be too small, never too large.
    reach = quantile(np.sort(np.abs(scores)), TOLD)
    scores *= max(1.0, NormalDist().inv_cdf((1 + TOLD) / 2) / max(reach, 1e-9))
    return Calibration(scores, 1.0, in_deviations=True)


def terms_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of all terms for groups of features: scale and constant first, the noise last."""
    return ("scale", "constant", *groups, "noise")
