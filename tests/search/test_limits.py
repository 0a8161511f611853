"""Budgets, limits and what cannot be kept."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from latcast.data import Quantity
from latcast.math.conformal import Calibration
from latcast.models import BlockPredictor, Predictor
from latcast.search import (
    NSGA2,
    AccuracyModel,
    InfeasibleError,
    Memetic,
    Progress,
    Random,
    TableAccuracy,
    accuracy_model,
    search,
)
from latcast.search.confidence import Predicted
from latcast.search.feasibility import Changes, check_feasible
from latcast.search.problem import Problem, QuantityLimit, find_goals
from latcast.search.request import parse_budgets, parse_limits
from latcast.spaces import Archs, SearchSpace, space

LARGE, SMALL = "ofa-mobilenet-v3", "compofa-fixed-kernel"


def test_budgets() -> None:
    assert parse_budgets(None, 2).shape == (0, 2)
    assert parse_budgets(20, 1).tolist() == [[20]]
    assert parse_budgets([20, 30], 1).tolist() == [[20], [30]]
    assert parse_budgets([[20], [30]], 1).tolist() == [[20], [30]]
    assert parse_budgets((20, 5), 2).tolist() == [[20, 5]]
    assert parse_budgets([(20, 5), (30, 8)], 2).tolist() == [[20, 5], [30, 8]]


@pytest.mark.parametrize(
    ("budgets", "targets", "message"),
    [
        (20, 2, "must be 2 numbers of ms, one a target"),
        ([(20, 5), (30,)], 2, "must be 2 numbers of ms"),
        ([(20, 5)], 1, "must be a number of ms or a list of them"),
        ([], 1, "must be a number of ms or a list of them"),
        ((20, 0), 2, "must be positive and finite; got 0"),
        ((20, -1), 1, "must be positive and finite; got -1"),
        ((20, np.nan), 1, "must be positive and finite; got nan"),
        (np.inf, 1, "must be positive and finite; got inf"),
        ("x", 1, "must be a number of ms"),
    ],
)
def test_wrong_budgets(budgets: object, targets: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_budgets(budgets, targets)  # type: ignore[arg-type]


def test_wrong_limits() -> None:
    assert parse_limits(max_macs=3, max_params=None) == {"max_macs": 3.0}
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="max_macs must be positive and finite"):
            parse_limits(max_macs=bad)


def test_what_is_better_the_more_it_is_has_no_most(note10: Predictor) -> None:
    frames = Quantity("frames_s", "frames per second", "1/s", less_is_better=False)
    faster = copy(note10)
    faster.become(replace(note10.fitted, quantity=frames))
    with pytest.raises(ValueError, match="better the less it is to have a most; got frames_s"):
        QuantityLimit(Predicted(faster), faster, 30.0)


def test_changes_are_all_networks_next_to_one() -> None:
    the_space = space(SMALL)
    arch = the_space.sample(1, 0)
    (changes,) = Changes.of_each(arch, the_space.choices({"r": [160, 192]}))
    single = changes.singly()
    assert (single.genes != arch.genes).sum(axis=1).tolist() == [1] * len(changes)
    assert len(changes) == 5 * 2 + (1 if arch.genes[0, -1] in (160, 192) else 2)
    double = changes.made(changes.pairs())
    assert ((double.genes != arch.genes).sum(axis=1) == 2).all()
    assert len(double.unique()) == len(double) == 5 * 4 // 2 * 4 + 5 * 2 * (len(changes) - 10)
    # Of blocks that are not there there are none.
    arch = space(LARGE).sample(1, 3)
    single = Changes.of_each(arch, space(LARGE).choices())[0].singly()
    assert len(arch.concatenate(single).unique()) == len(single) + 1


@pytest.mark.parametrize("kind", [SMALL, LARGE])
def test_an_infeasible_budget_is_found_out_at_once(note10: Predictor, kind: str) -> None:
    told: list[Progress] = []
    with pytest.raises(
        InfeasibleError,
        match=r'keeps 9.8 ms on samsung-note10\S*: the fastest found takes \S+ ms; it is \{"ks"',
    ):
        search(kind, latency=note10, max_latency_ms=[20, 9.8], progress=told.append)
    assert not told  # no search has been made before


def test_contradictory_limits_name_the_nearest(note10: Predictor, rtx: Predictor) -> None:
    with pytest.raises(InfeasibleError, match=r"exceeds max_macs of 1000000 \(it has 10032"):
        search(LARGE, latency=note10, max_macs=1e6)
    with pytest.raises(InfeasibleError, match=r"max_macs of 1000000.* and max_params of 1000 "):
        search(LARGE, latency=note10, max_macs=1e6, max_params=1e3)
    with pytest.raises(InfeasibleError, match="keeps the other limits takes"):
        search(LARGE, latency=note10, max_latency_ms=9.5, max_macs=300e6)
    with pytest.raises(InfeasibleError, match=r"keeps 20 ms on samsung.* and 3 ms on rtx"):
        search(LARGE, latency=[note10, rtx], max_latency_ms=[(30, 20), (20, 3)])


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [None, 0.8, 0.95])
@pytest.mark.parametrize("scale", [1e-6, 0.0123456789, 1.0, 98765.4321])
@pytest.mark.parametrize("kind", [SMALL, LARGE])
def test_the_least_budget_that_is_named_can_be_kept(
    note10: Predictor, kind: str, scale: float, confidence: float | None
) -> None:
    scaled = Scaled(note10, scale)
    with pytest.raises(InfeasibleError) as refused:
        asked(scaled, kind, 1e-9 * scale, confidence)
    (least,) = re.findall(r"(?:takes|below) (\S+) ms", str(refused.value))
    asked(scaled, kind, float(least), confidence)
    with pytest.raises(InfeasibleError):
        asked(scaled, kind, 0.998 * float(least), confidence)


def asked(latency: Predictor, kind: str, budget_ms: float, confidence: float | None) -> None:
    search(kind, latency=latency, max_latency_ms=budget_ms, confidence=confidence, evaluations=500)


class Scaled(BlockPredictor):
    """A predictor whose milliseconds are multiplied, with errors of up to 10 %."""

    kind = "scaled"

    def __init__(self, base: Predictor, scale: float) -> None:
        super().__init__()
        self._base, self._scale = base, scale
        scores = np.linspace(-0.1, 0.1, 99)
        self.become(replace(base.fitted, calibration=Calibration(scores, 1.0)))

    def _predict(self, archs: Archs) -> npt.NDArray[np.float64]:
        return self._base.predict(archs) * self._scale

    def _fit(self, *_: Any) -> None:
        raise NotImplementedError

    _explain = _state = _restore = _fit  # type: ignore[assignment]  # nobody asks


@pytest.mark.parametrize(
    "limits",
    [
        {"max_macs": 1e6},
        {"max_params": 12345.6},
        {"max_activation_bytes": 1e3},
        {"max_macs": 1e6, "max_params": 1e3},
    ],
)
def test_the_least_limits_that_are_named_can_be_kept(
    note10: Predictor, limits: dict[str, float]
) -> None:
    with pytest.raises(InfeasibleError) as refused:
        search(LARGE, latency=note10, **limits)  # type: ignore[arg-type]  # all are numbers
    named = re.findall(r"(max_\w+) of \S+ \(it has (\S+)\)", str(refused.value))
    kept = limits | {name: float(value) for name, value in named}
    assert named
    search(LARGE, latency=note10, evaluations=500, **kept)  # type: ignore[arg-type]


def test_the_budgets_of_several_targets_that_are_named_can_be_kept(
    note10: Predictor, rtx: Predictor
) -> None:
    with pytest.raises(InfeasibleError) as refused:
        search(LARGE, latency=[note10, rtx], max_latency_ms=(20, 3))
    pair = tuple(map(float, re.findall(r"(\d\S*) ms", str(refused.value))[2:]))
    search(LARGE, latency=[note10, rtx], max_latency_ms=pair, evaluations=500)


def test_a_budget_that_only_just_holds(note10: Predictor, rtx: Predictor) -> None:
    archs = space(SMALL).enumerate({"r": accuracy_model().resolutions})
    ms = np.stack([note10.predict(archs), rtx.predict(archs)], axis=1)
    least = ms.min(axis=0)
    found = search(SMALL, latency=note10, max_latency_ms=least[0])
    assert found.latency_ms[0] == least[0]
    both = search(SMALL, latency=[note10, rtx], max_latency_ms=ms[7] + 1e-9)
    assert (both.latency_ms[0] <= ms[7] + 1e-9).all()


def test_limits_bind(note10: Predictor) -> None:
    the_space = space(SMALL)
    archs = the_space.enumerate({"r": accuracy_model().resolutions})
    accuracy, ms = accuracy_model().predict(archs), note10.predict(archs)
    costs = the_space.costs(archs)
    for name, column in (
        ("max_macs", "macs"), ("max_params", "params"), ("max_activation_bytes", "activation_bytes")
    ):  # fmt: skip
        values = costs[column].to_numpy()
        limit = float(np.quantile(values, 0.3))
        found = search(the_space, latency=note10, max_latency_ms=40, **{name: limit})
        best = accuracy[(ms <= 40) & (values <= limit)].max()
        assert found.accuracy[0] == pytest.approx(best, abs=1e-6)
        assert found.accuracy[0] < search(the_space, latency=note10, max_latency_ms=40).accuracy[0]


def test_candidates_are_the_only_networks(note10: Predictor) -> None:
    candidates = space(LARGE).sample(300, 0, restrict={"r": [160, 192, 224]})
    result = search(LARGE, latency=note10, candidates=candidates, max_latency_ms=[20, 30])
    accuracy, ms = accuracy_model().predict(candidates), note10.predict(candidates)
    for budget, found in zip((20, 30), result.accuracy, strict=True):
        assert found == pytest.approx(accuracy[ms <= budget].max(), abs=1e-6)
    assert result.is_exact
    assert result.evaluations == 300
    with pytest.raises(InfeasibleError, match="the fastest found takes"):
        search(LARGE, latency=note10, candidates=candidates, max_latency_ms=5)
    with pytest.raises(ValueError, match="only exhaustive search can choose"):
        search(LARGE, latency=note10, candidates=candidates, method="nsga2")
    with pytest.raises(ValueError, match="none of the 300 candidates has only values"):
        search(LARGE, latency=note10, candidates=candidates, restrict={"r": [176]})
    with pytest.raises(ValueError, match="candidates must be of ofa-mobilenet-v3; got compofa"):
        search(LARGE, latency=note10, candidates=space(SMALL).sample(3, 0))


def test_one_confidence_for_all_targets(rtx: Predictor, p40: Predictor) -> None:
    result = search(SMALL, latency=[rtx, p40], max_latency_ms=(15, 40), confidence=0.9)
    front = result.front
    for target, predictor in enumerate((rtx, p40)):
        assert (front.counted_ms[:, target] >= front.latency_ms[:, target]).all()
        # Each budget is kept with 95 %, so that both are with 90 %.
        bound = predictor.upper_bound(front.archs, 0.95)
        assert (front.counted_ms[:, target] >= bound - 1e-6).all()
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        search(SMALL, latency=rtx, confidence=1.5)


class _Slips(AccuracyModel):
    """Gives a number that is no accuracy, now and then."""

    def __init__(self, number: float) -> None:
        super().__init__("slips")
        self.given()
        self._number = number

    def supports(self, space: SearchSpace) -> bool:
        return True

    def _values(self, own: Archs) -> npt.NDArray[np.float64]:
        values = accuracy_model().predict(own)
        values[::7] = self._number
        return values


@pytest.mark.parametrize("number", [np.nan, np.inf, -0.1, 75.0])
def test_what_is_no_accuracy_is_refused(note10: Predictor, number: float) -> None:
    with pytest.raises(ValueError, match="accuracies of the model 'slips' must be from 0 to 1"):
        search(SMALL, latency=note10, accuracy=_Slips(number))


def test_a_table_of_accuracies_with_a_confidence_and_without_budgets(rtx: Predictor) -> None:
    archs = space(SMALL).sample(200, 0, restrict={"r": [160, 192, 224]}).unique()
    table = TableAccuracy(archs, accuracy_model().predict(archs))
    result = search(SMALL, latency=rtx, accuracy=table, confidence=0.9)
    assert result.is_exact
    assert result.evaluations == len(archs)
    assert (result.front.counted_ms > result.front.latency_ms).all()


def test_feasibility_with_a_confidence_asks_few_accuracies(rtx: Predictor) -> None:
    asked = 0

    def count(archs: Archs) -> npt.NDArray[np.float64]:
        nonlocal asked
        asked += len(archs)
        return accuracy_model().predict(archs)

    with pytest.raises(InfeasibleError, match=r"stays, with a confidence of 0.9, below"):
        search(LARGE, latency=rtx, max_latency_ms=4, confidence=0.9, accuracy=count)
    assert asked < 3_500  # 2,000 of them to know what is usual


def test_feasibility_with_a_confidence_is_exact_in_small_spaces(rtx: Predictor) -> None:
    front = search(SMALL, latency=rtx, confidence=0.9).front
    least = float(front.counted_ms.min())
    assert search(SMALL, latency=rtx, confidence=0.9, max_latency_ms=least + 1e-6).accuracy[0]
    with pytest.raises(InfeasibleError, match=f"below {least:.3f} ms"):
        search(SMALL, latency=rtx, confidence=0.9, max_latency_ms=least - 1e-3)


def test_few_evaluations_are_not_the_first_of_a_list(note10: Predictor) -> None:
    assert search(SMALL, latency=note10, max_latency_ms=25, evaluations=200).method == "memetic"
    assert search(SMALL, latency=note10, max_latency_ms=25, evaluations=1_215).is_exact


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coverage": 2}, "coverage must be between 0 and 1"),
        ({"time_limit_s": -1}, "time_limit_s must be positive"),
        ({"latency": []}, "a predictor or several; got none"),
    ],
)
def test_wrong_questions(note10: Predictor, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(SMALL, **({"latency": note10} | wrong))


@pytest.mark.parametrize(
    ("method", "setting"),
    [(Memetic, "warmup"), (Memetic, "elite"), (Memetic, "every"), (NSGA2, "population"),
     (Random, "evaluations")],
)  # fmt: skip
def test_settings_must_make_sense(method: Any, setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} of {method.name} must be at least"):
        method(**{setting: 0})


@pytest.mark.slow
def test_too_many_candidates(note10: Predictor) -> None:
    many = space(LARGE).sample(500_001, 0, restrict={"r": [160]})
    with pytest.raises(ValueError, match="takes at most 500,000 networks; the candidates are"):
        search(LARGE, latency=note10, candidates=many)


def test_a_budget_above_all_networks_does_not_draw_the_goals_away(note10: Predictor) -> None:
    budget = np.array([[1e6]])
    problem = Problem(
        space(LARGE), [Predicted(note10)], accuracy_model(), restrict={"r": [160, 224]},
        ceiling_ms=budget[0],
    )  # fmt: skip
    goals = find_goals(problem, budget, check_feasible(problem, budget), 0)
    assert goals.budgets == 1
    assert goals.ms[0, 0] == 1e6
    slow = note10.predict(space(LARGE).sample(2_000, 0, restrict={"r": [224]})).max()
    assert 0.8 * slow < goals.ms[1:].max() < 2 * slow
