"""Latencies at which a search looks for accuracy, so that it finds the whole front."""

from __future__ import annotations

import numpy as np

from latcast.spaces import Archs

from ._method import Goals
from ._problem import Floats, Problem
from ._sampling import small_to_large

BETWEEN = 12
"""Goals besides the user's budgets."""
SAMPLE = 500


def find_goals(problem: Problem, budgets_ms: Floats, known: Archs, seed: int) -> Goals:
    """The budgets, and goals between the fastest network and the ceiling.

    On one target goals are equally far apart. On several, half of them tighten the budgets of all
    targets alike, half of them each by another amount.

    Args:
        problem: with its ceiling, infinite where no budget bounds the latency.
        budgets_ms: shape (budgets, targets); may be empty.
        known: networks of which the first is the fastest.
        seed: of what chance decides.
    """
    rng = np.random.default_rng(seed)
    ceiling = problem.archive.ceiling_ms
    shares = np.repeat(np.linspace(0, 1, BETWEEN + 1)[1:, None], len(ceiling), axis=1)
    if len(ceiling) > 1:
        shares[::2] = rng.random(shares[::2].shape)
    fastest = problem.ms(known[:1])[0]
    # A budget far above all networks must not draw the goals away from where they are.
    top = np.minimum(ceiling, _slow_ms(problem, rng))
    between = fastest + shares * np.maximum(top - fastest, 0.0)
    goals = [budgets_ms, between]
    if not len(budgets_ms):
        goals.append(ceiling[None])
    return Goals(np.concatenate(goals), len(budgets_ms))


def _slow_ms(problem: Problem, rng: np.random.Generator) -> Floats:
    """What large networks take on every target, shape (targets,)."""
    sample = problem.candidates
    if sample is None:
        sample = small_to_large(problem.space, SAMPLE, rng, problem.restrict)
    slow: Floats = np.max([x.least_ms(sample) for x in problem.latencies], axis=1)
    return slow
