"""Accuracy models: architecture -> top-1 accuracy."""

from ._base import AccuracyModel
from ._shipped import accuracy_model
from .distilled import DistilledOFA

__all__ = ["AccuracyModel", "DistilledOFA", "accuracy_model"]
