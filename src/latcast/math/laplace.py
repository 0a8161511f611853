"""Laplace's approximation of a posterior that is nearly normal: its mode, covariance and evidence.

Bishop, *Pattern Recognition and Machine Learning* (2006), section 4.4; Nocedal and Wright,
*Numerical Optimization* (2006), section 10.3, on Gauss and Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy

Floats = npt.NDArray[np.float64]

# Gauss and Newton's steps double the digits near the mode: a few are enough unless a step was
# halved.
ROUNDS = 12
# A step 256 times shorter that still gains nothing is at the mode, up to rounding.
HALVINGS = 8
# Gain in log posterior below which the mode is found: a factor of 1.001 in density.
CONVERGED = 1e-3
# Share of a variance that is not kept by NormalWeights.
ROUNDED = 0.02


class LogPosterior(Protocol):
    """A problem in p weights with a normal prior."""

    @property
    def prior_precision(self) -> Floats:
        """Inverse prior covariance, shape (p, p)."""

    def energy(self, weights: Floats) -> float:
        """Negative log posterior, up to a constant; infinite where it cannot be told."""

    def linearized(self, weights: Floats) -> tuple[Floats, Floats]:
        """Gauss and Newton's precision (p, p), and minus the gradient of the energy (p,)."""


def mode(problem: LogPosterior, start: Floats) -> Floats:
    """Weights of the least energy by Gauss and Newton's method with halved steps, shape (p,)."""
    weights, energy = start, problem.energy(start)
    # The logarithm of a sum is linear only near by: far from the mode a full step may overshoot,
    # and is halved until the posterior rises.
    for _ in range(ROUNDS):
        precision, gradient = problem.linearized(weights)
        lower = scipy.linalg.cholesky(precision, lower=True)
        step = np.asarray(scipy.linalg.cho_solve((lower, True), gradient))
        for halving in range(HALVINGS):
            moved = weights + step * 0.5**halving
            least = problem.energy(moved)
            if least < energy:
                break
        else:
            break
        gain, weights, energy = energy - least, moved, least
        if gain < CONVERGED:
            break
    return weights


def laplace(problem: LogPosterior, weights: Floats) -> tuple[Floats, float]:
    """Covariance (p, p) at the mode, and the log evidence up to the energy's constant."""
    precision, _ = problem.linearized(weights)
    factor = scipy.linalg.cholesky(precision, lower=True)
    evidence = -problem.energy(weights) - np.log(np.diag(factor)).sum()
    evidence += np.log(np.diag(scipy.linalg.cholesky(problem.prior_precision, lower=True))).sum()
    return np.asarray(scipy.linalg.cho_solve((factor, True), np.eye(len(weights)))), float(evidence)


@dataclass(frozen=True)
class NormalWeights:
    """A normal distribution of p weights of features.

    Attributes:
        mean: shape (p,).
        prior: variances before anything was learnt, shape (p,).
        gained: what data took from them: the covariance is ``diag(prior) - gained @ gained.T``;
            shape (p, rank).
    """

    mean: Floats
    prior: Floats
    gained: Floats

    @classmethod
    def standard(cls, p: int) -> NormalWeights:
        """Independent and standard normal."""
        return cls(np.zeros(p), np.ones(p), np.zeros((p, 0)))

    @classmethod
    def learnt(cls, mean: Floats, prior: Floats, covariance: Floats) -> NormalWeights:
        """Weights of a covariance (p, p), but for what data took that is next to nothing."""
        root = np.sqrt(prior)
        taken = np.eye(len(prior)) - covariance / np.outer(root, root)
        values, vectors = scipy.linalg.eigh(taken)
        # Directions that data hardly touched are most of them: leaving them out keeps model files
        # small.
        kept = values > ROUNDED
        gained = root[:, None] * vectors[:, kept] * np.sqrt(np.minimum(values[kept], 1.0))
        return cls(mean, prior, np.asarray(gained))

    @property
    def covariance(self) -> Floats:
        """Shape (p, p)."""
        return np.asarray(np.diag(self.prior) - self.gained @ self.gained.T)

    def variance(self, features: Floats) -> Floats:
        """Variance of what ``features`` (n, p) times the weights is, shape (n,)."""
        before = features**2 @ self.prior
        taken = features @ self.gained
        # What is kept of a covariance is rounded: no variance falls below that.
        least = ROUNDED * before
        return np.asarray(np.maximum(before - np.einsum("nr,nr->n", taken, taken), least))
