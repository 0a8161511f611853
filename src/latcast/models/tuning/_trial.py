"""One trial: fit with some options, score on the validation rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latcast.data import LatencyDataset
from latcast.models import Predictor

from ._plan import Options, Plan

Report = Callable[[int, float], bool]
"""Called with an epoch and its validation error in ms; tells whether to give the trial up."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: ``done``, ``pruned`` (given up before its last epoch) or ``failed``.
        mae_ms: mean absolute error on the validation rows, where done.
        seconds: what it took.
        reason: why it failed.
    """

    state: str
    mae_ms: float | None
    seconds: float
    reason: str | None = None


class _PrunedError(Exception):
    """The trial is given up."""


@dataclass(frozen=True)
class Trials:
    """What all trials of a study have in common. Can be sent to another process.

    Attributes:
        plan: predictor and fixed options.
        train: the rows to fit on.
        validation: the rows to score (and calibrate) on. Neither holds a test row.
    """

    plan: Plan
    train: LatencyDataset
    validation: LatencyDataset

    def run(self, options: Options, report: Report) -> Outcome:
        """Fit and score once; options that cannot be fitted are a failed trial, not an error.

        Raises:
            ModuleNotFoundError: the predictor needs a package that is not installed.
        """
        start = time.perf_counter()

        def ended(state: str, mae_ms: float | None = None, reason: str | None = None) -> Outcome:
            return Outcome(state, mae_ms, time.perf_counter() - start, reason)

        try:
            predictor = self.plan.create(options)
            if predictor.learns_in_epochs:
                predictor.after_epoch = self._reporter(predictor, report)
            predictor.fit(self.train, calibration=self.validation, seed=self.plan.seed)
            return ended("done", self._mae_ms(predictor))
        except _PrunedError:
            return ended("pruned")
        except (ValueError, ArithmeticError) as error:
            return ended("failed", reason=str(error))

    def _reporter(self, predictor: Predictor, report: Report) -> Callable[[int], None]:
        last = int(predictor.options()["epochs"])

        def after_epoch(epoch: int) -> None:
            mae_ms = self._mae_ms(predictor)
            if not np.isfinite(mae_ms):
                raise ValueError(f"the fit diverged: no finite validation error in epoch {epoch}")
            if report(epoch, mae_ms) and epoch < last:
                raise _PrunedError

        return after_epoch

    def _mae_ms(self, predictor: Predictor) -> float:
        predicted_ms = predictor.predict(self.validation.archs)
        return float(np.abs(predicted_ms - self.validation.latency_ms).mean())
