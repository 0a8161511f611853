"""Search: the most accurate network that keeps a latency budget.

The module can be called: ``latcast.search(...)`` is :func:`latcast.search.search`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from latcast._imports import public_names

if TYPE_CHECKING:
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

    from ._search import METHODS, Progress, search
    from .exhaustive import Exhaustive, Random
    from .front import Evaluated
    from .interop import EfficiencyPredictor, ExpectedLatency, as_pymoo_problem, optuna_objective
    from .memetic import Memetic
    from .nsga2 import NSGA2
    from .problem import Goals, InfeasibleError, Method, Problem
    from .result import Front, SearchRecord, SearchResult
    from .verification import Campaigns, Measuring, search_and_verify, verify
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "METHODS",
    "NSGA2",
    "AccuracyModel",
    "CallableAccuracy",
    "Campaigns",
    "DistilledOFA",
    "EfficiencyPredictor",
    "EnsembleAccuracy",
    "Evaluated",
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


class _CallableModule(ModuleType):
    # The package and its main function share the public name `latcast.search`; importing the
    # package binds that name to the module, so the module itself has to answer the call.
    def __call__(self, *args: Any, **kwargs: Any) -> SearchResult:
        from ._search import search

        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
