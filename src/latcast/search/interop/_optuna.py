"""Architecture search as an objective of Optuna (https://optuna.org)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latcast.search._models import AnyAccuracy
from latcast.spaces import Archs, SearchSpace

from ._objectives import Budget, Latencies, Objectives

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial


@dataclass(frozen=True)
class OptunaObjective:
    """Called with a trial, gives accuracy and latencies; see :func:`optuna_objective`."""

    objectives: Objectives

    @property
    def directions(self) -> list[str]:
        """For ``optuna.create_study(directions=…)``: more accuracy, fewer ms on every target."""
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


def optuna_objective(
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
) -> OptunaObjective:
    """An objective for a study of several directions (Optuna 5).

    Every gene is a categorical parameter of its name. Budgets and limits become the trial's
    constraints (``trial.set_constraint``), which samplers heed by themselves: the share by which
    each is exceeded, at most 0 where it is kept.

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

    Raises:
        ValueError: an unknown name, models that do not fit the space or of which one knows only
            some networks, several budgets, or a budget or limit that is not positive and finite.
    """
    objectives = Objectives.of(
        space, latency, accuracy, max_latency_ms, confidence, restrict,
        max_macs=max_macs, max_params=max_params, max_activation_bytes=max_activation_bytes,
    )  # fmt: skip
    return OptunaObjective(objectives)
