"""Hyper-parameter search: which options of a predictor suit a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._plan import DEFAULT_TRIALS, PRESETS, Preset, TuningPlan
    from ._study import TrialRecord
    from ._tune import TuningRecord, TuningResult, tune
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "DEFAULT_TRIALS",
    "PRESETS",
    "Preset",
    "TrialRecord",
    "TuningPlan",
    "TuningRecord",
    "TuningResult",
    "tune",
]
