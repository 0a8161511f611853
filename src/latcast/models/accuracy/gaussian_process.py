"""The accuracy model that is trained on a table of architectures and accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._model_file import read_model, write_model
from latcast.math.conformal import quantile
from latcast.math.gaussian_process import Projected
from latcast.spaces import Archs, SearchSpace

from ._base import AccuracyModel, Floats
from ._checks import checked_accuracies, resolutions_of
from ._encoding import Encoding
from ._kernel import Encoded, WeightedSum
from ._regression import (
    BASIS_SHARE,
    MOST_BASIS,
    Believed,
    believe,
    condition,
)
from ._trained import GAUSSIAN_PROCESS, Parts, packed, unpacked

LEAST_ARCHITECTURES = 10
# Covariances of this many architectures with the basis stay in a core's cache.
_CHUNK = 512


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
        self._mean = WeightedSum(kernel, self._basis, parts.conditioned.weights)
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
        different = _first_of_each(expanded)
        if len(different) < LEAST_ARCHITECTURES:
            raise ValueError(
                f"training an accuracy model needs {LEAST_ARCHITECTURES} different architectures "
                f"at least; got {len(different)}"
            )
        if np.ptp(labels) == 0.0:
            raise ValueError(f"the accuracies must differ; all of them are {labels[0]:g}")
        rng = np.random.default_rng(seed)
        encoding = Encoding.over(expanded)
        encoded = encoding(expanded)
        believed = believe(encoded, labels, rng)
        rows, found = _conditioned(encoded, believed.scale(labels), believed, different, rng)
        parts = Parts(
            archs.space, encoding, expanded[rows], believed, found, resolutions_of(archs),
            {"rows": len(labels), **(card or {})},
        )  # fmt: skip
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
        scores = self._parts.conditioned.scores
        margin = quantile(scores, coverage) * np.sqrt(deviation**2 + self._parts.believed.noise)
        inverse = self._parts.believed.scale.inverse
        return inverse(u - margin), inverse(u + margin)

    def _posterior(self, archs: Archs) -> tuple[Floats, Floats]:
        """Mean and standard deviation on the fitted scale, each (n,)."""
        expanded = self._expanded(archs)
        mean, variance = np.empty(len(archs)), np.empty(len(archs))
        kernel, found = self._parts.believed.kernel, self._parts.conditioned
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
        if not self.supports(archs.space):
            raise ValueError(
                f"the accuracy model {self.name!r} was trained on {self.space.name}; "
                f"got architectures of {archs.space.name}"
            )
        return archs.space.expand(archs)

    def save(self, path: str | Path) -> None:
        """Write the model file; an existing one is replaced only once the new one is whole."""
        write_model(path, packed(self._parts, self.name))

    @classmethod
    def load(cls, path: str | Path) -> GaussianProcess:
        """Read a model file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or its header or tensors are not as they must be.
        """
        model = read_model(path)
        try:
            return cls(*unpacked(model))
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise ValueError(f"{path} must be a trained accuracy model; got: {error}") from error


def _first_of_each(archs: Archs) -> npt.NDArray[np.intp]:
    """A row of every different network."""
    return np.unique(archs.unique_index(), return_index=True)[1]


def _conditioned(
    encoded: Encoded,
    u: Floats,
    believed: Believed,
    different: npt.NDArray[np.intp],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.intp], Projected]:
    """Rows of the basis, and what the labels tell; the scores ascend."""
    n = len(u)
    if n <= MOST_BASIS:
        rows, found = np.arange(n), condition(encoded, u, believed)
    else:
        rows = np.sort(rng.permutation(different)[: min(MOST_BASIS, int(BASIS_SHARE * n))])
        found = condition(encoded, u, believed, rows)
    return rows, replace(found, scores=np.sort(found.scores))
