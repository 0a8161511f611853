"""One search for several budgets, some of which its latency source may take for infeasible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.models import Predictor
from latcast.search import InfeasibleError, SearchResult, search
from latcast.spaces import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Budgeted:
    """What a search found.

    Attributes:
        result: of the budgets that are feasible by the latency source; None if none is.
        is_found: of every budget asked for, whether there is a network, shape (budgets,).
    """

    result: SearchResult | None
    is_found: npt.NDArray[np.bool_]

    def spread(self, values: npt.ArrayLike) -> Floats:
        """Values of the networks found, one for every budget asked for: NaN without a network."""
        spread = np.full(len(self.is_found), np.nan)
        spread[self.is_found] = values
        return spread


def search_within(
    space: str | SearchSpace, latency: Predictor, budgets_ms: Sequence[float], **options: Any
) -> Budgeted:
    """Search, leaving out the budgets that no network keeps by this latency.

    Args:
        space: search space or its name.
        latency: predictor of one target.
        budgets_ms: ascending.
        options: further ones of :func:`latcast.search.search`.

    Raises:
        ValueError: as that function's, but for infeasible budgets.
    """
    budgets = np.array(budgets_ms, dtype=np.float64)
    for first in range(len(budgets)):
        # What keeps a budget keeps every larger one: only the smallest can be infeasible.
        try:
            result = search(
                space, latency=latency, max_latency_ms=budgets[first:].tolist(), **options
            )
        except InfeasibleError:
            continue
        return Budgeted(result, np.arange(len(budgets)) >= first)
    return Budgeted(None, np.zeros(len(budgets), dtype=np.bool_))


def mean(values: Floats) -> float:
    """Of the networks that there are, whose values are not NaN; NaN for none."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def deviation(values: Floats) -> float:
    """Standard deviation of the same; 0 for one, NaN for none."""
    there = values[np.isfinite(values)]
    if len(there) < 2:
        return 0.0 if len(there) else float("nan")
    return float(there.std(ddof=1))
