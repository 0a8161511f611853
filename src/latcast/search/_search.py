"""The most accurate network within every latency budget."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latcast import predict
from latcast.predict import Predictor
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._evolution import Evolution, Progress, evolve
from ._exhaustive import MAX_NETWORKS, count, exhaustive
from ._problem import Floats, InfeasibleError, Problem, restriction
from .accuracy import AccuracyModel, accuracy_model

METHODS = ("auto", "exhaustive", "evolution")


@dataclass(frozen=True)
class SearchResult:
    """One network per budget, in the order of the budgets.

    Attributes:
        archs: the networks, n of them.
        max_latency_ms: the budgets, shape (n,).
        accuracy: top-1 by the accuracy model, 0 … 1, shape (n,).
        latency_ms: predicted latency, shape (n,).
        lower_ms, upper_ms: prediction interval at :attr:`coverage`, each (n,); None where the
            predictor is not calibrated.
        coverage: of the interval.
        kept: probability that the true latency keeps the budget, shape (n,); None as above.
        confidence: with which every budget is kept, or None if the prediction itself counts.
        method: ``exhaustive`` (the result is exact) or ``evolution``.
        evaluations: networks that were evaluated.
        seconds: wall clock of the search.
    """

    archs: Archs
    max_latency_ms: Floats
    accuracy: Floats
    latency_ms: Floats
    lower_ms: Floats | None
    upper_ms: Floats | None
    coverage: float
    kept: Floats | None
    confidence: float | None
    method: str
    evaluations: int
    seconds: float

    def __len__(self) -> int:
        return len(self.archs)


def search(
    space: str | SearchSpace,
    *,
    latency: str | Predictor,
    max_latency_ms: float | Sequence[float],
    accuracy: str | AccuracyModel | None = None,
    confidence: float | None = None,
    restrict: Mapping[str, Sequence[int]] | None = None,
    method: str = "auto",
    seed: int = 0,
    settings: Evolution | None = None,
    coverage: float = 0.9,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the most accurate network within every latency budget.

    Args:
        space: search space or its name.
        latency: predictor, a model file, or the name of a shipped model.
        max_latency_ms: one budget or several, in ms.
        accuracy: accuracy model or its name; by default the shipped one for the space.
        confidence: keep budgets with this probability, by the predictor's upper bound, instead
            of by its prediction alone.
        restrict: gene -> values to search among; resolutions are confined to those that both
            models know in any case.
        method: ``exhaustive``, ``evolution``, or ``auto``: exhaustive where the space is small.
        seed: the same seed gives the same result.
        settings: of the evolution.
        coverage: of the intervals in the result.
        progress: called with the generations done and the most there will be.

    Raises:
        InfeasibleError: a budget that no network keeps; the message names the fastest one.
        ValueError: a budget that is not positive and finite, unknown names, models that do not
            fit the space.
    """
    start = time.perf_counter()
    budgets = _budgets(max_latency_ms)
    problem = _problem(space, latency, accuracy, confidence, restrict or {})
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if method == "auto":
        method = "exhaustive" if count(problem) <= MAX_NETWORKS else "evolution"
    if method == "exhaustive" and count(problem) > MAX_NETWORKS:
        raise ValueError(
            f"exhaustive search takes at most {MAX_NETWORKS:,} networks; {problem.space.name} has "
            f"{count(problem):.3g}: use method evolution, or restrict the genes"
        )
    if method == "exhaustive":
        found = exhaustive(problem, budgets)
    else:
        rng = np.random.default_rng(seed)
        found = evolve(problem, budgets, rng, settings or Evolution(), progress)
    evaluations = problem.evaluations
    _check_feasible(problem, found, budgets)
    interval = kept = None
    if problem.latency.covers(coverage):
        interval = problem.latency.predict_interval(found, coverage)
        kept = problem.latency.probability_below(found, budgets)
    return SearchResult(
        found,
        budgets,
        problem.accuracy.predict(found),
        problem.latency.predict(found),
        interval and interval[0],
        interval and interval[1],
        coverage,
        kept,
        confidence,
        method,
        evaluations,
        time.perf_counter() - start,
    )


def _budgets(max_latency_ms: float | Sequence[float]) -> Floats:
    budgets = np.atleast_1d(np.array(max_latency_ms, dtype=np.float64))
    if budgets.ndim != 1 or not len(budgets):
        raise ValueError("max_latency_ms must be a number of ms or a list of them")
    bad = ~(np.isfinite(budgets) & (budgets > 0))
    if bad.any():
        raise ValueError(f"a latency budget must be positive and finite; got {budgets[bad][0]} ms")
    return budgets


def _problem(
    space: str | SearchSpace,
    latency: str | Predictor,
    accuracy: str | AccuracyModel | None,
    confidence: float | None,
    restrict: Mapping[str, Sequence[int]],
) -> Problem:
    the_space = find_space(space) if isinstance(space, str) else space
    predictor = predict.load(latency) if isinstance(latency, str) else latency
    if the_space.block_space != predictor.space.name:
        raise ValueError(
            f"the predictor is for {predictor.space.name}; it knows nothing of {the_space.name}"
        )
    if accuracy is None:
        accuracy = the_space.block_space
    model = accuracy_model(accuracy) if isinstance(accuracy, str) else accuracy
    if not model.supports(the_space):
        raise ValueError(f"the accuracy model {model.name!r} knows nothing of {the_space.name}")
    allowed = restriction(the_space, predictor, model, restrict)
    return Problem(the_space, predictor, model, confidence, allowed)


def _check_feasible(problem: Problem, found: Archs, budgets: Floats) -> None:
    bound = problem.bound_ms(found)
    over = bound > budgets
    if not over.any():
        return
    worst = int(np.argmax(over))
    counted = "takes" if problem.confidence is None else (
        f"stays, with a confidence of {problem.confidence}, below"
    )  # fmt: skip
    raise InfeasibleError(
        f"no network of {problem.space.name} keeps {budgets[worst]:g} ms on "
        f"{problem.latency.target}: the fastest found {counted} {bound[worst]:.3f} ms; "
        "raise the budget"
    )
