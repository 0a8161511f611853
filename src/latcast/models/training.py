"""From a dataset to a predictor with a card: fit, score on what was not seen, write down how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latcast.data import LatencyDataset, split
from latcast.data.audit import audit, measured_rows
from latcast.devices import Target
from latcast.math.metrics import metrics
from latcast.models.evaluation import evaluate

from ._base import Predictor
from .base_model import BaseModel, Progress


@dataclass(frozen=True)
class Parts:
    """A dataset without copied labels, split by architecture.

    Attributes:
        train: to fit and calibrate on; a search for options has nothing else.
        test: to score on, once.
        how: the split in words.
        traps: what the audit found in the whole dataset.
    """

    train: LatencyDataset
    test: LatencyDataset
    how: str
    traps: list[str]


def parts(data: LatencyDataset, *, test: float = 0.15, seed: int = 0) -> Parts:
    """Leave out the rows whose label was copied from another architecture, and split the others.

    Args:
        data: measurements on one target.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split.

    Raises:
        ValueError: a latency is not finite and positive, or there are too few architectures.
    """
    data.check_values()
    findings = audit(data)
    train, rest = split(measured_rows(data, findings), 1 - test, seed)
    how = (
        f"by architecture at random, seed {seed}: {len(train)} rows to fit and calibrate, "
        f"{len(rest)} to test"
    )
    return Parts(train, rest, how, [f"{f.kind}: {f.message}" for f in findings])


def fit_and_score(
    predictor: Predictor, data: LatencyDataset, *, test: float = 0.15, seed: int = 0
) -> dict[str, float]:
    """Fit a predictor on a part of the architectures and score it on the others.

    Rows whose label was copied from another architecture are left out. The card of the predictor
    gets the split, the scores (``metrics``) and what the audit found in the data (``traps``).

    Args:
        predictor: is fitted in place.
        data: measurements on one target.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.

    Returns:
        The scores: :func:`latcast.math.metrics.evaluate`.

    Raises:
        ValueError: a latency is not finite and positive, or there are too few architectures.
    """
    return fit_and_score_parts(predictor, parts(data, test=test, seed=seed), seed=seed)


def fit_and_score_parts(predictor: Predictor, of: Parts, *, seed: int = 0) -> dict[str, float]:
    """:func:`fit_and_score` of a dataset that has been split already."""
    predictor.fit(of.train, seed=seed)
    scores = evaluate(predictor, of.test)
    predictor.fitted.card.update(split=of.how, metrics=scores, traps=of.traps)
    return scores


def fit_base(
    datasets: Sequence[LatencyDataset],
    *,
    test: float = 0.15,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> tuple[BaseModel, dict[Target, dict[str, float]]]:
    """Fit a base model on a part of every dataset's architectures, and score it on the others.

    Rows with an impossible latency, and those whose label was copied, are left out; the model's
    card says how many (``left_out``), and what the audit found (``traps``), by target.

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
    parts, left_out, traps = [], {}, {}
    for data in datasets:
        findings = audit(data.valid())
        measured = measured_rows(data.valid(), findings)
        left_out[str(data.target)] = len(data) - len(measured)
        traps[str(data.target)] = [f"{f.kind}: {f.message}" for f in findings]
        parts.append(split(measured, 1 - test, seed))
    model = BaseModel().fit([train for train, _ in parts], progress=progress)
    scores = {
        rest.target: metrics(rest.latency_ms, model.trained(rest.target).predict(rest.archs))
        for _, rest in parts
    }
    model.card["split"] = f"by architecture at random, seed {seed}, {test:.0%} to test"
    model.card["left_out"], model.card["traps"] = left_out, traps
    model.card["metrics"] = {str(target): s for target, s in scores.items()}
    return model, scores
