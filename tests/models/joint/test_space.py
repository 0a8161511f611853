"""Architectures of a search space by the joint model, over the rows of its block table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.models import load
from latcast.models.joint import JointPredictor, JointSpacePredictor, Question
from latcast.models.joint import _space as joint_space
from latcast.models.resolve import UnresolvedError, resolve_one
from latcast.models.zoo import JOINT, open_shipped
from latcast.networks import block_counts
from latcast.search import TableAccuracy, search
from latcast.spaces import Archs, space

CELLS = space("nasbench201")


def of_any(device: str, **asked: object) -> JointPredictor:
    from latcast.devices import devices

    joint = open_shipped(JOINT, "joint")
    found = joint.predictor(Question.of(devices()[device], joint.domains, **asked))  # type: ignore[arg-type]
    assert isinstance(found, JointPredictor)
    return found


def measured(predictor: JointPredictor, n: int) -> Dataset:
    archs = CELLS.sample(n, 7)
    return Dataset(archs, 1.5 * predictor.predict(archs), predictor.target)


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("raspberry-pi-4", {"precision": "int8"}),
        ("pixel-7", {}),  # nothing measured: with fewer cores it is no faster
        ("rtx-4090", {"batch": 32}),
        ("gtx-1650", {"batch": 4}),
        ("snapdragon-8-gen-3", {"runtime": "qnn"}),
    ],
)
@pytest.mark.parametrize("name", ["nasbench201", "fbnet"])
def test_sums_over_blocks_are_the_forecasts_of_the_kernels(
    device: str, asked: dict[str, object], name: str
) -> None:
    whole, the_space = of_any(device, **asked), space(name)
    one, archs = JointSpacePredictor.of(whole, the_space), the_space.sample(40, 3)
    np.testing.assert_allclose(one.predict(archs), whole.predict(archs), rtol=1e-12)
    for ours, theirs in zip(
        one.predict_interval(archs), whole.predict_interval(archs), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert one.doubts(archs) == whole.doubts(archs)
    np.testing.assert_allclose(one.explain(archs).total_ms, one.predict(archs))


def test_a_file_and_measurements(tmp_path: Path) -> None:
    whole = of_any("raspberry-pi-4")
    few, others = measured(whole, 12), CELLS.sample(30, 8)
    one = JointSpacePredictor.of(whole, CELLS)
    adapted = one.adapt(few)
    assert isinstance(adapted, JointSpacePredictor)
    # A network with the kernels of a measured one is known a little better as a graph.
    np.testing.assert_allclose(adapted.predict(others), whole.adapt(few).predict(others), rtol=0.03)
    errors = [
        np.abs(np.log(p.predict(others) / (1.5 * one.predict(others)))) for p in (one, adapted)
    ]
    assert errors[1].max() < errors[0].min() / 2
    adapted.calibrate(measured(whole, 30))
    adapted.save(tmp_path / "one.latcast")
    again = load(tmp_path / "one.latcast")
    for ours, theirs in zip(
        again.predict_interval(others), adapted.predict_interval(others), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # scores are kept as they are


def test_a_measured_batch_is_not_held_to_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What weights that follow from 32 samples say of a single one may be anything."""
    whole, others = of_any("titan-rtx", batch=32), CELLS.sample(5, 8)
    adapted = whole.adapt(measured(whole, 10))
    before = [p.predict(others) for p in (whole, adapted)]
    monkeypatch.setattr(
        JointPredictor, "_at_batch", lambda p, k, b: np.full(len(k), 9.0 if b == 1 else 0.0)
    )
    after = [p.predict(others) for p in (whole, adapted)]
    assert (after[0] > 100 * before[0]).all()
    np.testing.assert_array_equal(after[1], before[1])


def test_a_target_of_any_network_is_searched_in_a_space_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pi.latcast"
    of_any("raspberry-pi-4").save(file)
    found = resolve_one(str(file), space=CELLS).of_space
    assert isinstance(found, JointSpacePredictor)
    with pytest.raises(UnresolvedError, match="--space"):
        resolve_one(str(file))


@pytest.mark.parametrize("device", ["raspberry-pi-4", "rtx-4090"])
def test_a_search_keeps_budgets_by_stated_deviations(device: str) -> None:
    archs = CELLS.sample(300, 1).unique()
    predictor = load(device, space=CELLS)
    predicted = predictor.predict(archs)
    accuracy = TableAccuracy(archs, 0.1 + 0.6 * predicted / predicted.max())
    # One that some network keeps with that confidence.
    budget = max(float(np.median(predicted)), 1.1 * predictor.upper_bound(archs, 0.9).min())
    plain, sure = (
        search(CELLS, latency=device, accuracy=accuracy, max_latency_ms=budget, confidence=c)
        for c in (None, 0.9)
    )
    assert plain.latency_ms[0] <= budget
    assert predictor.upper_bound(sure.archs, 0.9)[0] <= budget * (1 + 1e-9)
    assert sure.p_within_budget is not None
    assert plain.p_within_budget is not None
    assert sure.p_within_budget[0] >= 0.89 > plain.p_within_budget[0]


def test_a_forecast_looks_up_the_blocks_of_its_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = JointSpacePredictor.of(of_any("raspberry-pi-4"), CELLS)
    looked_up: list[int] = []

    def counted(archs: Archs, runs_all: bool) -> object:
        looked_up.append(len(archs))
        return block_counts(archs, runs_all)

    monkeypatch.setattr(joint_space, "block_counts", counted)
    batch, other = CELLS.sample(3, 1), CELLS.sample(2, 2)
    predicted = predictor.predict(batch)
    for _ in range(2):
        lower, upper = predictor.predict_interval(batch)
        predictor.explain(batch)
        predictor.doubts(batch)
    assert looked_up == [3]
    assert len(predictor.predict(other)) == 2
    assert looked_up == [3, 2]
    # What is returned is the caller's: writing into it changes no later answer.
    predicted[:], lower[:], upper[:] = 0, 0, 0
    assert (predictor.predict(batch) > 0).all()
    assert (predictor.stated(batch)[1] > 0).all()
