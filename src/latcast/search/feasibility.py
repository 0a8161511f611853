"""Whether limits can be kept at all, found out before a search begins by walking to neighbours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from latcast.report.text import at_least
from latcast.spaces import Archs

from .front import Floats
from .problem import MAX_NETWORKS, InfeasibleError, Problem

Genes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]

# A walk begins at the nearest of so many random networks and the smallest one: asking for what no
# network can keep is refused within 0.04 s (docs/results/search.txt).
RANDOM_STARTS = 2_000
# Networks that are compared at once: bounds the memory, changes no result.
_CHUNK = 50_000
# With a confidence, accuracies are asked for of so many of the nearest networks at a time.
_ASKED_AT_ONCE = 16


@lru_cache(maxsize=256)
def _triangle(n: int) -> tuple[Positions, Positions]:
    """Both positions of all pairs of n things, shape (n (n - 1) / 2,) each."""
    first, second = np.triu_indices(n, 1)
    return first, second


class Changes:
    """The changes of one gene that change a network; made by :meth:`of_each`.

    Attributes:
        columns: gene of every change, shape (changes,).
        values: its new value, shape (changes,).
    """

    def __init__(self, arch: Archs, columns: Positions, values: Genes) -> None:
        self._arch = arch
        self.columns = columns
        self.values = values

    @classmethod
    def of_each(cls, archs: Archs, choices: Sequence[Genes]) -> list[Changes]:
        """The changes of every one of n networks.

        Args:
            archs: the networks.
            choices: values that every gene may take.
        """
        columns = np.repeat(np.arange(len(choices)), [len(c) for c in choices])
        values = np.concatenate(list(choices))
        active = archs.space.canonical_genes(archs.genes) != 0
        kept = active[:, columns] & (values != archs.genes[:, columns])
        both = zip(archs, kept, strict=True)
        return [cls(arch, columns[rows], values[rows]) for arch, rows in both]

    def __len__(self) -> int:
        return len(self.columns)

    def singly(self) -> Archs:
        """The networks with one of the changes each."""
        return self.made(np.arange(len(self))[:, None])

    def pairs(self, among: Positions | None = None) -> Positions:
        """Two changes of different genes each, shape (pairs, 2).

        Args:
            among: the changes to pair; all of them by default.
        """
        first, second = _triangle(len(self) if among is None else len(among))
        if among is not None:
            first, second = among[first], among[second]
        different = np.flatnonzero(self.columns[first] != self.columns[second])
        return np.stack([first[different], second[different]], axis=1)

    def made(self, changes: Positions) -> Archs:
        """The networks with the changes of every row of ``changes`` (n, changes a network)."""
        genes = np.repeat(self._arch.genes, len(changes), axis=0)
        rows = np.arange(len(changes))
        for change in changes.T:
            genes[rows, self.columns[change]] = self.values[change]
        return Archs._trusted(self._arch.space, genes)


def check_feasible(problem: Problem, budgets_ms: Floats, counted: str = "takes") -> Archs:
    """Networks that keep the limits and the budgets: the fastest, and one for every budget.

    Args:
        problem: with the limits.
        budgets_ms: shape (budgets, targets).
        counted: verb for the ms that count, in messages.

    Raises:
        InfeasibleError: limits contradict each other, or no network keeps a budget.
    """
    targets = len(problem.latencies)
    fastest = nearest(problem, np.full(targets, np.inf))
    if problem.excess(fastest)[0] > 0:
        raise InfeasibleError(_limits_message(problem, fastest))
    found = [fastest]
    for budget in budgets_ms:
        # On one target the fastest network is the nearest to every budget.
        near = fastest if targets == 1 else nearest(problem, budget)
        if (problem.ms(near) > budget).any() or problem.excess(near)[0] > 0:
            raise InfeasibleError(_budget_message(problem, budget, near, counted))
        found.append(near)
    return found[0].concatenate(*found[1:]).unique()


def nearest(problem: Problem, goal_ms: Floats) -> Archs:
    """The network nearest to keeping limits and goal; the fastest of those that keep them.

    It is exact where the candidates are given or the space is small and a walk does not lead to
    a network that keeps them. Otherwise the walk changes one or two genes at a time.

    Args:
        problem: with the limits.
        goal_ms: shape (targets,), infinite where there is none.
    """
    if problem.candidates is not None:
        return _best(problem, _chunks(problem.candidates), goal_ms)
    walked = _walk(problem, goal_ms)
    size = np.prod([float(len(c)) for c in problem.choices])
    if size <= MAX_NETWORKS and (np.isinf(goal_ms).all() or _violation(problem, walked, goal_ms)):
        return _best(problem, _chunks(problem.space.enumerate(problem.restrict)), goal_ms)
    return walked


def _walk(problem: Problem, goal_ms: Floats) -> Archs:
    space = problem.space
    smallest = Archs(space, np.array([[c[0] for c in problem.choices]]))
    random = space.sample(RANDOM_STARTS, 0, restrict=problem.restrict)
    arch = _best(problem, iter([smallest.concatenate(random)]), goal_ms)
    # Pairs only where no single change helps: they are hundreds of times as many.
    while True:
        (changes,) = Changes.of_each(arch, problem.choices)
        better = _best(problem, iter([arch.concatenate(changes.singly())]), goal_ms)
        if better == arch:
            pairs = changes.made(changes.pairs())
            better = _best(problem, _chunks(arch.concatenate(pairs)), goal_ms)
        if better == arch:
            return arch
        arch = better


def _best(problem: Problem, batches: Iterator[Archs], goal_ms: Floats) -> Archs:
    """The first network of the least violation, and of the least ms among those.

    What counts may depend on the accuracy, which is asked for only of networks that can be the
    best by what their ms are not below.
    """
    best, best_key = None, (np.inf, np.inf)
    for archs in batches:
        excess = problem.excess(archs)
        violation, speed = _key(problem.least_ms(archs), excess, goal_ms)
        order = np.lexsort((speed, violation))
        for start in range(0, len(order), _ASKED_AT_ONCE):
            rows = order[start : start + _ASKED_AT_ONCE]
            # Ordered by what they are not below: none of the later ones can be better.
            if (violation[rows[0]], speed[rows[0]]) >= best_key:
                break
            exact = _key(problem.ms(archs[rows]), excess[rows], goal_ms)
            row = int(np.lexsort(exact[::-1])[0])
            key = (float(exact[0][row]), float(exact[1][row]))
            if key < best_key:
                best, best_key = archs[rows[[row]]], key
    assert best is not None
    return best


def _key(ms: Floats, excess: Floats, goal_ms: Floats) -> tuple[Floats, Floats]:
    """Return the sort keys, (n,) each: the violation first, then the product of latencies."""
    violation = excess + np.maximum(ms / goal_ms - 1.0, 0.0).sum(axis=1)
    return violation, np.log(ms).sum(axis=1)


def _chunks(archs: Archs) -> Iterator[Archs]:
    return (archs[start : start + _CHUNK] for start in range(0, len(archs), _CHUNK))


def _violation(problem: Problem, arch: Archs, goal_ms: Floats) -> bool:
    over = problem.ms(arch) > goal_ms
    return bool(over.any() or problem.excess(arch)[0] > 0)


def _limits_message(problem: Problem, near: Archs) -> str:
    broken = [
        f"{name} of {limit:.15g} (it has {at_least(problem.cost(near, name)[0], 15)})"
        for name, limit in problem.limits.items()
        if problem.cost(near, name)[0] > limit
    ]
    broken += [
        f"{bound.text} (it takes {at_least(value)} {bound.predictor.fitted.quantity.unit})"
        for bound in problem.quantities
        if (value := float(bound.counted.counted_ms(near)[0])) > bound.limit
    ]
    return (
        f"no network of {problem.space.name} keeps the limits: the nearest found exceeds "
        f"{' and '.join(broken)}; it is {described(near)}; raise the limits"
    )


def _budget_message(problem: Problem, budget: Floats, near: Archs, counted: str) -> str:
    ms = problem.ms(near)[0]
    if len(budget) == 1:
        what, takes = f"{budget[0]:g} ms on {problem.latencies[0].name}", f"{at_least(ms[0])} ms"
        kind = "fastest"
    else:
        names = [latency.name for latency in problem.latencies]
        what = " and ".join(f"{b:g} ms on {n}" for b, n in zip(budget, names, strict=True))
        takes = " and ".join(f"{at_least(m)} ms" for m in ms)
        kind = "nearest"
    others = " that keeps the other limits" if problem.limits or problem.quantities else ""
    return (
        f"no network of {problem.space.name} keeps {what}: the {kind} found{others} {counted} "
        f"{takes}; it is {described(near)}; raise the budget"
    )


def described(arch: Archs) -> str:
    """A network in the field's own form, on one line."""
    return json.dumps(arch.to_dicts()[0], separators=(",", ":"))
