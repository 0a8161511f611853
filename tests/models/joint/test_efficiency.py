"""Efficiencies of single kernels: steps that prices cannot follow, in forecasts and in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latcast._model_file import ModelFile, read_model, write_model
from latcast.devices import devices, target_facts
from latcast.graph import Graph, GraphBuilder
from latcast.models.joint import (
    Faster,
    Joint,
    JointModel,
    JointPredictor,
    Observations,
    Question,
    TargetFacts,
    _efficiency,
)
from latcast.models.joint._efficiency import efficiencies
from latcast.models.joint._faster import FEWEST
from latcast.models.joint._targets import TargetFeatures
from latcast.networks import Networks

DEVICE, RUNTIME = "tesla-v100", "tensorrt"
PRECISIONS = ("fp32", "fp16", "int8")


def _conv(batch: int, c_in: int, c_out: int, side: int, kernel: int = 3) -> Graph:
    b = GraphBuilder(batch, f"{c_in}-{c_out}-{side}-{kernel}")
    return b.build(b.conv(b.input(c_in, side, side), c_out, kernel, padding=kernel // 2))


def _padded(networks: Networks, to: int) -> np.ndarray:
    outputs = networks.fact("outputs")[networks.counts.indices]
    return np.log(np.ceil(outputs / to) * to / outputs)


def _made(count: int = 240) -> Observations:
    """Single convolutions whose outputs are padded to whole tiles, other ones by precision.

    So int8 is faster than fp32 by a tenth where the padding is the same, and else slower.
    """
    rng = np.random.default_rng(0)
    shapes = {
        (int(b), *(int(8 * rng.integers(1, 24)) for _ in range(2)), int(rng.choice([7, 14, 28])))
        for b in rng.choice([1, 32], count)
    }
    graphs = [_conv(*shape) for shape in sorted(shapes)]
    networks, names = Networks.of_graphs(graphs), tuple(g.name for g in graphs)
    targets = tuple(
        TargetFacts(
            p, DEVICE, RUNTIME, RUNTIME, 0, p, 0,
            dict(target_facts(devices()[DEVICE], "tensorrt-gpu", 0, p)) | {"channels_last": 0.0},
        )
        for p in PRECISIONS
    )  # fmt: skip
    features = TargetFeatures.choose(targets)
    t, n = np.indices((3, len(graphs))).reshape(2, -1)
    log_ms = np.concatenate(
        [
            _efficiency._physics(networks, targets[0], features)[networks.counts.indices]
            + _padded(networks, to)
            + level
            for to, level in ((32, 0.0), (64, -0.2), (128, -0.1))
        ]
    )
    log_ms = log_ms + 0.01 * rng.standard_normal(len(log_ms))
    return Observations(networks, names, names, targets, n, t, log_ms, np.zeros(len(log_ms)))


@pytest.fixture(scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LEAST_KERNELS", 150), ("WEIGHT_ROWS", 40), ("STEP_ROWS", 16)):
            patch.setattr(_efficiency, name, value)
        patch.setattr(_efficiency, "HIDDEN", 32)
        yield


@pytest.fixture(scope="module")
def observations(_small: None) -> Observations:
    return _made()


@pytest.fixture(scope="module")
def joint(observations: Observations) -> Joint:
    return Joint.of(JointModel.fit(observations), observations, {})


def _predictor(joint: Joint, precision: str = "fp16", batch: int = 1) -> JointPredictor:
    asked = {"runtime": RUNTIME, "precision": precision, "batch": batch}
    return joint.predictor(Question.of(devices()[DEVICE], joint.domains, **asked))  # type: ignore[arg-type]


def test_steps_are_learnt_and_the_same_each_time(observations: Observations) -> None:
    new = observations.network % 5 == 0
    features = TargetFeatures.choose(observations.targets)
    told: list[str] = []
    found, left = efficiencies(observations.select(~new), features, told.append)
    assert list(found) == [RUNTIME]
    assert "learned features of" in told[0]
    # Weights are learnt from families that the network has not seen.
    assert 90 <= len(left) <= 150
    again, _ = efficiencies(observations.select(~new), features)
    for n, target in enumerate(observations.targets):
        rows = observations.select(new & (observations.target == n))
        networks = observations.networks.select(rows.network)
        own, same = (e[RUNTIME].of(target.precision) for e in (found, again))
        assert own is not None
        assert same is not None
        factors = own.log_factors(networks, target.facts)
        np.testing.assert_array_equal(factors, same.log_factors(networks, target.facts))
        told_ms = _efficiency._physics(networks, target, features) + factors
        errors = told_ms[networks.counts.indices] - rows.log_ms
        assert np.median(np.abs(errors)) < 0.06


def test_few_kernels_teach_prices_alone(observations: Observations) -> None:
    few = observations.select(observations.network < 100)
    found, left = efficiencies(few, TargetFeatures.choose(few.targets))
    assert (found, len(left)) == ({}, len(few))


def test_kernels_that_were_not_seen_have_no_factor(observations: Observations) -> None:
    found, _ = efficiencies(observations, TargetFeatures.choose(observations.targets))
    b = GraphBuilder(1, "pool")
    pool = Networks.of_graphs([b.build(b.global_pool(b.input(8, 8, 8))), _conv(1, 8, 8, 8, 1)])
    own = found[RUNTIME].of("fp32")
    assert own is not None
    assert not own.log_factors(pool, observations.targets[0].facts).any()
    assert found[RUNTIME].of("bf16") is None


def test_networks_are_sums_of_their_kernels(joint: Joint) -> None:
    b = GraphBuilder(1, "two")
    x = b.conv(b.input(24, 14, 14), 72, 3, padding=1)
    both = b.build(b.conv(x, 136, 3, padding=1))
    parts = [_conv(1, 24, 72, 14), _conv(1, 72, 136, 14)]
    predictor = _predictor(joint)
    whole, each = predictor.predict([both])[0], predictor.predict(parts)
    # What is beside the work of single convolutions is known of them alone.
    assert whole == pytest.approx(each.sum(), rel=0.05)
    assert any("measured alone" in text for text in predictor.doubts([both]))


def test_files_keep_efficiencies(joint: Joint, tmp_path: Path) -> None:
    joint.save(tmp_path / "joint.latcast")
    loaded = Joint.load(tmp_path / "joint.latcast")
    graphs = [_conv(1, 24, c, 14) for c in (40, 64, 72)]
    for precision in PRECISIONS:
        first, second = (_predictor(j, precision) for j in (joint, loaded))
        assert first.faster.keys() == second.faster.keys()
        np.testing.assert_allclose(first.predict(graphs), second.predict(graphs), rtol=0.02)
        second.save(tmp_path / "one.latcast")
        third = JointPredictor.load(tmp_path / "one.latcast")
        np.testing.assert_allclose(second.predict(graphs), third.predict(graphs), rtol=1e-3)


@pytest.mark.parametrize("damage", ["a network without an array", "a fact without a name"])
def test_files_whose_efficiencies_do_not_fit_are_refused(
    joint: Joint, tmp_path: Path, damage: str
) -> None:
    joint.save(tmp_path / "joint.latcast")
    file = read_model(tmp_path / "joint.latcast")
    tensors, header = dict(file.tensors), dict(file.header)
    if "array" in damage:
        del tensors["efficiency_layer_3"]
    else:
        header["efficiency_facts"] = header["efficiency_facts"][:-1]
    write_model(tmp_path / "bad.latcast", ModelFile(header, tensors))
    with pytest.raises(ValueError, match="must be a latcast Joint"):
        Joint.load(tmp_path / "bad.latcast")


def test_a_fact_that_is_not_known_any_more_is_left_out(joint: Joint, tmp_path: Path) -> None:
    joint.save(tmp_path / "joint.latcast")
    file = read_model(tmp_path / "joint.latcast")
    names = ["of the future", *file.header["efficiency_facts"][1:]]
    header = file.header | {"efficiency_facts": names}
    write_model(tmp_path / "other.latcast", ModelFile(header, file.tensors))
    predicted = _predictor(Joint.load(tmp_path / "other.latcast")).predict([_conv(1, 24, 72, 14)])
    assert np.isfinite(predicted).all()


def test_milliseconds_do_not_fall_with_the_batch_where_steps_are_learnt(joint: Joint) -> None:
    ms = [
        _predictor(joint, batch=n).predict([_conv(n, 24, c, 7) for c in (24, 72, 136)])
        for n in (1, 2, 3, 5, 7, 8, 9, 31, 32, 33)
    ]
    assert (np.diff(ms, axis=0) >= -1e-12).all()


def test_the_rarer_answer_is_told_by_a_rule(joint: Joint) -> None:
    """Outputs are padded to 128 in int8 and to 32 in fp32, so it is told by the shape."""
    found, than = (_predictor(joint, p, batch=32) for p in ("int8", "fp32"))
    graphs = [_conv(32, 96, c, 28) for c in (128, 136)]
    told = np.log(found.predict(graphs) / than.predict(graphs))
    chance = found.faster["fp32"].probability(told)
    assert chance[0] > 0.8
    assert chance[1] < 0.2
    assert than.faster["int8"].probability(-told) == pytest.approx(1 - chance)


def test_probabilities_follow_ties_and_shares() -> None:
    rng = np.random.default_rng(0)
    true = np.where(rng.random(2000) < 0.05, 0.01, -0.8) + 0.002 * rng.standard_normal(2000)
    told = true + 0.05 * rng.standard_normal(2000)
    rule = Faster.fit(told, true < 0)
    assert rule is not None
    chance = rule.probability(told)
    assert chance.mean() == pytest.approx(0.95, abs=0.01)
    assert np.mean((chance - (true < 0)) ** 2) < 0.01 < 0.05 * 0.95
    assert float(rule.probability(-0.3)) + float(rule.inverse.probability(0.3)) == pytest.approx(1)
    assert rule.inverse.share == pytest.approx(1 - rule.share)
    assert Faster.fit(told[: FEWEST - 1], true[: FEWEST - 1] < 0) is None
    assert Faster.fit(told, np.ones(2000, dtype=np.bool_)) is None


def test_a_target_is_not_learnt_from_twice(observations: Observations) -> None:
    """More rows than covariances are made for: those that the network has not seen come first."""
    from latcast.models.joint import _model
    from latcast.models.joint._effects import Effects

    rows = observations.select(observations.target == 0)
    known = rows.names[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_model, "MOST_ROWS", 10)
        few = _model.at_most(rows, Effects.start([known]))
    assert len(few) == 10
    assert known in {few.names[n] for n in few.network}
    assert _model.at_most(few, Effects.unknown()) is few
