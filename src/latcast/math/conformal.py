"""Intervals by split conformal prediction.

Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World* (2005); Lei et al.,
*Distribution-Free Predictive Inference for Regression* (JASA 2018), section 2.2, with locally
weighted residuals (section 5.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_EXPONENT = 1.5
NORMAL_QUANTILES = (0.1587, 0.8413)
"""Of a normal distribution, one standard deviation below and above its mean."""


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
    """

    scores: Floats
    exponent: float
    equal_tailed: bool = False

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
        exponent = _slope(np.log(predicted_ms), np.log(np.abs(errors) + 1e-9 * true_ms))
        return cls(np.sort(errors / predicted_ms**exponent), exponent)

    def interval(self, predicted_ms: Floats, coverage: float) -> tuple[Floats, Floats]:
        """Bounds that hold the true latency with probability ``coverage``, at least 0.

        Raises:
            ValueError: ``coverage`` is not between 0 and 1, or asks for more rows than there are.
        """
        if self.equal_tailed:
            least, most = self._tails(coverage)
            scale = predicted_ms**self.exponent
            return np.maximum(predicted_ms + least * scale, 0.0), predicted_ms + most * scale
        half = self._quantile(np.sort(np.abs(self.scores)), coverage, "coverage")
        margin = half * predicted_ms**self.exponent
        return np.maximum(predicted_ms - margin, 0.0), predicted_ms + margin

    def _tails(self, coverage: float) -> tuple[float, float]:
        """Scores that leave out half of the rest below and above."""
        most = self._quantile(self.scores, (1 + coverage) / 2, "coverage")
        return -self._quantile(-self.scores[::-1], (1 + coverage) / 2, "coverage"), most

    def upper_bound(self, predicted_ms: Floats, confidence: float) -> Floats:
        """A bound that the true latency stays below with probability ``confidence``.

        Raises:
            ValueError: as :meth:`interval`.
        """
        return predicted_ms + (
            self._quantile(self.scores, confidence, "confidence") * predicted_ms**self.exponent
        )

    def covers(self, level: float) -> bool:
        """Whether there are enough scores for a level (coverage or confidence)."""
        return 0 < level < 1 and self._rank(level) <= len(self.scores)

    def _rank(self, level: float) -> int:
        return math.ceil((len(self.scores) + 1) * level - 1e-9)

    def probability_below(self, predicted_ms: Floats, limit_ms: Floats | float) -> Floats:
        """Probability that the true latency is at most ``limit_ms``, shape (n,).

        The share of the calibration scores that would keep the limit, counted as one of m + 1.
        """
        score = (limit_ms - predicted_ms) / predicted_ms**self.exponent
        below = np.searchsorted(self.scores, score, side="right")
        return np.asarray(below / (len(self.scores) + 1), dtype=np.float64)

    def deviation_ms(self, predicted_ms: Floats) -> Floats:
        """Deviation of the errors to be expected, shape (n,).

        Half the distance between the 16th and the 84th percentile of the scores, which is one
        standard deviation of normal errors and does not follow outliers.
        """
        low, high = np.quantile(self.scores, NORMAL_QUANTILES)
        return np.asarray((high - low) / 2 * predicted_ms**self.exponent, dtype=np.float64)

    def _quantile(self, ascending: Floats, level: float, name: str) -> float:
        """The smallest score that at least (m + 1) * level of them do not exceed."""
        if not 0 < level < 1:
            raise ValueError(f"{name} must be between 0 and 1, such as 0.9; got {level}")
        m, rank = len(ascending), self._rank(level)
        if rank > m:
            raise ValueError(
                f"a {name} of {level} needs at least {math.ceil(level / (1 - level) - 1e-9)} "
                f"calibration measurements; there are {m}"
            )
        return float(ascending[rank - 1])


def _slope(x: Floats, y: Floats) -> float:
    centred = x - x.mean()
    spread = float(centred @ centred)
    # With few rows or hardly any spread the slope is noise: take errors as proportional.
    if len(x) < 30 or spread < 1e-6 * len(x):
        return 1.0
    return float(np.clip(centred @ (y - y.mean()) / spread, 0.0, MAX_EXPONENT))
