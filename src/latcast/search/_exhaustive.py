"""Exact search: every network of the space."""

from __future__ import annotations

from math import prod

import numpy as np

from latcast.spaces import Archs

from ._problem import Floats, Problem

MAX_NETWORKS = 500_000


def count(problem: Problem) -> int:
    """Number of networks that would have to be looked at."""
    return prod(len(c) for c in problem.space.choices(problem.restrict))


def exhaustive(problem: Problem, budgets_ms: Floats) -> Archs:
    """The most accurate network within every budget (the faster one of two equals).

    A budget that no network keeps gets the fastest network.
    """
    archs = problem.space.enumerate(problem.restrict)
    accuracy, bound_ms = problem.accuracy_of(archs), problem.bound_ms(archs)
    best = []
    for budget in budgets_ms:
        within = bound_ms <= budget
        if not within.any():
            best.append(int(np.argmin(bound_ms)))
            continue
        order = np.lexsort((bound_ms, -accuracy))
        best.append(int(order[np.argmax(within[order])]))
    return archs[np.array(best)]
