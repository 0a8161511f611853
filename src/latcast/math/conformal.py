"""Intervals by split conformal prediction.

Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World* (2005); Lei et al.,
*Distribution-Free Predictive Inference for Regression* (JASA 2018), section 2.2, with locally
weighted residuals (section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import scipy

from .least_squares import straight_line

Floats = npt.NDArray[np.float64]

# Errors that grow faster than the prediction's power of 1.5 are a fit of the noise: an interval
# would explode beyond the calibrated range.
MAX_EXPONENT = 1.5
# Of a normal distribution, one standard deviation below and above its mean.
NORMAL_QUANTILES = (0.1587, 0.8413)
# With fewer rows the slope of errors over predictions is noise: they are taken as proportional.
SLOPE_ROWS = 30
# Scores of a distribution that is known: a level of 0.9975 is the highest that they cover.
STUDENT_SCORES = 399
# 0.55 times 100 is a little more than 55 in floating point: its rank is 55 all the same.
_ROUNDING = 1e-9


def rank(scores: int, level: float) -> int:
    """``ceil((scores + 1) * level)``: which of so many ascending scores a new one stays below.

    A new score that is exchangeable with m others is at most their rank-th smallest with a
    probability of ``level`` at least (Vovk et al. 2005, proposition 2.3; Lei et al. 2018, theorem
    2.2). It is above ``scores`` where there are too few of them.
    """
    return math.ceil((scores + 1) * level - _ROUNDING)


def covers(scores: int, level: float) -> bool:
    """Whether so many scores are enough for a level (coverage or confidence)."""
    return 0 < level < 1 and rank(scores, level) <= scores


def max_level(scores: int) -> float:
    """The highest level that so many scores cover."""
    return scores / (scores + 1)


def quantile(ascending: Floats, level: float, name: str = "coverage") -> float:
    """The score that a new one stays below with a probability of ``level``.

    Args:
        ascending: scores of m held-out rows, shape (m,).
        level: between 0 and 1.
        name: of the level, for the message.

    Raises:
        ValueError: the level is not between 0 and 1, or asks for more scores than there are.
    """
    _check_level(level, name)
    if not covers(len(ascending), level):
        raise ValueError(
            f"a {name} of {level} needs at least {math.ceil(level / (1 - level) - _ROUNDING)} "
            f"calibration measurements; there are {len(ascending)}: ask for at most "
            f"{math.floor(100 * max_level(len(ascending))) / 100:g}, or calibrate with more"
        )
    return float(ascending[rank(len(ascending), level) - 1])


def _check_level(level: float, name: str) -> None:
    if not 0 < level < 1:
        raise ValueError(f"{name} must be between 0 and 1, such as 0.9; got {level}")


@dataclass(frozen=True)
class DeviationScores:
    """Errors of held-out rows in units of the standard deviation that was stated for each.

    Attributes:
        sizes: absolute values, ascending, shape (m,).
        representative: whether the rows were held out as those to be predicted will be. Errors on
            rows like those of the training say nothing of others: an interval then reaches at
            least as far as the stated deviation has it.
    """

    sizes: Floats
    representative: bool = True

    @classmethod
    def of(cls, errors: Floats, *, representative: bool = True) -> DeviationScores:
        """Make scores of signed errors (m,)."""
        return cls(np.sort(np.abs(errors)), representative)

    def __post_init__(self) -> None:
        if self.sizes.ndim != 1 or not len(self.sizes) or not np.isfinite(self.sizes).all():
            raise ValueError("scores must be finite numbers, at least one")
        if (np.diff(self.sizes) < 0).any() or self.sizes[0] < 0:
            raise ValueError("scores must be ascending and not negative")

    def widened(self, factor: float) -> DeviationScores:
        """Scores of intervals that reach ``factor`` times as far in logarithms."""
        return replace(self, sizes=self.sizes * factor)

    def covers(self, coverage: float) -> bool:
        """Whether there are enough of them for intervals of ``coverage``."""
        return covers(len(self.sizes), coverage)

    def quantile(self, coverage: float) -> float:
        """Deviations that an interval reaches to either side.

        Raises:
            ValueError: the coverage is not between 0 and 1, or asks for more scores.
        """
        size = quantile(self.sizes, coverage)
        if self.representative:
            return size
        # Errors on rows like the training's are too small for others: they may widen, never narrow.
        return max(size, NormalDist().inv_cdf((1 + coverage) / 2))

    def interval(
        self, predicted: Floats, coverage: float, deviation: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Bounds that hold the truth with probability ``coverage``.

        Args:
            predicted: medians, shape (n,).
            coverage: between 0 and 1.
            deviation: stated standard deviations of the logarithm, shape (n,).

        Raises:
            ValueError: as :meth:`quantile`.
        """
        factor = np.exp(self.quantile(coverage) * _stated(deviation))
        return predicted / factor, predicted * factor

    def upper_bound(
        self, predicted: Floats, confidence: float, deviation: Floats | None = None
    ) -> Floats:
        """Return an upper bound of the truth with probability ``confidence``, for symmetric errors.

        Raises:
            ValueError: as :meth:`quantile`.
        """
        _check_level(confidence, "confidence")
        coverage = abs(2 * confidence - 1)
        reach = np.sign(confidence - 0.5) * self.quantile(coverage) if coverage else 0.0
        return np.asarray(predicted * np.exp(reach * _stated(deviation)))

    def probability_below(
        self, predicted: Floats, limit: Floats | float, deviation: Floats | None = None
    ) -> Floats:
        """Probability that the truth is at most ``limit``, errors being symmetric, shape (n,)."""
        z = np.log(limit / predicted) / _stated(deviation)
        # One of m + 1, as in `rank`: m errors never make a probability of 1.
        share = np.searchsorted(self.sizes, np.abs(z), side="right") / (len(self.sizes) + 1)
        return np.asarray((1 + np.sign(z) * share) / 2, dtype=np.float64)

    def deviation_ms(self, predicted: Floats, deviation: Floats | None = None) -> Floats:
        """Standard deviation of the errors to be expected, by the 68 % of them, shape (n,)."""
        middle = np.quantile(self.sizes, NORMAL_QUANTILES[1] - NORMAL_QUANTILES[0])
        return np.asarray(predicted * middle * _stated(deviation))


@dataclass(frozen=True)
class Calibration:
    """Errors on m rows that were not trained on, relative to a scale of the prediction.

    The scale of a prediction p is p ** exponent: 0 for errors of one size in ms, 1 for errors
    of one size in percent.

    Attributes:
        scores: (true - predicted) / scale, ascending, shape (m,).
        exponent: how errors grow with the prediction.
        equal_tailed: whether an interval leaves as much out on either side, rather than as much
            room: for errors that are lopsided by nature, such as factors.
        in_deviations: whether the scale is the standard deviation that is stated of a prediction,
            relative to it, in the place of that power.
    """

    scores: Floats
    exponent: float
    equal_tailed: bool = False
    in_deviations: bool = False

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not len(self.scores) or not np.isfinite(self.scores).all():
            raise ValueError("calibration scores must be finite numbers, at least one")
        if (np.diff(self.scores) < 0).any():
            raise ValueError("calibration scores must be ascending")
        if not 0 <= self.exponent <= MAX_EXPONENT:
            raise ValueError(f"the exponent must be from 0 to {MAX_EXPONENT}; got {self.exponent}")

    @classmethod
    def fit(cls, predicted_ms: Floats, true_ms: Floats) -> Calibration:
        """Scores of m held-out rows, arrays of shape (m,).

        The exponent is the slope of log |error| over log prediction, clipped to 0 … 1.5. It is
        fitted on the calibration rows themselves: one number, next to m scores.
        """
        errors = true_ms - predicted_ms
        # An exact prediction has no logarithm of its error: lookup tables make some.
        exponent = _growth(predicted_ms, np.abs(errors) + 1e-9 * true_ms)
        return cls(np.sort(errors / predicted_ms**exponent), exponent)

    @classmethod
    def in_each(cls, parts: Sequence[tuple[Floats, Floats]]) -> Calibration:
        """Scores of intervals that hold in each of several groups of held-out rows.

        A new row is of one of the groups, and nothing tells of which: at every level the scores
        are those of the group that is farthest off, to either side (Mondrian prediction, Vovk et
        al. 2005, section 4.5, and the worst of its categories).

        Args:
            parts: predicted and true values of each group, at least one row each.
        """
        pooled = cls.fit(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        groups = [np.sort((true - told) / told**pooled.exponent) for told, true in parts]
        count = max(map(len, groups))
        levels = np.arange(1, count + 1) / (count + 1)

        def farthest(sorted_groups: Sequence[Floats]) -> Floats:
            at = [[min(rank(len(g), level), len(g)) - 1 for level in levels] for g in sorted_groups]
            return np.asarray(
                np.max([g[n] for g, n in zip(sorted_groups, at, strict=True)], axis=0)
            )

        above, below = farthest(groups), -farthest([-g[::-1] for g in groups])[::-1]
        return cls(np.where(levels < 0.5, below, above), pooled.exponent)

    def interval(
        self, predicted_ms: Floats, coverage: float, deviation: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Bounds that hold the true latency with probability ``coverage``, at least 0.

        A ``deviation`` that a model states is asked for where scores are in units of it.

        Raises:
            ValueError: ``coverage`` is not between 0 and 1, or asks for more rows than there are.
        """
        _check_level(coverage, "coverage")
        scale = self._scale(predicted_ms, deviation)
        if self.equal_tailed:
            level = _one_sided(coverage)
            upper = quantile(self.scores, level, "one-sided coverage")
            lower = -quantile(-self.scores[::-1], level, "one-sided coverage")
            return np.maximum(predicted_ms + lower * scale, 0.0), predicted_ms + upper * scale
        margin = quantile(np.sort(np.abs(self.scores)), coverage) * scale
        return np.maximum(predicted_ms - margin, 0.0), predicted_ms + margin

    def upper_bound(
        self, predicted_ms: Floats, confidence: float, deviation: Floats | None = None
    ) -> Floats:
        """A bound that the true latency stays below with probability ``confidence``.

        Raises:
            ValueError: as :meth:`interval`.
        """
        scale = self._scale(predicted_ms, deviation)
        return predicted_ms + quantile(self.scores, confidence, "confidence") * scale

    def widened(self, factor: float) -> Calibration:
        """Scores of intervals that reach ``factor`` times as far."""
        return replace(self, scores=self.scores * factor)

    def covers(self, coverage: float) -> bool:
        """Whether there are enough scores for an :meth:`interval` of ``coverage``."""
        level = _one_sided(coverage) if self.equal_tailed else coverage
        return 0 < coverage < 1 and covers(len(self.scores), level)

    def probability_below(
        self, predicted_ms: Floats, limit_ms: Floats | float, deviation: Floats | None = None
    ) -> Floats:
        """Probability that the true latency is at most ``limit_ms``, shape (n,).

        The share of the calibration scores that would keep the limit, counted as one of m + 1.
        """
        score = (limit_ms - predicted_ms) / self._scale(predicted_ms, deviation)
        below = np.searchsorted(self.scores, score, side="right")
        return np.asarray(below / (len(self.scores) + 1), dtype=np.float64)

    def deviation_ms(self, predicted_ms: Floats, deviation: Floats | None = None) -> Floats:
        """Deviation of the errors to be expected, shape (n,).

        Half the distance between the 16th and the 84th percentile of the scores, which is one
        standard deviation of normal errors and does not follow outliers.
        """
        low, high = np.quantile(self.scores, NORMAL_QUANTILES)
        scale = self._scale(predicted_ms, deviation)
        return np.asarray((high - low) / 2 * scale, dtype=np.float64)

    def _scale(self, predicted_ms: Floats, deviation: Floats | None) -> Floats:
        if self.in_deviations:
            return predicted_ms * _stated(deviation)
        return np.asarray(predicted_ms**self.exponent)


def _stated(deviation: Floats | None) -> Floats:
    if deviation is None:
        raise ValueError("these scores are in units of deviations, and none are stated")
    return deviation


def _one_sided(coverage: float) -> float:
    """Level of either bound that leaves out half of the rest below and half above."""
    return (1 + coverage) / 2


def student_scores(freedom: float, deviation: float = 1.0) -> Floats:
    """Scores that stand for errors of Student's t distribution, ascending, shape (399,)."""
    levels = np.arange(1, STUDENT_SCORES + 1) / (STUDENT_SCORES + 1)
    return np.asarray(deviation * scipy.special.stdtrit(freedom, levels))


def _growth(predicted: Floats, errors: Floats) -> float:
    """Slope of log |error| over log prediction, clipped."""
    x = np.log(predicted)
    # Hardly any spread tells no slope either.
    if len(x) < SLOPE_ROWS or float(((x - x.mean()) ** 2).sum()) < 1e-6 * len(x):
        return 1.0
    return float(np.clip(straight_line(x, np.log(errors))[0], 0.0, MAX_EXPONENT))
