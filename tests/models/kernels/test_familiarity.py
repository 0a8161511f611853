"""Intervals of layer models follow how near kernels are to those that were measured."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast._model_file import read_model, write_model
from latcast.data import Dataset
from latcast.devices import devices
from latcast.families import Variant
from latcast.graph import KERNEL_FACTS, Graph
from latcast.models.kernels._familiarity import CELL, FAR, Familiarity, LeftOut
from latcast.networks import ALL_KINDS, OPS, Networks

SHIPPED = Path(str(files("latcast") / "zoo" / "epyc-genoa-2c-openvino-b1-t1.layers.latcast"))
NEAR = ("cells", "cell_kinds", "knots", "knot_factors", "near_scores")


def a_network() -> Graph:
    """Of a family that was measured."""
    return latcast.read_graph(Variant.parse("squeezenet-1.1").to_onnx(1))


def left_out(rng: np.random.Generator, novelty: tuple[float, float], slope: float) -> LeftOut:
    far = rng.uniform(*novelty, 400)
    return LeftOut(rng.normal(size=400) * (0.1 + slope * far), far)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_intervals_hold_near_and_far(level: float) -> None:
    """Errors grow with the distance; intervals do, and hold of either kind of networks."""
    rng = np.random.default_rng(0)
    seen = Familiarity.of(np.zeros(3, np.int64), np.zeros((3, 2)))
    fits = left_out(rng, (0.0, 1.0), 0.5), left_out(rng, (0.5, 4.0), 0.5)
    found = seen.fitted(*fits)
    assert found is not None
    near, scores = found
    assert (np.diff(near.factors) >= 0).all()
    assert near.factor(np.array([3.0])) > 4 * near.factor(np.array([0.1]))
    for others in (left_out(rng, (0.0, 1.0), 0.5), left_out(rng, (0.5, 4.0), 0.5)):
        inside = np.abs(others.scores) / near.factor(others.novelty) <= scores.quantile(level)
        assert inside.mean() == pytest.approx(level, abs=0.07)


def test_few_networks_tell_no_factors() -> None:
    few = LeftOut(np.ones(39), np.arange(39.0))
    assert Familiarity.of(np.zeros(3, np.int64), np.zeros((3, 2))).fitted(few, few) is None


def test_distances_are_to_kernels_of_the_kind() -> None:
    own = np.array([[0.0, 0.0], [1.0, 1.0]])
    seen = Familiarity.of(np.full(2, ALL_KINDS.index("conv")), own)
    ops = np.array([OPS.index(op) for op in ("conv", "conv", "linear")])
    kernels = Networks(ops, ("", "", ""), np.zeros((3, len(KERNEL_FACTS))), np.eye(3))
    facts = np.array([[0.0, 0.0], [1.0, 1.0 + 2 * CELL], [0.0, 0.0]])
    assert seen.distances(kernels, facts) == pytest.approx([0.0, 2 * CELL, FAR])


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped file as it was before it told how near kernels are."""
    file = read_model(SHIPPED)
    for name in NEAR:
        del file.tensors[name]
    path = tmp_path_factory.mktemp("older") / "older.layers.latcast"
    write_model(path, file)
    return path


def test_files_without_it_answer_as_before(older: Path) -> None:
    before, now = latcast.load_layers(older), latcast.load_layers(SHIPPED)
    networks = [a_network()]
    np.testing.assert_array_equal(before.predict(networks), now.predict(networks))
    assert before._model.familiarity is None
    near = now._model.familiarity
    assert near is not None
    np.testing.assert_array_equal(before.calibration.sizes, near.apart)
    wide, narrow = (np.diff(m.predict_interval(networks, 0.9), axis=0) for m in (before, now))
    assert (narrow < wide).all()  # a family that was measured


@pytest.mark.slow
def test_of_what_is_made_of_the_model_it_says_nothing(older: Path) -> None:
    before, now = latcast.load_layers(older), latcast.load_layers(SHIPPED)
    target = replace(now.target, device="xeon-gold-6226")
    device = devices()["xeon-gold-6226"]
    network = [a_network()]
    told = [m.carried(device, target).predict_interval(network, 0.9) for m in (before, now)]
    np.testing.assert_allclose(told[1], told[0], rtol=1e-12)
    few = Dataset(tuple(network), np.array([1.0]), now.target, families=("squeezenet",))
    told = [m.adapt(few).predict_interval(network, 0.9) for m in (before, now)]
    np.testing.assert_allclose(told[1], told[0], rtol=1e-12)


@pytest.mark.slow
def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = latcast.load_layers(SHIPPED)
    model.save(tmp_path / "again.layers.latcast")
    again = latcast.load_layers(tmp_path / "again.layers.latcast")
    near, kept = model._model.familiarity, again._model.familiarity
    assert near is not None
    assert kept is not None
    for name in ("cells", "kinds", "knots", "factors", "apart"):
        np.testing.assert_array_equal(getattr(near, name), getattr(kept, name))
    np.testing.assert_array_equal(model.calibration.sizes, again.calibration.sizes)


@pytest.mark.parametrize("name", NEAR)
def test_a_file_with_a_part_of_it_is_refused(name: str, tmp_path: Path) -> None:
    file = read_model(SHIPPED)
    del file.tensors[name]
    write_model(tmp_path / "part.layers.latcast", file)
    with pytest.raises(ValueError, match="must have"):
        latcast.load_layers(tmp_path / "part.layers.latcast")
