"""Drift of a sequence of repeated measurements, in logarithms throughout.

Networks are measured again and again in runs, by processes one after the other. The drift that all
share is a sum of terms: a curve over the runs, and offsets of the processes. A reference that is
measured beside every run has a part in it. Scales are found by expectation maximization, with
Student's t as a normal of random precision (Lange, Little and Taylor 1989, *Robust statistical
modeling using the t distribution*).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg.lapack

from latcast.math.robust import robust_deviation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FREEDOM = 4.0  # of Student's t: a run that is off by 4 noises hardly counts
# A scale that reaches 0 has an infinite precision, from which no round comes back.
MIN_SCALE = 1e-6
TINY = 1e-12
# A loading of 0 would never grow again: its update is in proportion to what the factor tells of it.
_MIN_LOADING = 0.02
_ROUNDS = 20
_ALONE = 5  # rounds before the reference joins, so that the runs settle its loading
# After a night's pause the machine may be anywhere, but no farther than within some hundred runs: a
# larger variance only worsens the system's condition.
_LONGEST_GAP = 100.0
_PRECISION = 1e-3  # of the conjugate gradients, which each round goes on with
_MAX_STEPS = 60


def medians_by_network(network: Integers, values: Floats, n_networks: int) -> Floats:
    """Median of the values of every network, shape (n_networks,); NaN where it has none."""
    order = np.lexsort((values, network))
    counts = np.bincount(network, minlength=n_networks)
    starts = np.cumsum(counts) - counts
    ordered = np.append(values[order], np.nan)
    has = counts > 0
    low = np.where(has, starts + (counts - 1) // 2, len(values))
    high = np.where(has, starts + counts // 2, len(values))
    return np.asarray((ordered[low] + ordered[high]) / 2)


class Settings(NamedTuple):
    """One model: scale of the curve's steps (0: no curve), and what takes part."""

    step: float
    reference: bool
    offsets: bool

    @property
    def terms(self) -> tuple[bool, bool]:
        return self.step > 0, self.offsets


class Problem:
    """The runs in logarithms; networks and processes in the order of their first run.

    Args:
        network: number of the network, shape (n,).
        process: number of the worker process, shape (n,).
        latency: of the runs, in any unit, shape (n,).
        reference: of the reference network, shape (n, 2), NaN where unknown.
        time: of the runs, never falling, shape (n,).
    """

    def __init__(
        self, network: Integers, process: Integers, latency: Floats, reference: Floats, time: Floats
    ) -> None:
        self.network = _by_appearance(network)
        self.process = _by_appearance(process)
        # Around zero: the same campaign in other units gives the same numbers.
        self.y = np.log(latency / np.median(latency))
        self.reference = _mean_of_known(np.log(np.where(reference > 0, reference, np.nan)))
        self.timed = np.isfinite(self.reference)
        gap = np.diff(time)
        usual = max(float(np.median(gap)) if len(gap) else 0.0, TINY)
        # In the usual gap, so that the scale of a step means the same in any campaign; short gaps
        # are not below it, since runs that come together share no more than neighbours do.
        self.gap = np.clip(gap / usual, 1.0, _LONGEST_GAP)
        self.repeated = np.bincount(self.network)[self.network] > 1

    def __len__(self) -> int:
        return len(self.y)


class Term(Protocol):
    """A part of the factor: unknowns with a normal prior, whose precision rounds update.

    ``factorize`` is called in every round, before all else.
    """

    size: int
    variance: Floats
    """Of the part at every run, shape (n,), given all else."""

    def expand(self, x: Floats) -> Floats:
        """The part at every run, shape (n,), of the unknowns, shape (size,)."""

    def gather(self, values: Floats) -> Floats:
        """The transpose of ``expand``."""

    def factorize(self, information: Floats) -> None:
        """Prepare for runs that tell so much, shape (n,), each of itself."""

    def prior(self, x: Floats) -> Floats:
        """Precision of the prior times the unknowns."""

    def solve(self, x: Floats) -> Floats:
        """Inverse of prior and information times the unknowns."""

    def update(self, x: Floats, scale: float) -> None:
        """Set the prior's precision by the unknowns, given the noise."""


class Curve:
    """A random walk over the runs, with steps of Cauchy's law."""

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
        # Cauchy is Student's t with one degree of freedom: its weight is (1 + 1) / (scale^2 +
        # square). A jump gets a small precision, and the curve follows it within one run.
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
        # With what is not known of the offsets: without it expectation maximization shrinks them to
        # 0.
        self.spread = max(float(np.sqrt(np.mean(x**2 + 1 / self._precision))), MIN_SCALE)


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
        """Return the precision of the factor by the reference, times the factor, shape (n,)."""
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
        # `square` holds the factor's own uncertainty, as errors in variables ask for: without it
        # the loading of a noisy factor comes out small.
        loading = float(self._values @ precise / max(square, TINY))
        self.loading = max(loading, _MIN_LOADING)
        errors = self._values - self.loading * factor
        errors -= self._ones @ errors / self._total
        levels, of_level = self._centring.levels(errors), 1 / self._centring.sums
        spread = np.mean((levels**2 + of_level)[self._seen])
        self._spread = max(float(np.sqrt(spread)), MIN_SCALE)
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
    scale = max(float(np.sqrt((weight * squares)[kept].mean())), MIN_SCALE)
    weight = (FREEDOM + 1) / (FREEDOM + squares / scale**2)
    return np.where(kept, weight, 0.0), scale


class Fit:
    """A model fitted to the runs that are kept, by expectation maximization.

    Attributes:
        factor: logarithm of the machine's slowness, shape (n,).
        residuals: of the runs, those left out too, shape (n,).
        variance: of the prediction of a run, without its own noise, shape (n,).
        scale: of the noise; its variance is twice the square.
        loading: of the reference; NaN without it.
        process_spread: scale of the offsets; 0 without them.
    """

    def __init__(self, problem: Problem, kept: npt.NDArray[np.bool_], settings: Settings) -> None:
        self._problem = problem
        self._kept = kept
        self._weight = kept.astype(np.float64)
        self.scale = _first_scale(problem, kept)
        offsets = Offsets(problem.process, self.scale)
        self._terms: list[tuple[Term, slice]] = []
        self._unknowns = np.zeros(0)
        if settings.step > 0:
            self._add(Curve(problem.gap, settings.step, self.scale))
        if settings.offsets:
            self._add(offsets)
        reference = (
            Reference(problem.reference, problem.process, self.scale)
            if settings.reference
            else None
        )
        for index in range(_ROUNDS):
            self._round(reference if index > _ALONE else None)
            if reference is not None and index >= _ALONE:
                reference.update(self.factor, self._factor_variance)
        self.loading = float("nan") if reference is None else reference.loading
        self.process_spread = offsets.spread if settings.offsets else 0.0

    def noise(self) -> float:
        """Relative standard deviation of one run; squares beyond 6 scales are cut."""
        if not self._problem.repeated.any():
            return float("nan")
        # A network of a single run has no residual: it would count as free of noise.
        squares = self._squares()[self._problem.repeated]
        return float(np.sqrt(np.minimum(squares, (6 * self.scale) ** 2).mean()))

    def _add(self, term: Term) -> None:
        start = len(self._unknowns)
        self._terms.append((term, slice(start, start + term.size)))
        self._unknowns = np.zeros(start + term.size)

    def _round(self, reference: Reference | None) -> None:
        network, y = self._problem.network, self._problem.y
        # The truths are integrated out, not solved for: there may be thousands of them, and only
        # the differences between runs of one network bear on the factor.
        truths = Centring(self._weight / self.scale**2, network, TINY)
        self._solve(truths, reference)
        self.factor = self._expand(self._unknowns)
        self._factor_variance = np.zeros(len(y))
        for term, _ in self._terms:
            self._factor_variance += term.variance
        self.residuals = y - self.factor - truths.levels(y - self.factor)[network]
        self.variance = self._factor_variance + 1 / truths.sums[network]
        self._weight, self.scale = student(self._squares(), self._weight, self.scale, self._kept)
        for term, part in self._terms:
            term.update(self._unknowns[part], self.scale)

    def _squares(self) -> Floats:
        """Expected squares of the noise."""
        return np.asarray(self.residuals**2 + self.variance)

    def _solve(self, truths: Centring, reference: Reference | None) -> None:
        """Find the unknowns by conjugate gradients.

        Every term by itself has a matrix that is quickly inverted, but for the coupling that the
        truths make. Runs of one network are far apart: a few steps are enough.
        """
        if not self._terms:
            return
        information = truths.diagonal + (0.0 if reference is None else reference.diagonal())
        for term, _ in self._terms:
            term.factorize(information)
        right = truths(self._problem.y) + (0.0 if reference is None else reference.moment())

        def matrix(x: Floats) -> Floats:
            factor = self._expand(x)
            told = truths(factor) + (0.0 if reference is None else reference.precision(factor))
            return self._join([t.gather(told) + t.prior(x[s]) for t, s in self._terms])

        def inverse(x: Floats) -> Floats:
            return self._join([t.solve(x[s]) for t, s in self._terms])

        gathered = self._join([t.gather(right) for t, _ in self._terms])
        self._unknowns = _conjugate_gradients(matrix, inverse, gathered, self._unknowns)

    def _expand(self, x: Floats) -> Floats:
        """The factor at every run, shape (n,), of the unknowns of all terms."""
        factor = np.zeros(len(self._problem))
        for term, part in self._terms:
            factor += term.expand(x[part])
        return factor

    @staticmethod
    def _join(parts: list[Floats]) -> Floats:
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _conjugate_gradients(
    matrix: Callable[[Floats], Floats],
    inverse: Callable[[Floats], Floats],
    right: Floats,
    start: Floats,
) -> Floats:
    """Solve a symmetric, positive definite system by an approximate inverse."""
    x, rest = start, right - matrix(start)
    # Relative to the right-hand side: an early round need not be exact, for the next one sets out
    # from its solution.
    enough = _PRECISION**2 * float(right @ inverse(right))
    direction = image = inverse(rest)
    size = float(rest @ image)
    for _ in range(_MAX_STEPS):
        if size <= enough:
            break
        turned = matrix(direction)
        length = size / float(direction @ turned)
        x = x + length * direction
        rest = rest - length * turned
        image = inverse(rest)
        previous, size = size, float(rest @ image)
        direction = image + size / previous * direction
    return x


def _first_scale(problem: Problem, kept: npt.NDArray[np.bool_]) -> float:
    """Scale of the runs that are kept about the medians of their networks."""
    network, y = problem.network[kept], problem.y[kept]
    errors = np.abs(y - medians_by_network(network, y, int(problem.network.max()) + 1)[network])
    # The median itself is one of the runs where their number is odd.
    errors = errors[errors > 0]
    return max(robust_deviation(errors, centre=0.0), 10 * MIN_SCALE) if len(errors) else 0.01


def _by_appearance(labels: Integers) -> Integers:
    """Numbers 0, 1, … in the order in which labels first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def _mean_of_known(values: Floats) -> Floats:
    """Mean over the columns, shape (n,); NaN where all are."""
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
