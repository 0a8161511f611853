"""Milliseconds of any network, from its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._basis import FEATURES, log_facts
    from ._explanation import BOUNDS, Extrapolation, LayerExplanation, explain
    from ._fit import MIN_GROUPS
    from ._predictor import Kernels, MoreThreads
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "BOUNDS",
    "FEATURES",
    "MIN_GROUPS",
    "Extrapolation",
    "Kernels",
    "LayerExplanation",
    "MoreThreads",
    "explain",
    "log_facts",
]
