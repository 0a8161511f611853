"""Scores of predictors on measurements that they have not seen."""

from __future__ import annotations

from latcast.data import Dataset
from latcast.math.metrics import Scored, coverage_metrics, covered, metrics

from ._base import Predictor
from .layers import LayerPredictor


def score_networks(model: LayerPredictor, data: Dataset) -> Scored:
    """What a layer model says of measurements that it has not seen.

    Raises:
        ValueError: a latency that is not finite and positive, or another target.
    """
    data.check_values()
    if data.target != model.target:
        raise ValueError(f"the model is for {model.target}; got data of {data.target}")
    networks = data.graphs if data.space is None else data.archs
    true_ms = data.latency_ms
    inside = covered(true_ms, lambda c: model.predict_interval(networks, c), model.covers)
    return Scored(true_ms, model.predict(networks), inside)


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, float]:
    """:func:`metrics` of a predictor on measurements it has not seen.

    Where it is calibrated, ``coverage_N`` is the percentage of true latencies inside the interval
    that asks for N percent.

    Raises:
        ValueError: a latency that is not finite and positive, or another target or space.
    """
    data.check_values()
    if data.target != predictor.target:
        raise ValueError(f"the predictor is for {predictor.target}; got data of {data.target}")
    archs, true_ms = data.archs, data.latency_ms
    inside = covered(true_ms, lambda c: predictor.predict_interval(archs, c), predictor.covers)
    return metrics(true_ms, predictor.predict(archs)) | coverage_metrics(inside)


def evaluate_any(model: Predictor | LayerPredictor, data: Dataset) -> dict[str, float]:
    """:func:`evaluate`, or the metrics of :func:`score_networks` of a layer model.

    Raises:
        ValueError: as these, or the model is of a space and the data is not.
    """
    if isinstance(model, LayerPredictor):
        return score_networks(model, data).metrics()
    if data.space is None:
        raise ValueError(
            f"a model of {model.space.name} knows nothing of networks of other kinds: it must be a "
            "layer model (latcast train --predictor layers)"
        )
    return evaluate(model, data)
