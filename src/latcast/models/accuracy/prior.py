"""The prior of a Gaussian process of accuracies: inputs of networks, covariance, scale, noise.

Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), chapters 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.math.gaussian_process import covariance_of, log_evidence, maximize_evidence
from latcast.models.features import has_dead_code
from latcast.spaces import Archs

from ._base import Floats

Float32 = npt.NDArray[np.float32]
# Choices (n, choices) and sizes (n, sizes) of Encoding.
Encoded = tuple[Floats, Floats]

TERMS = ("constant", "choices", "sizes", "near", "far", "alike", "both")
# Log variances from which a fit sets out, of the terms and of the noise, as shares of the variance
# of the labels: what is common in the spaces at hand, and a wide prior around it. Terms and prior
# were chosen with an eye on HELP's 500 cells of NAS-Bench-201 and on the shipped OFA model's
# answers (docs/tried.md, docs/accuracy.md).
CENTRE = (-2.5, -2.5, -1.0, -3.0, -2.5, -4.0, -2.5, -4.5)

# -1 leaves accuracies as they are, 0 is the logarithm of the error, 1 its inverse.
POWERS = (-1.0, 0.0, 1.0)
# Added to an error, which keeps a perfect network finite.
MIN_ERROR = 0.01

# The powers are compared on so many rows, which takes three optimizations.
COMPARED_ROWS = 200
# Rows on which the variances of the best power are optimized further.
OPTIMIZED_ROWS = 500
# Of the prior over log variances: a factor of twelve.
DEVIATION = 2.5
# Share of the labels' variance: what float32 can tell apart, and labels never are as exact.
MIN_NOISE = 1e-4

_FACTS = ("macs", "params", "launches")


# -- inputs -------------------------------------------------------------------------------------


def sizes(archs: Archs) -> Floats:
    """Logarithms of how large networks are, shape (n, 5), or (n, 8) in a space with dead code.

    MACs, parameters and layers; peak activation bytes; blocks. Where blocks can be dead code,
    then MACs, parameters and layers of those that are not.
    """
    space = archs.space
    table, ids = space.block_table, space.block_ids(archs)
    there = ids < len(table)
    columns = [_gather(table.facts[name], ids).sum(axis=1) for name in _FACTS]
    columns.append(_gather(table.facts["peak_activation_bytes"], ids).max(axis=1, initial=0.0))
    columns.append(there.sum(axis=1).astype(np.float64))
    if has_dead_code(space):
        live = space.live_blocks(archs)
        columns += [(_gather(table.facts[name], ids) * live).sum(axis=1) for name in _FACTS]
    return np.asarray(np.log1p(np.stack(columns, axis=1)))


def _gather(values: Floats, ids: npt.NDArray[np.int32]) -> Floats:
    return np.asarray(np.append(values, 0.0)[ids])


@dataclass(frozen=True)
class Encoding:
    """Choices (one-hot) and :func:`sizes`, centred, each with a mean squared norm of 1.

    Attributes:
        centre: of the choices and then the sizes, shape (choices + sizes,).
        factor: what the centred inputs are multiplied by, same shape; 0 for sizes that never vary.
        choices: how many of the inputs are choices.
    """

    centre: Floats
    factor: Floats
    choices: int

    @classmethod
    def over(cls, archs: Archs) -> Encoding:
        """Centred and scaled over n networks."""
        inputs, choices = _inputs(archs)
        centre = inputs.mean(axis=0)
        spread = inputs.std(axis=0)
        varies = spread > 1e-9 * (np.abs(centre) + 1e-300)
        factor = np.zeros(len(centre))
        total = np.sqrt((spread[:choices] ** 2).sum())
        # A choice counts by how often it is made; sizes count alike, whatever their units.
        factor[:choices] = 1.0 / total if total else 0.0
        alike = varies[choices:]
        factor[choices:][alike] = 1.0 / (spread[choices:][alike] * np.sqrt(alike.sum()))
        return cls(centre, factor, choices)

    def __call__(self, archs: Archs) -> Encoded:
        """Choices (n, choices) and sizes (n, sizes)."""
        inputs, choices = _inputs(archs)
        if choices != self.choices or inputs.shape[1] != len(self.centre):
            raise ValueError(
                f"the encoding must have {choices} choices and {inputs.shape[1] - choices} sizes "
                f"for {archs.space.name}; got {self.choices} and "
                f"{len(self.centre) - self.choices}"
            )
        inputs -= self.centre
        inputs *= self.factor
        return inputs[:, :choices], inputs[:, choices:]


def _inputs(archs: Archs) -> tuple[Floats, int]:
    one_hot = archs.space.one_hot(archs)
    return np.hstack([one_hot, sizes(archs)]).astype(np.float64), one_hot.shape[1]


# -- covariance ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """A sum of terms, each with a variance.

    With x and s the choices and sizes of a network, D and S their squared distances::

        constant   1
        choices    x · x'
        sizes      s · s'
        near       exp(-D)              interactions of many genes
        far        exp(-D / 4)          of few
        alike      exp(-S)              curves in the sizes
        both       exp(-(D + S) / 2)

    Attributes:
        variances: of :data:`TERMS`, shape (7,).
    """

    variances: Floats

    def __call__(self, first: Encoded, second: Encoded) -> Floats:
        """Covariances, shape (n, m)."""
        return np.asarray(np.tensordot(self.variances, terms(first, second), 1))

    def own(self, of: Encoded) -> Floats:
        """Variance of every network, shape (n,)."""
        constant, choices, sizes, *others = self.variances
        x, s = ((part**2).sum(axis=1) for part in of)
        return np.asarray(constant + choices * x + sizes * s + sum(others))


def terms(first: Encoded, second: Encoded) -> Floats:
    """Every term at a variance of 1, shape (7, n, m)."""
    far, alike = _far(first[0], second[0]), _alike(first[1], second[1])
    return np.stack(
        [
            np.ones_like(far),
            first[0] @ second[0].T,
            first[1] @ second[1].T,
            far**4,
            far,
            alike**2,
            far**2 * alike,
        ]
    )


def _far(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.exp(-0.25 * _squared_distances(first, second)))


def _alike(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * _squared_distances(first, second)))


def _squared_distances(first: Floats, second: Floats) -> Floats:
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    return np.asarray(np.maximum(norms - 2.0 * first @ second.T, 0.0))


class WeightedSum:
    """x -> sum over m networks of weight * covariance with x, fast and in float32.

    Args:
        kernel: the covariance.
        basis: m networks.
        weights: shape (m,).
    """

    def __init__(self, kernel: Kernel, basis: Encoded, weights: Floats) -> None:
        v = kernel.variances
        self._constant = np.float32(v[0] * weights.sum())
        self._linear = [
            (variance * (weights @ part)).astype(np.float32)
            for variance, part in zip(v[1:3], basis, strict=True)
        ]
        self._near, self._far, self._alike, self._both = v[3:].astype(np.float32)
        self._weights = weights.astype(np.float32)
        # exp(-q |x - y|^2) as exp of one matrix product with (x, |x|^2, 1).
        self._choices, self._sizes = (
            np.vstack([2 * q * part.T, np.full(len(part), -q), -q * (part**2).sum(axis=1)]).astype(
                np.float32
            )
            for q, part in zip((0.25, 0.5), basis, strict=True)
        )

    def __call__(self, of: Encoded) -> Float32:
        """Sums, shape (n,)."""
        x, s = (_with_norms(part.astype(np.float32)) for part in of)
        far, alike = x @ self._choices, s @ self._sizes
        np.exp(far, out=far)
        np.exp(alike, out=alike)
        square = far * far
        # near far^4 + far far + alike alike^2 + both far^2 alike, in few passes.
        result = self._near * square
        result *= far
        result += self._far
        result *= far
        square *= self._both
        square += self._alike * alike
        square *= alike
        result += square
        sums: Float32 = result @ self._weights
        sums += x[:, :-2] @ self._linear[0]
        sums += s[:, :-2] @ self._linear[1]
        sums += self._constant
        return sums


def _with_norms(part: Float32) -> Float32:
    norms = (part**2).sum(axis=1, keepdims=True)
    return np.hstack([part, norms, np.ones_like(norms)])


# -- scale --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Warp:
    """Box and Cox's power transform (1964) of the error rate, negated: larger is better still.

    With e = 1 - accuracy + 0.01::

        t = (e ** -power - 1) / power      or -log(e) where the power is 0

    A positive power spreads out the good networks, among which a search has to choose, and draws
    the failures in.
    """

    power: float

    def __call__(self, accuracy: Floats) -> Floats:
        error = 1.0 - accuracy + MIN_ERROR
        if self.power == 0.0:
            return np.asarray(-np.log(error))
        return np.asarray((error**-self.power - 1.0) / self.power)

    def inverse(self, t: Floats) -> Floats:
        """Accuracies, cut off at 0 and 1."""
        if self.power == 0.0:
            error = np.exp(-np.maximum(t, -1.0))
        else:
            # Beyond its range the scale has no accuracy; what is there is worse than all.
            base = np.maximum(1.0 + self.power * t, 1e-12)
            error = base ** (-1.0 / self.power)
        return np.clip(1.0 + MIN_ERROR - error, 0.0, 1.0)

    def log_slope(self, accuracy: Floats) -> Floats:
        """Logarithm of dt / d accuracy, which makes evidences on two scales comparable."""
        return -(self.power + 1.0) * np.log(1.0 - accuracy + MIN_ERROR)


@dataclass(frozen=True)
class Scale:
    """The map from accuracies to fitted values, with mean 0 and deviation 1 over the training.

    Attributes:
        warp: the scale's shape.
        mean: of the warped accuracies.
        spread: their standard deviation.
    """

    warp: Warp
    mean: float
    spread: float

    @classmethod
    def of(cls, warp: Warp, accuracy: Floats) -> Scale:
        """Make the scale of training accuracies (n,)."""
        t = warp(accuracy)
        return cls(warp, float(t.mean()), float(t.std()))

    def __call__(self, accuracy: Floats) -> Floats:
        return np.asarray((self.warp(accuracy) - self.mean) / self.spread)

    def inverse(self, u: Floats) -> Floats:
        """Accuracies from 0 to 1."""
        return self.warp.inverse(u * self.spread + self.mean)


# -- evidence -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Believed:
    """The covariance that suits the labels.

    Attributes:
        kernel: covariance of networks.
        noise: variance of a label around its network's expectation.
        scale: of the labels.
    """

    kernel: Kernel
    noise: float
    scale: Scale


def believe(encoded: Encoded, accuracy: Floats, rng: np.random.Generator) -> Believed:
    """Scale and variances of the largest evidence, on a part of n labelled networks."""
    order = rng.permutation(len(accuracy)).astype(np.intp)
    few = order[:COMPARED_ROWS]
    found = [_maximize(encoded, accuracy, few, Warp(p), np.array(CENTRE)) for p in POWERS]
    _, start, scale = max(found, key=lambda f: f[0])
    if len(order) > len(few):
        more = order[:OPTIMIZED_ROWS]
        _, start, scale = _maximize(encoded, accuracy, more, scale.warp, start)
    variances = np.exp(start)
    return Believed(Kernel(variances[:-1]), max(float(variances[-1]), MIN_NOISE), scale)


def _maximize(
    encoded: Encoded, accuracy: Floats, rows: npt.NDArray[np.intp], warp: Warp, start: Floats
) -> tuple[float, Floats, Scale]:
    """Log evidence of accuracies, log variances, and scale, on ``rows``."""
    part = (encoded[0][rows], encoded[1][rows])
    labels = accuracy[rows]
    scale = Scale.of(warp, accuracy)
    u = scale(labels)
    covariances = terms(part, part)
    found = maximize_evidence(covariances, u, start, deviation=DEVIATION)
    away = (found - np.array(CENTRE)) / DEVIATION
    evidence = (
        log_evidence(covariance_of(covariances, np.exp(found)), u)
        - 0.5 * away @ away
        + (warp.log_slope(labels) - np.log(scale.spread)).sum()
    )
    return float(evidence), found, scale
