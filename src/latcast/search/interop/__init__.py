"""Search by others: pymoo, Optuna, Once-For-All, and gradients in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latcast._imports import require

from .once_for_all import EfficiencyPredictor
from .optimizers import as_pymoo_problem, optuna_objective

if TYPE_CHECKING:
    from .expected_latency import ExpectedLatency

__all__ = ["EfficiencyPredictor", "ExpectedLatency", "as_pymoo_problem", "optuna_objective"]


def __getattr__(name: str) -> Any:
    # A module class needs PyTorch to be defined at all.
    if name == "ExpectedLatency":
        require("torch", "torch", "the differentiable expected latency")
        from .expected_latency import ExpectedLatency

        return ExpectedLatency
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
