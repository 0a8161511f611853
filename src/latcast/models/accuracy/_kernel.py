"""Covariance of the accuracies of two networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._base import Floats

Float32 = npt.NDArray[np.float32]
Encoded = tuple[Floats, Floats]
"""Choices (n, choices) and sizes (n, sizes) of :class:`Encoding`."""

TERMS = ("constant", "choices", "sizes", "near", "far", "alike", "both")
CENTRE = (-2.5, -2.5, -1.0, -3.0, -2.5, -4.0, -2.5, -4.5)
"""Log variances from which a fit sets out, of the terms and of the noise, as shares of the
variance of the labels: what is common in the spaces at hand, and a wide prior around it."""


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
