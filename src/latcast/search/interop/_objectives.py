"""What a network is judged by, for optimizers that are not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from latcast.search._budgets import parse_budgets, parse_limits
from latcast.search._counting import counted
from latcast.search._models import AnyAccuracy, Latency, find_accuracy, find_predictors
from latcast.search._problem import Problem
from latcast.search._restriction import restriction
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._variables import Variables

Floats = npt.NDArray[np.float64]
Latencies = Latency | Sequence[Latency]
Budget = float | Sequence[float] | None


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
    def of(
        cls,
        space: str | SearchSpace,
        latency: Latencies,
        accuracy: AnyAccuracy | None,
        max_latency_ms: Budget,
        confidence: float | None,
        restrict: Mapping[str, Sequence[int]] | None,
        **limits: float | None,
    ) -> Self:
        """Look up names and check that everything belongs together.

        Raises:
            ValueError: an unknown name, models that do not fit the space, several budgets, or a
                budget or limit that is not positive and finite.
        """
        the_space = find_space(space) if isinstance(space, str) else space
        predictors = find_predictors(the_space, latency)
        model = find_accuracy(the_space, accuracy)
        if model.known(the_space) is not None:
            raise ValueError(
                f"genes can be varied one by one where all of {the_space.name} has an accuracy; "
                f"{model.name!r} knows only some networks: choose among them with latcast.search"
            )
        budgets = parse_budgets(max_latency_ms, len(predictors))
        if len(budgets) > 1:
            raise ValueError(
                f"max_latency_ms must be one number of ms a target, {len(predictors)} in all; "
                f"got {len(budgets)} budgets"
            )
        allowed = restriction(the_space, predictors, model, restrict or {})
        problem = Problem(
            the_space,
            counted(the_space, predictors, model, confidence, allowed),
            model,
            limits=parse_limits(**limits),
            restrict=allowed,
        )
        variables = Variables(the_space, tuple(problem.choices))
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
