"""Requests of users, looked up and checked: models, budgets, limits, candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latcast import models
from latcast.data import ENERGY_MJ, LATENCY_MS, PEAK_MEMORY_MB, Quantity
from latcast.models import Predictor
from latcast.models.accuracy import SHIPPED, AccuracyModel, AccuracySource, as_accuracy_model
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from .confidence import counted
from .front import Floats
from .problem import Problem, QuantityLimit

Latency = str | Path | Predictor
AnyAccuracy = AccuracySource | Sequence[AccuracySource]
Budgets = float | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Request:
    """A problem, and what it was made of.

    Attributes:
        problem: without evaluations yet.
        predictors: of the latencies, one a target.
        budgets_ms: shape (budgets, targets); may be empty.
        others: of other quantities, limited or only told.
    """

    problem: Problem
    predictors: tuple[Predictor, ...]
    budgets_ms: Floats
    others: tuple[Predictor, ...] = ()

    @classmethod
    def of(
        cls,
        space: str | SearchSpace,
        latency: Latency | Sequence[Latency],
        accuracy: AnyAccuracy | None,
        max_latency_ms: Budgets | None,
        *,
        confidence: float | None = None,
        restrict: Mapping[str, Sequence[int]] | None = None,
        candidates: Archs | None = None,
        energy: Latency | None = None,
        max_energy_mj: float | None = None,
        memory: Latency | None = None,
        max_memory_mb: float | None = None,
        **limits: float | None,
    ) -> Request:
        """Look up names, and check that everything belongs together.

        The arguments are those of :func:`latcast.search.search`, its limits (the keys of
        :data:`~latcast.search.problem.LIMITS`) among them.

        Raises:
            ValueError: an unknown name, models that do not fit the space, or a number that is out
                of range.
        """
        the_space = find_space(space) if isinstance(space, str) else space
        predictors = find_predictors(the_space, latency)
        asked = {ENERGY_MJ: (energy, max_energy_mj), PEAK_MEMORY_MB: (memory, max_memory_mb)}
        others = find_others(the_space, asked)
        model = find_accuracy(the_space, accuracy)
        budgets = parse_budgets(max_latency_ms, len(predictors))
        given = parse_limits(**limits)
        every = [*predictors, *(other for other, _ in others)]
        allowed = restriction(the_space, [*every, model], restrict or {})
        among = find_candidates(the_space, model, candidates, allowed)
        limited = [(other, limit) for other, limit in others if limit is not None]
        all_counted = counted(
            the_space, [*predictors, *(p for p, _ in limited)], model, confidence, allowed, among
        )
        latencies, rest = all_counted[: len(predictors)], all_counted[len(predictors) :]
        problem = Problem(
            the_space,
            latencies,
            model,
            limits=given,
            quantities=[QuantityLimit(own, *pair) for own, pair in zip(rest, limited, strict=True)],
            restrict=allowed,
            ceiling_ms=budgets.max(axis=0) if len(budgets) else None,
            candidates=among,
        )
        return cls(problem, tuple(predictors), budgets, tuple(other for other, _ in others))


def find_others(
    space: SearchSpace, asked: Mapping[Quantity, tuple[Latency | None, float | None]]
) -> list[tuple[Predictor, float | None]]:
    """Predictors of other quantities than the latency, with the most of each, if there is a limit.

    Raises:
        ValueError: a limit without a model, one that is not positive and finite, or a model of
            another quantity or space.
    """
    found: list[tuple[Predictor, float | None]] = []
    for of, (model, limit) in asked.items():
        if limit is not None and not (np.isfinite(limit) and limit > 0):
            raise ValueError(
                f"the most {of.label} must be positive and finite; got {limit} {of.unit}"
            )
        if model is not None:
            found += [(one, limit) for one in find_predictors(space, model, of)]
        elif limit is not None:
            raise ValueError(
                f"a limit of {of.text(limit)} needs a model of {of.plural}: measure them (latcast "
                f"measure --quantity {of.name}) and train one (latcast train)"
            )
    return found


def find_predictors(
    space: SearchSpace, latency: Latency | Sequence[Latency], of: Quantity = LATENCY_MS
) -> list[Predictor]:
    """One predictor a target.

    Raises:
        ValueError: none, an unknown name, or a predictor of another space or quantity.
    """
    items = [latency] if isinstance(latency, str | Path | Predictor) else list(latency)
    if not items:
        raise ValueError("latency must be a predictor or several; got none")
    predictors = [
        item if isinstance(item, Predictor) else models.load(item, space=space) for item in items
    ]
    for predictor in predictors:
        if (own := predictor.fitted.quantity) != of:
            what = "budgets are" if of == LATENCY_MS else f"a limit in {of.unit} is"
            raise ValueError(f"{what} of {of.plural}; got a model of {own.plural} ({own.unit})")
        if space.block_space != predictor.space.name:
            raise ValueError(
                f"the predictor is for {predictor.space.name}; it knows nothing of {space.name}"
            )
    return predictors


def find_accuracy(space: SearchSpace, accuracy: AnyAccuracy | None) -> AccuracyModel:
    """The accuracy model that is asked for; by default the shipped one of the space.

    Raises:
        ValueError: an unknown name, or a model of another space.
    """
    if accuracy is None:
        accuracy = space.block_space
        if accuracy not in SHIPPED:
            raise ValueError(
                f"no accuracy model is shipped for {space.name}: give a table, a trained model or "
                "a function (accuracy=…, --accuracy FILE; latcast accuracy train makes a model)"
            )
    model = as_accuracy_model(accuracy, space)
    if not model.supports(space):
        raise ValueError(f"the accuracy model {model.name!r} knows nothing of {space.name}")
    return model


def find_candidates(
    space: SearchSpace,
    model: AccuracyModel,
    candidates: Archs | None,
    allowed: Mapping[str, Sequence[int]],
) -> Archs | None:
    """The only networks there are, if the user or the accuracy model names some.

    Args:
        space: where to search.
        model: of accuracies.
        candidates: by the user.
        allowed: gene -> values.

    Raises:
        ValueError: candidates of another space, or nothing is left of them.
    """
    known = model.known(space)
    if candidates is None:
        candidates = known
    elif candidates.space.name != space.name:
        raise ValueError(f"candidates must be of {space.name}; got {candidates.space.name}")
    elif known is not None:
        names = known.concatenate(candidates).unique_index()
        candidates = candidates[np.isin(names[len(known) :], names[: len(known)])]
    if candidates is None:
        return None
    canonical = candidates.canonical().genes
    kept = np.ones(len(candidates), dtype=np.bool_)
    for column, gene in enumerate(space.genes):
        kept &= np.isin(canonical[:, column], [0, *allowed[gene.name]])
    if not kept.any():
        raise ValueError(
            f"none of the {len(candidates)} candidates has only values of genes that the models "
            "know and the restrictions allow: give other candidates"
        )
    return candidates[kept].unique()


def restriction(
    space: SearchSpace,
    predictors: Sequence[Predictor],
    wanted: Mapping[str, Sequence[int]],
) -> dict[str, list[int]]:
    """Gene values that the user wants and on which all models can be relied.

    A predictor, of latencies or of accuracies, is relied on for the values it was trained on, or
    says that it was made for; of a gene of which it says nothing, for all.

    Raises:
        ValueError: nothing is left of a gene.
    """
    known = {g.name: set(g.choices) for g in space.genes}
    for name, values in known.items():
        for predictor in predictors:
            values &= set(predictor.fitted.seen.get(name, values))  # in place
    empty = [name for name, values in known.items() if not values]
    if empty:
        raise ValueError(
            f"the predictor and the accuracy model share no value of {empty[0]!r}: "
            "take models that were trained on the same resolutions"
        )
    for name, values_wanted in wanted.items():
        allowed = [values_wanted] if isinstance(values_wanted, int) else values_wanted
        if name not in known:
            raise ValueError(f"{space.name} has no gene {name!r}; it has {', '.join(known)}")
        left = known[name] & set(allowed)
        if not left:
            raise ValueError(
                f"{name} must keep one of {sorted(known[name])}, which all models know; "
                f"got {sorted(allowed)}"
            )
        known[name] = left
    return {name: sorted(values) for name, values in known.items()}


def parse_budgets(max_latency_ms: Budgets | None, targets: int) -> Floats:
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
