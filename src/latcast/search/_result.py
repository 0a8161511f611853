"""What a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.models import Predictor
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """Networks of which none is beaten in accuracy and in latency on every target by another.

    Attributes:
        archs: n networks; on one target from the fastest to the most accurate, on several from
            the most accurate to the least.
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        accuracy_std: its standard deviation where the accuracy model states one, shape (n,).
        latency_ms: predicted; shape (n,) on one target, (n, targets) on several.
        counted_ms: what was held against the budgets, of the same shape: the prediction, or with
            a confidence the bound that the latency stays below.
    """

    archs: Archs
    accuracy: Floats
    accuracy_std: Floats | None
    latency_ms: Floats
    counted_ms: Floats

    def __len__(self) -> int:
        return len(self.archs)


@dataclass(frozen=True)
class SearchResult:
    """One network per budget, in the order of the budgets, and the whole front.

    Without budgets the networks are those of the front. Arrays of latencies have the shape (n,)
    on one target and (n, targets) on several.

    Attributes:
        archs: the networks, n of them.
        max_latency_ms: the budgets; infinite without.
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        accuracy_std: its standard deviation where the accuracy model states one, shape (n,).
        latency_ms: predicted latency.
        lower_ms, upper_ms: prediction interval at :attr:`coverage`; None where a predictor is not
            calibrated.
        coverage: of the interval.
        kept: probability that the true latency of what was picked keeps the budget, for each
            target by itself, cautiously (:class:`~latcast.search._confidence.ConfidentBound`);
            None as above, or without budgets.
        confidence: with which every budget is kept, or None if the prediction itself counts.
        front: all networks that are not beaten, up to the largest budget.
        predictors: of the latencies, one a target.
        method: name of the method.
        is_exact: whether no network that the search may choose is better.
        stopped: why the search ended early: ``"time"``, ``"interrupted"``, or None.
        evaluations: networks that were evaluated.
        seconds: wall clock of the search.
    """

    archs: Archs
    max_latency_ms: Floats
    accuracy: Floats
    accuracy_std: Floats | None
    latency_ms: Floats
    lower_ms: Floats | None
    upper_ms: Floats | None
    coverage: float
    kept: Floats | None
    confidence: float | None
    front: Front
    predictors: tuple[Predictor, ...]
    method: str
    is_exact: bool
    stopped: str | None
    evaluations: int
    seconds: float

    def __len__(self) -> int:
        return len(self.archs)


def by_target(columns: Sequence[Floats]) -> Floats:
    """One array of every target's (n,): itself if there is one, (n, targets) of several."""
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
