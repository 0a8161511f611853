"""Bayes: block physics with a prior, in closed form; what adapting a model gives.

On its own it starts from nothing but the space's physics; adapted, from another predictor
(:mod:`.adaptation`) or from a base model of many targets (:mod:`.base_model`). It works from one
measurement up, and its intervals follow from the posterior and from the measurements' own
left-out errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np

from latcast._model_file import Array, Schema
from latcast.data import Dataset
from latcast.math.conformal import Calibration
from latcast.spaces import Archs

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor
from ._fitted import Fitted, Floats, Form, Intervals
from ._model import State
from .features import Functions, NetworkFeatures, Units, population
from .posterior_deviation import ARRAYS, PosteriorDeviation
from .transfer import Blend, Estimate, Prior, averaged, estimate, guess

SCHEMA = Schema(
    {},
    {
        "rows": Array(("blocks",)),
        "live": Array(("blocks",), is_optional=True),
        "outputs": Array(("units",)),
        "unit_weights": Array(("sums", "units")),
        "unit_biases": Array(("units",)),
        "scalars": Array((3,)),  # constant, least value, weight of the base
        **ARRAYS,
    },
)


class Bayes(BlockPredictor):
    """Bayesian regression on block physics, averaged over its hyper-parameters."""

    kind = "bayes"
    description = "Bayesian regression on block physics; what adapting a model gives"
    weighs_rows = True

    _spread: PosteriorDeviation | None = None

    @classmethod
    def from_prior(cls, prior: Prior, fitted: Fitted, few: Dataset | None = None) -> Self:
        """Condition a prior on measurements, or state it without any.

        Args:
            prior: what is believed of the target.
            fitted: space, target, gene values that were seen, and card.
            few: measurements of the target, at least one.
        """
        self = cls()
        if few is None:
            found = guess(prior)
            lowest = LOWEST_SHARE * float(np.exp(prior.log_scale[0] if prior.log_scale else 0.0))
        else:
            archs = few.archs.space.expand(few.archs)
            rows = archs, few.values, few.excess_variance
            found = averaged(estimate(prior, *rows), prior, *rows)
            lowest = LOWEST_SHARE * float(few.values.min())
            if len(few) > 1:
                error = np.abs(found.left_out_ms)
                fitted.card["left_out"] = {
                    few.quantity.column("mae"): float(error.mean()),
                    "mape": float(100 * (error / few.values).mean()),
                }
        self._adopt(found, lowest)
        self.become(replace(fitted, calibration=found.calibration))
        return self

    @classmethod
    def from_blend(cls, latency: Blend, lowest_ms: float) -> Self:
        """A predictor of a known function; it becomes one by :meth:`become`."""
        self = cls()
        self._latency, self._lowest_ms = latency, lowest_ms
        return self

    def _adopt(self, found: Estimate, lowest_ms: float) -> None:
        self._latency, self._lowest_ms = found.latency_ms, lowest_ms
        self._spread = found.deviation

    @property
    def latency(self) -> Blend:
        """The prediction as a function of networks, in ms."""
        return self._latency

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        networks = population(archs.space, self.fitted.seen)
        features = NetworkFeatures(networks)
        prior = Prior(features, networks, Blend(features.constant(1.0)))
        found = estimate(prior, archs, latency_ms, self._excess_variance)
        self._adopt(found, LOWEST_SHARE * float(latency_ms.min()))

    def _predict(self, archs: Archs) -> Floats:
        return np.maximum(self._latency(archs), self._lowest_ms)

    def _deviation(self, archs: Archs, predicted: Floats) -> Floats | None:
        if self._spread is None:
            return None
        base = self._base()
        return self._spread(archs, None if base is None else base.predict(archs)) / predicted

    def _explain(self, archs: Archs) -> Floats:
        function, space = self._latency.function, self.space
        blocks: Floats = space.gather(archs, function.rows[0])
        if function.live.shape[1]:
            blocks += space.gather(archs, function.live[0]) * space.live_blocks(archs)
        if (base := self._base()) is not None:
            blocks += self._latency.weight * base.explain(archs).blocks_ms
        # Data can push a cheap block below 0; that part belongs to the network.
        return np.asarray(np.maximum(blocks, 0.0))

    def _form(self) -> Form:
        form, base = self._latency.function.form(self._lowest_ms), self._base()
        if base is None:
            return form
        return replace(form, base=base.form(), base_weight=self._latency.weight)

    def _calibration(self, data: Dataset) -> Intervals:
        if self._spread is None:
            return super()._calibration(data)
        predicted, deviation = self._forecast(self._own(data.networks))
        assert deviation is not None
        whole = np.sqrt(deviation**2 + data.excess_variance)
        scores = np.sort((data.values / predicted - 1) / whole)
        return Calibration(scores, 1.0, in_deviations=True)

    def _base(self) -> BlockPredictor | None:
        base = self._latency.base
        assert base is None or isinstance(base, BlockPredictor)
        return base

    def _parts(self) -> dict[str, Predictor]:
        base = self._base()
        return {} if base is None else {"base": base}

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        f = self._latency.function
        state: State = {
            "rows": f.rows[0],
            "outputs": f.outputs[0],
            "unit_weights": f.units.weights,
            "unit_biases": f.units.biases,
            "scalars": np.array([f.constant[0], self._lowest_ms, self._latency.weight]),
        }
        if self._spread is not None:
            state |= self._spread.state()
        return state | ({"live": f.live[0]} if f.live.shape[1] else {})

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        units = Units(state["unit_weights"], state["unit_biases"])
        rows, live = state["rows"], state.get("live", np.zeros(0))
        constant, self._lowest_ms, weight = (float(v) for v in state["scalars"])
        function = Functions(
            self.space, rows[None], live[None], units, state["outputs"][None], np.array([constant])
        )
        function.check()
        base = parts.get("base")
        if base is not None and base.space.name != self.space.name:
            raise ValueError(f"the base must be for {self.space.name}; got {base.space.name}")
        if base is None and weight:
            raise ValueError("a prediction that builds on a base must hold that base")
        self._latency = Blend(function, base, weight)
        self._spread = PosteriorDeviation.restored(state, self.space)
