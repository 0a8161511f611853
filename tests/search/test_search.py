from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import LookupTable, Predictor, Roofline
from latcast.search import CallableAccuracy, Memetic, Progress, search
from latcast.spaces import Archs, space

BUDGETS = [15.0, 20.0, 25.0, 30.0, 35.0]
QUICK = Memetic(evaluations=15_000)


def test_budgets_are_kept_and_beat_once_for_all_s_search(note10: Predictor, shared: Path) -> None:
    found = latcast.search(  # the callable module
        "ofa-mobilenet-v3", latency=note10, max_latency_ms=BUDGETS, seed=0
    )
    table = LookupTable.from_ofa(
        shared / "ofanas" / "lookup_tables", found.archs.space, note10.target
    )
    assert (table.predict(found.archs) <= np.array(BUDGETS)).all()
    # Once-For-All's EvolutionFinder at the same five budgets.
    assert (found.accuracy > np.array([0.7854, 0.8065, 0.8181, 0.8244, 0.8313]) - 0.001).all()
    assert found.accuracy.mean() > np.mean([0.7854, 0.8065, 0.8181, 0.8244, 0.8313])
    assert (np.diff(found.accuracy) > 0).all()


def test_order_of_budgets_is_kept_and_progress_is_told(note10: Predictor) -> None:
    calls: list[Progress] = []
    r = search("ofa-mobilenet-v3", latency=note10, max_latency_ms=[30, 20], method=QUICK,
               progress=calls.append)  # fmt: skip
    assert r.max_latency_ms.tolist() == [30, 20]
    assert (r.latency_ms <= r.max_latency_ms).all()
    assert r.accuracy[0] > r.accuracy[1]
    assert [c.evaluations for c in calls] == sorted({c.evaluations for c in calls})
    assert all(c.total == QUICK.evaluations for c in calls)
    best = np.array([c.best for c in calls])
    assert (np.diff(best, axis=0) >= 0).all()
    np.testing.assert_array_equal(best[-1], r.accuracy)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["rtx-2080-ti", "help-titan-rtx-32"])
def test_confidence_counts_the_upper_bound(device: str) -> None:
    p = latcast.load(device)
    plain = search("ofa-mobilenet-v3", latency=p, max_latency_ms=15, method=QUICK)
    sure = search("ofa-mobilenet-v3", latency=p, max_latency_ms=15, confidence=0.95, method=QUICK)
    assert p.upper_bound(sure.archs, 0.95)[0] <= 15
    assert plain.latency_ms[0] <= 15
    assert sure.p_within_budget is not None
    assert plain.p_within_budget is not None
    assert sure.p_within_budget[0] >= 0.945
    # What a search picks keeps its budget more seldom than a random network of that prediction.
    assert plain.p_within_budget[0] < p.probability_below(plain.archs, 15)[0]
    assert plain.lower_ms is not None
    assert plain.upper_ms is not None
    assert plain.lower_ms[0] < plain.latency_ms[0] < plain.upper_ms[0]


def test_restriction(note10: Predictor) -> None:
    r = search("ofa-mobilenet-v3", latency=note10, max_latency_ms=30,
               restrict={"r": [208], "d1": [2]}, method=QUICK)  # fmt: skip
    assert r.archs.to_dicts()[0]["r"] == [208]
    assert r.archs.to_dicts()[0]["d"][0] == 2


def test_models_of_the_user(synthetic: Dataset) -> None:
    def kernels(archs: Archs) -> npt.NDArray[np.float64]:
        """The more and the larger kernels, the better."""
        return archs.canonical().genes[:, :20].sum(axis=1) / 200

    accuracy = CallableAccuracy(kernels, resolutions=[144])
    the_space = space("ofa-mobilenet-v3")
    archs = the_space.sample(400, 0, restrict={"r": [144]})
    ms = 1 + the_space.block_sums(archs, the_space.block_table.facts["macs"] * 1e-7)
    p = Roofline().fit(Dataset(archs, ms, Target("mine", "r")))
    r = search(the_space, latency=p, accuracy=accuracy, max_latency_ms=1e9, method=QUICK)
    assert r.accuracy[0] == 0.7  # 20 blocks of kernel size 7
    with pytest.raises(ValueError, match="share no value of 'r'"):
        search(the_space, latency=Roofline().fit(synthetic), accuracy=accuracy, max_latency_ms=9)


def test_the_first_sentence_tells_every_budget_and_the_accuracies_scale_is_doubted(
    note10: Predictor,
) -> None:
    found = search(
        "compofa-fixed-kernel", latency=note10, max_latency_ms=[25, 30, 35], confidence=0.9
    )
    told = found.record()
    assert all(f"{ms} ms" in told.answer() for ms in (25, 30, 35))
    assert "P(within budget) is at least " in told.answer()
    assert any("scale lies above what is measured" in note for note in told.notes)
    mine = search(
        "compofa-fixed-kernel",
        latency=note10,
        max_latency_ms=25.0,
        accuracy=CallableAccuracy(lambda archs: archs.genes.mean(axis=1) / 255),
    )
    assert not mine.record().notes or "scale" not in " ".join(mine.record().notes)
