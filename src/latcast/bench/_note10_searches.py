"""Searches on the Note10 by one latency source after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latcast.predict import Predictor
from latcast.search import Memetic, Method
from latcast.spaces import SearchSpace

from ._budgeted_search import Budgeted, search_within
from ._few_shot import Report
from ._latency_sources import QUICK, SOURCES, Material
from ._published_searches import BUDGETS_MS
from ._teacher import Teacher

SPACES = ("compofa-fixed-kernel", "compofa-elastic-kernel", "ofa-mobilenet-v3")
LONG_RUN = Memetic(evaluations=400_000, elite=8, starts=8, patience=100)
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
        confidence: with which budgets are to be kept; None: the prediction itself counts.
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
        self._fixed: dict[str, tuple[Predictor, float]] = {}

    def learnt(self, name: str, seed: int) -> tuple[Predictor, float]:
        """A source's predictor, and the seconds of making it without its base."""
        if name in self._fixed:
            return self._fixed[name]
        source = SOURCES[name]
        source.base(self.material)
        start = time.perf_counter()
        made = source.learn(self.material, seed), time.perf_counter() - start
        if not source.is_seeded:
            self._fixed[name] = made
        return made

    def usable(self) -> list[str]:
        """The sources that can state what the plan's confidence needs.

        Raises:
            ValueError: none can.
        """
        level = self._plan.confidence
        if level is None:
            return list(self._plan.sources)
        kept = []
        for name in self._plan.sources:
            if self.learnt(name, 0)[0].covers(level):
                kept.append(name)
            else:
                self._report(f"note: {name} is left out, as it has no bound of confidence {level}")
        if not kept:
            raise ValueError(
                f"no source asked for states a bound of confidence {level}: choose others, such "
                "as predictor, or leave out the confidence"
            )
        return kept

    def searches(self, space: SearchSpace, name: str, confidence: float | None) -> list[Searched]:
        """One for every seed."""
        self._report(f"{space.name}: {name}")
        return [self._searched(space, name, seed, confidence) for seed in range(self._plan.seeds)]

    def of_all(self, space: SearchSpace, names: Sequence[str]) -> dict[str, list[Searched]]:
        """The searches by every source, by its name; and under ``""`` those on the truth."""
        truth = self.searches(space, "table", None)
        found = {"": list(truth)}
        for name in names:
            is_done = name == "table" and self._plan.confidence is None
            found[name] = truth if is_done else self.searches(space, name, self._plan.confidence)
        first = truth[0].found.result
        if first is not None and not first.is_exact:
            self._report(f"{space.name}: a long search on the table")
            found[""].append(self._searched(space, "table", self._plan.seeds, None, self._long()))
        return found

    def _long(self) -> Method:
        if self._plan.evaluations is None:
            return replace(LONG_RUN)
        return replace(LONG_RUN, evaluations=LONG_RUN_FACTOR * self._plan.evaluations)

    def best_known(self, found: dict[str, list[Searched]]) -> Floats:
        """The best accuracy of a network that keeps the budget; NaN if there is none."""
        best = np.full(len(self._plan.budgets_ms), np.nan)
        for run in (run for runs in found.values() for run in runs):
            kept = run.true_ms <= self._plan.budgets_ms
            best = np.fmax(best, np.where(kept, run.accuracy, np.nan))
        return best

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
