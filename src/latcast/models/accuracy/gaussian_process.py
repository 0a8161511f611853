"""The accuracy model that is trained on a table of architectures and accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import (
    Array,
    Field,
    ModelFile,
    Schema,
    exactly,
    restored,
    write_model,
)
from latcast.data import Dataset, split
from latcast.math.conformal import DeviationScores
from latcast.math.gaussian_process import Conditioned, Projected
from latcast.math.metrics import coverage_metrics, covered, errors, rank_correlations
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import (
    KIND,
    AccuracyModel,
    Floats,
    checked_accuracies,
    checked_resolutions,
    resolutions_of,
)
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

MIN_ARCHITECTURES = 10
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
        "kind": exactly(KIND),
        "model": exactly(GAUSSIAN_PROCESS),
        "terms": exactly(list(TERMS)),
        "name": Field(str),
        "space": Field(find_space, lambda space: space.name),
        "resolutions": Field(lambda value: value, lambda known: known and list(known)),
        "power": Field(_power),
        "card": Field(dict),
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
class Parts:
    """All that a trained model consists of.

    Attributes:
        space: of the architectures that it was trained on.
        encoding: of architectures.
        basis: m of those, in the space of their block table.
        believed: kernel, noise and scale.
        known: what the training said; its scores ascend.
        resolutions: those that were seen; None in a space without.
        card: data provenance, licence, split, metrics.
    """

    space: SearchSpace
    encoding: Encoding
    basis: Archs
    believed: Believed
    known: Projected
    resolutions: tuple[int, ...] | None
    card: dict[str, Any] = field(default_factory=dict)


class GaussianProcess(AccuracyModel):
    """Gaussian-process regression on choices and sizes of networks, from a few dozen rows up.

    Made by :meth:`fit` or :meth:`load`. Up to 1,024 rows it is exact; beyond, its mean lives on so
    many of the architectures. Kernel, noise and scale are those of the largest evidence.

    Attributes:
        space: of the architectures that it was trained on.
        noise: standard deviation of one network's accuracy around the expected one, as a fraction,
            at the median of the training: chance in its training and its measurement, and what the
            model cannot describe. It is no part of :meth:`uncertainty`.
        card: data provenance, licence, split, metrics.
    """

    kind = GAUSSIAN_PROCESS

    def __init__(self, parts: Parts, name: str) -> None:
        self._parts = parts
        self.name = name
        self.space = parts.space
        self.resolutions = parts.resolutions
        self.card = parts.card
        self._basis = parts.encoding(parts.basis)
        kernel = parts.believed.kernel
        self._scores = DeviationScores(parts.known.scores)
        self._mean = WeightedSum(kernel, self._basis, parts.known.weights)
        self.noise = self._noise()

    @classmethod
    def fit(
        cls,
        archs: Archs,
        accuracy: npt.ArrayLike,
        *,
        seed: int = 0,
        name: str = GAUSSIAN_PROCESS,
        card: Mapping[str, Any] | None = None,
    ) -> GaussianProcess:
        """Train a model.

        Args:
            archs: n architectures; one can occur several times.
            accuracy: their top-1 accuracies, from 0 to 1, shape (n,).
            seed: of the parts of the rows on which the kernel is chosen and, of more than 1,024
                rows, the mean lives.
            name: for messages and reports.
            card: what is to be known of the data, JSON-able.

        Raises:
            ValueError: an accuracy is not from 0 to 1, all are equal, or there are fewer than 10
                different architectures.
        """
        labels = checked_accuracies(accuracy, len(archs), "the accuracies to train on")
        expanded = archs.space.expand(archs)
        different = np.unique(expanded.unique_index(), return_index=True)[1]
        if len(different) < MIN_ARCHITECTURES:
            raise ValueError(
                f"training an accuracy model needs {MIN_ARCHITECTURES} different architectures "
                f"at least; got {len(different)}"
            )
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
        parts = Parts(
            archs.space,
            encoding,
            expanded if basis is None else expanded[basis],
            believed,
            found,
            resolutions_of(archs),
            {"rows": len(labels), **(card or {})},
        )
        return cls(parts, name)

    def with_card(self, **entries: Any) -> GaussianProcess:
        """The same model with more on its card."""
        return GaussianProcess(replace(self._parts, card=self.card | entries), self.name)

    def supports(self, space: SearchSpace) -> bool:
        """The space that it was trained on, and those that are a part of that."""
        return self.space.name in (space.name, space.block_space)

    def predict(self, archs: Archs) -> Floats:
        """Top-1 accuracy from 0 to 1, shape (n,): the median of what is believed.

        Raises:
            ValueError: the model was trained on another space.
        """
        expanded = self._expanded(archs)
        result = np.empty(len(archs))
        for start in range(0, len(archs), _CHUNK):
            part = slice(start, start + _CHUNK)
            result[part] = self._mean(self._parts.encoding(expanded[part]))
        return self._parts.believed.scale.inverse(result)

    def uncertainty(self, archs: Archs) -> Floats:
        """Standard deviation of the expected accuracy, shape (n,)."""
        u, deviation = self._posterior(archs)
        inverse = self._parts.believed.scale.inverse
        return np.asarray((inverse(u + deviation) - inverse(u - deviation)) / 2)

    def covers(self, coverage: float) -> bool:
        """Whether there were enough rows for intervals of ``coverage``."""
        return self._scores.covers(coverage)

    def predict_interval(self, archs: Archs, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that hold the accuracy of a network, noise included, with a probability.

        Deviations are multiplied by the quantile of the training's left-out residuals, each in
        its own deviations (the jackknife, calibrated as in split conformal prediction).

        Returns:
            Lower and upper bounds, each of shape (n,).

        Raises:
            ValueError: ``coverage`` is not between 0 and 1, or asks for more rows than there were.
        """
        u, deviation = self._posterior(archs)
        believed = self._parts.believed
        margin = self._scores.quantile(coverage) * np.sqrt(deviation**2 + believed.noise)
        inverse = believed.scale.inverse
        return inverse(u - margin), inverse(u + margin)

    def _posterior(self, archs: Archs) -> tuple[Floats, Floats]:
        """Mean and standard deviation on the fitted scale, each (n,)."""
        expanded = self._expanded(archs)
        mean, variance = np.empty(len(archs)), np.empty(len(archs))
        kernel, found = self._parts.believed.kernel, self._parts.known
        for start in range(0, len(archs), _CHUNK):
            part = slice(start, start + _CHUNK)
            encoded = self._parts.encoding(expanded[part])
            cross = kernel(encoded, self._basis)
            mean[part] = cross @ found.weights
            variance[part] = kernel.own(encoded) - ((cross @ found.knowledge) * cross).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def _noise(self) -> float:
        scale, half = self._parts.believed.scale, math.sqrt(self._parts.believed.noise)
        # Labels have mean 0 on the fitted scale.
        low, high = scale.inverse(np.array([-half, half]))
        return float(high - low) / 2

    def _expanded(self, archs: Archs) -> Archs:
        self._check_space(archs, f"{self.space.name}, on which it was trained")
        return archs.space.expand(archs)

    def save(self, path: str | Path) -> None:
        """Write the model file; an existing one is replaced only once the new one is whole."""
        parts, found = self._parts, self._parts.known
        scale = parts.believed.scale
        values = {
            "kind": KIND,
            "model": GAUSSIAN_PROCESS,
            "terms": list(TERMS),
            "name": self.name,
            "space": parts.space,
            "resolutions": parts.resolutions,
            "power": scale.warp.power,
            "card": parts.card,
            "centre": parts.encoding.centre,
            "factor": parts.encoding.factor,
            "basis": parts.basis.canonical().genes,
            "variances": parts.believed.kernel.variances,
            "scale": np.array([parts.believed.noise, scale.mean, scale.spread]),
            "weights": found.weights,
            "knowledge": found.knowledge[np.triu_indices(len(parts.basis))],
            "scores": found.scores,
        }
        write_model(path, SCHEMA.pack(values))

    @classmethod
    def load(cls, path: str | Path) -> GaussianProcess:
        """Read a model file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or its header or tensors are not as they must be.
        """
        return restored(path, "a trained accuracy model", cls._of_file)

    @classmethod
    def _of_file(cls, file: ModelFile) -> GaussianProcess:
        v = SCHEMA.unpack(file)
        space = v["space"]
        own = space.expand(space.sample(1, 0)).space
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
        parts = Parts(
            space,
            Encoding(v["centre"], v["factor"], own.one_hot(basis[:1]).shape[1]),
            basis,
            Believed(Kernel(v["variances"]), noise, Scale(Warp(v["power"]), mean, spread)),
            Projected(v["weights"], knowledge, v["scores"]),
            checked_resolutions(v["resolutions"], space),
            v["card"],
        )
        return cls(parts, v["name"])


def condition(
    encoded: Encoded, u: Floats, believed: Believed, basis: npt.NDArray[np.intp] | None = None
) -> Projected:
    """What labels tell, its scores ascending.

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


# -- training -----------------------------------------------------------------------------------


def evaluate_accuracy(model: AccuracyModel, data: Dataset) -> dict[str, float]:
    """Errors and rank correlations on n rows that the model was not trained on.

    ``mae``, ``rmse`` and ``median_error`` (absolute) are fractions, as accuracies are; ``spearman``
    and ``kendall`` (tau-b) are NaN where a side is constant. Of a trained model, ``coverage_N`` is
    the percentage of accuracies inside the interval that asks for N percent.

    Raises:
        ValueError: there are no rows, or the model cannot predict one of them.
    """
    predicted, true = model.predict(data.archs), data.accuracy
    inside = covered(true, lambda c: model.predict_interval(data.archs, c), model.covers)
    return errors(true, predicted) | rank_correlations(true, predicted) | coverage_metrics(inside)


def train_accuracy(
    data: Dataset, *, test: float = 0.15, seed: int = 0, name: str = GAUSSIAN_PROCESS
) -> tuple[GaussianProcess, dict[str, float]]:
    """Fit a model to a part of the architectures and score it on the others.

    Args:
        data: accuracies of a space's architectures.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.
        name: of the model.

    Returns:
        The model, whose card has the data, the split and the scores; and the scores:
        :func:`evaluate_accuracy`.

    Raises:
        ValueError: as :meth:`GaussianProcess.fit`, or there are too few architectures to split.
    """
    rest, train = split(data, test, seed)
    model = GaussianProcess.fit(
        train.archs, train.accuracy, seed=seed, name=name, card={"data": dict(data.provenance)}
    )
    scores = evaluate_accuracy(model, rest)
    how = f"by architecture at random, seed {seed}: {len(train)} rows to train, {len(rest)} to test"
    return model.with_card(split=how, metrics=scores), scores
