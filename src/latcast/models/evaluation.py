"""Scores of predictors on measurements that they have not seen."""

from __future__ import annotations

from latcast.data import Dataset
from latcast.math.metrics import Scored, covered

from ._base import Predictor


def score(model: Predictor, data: Dataset) -> Scored:
    """What a predictor says of measurements that it has not seen, and which intervals hold them.

    Raises:
        ValueError: a value that is not possible, or another target, quantity or space.
    """
    data.check_values()
    data.check_quantity(model.fitted.quantity)
    if data.target != model.target:
        raise ValueError(f"the predictor is for {model.target}; got data of {data.target}")
    inside = covered(data.values, lambda c: model.predict_interval(data.networks, c), model.covers)
    return Scored(data.values, model.predict(data.networks), inside, data.quantity.unit)


def evaluate(model: Predictor, data: Dataset) -> dict[str, float]:
    """Metrics of a predictor on measurements that it has not seen.

    Where it is calibrated, ``coverage_N`` is the percentage of true values inside the interval
    that asks for N percent. Of networks of any kind, medians are told besides, since a few
    networks unlike all others make means say little.

    Raises:
        ValueError: as :func:`score`.
    """
    return score(model, data).metrics(of_any_network=model.fitted.space is None)
