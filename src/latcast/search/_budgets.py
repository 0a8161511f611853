"""Budgets and limits as users give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def parse_budgets(
    max_latency_ms: float | Sequence[float] | Sequence[Sequence[float]] | None, targets: int
) -> Floats:
    """Budgets of every target, shape (budgets, targets).

    Raises:
        ValueError: the form does not go with the number of targets, or a budget is not positive
            and finite.
    """
    if max_latency_ms is None:
        return np.empty((0, targets))
    try:
        budgets = np.array(max_latency_ms, dtype=np.float64)
    except ValueError as error:
        raise ValueError(_form(targets) + f"; got {max_latency_ms!r}") from error
    if targets == 1 and budgets.ndim <= 1:
        budgets = budgets.reshape(-1, 1)
    elif targets > 1 and budgets.ndim == 1:
        budgets = budgets[None]
    if budgets.ndim != 2 or budgets.shape[1] != targets or not len(budgets):
        raise ValueError(_form(targets) + f"; got {max_latency_ms!r}")
    bad = ~(np.isfinite(budgets) & (budgets > 0))
    if bad.any():
        raise ValueError(f"a latency budget must be positive and finite; got {budgets[bad][0]} ms")
    return budgets


def parse_limits(**limits: float | None) -> dict[str, float]:
    """Limits that are set, by name.

    Raises:
        ValueError: one is not positive and finite.
    """
    given = {name: float(limit) for name, limit in limits.items() if limit is not None}
    for name, limit in given.items():
        if not (np.isfinite(limit) and limit > 0):
            raise ValueError(f"{name} must be positive and finite; got {limit}")
    return given


def _form(targets: int) -> str:
    if targets == 1:
        return "max_latency_ms must be a number of ms or a list of them"
    return f"max_latency_ms must be {targets} numbers of ms, one a target, or a list of such"
