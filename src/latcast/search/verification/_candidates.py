"""Selection of a front's networks to measure, and their forecasts from others' measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from latcast.data import Dataset
from latcast.models import Predictor
from latcast.search.front import best_within, nondominated
from latcast.search.result import Front
from latcast.spaces import Archs

from ._measuring import Measured
from ._scope import Floats, Rows, Scope, find

# Quantiles of the prediction's error for which the networks to measure make provision.
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
# Relative standard deviation of a prediction without intervals.
ASSUMED_ERROR = 0.1

# Why a network is measured: it tells most about others, it is a budget's best by prediction, or it
# is what is left for a budget if the prediction is wrong.
SUGGESTED, PICK, FRONT = "suggested", "pick", "front"


class Known:
    """All measurements so far, and the networks that cannot be measured.

    Args:
        scope: of the networks that may be answers.
        confidence: with which a measured network must keep a budget, in spite of the
            measurement's own error; None: its measured latency counts.

    Attributes:
        dataset: all measurements, or None.
    """

    def __init__(self, scope: Scope, confidence: float | None) -> None:
        self.scope = scope
        self._deviations = 0.0 if confidence is None else float(ndtri(confidence))
        self.dataset: Dataset | None = None
        self._failed = self._none = scope.space.sample(0)
        self._accuracy: Floats = np.empty(0)
        self._counted_ms: Floats = np.empty(0)
        self._answers_ms: Floats = np.empty(0)

    def add(self, measured: Measured) -> None:
        """Take in what came of a round."""
        for arch, _ in measured.failures:
            self._failed = self._failed.concatenate(arch)
        if measured.dataset is None:
            return
        before = self.dataset
        data = measured.dataset if before is None else before.concatenate(measured.dataset)
        self.dataset = data
        self._accuracy = self.scope.accuracy(data.archs)
        self._counted_ms = data.latency_ms * (1 + self._deviations * _standard_error(data))
        allowed = self.scope.allows(data.archs)
        self._answers_ms = np.where(allowed, self._counted_ms, np.inf)

    @property
    def archs(self) -> Archs:
        """The measured networks."""
        return self._none if self.dataset is None else self.dataset.archs

    def measured_ms(self, archs: Archs) -> Floats:
        """Measured latencies, shape (n,); NaN where there is none."""
        latency_ms = np.empty(0) if self.dataset is None else self.dataset.latency_ms
        return np.append(latency_ms, np.nan)[find(archs, self.archs)]

    def standard_error(self, archs: Archs) -> Floats:
        """Relative standard errors of the measurements, shape (n,); NaN: unknown."""
        if self.dataset is None or self.dataset.standard_error is None:
            return np.full(len(archs), np.nan)
        return np.append(self.dataset.standard_error, np.nan)[find(archs, self.archs)]

    def counted_ms(self, archs: Archs) -> Floats:
        """Return the ms of networks that count against a budget, shape (n,).

        The measured latency, with a confidence a bound above it; infinite where a network
        cannot be measured; NaN where it has not been.
        """
        counted = np.append(self._counted_ms, np.nan)[find(archs, self.archs)]
        return np.where(find(archs, self._failed) >= 0, np.inf, counted)

    def best(self, budget_ms: float) -> int:
        """Position of the most accurate measured network in scope and budget; -1: none."""
        return _best(self._accuracy, self._answers_ms, budget_ms)

    def front_ms(self) -> Floats:
        """Return the counted ms of the measured front in scope, ascending."""
        rows = np.flatnonzero(np.isfinite(self._answers_ms))
        ms = self._answers_ms[rows]
        return ms[nondominated(self._accuracy[rows], ms[:, None])]

    def best_accuracy(self, budgets_ms: Floats, otherwise: float) -> Floats:
        """Accuracy of the best measured networks, shape (budgets,)."""
        best = np.array([self.best(b) for b in budgets_ms])
        return np.asarray(np.append(self._accuracy, otherwise)[best])


@dataclass(frozen=True, eq=False)
class Candidates:
    """A front as it is seen after some of its networks have been measured.

    Attributes:
        front: of one target, n networks.
        budgets_ms: shape (b,).
        ms: what counts against budgets, shape (n,): the measurement where there is one; infinite
            where a network cannot be measured.
        is_open: whether a network may be measured yet, shape (n,).
    """

    front: Front
    budgets_ms: Floats
    ms: Floats
    is_open: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, front: Front, budgets_ms: Floats, known: Known) -> Candidates:
        """Put what is known in the place of what was predicted."""
        known_ms = known.counted_ms(front.archs)
        is_open = np.isnan(known_ms)
        return cls(front, budgets_ms, np.where(is_open, front.counted_ms, known_ms), is_open)

    def picks(self) -> Rows:
        """Position of the most accurate network within every budget, shape (b,); -1: none."""
        rows = [_best(self.front.accuracy, self.ms, b) for b in self.budgets_ms]
        return np.array(rows, dtype=np.intp)

    def choose(self, count: int, predictor: Predictor, accuracy: Floats) -> Rows:
        """Positions of networks to measure, in order of preference.

        First the picks; then, greedily, the network that raises the accuracy to be expected
        within the budgets most, if all predictions may be wrong by one common factor: constrained
        expected improvement (Gardner et al., *Bayesian Optimization with Inequality Constraints*,
        2014) of a batch. Where nothing raises it any more, those farthest from all others.

        Args:
            count: how many at most.
            predictor: of the front.
            accuracy: what has been reached within every budget, shape (b,).
        """
        gains = self._gains(predictor, accuracy)
        reached = np.zeros((len(LEVELS), len(self.budgets_ms)))
        is_open, chosen = self.is_open.copy(), list[int]()
        picks = [p for p in dict.fromkeys(self.picks().tolist()) if p >= 0 and is_open[p]]
        while len(chosen) < count and is_open.any():
            pool = np.array(picks) if picks else np.flatnonzero(is_open)
            more = np.maximum(gains[:, pool] - reached[:, None], 0.0).sum(axis=2).mean(axis=0)
            if not picks and not more.any():
                more = _distances(self.front.latency_ms, pool, np.flatnonzero(~is_open))
            row = int(pool[np.argmax(more)])
            chosen.append(row)
            is_open[row] = False
            picks = [p for p in picks if p != row]
            reached = np.maximum(reached, gains[:, row])
        return np.array(chosen, dtype=np.intp)

    def budgets_of(self, rows: Rows, predictor: Predictor, accuracy: Floats) -> Floats:
        """The budgets that networks are chosen for, shape (n,).

        Of picks the smallest that they are the pick of; of others the one within which they add
        most to what is expected of the networks before them. Infinite where they add to none, and
        of networks that are not in the front.

        Args:
            rows: positions in the order of the choice, shape (n,); -1: not in the front.
            predictor: as for :meth:`choose`.
            accuracy: likewise.
        """
        gains, picks = self._gains(predictor, accuracy), self.picks()
        reached = np.zeros((len(LEVELS), len(self.budgets_ms)))
        budgets = np.full(len(rows), np.inf)
        for n in np.flatnonzero(rows >= 0):
            gain = gains[:, rows[n]]
            more = np.maximum(gain - reached, 0.0).mean(axis=0)
            if (own := self.budgets_ms[picks == rows[n]]).size:
                budgets[n] = own.min()
            elif more.any():
                budgets[n] = self.budgets_ms[np.argmax(more)]
            reached = np.maximum(reached, gain)
        return budgets

    def _gains(self, predictor: Predictor, accuracy: Floats) -> Floats:
        """Return the gains within budgets if predictions err so much, (levels, n, b)."""
        keeps = _quantiles_ms(predictor, self.front.archs)[:, :, None] <= self.budgets_ms
        return np.asarray(keeps * np.maximum(self.front.accuracy[:, None] - accuracy, 0.0))


def spread(ms: Floats, count: int) -> Floats:
    """Up to ``count`` of the latencies, about equally far apart by their ratios, ascending.

    Infinite ones are none of them.
    """
    ms = ms[np.isfinite(ms)]
    if not len(ms):
        return ms
    log = np.log(ms)
    goals = np.linspace(log.min(), log.max(), count)
    return np.unique(ms[np.abs(log[:, None] - goals).argmin(axis=0)])


def _quantiles_ms(predictor: Predictor, archs: Archs) -> Floats:
    """Milliseconds that the latency stays below by every one of :data:`LEVELS`, (levels, n)."""
    if all(predictor.covers(level) for level in LEVELS):
        return np.stack([predictor.upper_bound(archs, level) for level in LEVELS])
    factors = np.exp(ASSUMED_ERROR * ndtri(LEVELS))
    return np.asarray(factors[:, None] * predictor.predict(archs))


def _distances(ms: Floats, pool: Rows, others: Rows) -> Floats:
    """How far networks are from the nearest other in latency, as the log of a ratio."""
    if not len(others):
        return np.zeros(len(pool))
    return np.asarray(np.abs(np.log(ms[pool][:, None] / ms[others])).min(axis=1))


def _best(accuracy: Floats, ms: Floats, budget_ms: float) -> int:
    """:func:`best_within` on one target; -1: none."""
    row = best_within(accuracy, ms[:, None], np.array([budget_ms]))
    return -1 if row is None else row


def _standard_error(data: Dataset) -> Floats:
    """Relative standard errors; where one is unknown, what is just not called unstable."""
    if data.standard_error is None:
        return np.zeros(len(data))
    from latcast.data import UNSTABLE

    return np.where(np.isnan(data.standard_error), UNSTABLE, data.standard_error)
