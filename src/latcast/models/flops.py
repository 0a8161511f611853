"""Flops: latency as a straight line over MACs, the proxy that people use."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latcast._model_file import Array, Schema
from latcast.math.least_squares import straight_line
from latcast.spaces import Archs

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor
from ._fitted import Floats, Form
from ._model import State


class Flops(BlockPredictor):
    """latency = intercept + ms_per_mac * MACs, by least squares. A baseline, not a forecast."""

    kind = "flops"
    description = "a straight line over MACs (the proxy people use; a baseline)"

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        macs = self._macs(archs).sum(axis=1)
        self._ms_per_mac, self._intercept = straight_line(macs, latency_ms)
        self._lowest_ms = LOWEST_SHARE * float(latency_ms.min())

    def _predict(self, archs: Archs) -> Floats:
        macs = self.space.block_sums(archs, self.space.block_table.facts["macs"])
        return np.maximum(self._intercept + self._ms_per_mac * macs, self._lowest_ms)

    def _explain(self, archs: Archs) -> Floats:
        blocks: Floats = self._ms_per_mac * self._macs(archs)
        return blocks

    def _schema(self) -> Schema:
        return Schema({}, {"scalars": Array((3,))})

    def _state(self) -> State:
        return {"scalars": np.array([self._intercept, self._ms_per_mac, self._lowest_ms])}

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        self._intercept, self._ms_per_mac, self._lowest_ms = (float(v) for v in state["scalars"])

    def _form(self) -> Form:
        values_ms = self._ms_per_mac * self.space.block_table.facts["macs"]
        return Form.additive(values_ms, self._intercept, self._lowest_ms)

    def _macs(self, archs: Archs) -> Floats:
        """MACs of every block, shape (n, max_blocks)."""
        return archs.space.gather(archs, archs.space.block_table.facts["macs"])
