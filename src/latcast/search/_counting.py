"""What counts as a network's latency when it is held against a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from latcast.models import Predictor
from latcast.models.accuracy import AccuracyModel
from latcast.spaces import Archs, SearchSpace

from ._confidence import ConfidentBound

Floats = npt.NDArray[np.float64]


class Counted(Protocol):
    """The milliseconds of networks that count against a budget.

    Attributes:
        name: of the target, for messages.
    """

    name: str

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Milliseconds, shape (n,).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """

    def least_ms(self, archs: Archs) -> Floats:
        """What :meth:`counted_ms` is not below, told without any accuracy, shape (n,)."""


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
        if accuracy is None:
            return self._bound.bound_ms(archs)
        return self._bound.bound_of(self._bound.latency.predict(archs), accuracy)

    def least_ms(self, archs: Archs) -> Floats:
        """The bounds of random networks, shape (n,)."""
        return self._bound.uncorrected(self._bound.latency.predict(archs))


def counted(
    space: SearchSpace,
    predictors: Sequence[Predictor],
    accuracy: AccuracyModel,
    confidence: float | None,
    restrict: Mapping[str, Sequence[int]],
    candidates: Archs | None = None,
) -> list[Counted]:
    """What counts as latency on every target.

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
