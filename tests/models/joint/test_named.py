"""Targets of the joint model that go by names, with factors of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import zoo
from latcast.models.joint import (
    Joint,
    JointPredictor,
    JointSpacePredictor,
    Observations,
    Question,
    _own,
)  # fmt: skip
from latcast.models.resolve import resolve_one
from latcast.models.zoo import open_shipped
from latcast.networks import Networks
from latcast.testing import check_fitted

SPACE = latcast.space("ofa-mobilenet-v3")
TARGET = Target("tesla-p40", "pytorch", 64)
NOISE = 0.01


@pytest.fixture(scope="module")
def joint() -> Joint:
    return open_shipped("devices", "joint")  # type: ignore[no-any-return]


def _rows(joint: Joint, count: int, seed: int) -> tuple[Observations, np.ndarray]:
    """A target unlike its prior: wide kernels are slow, and so are networks of many MACs."""
    facts = Question.of_target(TARGET, joint.domains).facts
    networks = Networks.of(SPACE.sample(count, seed=seed), replace(TARGET, runtime="eager"))
    prior = joint.model.learnt.prior(facts)
    slow = 0.3 * np.sin(np.log(networks.fact("outputs") + 1))
    kernels = _own.Work.of(networks).run_by(networks, facts.facts).times(slow)
    log_ms = prior.log_ms(kernels, networks.counts, prior.mean)[0]
    macs = np.log(networks.counts @ networks.fact("macs"))
    log_ms += 0.1 * np.sin(2 * macs)
    noise = np.random.default_rng(seed).normal(0, NOISE, count)
    n = np.arange(count)
    names = tuple(f"{seed}/{i}" for i in n)
    scatter = np.zeros(count)
    rows = Observations(networks, names, names, (facts,), n, 0 * n, log_ms + noise, scatter)
    return rows, log_ms


@pytest.mark.slow
def test_hundreds_of_networks_tell_factors_that_prices_lack(joint: Joint) -> None:
    rows, _ = _rows(joint, 300, 0)
    new, truth = _rows(joint, 60, 1)
    found = _own.learn(joint.model.learnt.prior(rows.targets[0]), rows.targets[0].facts, rows)
    assert 0.5 * NOISE < found.noise < 2 * NOISE
    again = Joint()
    again.__dict__.update(joint.__dict__, named={})
    again.name("p40", rows.targets[0], rows, {"data": []})
    p = again.of_name("p40")
    archs = SPACE.sample(60, seed=1)
    off = np.abs(np.log(p.predict(archs)) - truth)
    assert np.median(off) < 0.015
    below, above = p.predict_interval(archs)
    assert ((np.exp(new.log_ms) >= below) & (np.exp(new.log_ms) <= above)).mean() > 0.75
    # Of networks unlike all that were measured it is less sure than of those.
    other = latcast.space("nasbench201").sample(5, seed=0)
    low, high = p.predict_interval(other)
    assert (high / low).min() > (above / below).max()


def _own_of(seed: int, count: int = 20) -> _own.Own:
    own = _own.Own.choose(Networks.of(SPACE.sample(count, seed=seed), TARGET))
    return replace(own, weights=np.random.default_rng(seed).normal(size=len(own.weights)))


def test_factors_are_kept_in_files_that_share_points() -> None:
    first, second = _own_of(0), _own_of(1)
    like_first = replace(first, weights=first.weights[::-1])
    v = _own.packed([first, second, like_first])
    assert len(v["own_points"]) == len(first.points) + len(second.points)
    for own, again in zip([first, second, like_first], _own.unpacked(v), strict=True):
        for name in ("points", "classes", "whole_points", "weights"):
            np.testing.assert_array_equal(getattr(own, name), getattr(again, name))
    assert not _own.unpacked(_own.packed([]))
    for change in (
        {"own_weights": v["own_weights"][:-1]},
        {"own_facts": ("moods", *v["own_facts"][1:])},
        {"own_class": v["own_class"] + 1000},
    ):
        with pytest.raises(ValueError, match=r"must be|not known"):
            _own.unpacked({**v, **change})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["help-raspi4", "epyc-genoa-2c-litert-b1-t1"])
def test_named_targets_keep_the_contract(joint: Joint, tmp_path: Path, name: str) -> None:
    p = joint.of_name(name)
    archs = latcast.space("nasbench201" if "help" in name else SPACE.name).sample(12, seed=0)
    data = Dataset(archs, 1.3 * p.predict(archs), p.target)
    check_fitted(p, data, tmp_path)
    of_space = JointSpacePredictor.of(p, archs.space)
    np.testing.assert_allclose(of_space.predict(archs), p.predict(archs), rtol=1e-4)
    # Of the same target a few measurements move it; of another one, they start from it.
    near = p.adapt(data[:6])
    assert np.abs(np.log(near.predict(archs) / data.values)).max() < np.log(1.3)
    near.save(tmp_path / "near.latcast")
    again = JointPredictor.load(tmp_path / "near.latcast")
    np.testing.assert_allclose(again.predict(archs), near.predict(archs), rtol=1e-3)
    elsewhere = p.adapt(replace(data[:6], target=replace(p.target, device="elsewhere")))
    np.testing.assert_allclose(elsewhere.predict(archs), data.values, rtol=0.15)


def test_files_without_named_targets_stay_readable(joint: Joint, tmp_path: Path) -> None:
    joint.save(tmp_path / "a.latcast")
    file = read_model(tmp_path / "a.latcast")
    header = {k: v for k, v in file.header.items() if k != "named" and not k.startswith("own_")}
    tensors = {k: v for k, v in file.tensors.items() if not k.startswith(("named_", "own_"))}
    write_model(tmp_path / "b.latcast", ModelFile(header, tensors))
    older = Joint.load(tmp_path / "b.latcast")
    assert not older.named
    question = Question.of_target(Target.parse(joint.named["help-raspi4"].target), older.domains)
    assert older.predictor(question).target == question.target


def test_names_resolve_to_exactly_their_targets(joint: Joint) -> None:
    named = zoo.of_joint()
    assert named.keys() == joint.named.keys()
    assert len(named) > 40
    for name in ("help-1080ti-32", "help-raspi4"):
        target = zoo.target(name, "networks")
        by_name, by_target = (
            resolve_one(x, role="networks").predictor for x in (name, str(target))
        )
        assert isinstance(by_name, JointPredictor)
        assert by_name.target == by_target.target == target
        archs = SPACE.sample(3, seed=0)
        np.testing.assert_array_equal(by_name.predict(archs), by_target.predict(archs))
    # Of networks of any kind a device's name is the device: its model is asked for by the target.
    for name in ("samsung-note10", "tesla-p40"):
        target = zoo.target(name, "networks")
        assert resolve_one(str(target), role="networks").predictor.target == target
        by_device = resolve_one(name, role="networks").predictor.target
        assert by_device.device == name
        assert by_device != target
