"""A latcast predictor in the place of Once-For-All's lookup tables."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from latcast.models import Predictor
from latcast.search import EfficiencyPredictor, accuracy_model
from latcast.spaces import space

SPACE = space("ofa-mobilenet-v3")
Sample = dict[str, Any]


def _draw(resolution: Callable[[int], Sample]) -> Sample:
    """As ``ArchManager.random_sample`` and ``MobileNetArchEncoder.random_sample_arch`` do."""
    genes = {"ks": random.choices([3, 5, 7], k=20), "e": random.choices([3, 4, 6], k=20),
             "d": random.choices([2, 3, 4], k=5)}  # fmt: skip
    return genes | resolution(random.choice([160, 176, 192, 208, 224]))


FORMS: dict[str, Callable[[int], Sample]] = {
    "predict_efficiency": lambda side: {"wid": None, "r": [side]},  # ofa.tutorial
    "get_efficiency": lambda side: {"image_size": side},  # ofa.nas.search_algorithm
}


@pytest.mark.parametrize("method", FORMS)
def test_evolution_asks_it_one_sample_at_a_time(note10: Predictor, method: str) -> None:
    """The calls of both finders: draw until valid, mutate and cross copies until valid."""
    random.seed(0)
    ask = getattr(EfficiencyPredictor(note10), method)
    accuracy = accuracy_model()

    def valid(make: Callable[[], Sample]) -> tuple[float, Sample, float]:
        while True:
            sample = make()
            before = copy.deepcopy(sample)
            efficiency = ask(sample)
            assert sample == before
            assert type(efficiency) is float
            if efficiency <= 25:
                return float(accuracy.predict(SPACE.parse([sample]))[0]), sample, efficiency

    def changed(first: Sample, second: Sample) -> Sample:
        child = copy.deepcopy(first)
        for key, value in child.items():
            if isinstance(value, list):
                child[key] = [random.choice(pair) for pair in zip(value, second[key], strict=True)]
        other = _draw(FORMS[method])
        child["ks"][random.randrange(20)] = other["ks"][0]
        return child

    population = [valid(lambda: _draw(FORMS[method])) for _ in range(20)]
    first = max(population, key=lambda x: x[0])
    for _ in range(10):
        parents = sorted(population, key=lambda x: x[0])[::-1][:5]
        population = parents + [
            valid(lambda: changed(*(random.choice(parents)[1] for _ in range(2))))  # noqa: B023
            for _ in range(15)
        ]
    best = max(population, key=lambda x: x[0])
    assert best[0] > first[0]
    assert best[2] == note10.predict(SPACE.parse([best[1]]))[0]


def test_what_it_does_not_know(note10: Predictor) -> None:
    with pytest.raises(ValueError, match="knows nothing of nasbench201"):
        EfficiencyPredictor(note10, "nasbench201")
    efficiency = EfficiencyPredictor("samsung-note10", SPACE)
    genes = {"ks": [3] * 20, "e": [9] * 20, "d": [2] * 5, "r": [224]}
    with pytest.raises(ValueError, match="9"):
        efficiency.predict_efficiency(genes)
    assert np.isfinite(efficiency.predict_efficiency(genes | {"e": [4] * 20}))
