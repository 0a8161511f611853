"""Searches on the Note10 by one latency source after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latcast.models import Predictor
from latcast.search import Memetic, Method
from latcast.spaces import SearchSpace

from ._budgeted_search import Budgeted, search_within
from ._few_shot import Report
from ._latency_sources import QUICK, SOURCES, TRUTH, Material
from ._published_searches import BUDGETS_MS
from ._teacher import Teacher

SPACES = ("compofa-fixed-kernel", "compofa-elastic-kernel", "ofa-mobilenet-v3")
LONG_RUN = Memetic(evaluations=400_000, elite=8, patience=100)
"""The search on the table that, beside all others, shows the best network known."""
LONG_RUN_FACTOR = 3
"""Where searches are given their evaluations, the long one gets as many times more."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is searched.

    Attributes:
        spaces: some of :data:`SPACES`.
        sources: some of :data:`SOURCES`.
        budgets_ms: ascending.
        seeds: how often rows are drawn and searches run.
        confidence: with which budgets are to be kept, beside searches by the prediction alone;
            None for these only.
        evaluations: networks that a search evaluates at most; None for its own setting.
    """

    spaces: tuple[str, ...] = SPACES
    sources: tuple[str, ...] = QUICK
    budgets_ms: tuple[float, ...] = BUDGETS_MS
    seeds: int = 3
    confidence: float | None = None
    evaluations: int | None = None


@dataclass(frozen=True)
class Searched:
    """One search by one source, budget by budget: arrays of shape (budgets,), NaN for no network.

    Attributes:
        seed: of the rows and of the search.
        learn_seconds: wall time of making the source's predictor.
        found: by the search.
        true_ms: latency by the published table.
        teacher: accuracy by the accuracy model's teacher, from 0 to 1.
    """

    seed: int
    learn_seconds: float
    found: Budgeted
    true_ms: Floats
    teacher: Floats

    @property
    def accuracy(self) -> Floats:
        """By the accuracy model, from 0 to 1."""
        result = self.found.result
        return self.found.spread([] if result is None else result.accuracy)

    @property
    def predicted_ms(self) -> Floats:
        """By the source."""
        result = self.found.result
        return self.found.spread([] if result is None else result.latency_ms)


class Study:
    """The searches of one run."""

    def __init__(self, the_plan: Plan, material: Material, teacher: Teacher, report: Report):
        self._plan, self.material, self._teacher = the_plan, material, teacher
        self._report = report
        self._made: dict[tuple[str, int], tuple[Predictor, float]] = {}

    def learnt(self, name: str, seed: int) -> tuple[Predictor, float]:
        """A source's predictor, and the seconds of making it without its base."""
        source = SOURCES[name]
        key = (name, seed if source.is_seeded else 0)
        if key not in self._made:
            source.base(self.material)
            start = time.perf_counter()
            self._made[key] = source.learn(self.material, seed), time.perf_counter() - start
        return self._made[key]

    def levels(self, name: str) -> list[float | None]:
        """With which confidences a source is asked; None: its prediction itself counts."""
        level = self._plan.confidence
        if level is None or name == TRUTH:
            return [None]
        if self.learnt(name, 0)[0].covers(level):
            return [None, level]
        self._report(f"note: {name} has no bound of confidence {level}: its prediction counts only")
        return [None]

    def of(self, space: SearchSpace) -> dict[tuple[str, float | None], list[Searched]]:
        """Source and confidence -> one search for every seed."""
        found = {}
        for name in self._plan.sources:
            self._report(f"{space.name}: {name}")
            for level in self.levels(name):
                found[name, level] = self._searches(space, name, level)
        return found

    def best_known(
        self, space: SearchSpace, found: Mapping[tuple[str, float | None], Sequence[Searched]]
    ) -> Floats:
        """The best accuracy of a network that keeps the budget; NaN if there is none.

        Of all that were found, and of searches on the truth, among them a long one.
        """
        self._report(f"{space.name}: the best known")
        truth = list(found.get((TRUTH, None)) or self._searches(space, TRUTH, None))
        result = truth[0].found.result
        if result is not None and not result.is_exact:
            truth.append(self._searched(space, TRUTH, self._plan.seeds, None, self._long()))
        best = np.full(len(self._plan.budgets_ms), np.nan)
        for run in (*truth, *(run for runs in found.values() for run in runs)):
            kept = run.true_ms <= self._plan.budgets_ms
            best = np.fmax(best, np.where(kept, run.accuracy, np.nan))
        return best

    def _searches(self, space: SearchSpace, name: str, level: float | None) -> list[Searched]:
        return [self._searched(space, name, seed, level) for seed in range(self._plan.seeds)]

    def _long(self) -> Method:
        if self._plan.evaluations is None:
            return replace(LONG_RUN)
        return replace(LONG_RUN, evaluations=LONG_RUN_FACTOR * self._plan.evaluations)

    def _searched(
        self,
        space: SearchSpace,
        name: str,
        seed: int,
        confidence: float | None,
        method: str | Method = "auto",
    ) -> Searched:
        predictor, seconds = self.learnt(name, seed)
        found = search_within(
            space, predictor, self._plan.budgets_ms, method=method, seed=seed,
            confidence=confidence,
            evaluations=self._plan.evaluations if method == "auto" else None,
        )  # fmt: skip
        none = np.full(len(self._plan.budgets_ms), np.nan)
        if found.result is None:
            return Searched(seed, seconds, found, none, none)
        archs = found.result.archs
        true_ms = found.spread(self.material.table.predict(archs))
        return Searched(seed, seconds, found, true_ms, found.spread(self._teacher.predict(archs)))
