"""Accuracy models: architecture -> top-1 accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from latcast.data import read_accuracies
    from latcast.models.evaluation import evaluate as evaluate_accuracy

    from ._base import AccuracyModel, checked_accuracies
    from .distilled import DistilledOFA
    from .gaussian_process import GaussianProcess
    from .records import train_accuracy
    from .sources import (
        SHIPPED,
        AccuracySource,
        CallableAccuracy,
        EnsembleAccuracy,
        TableAccuracy,
        accuracy_model,
        as_accuracy_model,
        load_accuracy,
    )
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "SHIPPED",
    "AccuracyModel",
    "AccuracySource",
    "CallableAccuracy",
    "DistilledOFA",
    "EnsembleAccuracy",
    "GaussianProcess",
    "TableAccuracy",
    "accuracy_model",
    "as_accuracy_model",
    "checked_accuracies",
    "evaluate_accuracy",
    "load_accuracy",
    "read_accuracies",
    "train_accuracy",
]
