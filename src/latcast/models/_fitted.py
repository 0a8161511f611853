"""Facts of a fitted model beside its own state, and the model written out."""

from __future__ import annotations

from collections.abc import Sequence
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
        """Return upper bounds of the truth with that confidence, shape (n,)."""

    def probability_below(
        self, predicted: Floats, limit: Floats | float, deviation: Floats | None = None
    ) -> Floats:
        """Probability that the truth is at most ``limit``, shape (n,)."""

    def deviation_ms(self, predicted: Floats, deviation: Floats | None = None) -> Floats:
        """Standard deviation of the errors to be expected, shape (n,)."""


@dataclass
class Fitted:
    """The facts that a fitted model keeps beside its own state.

    Attributes:
        space: the space whose block table is used (the parent of a subspace); None where
            networks of any kind are predicted.
        target: what the predictions belong to; None of a quantity that depends on no target, and
            of a model of many targets.
        seen: gene -> the values that occurred in training.
        calibration: errors on rows that were not trained on, or None.
        card: data provenance, licence, metrics: anything JSON can hold.
        quantity: of the predictions.
    """

    space: SearchSpace | None
    target: Target = None  # type: ignore[assignment]  # most have one
    seen: dict[str, list[int]] = field(default_factory=dict)
    calibration: Any = None
    card: dict[str, Any] = field(default_factory=dict)
    quantity: Quantity = LATENCY_MS

    def notes(self, name: str) -> list[str]:
        """Return the notes on every answer of a model of that name."""
        issues = self.card.get("data_issues", ())
        if not any(issue.startswith("exactly-additive") for issue in issues):
            return []
        note = "was trained on sums of a lookup table, not on measurements: its interval tells how"
        return [f"{name} {note} well the table is known, not the device"]


# --- predictions as functions of what adds up over a network ------------------------------------


@dataclass(frozen=True)
class Form:
    """A prediction as a function of sums over blocks, for those who need more than its value.

    With x the network's inputs (see below), layer k having weights W_k and biases b_k, and all
    layers but the last followed by a ReLU::

        y = x @ linear + layers(x) + base_weight * base(network)
        prediction = max(y, lowest_ms)

    The inputs, in this order, are the sums of :attr:`rows` over the blocks (a), the sums of
    :attr:`live` over the blocks that are no dead code (b), and, if :attr:`has_genes`, the space's
    one-hot encoding.

    Attributes:
        rows: of every row of the block table, shape (rows, a); NaN where unknown.
        live: likewise, shape (rows, b).
        has_genes: whether the one-hot encoding is among the inputs.
        linear: ms per unit of every input, shape (inputs,).
        layers: weights (in, out) and biases (out,) of every layer; the last has one output, ms.
        lowest_ms: no prediction is below.
        base: another prediction of which a multiple is added, or None.
        base_weight: its factor.
    """

    rows: Floats
    live: Floats
    has_genes: bool
    linear: Floats
    layers: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    lowest_ms: float
    base: Form | None = None
    base_weight: float = 0.0

    @classmethod
    def additive(cls, values_ms: Floats, constant_ms: float, lowest_ms: float) -> Form:
        """``constant_ms`` and a number of ms for every row of the block table (rows,)."""
        rows = values_ms[:, None]
        constant = (np.zeros((1, 1)), np.array([constant_ms]))
        return cls(rows, no_values(len(rows)), False, np.ones(1), [constant], lowest_ms)


def no_values(rows: int) -> Floats:
    """Return the row values of a form that sums nothing, shape (rows, 0)."""
    return np.zeros((rows, 0))
