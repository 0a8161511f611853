"""Hyper-parameter search: which options of a predictor suit a dataset."""

from __future__ import annotations

from ._plan import DEFAULT_TRIALS, PRESETS, Preset, TuningPlan
from ._record import TuningRecord
from ._study import TrialRecord
from ._tune import TuningResult, tune

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
