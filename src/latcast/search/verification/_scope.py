"""Scope of a verified search: the networks it may answer with, and earlier knowledge.

Both are checked before anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latcast import models
from latcast.data import Dataset
from latcast.devices import Device, Target
from latcast.math.conformal import STUDENT_SCORES, max_level
from latcast.models import Predictor
from latcast.models.accuracy import AccuracyModel
from latcast.search._search import find_method
from latcast.search.feasibility import check_feasible
from latcast.search.problem import LIMITS, Problem
from latcast.search.request import find_candidates, parse_limits, restriction
from latcast.spaces import Archs, SearchSpace

if TYPE_CHECKING:
    from latcast.models import BaseModel

    Latency = str | Predictor | BaseModel

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_SHARES = ("confidence", "coverage")


@dataclass(frozen=True, eq=False)
class Scope:
    """The networks that a search may answer with, whatever their latency.

    Attributes:
        space: of the networks.
        accuracy_model: of the networks.
        restrict: gene -> values.
        candidates: the only networks, if the user or the accuracy model names some.
        limits: on costs.
    """

    space: SearchSpace
    accuracy_model: AccuracyModel
    restrict: Mapping[str, Sequence[int]]
    candidates: Archs | None
    limits: Mapping[str, float]

    @classmethod
    def of(
        cls, space: SearchSpace, model: AccuracyModel, target: Target, options: Mapping[str, Any]
    ) -> Scope:
        """Make the scope of a search, if the search can be made.

        Args:
            space: of the search.
            model: its accuracy model.
            target: that is measured, for messages.
            options: of :func:`latcast.search.search`.

        Raises:
            ValueError: options that make no sense, or nothing is left of the space.
            InfeasibleError: no network keeps the limits on costs.
        """
        _check_numbers(options)
        # What a predictor was trained on is no matter here: a measurement needs no prediction.
        allowed = restriction(space, [model], options.get("restrict") or {})
        among = find_candidates(space, model, options.get("candidates"), allowed)
        limits = parse_limits(**{name: options.get(name) for name in LIMITS})
        problem = Problem(
            space, [_NotMeasured(target)], model,
            limits=limits, restrict=allowed, candidates=among,
        )  # fmt: skip
        find_method(options.get("method", "auto"), problem, options.get("evaluations"))
        if limits:
            check_feasible(problem, np.empty((0, 1)))
        return cls(space, model, allowed, among, limits)

    def allows(self, archs: Archs) -> Flags:
        """Whether networks may be answers, shape (n,)."""
        genes = archs.canonical().genes
        allowed = (
            Problem(self.space, (), self.accuracy_model, limits=self.limits).excess(archs) <= 0
        )
        for column, gene in enumerate(self.space.genes):
            allowed &= np.isin(genes[:, column], [0, *self.restrict[gene.name]])
        if self.candidates is not None:
            allowed &= find(archs, self.candidates) >= 0
        return np.asarray(allowed)

    def accuracy(self, archs: Archs) -> Floats:
        """Accuracies, shape (n,); NaN of networks that the accuracy model does not know.

        An earlier run, whose measurements are resumed, may have known them.
        """
        known = self.accuracy_model.known(self.space)
        rows = np.arange(len(archs)) if known is None else np.flatnonzero(find(archs, known) >= 0)
        accuracy = np.full(len(archs), np.nan)
        if len(rows):
            accuracy[rows] = self.accuracy_model.predict(archs[rows])
        return accuracy


class _NotMeasured:
    """Stands for the latency of a target of which nothing is known yet: 1 ms of every network."""

    def __init__(self, target: Target) -> None:
        self.name = str(target)

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        return np.ones(len(archs))

    def least_ms(self, archs: Archs) -> Floats:
        return np.ones(len(archs))


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name in _SHARES:
        value = options.get(name)
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, such as 0.9; got {value}")
    confidence = options.get("confidence") or 0.0
    if confidence > (most := max_level(STUDENT_SCORES)):
        raise ValueError(
            f"what is adapted to measurements can keep a budget with a confidence of at most "
            f"{most}; got {confidence}: ask for less"
        )
    seconds = options.get("time_limit_s")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"time_limit_s must be positive; got {seconds}")


def find(archs: Archs, among: Archs) -> Rows:
    """Positions of the same networks among others, the last of equal ones; -1: not there."""
    groups = among.concatenate(archs).unique_index()
    positions = np.full(len(groups), -1, dtype=np.intp)
    positions[groups[: len(among)]] = np.arange(len(among))
    return positions[groups[len(among) :]]


@dataclass(frozen=True)
class Source:
    """A model that predictors of a target are made from.

    Attributes:
        model: a predictor of this or another target, or a base model of many.
        target: to be predicted for.
        specification: of the target's device, for a base model; the catalogue's by default.
    """

    model: Predictor | BaseModel
    target: Target
    specification: Device | None = None

    @classmethod
    def of(cls, latency: Latency, target: Target, specification: Device | None) -> Source:
        """Make a source of a model, a model file, or the name of a shipped model or base model.

        Raises:
            ValueError: there is no such model.
            FileNotFoundError: there is no such file.
        """
        model = models.load(latency) if isinstance(latency, str) else latency
        return cls(model, target, specification)

    @property
    def is_of_target(self) -> bool:
        """Whether it predicts for the target as it is."""
        return isinstance(self.model, Predictor) and self.model.target == self.target

    def before(self) -> Predictor | None:
        """Return the predictor before measurements of the target; None for another target."""
        if isinstance(self.model, Predictor):
            return self.model if self.is_of_target else None
        return self.model.predictor(self.target, self.specification)

    def adapted(self, measured: Dataset) -> Predictor:
        """A predictor for the target of measurements, at least one."""
        if isinstance(self.model, Predictor):
            return self.model.adapt(measured)
        return self.model.adapt(measured, self.specification)

    def suggest(self, scope: Scope, count: int, seed: int) -> Archs:
        """Networks that tell most about those that a search would look at.

        Args:
            scope: of the search.
            count: how many at most.
            seed: of what chance decides.

        Raises:
            ValueError: the restrictions leave nothing that the model knows.
        """
        from latcast.models.adaptation import CANDIDATES, suggest

        space, candidates = scope.space, scope.candidates
        own = self._in(space)
        if candidates is None:
            known = [p for p in (self.before() or self.model,) if isinstance(p, Predictor)]
            relied_on = [scope.accuracy_model, *(known if own else ())]
            allowed = restriction(space, relied_on, scope.restrict)
            rng = np.random.default_rng(seed)
            candidates = space.sample(2 * CANDIDATES, rng, restrict=allowed).unique()
        count = min(count, len(candidates))
        return suggest(
            space, count, base=self.model if own else None, candidates=candidates, seed=seed
        )

    def _in(self, space: SearchSpace) -> bool:
        return self.model.space.name == space.block_space
