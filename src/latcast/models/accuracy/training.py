"""From a table to an accuracy model with a card: fit, score on what was not seen."""

from __future__ import annotations

import numpy as np

from latcast.data import Dataset, split
from latcast.math.metrics import rank_correlation

from ._base import AccuracyModel
from .gaussian_process import GaussianProcess

COVERAGES = (0.5, 0.8, 0.9, 0.95)


def evaluate_accuracy(model: AccuracyModel, data: Dataset) -> dict[str, float]:
    """Errors and rank correlations on n rows that the model was not trained on.

    ``mae``, ``rmse`` and ``median_error`` (absolute) are fractions, as accuracies are; ``spearman``
    and ``kendall`` (tau-b) are NaN where a side is constant. Of a trained model, ``coverage_N`` is
    the percentage of accuracies inside the interval that asks for N percent.

    Raises:
        ValueError: there are no rows, or the model cannot predict one of them.
    """
    if not len(data):
        raise ValueError("scoring an accuracy model needs a row at least; got none")
    predicted = model.predict(data.archs)
    error = np.abs(predicted - data.accuracy)
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "median_error": float(np.median(error)),
        "spearman": rank_correlation("spearmanr", data.accuracy, predicted),
        "kendall": rank_correlation("kendalltau", data.accuracy, predicted),
        **(_coverages(model, data) if isinstance(model, GaussianProcess) else {}),
    }


def _coverages(model: GaussianProcess, data: Dataset) -> dict[str, float]:
    result = {}
    for coverage in COVERAGES:
        try:
            lower, upper = model.predict_interval(data.archs, coverage)
        except ValueError:  # too few training rows for this coverage
            continue
        inside = (lower <= data.accuracy) & (data.accuracy <= upper)
        result[f"coverage_{coverage * 100:.0f}"] = float(100 * inside.mean())
    return result


def train_accuracy(
    data: Dataset, *, test: float = 0.15, seed: int = 0, name: str = GaussianProcess.kind
) -> tuple[GaussianProcess, dict[str, float]]:
    """Fit a model to a part of the architectures and score it on the others.

    Args:
        data: accuracies of a space's architectures.
        test: share of the architectures, between 0 and 1, that is only scored on.
        seed: of the split and of the fit.
        name: of the model.

    Returns:
        The model, whose card has the data, the split and the scores; and the scores:
        :func:`evaluate_accuracy`.

    Raises:
        ValueError: as :meth:`GaussianProcess.fit`, or there are too few architectures to split.
    """
    rest, train = split(data, test, seed)
    model = GaussianProcess.fit(
        train.archs, train.accuracy, seed=seed, name=name, card={"data": dict(data.provenance)}
    )
    scores = evaluate_accuracy(model, rest)
    how = f"by architecture at random, seed {seed}: {len(train)} rows to train, {len(rest)} to test"
    return model.with_card(split=how, metrics=scores), scores
