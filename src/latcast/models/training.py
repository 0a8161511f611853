"""Training: datasets to a model with a card, by splitting, fitting and scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latcast.data import Dataset, split
from latcast.data.audit import audit, measured_rows
from latcast.devices import Target
from latcast.math.metrics import Scored, metrics

from ._base import Predictor
from .evaluation import OWN_FILES, evaluate, score
from .kernels import MIN_GROUPS

if TYPE_CHECKING:
    from .base_model import BaseModel, Progress

__all__ = [
    "Parts",
    "evaluate",  # documented here before it had a file with the other scores
    "family_names",
    "fit_and_score",
    "fit_and_score_parts",
    "fit_base",
    "parts",
]


@dataclass(frozen=True)
class Parts:
    """Datasets of one target without copied labels, each split by network.

    Attributes:
        whole: the datasets.
        train: to fit and calibrate on; a search for options has nothing else.
        test: to score on, once.
        how: the split in words.
        data_issues: what the audit found in the whole datasets.
    """

    whole: tuple[Dataset, ...]
    train: tuple[Dataset, ...]
    test: tuple[Dataset, ...]
    how: str
    data_issues: list[str]


def parts(*data: Dataset, test: float = 0.15, seed: int = 0) -> Parts:
    """Leave out the rows whose label was copied from another network, and split the others.

    Args:
        data: measurements on one target.
        test: share of the networks, between 0 and 1, that is only scored on.
        seed: of the split.

    Raises:
        ValueError: a value is not possible, or there are too few networks.
    """
    whole, data_issues = [], []
    for own in data:
        own.check_values()
        findings = audit(own)
        data_issues += [f"{f.kind}: {f.message}" for f in findings]
        whole.append(measured_rows(own, findings))
    pairs = [split(own, 1 - test, seed) for own in whole]
    train, rest = (tuple(side) for side in zip(*pairs, strict=True))
    how = (
        f"by {data[0].subject} at random, seed {seed}: {sum(map(len, train))} rows to fit and "
        f"calibrate, {sum(map(len, rest))} to test"
    )
    return Parts(tuple(whole), train, rest, how, data_issues)


def fit_and_score(
    predictor: Predictor,
    *data: Dataset,
    test: float = 0.15,
    seed: int = 0,
    families: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, float]:
    """Fit a predictor on a part of the networks and score it on the others.

    Rows whose label was copied are left out. The card of the predictor gets the split, the scores
    (``metrics``) and what the audit found in the data (``data_issues``).

    Args:
        predictor: is fitted in place.
        data: measurements on one target.
        test: share of the networks, between 0 and 1, that is only scored on.
        seed: of the split and of the fits.
        families: whether to leave out one family after the other as well, where there are three
            at least; that takes a fit each, and the card gets the scores of models that had not
            seen the family (``metrics_by_family``), with all networks together as ``all``.
        progress: called with the number of fits done and of all.

    Returns:
        The scores: :func:`latcast.models.evaluation.evaluate`.

    Raises:
        ValueError: a value is not possible, targets differ, or there are too few networks.
    """
    of = parts(*data, test=test, seed=seed)
    left_out = family_names(of.whole) if families else []
    if len(left_out) < MIN_GROUPS:
        left_out = []
    scores = fit_and_score_parts(predictor, of, seed=seed)
    progress(1, 1 + len(left_out))
    scored = {}
    for n, name in enumerate(left_out):
        scored[name] = _without(name, predictor, of.whole, seed)
        progress(2 + n, 1 + len(left_out))
    if scored:
        scored["all"] = Scored.joined(list(scored.values()))
        by_family = {name: s.metrics() for name, s in scored.items()}
        predictor.card["metrics_by_family"] = by_family
    return scores


def fit_and_score_parts(predictor: Predictor, of: Parts, *, seed: int = 0) -> dict[str, float]:
    """:func:`fit_and_score` of datasets that have been split already."""
    predictor.fit(*of.train, seed=seed)
    scored = Scored.joined([score(predictor, data) for data in of.test])
    scores = scored.metrics(of_any_network=predictor.fitted.space is None)
    predictor.card.update(split=of.how, metrics=scores, data_issues=of.data_issues)
    return scores


def family_names(datasets: Sequence[Dataset]) -> list[str]:
    """Families, and spaces, of all networks, in alphabetical order."""
    return sorted({name for data in datasets for name in _families(data)})


def _families(data: Dataset) -> list[str]:
    if data.space is None:
        return [name or OWN_FILES for name in data.families]
    return [data.space.name] * len(data)


def _without(name: str, predictor: Predictor, datasets: Sequence[Dataset], seed: int) -> Scored:
    """A family's networks by a predictor that has not seen it."""
    inside = [np.array(_families(data)) == name for data in datasets]
    others = [d[~own] for d, own in zip(datasets, inside, strict=True) if not own.all()]
    held_out = [d[own] for d, own in zip(datasets, inside, strict=True) if own.any()]
    model = type(predictor)(**predictor.options()).fit(*others, seed=seed)
    return Scored.joined([score(model, data) for data in held_out])


def fit_base(
    datasets: Sequence[Dataset],
    *,
    test: float = 0.15,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> tuple[BaseModel, dict[Target, dict[str, float]]]:
    """Fit a base model on a part of every dataset's architectures, and score it on the others.

    Rows with an impossible value, and those whose label was copied, are left out; the model's
    card says how many (``left_out``), and what the audit found (``data_issues``), by target.

    Args:
        datasets: one a target, of one space.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the splits.
        progress: called with the number of targets done and of all.

    Returns:
        The model, and by target the scores of :func:`latcast.math.metrics.metrics`.

    Raises:
        ValueError: as :meth:`BaseModel.fit`, or there are too few architectures.
    """
    parts, left_out, data_issues = [], {}, {}
    for data in datasets:
        findings = audit(data.valid())
        measured = measured_rows(data.valid(), findings)
        left_out[str(data.target)] = len(data) - len(measured)
        data_issues[str(data.target)] = [f"{f.kind}: {f.message}" for f in findings]
        parts.append(split(measured, 1 - test, seed))
    from .base_model import BaseModel

    model = BaseModel().fit([train for train, _ in parts], progress=progress)
    scores = {
        rest.target: metrics(
            rest.values, model.trained(rest.target).predict(rest.archs), model.quantity.unit
        )
        for _, rest in parts
    }
    model.card["split"] = f"by architecture at random, seed {seed}, {100 * test:.0f} % to test"
    model.card["left_out"], model.card["data_issues"] = left_out, data_issues
    model.card["metrics"] = {str(target): s for target, s in scores.items()}
    return model, scores
