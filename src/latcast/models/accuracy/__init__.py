"""Accuracy models: architecture -> top-1 accuracy."""

from latcast.data import read_accuracies

from ._base import AccuracyModel
from ._find import AccuracySource, as_accuracy_model, load_accuracy
from ._shipped import accuracy_model
from .distilled import DistilledOFA
from .ensemble import EnsembleAccuracy
from .function import CallableAccuracy
from .gaussian_process import GaussianProcess
from .table import TableAccuracy
from .training import evaluate_accuracy, train_accuracy

__all__ = [
    "AccuracyModel",
    "AccuracySource",
    "CallableAccuracy",
    "DistilledOFA",
    "EnsembleAccuracy",
    "GaussianProcess",
    "TableAccuracy",
    "accuracy_model",
    "as_accuracy_model",
    "evaluate_accuracy",
    "load_accuracy",
    "read_accuracies",
    "train_accuracy",
]
