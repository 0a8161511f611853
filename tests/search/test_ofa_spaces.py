"""Searching the spaces of Once-For-All for which no accuracy model is shipped."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest

from latcast.bench.evolution import Evolution
from latcast.data import ACCURACY, Dataset
from latcast.devices import Target
from latcast.models import LookupTable
from latcast.models.accuracy import GaussianProcess
from latcast.report.text import at_least
from latcast.search import (
    NSGA2,
    CallableAccuracy,
    Exhaustive,
    InfeasibleError,
    Memetic,
    Method,
    Random,
    search,
)
from latcast.spaces import Archs, SearchSpace, space

QUICK: dict[str, Method] = {
    "exhaustive": Exhaustive(),
    "memetic": Memetic(evaluations=6_000, warmup=600),
    "evolution": Evolution(evaluations=6_000, population=40),
    "nsga2": NSGA2(evaluations=6_000, population=60),
    "random": Random(evaluations=6_000),
}
FREE = {
    "ofa-proxyless": {"d1", "d2", "d3", "d4", "d5", "ks1", "e21"},
    "ofa-resnet50": {"w3", "w4", "w5", "w6", "d1", "d3", "stem", "e1"},
}
BUDGETS = (0.3, 0.5, 0.8)
"""Shares of the way from the least to the most ms."""


def table(the_space: SearchSpace) -> LookupTable:
    facts = the_space.block_table.facts
    ms = facts["macs"] * 2e-8 + facts["elementwise_bytes"] * 4e-8 + facts["launches"] * 0.01
    return LookupTable.from_blocks(the_space, Target("imaginary", "simulator"), ms)


def truth(archs: Archs) -> npt.NDArray[np.float64]:
    """More parameters help, layers more than those."""
    costs = archs.space.costs(archs)
    log = np.log(costs["params"].to_numpy()) + 2 * np.log(costs["launches"].to_numpy())
    return 0.05 * log - 0.4


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("kind", FREE)
def test_the_best_of_a_part_that_can_be_enumerated(kind: str, name: str) -> None:
    the_space = space(kind)
    restrict = {g.name: g.choices if g.name in FREE[kind] else g.choices[:1]
                for g in the_space.genes} | {"r": [160, 192]}  # fmt: skip
    archs = the_space.enumerate(restrict)
    assert 3_000 < len(archs) < 12_000
    ms, accuracy = table(the_space).predict(archs), truth(archs)
    budgets = [float(ms.min() + share * np.ptp(ms)) for share in BUDGETS]
    found = search(
        the_space, latency=table(the_space), accuracy=CallableAccuracy(truth), restrict=restrict,
        max_latency_ms=budgets, method=QUICK[name], seed=1,
    )  # fmt: skip
    np.testing.assert_allclose(found.accuracy, truth(found.archs))
    assert (table(the_space).predict(found.archs) <= budgets).all()
    best = np.array([accuracy[ms <= budget].max() for budget in budgets])
    assert (found.accuracy <= best + 1e-12).all()
    away = {"exhaustive": 0.0, "memetic": 1e-12, "random": 0.01}.get(name, 0.004)
    assert (found.accuracy >= best - away).all()


@pytest.mark.parametrize("kind", FREE)
def test_by_accuracies_of_ones_own(kind: str) -> None:
    the_space = space(kind)
    few = the_space.sample(60, 3, restrict={"r": [160, 192]})
    trained = GaussianProcess().fit(Dataset(few, truth(few), quantity=ACCURACY))
    random = the_space.sample(3_000, 4, restrict={"r": [160, 192]})
    budget = float(np.median(table(the_space).predict(random)))
    found = search(
        the_space, latency=table(the_space), accuracy=trained, max_latency_ms=budget,
        method=QUICK["memetic"],
    )  # fmt: skip
    within = table(the_space).predict(random) <= budget
    assert truth(found.archs)[0] > truth(random[within]).max()
    assert found.archs.genes[0, -1] in (160, 192)


@pytest.mark.parametrize("kind", FREE)
def test_a_budget_below_the_fastest_names_it(kind: str) -> None:
    the_space = space(kind)
    least = np.array([[g.choices[0] for g in the_space.genes]])
    fastest = float(table(the_space).predict(Archs(the_space, least))[0])
    named = re.escape(at_least(fastest))
    with pytest.raises(InfeasibleError, match=rf"no network of {kind} keeps .* {named} ms"):
        search(
            the_space, latency=table(the_space), accuracy=CallableAccuracy(truth),
            max_latency_ms=fastest * 0.99,
        )  # fmt: skip
