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
# Share of a variance before data below which none of NormalWeights falls.
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
        step = solved(precision, gradient)
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


def solved(precision: Floats, values: Floats) -> Floats:
    """The inverse of a positive definite matrix (p, p) times values (p,).

    Raises:
        LinAlgError: it is not positive definite.
    """
    # LAPACK itself: for a hundred weights SciPy's checks take as long as the solution.
    _, found, info = scipy.linalg.lapack.dposv(precision, values, lower=1)
    _check(info)
    return np.asarray(found)


def factored(precision: Floats) -> Floats:
    """The lower Cholesky factor, with anything above it.

    Raises:
        LinAlgError: it is not positive definite.
    """
    lower, info = scipy.linalg.lapack.dpotrf(precision, lower=1)
    _check(info)
    return np.asarray(lower)


def inverted(precision: Floats) -> Floats:
    """The inverse of a positive definite matrix, shape (p, p).

    Raises:
        LinAlgError: it is not positive definite.
    """
    found, _ = scipy.linalg.lapack.dpotri(factored(precision), lower=1, overwrite_c=1)
    below = np.tril(found)
    return np.asarray(below + np.tril(found, -1).T)


def _check(info: int) -> None:
    if info:
        raise np.linalg.LinAlgError(
            f"a precision must be positive definite; the minor of order {info} is not"
        )


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
        covariance: shape (p, p).
    """

    mean: Floats
    prior: Floats
    covariance: Floats

    @classmethod
    def standard(cls, p: int) -> NormalWeights:
        """Independent and standard normal."""
        return cls(np.zeros(p), np.ones(p), np.eye(p))

    def variance(self, features: Floats) -> Floats:
        """Variance of what ``features`` (n, p) times the weights is, shape (n,)."""
        # What is kept of a covariance is rounded: no variance falls below that.
        least = ROUNDED * (features**2 @ self.prior)
        exact = np.einsum("np,np->n", features @ self.covariance, features)
        return np.asarray(np.maximum(exact, least))
