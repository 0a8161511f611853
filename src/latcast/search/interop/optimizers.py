"""Architecture search as a problem of pymoo (https://pymoo.org) and an objective of Optuna.

Both vary every gene's choice and are told accuracy, latencies, and by how much limits are exceeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Required, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from latcast._imports import require
from latcast._names import unknown_name
from latcast.search.front import Floats
from latcast.search.problem import Problem
from latcast.search.request import AnyAccuracy, Latency, Request
from latcast.spaces import Archs, SearchSpace

from ._terms import Variables

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial


class Asked(TypedDict, total=False):
    """The options of a search; all but ``latency`` may be left out.

    Attributes:
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
    """

    latency: Required[Latency | Sequence[Latency]]
    accuracy: AnyAccuracy | None
    max_latency_ms: float | Sequence[float] | None
    confidence: float | None
    max_macs: float | None
    max_params: float | None
    max_activation_bytes: float | None
    restrict: Mapping[str, Sequence[int]] | None


@dataclass(frozen=True)
class Objectives:
    """Accuracy and latencies of networks, and by how much they exceed what is allowed.

    Attributes:
        problem: accuracy, what counts as latency, and limits.
        variables: the choices of every gene.
        budget_ms: of every target, shape (targets,); None without.
    """

    problem: Problem
    variables: Variables
    budget_ms: Floats | None

    @classmethod
    def of(cls, space: str | SearchSpace, **options: Unpack[Asked]) -> Self:
        """Make the objectives from a search's options.

        Raises:
            TypeError: an unknown option, or no ``latency``.
            ValueError: several budgets, an accuracy model that knows only some networks, and as
                :meth:`Request.of`.
        """
        known = list(Asked.__annotations__)
        if unknown := [name for name in options if name not in known]:
            raise TypeError(unknown_name("option", unknown[0], known))
        given: dict[str, Any] = {"accuracy": None, "max_latency_ms": None, **options}
        asked = Request.of(space, **given)
        problem, budgets = asked.problem, asked.budgets_ms
        if problem.candidates is not None:
            raise ValueError(
                f"genes can be varied one by one where all of {problem.space.name} has an "
                f"accuracy; {problem.accuracy.name!r} knows only some networks: choose among them "
                "with latcast.search"
            )
        if len(budgets) > 1:
            raise ValueError(
                f"max_latency_ms must be one number of ms a target, {len(asked.predictors)} in "
                f"all; got {len(budgets)} budgets"
            )
        variables = Variables(problem.space, tuple(problem.choices))
        return cls(problem, variables, budgets[0] if len(budgets) else None)

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self.problem.latencies)

    @property
    def constraints(self) -> tuple[str, ...]:
        """Names of what :meth:`excess` gives: every target, if there is a budget, then limits."""
        targets = () if self.budget_ms is None else tuple(x.name for x in self.problem.latencies)
        return (*targets, *self.problem.limits)

    def values(self, archs: Archs) -> tuple[Floats, Floats]:
        """Top-1 accuracy from 0 to 1, shape (n,), and counted ms, shape (n, targets)."""
        return self.problem.accuracy.predict(archs), self.problem.ms(archs)

    def excess(self, archs: Archs, ms: Floats) -> Floats:
        """Share by which every constraint is exceeded, shape (n, constraints).

        At most 0 where it is kept: ``value / limit - 1``.
        """
        shares = [np.empty((len(archs), 0)) if self.budget_ms is None else ms / self.budget_ms]
        for name, limit in self.problem.limits.items():
            shares.append(self.problem.cost(archs, name)[:, None] / limit)
        return np.hstack(shares) - 1.0


@dataclass(frozen=True)
class OptunaObjective:
    """Called with a trial, gives accuracy and latencies; see :func:`optuna_objective`."""

    objectives: Objectives

    @property
    def directions(self) -> list[str]:
        """Directions for ``optuna.create_study``: more accuracy, fewer ms on every target."""
        return ["maximize"] + ["minimize"] * self.objectives.targets

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """Top-1 accuracy from 0 to 1, then ms on every target, of the network of a trial."""
        variables = self.objectives.variables
        genes = [
            trial.suggest_categorical(gene.name, values.tolist())
            for gene, values in zip(variables.space.genes, variables.choices, strict=True)
        ]
        arch = Archs(variables.space, np.array([genes]))
        accuracy, latency_ms = self.objectives.values(arch)
        excess = self.objectives.excess(arch, latency_ms)[0]
        for name, share in zip(self.objectives.constraints, excess, strict=True):
            trial.set_constraint(name, share)
        return (float(accuracy[0]), *latency_ms[0].tolist())

    def archs(self, trials: Sequence[FrozenTrial]) -> Archs:
        """The networks of trials, such as ``study.best_trials``."""
        space = self.objectives.variables.space
        genes = [[trial.params[gene.name] for gene in space.genes] for trial in trials]
        return Archs(space, np.array(genes, dtype=np.int64).reshape(-1, len(space.genes)))


def optuna_objective(space: str | SearchSpace, **asked: Unpack[Asked]) -> OptunaObjective:
    """An objective for a study of several directions (Optuna 5).

    Every gene is a categorical parameter of its name. Budgets and limits become the trial's
    constraints (``trial.set_constraint``), which samplers heed by themselves: the share by which
    each is exceeded, at most 0 where it is kept.

    Args:
        space: search space or its name.
        asked: the models and limits of :class:`Asked`.

    Raises:
        ValueError: an unknown name, models that do not fit the space or of which one knows only
            some networks, several budgets, or a budget or limit that is not positive and finite.
    """
    return OptunaObjective(Objectives.of(space, **asked))


def as_pymoo_problem(space: str | SearchSpace, **asked: Unpack[Asked]) -> Any:
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
        asked: the models and limits of :class:`Asked`.

    Returns:
        The problem; its ``archs(X)`` are the networks of variables ``X`` of shape (n, genes).

    Raises:
        ModuleNotFoundError: pymoo is not installed.
        ValueError: as :func:`optuna_objective`.
    """
    return _problem_class()(Objectives.of(space, **asked))


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
