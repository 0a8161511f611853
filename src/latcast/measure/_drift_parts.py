"""The parts of the drift's model (see :mod:`._drift_model`), in logarithms throughout."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg.lapack

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FREEDOM = 4.0  # of Student's t: a visit that is off by 4 noises hardly counts
LEAST_SCALE = 1e-6
TINY = 1e-12
_LEAST_LOADING = 0.02


class Term(Protocol):
    """A part of the factor: unknowns with a normal prior, whose precision rounds update.

    ``factorize`` is called in every round, before all else.
    """

    size: int
    variance: Floats
    """Of the part at every visit, shape (n,), given all else."""

    def expand(self, x: Floats) -> Floats:
        """The part at every visit, shape (n,), of the unknowns, shape (size,)."""

    def gather(self, values: Floats) -> Floats:
        """The transpose of ``expand``."""

    def factorize(self, information: Floats) -> None:
        """Prepare for visits that tell so much, shape (n,), each of itself."""

    def prior(self, x: Floats) -> Floats:
        """Precision of the prior times the unknowns."""

    def solve(self, x: Floats) -> Floats:
        """Inverse of prior and information times the unknowns."""

    def update(self, x: Floats, scale: float) -> None:
        """Set the prior's precision by the unknowns, given the noise."""


class Curve:
    """A random walk over the visits, with steps of Cauchy's law."""

    def __init__(self, gap: Floats, step: float, scale: float) -> None:
        self.size = len(gap) + 1
        self.variance = np.zeros(self.size)
        self._gap = gap
        self._step = step
        self._precision = 1 / ((step * scale) ** 2 * gap)
        self._ridge = 0.0

    def expand(self, x: Floats) -> Floats:
        return x

    def gather(self, values: Floats) -> Floats:
        return values

    def factorize(self, information: Floats) -> None:
        # A constant curve changes nothing but the truths: without it the matrix is singular.
        self._ridge = 1e-6 * float(information.mean())
        diagonal = information + self._ridge
        diagonal[:-1] += self._precision
        diagonal[1:] += self._precision
        self._factor = scipy.linalg.lapack.dpttrf(diagonal, -self._precision)[:2]
        backwards, _, _ = scipy.linalg.lapack.dpttrf(diagonal[::-1], -self._precision[::-1])
        # Diagonal of a tridiagonal inverse from the pivots of both directions (Meurant 1992).
        self.variance = 1 / (self._factor[0] + backwards[::-1] - diagonal)

    def prior(self, x: Floats) -> Floats:
        result = self._ridge * x
        pull = self._precision * np.diff(x)
        result[:-1] -= pull
        result[1:] += pull
        return result

    def solve(self, x: Floats) -> Floats:
        return np.asarray(scipy.linalg.lapack.dpttrs(*self._factor, x)[0])

    def update(self, x: Floats, scale: float) -> None:
        covariance = -self._factor[1] * self.variance[1:]
        of_step = self.variance[:-1] + self.variance[1:] - 2 * covariance
        square = np.diff(x) ** 2 + of_step
        self._precision = 2 / ((self._step * scale) ** 2 * self._gap + square)


class Offsets:
    """A normal offset of every process."""

    def __init__(self, process: Integers, scale: float) -> None:
        self.size = int(process.max()) + 1
        self.variance = np.zeros(len(process))
        self.spread = scale
        self._process = process

    def expand(self, x: Floats) -> Floats:
        return x[self._process]

    def gather(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self._process, values, minlength=self.size), np.float64)

    def factorize(self, information: Floats) -> None:
        self._precision = self.gather(information) + 1 / self.spread**2
        self.variance = self.expand(1 / self._precision)

    def prior(self, x: Floats) -> Floats:
        return x / self.spread**2

    def solve(self, x: Floats) -> Floats:
        return x / self._precision

    def update(self, x: Floats, scale: float) -> None:
        self.spread = max(float(np.sqrt(np.mean(x**2 + 1 / self._precision))), LEAST_SCALE)


class Centring:
    """Precision of values of which a level per group, with a prior precision, is unknown."""

    def __init__(self, weight: Floats, group: Integers, prior: float) -> None:
        self.weight = weight
        self.sums = np.bincount(group, weight) + prior
        self.diagonal = weight * (1 - weight / self.sums[group])
        self._group = group

    def __call__(self, values: Floats) -> Floats:
        return self.weight * (values - self.levels(values)[self._group])

    def levels(self, values: Floats) -> Floats:
        """Level of every group."""
        return np.asarray(np.bincount(self._group, self.weight * values) / self.sums)


class Reference:
    """The reference network: its loading, the offsets of its own, and how noisy it is."""

    def __init__(self, reference: Floats, process: Integers, scale: float) -> None:
        self.loading = 1.0
        self._timed = np.isfinite(reference)
        self._values = np.where(self._timed, reference, 0.0)
        self._process = process
        self._seen = np.bincount(self._process, self._timed) > 0
        self._weight = self._timed.astype(np.float64)
        self._scale = self._spread = scale
        self._prepare()

    def precision(self, factor: Floats) -> Floats:
        """What the reference says of the factor, times the factor, shape (n,)."""
        return np.asarray(self.loading**2 * self._precise(factor))

    def moment(self) -> Floats:
        """The right-hand side that goes with ``precision``."""
        return np.asarray(self.loading * self._precise(self._values))

    def diagonal(self) -> Floats:
        """Diagonal of ``precision``, but for the common level."""
        return np.asarray(self.loading**2 * self._centring.diagonal)

    def update(self, factor: Floats, variance: Floats) -> None:
        """Set loading, offsets and scales by the factor and its variance, each (n,)."""
        precise = self._precise(factor)
        square = factor @ precise + self._centring.diagonal @ variance
        loading = float(self._values @ precise / max(square, TINY))
        self.loading = max(loading, _LEAST_LOADING)
        errors = self._values - self.loading * factor
        errors -= self._ones @ errors / self._total
        levels, of_level = self._centring.levels(errors), 1 / self._centring.sums
        spread = np.mean((levels**2 + of_level)[self._seen])
        self._spread = max(float(np.sqrt(spread)), LEAST_SCALE)
        errors -= levels[self._process]
        squares = errors**2 + self.loading**2 * variance + of_level[self._process]
        self._weight, self._scale = student(squares, self._weight, self._scale, self._timed)
        self._prepare()

    def _prepare(self) -> None:
        weight = self._weight / self._scale**2
        self._centring = Centring(weight, self._process, 1 / self._spread**2)
        self._ones = self._centring(np.ones(len(weight)))
        self._total = self._ones.sum()

    def _precise(self, values: Floats) -> Floats:
        centred = self._centring(values)
        return np.asarray(centred - self._ones * (centred.sum() / self._total))


def student(
    squares: Floats, weight: Floats, scale: float, kept: npt.NDArray[np.bool_]
) -> tuple[Floats, float]:
    """New weights and scale of Student's t for expected squares of errors; 0 where not kept."""
    scale = max(float(np.sqrt((weight * squares)[kept].mean())), LEAST_SCALE)
    weight = (FREEDOM + 1) / (FREEDOM + squares / scale**2)
    return np.where(kept, weight, 0.0), scale
