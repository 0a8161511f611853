"""What a network is judged by, for optimizers that are not ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from latcast import predict
from latcast._names import unknown_name
from latcast.predict import Predictor
from latcast.search.accuracy import AccuracyModel, accuracy_model
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._variables import Variables

Floats = npt.NDArray[np.float64]
Latencies = str | Predictor | Sequence[str | Predictor]
Budgets = float | Sequence[float | None] | None

COSTS = ("macs", "params", "bytes", "launches", "activation_bytes", "blocks")
"""Columns of :meth:`latcast.spaces.SearchSpace.costs`, which can be limited."""


@dataclass(frozen=True)
class Objectives:
    """Accuracy and latencies of networks, and by how much they exceed what is allowed.

    Attributes:
        variables: the choices of every gene.
        latencies: predictors, one a target.
        accuracy: accuracy model.
        budgets_ms: position of a target -> its budget.
        limits: cost -> the most that is allowed.
    """

    variables: Variables
    latencies: tuple[Predictor, ...]
    accuracy: AccuracyModel
    budgets_ms: Mapping[int, float]
    limits: Mapping[str, float]

    @classmethod
    def of(
        cls,
        space: str | SearchSpace,
        latency: Latencies,
        accuracy: str | AccuracyModel | None,
        max_latency_ms: Budgets,
        limits: Mapping[str, float] | None,
        restrict: Mapping[str, Iterable[int]] | None,
    ) -> Self:
        """Look up names and check that everything belongs together.

        Raises:
            ValueError: an unknown name, models that do not fit the space, or a budget or limit
                that is not positive and finite.
        """
        the_space = find_space(space) if isinstance(space, str) else space
        several = [latency] if isinstance(latency, str | Predictor) else list(latency)
        if not several:
            raise ValueError("latency must be a predictor or several; got none")
        latencies = tuple(predict.load(p) if isinstance(p, str) else p for p in several)
        name = the_space.block_space if accuracy is None else accuracy
        model = accuracy_model(name) if isinstance(name, str) else name
        if not model.supports(the_space):
            raise ValueError(f"the accuracy model {model.name!r} knows nothing of {the_space.name}")
        variables = Variables.known(the_space, latencies, model.resolutions, restrict)
        budgets = _budgets_ms(max_latency_ms, len(latencies))
        return cls(variables, latencies, model, budgets, _checked_limits(limits or {}))

    @property
    def constraints(self) -> tuple[str, ...]:
        """Names of what :meth:`excess` gives: the targets with a budget, then limited costs."""
        targets = [str(self.latencies[n].target) for n in self.budgets_ms]
        return (*targets, *self.limits)

    def values(self, archs: Archs) -> tuple[Floats, Floats]:
        """Top-1 accuracy from 0 to 1, shape (n,), and latencies in ms, shape (n, targets)."""
        latency_ms = np.stack([p.predict(archs) for p in self.latencies], axis=1)
        return self.accuracy.predict(archs), latency_ms

    def excess(self, archs: Archs, latency_ms: Floats) -> Floats:
        """Share by which every constraint is exceeded, shape (n, constraints).

        At most 0 where it is kept: ``value / limit - 1``.
        """
        columns = [latency_ms[:, n] / most for n, most in self.budgets_ms.items()]
        if self.limits:
            costs = self.variables.space.costs(archs)
            columns += [costs[name].to_numpy() / most for name, most in self.limits.items()]
        return np.stack(columns, axis=1) - 1.0 if columns else np.zeros((len(archs), 0))


def _budgets_ms(given: Budgets, targets: int) -> dict[int, float]:
    """Position of a target -> its budget."""
    several = [given] if given is None or isinstance(given, int | float) else list(given)
    if given is None:
        several *= targets
    if len(several) != targets:
        raise ValueError(
            f"max_latency_ms must have a budget, or None, for each of {targets} predictors; "
            f"got {len(several)}"
        )
    budgets = {n: float(ms) for n, ms in enumerate(several) if ms is not None}
    for ms in budgets.values():
        if not (np.isfinite(ms) and ms > 0):
            raise ValueError(f"a latency budget must be positive and finite; got {ms:g} ms")
    return budgets


def _checked_limits(limits: Mapping[str, float]) -> dict[str, float]:
    for name, most in limits.items():
        if name not in COSTS:
            raise ValueError(unknown_name("cost", name, COSTS))
        if not (np.isfinite(most) and most > 0):
            raise ValueError(f"the limit of {name} must be positive and finite; got {most}")
    return {name: float(most) for name, most in limits.items()}
