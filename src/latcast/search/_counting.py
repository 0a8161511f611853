"""What counts as a network's latency when it is held against a budget."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from latcast.predict import Predictor
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]


class Counted(Protocol):
    """The milliseconds of networks that count against a budget.

    Attributes:
        name: of the target, for messages.
    """

    name: str

    def counted_ms(self, archs: Archs) -> Floats:
        """Milliseconds, shape (n,)."""


class Predicted:
    """The prediction itself counts: about every second winner exceeds its budget."""

    def __init__(self, predictor: Predictor) -> None:
        self.name = str(predictor.target)
        self._predictor = predictor

    def counted_ms(self, archs: Archs) -> Floats:
        """Predicted milliseconds, shape (n,)."""
        return self._predictor.predict(archs)


class UpperBound:
    """A bound counts that the true latency stays below with a given confidence."""

    def __init__(self, predictor: Predictor, confidence: float) -> None:
        self.name = str(predictor.target)
        self._predictor = predictor
        self._confidence = confidence

    def counted_ms(self, archs: Archs) -> Floats:
        """Upper bounds in milliseconds, shape (n,)."""
        return self._predictor.upper_bound(archs, self._confidence)
