"""How far predictions are from the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Bools = npt.NDArray[np.bool_]

# Of the intervals that are scored.
COVERAGES = (0.5, 0.8, 0.9, 0.95)


def errors(true: Floats, predicted: Floats) -> dict[str, float]:
    """Absolute errors of n predictions in the values' unit, arrays of shape (n,).

    ``mae``, ``rmse`` and ``median_error``.
    """
    error = np.abs(predicted - true)
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "median_error": float(np.median(error)),
    }


def rank_correlations(true: Floats, predicted: Floats) -> dict[str, float]:
    """``spearman`` and ``kendall`` (tau-b) of two arrays (n,); NaN where a side is constant."""
    return {
        "spearman": rank_correlation("spearmanr", true, predicted),
        "kendall": rank_correlation("kendalltau", true, predicted),
    }


def metrics(true: Floats, predicted: Floats, unit: str = "ms") -> dict[str, float]:
    """Errors and rank correlations of n predictions, arrays of shape (n,).

    ``mae_ms`` and ``rmse_ms`` are in ms, and named for the ``unit`` of other values (``mae_mj``);
    ``mape`` in percent; ``within_5`` and ``within_10`` are the percentage of predictions at most 5
    or 10 % off; ``spearman`` and ``kendall`` (tau-b) are NaN where a side is constant.

    Raises:
        ValueError: the shapes differ, or there are no rows.
    """
    if true.shape != predicted.shape or not len(true):
        raise ValueError(
            "metrics need as many predictions as true values, at least one; "
            f"got shapes {predicted.shape} and {true.shape}"
        )
    absolute = errors(true, predicted)
    relative = 100 * np.abs(predicted - true) / true
    return {
        f"mae_{unit.lower()}": absolute["mae"],
        f"rmse_{unit.lower()}": absolute["rmse"],
        "mape": float(relative.mean()),
        "within_5": float(100 * (relative <= 5).mean()),
        "within_10": float(100 * (relative <= 10).mean()),
        **rank_correlations(true, predicted),
    }


def network_metrics(true: Floats, predicted: Floats, unit: str = "ms") -> dict[str, float]:
    """:func:`metrics`, and two that a few networks of an odd family do not move.

    ``median_error`` is the median absolute error in percent, ``within_25`` the percentage of
    predictions at most 25 % off.

    Raises:
        ValueError: as :func:`metrics`.
    """
    scores = metrics(true, predicted, unit)
    relative = 100 * np.abs(predicted - true) / true
    return {
        **scores,
        "median_error": float(np.median(relative)),
        "within_25": float(100 * (relative <= 25).mean()),
    }


@dataclass(frozen=True)
class Scored:
    """Predictions of n networks beside the truth.

    Attributes:
        true: shape (n,).
        predicted: shape (n,).
        inside: for each coverage, whether the truth lies in the interval, shape (n,).
        unit: of the values.
    """

    true: Floats
    predicted: Floats
    inside: Mapping[float, Bools]
    unit: str = "ms"

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """All of them, with the coverages that all have."""
        shared = [c for c in COVERAGES if all(c in part.inside for part in parts)]
        return cls(
            np.concatenate([part.true for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            {c: np.concatenate([part.inside[c] for part in parts]) for c in shared},
            parts[0].unit,
        )

    def metrics(self, *, of_any_network: bool = True) -> dict[str, float]:
        """:func:`network_metrics`, and ``coverage_N``: the percentage of truths in an interval.

        Of architectures of one space :func:`metrics` instead.
        """
        found = network_metrics if of_any_network else metrics
        return found(self.true, self.predicted, self.unit) | coverage_metrics(self.inside)

    def absolute_metrics(self) -> dict[str, float]:
        """:func:`errors`, :func:`rank_correlations` and ``coverage_N``, of any quantity."""
        return (
            errors(self.true, self.predicted)
            | rank_correlations(self.true, self.predicted)
            | coverage_metrics(self.inside)
        )


def covered(
    true: Floats,
    interval: Callable[[float], tuple[Floats, Floats]],
    covers: Callable[[float], bool],
) -> dict[float, Bools]:
    """Return which of n values lie in their intervals, by coverage, each (n,).

    Args:
        true: shape (n,).
        interval: of a coverage, lower and upper bounds of all values, each (n,).
        covers: whether there are intervals of a coverage.
    """
    inside = {}
    for coverage in filter(covers, COVERAGES):
        lower, upper = interval(coverage)
        inside[coverage] = (lower <= true) & (true <= upper)
    return inside


def weighted_metrics(scored: Scored, weights: Floats) -> dict[str, float]:
    """Means over n predictions that weigh differently, ``weights`` of shape (n,).

    ``mae_ms`` (named for the unit), ``mape``, ``within_5``, ``within_10``, ``within_25`` and
    ``coverage_N``; ranks have no weights.
    """
    relative = 100 * np.abs(scored.predicted - scored.true) / scored.true
    found = {f"mae_{scored.unit.lower()}": np.abs(scored.predicted - scored.true), "mape": relative}
    found |= {f"within_{most}": 100.0 * (relative <= most) for most in (5, 10, 25)}
    found |= {f"coverage_{c * 100:.0f}": 100.0 * v for c, v in scored.inside.items()}
    return {name: float(np.average(v, weights=weights)) for name, v in found.items()}


def coverage_metrics(inside: Mapping[float, Bools]) -> dict[str, float]:
    """``coverage_N``: the percentage of values inside the interval that asks for N percent."""
    return {f"coverage_{c * 100:.0f}": float(100 * v.mean()) for c, v in inside.items()}


def rank_correlation(name: str, first: Floats, second: Floats) -> float:
    """``spearmanr`` or ``kendalltau`` of two arrays (n,); NaN where one is constant."""
    from scipy import stats

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(getattr(stats, name)(first, second).statistic)
