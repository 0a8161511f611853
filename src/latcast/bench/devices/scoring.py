"""Scores of forecasts: errors, ranks, intervals that are calibrated on other groups, precisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from latcast.math.conformal import covers, quantile
from latcast.math.metrics import rank_correlation
from latcast.models.joint import MANY_GROUPS, Faster, by_groups, usual_errors

from .assembly import Assembled
from .methods import REACH, Forecast
from .protocols import DEVICE, NETWORK, Outcome

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Texts = npt.NDArray[np.str_]

COVERAGE = 0.9
# Ranks of fewer networks say nothing.
MIN_RANKED = 5
# Groups that are drawn again to tell how sure a coverage is.
BOOTSTRAPS = 1000
_SEED = 0
_WIDEST = 700.0


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
        lower: ends of the intervals below, of the logarithm, (s,).
        upper: ends above, (s,).
    """

    rows: Numbers
    target: Numbers
    fold: Numbers
    draw: Numbers
    log_ms: Floats
    lower: Floats
    upper: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, some: npt.NDArray[Any]) -> Forecasts:
        """Some of them."""
        return Forecasts(*(getattr(self, f.name)[some] for f in fields(self)))


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
    told = [np.concatenate(values) for values in zip(*(o.forecast for o in outcomes), strict=True)]
    found = Forecasts(
        np.concatenate([o.rows for o in outcomes]),
        np.repeat([o.target for o in outcomes], lengths),
        np.repeat([o.fold for o in outcomes], lengths),
        np.repeat(np.arange(len(outcomes)), lengths),
        *told,
    )
    return found.select(np.isfinite(found.log_ms))


# --- intervals --------------------------------------------------------------------------------


def calibrated(case: Assembled, protocol: str, found: Forecasts, on: Forecasts) -> Forecasts:
    """The same forecasts, with intervals as wide as the errors of other groups ask for.

    Widths of a method are taken as proportions. They are scaled so that 90 % of the rows ``on``
    which groups of other folds were left out lie within: of the same part of the table, of single
    operators of the same operator. Where these are of few groups, one more counts that has the
    errors of the table, as :func:`latcast.models.joint.by_groups` has it for a new device.
    """
    error = case.data.log_ms[on.rows] - on.log_ms
    reach = np.where(error < 0, on.log_ms - on.lower, on.upper - on.log_ms)
    scores = np.abs(error) / np.maximum(reach, 1e-9)
    groups = _groups(case, protocol, on.rows)
    factor = np.ones(len(found))
    (pools, tables), (on_pools, on_tables) = _pools(case, found), _pools(case, on)
    for fold in np.unique(found.fold):
        is_other = on.fold != fold
        for table in np.unique(tables[found.fold == fold]):
            of_table = is_other & (on_tables == table)
            beside = _of_groups(groups[of_table], scores[of_table], usual_errors() / REACH)
            for pool in np.unique(pools[(found.fold == fold) & (tables == table)]):
                own, others = (found.fold == fold) & (pools == pool), is_other & (on_pools == pool)
                if len(np.unique(groups[others])) >= MANY_GROUPS:
                    errors = np.sort(scores[others])
                else:
                    errors = _of_groups(groups[others], scores[others], beside)
                factor[own] = quantile(errors, COVERAGE)
    return replace(
        found,
        lower=found.log_ms - factor * (found.log_ms - found.lower),
        upper=found.log_ms + factor * (found.upper - found.log_ms),
    )


def _of_groups(groups: Texts, scores: Floats, beside: Floats) -> Floats:
    """Scores of groups, ascending; those ``beside`` where they are too few for an interval."""
    return by_groups(groups, scores, beside) if covers(len(scores), COVERAGE) else beside


def _groups(case: Assembled, protocol: str, rows: Numbers) -> Texts:
    """Return the group that each row was left out with: its family, or the chip of its device."""
    return (case.data.measured_families if protocol == NETWORK else case.data.chips)[rows]


def _pools(case: Assembled, found: Forecasts) -> tuple[Texts, Texts]:
    """Pools within which intervals are calibrated, and tables, of all forecasts; each (s,).

    With all operators in one pool, a GPU's intervals held 71 % of its products of activations and
    all of its sums (NeuSight).
    """
    table = np.array([p.table for p in case.parts])[found.target]
    pool = np.array([f"{p.table}/{p.pool}" for p in case.parts])[found.target]
    is_operator = np.array([p.pool == "operators" for p in case.parts])[found.target]
    families = case.data.measured_families[found.rows]
    return np.where(is_operator, np.char.add(pool, np.char.add("/", families)), pool), table


# --- rows -------------------------------------------------------------------------------------


def score_rows(
    case: Assembled, kind: Kind, found: Forecasts, beside: Forecasts | None = None
) -> Iterator[dict[str, Any]]:
    """One row for every setting, and for every operator of those that are operators.

    Args:
        case: the observations.
        kind: of the forecasts.
        found: the forecasts.
        beside: those of three fitted numbers from the same draws.
    """
    method, protocol, samples = kind
    worse = set() if beside is None else _worse_targets(case, found, beside)
    for (table, setting), some in _by_setting(case, found).items():
        own = found.select(some)
        yield {
            "table": table,
            "protocol": protocol,
            "setting": setting,
            "samples": samples,
            "method": method,
            **_scores(case, protocol, own),
            "targets_worse": None
            if beside is None
            else len(worse.intersection(own.target.tolist())),
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
    return {
        **_common(case, protocol, found.rows, true, found),
        "spearman": _spearman(found, true),
    }


def _common(
    case: Assembled, protocol: str, rows: Numbers, true: Floats, told: Forecasts | Forecast
) -> dict[str, Any]:
    """Scores of what is told of logarithms, (s,), and of whose rows they are."""
    error = 100 * np.abs(np.expm1(told.log_ms - true))
    inside = (told.lower <= true) & (true <= told.upper)
    groups = _groups(case, protocol, rows)
    low, high = _coverage_range(groups, inside)
    names = np.array(case.data.names)[case.data.network[rows]]
    return {
        "groups": len(np.unique(groups)),
        "networks": len(np.unique(names)),
        "median_error": float(np.median(error)),
        "within_10": float(100 * (error <= 10).mean()),
        "within_25": float(100 * (error <= 25).mean()),
        "coverage_90": float(100 * inside.mean()),
        # An interval without an end is as wide as a float can tell.
        "width_90": float(np.exp(min(float(np.median(told.upper - told.lower)), _WIDEST))),
        "mean_error": float(error.mean()),
        "coverage_90_low": low,
        "coverage_90_high": high,
        "rows": len(np.unique(rows)),
        "targets": len(np.unique(case.data.target[rows])),
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


def _worse_targets(case: Assembled, found: Forecasts, beside: Forecasts) -> set[int]:
    """Targets whose median error, the mean over draws, is above the other's by a standard error."""
    own, other = (_medians(case, f) for f in (found, beside))
    result = set()
    for target in own.keys() & other.keys():
        draws = sorted(own[target].keys() & other[target].keys())
        if draws:
            more = np.array([own[target][d] - other[target][d] for d in draws])
            error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else 0.0
            if more.mean() > error:
                result.add(target)
    return result


def _medians(case: Assembled, found: Forecasts) -> dict[int, dict[int, float]]:
    """Median error of every draw of every target."""
    error = np.abs(np.expm1(found.log_ms - case.data.log_ms[found.rows]))
    order = np.argsort(found.draw, kind="stable")
    result: dict[int, dict[int, float]] = {}
    for some in np.split(order, np.flatnonzero(np.diff(found.draw[order])) + 1):
        if len(some):
            own = result.setdefault(int(found.target[some[0]]), {})
            own[int(found.draw[some[0]])] = float(np.median(error[some]))
    return result


def _coverage_range(
    groups: npt.NDArray[np.str_], inside: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the 95 % range of the coverage over bootstrap samples of the groups, in percent."""
    _, place = np.unique(groups, return_inverse=True)
    count, hits = np.bincount(place), np.bincount(place, inside)
    drawn = np.random.default_rng(_SEED).integers(len(count), size=(BOOTSTRAPS, len(count)))
    shares = 100 * hits[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


# --- precisions -------------------------------------------------------------------------------

COMPARED = (("int8", "fp32"), ("int8", "fp16"))
Rules = Mapping[tuple[str, str, str], Faster]
"""Domain and two precisions -> when the first is faster, by a method's own calibration."""


def precision_rows(
    case: Assembled, kind: Kind, found: Forecasts, on: Forecasts, rules: Rules | None = None
) -> Iterator[dict[str, Any]]:
    """Whether one precision is faster than another: a row for each table and pair.

    The probability is a logistic function of the forecast factor, learnt from other folds among
    the forecasts ``on``; of a method that calibrates itself by its own rules. Where pairs are too
    few, it is that of a normal error with the deviation of other folds. The base rate is theirs.
    """
    method, protocol, samples = kind
    if samples:
        return
    for table in sorted({p.table for p in case.parts}):
        for precisions in COMPARED:
            pairs = _pairs(case, found, table, precisions)
            if len(pairs.fold):
                others = _pairs(case, on, table, precisions)
                yield {
                    "table": table,
                    "protocol": protocol,
                    "setting": "-faster-than-".join(precisions),
                    "samples": samples,
                    "method": method,
                    **_faster(case, protocol, precisions, pairs, others, rules or {}),
                }


@dataclass(frozen=True, eq=False)
class _Pairs:
    """One network on two targets that differ in their precision alone, n times.

    Attributes:
        rows: of the observations in the first precision, (n,).
        fold: of the groups that were left out, (n,).
        true: logarithm of the first latency over the second, (n,).
        told: its forecast, (n,).
        half: half the width of its interval if the errors of both were independent, (n,).
    """

    rows: Numbers
    fold: Numbers
    true: Floats
    told: Floats
    half: Floats


def _pairs(case: Assembled, found: Forecasts, table: str, precisions: tuple[str, str]) -> _Pairs:
    seen: dict[tuple[str, int, int, str], int] = {}
    numbers = case.data.network[found.rows].tolist()
    keys = zip(found.target.tolist(), found.fold.tolist(), numbers, strict=True)
    for n, (target, fold, number) in enumerate(keys):
        part = case.parts[target]
        if part.table == table:
            seen[part.twin, fold, number, case.data.targets[target].precision] = n
    first = [
        (n, seen[twin, fold, number, precisions[1]])
        for (twin, fold, number, precision), n in seen.items()
        if precision == precisions[0] and (twin, fold, number, precisions[1]) in seen
    ]
    a, b = np.array(first, dtype=np.intp).reshape(-1, 2).T
    true, half = case.data.log_ms[found.rows], (found.upper - found.lower) / 2
    return _Pairs(
        found.rows[a], found.fold[a], true[a] - true[b], found.log_ms[a] - found.log_ms[b],
        np.hypot(half[a], half[b]),
    )  # fmt: skip


def _faster(
    case: Assembled, protocol: str, precisions: tuple[str, str], pairs: _Pairs, on: _Pairs,
    rules: Rules,
) -> dict[str, Any]:  # fmt: skip
    is_faster = pairs.true < 0
    deviation = pairs.half / REACH
    base = np.full(len(is_faster), float(is_faster.mean()))
    probability = ndtr(-pairs.told / deviation)
    domains = np.array([t.domain for t in case.data.targets])[case.data.target[pairs.rows]]
    for domain in np.unique(domains).tolist():
        if rule := rules.get((domain, *precisions)):
            own = domains == domain
            probability[own], base[own] = rule.probability(pairs.told[own]), rule.share
    for each in np.unique(pairs.fold):
        own, others = pairs.fold == each, on.fold != each
        if others.any():
            deviation[own] = np.sqrt(np.mean((on.true - on.told)[others] ** 2)) + 1e-6
            base[own] = (on.true[others] < 0).mean()
            learnt = Faster.fit(on.told[others], on.true[others] < 0)
            by_error = ndtr(-pairs.told[own] / deviation[own])
            probability[own] = learnt.probability(pairs.told[own]) if learnt else by_error
    return {
        **_common(case, protocol, pairs.rows, pairs.true, Forecast.around(pairs.told, deviation)),
        "spearman": rank_correlation("spearmanr", pairs.true, pairs.told),
        # Of answers of which one is rare, half is no threshold: nearly all would be the other.
        "balanced_accuracy": balanced_accuracy(is_faster, probability >= base),
        "balanced_accuracy_at_half": balanced_accuracy(is_faster, probability >= 0.5),
        "brier": float(np.mean((probability - is_faster) ** 2)),
        "brier_base": float(np.mean((base - is_faster) ** 2)),
        "share_faster": float(100 * is_faster.mean()),
    }


def balanced_accuracy(true: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_]) -> float | None:
    """Mean of the shares of both answers that are right, in percent; None where there is one."""
    if true.all() or not true.any():
        return None
    return float(100 * (told[true].mean() + (~told[~true]).mean()) / 2)
