"""The networks that a verified search ends with."""

from __future__ import annotations

import numpy as np

from latcast.search.problem import InfeasibleError
from latcast.search.result import SearchResult
from latcast.spaces import Archs

from ._choice import Candidates
from ._known import Known
from ._measuring import MeasuringError
from ._verification import Verification, VerifiedResult, interval


def answer(
    candidates: Candidates,
    known: Known,
    result: SearchResult,
    *,
    rounds: tuple[Verification, ...],
    agrees: bool,
    stopped: str | None,
    infeasible: InfeasibleError | None,
    needs_all: bool,
) -> VerifiedResult:
    """The most accurate measured network within every budget; else the best by prediction.

    Args:
        candidates: the last search's front as it is seen after all measurements.
        known: all measurements.
        result: the last search.
        rounds: for the result.
        agrees: likewise.
        stopped: likewise.
        infeasible: what a search said of budgets that it could not keep.
        needs_all: whether there must be a network for every budget.

    Raises:
        InfeasibleError: there is no network for a budget.
        MeasuringError: none of the networks could be measured.
    """
    chosen: list[Archs] = []
    budgets, more = [], []
    front = candidates.front
    for budget_ms, pick in zip(candidates.budgets_ms, candidates.picks(), strict=True):
        row = known.best(budget_ms)
        if row < 0 and pick < 0:
            if needs_all:
                if known.dataset is None and not candidates.is_open.any():
                    raise _nothing_runs(rounds, result)
                raise infeasible or _infeasible(known, float(budget_ms), result)
            continue
        chosen.append(known.archs[row] if row >= 0 else front.archs[pick])
        budgets.append(budget_ms)
        promises = row >= 0 and pick >= 0 and candidates.is_open[pick]
        more.append(front.accuracy[pick] if promises else np.nan)
    if not chosen:
        raise _nothing_runs(rounds, result)
    archs = chosen[0].concatenate(*chosen[1:])
    accuracy = known.scope.accuracy_model.predict(archs)
    promised = np.array(more)
    lower, upper = interval(result.predictors[0], archs, result.coverage)
    return VerifiedResult(
        archs,
        np.array(budgets),
        accuracy,
        known.scope.accuracy_model.uncertainty(archs),
        result.predictors[0].predict(archs),
        lower,
        upper,
        result.coverage,
        known.measured_ms(archs),
        known.standard_error(archs),
        np.where(promised > accuracy, promised, np.nan),
        rounds,
        result.predictors[0],
        result,
        known.dataset,
        agrees,
        stopped,
    )


def _infeasible(known: Known, budget_ms: float, result: SearchResult) -> InfeasibleError:
    front_ms = known.front_ms()
    fastest = (
        f"the fastest that was measured and keeps all else takes {front_ms[0]:.3f} ms"
        if len(front_ms)
        else "none that keeps all else could be measured"
    )
    return InfeasibleError(
        f"no network found keeps {budget_ms:g} ms on {result.predictors[0].target}: {fastest}, and "
        "what was predicted to keep it did not; raise the budget, or allow more rounds"
    )


def _nothing_runs(rounds: tuple[Verification, ...], result: SearchResult) -> MeasuringError:
    failures = [failure for found in rounds for failure in found.failures]
    reason = failures[0][1] if failures else "there are no visits in two processes"
    return MeasuringError(
        f"none of the networks that were found could be measured on {result.predictors[0].target}: "
        f"{reason}"
    )
