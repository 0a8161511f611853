"""Search: the most accurate network that keeps a latency budget.

The module can be called: ``latcast.search(...)`` is :func:`latcast.search.search`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from latcast.models.accuracy import (
    AccuracyModel,
    CallableAccuracy,
    DistilledOFA,
    EnsembleAccuracy,
    TableAccuracy,
    accuracy_model,
    as_accuracy_model,
    train_accuracy,
)

from ._evolution import Evolution
from ._exhaustive import Exhaustive, Random
from ._memetic import Memetic
from ._method import Goals, Method
from ._nsga2 import NSGA2
from ._problem import InfeasibleError, Problem
from ._result import Front, SearchRecord, SearchResult
from ._search import METHODS, Progress, search

if TYPE_CHECKING:
    from .interop import ExpectedLatency, as_pymoo_problem, optuna_objective
    from .verification import Campaigns, Measuring, search_and_verify, verify

__all__ = [
    "METHODS",
    "NSGA2",
    "AccuracyModel",
    "CallableAccuracy",
    "Campaigns",
    "DistilledOFA",
    "EnsembleAccuracy",
    "Evolution",
    "Exhaustive",
    "ExpectedLatency",
    "Front",
    "Goals",
    "InfeasibleError",
    "Measuring",
    "Memetic",
    "Method",
    "Problem",
    "Progress",
    "Random",
    "SearchRecord",
    "SearchResult",
    "TableAccuracy",
    "accuracy_model",
    "as_accuracy_model",
    "as_pymoo_problem",
    "optuna_objective",
    "search",
    "search_and_verify",
    "train_accuracy",
    "verify",
]


# What needs other packages, or the whole of measuring, is imported on first use.
_LATER = {
    "ExpectedLatency": ".interop",
    "as_pymoo_problem": ".interop",
    "optuna_objective": ".interop",
    "Campaigns": ".verification",
    "Measuring": ".verification",
    "search_and_verify": ".verification",
    "verify": ".verification",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _CallableModule(ModuleType):
    # The package and its main function share the public name `latcast.search`; importing the
    # package binds that name to the module, so the module itself has to answer the call.
    def __call__(self, *args: Any, **kwargs: Any) -> SearchResult:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
