"""Genetic local search: a population of local optima.

Parents are the best local optima within a goal, children come from crossover and mutation and
are moved to a local optimum themselves before they compete (Moscato's memetic algorithms;
Merz and Freisleben, *Fitness landscapes and memetic algorithm design*, 1999). A move changes one
or two genes. Every change of one gene is evaluated; what two of them gain is first taken for the
sum of what each does alone, and only the most promising pairs are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from .feasibility import Changes
from .front import Evaluated, Floats
from .nsga2 import NSGA2
from .problem import Goals, Method, Problem, State, check_settings

# Accuracy that exceeding a goal by its whole costs, in accuracies that an e-fold of latency gains
# among random networks: above 1, so that no local optimum lies far above its goal, and finite, so
# that a climb may pass through networks slightly above it.
PENALTY = 6.0
PENALTY_SAMPLE = 500
# Of a network with more changes of one gene than this, the best are paired: that bounds the table
# of pairs where genes have many choices.
MAX_CHANGES = 160
# One to five genes of an OFA network: drawn anew for every generation, so that no rate has to be
# right.
MUTATION_RATES = (0.02, 0.05, 0.1)
# What rounding in single precision makes of equal accuracies is no gain.
MIN_GAIN = 1e-7


@dataclass
class Memetic(Method):
    """Settings of the genetic local search, the default in large spaces.

    Args:
        evaluations: at most so many networks are evaluated.
        warmup: so many of these by NSGA-II, which gains the first ground faster.
        population: of NSGA-II.
        elite: local optima that are kept as parents for every goal.
        children: a budget gets in every generation; other goals get one in ``every`` generations.
        every: see ``children``.
        pairs: of changes that are evaluated for every move.
        moves: of a child, at most.
        patience: end after so many generations in which no goal got better.
    """

    # The front's hypervolume grows by 0.4 % from 50,000 to 100,000 (docs/results/search.txt); all
    # of the five budgets and the front then take 1.5 s.
    evaluations: int = 100_000
    warmup: int = 12_000
    population: int = 100
    # Few parents a goal: its neighbours' bring in what they lack.
    elite: int = 4
    children: int = 2
    every: int = 4
    # Besides these a move evaluates every change of one gene, up to 94 of OFA-MobileNetV3.
    pairs: int = 16
    moves: int = 8
    # In OFA's spaces the evaluations are used up before; in small ones the search ends by this.
    patience: int = 40

    def __post_init__(self) -> None:
        check_settings(
            self, evaluations=1, warmup=1, population=2, elite=1, children=1, every=1, pairs=1,
            moves=1, patience=1,
        )  # fmt: skip

    name: ClassVar[str] = "memetic"
    description: ClassVar[str] = "genetic local search: a population of local optima"

    def begin(self, problem: Problem, goals: Goals, known: Archs, rng: np.random.Generator) -> None:
        """Nothing is evaluated yet."""
        self._problem, self._goals, self._rng = problem, goals, rng
        self._known = known
        self._global = NSGA2(population=self.population, patience=self.warmup)
        self._global.begin(problem, goals, known, rng)
        self._penalty = 0.0
        self._waited = 0
        self._best = np.full(len(goals), -np.inf)
        self._optima: Evaluated | None = None

    def step(self) -> bool:
        """A generation of NSGA-II; later, children of every budget and of some of the goals."""
        is_fresh = self._problem.evaluations == 0
        # Local search from random networks spends its evaluations on climbing: a population that
        # lies near the front already needs few moves.
        if self._optima is None and (is_fresh or self._problem.evaluations < self.warmup):
            self._global.step()
            return True
        if self._optima is None:
            # The front holds what the population had no room for.
            self._optima = self._global.members.join(self._problem.front())
            sample = self._problem.between(self._known, PENALTY_SAMPLE, self._rng)
            self._penalty = _penalty(self._problem.evaluate(sample))
        archs, goal = self._children()
        found = self._climb(archs, self._goals.ms[goal])
        self._optima = self._optima.join(found)
        elite = self._elite()
        self._optima = self._optima[np.unique(np.concatenate(elite))]
        reached = np.array([self._optima.accuracy[e].max(initial=-np.inf) for e in self._elite()])
        # Progress at any budget counts: goals are searched together, and help each other.
        self._waited = 0 if (reached > self._best).any() else self._waited + 1
        self._best = np.maximum(self._best, reached)
        return self._waited < self.patience

    def state(self) -> State:
        """Local optima, what each goal has reached, and the penalty."""
        if self._optima is None:
            return self._global.state()
        return self._optima.state("optima") | {
            "best": self._best,
            "penalty": np.array([self._penalty]),
            "waited": np.array([self._waited]),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Bring back what :meth:`state` gave."""
        if "penalty" not in state:
            self._global.restore(state)
            return
        self._optima = Evaluated.of_state(
            "optima", state, self._problem.space, len(self._problem.latencies)
        )
        if state["best"].shape != (len(self._goals),):
            raise ValueError(f"{state['best'].size} goals, of {len(self._goals)}")
        self._best = state["best"]
        self._penalty, self._waited = float(state["penalty"][0]), int(state["waited"][0])

    # -- children ---------------------------------------------------------------------------

    def _children(self) -> tuple[Archs, npt.NDArray[np.intp]]:
        """Mutated crossovers of a goal's local optima with its neighbours'."""
        rng, goals = self._rng, self._goals
        is_budget = np.arange(len(goals)) < goals.budgets
        if not is_budget.any():
            is_budget[:] = True
        chosen = is_budget | (rng.random(len(goals)) < 1 / self.every)
        goal = np.repeat(np.arange(len(goals)), np.where(is_budget, self.children, 1) * chosen)
        elite, near = self._elite(), self._neighbours
        mothers = np.array([rng.choice(elite[g]) for g in goal])
        fathers = np.array([rng.choice(elite[rng.choice(near[g])]) for g in goal])
        problem = self._problem
        assert self._optima is not None
        archs = self._optima.archs
        crossed = problem.space.crossover(archs[mothers], archs[fathers], rng)
        rate = float(rng.choice(MUTATION_RATES))
        return problem.space.mutate(crossed, rate, rng, restrict=problem.restrict), goal

    @property
    def _neighbours(self) -> npt.NDArray[np.intp]:
        """The three nearest goals of every goal, itself among them, shape (goals, 3)."""
        ms = self._goals.ms.copy()
        finite = np.where(np.isfinite(ms), ms, 0.0).max(axis=0)
        # A goal without a limit is the neighbour of the loosest ones.
        ms = np.log(np.where(np.isfinite(ms), ms, 2 * finite + 1))
        distance = np.abs(ms[:, None] - ms).sum(axis=2)
        return np.argsort(distance, axis=1, kind="stable")[:, :3]

    def _elite(self) -> list[npt.NDArray[np.intp]]:
        """Positions of the best local optima within every goal, of equal ones the fastest.

        Where nothing is within a goal: of what exceeds it the least.
        """
        optima = self._optima
        assert optima is not None
        result = []
        for goal in self._goals.ms:
            violation = optima.violation(goal)
            order = np.lexsort((optima.ms.sum(axis=1), -optima.accuracy, violation))
            within = order[: max(1, int((violation <= 0).sum()))]
            accuracy = optima.accuracy[within]
            # Equal accuracy means equal networks, up to a coincidence.
            within = within[np.append(True, np.diff(accuracy) < 0)]
            result.append(within[: self.elite])
        return result

    # -- local search -----------------------------------------------------------------------

    def _value(self, found: Evaluated, goal_ms: Floats) -> Floats:
        value: Floats = found.accuracy - self._penalty * found.violation(goal_ms)
        return value

    def _climb(self, archs: Archs, goals_ms: Floats) -> Evaluated:
        """Move n networks, each to the best of its neighbours, until none is better.

        Args:
            archs: n networks.
            goals_ms: of each, shape (n, targets).
        """
        found = self._problem.evaluate(archs)
        active = np.arange(len(archs))
        for _ in range(self.moves):
            if not len(active):
                break
            moved = self._move(found[active], goals_ms[active])
            before = self._value(found[active], goals_ms[active])
            better = self._value(moved, goals_ms[active]) > before + MIN_GAIN
            # Networks that no move improves are local optima: they cost no further evaluation.
            active = active[better]
            rows = np.arange(len(found))
            rows[active] = len(found) + np.flatnonzero(better)
            found = found.join(moved)[rows]
        return found

    def _move(self, found: Evaluated, goals_ms: Floats) -> Evaluated:
        """The best neighbour of each of n networks."""
        changes = Changes.of_each(found.archs, self._problem.choices)
        singles = self._evaluate([c.singly() for c in changes])
        ends = np.cumsum([len(c) for c in changes])
        pairs = [
            self._promising(found[n : n + 1], c, singles[end - len(c) : end], goals_ms[n])
            for n, (c, end) in enumerate(zip(changes, ends, strict=True))
        ]
        doubles = self._evaluate([c.made(p) for c, p in zip(changes, pairs, strict=True)])
        among = singles.join(doubles, found)
        whose = np.concatenate([_owners(changes), _owners(pairs), np.arange(len(found))])
        values = self._value(among, goals_ms[whose])
        values[-len(found) :] = -np.inf  # itself only where there is nothing else
        # Sorting is stable: of equals the first, a single change before a pair.
        order = np.lexsort((-values, whose))
        return among[order[np.searchsorted(whose[order], np.arange(len(found)))]]

    def _evaluate(self, batches: list[Archs]) -> Evaluated:
        return self._problem.evaluate(batches[0].concatenate(*batches[1:]))

    def _promising(
        self, found: Evaluated, changes: Changes, single: Evaluated, goal_ms: Floats
    ) -> npt.NDArray[np.intp]:
        """Pairs of changes that gain the most if each does what it does alone."""
        among = None
        if len(changes) > MAX_CHANGES:
            among = np.argsort(-self._value(single, goal_ms), kind="stable")[:MAX_CHANGES]
        pairs = changes.pairs(among)
        first, second = pairs.T
        accuracy = single.accuracy[first] + single.accuracy[second] - found.accuracy
        over = np.maximum(single.excess[first] + single.excess[second] - found.excess, 0.0)
        for ms, before, goal in zip(single.ms.T, found.ms[0], goal_ms, strict=True):
            over += np.maximum((ms[first] + ms[second] - before) / goal - 1.0, 0.0)
        value = accuracy - self._penalty * over
        most = min(self.pairs, len(pairs))
        return pairs[np.argpartition(-value, most - 1)[:most]] if most else pairs


def _penalty(sample: Evaluated) -> float:
    """Accuracy that exceeding a goal costs: several times what more latency gains."""
    spread = float(np.log(sample.ms).sum(axis=1).std()) / sample.ms.shape[1]
    gain = float(sample.accuracy.std()) / spread if spread else 0.0
    return PENALTY * gain or 1.0


def _owners(batches: Sequence[Sized]) -> npt.NDArray[np.intp]:
    """Return the number of its batch for every item of several batches."""
    return np.repeat(np.arange(len(batches)), [len(b) for b in batches])
