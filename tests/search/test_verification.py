"""Rounds of search, measurement and adaptation on devices whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import Predictor, Roofline
from latcast.search import InfeasibleError, accuracy_model, search
from latcast.search.verification import (
    Measured,
    Measuring,
    MeasuringError,
    VerifiedResult,
    search_and_verify,
    verify,
)
from latcast.search.verification._record import VerificationRecord
from latcast.search.verification._scope import find
from latcast.spaces import Archs, space
from tests.makers.records import example

Floats = npt.NDArray[np.float64]

SPACE = space("compofa-fixed-kernel")
RESOLUTIONS = {"r": [160, 192, 224]}
HERE = Target("here", "simulator", threads=1)


class Simulator(Measuring):
    """A device whose latencies are a formula; what is measured is off by ``noise``.

    Attributes:
        asked: the networks of every round, by its number.
    """

    target = HERE

    def __init__(self, truth_ms: Callable[[Archs], Floats], noise: float = 0.0) -> None:
        self.truth_ms, self.noise = truth_ms, noise
        self.asked: dict[int, Archs] = {}
        self.fails: Callable[[Archs], npt.NDArray[np.bool_]] = lambda a: np.zeros(len(a), np.bool_)
        self.interrupted_after: dict[int, int] = {}

    def measure(self, archs: Archs, round_: int) -> Measured:
        self.asked[round_] = archs
        done = self.interrupted_after.get(round_, len(archs))
        fails = self.fails(archs)[:done]
        archs, failed = archs[:done][~fails], archs[:done][fails]
        rng = np.random.default_rng(round_)
        ms = self.truth_ms(archs) * rng.normal(1, self.noise, len(archs))
        # In another order, as a campaign gives them.
        data = Dataset(archs, ms, self.target)[::-1] if len(archs) else None
        return Measured(
            data,
            tuple((arch, "it melts") for arch in failed),
            is_interrupted=round_ in self.interrupted_after,
        )

    @property
    def count(self) -> int:
        """Networks measured in all rounds."""
        return sum(map(len, self.asked.values()))


def this_device(archs: Archs) -> Floats:
    """Bound by memory and launches, where the ``synthetic`` device is bound by arithmetic."""
    facts = archs.space.block_table.facts
    ms = facts["macs"] * 1e-8 + facts["elementwise_bytes"] * 4e-7 + facts["launches"] * 0.05
    return 3.0 + archs.space.block_sums(archs, ms)


NEARLY = 0.97
"""Share of a budget by which what is found is judged: a network that uses it up to the last
per mille cannot be told from one that exceeds it."""


def optimum(truth_ms: Callable[[Archs], Floats], budgets_ms: Floats) -> Floats:
    """Accuracy of the truly best network within every budget, by enumeration."""
    archs = SPACE.enumerate(RESOLUTIONS)
    accuracy, ms = accuracy_model().predict(archs), truth_ms(archs)
    return np.array([accuracy[ms <= b].max() for b in budgets_ms])


@pytest.fixture(scope="module")
def elsewhere(synthetic: Dataset) -> Predictor:
    """A good predictor of another device."""
    return Roofline().fit(synthetic)


@pytest.fixture(scope="module")
def at_home() -> Predictor:
    """A good predictor of this device."""
    archs = SPACE.sample(300, 3, restrict=RESOLUTIONS)
    noise = np.random.default_rng(0).normal(1, 0.005, len(archs))
    return Roofline().fit(Dataset(archs, this_device(archs) * noise, HERE))


@pytest.fixture(scope="module")
def budgets() -> Floats:
    """A tight one, one in the middle and a loose one, in ms."""
    return np.quantile(this_device(SPACE.enumerate(RESOLUTIONS)), [0.15, 0.5, 0.8])


def run(device: Simulator, latency: Any, budgets_ms: Any, **options: Any) -> VerifiedResult:
    options = {"rounds": 3, "restrict": RESOLUTIONS, **options}
    return search_and_verify(
        SPACE, latency=latency, measuring=device, max_latency_ms=budgets_ms, **options
    )


def quirky(spread: float, seed: int = 0) -> Callable[[Archs], Floats]:
    """The formula, but for a factor of every network's own that no model can know."""

    def truth_ms(archs: Archs) -> Floats:
        genes = archs.canonical().genes
        own = [np.random.default_rng([seed, *g.tolist()]).normal() for g in genes]
        return this_device(archs) * np.exp(spread * np.array(own))

    return truth_ms


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_brand_new_device_takes_twenty_measurements(
    elsewhere: Predictor, budgets: Floats, seed: int
) -> None:
    device = Simulator(this_device, noise=0.005)
    wrong = search(SPACE, latency=elsewhere, max_latency_ms=budgets, restrict=RESOLUTIONS)
    assert (np.abs(this_device(wrong.archs) / budgets - 1) > 0.1).any()
    found = run(device, elsewhere, budgets.tolist(), rounds=2, seed=seed)
    assert device.count <= 20
    assert found.predictor.target == HERE
    assert found.is_verified.all()
    # The noise of a measurement may hide that a budget is overrun by as much.
    assert (this_device(found.archs) <= 1.015 * budgets).all()
    assert (optimum(this_device, NEARLY * budgets) - found.accuracy < 0.002).all()
    assert [v.round for v in found.rounds] == list(device.asked)
    assert found.rounds[-1].mape < 2


def test_a_model_of_another_space_is_carried_over(budgets: Floats) -> None:
    narrow = space("ofa-mobilenet-v3-w1.0")
    archs = narrow.sample(200, 0, restrict=RESOLUTIONS)
    base = Roofline().fit(Dataset(archs, this_device(archs), Target("elsewhere", "a")))
    device = Simulator(this_device, noise=0.005)
    found = run(device, base, budgets.tolist(), rounds=2)
    assert found.predictor.space.name == SPACE.block_space
    assert found.is_verified.all()
    assert (optimum(this_device, NEARLY * budgets) - found.accuracy < 0.003).all()


def test_an_earlier_run_has_chosen(at_home: Predictor, budgets: Floats) -> None:
    """What a resumed run measures is what the earlier one began with, in this front or not."""
    others = SPACE.sample(4, 0, restrict=RESOLUTIONS)

    class Resumed(Simulator):
        def chosen(self, round_: int) -> Archs | None:
            return others if round_ == 1 else None

    device = Resumed(this_device)
    found = run(device, at_home, budgets.tolist(), rounds=2)
    assert device.asked[1] is others
    assert set(found.rounds[0].roles) == {"front"}
    assert set(found.rounds[1].roles) >= {"pick"}
    assert find(device.asked[2], others).max() == -1
    assert found.is_verified.all()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_twenty_measurements_of_a_real_device(runtime: str) -> None:
    """Where the best of the networks that were measured is known, and the model is a phone's."""
    file = f"epyc-genoa-2c_{runtime}_b1_t1.parquet"
    data = latcast.read(Path(__file__).parents[2] / "datasets" / file)
    resolution = [g.name for g in data.archs.space.genes].index("r")
    data = data[np.isin(data.archs.genes[:, resolution], [160, 176, 192, 208, 224])]
    device = Simulator(lambda archs: data.latency_ms[find(archs, data.archs)])
    budgets_ms = np.quantile(data.latency_ms, [0.2, 0.4, 0.6, 0.8])
    found = search_and_verify(
        data.archs.space,
        latency="samsung-note10",
        measuring=device,
        max_latency_ms=budgets_ms.tolist(),
        candidates=data.archs,
    )
    assert device.count <= 20
    assert (found.measured_ms <= budgets_ms).all()
    accuracy = accuracy_model().predict(data.archs)
    best = np.array([accuracy[data.latency_ms <= b].max() for b in budgets_ms])
    assert (best - found.accuracy).mean() < 0.002


@pytest.mark.slow
def test_no_network_is_measured_twice(elsewhere: Predictor, budgets: Floats) -> None:
    device = Simulator(quirky(0.05))
    found = run(device, elsewhere, budgets.tolist(), rounds=4)
    archs = device.asked[0].concatenate(*(device.asked[n] for n in list(device.asked)[1:]))
    assert len(archs.unique()) == len(archs) == device.count
    assert found.measured is not None
    assert len(found.measured) == device.count
    np.testing.assert_allclose(found.measured_ms, device.truth_ms(found.archs))


def test_a_device_that_agrees_is_asked_once(at_home: Predictor, budgets: Floats) -> None:
    device = Simulator(this_device)
    found = run(device, at_home, budgets.tolist(), verify=3)
    assert list(device.asked) == [1]
    assert found.agrees
    assert found.predictor is at_home
    assert set(found.rounds[0].roles) == {"pick"}
    assert (found.measured_ms <= budgets).all()
    plain = search(SPACE, latency=at_home, max_latency_ms=budgets, restrict=RESOLUTIONS)
    assert found.archs == plain.archs


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_device_that_disagrees_is_adapted_to(
    at_home: Predictor, budgets: Floats, factor: float
) -> None:
    device = Simulator(lambda archs: factor * this_device(archs))
    found = run(device, at_home, (factor * budgets).tolist(), verify=4)
    first = found.rounds[0]
    assert first.mape == pytest.approx(100 * abs(1 / factor - 1), abs=3)
    assert not first.is_inside.any()
    assert found.is_verified.all()
    assert (found.measured_ms <= factor * budgets).all()
    assert (optimum(device.truth_ms, NEARLY * factor * budgets) - found.accuracy < 0.002).all()
    assert at_home.target == found.predictor.target
    assert found.predictor is not at_home


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("confidence", [None, 0.9])
def test_what_was_measured_over_budget_is_never_the_answer(
    at_home: Predictor, budgets: Floats, seed: int, confidence: float | None
) -> None:
    device = Simulator(quirky(0.1, seed))
    found = run(device, at_home, budgets.tolist(), rounds=2, confidence=confidence)
    measured = np.concatenate([v.measured_ms for v in found.rounds])
    accuracy = np.concatenate([v.accuracy for v in found.rounds])
    for budget, top, ms in zip(budgets, found.accuracy, found.measured_ms, strict=True):
        within = accuracy[measured <= budget]
        if len(within):
            assert ms <= budget
            assert top == pytest.approx(within.max(), abs=1e-6)
        else:
            assert np.isnan(ms)
    better = found.unverified_accuracy > found.accuracy
    assert (better | np.isnan(found.unverified_accuracy)).all()


@pytest.mark.slow
def test_confidence_counts_the_error_of_measurements(at_home: Predictor, budgets: Floats) -> None:
    class Unsure(Simulator):
        def measure(self, archs: Archs, round_: int) -> Measured:
            measured = super().measure(archs, round_)
            assert measured.dataset is not None
            error = np.full(len(measured.dataset), 0.1)
            error[0] = np.nan  # counts as 3 %
            return replace(measured, dataset=replace(measured.dataset, standard_error=error))

    found = run(Unsure(this_device), at_home, budgets.tolist(), confidence=0.9)
    factor = 1 + 1.2815515 * np.where(np.isnan(found.standard_error), 0.03, found.standard_error)
    verified = found.is_verified
    assert verified.any()
    assert (factor * found.measured_ms <= budgets)[verified].all()


def test_what_cannot_be_measured_is_left_out(at_home: Predictor, budgets: Floats) -> None:
    plain = search(SPACE, latency=at_home, max_latency_ms=budgets, restrict=RESOLUTIONS)
    fragile = plain.archs.unique()
    device = Simulator(this_device)
    device.fails = lambda archs: np.array([any(a == f for f in fragile) for a in archs])
    found = run(device, at_home, budgets.tolist())
    assert len(found.rounds[0].failures) == len(fragile)
    assert {reason for _, reason in found.rounds[0].failures} == {"it melts"}
    assert len(found.rounds[0]) == 5 - len(fragile)
    assert not any(a == f for a in found.archs for f in fragile)
    assert found.is_verified.all()


def test_a_device_on_which_nothing_runs(elsewhere: Predictor) -> None:
    device = Simulator(this_device)
    device.fails = lambda archs: np.ones(len(archs), np.bool_)
    with pytest.raises(MeasuringError, match=r"none of 10 networks could be measured.*it melts"):
        run(device, elsewhere, 20)


def test_more_to_verify_than_there_is(at_home: Predictor) -> None:
    few = SPACE.sample(6, 0, restrict=RESOLUTIONS)
    device = Simulator(lambda archs: 2 * this_device(archs))
    budget = 2 * float(this_device(few).max())
    found = run(device, at_home, [budget, 0.9 * budget], verify=50, candidates=few)
    front = search(SPACE, latency=at_home, candidates=few).front.archs
    assert device.count <= len(few)
    assert len(found.rounds[0]) == len(front)
    best = accuracy_model().predict(few).max()
    assert found.accuracy[0] == pytest.approx(best, abs=1e-6)


@pytest.mark.slow
def test_an_interruption_keeps_what_was_measured(
    elsewhere: Predictor, at_home: Predictor, budgets: Floats
) -> None:
    device = Simulator(this_device)
    device.interrupted_after = {1: 2}
    found = run(device, elsewhere, budgets.tolist())
    assert found.stopped == "interrupted"
    assert list(device.asked) == [0, 1]
    assert found.measured is not None
    assert (len(found.measured), len(found)) == (12, 3)
    device.interrupted_after = {0: 4}
    found = run(device, elsewhere, budgets.tolist())
    assert found.stopped == "interrupted"
    assert (len(found.rounds), len(found.rounds[0])) == (1, 4)
    assert not found.agrees
    device.interrupted_after = {0: 0}
    with pytest.raises(KeyboardInterrupt):
        run(device, elsewhere, budgets.tolist())
    # Without budgets the prediction is left.
    device.interrupted_after = {1: 0}
    found = run(device, at_home, None, verify=4)
    assert found.stopped == "interrupted"
    assert len(found) == 4
    assert not found.is_verified.any()


def test_without_budgets_the_front_is_verified(at_home: Predictor) -> None:
    device = Simulator(this_device)
    found = run(device, at_home, None, verify=7)
    first = found.rounds[0]
    assert set(first.roles) == {"pick"}
    assert len(first) == len(found) == 7
    front = search(SPACE, latency=at_home, restrict=RESOLUTIONS).front
    assert first.accuracy.min() == pytest.approx(front.accuracy.min(), abs=1e-6)
    assert first.accuracy.max() == pytest.approx(front.accuracy.max(), abs=1e-6)
    assert np.isinf(first.max_latency_ms).all()
    gaps = np.diff(np.log(np.sort(first.predicted_ms)))
    assert gaps.max() < 2 * gaps.min()
    assert found.is_verified.all()
    assert (np.diff(found.measured_ms) > 0).all()
    assert (np.diff(found.accuracy) > 0).all()
    np.testing.assert_array_equal(found.max_latency_ms, found.measured_ms)
    assert found.agrees
    assert list(device.asked) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize(
    ("factor", "verify", "rounds"), [(1.1, 1, 1), (2, 1, 2), (3, 5, 1), (3, 5, 2), (0.5, 4, 2)]
)
def test_without_budgets_the_result_is_what_was_measured(
    at_home: Predictor, elsewhere: Predictor, is_own: bool, factor: float, verify: int, rounds: int
) -> None:
    device = Simulator(lambda archs: factor * this_device(archs))
    latency = at_home if is_own else elsewhere
    found = run(device, latency, None, verify=verify, rounds=rounds, suggested=3)
    assert found.is_verified.all()
    assert len(found) >= min(verify, 3)
    np.testing.assert_array_equal(found.max_latency_ms, device.truth_ms(found.archs))
    # It is the front of all that was measured.
    assert found.measured is not None
    accuracy = accuracy_model().predict(found.measured.archs)
    for top, ms in zip(accuracy, found.measured.latency_ms, strict=True):
        assert ((found.accuracy >= top - 1e-7) & (found.measured_ms <= ms)).any()
    assert (np.diff(found.measured_ms) > 0).all()
    assert (np.diff(found.accuracy) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("verify", [1, 4])
def test_without_budgets_a_little_noise_does_no_harm(
    at_home: Predictor, seed: int, verify: int
) -> None:
    class Noisy(Simulator):
        def measure(self, archs: Archs, round_: int) -> Measured:
            return super().measure(archs, 10 * seed + round_)

    device = Noisy(this_device, noise=0.02)
    found = run(device, at_home, None, verify=verify, rounds=1)
    assert found.is_verified.all()
    assert (this_device(found.archs) <= 1.1 * found.max_latency_ms).all()
    assert device.count == verify


def test_without_budgets_nothing_may_run(at_home: Predictor) -> None:
    device = Simulator(this_device)
    front = search(SPACE, latency=at_home, restrict=RESOLUTIONS).front
    slow = float(np.median(front.latency_ms))
    device.fails = lambda archs: this_device(archs) > slow
    found = run(device, at_home, None, verify=6, rounds=1)
    assert found.is_verified.all()
    assert found.measured_ms.max() <= slow
    device.fails = lambda archs: np.ones(len(archs), np.bool_)
    found = run(device, at_home, None, verify=6, rounds=1)  # others might
    assert not found.is_verified.any()
    assert find(found.archs, device.asked[1]).max() == -1
    for budgets_ms in (None, 1e3):
        with pytest.raises(MeasuringError, match=r"that were found could be measured.*it melts"):
            run(device, at_home, budgets_ms, verify=len(front), rounds=1)


def test_limits_hold_for_measured_networks_too(elsewhere: Predictor, budgets: Floats) -> None:
    limit = 3e8
    found = run(Simulator(this_device), elsewhere, budgets.tolist(), max_macs=limit)
    assert (SPACE.costs(found.archs)["macs"].to_numpy() <= limit).all()
    suggested = SPACE.costs(found.rounds[0].archs)["macs"].to_numpy()
    assert (suggested > limit).any()


@pytest.mark.slow
def test_a_budget_that_cannot_be_kept(at_home: Predictor, budgets: Floats) -> None:
    device = Simulator(lambda archs: 2 * this_device(archs))
    with pytest.raises(InfeasibleError, match="no network of compofa-fixed-kernel keeps 1 ms"):
        run(device, at_home, [1, 20])
    assert not device.asked
    # Predicted to be kept, and found not to be: the others' answers do not help.
    fastest = float(this_device(SPACE.enumerate(RESOLUTIONS)).min())
    with pytest.raises(InfeasibleError, match=rf"keeps {1.1 * fastest:g} ms"):
        run(device, at_home, [1.1 * fastest, 100])


def test_one_verification_of_a_search(at_home: Predictor, budgets: Floats) -> None:
    result = search(SPACE, latency=at_home, max_latency_ms=budgets, restrict=RESOLUTIONS)
    device = Simulator(lambda archs: 1.1 * this_device(archs))
    found = verify(result, 5, device)
    assert len(found) == 5
    assert sorted(found.roles) == ["front", "front", "pick", "pick", "pick"]
    assert found.archs[:3].concatenate(result.archs).unique() == found.archs[:3]
    np.testing.assert_allclose(found.measured_ms, 1.1 * this_device(found.archs))
    np.testing.assert_allclose(found.error, found.predicted_ms / found.measured_ms - 1)
    assert found.mape == pytest.approx(9, abs=2)
    picks = np.array([role == "pick" for role in found.roles])
    assert sorted(found.max_latency_ms[picks].tolist()) == sorted(budgets.tolist())
    assert verify(search(SPACE, latency=at_home), 4, device).max_latency_ms.tolist() == [np.inf] * 4
    with pytest.raises(ValueError, match="at least one network"):
        verify(result, 0, device)


def test_requests_that_make_no_sense(elsewhere: Predictor, at_home: Predictor) -> None:
    device = Simulator(this_device)
    for wrong in ({"verify": 0}, {"rounds": 0}, {"suggested": 0}, {"tolerance": 0}):
        with pytest.raises(ValueError, match="must be at least 1, and the tolerance positive"):
            run(device, at_home, 20, **wrong)
    with pytest.raises(ValueError, match="checkpoint is for a single search"):
        run(device, at_home, 20, checkpoint="a")
    result = search(SPACE, latency=elsewhere, max_latency_ms=30)
    with pytest.raises(ValueError, match="on its own target only; it was for imaginary"):
        verify(result, 1, device)
    assert not device.asked


@pytest.mark.slow
def test_the_joint_model_is_verified_where_a_space_has_no_base() -> None:
    from latcast.search.verification import first_model

    model, specification = first_model("pixel-7", space("ofa-resnet50"))
    assert (model.kind, specification) == ("joint-space", None)
    joint = latcast.load("pixel-7", space=SPACE)
    budget = float(np.median(this_device(SPACE.sample(50, 0, restrict=RESOLUTIONS))))
    found = run(Simulator(this_device), joint, budget, verify=3, rounds=1, suggested=4)
    assert found.rounds
    assert found.measured is not None
    assert len(found.measured) >= 4


def test_the_answer_tells_every_budget_and_the_page_begins_with_the_networks() -> None:
    arch = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": [224]}
    own = {"arch": arch, "agrees": True, "measurements": 6, "coverage": 0.9, "verified": True}
    record: VerificationRecord = example(VerificationRecord, full=True, own=own)
    one = record.found[0]
    told = replace(
        record,
        found=tuple(
            replace(one, max_latency_ms=ms, accuracy=top1, measured_ms=ms - 0.1)
            for ms, top1 in ((4.0, 0.81), (6.0, 0.83))
        ),
    )
    assert told.answer() == (
        "The most accurate networks have 81.00 % top-1 within 4 ms (measured 3.90), 83.00 % top-1 "
        "within 6 ms (measured 5.90); the device agrees, after 6 measurements."
    )
    assert next(told.sections())[0] == "The networks"
    five = replace(told, found=5 * told.found[:1])
    assert " and 1 more; " in five.answer()
    alone = replace(told, found=told.found[:1])
    assert alone.answer().startswith("Within 4 ms the most accurate network has 81.00 % top-1")
