"""The contract suite that every search method runs through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from latcast.bench.evolution import Evolution
from latcast.models import Predictor
from latcast.search import (
    METHODS,
    NSGA2,
    AccuracyModel,
    Exhaustive,
    Memetic,
    Method,
    Random,
    accuracy_model,
    search,
)
from latcast.search._search import find_method
from latcast.search.confidence import Predicted
from latcast.search.problem import Problem
from latcast.spaces import Archs, SearchSpace, space
from latcast.testing import check_method

Floats = npt.NDArray[np.float64]

BUDGETS = [15.0, 20.0, 25.0, 30.0, 35.0]
SMALL, LARGE = "compofa-fixed-kernel", "ofa-mobilenet-v3"

QUICK: dict[str, Callable[[], Method]] = {
    "exhaustive": Exhaustive,
    "memetic": lambda: Memetic(evaluations=6_000, warmup=600),
    "evolution": lambda: Evolution(evaluations=6_000, population=40),
    "nsga2": lambda: NSGA2(evaluations=6_000, population=60),
    "random": lambda: Random(evaluations=6_000),
}
in_large_spaces = pytest.mark.parametrize("name", [n for n in QUICK if n != "exhaustive"])
METHODS.register("evolution", Evolution)  # as a user's own


@pytest.fixture(scope="module")
def small_front(note10: Predictor) -> tuple[Floats, Floats]:
    """Accuracy and ms of the true front of the small space up to 35 ms."""
    archs = space(SMALL).enumerate({"r": accuracy_model().resolutions})
    accuracy, ms = accuracy_model().predict(archs), note10.predict(archs)
    best = [
        n for n in np.argsort(ms)
        if ms[n] <= BUDGETS[-1] and not ((ms <= ms[n]) & (accuracy > accuracy[n])).any()
    ]  # fmt: skip
    return accuracy[best], ms[best]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("seed", range(3))
def test_the_true_optimum_where_it_can_be_known(
    note10: Predictor, small_front: tuple[Floats, Floats], name: str, seed: int
) -> None:
    found = search(SMALL, latency=note10, max_latency_ms=BUDGETS, method=name, seed=seed,
                   evaluations=None if name == "exhaustive" else 40_000)  # fmt: skip
    accuracy, ms = small_front
    best = [accuracy[ms <= budget].max() for budget in BUDGETS]
    np.testing.assert_allclose(found.accuracy, best, atol=1e-6)
    if name == "exhaustive":
        np.testing.assert_allclose(found.front.accuracy, accuracy, atol=1e-6)
        np.testing.assert_allclose(found.front.latency_ms, ms)
        assert found.is_exact
        assert found.evaluations == 1_215


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_true_optimum_within_budgets_of_two_devices(
    note10: Predictor, rtx: Predictor, seed: int
) -> None:
    """In 62,208 networks, of a quarter of which the optimum is found."""
    kept = {g.name: [192 if g.name == "r" else g.choices[0]] for g in space(LARGE).genes}
    kept |= {f"d{n}": [2, 3, 4] for n in range(1, 6)}
    kept |= {f"e{n}": [3, 6] for n in (1, 5, 9, 13, 17)} | {f"ks{n}": [3, 7] for n in (2, 10, 18)}
    latency, budgets = [note10, rtx], [(18, 9), (22, 13), (26, 15), (32, 19)]
    true, found = (
        search(LARGE, latency=latency, max_latency_ms=budgets, restrict=kept, method=name,
               evaluations=most, seed=seed)
        for name, most in (("exhaustive", None), ("memetic", 15_000))
    )  # fmt: skip
    assert true.evaluations == 62_208
    np.testing.assert_allclose(found.accuracy, true.accuracy, atol=1e-7)
    # What both devices keep is no better than what either alone would.
    for device in (0, 1):
        alone = search(LARGE, latency=latency[device], max_latency_ms=[b[device] for b in budgets],
                       restrict=kept, method="exhaustive")  # fmt: skip
        assert (true.accuracy <= alone.accuracy + 1e-7).all()


def test_a_search_on_two_devices_evaluates_as_much_as_two(
    note10: Predictor, rtx: Predictor
) -> None:
    def evaluations(devices: list[Predictor], method: str | Method, most: int | None) -> int:
        latencies = [Predicted(p) for p in devices]
        return find_method(
            method, Problem(space(LARGE), latencies, accuracy_model()), most
        ).evaluations

    assert evaluations([note10], "auto", None) == Memetic().evaluations
    assert evaluations([note10, rtx], "auto", None) == 2 * Memetic().evaluations
    assert evaluations([note10, rtx], "auto", 700) == 700
    assert evaluations([note10, rtx], Memetic(evaluations=900), None) == 900


def test_every_method_is_in_the_suite() -> None:
    assert set(QUICK) == set(METHODS.names())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_contract(note10: Predictor, tmp_path: Path, name: str) -> None:
    kind = SMALL if name == "exhaustive" else LARGE
    check_method(QUICK[name], tmp_path, space=kind, latency=note10)


@pytest.mark.slow
@in_large_spaces
def test_another_seed_finds_another_front(note10: Predictor, name: str) -> None:
    a, b = (search(LARGE, latency=note10, max_latency_ms=30, seed=seed, method=QUICK[name]())
            for seed in (5, 6))  # fmt: skip
    assert a.front.archs != b.front.archs


@in_large_spaces
def test_evaluations_are_counted_and_bounded(note10: Predictor, name: str) -> None:
    model = _Counting()
    result = search(LARGE, latency=note10, max_latency_ms=20, accuracy=model, method=name,
                    evaluations=5_003)  # fmt: skip
    assert result.evaluations == 5_003
    # Besides, the networks that show that the budget can be kept, and 2,000 of what is usual.
    assert model.asked <= 5_003 + 2 + 2_000
    assert not result.is_exact
    assert result.stopped is None


@in_large_spaces
def test_the_front_is_a_front_within_all_limits(
    note10: Predictor, p40: Predictor, name: str
) -> None:
    the_space = space(LARGE)
    limits = {"max_macs": 260e6, "max_params": 7e6, "max_activation_bytes": 6e6}
    result = search(the_space, latency=[note10, p40], max_latency_ms=[(22, 40), (26, 34)],
                    method=QUICK[name](), restrict={"r": [160, 192]}, **limits)  # fmt: skip
    front = result.front
    assert len(front) > 3
    assert set(front.archs.genes[:, -1].tolist()) <= {160, 192}
    assert (front.latency_ms <= [26, 40]).all()
    costs = the_space.costs(front.archs)
    assert costs["macs"].max() <= limits["max_macs"]
    assert costs["params"].max() <= limits["max_params"]
    assert costs["activation_bytes"].max() <= limits["max_activation_bytes"]
    for accuracy, ms in zip(front.accuracy, front.latency_ms, strict=True):
        as_good = (front.accuracy >= accuracy) & (front.latency_ms <= ms).all(axis=1)
        assert as_good.sum() == 1
    np.testing.assert_allclose(front.latency_ms[:, 1], p40.predict(front.archs))
    np.testing.assert_allclose(front.accuracy, accuracy_model().predict(front.archs), atol=1e-6)
    for budget, accuracy in zip(result.max_latency_ms, result.accuracy, strict=True):
        assert accuracy == front.accuracy[(front.latency_ms <= budget).all(axis=1)].max()


@pytest.mark.parametrize("name", QUICK)
def test_an_interruption_gives_what_was_found(note10: Predictor, name: str) -> None:
    model = _Counting(interrupt_after=1 if name == "exhaustive" else 1_000)
    kind = SMALL if name == "exhaustive" else LARGE
    method = QUICK[name]()
    result = search(kind, latency=note10, max_latency_ms=[20, 30], accuracy=model, method=method)
    assert result.stopped == "interrupted"
    assert not result.is_exact
    assert len(result) == 2
    assert (result.latency_ms <= result.max_latency_ms).all()


@in_large_spaces
def test_out_of_time(note10: Predictor, name: str) -> None:
    result = search(LARGE, latency=note10, max_latency_ms=[20, 30], method=name,
                    time_limit_s=1e-9)  # fmt: skip
    assert result.stopped == "time"
    assert 0 < result.evaluations < 6_000
    assert len(result) == 2


def test_two_targets_are_never_dominated_by_single_ones(note10: Predictor, p40: Predictor) -> None:
    budget = (24.0, 33.0)
    both = search(SMALL, latency=[note10, p40], max_latency_ms=budget)
    joint = search(SMALL, latency=[note10, p40]).front
    for single in (note10, p40):
        front = search(SMALL, latency=single).front
        ms = np.stack([note10.predict(front.archs), p40.predict(front.archs)], axis=1)
        inside = (ms <= budget).all(axis=1)
        assert inside.any()
        assert both.accuracy[0] >= front.accuracy[inside].max() - 1e-6  # float32 in batches
        # The front of both holds what is as good as anything on the front of either.
        for accuracy, own_ms in zip(front.accuracy, ms, strict=True):
            as_fast = (joint.latency_ms <= own_ms * (1 + 1e-6)).all(axis=1)
            assert joint.accuracy[as_fast].max() >= accuracy - 1e-6


class _Counting(AccuracyModel):
    """The shipped accuracy model; it counts what it is asked."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        super().__init__("counting")
        self.given(resolutions=accuracy_model().resolutions)
        self.asked = 0
        self._interrupt_after = interrupt_after

    def supports(self, space: SearchSpace) -> bool:
        return True

    def _values(self, own: Archs) -> npt.NDArray[np.float64]:
        if self._interrupt_after is not None and self.asked >= self._interrupt_after:
            self._interrupt_after = None
            raise KeyboardInterrupt
        self.asked += len(own)
        return accuracy_model().predict(own)
