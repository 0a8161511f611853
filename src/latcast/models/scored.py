"""Rows that a model was scored on, and its errors by group: what a page of scores draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from latcast.data import Dataset
from latcast.math.metrics import Scored

from . import Predictor
from .training import OWN_FILES

# Rows that a record keeps: enough to see where errors are, and few beside the rest of its JSON.
MAX_ROWS = 200
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
_COVERAGE = 0.9


@dataclass(frozen=True)
class ScoredRow:
    """A measurement beside its prediction.

    Attributes:
        name: of the network, or ``row`` and its number in the dataset.
        group: as of the groups.
        measured: in the unit of the quantity.
        predicted: likewise.
        lower: lower end of the 90 % prediction interval; null where it is not calibrated.
        upper: upper end of the interval.
    """

    name: str
    group: str
    measured: float
    predicted: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class GroupErrors:
    """Errors on one group of rows.

    Attributes:
        group: a family of networks; of architectures a quarter of the rows by what was measured.
        rows: how many were scored.
        median_error: median absolute error, %.
        within_10: predictions at most 10 % off, %.
        coverage_90: measurements in their 90 % interval, %; null where it is not calibrated.
    """

    group: str
    rows: int
    median_error: float
    within_10: float
    coverage_90: float | None


def scored_rows(
    model: Predictor, data: Dataset, scored: Scored
) -> tuple[tuple[ScoredRow, ...], tuple[GroupErrors, ...]]:
    """Rows at about equal distances of rank, and the errors of all rows by group.

    Args:
        model: that was scored.
        data: what it was scored on, n rows.
        scored: its predictions.
    """
    groups = _groups(data, scored)
    order = np.argsort(scored.true, kind="stable")
    shown = np.unique(order[np.linspace(0, len(order) - 1, min(len(order), MAX_ROWS)).astype(int)])
    lower = upper = np.full(len(shown), nan)
    if model.covers(_COVERAGE):
        lower, upper = model.predict_interval(data[shown].networks, _COVERAGE)
    names = [Path(name).name for name in data.names] or [f"row {n}" for n in range(len(data))]
    rows = tuple(
        ScoredRow(
            names[n], groups[n], float(scored.true[n]), float(scored.predicted[n]),
            _known(lower[k]), _known(upper[k]),
        )
        for k, n in enumerate(shown.tolist())
    )  # fmt: skip
    return rows, _errors(groups, scored)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _groups(data: Dataset, scored: Scored) -> list[str]:
    """The group of every row."""
    if data.families:
        return [family or OWN_FILES for family in data.families]
    edges = np.quantile(scored.true, (0.25, 0.5, 0.75))
    return [_QUARTERS[n] for n in np.searchsorted(edges, scored.true, side="left")]


def _errors(groups: Sequence[str], scored: Scored) -> tuple[GroupErrors, ...]:
    off = 100 * np.abs(scored.predicted / scored.true - 1)
    inside = scored.inside.get(_COVERAGE)
    named = np.array(groups)
    found = []
    for group in sorted(set(groups), key=_order):
        own = named == group
        held = None if inside is None else 100 * float(inside[own].mean())
        found.append(
            GroupErrors(group, int(own.sum()), float(np.median(off[own])),
                        100 * float((off[own] <= 10).mean()), held)
        )  # fmt: skip
    return tuple(found)


def _order(group: str) -> tuple[int, str]:
    """Quarters by their size, families by the alphabet."""
    return _QUARTERS.index(group) if group in _QUARTERS else len(_QUARTERS), group


def by_group(rows: Sequence[ScoredRow]) -> Mapping[str, Sequence[ScoredRow]]:
    """The rows of each group."""
    found: dict[str, list[ScoredRow]] = {}
    for row in sorted(rows, key=lambda row: _order(row.group)):
        found.setdefault(row.group, []).append(row)
    return found
