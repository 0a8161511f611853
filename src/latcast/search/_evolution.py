"""Evolutionary search with a local search at its end, for several budgets at once.

As in Once-For-All's search, parents are the most accurate networks within the budget, and
children come from mutation and crossover (arXiv:1908.09791, appendix). Here whole generations are
evaluated as one batch, a child made for one budget competes for all of them, children over budget
are dropped instead of drawn again, and at the end every best network is compared with all that
differ from it in one or two genes until none is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from ._problem import Floats, Problem

LEAST_CHILDREN = 16

Progress = Callable[[int, int], None]
"""Called with the generations done and the most there will be."""


@dataclass(frozen=True, slots=True)
class Evolution:
    """Settings of the evolutionary search.

    Args:
        population: networks kept for every budget.
        children: new networks per generation, divided among the budgets.
        generations: at most this many.
        patience: end early after this many generations in which no budget got better.
        mutation_rates: probabilities of redrawing a gene, one picked per batch of children.
        local_rounds: at most this many rounds of local search.
    """

    population: int = 128
    children: int = 1_280
    generations: int = 300
    patience: int = 60
    mutation_rates: tuple[float, ...] = (0.02, 0.05, 0.1)
    local_rounds: int = 12


def evolve(
    problem: Problem,
    budgets_ms: Floats,
    rng: np.random.Generator,
    settings: Evolution,
    progress: Progress | None = None,
) -> Archs:
    """The most accurate network found within every budget, one per budget.

    A budget that no network keeps gets the fastest network found.
    """
    fastest = fastest_network(problem)
    largest = float(budgets_ms.max())
    pool = _first_generation(problem, fastest, settings, budgets_ms, rng)
    populations = _select_all([pool] * len(budgets_ms), budgets_ms, settings)
    best = np.full(len(budgets_ms), -np.inf)
    hashing = rng.integers(1, 2**63, len(problem.space.genes), dtype=np.uint64)
    waited = 0
    for generation in range(settings.generations):
        fresh = _unseen(_children(problem, populations, rng, settings), populations, hashing)
        children = _Scored.of(problem, fresh, largest)
        populations = _select_all([p.join(children) for p in populations], budgets_ms, settings)
        reached = np.array([p.accuracy[0] for p in populations])
        waited = 0 if (reached > best).any() else waited + 1
        best = np.maximum(best, reached)
        if progress is not None:
            progress(generation + 1, settings.generations)
        if waited >= settings.patience:
            break
    winners = _concatenate([p.archs[0] for p in populations])
    return local_search(problem, winners, budgets_ms, settings.local_rounds)


def fastest_network(problem: Problem) -> Archs:
    """The fastest network that changing one gene at a time leads to, from the smallest genes."""
    archs = Archs(problem.space, np.array([[c[0] for c in _choices(problem)]]))
    while True:
        candidates = archs.concatenate(_one_change(problem, archs))
        bound_ms = problem.bound_ms(candidates)
        best = int(np.argmin(bound_ms))
        if bound_ms[best] >= bound_ms[0]:
            return archs
        archs = candidates[best]


def local_search(problem: Problem, archs: Archs, budgets_ms: Floats, rounds: int) -> Archs:
    """Move every network to the best within its budget that differs in one or two genes.

    Args:
        problem: what is maximized and bounded.
        archs: one network per budget.
        budgets_ms: shape (n,).
        rounds: at most this many moves; it ends where no network can be bettered.
    """
    for _ in range(rounds):
        improved = False
        moved = []
        for arch, budget in zip(archs, budgets_ms, strict=True):
            neighbours = arch.concatenate(_two_changes(problem, arch))
            candidates = _Scored.of(problem, neighbours, float(budget))
            best = candidates.within(budget).archs[0]
            improved |= best != arch
            moved.append(best)
        archs = _concatenate(moved)
        if not improved:
            break
    return archs


@dataclass(frozen=True)
class _Scored:
    """Architectures with accuracy and counted ms, in any order.

    The accuracy of those over every budget is not asked for; it is -inf.
    """

    archs: Archs
    accuracy: Floats
    bound_ms: Floats

    @classmethod
    def of(cls, problem: Problem, archs: Archs, largest_budget: float) -> _Scored:
        bound_ms = problem.bound_ms(archs)
        within = np.flatnonzero(bound_ms <= largest_budget)
        accuracy = np.full(len(archs), -np.inf)
        accuracy[within] = problem.accuracy_of(archs[within])
        return cls(archs, accuracy, bound_ms)

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> _Scored:
        return _Scored(self.archs[rows], self.accuracy[rows], self.bound_ms[rows])

    def join(self, other: _Scored) -> _Scored:
        return _Scored(
            self.archs.concatenate(other.archs),
            np.concatenate([self.accuracy, other.accuracy]),
            np.concatenate([self.bound_ms, other.bound_ms]),
        )

    def within(self, budget: float, most: int | None = None) -> _Scored:
        """The ``most`` best within the budget, without repeats, best first.

        Where nothing is within the budget: the fastest.
        """
        rows = np.flatnonzero(self.bound_ms <= budget)
        if not rows.size:
            return self[np.array([np.argmin(self.bound_ms)])]
        rows = rows[np.lexsort((self.bound_ms[rows], -self.accuracy[rows]))]
        # Equal accuracy and equal latency means equal networks, up to a coincidence.
        repeat = (np.diff(self.accuracy[rows]) == 0) & (np.diff(self.bound_ms[rows]) == 0)
        rows = rows[np.concatenate([[True], ~repeat])]
        return self[rows[:most]]


def _first_generation(
    problem: Problem,
    fastest: Archs,
    settings: Evolution,
    budgets_ms: Floats,
    rng: np.random.Generator,
) -> _Scored:
    """Random networks, each with another share of its genes taken from the fastest one."""
    n = settings.population * len(budgets_ms)
    random = problem.space.sample(n, rng, restrict=problem.restrict).genes
    share = rng.random((n, 1))
    genes = np.where(rng.random(random.shape) < share, fastest.genes, random)
    archs = fastest.concatenate(Archs(problem.space, genes))
    return _Scored.of(problem, archs, float(budgets_ms.max()))


def _select_all(pools: list[_Scored], budgets_ms: Floats, settings: Evolution) -> list[_Scored]:
    return [
        pool.within(budget, settings.population)
        for pool, budget in zip(pools, budgets_ms, strict=True)
    ]


def _children(
    problem: Problem, populations: list[_Scored], rng: np.random.Generator, settings: Evolution
) -> Archs:
    """Half mutants, half mutated crossovers, for every budget."""
    half = max(LEAST_CHILDREN, settings.children // len(populations)) // 2
    is_mutant = np.arange(2 * half) < half  # its two parents are one
    mothers, fathers = [], []
    for population in populations:
        # Squaring a uniform number favours the better half of the ranked population.
        pick = (rng.random((2, 2 * half)) ** 2 * len(population.archs)).astype(np.intp)
        mothers.append(population.archs[pick[0]])
        fathers.append(population.archs[np.where(is_mutant, pick[0], pick[1])])
    space = problem.space
    crossed = space.crossover(_concatenate(mothers), _concatenate(fathers), rng)
    rate = float(rng.choice(settings.mutation_rates))
    return space.mutate(crossed, rate, rng, restrict=problem.restrict)


def _unseen(children: Archs, populations: list[_Scored], hashing: npt.NDArray[np.uint64]) -> Archs:
    """Children that differ from each other and from all of the populations.

    Networks are told apart by a random linear hash of their genes (modulo 2 ** 64).
    """
    known = np.concatenate([_hash(p.archs, hashing) for p in populations])
    own, first = np.unique(_hash(children, hashing), return_index=True)
    return children[np.sort(first[~np.isin(own, known)])]


def _hash(archs: Archs, hashing: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    genes: npt.NDArray[np.uint64] = archs.canonical().genes.astype(np.uint64)
    return genes @ hashing


def _one_change(problem: Problem, arch: Archs) -> Archs:
    """All networks that differ from ``arch`` (a batch of one) in one gene."""
    columns, values = _alternatives(problem, arch)
    genes = np.repeat(arch.genes, len(columns), axis=0)
    genes[np.arange(len(columns)), columns] = values
    return Archs(problem.space, genes)


def _two_changes(problem: Problem, arch: Archs) -> Archs:
    """All networks that differ from ``arch`` in one or two genes."""
    columns, values = _alternatives(problem, arch)
    pairs = np.array(list(combinations(range(len(columns)), 2)), dtype=np.intp).reshape(-1, 2)
    pairs = pairs[columns[pairs[:, 0]] != columns[pairs[:, 1]]]
    genes = np.repeat(arch.genes, len(pairs), axis=0)
    rows = np.arange(len(pairs))
    for side in pairs.T:
        genes[rows, columns[side]] = values[side]
    return _one_change(problem, arch).concatenate(Archs(problem.space, genes))


def _alternatives(
    problem: Problem, arch: Archs
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
    """Every change of one gene that changes the network: column and new value."""
    active = problem.space.canonical_genes(arch.genes)[0] != 0
    changes = [
        (column, value)
        for column, choices in enumerate(_choices(problem))
        for value in choices
        if active[column] and value != arch.genes[0, column]
    ]
    columns, values = zip(*changes, strict=True) if changes else ((), ())
    return np.array(columns, dtype=np.intp), np.array(values, dtype=np.uint8)


def _choices(problem: Problem) -> list[npt.NDArray[np.uint8]]:
    return problem.space.choices(problem.restrict)


def _concatenate(batches: list[Archs]) -> Archs:
    return batches[0].concatenate(*batches[1:])
