"""What has been measured so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from latcast.data import LatencyDataset
from latcast.measure._results import UNSTABLE
from latcast.spaces import Archs

from ._measuring import Measured

if TYPE_CHECKING:
    from ._scope import Scope

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


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
        self.dataset: LatencyDataset | None = None
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
        """What counts of networks against a budget, shape (n,).

        The measured latency, with a confidence a bound above it; infinite where a network
        cannot be measured; NaN where it has not been.
        """
        counted = np.append(self._counted_ms, np.nan)[find(archs, self.archs)]
        return np.where(find(archs, self._failed) >= 0, np.inf, counted)

    def best(self, budget_ms: float) -> int:
        """Position of the most accurate measured network in scope and budget; -1: none."""
        return best_within(self._answers_ms, self._accuracy, budget_ms)

    def front_ms(self) -> Floats:
        """What counts of the measured networks in scope that no other one beats, ascending."""
        order = np.lexsort((-self._accuracy, self._answers_ms))
        order = order[np.isfinite(self._answers_ms[order])]
        accuracy = self._accuracy[order]
        before = np.maximum.accumulate(np.append(-np.inf, accuracy))[:-1]
        return self._answers_ms[order[accuracy > before]]

    def best_accuracy(self, budgets_ms: Floats, otherwise: float) -> Floats:
        """Accuracy of the best measured networks, shape (budgets,)."""
        best = np.array([self.best(b) for b in budgets_ms])
        return np.asarray(np.append(self._accuracy, otherwise)[best])


def best_within(ms: Floats, accuracy: Floats, budget_ms: float) -> int:
    """Position of the most accurate network within a budget, of equal ones the fastest; or -1."""
    within = np.flatnonzero(ms <= budget_ms)
    order = np.lexsort((ms[within], -accuracy[within]))
    return int(within[order[0]]) if len(order) else -1


def find(archs: Archs, among: Archs) -> Rows:
    """Positions of the same networks among others, the last of equal ones; -1: not there."""
    groups = among.concatenate(archs).unique_index()
    positions = np.full(len(groups), -1, dtype=np.intp)
    positions[groups[: len(among)]] = np.arange(len(among))
    return positions[groups[len(among) :]]


def _standard_error(data: LatencyDataset) -> Floats:
    """Relative standard errors; where one is unknown, what is just not called unstable."""
    if data.standard_error is None:
        return np.zeros(len(data))
    return np.where(np.isnan(data.standard_error), UNSTABLE, data.standard_error)
