"""NSGA-II: Deb, Pratap, Agarwal and Meyarivan, IEEE Trans. Evol. Comput. 6 (2002) 182.

Networks are ranked by fronts and spread out by crowding distance; parents win binary tournaments;
what exceeds limits loses to what exceeds them less (its section VI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from .front import Evaluated, Floats, nondominated
from .problem import Goals, Method, Problem, State, check_settings, small_to_large

Positions = npt.NDArray[np.intp]


@dataclass
class NSGA2(Method):
    """Settings of NSGA-II.

    Args:
        evaluations: at most so many networks are evaluated.
        population: networks that are kept, and children in a generation.
        crossover_rate: probability that a child has two parents.
        mutation_rate: probability that a gene is drawn again; by default one gene a network.
        patience: end after so many generations in which the front did not change.
    """

    evaluations: int = 120_000
    # The front of all that was evaluated is the result, so that it need not fit into a population.
    population: int = 60
    crossover_rate: float = 0.9
    mutation_rate: float | None = None
    patience: int = 100

    def __post_init__(self) -> None:
        check_settings(self, evaluations=1, population=2, crossover_rate=0, patience=1)

    name: ClassVar[str] = "nsga2"
    description: ClassVar[str] = "NSGA-II"

    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """Nothing is evaluated yet; budgets bound the front by their ceiling."""
        self._problem, self._rng, self._known = problem, rng, known
        self._population: Evaluated | None = None
        self._waited = 0

    def step(self) -> bool:
        """One generation."""
        before = self._problem.archive
        if self._population is None:
            first = small_to_large(
                self._problem.space, self.population, self._rng, self._problem.restrict
            )
            self._population = self._problem.evaluate(self._known.concatenate(first))
        else:
            self._population = self._population.join(self._problem.evaluate(self._children()))
        # Parents that are alike have children that are in the population already: copies would fill
        # it.
        distinct = np.unique(self._population.archs.unique_index(), return_index=True)[1]
        self._population = self._population[np.sort(distinct)]
        self._population = self._population[self._ranked()[: self.population]]
        # The archive is replaced, never changed: the same object means that no network entered it.
        self._waited = self._waited + 1 if self._problem.archive is before else 0
        return self._waited < self.patience

    def state(self) -> State:
        """The population, ranked."""
        if self._population is None:
            return {}
        return self._population.state("population") | {"waited": np.array([self._waited])}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Bring back what :meth:`state` gave."""
        if not state:
            return
        self._population = Evaluated.of_state(
            "population", state, self._problem.space, len(self._problem.latencies)
        )
        self._waited = int(state["waited"][0])

    @property
    def members(self) -> Evaluated:
        """The population."""
        assert self._population is not None
        return self._population

    def _children(self) -> Archs:
        """Mutated crossovers of the winners of binary tournaments."""
        problem, rng, archs = self._problem, self._rng, self.members.archs
        # The population is ranked: of two networks the one in front wins.
        mothers, fathers = rng.integers(0, len(archs), (2, 2, self.population)).min(axis=1)
        single = rng.random(self.population) >= self.crossover_rate
        fathers = np.where(single, mothers, fathers)
        crossed = problem.space.crossover(archs[mothers], archs[fathers], rng)
        rate = self.mutation_rate
        if rate is None:
            rate = 1 / len(problem.choices)
        return problem.space.mutate(crossed, rate, rng, restrict=problem.restrict)

    def _ranked(self) -> Positions:
        """All networks, best first: by violation, then front, then crowding distance."""
        found = self._population
        assert found is not None
        violation = found.violation(self._problem.archive.ceiling_ms)
        order = []
        left, taken = np.flatnonzero(violation <= 0), 0
        # Fronts beyond the population's size would be sorted for nothing.
        while left.size and taken < self.population:
            front = left[nondominated(found.accuracy[left], found.ms[left])]
            objectives = np.column_stack([-found.accuracy[front], found.ms[front]])
            order.append(front[np.argsort(-crowding(objectives), kind="stable")])
            left = np.setdiff1d(left, front, assume_unique=True)
            taken += len(front)
        over = np.flatnonzero(violation > 0)
        over = over[np.argsort(violation[over], kind="stable")]
        return np.concatenate([*order, left, over])


def crowding(objectives: Floats) -> Floats:
    """Crowding distance of one front (its section III B); infinite at the ends.

    Args:
        objectives: shape (n, objectives).

    Returns:
        Shape (n,).
    """
    distance = np.zeros(len(objectives))
    for values in objectives.T:
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        spread = ascending[-1] - ascending[0]
        distance[order[[0, -1]]] = np.inf
        if spread > 0:
            distance[order[1:-1]] += (ascending[2:] - ascending[:-2]) / spread
    return distance
