"""Once-For-All's evolutionary search, for several budgets at once.

Parents are the most accurate networks within the budget; half of the children are mutants of one
parent, half are crossovers of two (arXiv:1908.09791, and the search of its published code, whose
settings are the defaults). Where that draws children again until one keeps the budget, which
never ends for a budget that nothing keeps, here whole generations are evaluated as one batch,
and children over budget are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.search.front import Evaluated
from latcast.search.problem import Goals, Method, Problem, State, check_settings
from latcast.spaces import Archs


@dataclass
class Evolution(Method):
    """Settings of Once-For-All's evolutionary search.

    Args:
        evaluations: at most so many networks are evaluated.
        population: networks of every budget.
        parents: share of a population that has children.
        mutation_rate: probability that a mutant's gene is drawn again.
        generations: at most so many.
        patience: end after so many generations in which no budget got better.
    """

    evaluations: int = 300_000
    population: int = 100
    parents: float = 0.25
    mutation_rate: float = 0.1
    generations: int = 500
    patience: int = 100

    def __post_init__(self) -> None:
        check_settings(
            self, evaluations=1, population=2, parents=0, mutation_rate=0, generations=1, patience=1
        )

    name: ClassVar[str] = "evolution"
    description: ClassVar[str] = "Once-For-All's evolutionary search"

    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """Nothing is evaluated yet. Without budgets, every goal has a population."""
        self._problem, self._rng, self._known = problem, rng, known
        self._goals = goals.ms[: goals.budgets] if goals.budgets else goals.ms
        self._pool: Evaluated | None = None
        self._members: list[npt.NDArray[np.intp]] = []
        self._best = np.full(len(self._goals), -np.inf)
        self._generation = self._waited = 0

    def step(self) -> bool:
        """One generation of every budget."""
        archs = self._children() if self._pool is not None else self._first()
        found = self._problem.evaluate(archs)
        self._pool = found if self._pool is None else self._pool.join(found)
        self._select()
        reached = np.array([self._pool.accuracy[m[0]] for m in self._members])
        self._waited = 0 if (reached > self._best).any() else self._waited + 1
        self._best = np.maximum(self._best, reached)
        self._generation += 1
        return self._generation < self.generations and self._waited < self.patience

    def state(self) -> State:
        """The populations and how far they have come."""
        if self._pool is None:
            return {}
        return self._pool.state("pool") | {
            "best": self._best,
            "counts": np.array([self._generation, self._waited]),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Bring back what :meth:`state` gave."""
        if not state:
            return
        self._pool = Evaluated.of_state(
            "pool", state, self._problem.space, len(self._problem.latencies)
        )
        self._best = state["best"]
        self._generation, self._waited = (int(n) for n in state["counts"])
        self._select()

    def _first(self) -> Archs:
        """Random networks, not all of them large."""
        count = self.population * len(self._goals)
        return self._known.concatenate(self._problem.between(self._known, count, self._rng))

    def _select(self) -> None:
        """Keep the best of every budget; what belongs to no population is forgotten."""
        pool = self._pool
        assert pool is not None
        _, distinct = np.unique(pool.archs.unique_index(), return_index=True)
        pool = pool[np.sort(distinct)]
        members = []
        for goal in self._goals:
            violation = pool.violation(goal)
            order = np.lexsort((pool.ms.sum(axis=1), -pool.accuracy, violation))
            within = max(1, int((violation <= 0).sum()))
            members.append(order[: min(self.population, within)])
        kept = np.unique(np.concatenate(members))
        self._pool = pool[kept]
        self._members = [np.searchsorted(kept, m) for m in members]

    def _children(self) -> Archs:
        """Half mutants, half crossovers, for every budget."""
        assert self._pool is not None
        archs, rng = self._pool.archs, self._rng
        half = max(1, self.population // 2)
        mutants, mothers, fathers = [], [], []
        for members in self._members:
            parents = members[: max(1, round(self.parents * self.population))]
            mutants.append(rng.choice(parents, half))
            mothers.append(rng.choice(parents, half))
            fathers.append(rng.choice(parents, half))
        problem = self._problem
        mutated = problem.space.mutate(
            archs[np.concatenate(mutants)], self.mutation_rate, rng, restrict=problem.restrict
        )
        crossed = problem.space.crossover(
            archs[np.concatenate(mothers)], archs[np.concatenate(fathers)], rng
        )
        return mutated.concatenate(crossed)
