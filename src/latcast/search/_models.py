"""Predictors, accuracy models and candidates, from whatever stands for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from latcast import models
from latcast.models import Predictor
from latcast.models.accuracy import (
    SHIPPED,
    AccuracyModel,
    AccuracySource,
    as_accuracy_model,
)
from latcast.spaces import Archs, SearchSpace

Latency = str | Path | Predictor
AnyAccuracy = AccuracySource | Sequence[AccuracySource]


def find_predictors(space: SearchSpace, latency: Latency | Sequence[Latency]) -> list[Predictor]:
    """One predictor a target.

    Raises:
        ValueError: none, an unknown name, or a predictor of another space.
    """
    items = [latency] if isinstance(latency, str | Path | Predictor) else list(latency)
    if not items:
        raise ValueError("latency must be a predictor or several; got none")
    predictors = [
        item if isinstance(item, Predictor) else models.load(item, space=space) for item in items
    ]
    for predictor in predictors:
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
