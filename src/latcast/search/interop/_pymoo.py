"""Architecture search as a problem of pymoo (https://pymoo.org)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._optional import require
from latcast.search._models import AnyAccuracy
from latcast.spaces import Archs, SearchSpace

from ._objectives import Budget, Latencies, Objectives


def as_pymoo_problem(
    space: str | SearchSpace,
    *,
    latency: Latencies,
    accuracy: AnyAccuracy | None = None,
    max_latency_ms: Budget = None,
    confidence: float | None = None,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_activation_bytes: float | None = None,
    restrict: Mapping[str, Sequence[int]] | None = None,
) -> Any:
    """A ``pymoo.core.problem.Problem``, evaluated a whole population at a time.

    - Variables: one integer a gene, the index of its choice, from 0.
    - Objectives, minimized: minus the accuracy, then the latency in ms on every target.
    - Constraints, at most 0 where they are kept: ``latency / budget - 1`` of every target, if there
      is a budget, then ``cost / limit - 1`` of every limit.

    Sampling, crossover and mutation must be for integers, as in pymoo's page on discrete
    variables: ``IntegerRandomSampling()``, and ``SBX`` and ``PM`` with ``vtype=float`` and
    ``repair=RoundingRepair()``.

    Args:
        space: search space or its name.
        latency: predictor, a model file or the name of a shipped model; several of them for
            several targets at once.
        accuracy: as :func:`latcast.search.search` takes it.
        max_latency_ms: the budget, one number of ms for every target.
        confidence: in place of predictions, count bounds that true latencies stay below with
            this probability, on all targets at once.
        max_macs: most multiply-accumulates of one sample.
        max_params: most parameters.
        max_activation_bytes: most memory of the activations of one sample that are alive at the
            same time.
        restrict: gene -> values to search among; values that a model was not made for are left
            out in any case.

    Returns:
        The problem; its ``archs(X)`` are the networks of variables ``X`` of shape (n, genes).

    Raises:
        ModuleNotFoundError: pymoo is not installed.
        ValueError: an unknown name, models that do not fit the space or of which one knows only
            some networks, several budgets, or a budget or limit that is not positive and finite.
    """
    objectives = Objectives.of(
        space, latency, accuracy, max_latency_ms, confidence, restrict,
        max_macs=max_macs, max_params=max_params, max_activation_bytes=max_activation_bytes,
    )  # fmt: skip
    return _problem_class()(objectives)


@cache
def _problem_class() -> Any:
    require("pymoo", "pymoo", "a pymoo problem")
    core = import_module("pymoo.core.problem")

    class ArchitectureProblem(core.Problem):  # type: ignore[misc, name-defined]  # optional
        def __init__(self, objectives: Objectives) -> None:
            self.objectives = objectives
            choices = objectives.variables.choices
            super().__init__(
                n_var=len(choices),
                n_obj=1 + objectives.targets,
                n_ieq_constr=len(objectives.constraints),
                xl=np.zeros(len(choices), dtype=np.int64),
                xu=np.array([len(c) - 1 for c in choices]),
                vtype=int,
            )

        def archs(self, x: npt.ArrayLike) -> Archs:
            """The networks of variables, shape (n, genes) or (genes,)."""
            return self.objectives.variables.archs(x)

        def _evaluate(self, x: npt.NDArray[Any], out: dict[str, Any], *_: Any, **__: Any) -> None:
            archs = self.archs(x)
            accuracy, latency_ms = self.objectives.values(archs)
            out["F"] = np.column_stack([-accuracy, latency_ms])
            if self.n_ieq_constr:
                out["G"] = self.objectives.excess(archs, latency_ms)

    return ArchitectureProblem
