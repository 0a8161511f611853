"""A device that runs all networks faster or slower than was known of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.models.joint._posterior import Level


def test_a_level_is_told_by_measurements_that_are_off_together() -> None:
    own = np.full(3, 0.01)
    level = Level.of(np.array([-1.1, -1.2, -1.0]), 0.01, own)
    assert level.log_factor == pytest.approx(-1.1, rel=0.05)
    assert 0 < level.variance < 0.05
    assert Level.of(np.array([-0.1, 0.2, 0.3]), 0.01, own) == Level()


@pytest.mark.parametrize("spike", [-2.0, 0.8, 3.0])
def test_one_spike_among_three_tells_none(spike: float) -> None:
    assert Level.of(np.array([spike, 0.05, -0.05]), 0.01, np.full(3, 0.01)) == Level()


def test_a_wide_prior_takes_it_for_the_device() -> None:
    assert Level.of(np.full(5, 1.0), 1.0, np.full(5, 0.01)) == Level()


@pytest.fixture(scope="module")
def measured() -> tuple[latcast.Predictor, Dataset]:
    """A measured board's model, and networks as it forecasts them, with some noise."""
    graphs = tuple(v.graph() for v in population(24, 1, ["vgg", "squeezenet", "mobilenet-v1"]))
    base = latcast.load("raspberry-pi-4", networks=graphs[0])
    noise = np.random.default_rng(2).normal(1, 0.03, len(graphs))
    ms = base.predict(graphs) * noise
    return base, Dataset(graphs, ms, Target("a-board", "ncnn"), names=tuple(map(str, range(24))))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1 / 3, 4.0])
@pytest.mark.parametrize("samples", [1, 2, 9])
def test_networks_of_another_board_are_as_much_faster(
    measured: tuple[latcast.Predictor, Dataset], factor: float, samples: int
) -> None:
    base, data = measured
    data = replace(data, values=factor * data.values)
    others = data[samples:]
    adapted = base.adapt(data[:samples])
    off = np.abs(adapted.predict(others.networks) / others.values - 1)
    assert np.median(off) < 0.08
    lower, upper = adapted.predict_interval(others.networks)
    assert np.mean((lower <= others.values) & (others.values <= upper)) > 0.8
    assert np.median(upper / lower) < 4


@pytest.mark.slow
def test_a_spike_among_three_moves_no_forecast_by_more_than_its_interval(
    measured: tuple[latcast.Predictor, Dataset],
) -> None:
    base, data = measured
    lower, upper = base.adapt(data[:3]).predict_interval(data[3:].networks)
    spiked = replace(data, values=np.where(np.arange(len(data)) == 1, 8, 1) * data.values)
    moved = base.adapt(spiked[:3]).predict(data[3:].networks)
    assert ((lower <= moved) & (moved <= upper)).all()


@pytest.mark.slow
def test_a_level_is_carried_on_to_another_target(
    measured: tuple[latcast.Predictor, Dataset],
) -> None:
    base, data = measured
    slower = replace(data, values=4 * data.values)
    adapted = base.adapt(slower[:6])
    other = replace(slower, target=Target("another", "ncnn"))[6:7]
    predicted = adapted.adapt(other).predict(data[7:].networks)
    assert np.median(np.abs(predicted / slower[7:].values - 1)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1 / 3, 4.0])
def test_architectures_of_a_space_are_as_much_faster(factor: float) -> None:
    the_space = latcast.space("ofa-mobilenet-v3")
    archs = the_space.sample(20, 0)
    base = latcast.load("raspberry-pi-4", space=the_space)
    data = Dataset(archs, factor * base.predict(archs), Target("a-board", "ncnn"))
    adapted = base.adapt(data[:2])
    np.testing.assert_allclose(adapted.predict(archs), data.values, rtol=0.05)
    lower, upper = adapted.predict_interval(archs)
    assert ((lower < data.values) & (data.values < upper)).all()
