"""Once-For-All's own evolutionary search, told latencies by a latcast predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latcast.search.request import Latency, find_predictors
from latcast.spaces import SearchSpace
from latcast.spaces import space as find_space


class EfficiencyPredictor:
    """Takes the place of a lookup table in Once-For-All's ``EvolutionFinder``.

    Both of its versions ask for one sample at a time, a dictionary, and compare a number with the
    constraint: the tutorial's calls ``predict_efficiency`` (``ofa.tutorial``), the library's
    ``get_efficiency`` (``ofa.nas.search_algorithm``). The number is the latency in ms.

    Args:
        latency: predictor, a model file, or the name of a shipped model.
        space: whose samples are asked about, or its name.

    Raises:
        ValueError: an unknown name, or a predictor of another space or quantity.
    """

    def __init__(self, latency: Latency, space: str | SearchSpace = "ofa-mobilenet-v3") -> None:
        self.space = find_space(space) if isinstance(space, str) else space
        (self.predictor,) = find_predictors(self.space, latency)

    def predict_efficiency(self, sample: Mapping[str, Any]) -> float:
        """Latency of a sample, ms for a whole batch of the predictor's target.

        Args:
            sample: as ``ArchManager.random_sample`` or ``MobileNetArchEncoder.random_sample_arch``
                give it: ``ks``, ``e``, ``d`` and ``r`` or ``image_size``; it is not changed.

        Raises:
            ValueError: it is no architecture of the space.
        """
        return float(self.predictor.predict(self.space.parse([dict(sample)]))[0])

    get_efficiency = predict_efficiency
