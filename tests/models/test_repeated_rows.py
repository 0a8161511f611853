"""Repeated measurements of a network count once, and a spike is within the interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.graph import Graph, GraphBuilder
from latcast.models import BaseModel, Predictor, predictor
from latcast.spaces import Archs, space

SPACE = space("ofa-mobilenet-v3")
TARGET = Target("my-phone", "onnxruntime")
RESOLUTIONS = {"r": [160, 192]}


def latency_ms(networks: Archs | tuple[Graph, ...], slope: float = 1e7) -> np.ndarray:
    if isinstance(networks, tuple):
        return np.array([2 + graph.macs / slope for graph in networks])
    return np.asarray(2 + SPACE.costs(networks)["macs"].to_numpy() / slope)


def graph(width: int) -> Graph:
    b = GraphBuilder(1)
    x = b.input(3, 64, 64)
    for _ in range(4):
        x = b.activation(b.conv(x, width, 3, padding=1), "relu")
    return b.build(b.linear(b.global_pool(x), 10))


@cache
def measured(of: str, n: int = 60) -> Dataset:
    """Networks that follow their arithmetic, with 1 % of noise."""
    networks = (
        SPACE.sample(n, seed=3, restrict=RESOLUTIONS)
        if of == "archs"
        else tuple(graph(width) for width in range(32, 32 + 2 * n, 2))
    )
    noise = np.random.default_rng(0).normal(1, 0.01, n)
    return Dataset(networks, latency_ms(networks) * noise, TARGET)


@cache
def base_model() -> BaseModel:
    archs = SPACE.sample(60, seed=8, restrict=RESOLUTIONS)
    return BaseModel().fit(
        [
            Dataset(archs, latency_ms(archs, 10.0**power), Target(f"d{power}", "onnxruntime"))
            for power in (6, 7)
        ]
    )


ADAPTED: dict[str, tuple[str, Callable[[Dataset], Predictor]]] = {
    "bayes": ("archs", lambda few: latcast.load("tesla-p40").adapt(few)),
    "base": ("archs", lambda few: base_model().adapt(few)),
    "joint-space": (
        "archs",
        lambda few: latcast.load("raspberry-pi-4", space=SPACE.name).adapt(few),
    ),
    "joint": ("graphs", lambda few: latcast.load("raspberry-pi-4", networks=()).adapt(few)),
    "layers": (
        "graphs",
        lambda few: latcast.load("epyc-genoa-2c/onnxruntime/b1/t1", networks=()).adapt(few),
    ),
}
KINDS = [
    pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("joint", "layers"))) for kind in ADAPTED
]
FITTED = ("roofline", "bayes", pytest.param("mlp", marks=pytest.mark.slow), "flops")


def repeated(data: Dataset, times: int, *, at_the_end: bool = False) -> Dataset:
    rows = np.arange(len(data))
    return data[np.tile(rows, times) if at_the_end else np.repeat(rows, times)]


def stated(p: Predictor, data: Dataset) -> np.ndarray:
    return np.stack([p.predict(data.networks), *p.predict_interval(data.networks)])


@cache
def adapted_to(kind: str, rows: tuple[int, ...]) -> Predictor:
    """A model of a kind, adapted to rows as they were measured: several tests compare with it."""
    of, adapted = ADAPTED[kind]
    return adapted(measured(of)[np.array(rows)])


@pytest.mark.slow
@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_change_nothing_of_what_is_adapted(kind: str, times: int, at_the_end: bool) -> None:
    of, adapted = ADAPTED[kind]
    few = measured(of)[:20]
    once = stated(adapted_to(kind, tuple(range(len(few)))), few)
    np.testing.assert_array_equal(
        stated(adapted(repeated(few, times, at_the_end=at_the_end)), few), once
    )


@pytest.mark.parametrize("kind", FITTED)
def test_copies_change_nothing_of_what_is_fitted(kind: str) -> None:
    data = measured("archs")
    once = stated(predictor(kind).fit(data), data)
    np.testing.assert_array_equal(stated(predictor(kind).fit(repeated(data, 3)), data), once)
    in_two = predictor(kind).fit(data, data)
    np.testing.assert_array_equal(stated(in_two, data), once)


@pytest.mark.slow
def test_copies_change_nothing_of_layer_models_and_intervals() -> None:
    data = measured("graphs", 24)
    once = predictor("layers").fit(data)
    twice = predictor("layers").fit(data, data)
    np.testing.assert_array_equal(stated(twice, data), stated(once, data))
    once.calibrate(data)
    twice.calibrate(repeated(data, 3))
    np.testing.assert_array_equal(stated(twice, data), stated(once, data))


def test_adapting_twice_to_the_same_rows_is_adapting_once() -> None:
    of, adapted = ADAPTED["joint"]
    few = measured(of)[:12]
    once = adapted(few)
    np.testing.assert_allclose(stated(once.adapt(few), few), stated(once, few), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bayes", "base", "joint-space"])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_intervals_of_rows_that_stand_several_times_cover_new_networks(
    kind: str, times: int
) -> None:
    few = repeated(measured("archs"), times)
    new = SPACE.sample(500, seed=9, restrict=RESOLUTIONS)
    fresh = latency_ms(new) * np.random.default_rng(5).normal(1, 0.01, len(new))
    lower, upper = ADAPTED[kind][1](few).predict_interval(new)
    assert np.mean((lower <= fresh) & (fresh <= upper)) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("spike", [0.2, 3.0])
@pytest.mark.parametrize("rows", [2, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spike_moves_no_forecast_by_more_than_its_interval(
    kind: str, rows: int, spike: float
) -> None:
    of, adapted = ADAPTED[kind]
    data = measured(of)
    few, others = data[:rows], data[rows:]
    values = few.values.copy()
    values[rows // 2] *= spike
    without = tuple(n for n in range(rows) if n != rows // 2)
    clean = adapted_to(kind, without).predict(others.networks)
    lower, upper = adapted(replace(few, values=values)).predict_interval(others.networks)
    assert np.mean((lower <= clean) & (clean <= upper)) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 3, 5])
def test_rows_that_agree_with_each_other_but_not_with_known_ones_still_say_something(
    rows: int,
) -> None:
    """The measured networks' own narrow intervals are no measure of what others may move."""
    graphs = [latcast.read_graph(v.to_onnx()) for v in population(8, seed=5)]
    known = latcast.load("raspberry-pi-4", networks=graphs)
    few = Dataset(graphs[:rows], 1.4 * known.predict(graphs[:rows]), known.target)
    found, others = known.adapt(few), graphs[5:]
    _, as_is = known.predict_interval(others)
    _, upper = found.predict_interval(others)
    reach = np.log(upper / found.predict(others))
    assert (reach < 2 * np.log(as_is / known.predict(others))).all()


# -- datasets ------------------------------------------------------------------------------------


@given(st.permutations(list(range(12)) * 3), st.booleans())
def test_a_row_for_every_network(rows: list[int], states: bool) -> None:
    data = measured("archs")[:12]
    if states:
        data = replace(data, standard_error=np.full(12, 0.06))
    found = data[np.array(rows)].distinct()
    assert found.order.tolist() == list(dict.fromkeys(rows))
    np.testing.assert_array_equal(found.values, data.values[found.order])
    if states:
        np.testing.assert_allclose(found.standard_error, 0.06 / np.sqrt(3))  # type: ignore[arg-type]
    else:
        assert found.standard_error is None
    assert found.distinct() is found


def test_repeats_tell_the_scatter() -> None:
    rng = np.random.default_rng(1)
    once = measured("archs")
    data = once[np.repeat(np.arange(60), 3)]
    data = replace(data, values=data.values * rng.normal(1, 0.1, len(data)))
    values = data.values.copy()
    values[0] *= 4
    found = replace(data, values=values).distinct()
    assert found.standard_error is not None
    assert np.median(found.standard_error) == pytest.approx(0.1 / np.sqrt(3), rel=0.2)
    assert found.standard_error[0] > 5 * np.median(found.standard_error)
    # A row that stands alone is known as well as one of them.
    alone = replace(data, values=values)[np.arange(2, 180)].distinct()
    assert alone.standard_error is not None
    assert alone.standard_error[0] == pytest.approx(0.1, rel=0.2)


def test_files_of_one_name_are_networks_of_their_own() -> None:
    data = measured("graphs", 12)
    assert len(set(data.names)) == 1
    assert data.distinct() is data
