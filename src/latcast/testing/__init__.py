"""Contracts that everything of its kind must keep: put your own through them, as our tests do.

Each function raises AssertionError where a contract is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from .hosts import HOST_CHECKS, check_host
    from .methods import check_method
    from .predictors import check_fitted, check_predictor
    from .quantities import check_quantity
    from .runtimes import RUNTIME_CHECKS, check_runtime
    from .spaces import SPACE_CHECKS, check_space
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "HOST_CHECKS",
    "RUNTIME_CHECKS",
    "SPACE_CHECKS",
    "check_fitted",
    "check_host",
    "check_method",
    "check_predictor",
    "check_quantity",
    "check_runtime",
    "check_space",
]
