"""Predicted against measured, and what a verified search found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.models import Predictor
from latcast.report.text import at_least
from latcast.search.problem import InfeasibleError
from latcast.search.result import SearchResult
from latcast.spaces import Archs

from ._candidates import Candidates, Known
from ._measuring import Measured, MeasuringError
from ._scope import Floats, find

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Verification:
    """Predictions and measurements of n networks, or of a round of a verified search.

    Attributes:
        round: 0 for networks that were suggested before the first search, then 1, 2, …
        archs: the networks, in the order in which they were chosen.
        roles: why each was measured: ``"suggested"``, ``"pick"`` or ``"front"``.
        max_latency_ms: the budget that each was chosen for: the smallest that a pick is the best
            for, and of others the one for which they make provision; infinite for none, and where
            there are no budgets; shape (n,).
        accuracy: top-1 by the accuracy model, shape (n,); NaN where it does not know the network,
            which an earlier run chose.
        predicted_ms: before it was measured, shape (n,); NaN where nothing could predict it.
        lower_ms, upper_ms: prediction interval at :attr:`coverage`; NaN where there is none.
        coverage: of the interval.
        measured_ms: shape (n,).
        standard_error: relative, of the measurement; NaN where it is unknown.
        failures: networks that could not be measured, one each, with the reason.
        warnings: doubts about the measurements, a sentence each.
    """

    round: int
    archs: Archs
    roles: tuple[str, ...]
    max_latency_ms: Floats
    accuracy: Floats
    predicted_ms: Floats
    lower_ms: Floats
    upper_ms: Floats
    coverage: float
    measured_ms: Floats
    standard_error: Floats
    failures: tuple[tuple[Archs, str], ...]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def error(self) -> Floats:
        """Predicted over measured, less 1; shape (n,)."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def is_inside(self) -> Flags:
        """Whether the measured latency lies in the prediction interval, shape (n,)."""
        return (self.lower_ms <= self.measured_ms) & (self.measured_ms <= self.upper_ms)

    @property
    def keeps(self) -> Flags:
        """Whether the measured latency keeps the budget, shape (n,)."""
        return self.measured_ms <= self.max_latency_ms

    @property
    def mape(self) -> float:
        """Mean absolute error of the predictions in percent; NaN without any."""
        error = np.abs(self.error[np.isfinite(self.error)])
        return 100 * float(error.mean()) if len(error) else float("nan")

    @classmethod
    def of(
        cls,
        round_: int,
        archs: Archs,
        roles: tuple[str, ...],
        max_latency_ms: Floats,
        accuracy: Floats,
        predictor: Predictor | None,
        coverage: float,
        measured: Measured,
    ) -> Verification:
        """Put predictions beside measurements; networks without a measurement are left out."""
        data = measured.dataset
        rows = np.full(len(archs), -1) if data is None else find(archs, data.archs)
        kept = np.flatnonzero(rows >= 0)
        archs, rows = archs[kept], rows[kept]
        error = None if data is None else data.standard_error
        unknown = np.full(len(kept), np.nan)
        lower, upper = interval(predictor, archs, coverage)
        return cls(
            round_,
            archs,
            tuple(roles[n] for n in kept),
            max_latency_ms[kept],
            accuracy[kept],
            unknown if predictor is None else predictor.predict(archs),
            lower,
            upper,
            coverage,
            unknown if data is None else data.latency_ms[rows],
            unknown if error is None else error[rows],
            measured.failures,
            measured.warnings,
        )


@dataclass(frozen=True, eq=False)
class VerifiedResult:
    """One network per budget, in the order of the budgets, and how they were found.

    Without budgets the networks are the front of those that were measured, from the fastest to
    the most accurate; if none was, some of the last search's front, unverified.

    A network that was measured over its budget is never among them. Where measured networks keep
    a budget, the most accurate of them is taken; else the best of the last search, unverified.

    Attributes:
        archs: the networks, n of them.
        max_latency_ms: the budgets, shape (n,); without budgets what each network counts as: its
            measured latency, with a confidence a bound above it.
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        accuracy_std: its standard deviation where the accuracy model states one, shape (n,).
        predicted_ms: by :attr:`predictor`, shape (n,).
        lower_ms, upper_ms: its prediction interval at :attr:`coverage`; NaN where there is none.
        coverage: of the interval.
        measured_ms: shape (n,); NaN where a network has not been measured.
        standard_error: relative, of the measurement; NaN where it is unknown.
        unverified_accuracy: what the last search expects, within the budget, of a network that
            has not been measured, where that is more than :attr:`accuracy`; NaN elsewhere.
        rounds: predicted against measured, round by round.
        predictor: of the last search; it knows the measurements if :attr:`agrees` is not true
            from the start.
        search: the last search.
        measured: all measurements, or None.
        agrees: whether the best of the last search was measured for every budget, keeps it, and
            takes what was predicted; without budgets whether what is spread over its front does.
        stopped: why it ended early: ``"interrupted"``, or None.
    """

    archs: Archs
    max_latency_ms: Floats
    accuracy: Floats
    accuracy_std: Floats | None
    predicted_ms: Floats
    lower_ms: Floats
    upper_ms: Floats
    coverage: float
    measured_ms: Floats
    standard_error: Floats
    unverified_accuracy: Floats
    rounds: tuple[Verification, ...]
    predictor: Predictor
    search: SearchResult
    measured: Dataset | None
    agrees: bool
    stopped: str | None

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def is_verified(self) -> Flags:
        """Whether networks were measured, and keep their budget; shape (n,)."""
        return ~np.isnan(self.measured_ms)


def interval(predictor: Predictor | None, archs: Archs, coverage: float) -> tuple[Floats, Floats]:
    """Prediction interval, each bound of shape (n,); NaN where there is none."""
    if predictor is None or not predictor.covers(coverage):
        return np.full(len(archs), np.nan), np.full(len(archs), np.nan)
    return predictor.predict_interval(archs, coverage)


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
        f"the fastest that was measured and keeps all else takes {at_least(front_ms[0])} ms"
        if len(front_ms)
        else "none that keeps all else could be measured"
    )
    return InfeasibleError(
        f"no network found keeps {budget_ms:g} ms on {result.predictors[0].target}: {fastest}, and "
        "what was predicted to keep it did not; raise the budget, or allow more rounds"
    )


def _nothing_runs(rounds: tuple[Verification, ...], result: SearchResult) -> MeasuringError:
    failures = [failure for found in rounds for failure in found.failures]
    reason = failures[0][1] if failures else "there are no runs in two processes"
    return MeasuringError(
        f"none of the networks that were found could be measured on {result.predictors[0].target}: "
        f"{reason}"
    )
