"""Measuring the best of a search, once."""

from __future__ import annotations

import numpy as np

from latcast.search.result import SearchResult

from ._choice import FRONT, PICK, Candidates, spread
from ._measuring import Measuring
from ._verification import Verification


def verify(result: SearchResult, count: int, measuring: Measuring) -> Verification:
    """Measure the best networks of a search's front, and compare with what was predicted.

    Args:
        result: of a search on one target.
        count: how many networks at most: the best within every budget first, then what is best
            if the predictions are wrong. Without budgets they are spread over the front.
        measuring: on the same target.

    Raises:
        ValueError: ``count`` is below 1, or the search was for another target or several.
    """
    if count < 1:
        raise ValueError(f"at least one network must be verified; got {count}")
    if len(result.predictors) != 1 or result.predictors[0].target != measuring.target:
        targets = " and ".join(str(p.target) for p in result.predictors)
        raise ValueError(
            f"a search can be verified on its own target only; it was for {targets}, and "
            f"{measuring.target} is measured: search with search_and_verify, which adapts"
        )
    front = result.front
    has_budgets = np.isfinite(result.max_latency_ms).all() and len(result) > 0
    budgets = result.max_latency_ms if has_budgets else spread(front.counted_ms, count)
    is_open = np.ones(len(front), dtype=np.bool_)
    candidates = Candidates(front, budgets, front.counted_ms, is_open)
    reached = np.full(len(budgets), front.accuracy.min())
    rows = candidates.choose(count, result.predictors[0], reached)
    picks = set(candidates.picks().tolist())
    chosen_for = np.full(len(rows), np.inf)
    if has_budgets:
        chosen_for = candidates.budgets_of(rows, result.predictors[0], reached)
    measured = measuring.measure(front.archs[rows], 1)
    return Verification.of(
        1,
        front.archs[rows],
        tuple(PICK if row in picks else FRONT for row in rows.tolist()),
        chosen_for,
        front.accuracy[rows],
        result.predictors[0],
        result.coverage,
        measured,
    )
