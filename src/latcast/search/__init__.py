"""Search: the most accurate network that keeps a latency budget.

The module can be called: ``latcast.search(...)`` is :func:`latcast.search.search`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from ._evolution import Evolution
from ._exhaustive import Exhaustive, Random
from ._memetic import Memetic
from ._method import Goals, Method
from ._nsga2 import NSGA2
from ._problem import InfeasibleError, Problem
from ._result import Front, SearchResult
from ._search import METHODS, Progress, search
from .accuracy import (
    AccuracyModel,
    CallableAccuracy,
    DistilledOFA,
    EnsembleAccuracy,
    TableAccuracy,
    accuracy_model,
    as_accuracy_model,
    train_accuracy,
)

__all__ = [
    "METHODS",
    "NSGA2",
    "AccuracyModel",
    "CallableAccuracy",
    "DistilledOFA",
    "EnsembleAccuracy",
    "Evolution",
    "Exhaustive",
    "Front",
    "Goals",
    "InfeasibleError",
    "Memetic",
    "Method",
    "Problem",
    "Progress",
    "Random",
    "SearchResult",
    "TableAccuracy",
    "accuracy_model",
    "as_accuracy_model",
    "search",
    "train_accuracy",
]


class _CallableModule(ModuleType):
    # The package and its main function share the public name `latcast.search`; importing the
    # package binds that name to the module, so the module itself has to answer the call.
    def __call__(self, *args: Any, **kwargs: Any) -> SearchResult:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
