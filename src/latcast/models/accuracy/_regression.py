"""Gaussian-process regression, exact or on a part of the networks.

Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, chapters 2, 5 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.math.gaussian_process import (
    Conditioned,
    Projected,
    covariance_of,
    maximize_evidence,
)

from ._base import Floats
from ._kernel import CENTRE, Encoded, Kernel, terms
from ._warp import POWERS, Warp

MOST_BASIS = 1_024
"""What is exact up to so many rows is approximated beyond: prediction takes as long as these."""

COMPARED_ROWS = 200
OPTIMIZED_ROWS = 500
DEVIATION = 2.5
LEAST_NOISE = 1e-4
"""Share of the labels' variance: what float32 can tell apart, and labels never are as exact."""

BASIS_SHARE = 0.8
"""Most of the rows that a part holds: the others tell what its intervals must be."""


@dataclass(frozen=True)
class Scale:
    """From accuracies to what is fitted: warped, with mean 0 and deviation 1 over the training.

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
        """For training accuracies (n,)."""
        t = warp(accuracy)
        return cls(warp, float(t.mean()), float(t.std()))

    def __call__(self, accuracy: Floats) -> Floats:
        return np.asarray((self.warp(accuracy) - self.mean) / self.spread)

    def inverse(self, u: Floats) -> Floats:
        """Accuracies from 0 to 1."""
        return self.warp.inverse(u * self.spread + self.mean)


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
    return Believed(Kernel(variances[:-1]), max(float(variances[-1]), LEAST_NOISE), scale)


def _maximize(
    encoded: Encoded, accuracy: Floats, rows: npt.NDArray[np.intp], warp: Warp, start: Floats
) -> tuple[float, Floats, Scale]:
    """Log evidence of accuracies, log variances, and scale, on ``rows``."""
    part = _rows(encoded, rows)
    labels = accuracy[rows]
    scale = Scale.of(warp, accuracy)
    u = scale(labels)
    covariances = terms(part, part)
    found = maximize_evidence(covariances, u, start, deviation=DEVIATION)
    away = (found - np.array(CENTRE)) / DEVIATION
    evidence = (
        Conditioned.on(covariance_of(covariances, np.exp(found)), u).log_evidence
        - 0.5 * away @ away
        + (warp.log_slope(labels) - np.log(scale.spread)).sum()
    )
    return float(evidence), found, scale


def condition(
    encoded: Encoded, u: Floats, believed: Believed, basis: npt.NDArray[np.intp] | None = None
) -> Projected:
    """What labels tell: exact with every network in the basis, else by the projected process.

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
        return Projected(found.weights, found.inverse, np.abs(residual) / np.sqrt(variance))
    points = _rows(encoded, basis)
    return Projected.on(
        basis,
        lambda rows: kernel(_rows(encoded, rows), points),
        lambda rows: kernel.own(_rows(encoded, rows)),
        u,
        believed.noise,
    )


def _rows(encoded: Encoded, rows: npt.NDArray[np.intp]) -> Encoded:
    return encoded[0][rows], encoded[1][rows]
