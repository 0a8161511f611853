"""Scores of forecasts: errors, ranks, intervals that are calibrated on other groups, precisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from latcast.math.conformal import covers, quantile
from latcast.math.metrics import rank_correlation

from .assembly import Assembled
from .protocols import DEVICE, NETWORK, Outcome

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

COVERAGE = 0.9
# Ranks of fewer networks say nothing.
MIN_RANKED = 5
# Groups that are drawn again to tell how sure a coverage is.
BOOTSTRAPS = 1000
_SEED = 0


_ELEMENTWISE = ("add", "mul", "div", "pow", "addu", "mulu", "divu", "powu", "relu", "gelu", "tanh")
PUBLISHED = {
    ("neusight", "models"): "0.4–23.4 and 7.7–28.2 by model, on two newer GPUs",
    ("neusight", "operators/bmm"): "13.8",
    ("neusight", "operators/linear"): "13.9",
    ("neusight", "operators/softmax"): "13.9",
    ("neusight", "operators/ln"): "56.7",
    **{("neusight", f"operators/{op}"): "19.3" for op in _ELEMENTWISE},
}
"""Mean error in percent that NeuSight (arXiv:2407.13853) states for GPUs that it has not seen."""


@dataclass(frozen=True, eq=False)
class Forecasts:
    """All forecasts of one method, protocol and number of samples, s of them.

    Attributes:
        rows: of the observations, (s,).
        target: place in the targets, (s,).
        fold: of the groups that were left out, (s,).
        draw: number of the draw, (s,).
        log_ms: forecasts, (s,).
        half: half the width of the interval, of the logarithm, (s,).
    """

    rows: Numbers
    target: Numbers
    fold: Numbers
    draw: Numbers
    log_ms: Floats
    half: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, some: npt.NDArray[Any]) -> Forecasts:
        """Some of them."""
        return Forecasts(
            self.rows[some], self.target[some], self.fold[some], self.draw[some],
            self.log_ms[some], self.half[some],
        )  # fmt: skip


Kind = tuple[str, str, int]  # method, protocol, samples


def collected(outcomes: Iterable[Outcome]) -> dict[Kind, Forecasts]:
    """Outcomes by method, protocol and samples, without what a method could not tell."""
    by_kind: dict[Kind, list[Outcome]] = {}
    for outcome in outcomes:
        kind = (outcome.method, outcome.protocol, outcome.samples)
        by_kind.setdefault(kind, []).append(outcome)
    return {kind: _joined(own) for kind, own in by_kind.items()}


def _joined(outcomes: Sequence[Outcome]) -> Forecasts:
    lengths = [len(o.rows) for o in outcomes]
    log_ms = np.concatenate([o.forecast.log_ms for o in outcomes])
    width = [o.forecast.upper - o.forecast.lower for o in outcomes]
    found = Forecasts(
        np.concatenate([o.rows for o in outcomes]),
        np.repeat([o.target for o in outcomes], lengths),
        np.repeat([o.fold for o in outcomes], lengths),
        np.repeat(np.arange(len(outcomes)), lengths),
        log_ms,
        np.concatenate(width) / 2,
    )
    return found.select(np.isfinite(log_ms))


# --- intervals --------------------------------------------------------------------------------


def calibrated(case: Assembled, found: Forecasts, on: Forecasts) -> Forecasts:
    """The same forecasts, with intervals as wide as the errors of other groups ask for.

    Widths of a method are taken as proportions. They are scaled so that 90 % of the rows ``on``
    which groups of other folds were left out lie within: of the same part of the table where that
    has enough rows, else of the table.
    """
    scores = np.abs(case.data.log_ms[on.rows] - on.log_ms) / np.maximum(on.half, 1e-9)
    factor = np.ones(len(found))
    pools = [np.array([key(case, t) for t in range(len(case.parts))]) for key in (_pool, _table)]
    for fold in np.unique(found.fold):
        for pool in np.unique(pools[0][found.target[found.fold == fold]]):
            own = (found.fold == fold) & (pools[0][found.target] == pool)
            table = pools[1][found.target[own][0]]
            for of, name in ((pools[0], pool), (pools[1], table)):
                others = scores[(on.fold != fold) & (of[on.target] == name)]
                if covers(len(others), COVERAGE):
                    factor[own] = quantile(np.sort(others), COVERAGE)
                    break
    return Forecasts(
        found.rows, found.target, found.fold, found.draw, found.log_ms, found.half * factor
    )


def _pool(case: Assembled, target: int) -> str:
    return f"{case.parts[target].table}/{case.parts[target].pool}"


def _table(case: Assembled, target: int) -> str:
    return case.parts[target].table


# --- rows -------------------------------------------------------------------------------------


def score_rows(case: Assembled, kind: Kind, found: Forecasts) -> Iterator[dict[str, Any]]:
    """One row for every setting, and for every operator of those that are operators."""
    method, protocol, samples = kind
    for (table, setting), some in _by_setting(case, found).items():
        own = found.select(some)
        yield {
            "table": table,
            "protocol": protocol,
            "setting": setting,
            "samples": samples,
            "method": method,
            **_scores(case, protocol, own),
            "published": PUBLISHED.get((table, setting)) if protocol == DEVICE else None,
        }


def _by_setting(case: Assembled, found: Forecasts) -> dict[tuple[str, str], Numbers]:
    groups: dict[tuple[str, str], list[int]] = {}
    families = case.data.measured_families[found.rows]
    for n, (target, family) in enumerate(zip(found.target.tolist(), families, strict=True)):
        part = case.parts[target]
        groups.setdefault((part.table, part.setting), []).append(n)
        if part.pool == "operators":
            groups.setdefault((part.table, f"operators/{family}"), []).append(n)
    return {key: np.array(rows) for key, rows in groups.items()}


def _scores(case: Assembled, protocol: str, found: Forecasts) -> dict[str, Any]:
    true = case.data.log_ms[found.rows]
    error = 100 * np.abs(np.expm1(found.log_ms - true))
    inside = np.abs(true - found.log_ms) <= found.half
    families, chips = case.data.measured_families[found.rows], case.data.chips[found.rows]
    groups = families if protocol == NETWORK else chips
    low, high = _coverage_range(groups, inside)
    return {
        "groups": len(np.unique(groups)),
        "networks": len(np.unique(np.array(case.data.names)[case.data.network[found.rows]])),
        "median_error": float(np.median(error)),
        "within_10": float(100 * (error <= 10).mean()),
        "within_25": float(100 * (error <= 25).mean()),
        "spearman": _spearman(found, true),
        "coverage_90": float(100 * inside.mean()),
        "width_90": float(np.median(np.exp(2 * found.half))),
        "mean_error": float(error.mean()),
        "coverage_90_low": low,
        "coverage_90_high": high,
        "rows": len(np.unique(found.rows)),
        "targets": len(np.unique(found.target)),
    }


def _spearman(found: Forecasts, true: Floats) -> float | None:
    """Mean over targets and draws of the correlation of ranks within them."""
    order = np.argsort(found.draw, kind="stable")
    draws = np.split(order, np.flatnonzero(np.diff(found.draw[order])) + 1)
    values = [
        rank_correlation("spearmanr", true[own], found.log_ms[own])
        for own in draws
        if len(own) >= MIN_RANKED
    ]
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else None


def _coverage_range(
    groups: npt.NDArray[np.str_], inside: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """What the coverage is, 95 % of the times, of as many groups drawn anew, in percent."""
    _, place = np.unique(groups, return_inverse=True)
    count, hits = np.bincount(place), np.bincount(place, inside)
    drawn = np.random.default_rng(_SEED).integers(len(count), size=(BOOTSTRAPS, len(count)))
    shares = 100 * hits[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


# --- precisions -------------------------------------------------------------------------------

COMPARED = (("int8", "fp32"), ("int8", "fp16"))


def precision_rows(case: Assembled, kind: Kind, found: Forecasts) -> Iterator[dict[str, Any]]:
    """Whether one precision is faster than another: a row for each table and pair.

    The probability is that of a normal error of the forecast factor, whose deviation is that of
    the other folds.
    """
    method, protocol, samples = kind
    if samples:
        return
    for table in sorted({p.table for p in case.parts}):
        for first, second in COMPARED:
            pairs = _pairs(case, found, table, first, second)
            if len(pairs):
                setting = f"{first}-faster-than-{second}"
                yield {
                    "table": table, "protocol": protocol, "setting": setting, "samples": samples,
                    "method": method, **_faster(case, protocol, found, pairs),
                }  # fmt: skip


def _pairs(case: Assembled, found: Forecasts, table: str, first: str, second: str) -> Numbers:
    """Places of forecasts of one network on two targets that differ in precision, (pairs, 2)."""
    seen: dict[tuple[str, str, str], int] = {}
    precision = [t.precision for t in case.data.targets]
    for n, (target, row) in enumerate(zip(found.target.tolist(), found.rows.tolist(), strict=True)):
        part = case.parts[target]
        if part.table == table:
            number = int(case.data.network[row])
            seen[part.twin, str(number), precision[target]] = n
    pairs = [
        (n, seen[twin, name, second])
        for (twin, name, of), n in seen.items()
        if of == first and (twin, name, second) in seen
    ]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def _faster(case: Assembled, protocol: str, found: Forecasts, pairs: Numbers) -> dict[str, Any]:
    first, second = pairs.T
    true = case.data.log_ms[found.rows[first]] - case.data.log_ms[found.rows[second]]
    told = found.log_ms[first] - found.log_ms[second]
    fold = found.fold[first]
    deviation = np.ones(len(told))
    base = np.full(len(told), float((true < 0).mean()))
    for each in np.unique(fold):
        others = fold != each
        if others.any():
            rest = (true - told)[others]
            deviation[fold == each] = np.sqrt(np.mean(rest**2)) + 1e-6
            base[fold == each] = (true[others] < 0).mean()
    probability, is_faster = ndtr(-told / deviation), true < 0
    error = 100 * np.abs(np.expm1(told - true))
    families = case.data.measured_families[found.rows[first]]
    groups = families if protocol == NETWORK else case.data.chips[found.rows[first]]
    inside = np.abs(true - told) <= 1.6449 * deviation
    low, high = _coverage_range(groups, inside)
    return {
        "groups": len(np.unique(groups)),
        "networks": len(np.unique(case.data.network[found.rows[first]])),
        "median_error": float(np.median(error)),
        "within_10": float(100 * (error <= 10).mean()),
        "within_25": float(100 * (error <= 25).mean()),
        "spearman": rank_correlation("spearmanr", true, told),
        "coverage_90": float(100 * inside.mean()),
        "width_90": float(np.median(np.exp(2 * 1.6449 * deviation))),
        "mean_error": float(error.mean()),
        "coverage_90_low": low,
        "coverage_90_high": high,
        "rows": len(pairs),
        "targets": len(np.unique(found.target[first])),
        "balanced_accuracy": _balanced(is_faster, probability >= 0.5),
        "balanced_accuracy_at_base": _balanced(is_faster, probability >= base),
        "brier": float(np.mean((probability - is_faster) ** 2)),
        "brier_base": float(np.mean((base - is_faster) ** 2)),
        "share_faster": float(100 * is_faster.mean()),
    }


def _balanced(true: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_]) -> float | None:
    """Mean of the shares of both answers that are right, in percent; None where there is one."""
    if true.all() or not true.any():
        return None
    return float(100 * (told[true].mean() + (~told[~true]).mean()) / 2)
