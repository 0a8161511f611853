"""The model of a campaign's drift, and how it is chosen and fitted (see :mod:`._drift`).

Scales are found by expectation maximization, with Student's t as a normal of random precision
(Lange, Little and Taylor 1989, *Robust statistical modeling using the t distribution*).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._drift_parts import (
    FREEDOM,
    LEAST_SCALE,
    TINY,
    Centring,
    Curve,
    Floats,
    Integers,
    Offsets,
    Reference,
    Term,
    student,
)

STEPS = (0.01, 0.03, 0.1, 0.3)
"""Scales of a step of the curve that are tried, in noises of one visit."""
_FOLDS = 3
_CLEARLY = 2.0  # standard errors
_LEAST_REPEATS = 8
_ROUNDS = 20
_ALONE = 5  # rounds before the reference joins, so that the visits settle its loading
_LONGEST_GAP = 100.0
_PRECISION = 1e-3  # of the conjugate gradients, which each round goes on with
_MOST_STEPS = 60


def medians_by_arch(arch: Integers, values: Floats, n_archs: int) -> Floats:
    """Median of the values of every architecture, shape (n_archs,); NaN where it has none."""
    order = np.lexsort((values, arch))
    counts = np.bincount(arch, minlength=n_archs)
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
    """The visits in logarithms; architectures and processes in the order of their first visit.

    Args:
        arch: number of the architecture, shape (n,).
        process: number of the worker process, shape (n,).
        latency: of the visits, in any unit, shape (n,).
        reference: of the reference network, shape (n, 2), NaN where unknown.
        time: of the visits, never falling, shape (n,).
    """

    def __init__(
        self, arch: Integers, process: Integers, latency: Floats, reference: Floats, time: Floats
    ) -> None:
        self.arch = _by_appearance(arch)
        self.process = _by_appearance(process)
        # Around zero: the same campaign in other units gives the same numbers.
        self.y = np.log(latency / np.median(latency))
        self.reference = _mean_of_known(np.log(np.where(reference > 0, reference, np.nan)))
        self.timed = np.isfinite(self.reference)
        gap = np.diff(time)
        usual = max(float(np.median(gap)) if len(gap) else 0.0, TINY)
        self.gap = np.clip(gap / usual, 1.0, _LONGEST_GAP)
        self.repeated = np.bincount(self.arch)[self.arch] > 1

    def __len__(self) -> int:
        return len(self.y)

    def folds(self) -> Integers:
        """Fold of every visit: neighbours, and visits of one architecture, in different ones."""
        order = np.argsort(self.arch, kind="stable")
        counts = np.bincount(self.arch)
        rank = np.empty(len(self), dtype=np.int64)
        rank[order] = np.arange(len(self)) - (np.cumsum(counts) - counts)[self.arch[order]]
        return np.asarray((rank + self.arch) % _FOLDS)


def choose(problem: Problem) -> Settings:
    """The simplest settings that predict held-out visits not clearly worse than the best."""
    none = Settings(0.0, reference=False, offsets=False)
    if len(problem) - problem.arch.max() - 1 < _LEAST_REPEATS:
        return none
    several = bool(problem.process.max() > 0)
    heard = (False, True) if problem.timed.any() else (False,)
    tried = [none, *(Settings(*s, offsets=several) for s in product(STEPS, heard))]
    scores = {s: _held_out(problem, s) for s in tried}
    if several:
        best = _best(scores)
        fewer = [Settings(0.0, r, offsets=True) for r in heard]
        if best.step > 0:
            fewer.append(best._replace(offsets=False))
        scores |= {s: _held_out(problem, s) for s in fewer}
    return _simplest(scores)


def _best(scores: dict[Settings, Floats]) -> Settings:
    return max(scores, key=lambda s: float(scores[s].sum()))


def _simplest(scores: dict[Settings, Floats]) -> Settings:
    """The best settings with the fewest terms that the best of all do not clearly beat."""
    best = _best(scores)
    for terms in ((False, False), (False, True), (True, False)):
        alike = {s: score for s, score in scores.items() if s.terms == terms}
        if alike:
            simple = _best(alike)
            gains = scores[best] - scores[simple]
            if gains.mean() <= _CLEARLY * gains.std() / np.sqrt(len(gains)):
                return simple
    return best


def _held_out(problem: Problem, settings: Settings) -> Floats:
    """Log density of every repeated visit, up to a constant, when the others predict it."""
    density = np.zeros(len(problem))
    folds = problem.folds()
    for fold in range(_FOLDS):
        out = (folds == fold) & problem.repeated
        fit = Fit(problem, ~out, settings)
        variance = fit.scale**2 + fit.variance[out]
        square = fit.residuals[out] ** 2 / variance
        density[out] = -0.5 * (np.log(variance) + (FREEDOM + 1) * np.log1p(square / FREEDOM))
    return density[problem.repeated]


class Fit:
    """A model fitted to the visits that are kept, by expectation maximization.

    Attributes:
        factor: logarithm of the machine's slowness, shape (n,).
        residuals: of the visits, those left out too, shape (n,).
        variance: of the prediction of a visit, without its own noise, shape (n,).
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
        """Relative standard deviation of one visit; squares beyond 6 scales are cut."""
        if not self._problem.repeated.any():
            return float("nan")
        squares = self._squares()[self._problem.repeated]
        return float(np.sqrt(np.minimum(squares, (6 * self.scale) ** 2).mean()))

    def _add(self, term: Term) -> None:
        start = len(self._unknowns)
        self._terms.append((term, slice(start, start + term.size)))
        self._unknowns = np.zeros(start + term.size)

    def _round(self, reference: Reference | None) -> None:
        arch, y = self._problem.arch, self._problem.y
        truths = Centring(self._weight / self.scale**2, arch, TINY)
        self._solve(truths, reference)
        self.factor = self._expand(self._unknowns)
        self._factor_variance = np.zeros(len(y))
        for term, _ in self._terms:
            self._factor_variance += term.variance
        self.residuals = y - self.factor - truths.levels(y - self.factor)[arch]
        self.variance = self._factor_variance + 1 / truths.sums[arch]
        self._weight, self.scale = student(self._squares(), self._weight, self.scale, self._kept)
        for term, part in self._terms:
            term.update(self._unknowns[part], self.scale)

    def _squares(self) -> Floats:
        """Expected squares of the noise."""
        return np.asarray(self.residuals**2 + self.variance)

    def _solve(self, truths: Centring, reference: Reference | None) -> None:
        """Find the unknowns by conjugate gradients.

        Every term by itself has a matrix that is quickly inverted, but for the coupling that the
        truths make. Visits of one architecture are far apart: a few steps are enough.
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
        """The factor at every visit, shape (n,), of the unknowns of all terms."""
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
    enough = _PRECISION**2 * float(right @ inverse(right))
    direction = image = inverse(rest)
    size = float(rest @ image)
    for _ in range(_MOST_STEPS):
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
    """Scale of the visits that are kept about the medians of their architectures."""
    arch, y = problem.arch[kept], problem.y[kept]
    errors = np.abs(y - medians_by_arch(arch, y, int(problem.arch.max()) + 1)[arch])
    # The median itself is one of the visits where their number is odd.
    errors = errors[errors > 0]
    return max(1.4826 * float(np.median(errors)), 10 * LEAST_SCALE) if len(errors) else 0.01


def _by_appearance(labels: Integers) -> Integers:
    """Numbers 0, 1, … in the order in which labels first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def _mean_of_known(values: Floats) -> Floats:
    """Mean over the columns, shape (n,); NaN where all are."""
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
