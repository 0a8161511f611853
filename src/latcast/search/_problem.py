"""What a search asks: accuracy to maximize, latency bounds to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from latcast.predict import Predictor
from latcast.spaces import Archs, SearchSpace

from .accuracy import AccuracyModel

Floats = npt.NDArray[np.float64]


class InfeasibleError(ValueError):
    """No network of the space keeps the budget; the message names the fastest one."""


@dataclass
class Problem:
    """Accuracy and the latency that counts against the budgets, for batches of architectures.

    Args:
        space: where to search.
        latency: predictor of the target.
        accuracy: accuracy model.
        confidence: None counts the predicted latency; otherwise the bound that the true latency
            stays below with this probability.
        restrict: gene -> values to which the search is confined.
    """

    space: SearchSpace
    latency: Predictor
    accuracy: AccuracyModel
    confidence: float | None
    restrict: Mapping[str, Sequence[int]]
    evaluations: int = field(default=0, init=False)

    def accuracy_of(self, archs: Archs) -> Floats:
        """Top-1 accuracy, 0 … 1, shape (n,)."""
        return self.accuracy.predict(archs)

    def bound_ms(self, archs: Archs) -> Floats:
        """The ms that count against a budget, shape (n,)."""
        self.evaluations += len(archs)
        if self.confidence is None:
            return self.latency.predict(archs)
        return self.latency.upper_bound(archs, self.confidence)


def restriction(
    space: SearchSpace,
    latency: Predictor,
    accuracy: AccuracyModel,
    wanted: Mapping[str, Sequence[int]],
) -> dict[str, list[int]]:
    """Gene values that the user wants and on which both models can be relied.

    A predictor is relied on for the values it was trained on, an accuracy model for the
    resolutions it declares.

    Raises:
        ValueError: nothing is left of a gene.
    """
    known = {g.name: set(g.choices) & set(latency.fitted.seen.get(g.name, g.choices))
             for g in space.genes}  # fmt: skip
    if "r" in known and accuracy.resolutions is not None:
        known["r"] &= set(accuracy.resolutions)
    for name, values in wanted.items():
        if name not in known:
            raise ValueError(f"{space.name} has no gene {name!r}; it has {', '.join(known)}")
        left = known[name] & set(values)
        if not left:
            raise ValueError(
                f"{name} must keep one of {sorted(known[name])}, which both models know; "
                f"got {sorted(values)}"
            )
        known[name] = left
    empty = [name for name, values in known.items() if not values]
    if empty:
        raise ValueError(
            f"the predictor and the accuracy model share no value of {empty[0]!r}: "
            "take models that were trained on the same resolutions"
        )
    return {name: sorted(values) for name, values in known.items()}
