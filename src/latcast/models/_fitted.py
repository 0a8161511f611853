"""What a fitted predictor knows besides its own state, and how far the truth is from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from latcast.data import LATENCY_MS, Quantity
from latcast.devices import Target
from latcast.spaces import SearchSpace

Floats = npt.NDArray[np.float64]


class Intervals(Protocol):
    """How far the truth is from predictions; ``deviation`` is what the predictor states (n,)."""

    def covers(self, coverage: float) -> bool:
        """Whether it can tell intervals of that coverage."""

    def interval(
        self, predicted: Floats, coverage: float, deviation: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Lower and upper bound, each of shape (n,)."""

    def upper_bound(
        self, predicted: Floats, confidence: float, deviation: Floats | None = None
    ) -> Floats:
        """What the truth stays below with that confidence, shape (n,)."""

    def probability_below(
        self, predicted: Floats, limit: Floats | float, deviation: Floats | None = None
    ) -> Floats:
        """Probability that the truth is at most ``limit``, shape (n,)."""

    def deviation_ms(self, predicted: Floats, deviation: Floats | None = None) -> Floats:
        """Standard deviation of the errors to be expected, shape (n,)."""


@dataclass
class Fitted:
    """What a fitted predictor knows besides its own state.

    Attributes:
        space: the space whose block table is used (the parent of a subspace); None where
            networks of any kind are predicted.
        target: what the predictions belong to.
        seen: gene -> the values that occurred in training.
        calibration: errors on rows that were not trained on, or None.
        card: data provenance, licence, metrics: anything JSON can hold.
        quantity: of the predictions.
    """

    space: SearchSpace | None
    target: Target
    seen: dict[str, list[int]] = field(default_factory=dict)
    calibration: Any = None
    card: dict[str, Any] = field(default_factory=dict)
    quantity: Quantity = LATENCY_MS
