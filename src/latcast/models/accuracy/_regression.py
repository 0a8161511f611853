"""Gaussian-process regression, exact or on a part of the networks.

Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, chapters 2, 5 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from latcast.models._evidence import optimize

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

_CHUNK = 4_096
_JITTER = 1e-6


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
    part = (encoded[0][rows], encoded[1][rows])
    labels = accuracy[rows]
    scale = Scale.of(warp, accuracy)
    u = scale(labels)
    covariances = terms(part, part)
    found = optimize(covariances, u, start, deviation=DEVIATION)
    v = np.exp(found)
    covariance = np.tensordot(v[:-1], covariances, 1)
    covariance[np.diag_indices_from(covariance)] += v[-1] + _JITTER
    lower, _ = cho_factor(covariance, lower=True)
    away = (found - np.array(CENTRE)) / DEVIATION
    evidence = (
        -0.5 * u @ cho_solve((lower, True), u)
        - np.log(np.diag(lower)).sum()
        - 0.5 * away @ away
        + (warp.log_slope(labels) - np.log(scale.spread)).sum()
    )
    return float(evidence), found, scale


@dataclass(frozen=True)
class Conditioned:
    """What n labels tell.

    Attributes:
        weights: expectation of a network = covariances with the basis times these, shape (m,).
        knowledge: variance that the labels take away from a network = its covariances with the
            basis, times this, times the same; shape (m, m).
        scores: left-out residuals of labels in their standard deviations, absolute; of all n, or
            of those of networks outside the basis.
    """

    weights: Floats
    knowledge: Floats
    scores: Floats


def condition(encoded: Encoded, u: Floats, believed: Believed) -> Conditioned:
    """Exact, with every network in the basis; O(n^3).

    Args:
        encoded: n networks.
        u: their labels on the fitted scale, shape (n,).
        believed: kernel and noise.
    """
    covariance = believed.kernel(encoded, encoded)
    covariance[np.diag_indices_from(covariance)] += believed.noise
    inverse = _inverse(cho_factor(covariance, lower=True), len(u))
    weights = inverse @ u
    # Residual and variance of a label given all others (equation 5.12).
    return Conditioned(weights, inverse, np.abs(weights) / np.sqrt(np.diag(inverse)))


def condition_on_part(
    encoded: Encoded, u: Floats, believed: Believed, rows: npt.NDArray[np.intp]
) -> Conditioned:
    """By the projected process (section 8.3.4), whose mean lives on m networks; O(n m^2).

    Args:
        encoded: n networks.
        u: their labels on the fitted scale, shape (n,).
        believed: kernel and noise.
        rows: the m < n networks of the basis, all different.
    """
    basis = (encoded[0][rows], encoded[1][rows])
    own = believed.kernel(basis, basis)
    own[np.diag_indices_from(own)] += _JITTER * float(np.diag(own).mean())
    gram, right = believed.noise * own, np.zeros(len(rows))
    for part, labels in _chunks(encoded, u):
        cross = believed.kernel(part, basis)
        gram += cross.T @ cross
        right += cross.T @ labels
    factor = cho_factor(gram, lower=True)
    weights = np.asarray(cho_solve(factor, right))
    inverse = believed.noise * _inverse(factor, len(rows))
    own_inverse = _inverse(cho_factor(own, lower=True), len(rows))
    # New networks are no part of the basis either.
    others = np.setdiff1d(np.arange(len(u)), rows)
    scores = []
    for part, labels in _chunks((encoded[0][others], encoded[1][others]), u[others]):
        cross = believed.kernel(part, basis)
        leverage = ((cross @ inverse) * cross).sum(axis=1) / believed.noise
        left = np.maximum(1.0 - leverage, 1e-6)
        beyond = believed.kernel.own(part) - ((cross @ own_inverse) * cross).sum(axis=1)
        variance = believed.noise / left + np.maximum(beyond, 0.0)
        scores.append(np.abs(labels - cross @ weights) / left / np.sqrt(variance))
    return Conditioned(weights, own_inverse - inverse, np.concatenate(scores))


def _inverse(factor: tuple[Floats, bool], m: int) -> Floats:
    return np.asarray(cho_solve(factor, np.eye(m)))


def _chunks(encoded: Encoded, u: Floats) -> list[tuple[Encoded, Floats]]:
    starts = range(0, len(u), _CHUNK)
    return [
        ((encoded[0][i : i + _CHUNK], encoded[1][i : i + _CHUNK]), u[i : i + _CHUNK])
        for i in starts
    ]
