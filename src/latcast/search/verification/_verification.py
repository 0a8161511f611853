"""Predicted against measured, and what a verified search found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.data import LatencyDataset
from latcast.models import Predictor
from latcast.search.result import SearchResult
from latcast.spaces import Archs

from ._known import Floats, find
from ._measuring import Measured

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Verification:
    """What was predicted for n networks, and what was measured; a round of a verified search.

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
    measured: LatencyDataset | None
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
