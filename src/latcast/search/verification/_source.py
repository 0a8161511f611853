"""What is known of a target's latencies before anything is measured there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latcast import models
from latcast.data import LatencyDataset
from latcast.devices import Device, Target
from latcast.models import BaseModel, Predictor
from latcast.models.design import CANDIDATES, suggest
from latcast.search.request import restriction
from latcast.spaces import Archs, SearchSpace

from ._scope import Scope

Latency = str | Predictor | BaseModel


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
        """From a model, a model file, or the name of a shipped model or base model.

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
        """What it predicts for the target without measurements; None if it is for another."""
        if isinstance(self.model, BaseModel):
            return self.model.predictor(self.target, self.specification)
        return self.model if self.is_of_target else None

    def adapted(self, measured: LatencyDataset) -> Predictor:
        """A predictor for the target of measurements, at least one."""
        if isinstance(self.model, BaseModel):
            return self.model.adapt(measured, self.specification)
        return self.model.adapt(measured)

    def suggest(self, scope: Scope, count: int, seed: int) -> Archs:
        """Networks that tell most about those that a search would look at.

        Args:
            scope: of the search.
            count: how many at most.
            seed: of what chance decides.

        Raises:
            ValueError: the restrictions leave nothing that the model knows.
        """
        space, candidates = scope.space, scope.candidates
        own = self._in(space)
        if candidates is None:
            known = [p for p in (self.before() or self.model,) if isinstance(p, Predictor)]
            allowed = restriction(space, known if own else [], scope.accuracy_model, scope.restrict)
            rng = np.random.default_rng(seed)
            candidates = space.sample(2 * CANDIDATES, rng, restrict=allowed).unique()
        count = min(count, len(candidates))
        return suggest(
            space, count, base=self.model if own else None, candidates=candidates, seed=seed
        )

    def _in(self, space: SearchSpace) -> bool:
        return self.model.space.name == space.block_space
