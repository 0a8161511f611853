"""The OFANAS paper's conditioned network as a predictor of one target, which a search can ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np

from latcast.data import LatencyDataset
from latcast.devices import Target
from latcast.models import Predictor
from latcast.models._base import LOWEST_SHARE, Fitted, Floats, State
from latcast.spaces import Archs

from ._conditioned_mlp import ConditionedMLP


class ConditionedPredictor(Predictor):
    """What a network that was trained on other targets says of this one; it has no intervals.

    It is ready when it is made, and is neither fitted nor saved.

    Args:
        mlp: trained network.
        trained_on: what it was trained on; gene values that occur there are known.
        target: of a device that the catalogue holds.
    """

    kind = "mlp-conditioned"
    description = "the OFANAS paper's network on genes and a device's specification"

    def __init__(
        self, mlp: ConditionedMLP, trained_on: Sequence[LatencyDataset], target: Target
    ) -> None:
        super().__init__()
        archs = [d.archs.space.expand(d.archs) for d in trained_on]
        space = archs[0].space
        seen = {
            gene.name: sorted({int(v) for a in archs for v in np.unique(a.genes[:, n])})
            for n, gene in enumerate(space.genes)
        }
        self.become(Fitted(space, target, seen))
        self._mlp = mlp
        # Far from its training data it may say anything, less than nothing included.
        self._lowest_ms = LOWEST_SHARE * min(float(d.latency_ms.min()) for d in trained_on)

    def _predict(self, archs: Archs) -> Floats:
        asked = LatencyDataset(archs, np.ones(len(archs)), self.target)
        return np.maximum(self._mlp.predict(asked), self._lowest_ms)

    def _explain(self, archs: Archs) -> Floats:
        """Nothing is said of single blocks: all of it belongs to the network."""
        return np.zeros(self.space.block_ids(archs).shape)

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> NoReturn:
        raise NotImplementedError("it is made of a trained network")

    def _state(self) -> State:
        raise NotImplementedError("it is not saved: save what it was trained on")

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> NoReturn:
        raise NotImplementedError("it is not saved: save what it was trained on")
