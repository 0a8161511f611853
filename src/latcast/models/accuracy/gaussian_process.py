"""The accuracy model that is trained on a table of architectures and accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import Array, Field, Schema, exactly
from latcast.data import ACCURACY, Dataset
from latcast.math.conformal import DeviationScores
from latcast.math.gaussian_process import Conditioned, Projected
from latcast.models._model import State
from latcast.spaces import Archs, SearchSpace

from ._base import AccuracyModel, Floats, check_resolutions, resolutions_of
from .prior import (
    POWERS,
    TERMS,
    Believed,
    Encoded,
    Encoding,
    Kernel,
    Scale,
    Warp,
    WeightedSum,
    believe,
)

GAUSSIAN_PROCESS = "gaussian-process"

# What is exact up to so many rows is approximated beyond: prediction takes as long as these.
MAX_BASIS = 1_024
# Most of the rows that a part holds: the others tell what its intervals must be.
BASIS_SHARE = 0.8
# Covariances of this many architectures with the basis stay in a core's cache.
_CHUNK = 512


def _power(value: Any) -> float:
    if value not in POWERS:
        raise ValueError(f"the power must be one of {POWERS}; got {value!r}")
    return float(value)


SCHEMA = Schema(
    {
        "terms": exactly(list(TERMS)),
        "power": Field(_power),
    },
    {
        "centre": Array(("inputs",)),
        "factor": Array(("inputs",)),
        "basis": Array(("basis", "genes"), "uint8", "uint8"),
        "variances": Array((len(TERMS),), check="not negative"),
        "scale": Array((3,)),  # noise, mean, spread
        "weights": Array(("basis",)),
        "knowledge": Array(("half",)),  # symmetric: one half is enough
        "scores": Array(("scores",), stored="float32", check="ascending"),
    },
)


@dataclass(frozen=True)
class Trained:
    """All that a training has found.

    Attributes:
        encoding: of architectures.
        basis: m of those, in the space of their block table.
        believed: kernel, noise and scale.
        known: what the training said; its scores ascend.
    """

    encoding: Encoding
    basis: Archs
    believed: Believed
    known: Projected


@dataclass(frozen=True)
class WarpedScores:
    """Errors in units of the deviations that are stated for them, on the scale that is fitted.

    :class:`DeviationScores` are of logarithms: it is asked for exponentials of that scale.

    Attributes:
        scores: absolute errors of rows that were left out, in their deviations (the jackknife,
            calibrated as in split conformal prediction).
        scale: from accuracies to what is fitted.
    """

    scores: DeviationScores
    scale: Scale

    def covers(self, coverage: float) -> bool:
        """Whether there were enough rows for intervals of ``coverage``."""
        return self.scores.covers(coverage)

    def interval(
        self, predicted: Floats, coverage: float, deviation: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Bounds that hold the accuracy of a network with a probability, each of shape (n,)."""
        lower, upper = self.scores.interval(self._exp(predicted), coverage, deviation)
        return self._log(lower), self._log(upper)

    def upper_bound(
        self, predicted: Floats, confidence: float, deviation: Floats | None = None
    ) -> Floats:
        """Return upper bounds of accuracies with that confidence, shape (n,)."""
        return self._log(self.scores.upper_bound(self._exp(predicted), confidence, deviation))

    def probability_below(
        self, predicted: Floats, limit: Floats | float, deviation: Floats | None = None
    ) -> Floats:
        """Probability that the accuracy is at most ``limit``, shape (n,)."""
        asked = self._exp(np.clip(limit, 0.0, 1.0))
        below = self.scores.probability_below(self._exp(predicted), asked, deviation)
        # No accuracy is above 1, whatever an error's tail says.
        return np.where(np.asarray(limit) >= 1.0, 1.0, below)

    def deviation_ms(self, predicted: Floats, deviation: Floats | None = None) -> Floats:
        """Standard deviation of the errors to be expected, on the fitted scale, shape (n,)."""
        return self.scores.deviation_ms(np.ones_like(predicted), deviation)

    def _exp(self, accuracy: Floats) -> Floats:
        return np.asarray(np.exp(self.scale(accuracy)))

    def _log(self, values: Floats) -> Floats:
        return self.scale.inverse(np.log(values))


class GaussianProcess(AccuracyModel):
    """Gaussian-process regression on choices and sizes of networks, from a few dozen rows up.

    Up to 1,024 rows it is exact; beyond, its mean lives on so many of the architectures. Kernel,
    noise and scale are those of the largest evidence; a prediction is the median of what is
    believed. :attr:`noise` is that at the median of the training: chance in a network's training
    and its measurement, and what the model cannot describe.

    Args:
        name: for messages and reports.
    """

    kind = "accuracy-gaussian-process"
    description = "a Gaussian process on choices and sizes of networks"

    def __init__(self, *, name: str = GAUSSIAN_PROCESS) -> None:
        super().__init__(name)

    def options(self) -> dict[str, Any]:
        return {"name": self.name}

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        """Learn from accuracies; an architecture can occur several times.

        The seed is of the parts of the rows on which the kernel is chosen and, of more than 1,024
        rows, the mean lives.
        """
        whole = data[0].concatenate(*data[1:]) if len(data) > 1 else data[0]
        whole.check_quantity(ACCURACY)
        archs, labels = whole.archs, whole.values
        expanded = archs.space.expand(archs)
        # An architecture twice in the basis would make its covariance singular.
        different = np.unique(expanded.unique_index(), return_index=True)[1]
        # Standardizing would divide by 0, and there is nothing to learn.
        if np.ptp(labels) == 0.0:
            raise ValueError(f"the accuracies must differ; all of them are {labels[0]:g}")
        rng = np.random.default_rng(seed)
        encoding = Encoding.over(expanded)
        encoded = encoding(expanded)
        believed = believe(encoded, labels, rng)
        basis = None
        if len(labels) > MAX_BASIS:
            size = min(MAX_BASIS, int(BASIS_SHARE * len(labels)))
            basis = np.sort(rng.permutation(different)[:size])
        found = condition(encoded, believed.scale(labels), believed, basis)
        card = {"rows": len(labels), "data": dict(whole.provenance)}
        self.given(archs.space, resolutions_of(archs), card)
        points = expanded if basis is None else expanded[basis]
        self._adopt(Trained(encoding, points, believed, found))
        if calibration is not None:
            self.calibrate(calibration)

    def _adopt(self, trained: Trained) -> None:
        believed, known = trained.believed, trained.known
        self._trained = trained
        self._basis = trained.encoding(trained.basis)
        self._mean = WeightedSum(believed.kernel, self._basis, known.weights)
        # As a half width: the scale is not linear, so that up and down differ.
        half = math.sqrt(believed.noise)
        # Labels have mean 0 on the fitted scale.
        low, high = believed.scale.inverse(np.array([-half, half]))
        self.noise = float(high - low) / 2
        self.fitted.calibration = WarpedScores(DeviationScores(known.scores), believed.scale)

    def _calibration(self, data: Dataset) -> WarpedScores:
        predicted, deviation = self._forecast(self._own(data.archs))
        scale = self._trained.believed.scale
        errors = (scale(data.values) - scale(predicted)) / deviation
        return WarpedScores(DeviationScores.of(errors), scale)

    def supports(self, space: SearchSpace) -> bool:
        """The space that it was trained on, and those that are a part of that."""
        return self.space.name in (space.name, space.block_space)

    def _values(self, own: Archs) -> Floats:
        expanded = own.space.expand(own)
        result = np.empty(len(own))
        for start in range(0, len(own), _CHUNK):
            part = slice(start, start + _CHUNK)
            result[part] = self._mean(self._trained.encoding(expanded[part]))
        return self._trained.believed.scale.inverse(result)

    def _forecast(self, own: Archs) -> tuple[Floats, Floats]:
        """Accuracies, and deviations on the fitted scale, noise included."""
        u, variance = self._posterior(own)
        believed = self._trained.believed
        return believed.scale.inverse(u), np.sqrt(variance + believed.noise)

    def _uncertainty(self, own: Archs) -> Floats:
        u, variance = self._posterior(own)
        inverse, deviation = self._trained.believed.scale.inverse, np.sqrt(variance)
        return np.asarray((inverse(u + deviation) - inverse(u - deviation)) / 2)

    def _posterior(self, own: Archs) -> tuple[Floats, Floats]:
        """Mean and variance on the fitted scale, each (n,)."""
        expanded = own.space.expand(own)
        mean, variance = np.empty(len(own)), np.empty(len(own))
        kernel, found = self._trained.believed.kernel, self._trained.known
        for start in range(0, len(own), _CHUNK):
            part = slice(start, start + _CHUNK)
            encoded = self._trained.encoding(expanded[part])
            cross = kernel(encoded, self._basis)
            mean[part] = cross @ found.weights
            variance[part] = kernel.own(encoded) - ((cross @ found.knowledge) * cross).sum(axis=1)
        return mean, np.maximum(variance, 0.0)

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        t, scale = self._trained, self._trained.believed.scale
        return {
            "terms": list(TERMS),
            "power": scale.warp.power,
            "centre": t.encoding.centre,
            "factor": t.encoding.factor,
            "basis": t.basis.canonical().genes,
            "variances": t.believed.kernel.variances,
            "scale": np.array([t.believed.noise, scale.mean, scale.spread]),
            "weights": t.known.weights,
            # Symmetric: half of it is half of the file.
            "knowledge": t.known.knowledge[np.triu_indices(len(t.basis))],
            "scores": self.fitted.calibration.scores.sizes,
        }

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        v = state
        check_resolutions(self)
        own = self.space.expand(self.space.sample(1, 0)).space
        basis = Archs(own, v["basis"])
        m = len(basis)
        noise, mean, spread = (float(x) for x in v["scale"])
        if not (noise > 0 and spread > 0):
            raise ValueError(f"noise and spread must be positive; got {noise} and {spread}")
        if len(v["knowledge"]) != m * (m + 1) // 2:
            raise ValueError(f"knowledge must be of {m} networks; got {len(v['knowledge'])} values")
        knowledge = np.zeros((m, m))
        knowledge[np.triu_indices(m)] = v["knowledge"]
        knowledge += np.triu(knowledge, 1).T
        trained = Trained(
            Encoding(v["centre"], v["factor"], own.one_hot(basis[:1]).shape[1]),
            basis,
            Believed(Kernel(v["variances"]), noise, Scale(Warp(v["power"]), mean, spread)),
            Projected(v["weights"], knowledge, v["scores"]),
        )
        self._adopt(trained)


def condition(
    encoded: Encoded, u: Floats, believed: Believed, basis: npt.NDArray[np.intp] | None = None
) -> Projected:
    """Condition the process on labels, whose scores ascend.

    It is exact with every network in the basis, else by the projected process.

    Args:
        encoded: n networks.
        u: their labels on the fitted scale, shape (n,).
        believed: kernel and noise.
        basis: rows of the networks on which the mean lives, all different; all n by default.
    """
    kernel = believed.kernel
    if basis is None:
        covariance = kernel(encoded, encoded)
        covariance[np.diag_indices_from(covariance)] += believed.noise
        found = Conditioned.on(covariance, u)
        residual, variance = found.left_out()
        scores = np.sort(np.abs(residual) / np.sqrt(variance))
        return Projected(found.weights, found.inverse, scores)

    def part(rows: npt.NDArray[np.intp]) -> Encoded:
        return encoded[0][rows], encoded[1][rows]

    points = part(basis)
    projected = Projected.on(
        basis,
        lambda rows: kernel(part(rows), points),
        lambda rows: kernel.own(part(rows)),
        u,
        believed.noise,
    )
    return replace(projected, scores=np.sort(projected.scores))
