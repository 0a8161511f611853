"""Verified searches keep to what they may answer with, and are checked before they measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import Predictor
from latcast.search import InfeasibleError, TableAccuracy, accuracy_model
from latcast.search.verification import Measured, Measuring, VerifiedResult, search_and_verify
from latcast.spaces import Archs, space

SPACE = space("compofa-fixed-kernel")
KNOWN = {"r": [160, 176, 192, 208, 224]}
HERE = Target("here", "simulator")
RESOLUTION = [g.name for g in SPACE.genes].index("r")


@pytest.fixture(scope="module")
def elsewhere(rtx: Predictor) -> Predictor:
    """A shipped model of another device."""
    return rtx


@pytest.fixture(scope="module")
def some() -> Archs:
    """Networks of all resolutions."""
    return SPACE.sample(300, 0, restrict=KNOWN).unique()


class Device(Measuring):
    """As fast as a predictor says, and as an earlier run has begun to measure."""

    target = HERE

    def __init__(self, predictor: Predictor, earlier: dict[int, Archs] | None = None) -> None:
        self._predictor, self._earlier = predictor, earlier or {}
        self.count = 0

    def measure(self, archs: Archs, round_: int) -> Measured:
        self.count += len(archs)
        return Measured(Dataset(archs, self._predictor.predict(archs), self.target))

    def chosen(self, round_: int) -> Archs | None:
        return self._earlier.get(round_)


def run(device: Device, latency: Any, **options: Any) -> VerifiedResult:
    options = {"max_latency_ms": 40.0, "rounds": 1, **options}
    return search_and_verify(SPACE, latency=latency, measuring=device, **options)


def resolutions(archs: Archs) -> set[int]:
    return set(archs.genes[:, RESOLUTION].tolist())


@pytest.mark.parametrize("source", ["candidates", "table", "space"])
def test_answers_and_measurements_keep_the_restrictions(
    elsewhere: Predictor, some: Archs, source: str
) -> None:
    options: dict[str, Any] = {
        "candidates": {"candidates": some},
        "table": {"accuracy": TableAccuracy(some, accuracy_model().predict(some))},
        "space": {},
    }[source]
    found = run(Device(elsewhere), elsewhere, restrict={"r": [160]}, **options)
    assert found.measured is not None
    assert resolutions(found.measured.archs) == {160}
    assert resolutions(found.archs) == {160}
    assert found.is_verified.all()


def test_what_an_earlier_run_measured_elsewhere_is_no_answer(
    elsewhere: Predictor, some: Archs
) -> None:
    largest = some[some.genes[:, RESOLUTION] == 224]
    order = np.argsort(accuracy_model().predict(largest))
    best = largest[order[-10:]]
    device = Device(elsewhere, {0: best})
    assert resolutions(run(device, elsewhere).archs) == {224}
    found = run(device, elsewhere, restrict={"r": [160]})
    assert resolutions(found.archs) == {160}
    assert found.measured is not None
    assert resolutions(found.measured.archs) == {160, 224}
    few = some[some.genes[:, RESOLUTION] == 192]
    found = run(device, elsewhere, candidates=few)
    assert len(few.concatenate(found.archs).unique()) == len(few)


def test_an_earlier_run_may_have_had_another_table(elsewhere: Predictor, some: Archs) -> None:
    table = TableAccuracy(some[:150], accuracy_model().predict(some[:150]))
    found = run(Device(elsewhere, {0: some[145:155]}), elsewhere, accuracy=table)
    assert np.isnan(found.rounds[0].accuracy).tolist() == [False] * 5 + [True] * 5
    assert len(some[:150].concatenate(found.archs).unique()) == 150


def test_candidates_that_a_table_does_not_know_are_left_out(
    elsewhere: Predictor, some: Archs
) -> None:
    table = TableAccuracy(some[:150], accuracy_model().predict(some[:150]))
    found = run(Device(elsewhere), elsewhere, accuracy=table, candidates=some[100:])
    assert found.measured is not None
    assert len(some[100:150].concatenate(found.measured.archs).unique()) == 50
    with pytest.raises(ValueError, match="candidates"):
        run(device := Device(elsewhere), elsewhere, accuracy=table, candidates=some[150:])
    assert not device.count


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "magic"),
        ({"method": "nsga2", "evaluations": 0}, ValueError, "evaluations must be at least 1"),
        ({"evaluation": 1}, TypeError, "did you mean 'evaluations'"),
        ({"round": 1}, TypeError, "did you mean 'rounds'"),
        ({"options": 1}, TypeError, "no option of search_and_verify is called 'options'"),
        ({"max_macs": 1e3}, InfeasibleError, "keeps the limits: the nearest found exceeds max_m"),
        ({"max_params": -1}, ValueError, "max_params must be positive"),
        ({"confidence": 2.0}, ValueError, "confidence must be between 0 and 1"),
        ({"confidence": 0.999}, ValueError, "a confidence of at most 0.9975; got 0.999"),
        ({"coverage": 3.0}, ValueError, "coverage must be between 0 and 1"),
        ({"time_limit_s": -1.0}, ValueError, "time_limit_s must be positive"),
        ({"restrict": {"r": [99]}}, ValueError, "r must keep one of"),
        ({"restrict": {"resolution": [160]}}, ValueError, "no gene 'resolution'"),
        ({"max_latency_ms": 0}, ValueError, "positive and finite"),
        ({"checkpoint": "a"}, ValueError, "checkpoint is for a single search"),
    ],
)
def test_nothing_is_measured_for_what_cannot_be_searched(
    elsewhere: Predictor, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    device = Device(elsewhere)
    with pytest.raises(error, match=message):
        run(device, elsewhere, **options)
    assert not device.count


def test_the_highest_confidence_can_be_searched(elsewhere: Predictor) -> None:
    found = run(Device(elsewhere), elsewhere, confidence=0.9975, max_latency_ms=60)
    assert found.search.confidence == 0.9975


def test_candidates_go_with_exhaustive_search_only(elsewhere: Predictor, some: Archs) -> None:
    device = Device(elsewhere)
    with pytest.raises(ValueError, match="only exhaustive search can choose"):
        run(device, elsewhere, candidates=some, method="nsga2")
    none = SPACE.enumerate({"r": [224]})
    with pytest.raises(InfeasibleError, match="keeps the limits"):
        run(device, elsewhere, candidates=none, max_macs=1.5e8, restrict={"r": [224]})
    assert not device.count
