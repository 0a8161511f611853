"""Latencies that count against a budget: predictions, or bounds that hold for selected networks.

A calibrated bound holds for a random architecture. A search picks the most accurate of those whose
prediction is within the budget, and a network is often among them because its latency was
predicted too low: the winner's curse. All that the search goes by is the pair (prediction p,
accuracy a). So a bound that holds *given that pair* holds for whatever is picked, however many
networks were looked at and by whichever method.

Let t be the true latency, sigma(p) the deviation of its errors, and m(p) and tau(p) mean and
deviation of the accuracy among random networks of prediction p. At worst an error is pure chance
that the regression took at face value, p = t + chance. The accuracy, which grows with the true
latency, then tells of the chance, as a second measurement of the latency would: for normal
variables,

    E[t - p | p, a] = rho * sigma * z,   z = (a - m) / tau,   rho = sigma * m'(p) / tau

(the regression of one normal variable on another). A predictor that shrinks its coefficients as
far as its data ask for has no such error, E[t | p, a] = p; real ones lie between the two. What a
predictor's form leaves out is shared by networks that are alike and goes with the accuracy as
well, in either direction; a correlation of :data:`MISFIT` allows for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from latcast.math.conformal import Calibration
from latcast.models import Predictor
from latcast.models.accuracy import AccuracyModel
from latcast.spaces import Archs, SearchSpace

from .front import Floats
from .problem import Counted, small_to_large

# The constants of the correction were chosen in 2,760 searches among measured networks, of the
# OFANAS paper's GPUs and of HELP's targets (docs/search.md).
# Random networks that show how accuracy goes with latency: 80 in each bin, so that the quantile one
# deviation above the median rests on a dozen of them.
SAMPLES = 2_000
BINS = 25
# Accuracy grows with the logarithm of latency and levels off: a cubic follows that.
DEGREE = 3
# Share of the deviation of all accuracies that the one at a given latency is not below: keeps z
# finite where a bin happens to hold equal accuracies.
MIN_DEVIATION = 0.05
# Where the trend is steep and predictions are poor, the formula of rho goes beyond 1.
MAX_CORRELATION = 0.9
# Correlation of errors with the accuracy at a given prediction, as predictors show it on public
# targets where chance explains none (0 to 0.15), those of these searches among them.
MISFIT = 0.1


@dataclass(frozen=True)
class Trend:
    """How accuracy goes with predicted latency among random networks.

    Attributes:
        low_log_ms, high_log_ms: logarithms of the predictions between which it is known; beyond,
            the nearer end counts.
        typical: median accuracy of a log prediction.
        deviation: likewise, of the accuracies above the median; the lower half is of no concern,
            where spaces have networks that cannot be trained.
        min_deviation: a floor for it.
    """

    low_log_ms: float
    high_log_ms: float
    typical: Polynomial
    deviation: Polynomial
    min_deviation: float

    @classmethod
    def of(cls, predicted_ms: Floats, accuracy: Floats) -> Trend:
        """Fitted to n random networks; arrays of shape (n,)."""
        # Medians of bins of equal numbers: networks that cannot be trained, at the bottom, move no
        # median.
        bins = np.array_split(np.argsort(predicted_ms, kind="stable"), min(BINS, len(accuracy)))
        x = np.array([np.log(predicted_ms[rows]).mean() for rows in bins])
        middle = np.array([np.median(accuracy[rows]) for rows in bins])
        upper = np.array([np.quantile(accuracy[rows], 0.8413) for rows in bins])
        # Medians that differ by rounding have no slope: what a fit makes of it is the library's
        # affair (with numpy 1.26 a constant accuracy was corrected by all that is allowed).
        flat = np.ptp(middle) <= 1e-12 * np.abs(middle).max()
        degree = 0 if flat else min(DEGREE, len(np.unique(x)) - 1)
        typical = Polynomial.fit(x, middle, degree) if degree else Polynomial([np.median(middle)])
        deviation = (
            Polynomial.fit(x, upper - middle, min(1, degree))
            if degree
            else Polynomial([float((upper - middle).mean())])
        )
        # A space whose networks of one latency are nearly all as accurate would make any gain look
        # like a selection of many deviations.
        floor = MIN_DEVIATION * float(np.std(accuracy)) + float(np.finfo(np.float64).tiny)
        return cls(float(x[0]), float(x[-1]), typical, deviation, floor)

    def at(self, predicted_ms: Floats) -> tuple[Floats, Floats, Floats]:
        """Median accuracy, its deviation, and its slope per ms (at least 0), each (n,)."""
        # A polynomial says nothing beyond the predictions that it was fitted to.
        x = np.clip(np.log(predicted_ms), self.low_log_ms, self.high_log_ms)
        deviation = np.maximum(self.deviation(x), self.min_deviation)
        slope = np.maximum(self.typical.deriv()(x), 0.0) / predicted_ms
        return self.typical(x), deviation, slope


@dataclass(frozen=True)
class ConfidentBound:
    """Milliseconds that the network a search picks stays below with a given confidence.

    Made once for a search by :meth:`of`; changes nothing and draws nothing afterwards.

    Attributes:
        latency: calibrated predictor of the target.
        accuracy: accuracy model that the search maximizes.
        confidence: probability with which the true latency is to stay below the bound.
        trend: of accuracy over predicted latency.
    """

    latency: Predictor
    accuracy: AccuracyModel
    confidence: float
    trend: Trend

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        latency: Predictor,
        accuracy: AccuracyModel,
        confidence: float,
        restrict: Mapping[str, Sequence[int]] | None = None,
        seed: int | np.random.Generator = 0,
        *,
        candidates: Archs | None = None,
    ) -> ConfidentBound:
        """Learn the trend from random networks.

        Args:
            space: where the search goes on.
            latency: calibrated predictor.
            accuracy: supports the space.
            confidence: between 0 and 1.
            restrict: gene -> values to which the search is confined.
            seed: of the random networks.
            candidates: the only networks there are, if not all of the space.

        Raises:
            ValueError: no calibration, or too little of it for ``confidence``, or one that is
                not between 0 and 1; or there are no candidates.
        """
        rng = np.random.default_rng(seed)
        if candidates is None:
            archs = small_to_large(space, SAMPLES, rng, restrict)
        else:
            if not len(candidates):
                raise ValueError("candidates must hold a network to choose; got none")
            archs = candidates[rng.permutation(len(candidates))[:SAMPLES]]
        predicted, deviation = latency.stated(archs)
        self = cls(latency, accuracy, confidence, Trend.of(predicted, accuracy.predict(archs)))
        first = None if deviation is None else deviation[:1]
        self.uncorrected(predicted[:1], first)  # an impossible confidence is an error now
        return self

    def bound_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """The ms that count against a budget, shape (n,).

        Args:
            archs: n architectures.
            accuracy: of them, where it is known already, shape (n,).
        """
        predicted, deviation = self.latency.stated(archs)
        if accuracy is None:
            accuracy = self.accuracy.predict(archs)
        bound = self.uncorrected(predicted, deviation)
        return bound + self.correction(predicted, accuracy, deviation)

    def uncorrected(self, predicted_ms: Floats, deviation: Floats | None = None) -> Floats:
        """The bound of a network that was picked at random, in ms, shape (n,)."""
        return self.latency.calibration.upper_bound(predicted_ms, self.confidence, deviation)

    def correction(
        self, predicted_ms: Floats, accuracy: Floats, stated: Floats | None = None
    ) -> Floats:
        """Milliseconds by which the true latency is expected above the prediction, at least 0.

        Args:
            predicted_ms: shape (n,).
            accuracy: by the accuracy model, shape (n,).
            stated: deviations of log ms that the predictor states, shape (n,). One that does is a
                posterior mean, which took no chance at face value.
        """
        typical, deviation, slope = self.trend.at(predicted_ms)
        error = self.latency.calibration.deviation_ms(predicted_ms, stated)
        # Networks of less than the typical accuracy are not picked for it: nothing is to be
        # corrected.
        z = np.maximum(accuracy - typical, 0.0) / deviation
        # A factor on the whole target, as of a device by its specification, is the same for all
        # networks: none is picked for it. So is none for what a posterior mean leaves open.
        calibration = self.latency.calibration
        plain = calibration if isinstance(calibration, Calibration) else None
        is_chance = stated is None and not (plain and plain.equal_tailed)
        chance = np.minimum(slope * error / deviation, MAX_CORRELATION) * is_chance
        # A posterior over functions of networks has what its form leaves out in its deviations: of
        # what is picked from predictors adapted to 20 and 50 rows of eight shipped models, taken
        # for the truth, 88 and 93 % stay below a bound of 90 % by these alone.
        misfit = 0.0 if plain and plain.in_deviations else MISFIT
        return np.asarray(np.hypot(chance, misfit) * error * z, dtype=np.float64)

    def p_within(self, archs: Archs, budget_ms: Floats | float) -> Floats:
        """P(within budget) of the true latencies of networks that were picked, shape (n,)."""
        predicted, deviation = self.latency.stated(archs)
        # The correction does not depend on the confidence: it shifts the whole distribution.
        room = budget_ms - self.correction(predicted, self.accuracy.predict(archs), deviation)
        if deviation is not None:
            # Where nothing is left there is no logarithm.
            room = np.maximum(room, np.finfo(np.float64).tiny)
        return self.latency.calibration.probability_below(predicted, room, deviation)


class Predicted:
    """The prediction itself counts: about every second winner exceeds its budget."""

    def __init__(self, predictor: Predictor) -> None:
        self.name = str(predictor.target)
        self._predictor = predictor

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Predicted milliseconds, shape (n,)."""
        return self._predictor.predict(archs)

    def least_ms(self, archs: Archs) -> Floats:
        """The same."""
        return self._predictor.predict(archs)


class UpperBound:
    """A bound counts that the true latency of what a search picks stays below."""

    def __init__(self, bound: ConfidentBound) -> None:
        self.name = str(bound.latency.target)
        self._bound = bound

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Upper bounds in milliseconds, shape (n,)."""
        return self._bound.bound_ms(archs, accuracy)

    def least_ms(self, archs: Archs) -> Floats:
        """The bounds of random networks, shape (n,)."""
        predicted, deviation = self._bound.latency.stated(archs)
        return self._bound.uncorrected(predicted, deviation)


def counted(
    space: SearchSpace,
    predictors: Sequence[Predictor],
    accuracy: AccuracyModel,
    confidence: float | None,
    restrict: Mapping[str, Sequence[int]],
    candidates: Archs | None = None,
) -> list[Counted]:
    """Return the latencies that count against the budget of every target.

    That all budgets are kept at once with a confidence follows from each being kept with a
    higher one (Bonferroni's inequality).

    Raises:
        ValueError: a confidence that is not between 0 and 1, or too little calibration for it.
    """
    if confidence is None:
        return [Predicted(p) for p in predictors]
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.9; got {confidence}")
    each = 1 - (1 - confidence) / len(predictors)
    return [
        UpperBound(ConfidentBound.of(space, p, accuracy, each, restrict, candidates=candidates))
        for p in predictors
    ]
