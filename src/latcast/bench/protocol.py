"""The protocols that benches share: pools, draws of measurements, scores over seeds.

Few-shot scores say how well a base model predicts a target of which k latencies are known; every
other network of the target is scored. Figures are means over seeds, which choose the measurements.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import unknown_name
from latcast.data import Dataset
from latcast.data.audit import audit
from latcast.math.metrics import metrics
from latcast.models import BaseModel, Predictor
from latcast.models.adaptation import suggest
from latcast.report.markup import counted
from latcast.search import InfeasibleError, SearchResult, search
from latcast.spaces import Archs, SearchSpace

from .summary import STANDARD_DEVIATIONS

Floats = npt.NDArray[np.float64]
Report = Callable[[str], None]

BASE_SAMPLES = {"nasbench201": 900, "fbnet": 800, "fbnet-imagenet": 800, "ofa-mobilenet-v3": 4_000}
# Measurements of every target that a base model is trained on, by space and elsewhere.
OTHER_BASE_SAMPLES = 900

SELECTIONS = ("random", "suggest")
# The selection where no sample is measured.
NONE = "none"

SCORES = ("spearman", "kendall", "mape", "median_error", "within_10", "coverage_90")


@dataclass(frozen=True)
class Pool:
    """A target's networks, from which samples are taken; the others are scored.

    Attributes:
        name: of the target.
        data: its possible latencies.
        impossible: number of rows that were left out.
    """

    name: str
    data: Dataset
    impossible: int

    @classmethod
    def of(cls, name: str, data: Dataset) -> Pool:
        """All rows of a target but the impossible ones."""
        valid = data.valid()
        return cls(name, valid, len(data) - len(valid))

    @cached_property
    def groups(self) -> npt.NDArray[np.intp]:
        """Number of every row's network, shape (n,)."""
        return self.data.archs.unique_index()

    @cached_property
    def first(self) -> npt.NDArray[np.intp]:
        """First row of every network, shape (networks,)."""
        return np.unique(self.groups, return_index=True)[1]

    @cached_property
    def near_zero(self) -> int:
        """Rows that the audit does not believe; they are scored nevertheless."""
        found = [f for f in audit(self.data) if f.kind == "near-zero"]
        return int(found[0].evidence["count"]) if found else 0

    def parted(self, rows: npt.NDArray[np.intp]) -> tuple[Dataset, Dataset]:
        """The rows, and those of all other networks."""
        others = ~np.isin(self.groups, self.groups[rows])
        return self.data[rows], self.data[others]

    def check(self, samples: Sequence[int]) -> None:
        """Make sure that two networks are left to be scored.

        Raises:
            ValueError: they are not.
        """
        if max(samples) > len(self.first) - 2:
            raise ValueError(
                f"samples must leave networks to score: {self.name} has {len(self.first)}; "
                f"got {counted(max(samples), 'sample')}"
            )


@dataclass(frozen=True)
class Runs:
    """The scores of one target, number of samples and selection, seed by seed.

    Attributes:
        scores: shape (seeds, scores), in the order of :data:`SCORES`.
        adapt_seconds: mean wall time of an adaptation.
        scored: networks' rows that were scored, by the first seed.
    """

    scores: Floats
    adapt_seconds: float
    scored: int

    @classmethod
    def mean(cls, runs: Sequence[Runs]) -> Runs:
        """Over targets, seed by seed; rows are added up."""
        return cls(
            np.mean([r.scores for r in runs], axis=0),
            float(np.mean([r.adapt_seconds for r in runs])),
            sum(r.scored for r in runs),
        )

    def summary(self) -> dict[str, float]:
        """Mean and standard deviation of every score over the seeds; 0 for one seed."""
        result = {}
        for name, values in zip(SCORES, self.scores.T, strict=True):
            result[f"{name}_mean"] = float(values.mean())
            result[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return {**result, "adapt_seconds": self.adapt_seconds, "scored": self.scored}


def few_shot(
    base: BaseModel, pool: Pool, samples: int, selection: str = "random", seeds: int = 20
) -> Runs:
    """Adapt a base model to k measurements of a target and score it on all other networks.

    Args:
        base: has never seen the target.
        pool: the target's networks.
        samples: number of measurements in total, at least 0; without any, only what is known
            of the target's device counts, and one seed is enough.
        selection: one of :data:`SELECTIONS`.
        seeds: choices of the samples.

    Raises:
        ValueError: the base was trained on the target.
    """
    if pool.data.target in base.targets:
        raise ValueError(f"the base must not know the target; {pool.data.target} is among its own")
    scores, seconds, rest = [], [], pool.data
    # Without samples nothing is left to chance.
    for seed in range(seeds if samples else 1):
        if samples:
            few, rest = pool.parted(_rows(base, pool, samples, selection, seed))
            start = time.perf_counter()
            predictor = base.adapt(few)
        else:
            start = time.perf_counter()
            predictor = base.predictor(pool.data.target)
        seconds.append(time.perf_counter() - start)
        scores.append(score(predictor, rest))
    return Runs(np.array(scores), float(np.mean(seconds)), len(rest))


def score(predictor: Predictor, rest: Dataset) -> list[float]:
    """:data:`SCORES` on rows that were not seen; percentages but for the correlations."""
    predicted = predictor.predict(rest.archs)
    lower, upper = predictor.predict_interval(rest.archs, 0.9)
    inside = (lower <= rest.latency_ms) & (rest.latency_ms <= upper)
    return [*scores(rest.latency_ms, predicted), float(100 * inside.mean())]


def scores(true_ms: Floats, predicted_ms: Floats) -> list[float]:
    """:data:`SCORES` without the coverage, which needs an interval."""
    found = metrics(true_ms, predicted_ms)
    median = float(100 * np.median(np.abs(predicted_ms / true_ms - 1)))
    return [found["spearman"], found["kendall"], found["mape"], median, found["within_10"]]


def base_model(
    datasets: Mapping[str, Dataset], rows: int | None, report: Report
) -> tuple[BaseModel, float, int]:
    """A base model of rows drawn at random of every target, impossible ones left out.

    Args:
        datasets: the targets by name.
        rows: of every target, or as many as it has; by default :data:`BASE_SAMPLES` of its space.
        report: called with what is done.

    Returns:
        The model, the seconds that its fit took, and the most rows of a target.
    """
    report(f"base of {counted(len(datasets), 'target')}: {', '.join(datasets)}")
    drawn = [draw(data, rows, n) for n, data in enumerate(datasets.values())]
    # Drawing rows is no part of what a user waits for.
    start = time.perf_counter()
    base = BaseModel().fit(drawn)
    return base, time.perf_counter() - start, max(map(len, drawn))


def draw(data: Dataset, rows: int | None, seed: int) -> Dataset:
    """Draw ``rows`` of the possible rows at random; the space's :data:`BASE_SAMPLES` by default."""
    if rows is None:
        rows = BASE_SAMPLES.get(data.archs.space.name, OTHER_BASE_SAMPLES)
    # Failed runs are in public files; a base model must not learn that networks take no time.
    valid = data.valid()
    return valid[np.random.default_rng(seed).permutation(len(valid))[:rows]]


def check_options(samples: Sequence[int], selections: Sequence[str], seeds: int) -> None:
    """Make sure that options make sense.

    Raises:
        ValueError: they do not.
    """
    if not samples or min(samples) < 0:
        raise ValueError(f"samples must be at least 0; got {list(samples)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    for selection in selections:
        if selection not in SELECTIONS:
            raise ValueError(unknown_name("selection", selection, SELECTIONS))


def describe(pool: Pool, found: Runs) -> dict[str, Any]:
    """Return the cells of a table's row: the target, and its scores."""
    return {
        "latency_target": str(pool.data.target),
        **found.summary(),
        "seeds": len(found.scores),
        "impossible": pool.impossible,
        "near_zero": pool.near_zero,
    }


def _rows(
    base: BaseModel, pool: Pool, samples: int, selection: str, seed: int
) -> npt.NDArray[np.intp]:
    if selection == "random":
        return np.random.default_rng(seed).permutation(pool.first)[:samples]
    candidates = pool.data.archs[pool.first]
    picked = suggest(candidates.space, samples, base=base, candidates=candidates, seed=seed)
    return pool.first[_positions(picked, candidates)]


def _positions(some: Archs, archs: Archs) -> npt.NDArray[np.intp]:
    """Return the positions of ``some`` networks among different ``archs``, shape (some,)."""
    groups = archs.concatenate(some).unique_index()
    position = np.empty(len(archs), dtype=np.intp)
    position[groups[: len(archs)]] = np.arange(len(archs))
    return position[groups[len(archs) :]]


def random_rows(data: Dataset, samples: int, seed: int) -> Dataset:
    """Draw ``samples`` rows without replacement.

    Raises:
        ValueError: there are fewer.
    """
    if samples > len(data):
        raise ValueError(
            f"the number of samples must be at most the {len(data)} training rows; got {samples}"
        )
    rng = np.random.default_rng(seed)
    return data[rng.choice(len(data), samples, replace=False)]


def check(seeds: int, samples: Sequence[int], least: int = 0) -> None:
    """Make sure that there is something to average and to learn from.

    Raises:
        ValueError: ``seeds`` is below 1, or a number of samples below ``least``.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    if samples and min(samples) < least:
        raise ValueError(f"a number of samples must be at least {least}; got {min(samples)}")


def averaged(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds of the scores that all have, and deviations of three; 0 for one seed."""
    common = [key for key in scores[0] if all(key in s for s in scores)]
    result: dict[str, Any] = {k: float(np.mean([s[k] for s in scores])) for k in common}
    for key, name in STANDARD_DEVIATIONS.items():
        values = [s[key] for s in scores]
        result[name] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return result | {"seeds": len(scores)}


@dataclass(frozen=True)
class Budgeted:
    """The networks that a search found within each budget.

    Attributes:
        result: of the budgets that are feasible by the latency source; None if none is.
        is_found: of every budget asked for, whether there is a network, shape (budgets,).
    """

    result: SearchResult | None
    is_found: npt.NDArray[np.bool_]

    def spread(self, values: npt.ArrayLike) -> Floats:
        """Values of the networks found, one for every budget asked for: NaN without a network."""
        spread = np.full(len(self.is_found), np.nan)
        spread[self.is_found] = values
        return spread


def search_within(
    space: str | SearchSpace, latency: Predictor, budgets_ms: Sequence[float], **options: Any
) -> Budgeted:
    """Search, leaving out the budgets that no network keeps by this latency.

    Args:
        space: search space or its name.
        latency: predictor of one target.
        budgets_ms: ascending.
        options: further ones of :func:`latcast.search.search`.

    Raises:
        ValueError: as that function's, but for infeasible budgets.
    """
    budgets = np.array(budgets_ms, dtype=np.float64)
    for first in range(len(budgets)):
        # What keeps a budget keeps every larger one: only the smallest can be infeasible.
        try:
            result = search(
                space, latency=latency, max_latency_ms=budgets[first:].tolist(), **options
            )
        except InfeasibleError:
            continue
        return Budgeted(result, np.arange(len(budgets)) >= first)
    return Budgeted(None, np.zeros(len(budgets), dtype=np.bool_))


def mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def deviation(values: Floats) -> float:
    """Standard deviation of the same; 0 for one, NaN for none."""
    there = values[np.isfinite(values)]
    if len(there) < 2:
        return 0.0 if len(there) else float("nan")
    return float(there.std(ddof=1))
