from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latcast
from latcast.predict import Predictor
from latcast.search import accuracy_model, interop
from latcast.search.interop import as_pymoo_problem, optuna_objective
from latcast.search.interop._objectives import Objectives
from latcast.search.interop._pymoo import _problem_class
from latcast.search.interop._variables import Variables
from latcast.spaces import SearchSpace, space

OFA = space("ofa-mobilenet-v3")


@pytest.fixture(scope="module")
def note10() -> Predictor:
    return latcast.load("samsung-note10")


@given(st.data())
def test_indices_stand_for_choices(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["compofa-elastic-kernel", "nasbench201", "fbnet"]))
    the_space: SearchSpace = space(name)
    variables = Variables(the_space, tuple(the_space.choices()))
    row = st.tuples(*(st.integers(0, len(c) - 1) for c in variables.choices))
    indices = data.draw(st.lists(row, min_size=1, max_size=4))
    archs = variables.archs(np.array(indices, dtype=float))  # optimizers have floats
    for genes, given_row in zip(archs.genes, indices, strict=True):
        for value, gene, index in zip(genes, the_space.genes, given_row, strict=True):
            assert value == gene.choices[index]


def test_indices_that_are_none() -> None:
    variables = Variables(space("nasbench201"), tuple(space("nasbench201").choices()))
    assert len(variables.archs(np.zeros((0, 6)))) == 0
    for value in (5, -1, 0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="index of 0->2 must be a whole number from 0 to 4"):
            variables.archs([[0, value, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"need 6 indices each; got an array of shape \(1, 2\)"):
        variables.archs([0, 1])


def test_values_are_those_of_the_models(note10: Predictor) -> None:
    p40 = latcast.load("tesla-p40")
    objectives = Objectives.of(
        OFA, [note10, p40], None, [20, None], {"macs": 3e8, "activation_bytes": 4e6}, None
    )
    archs = OFA.sample(50, 0, restrict={"r": [160, 224]})
    accuracy, latency_ms = objectives.values(archs)
    np.testing.assert_array_equal(accuracy, accuracy_model().predict(archs))
    np.testing.assert_array_equal(latency_ms[:, 0], note10.predict(archs))
    np.testing.assert_array_equal(latency_ms[:, 1], p40.predict(archs))
    assert objectives.constraints == (str(note10.target), "macs", "activation_bytes")
    excess = objectives.excess(archs, latency_ms)
    costs = OFA.costs(archs)
    kept = np.column_stack(
        [
            note10.predict(archs) <= 20,
            costs["macs"].to_numpy() <= 3e8,
            costs["activation_bytes"].to_numpy() <= 4e6,
        ]
    )
    assert kept.any(axis=0).all()
    assert not kept.all(axis=0).any()
    np.testing.assert_array_equal(excess <= 0, kept)


def test_without_constraints_nothing_is_exceeded(note10: Predictor) -> None:
    objectives = Objectives.of("compofa-fixed-kernel", note10, None, None, None, {"d1": [2, 3]})
    archs = space("compofa-fixed-kernel").sample(3, 0)
    assert objectives.excess(archs, objectives.values(archs)[1]).shape == (3, 0)
    assert objectives.constraints == ()
    assert [c.tolist() for c in objectives.variables.choices[:2]] == [[2, 3], [2, 3, 4]]
    # Both models know these resolutions.
    assert objectives.variables.choices[-1].tolist() == [160, 176, 192, 208, 224]


@pytest.mark.parametrize("make", [as_pymoo_problem, optuna_objective])
def test_errors(make: Callable[..., object], note10: Predictor) -> None:
    def error(match: str, name: str = "ofa-mobilenet-v3", **options: object) -> None:
        with pytest.raises(ValueError, match=match):
            make(name, **{"latency": note10, **options})

    error("did you mean 'nasbench201'", "nasbench-201")
    error("no model is called", latency="no-such")
    error("latency must be a predictor or several; got none", latency=[])
    error("knows nothing of nasbench201", "nasbench201", accuracy="ofa-mobilenet-v3")
    error("no accuracy model is called 'fbnet'", "fbnet")
    error("must be for ofa-mobilenet-v3-w1.0|knows nothing", "ofa-mobilenet-v3-w1.0",
          accuracy="ofa-mobilenet-v3")  # fmt: skip
    error("a latency budget must be positive and finite; got -1 ms", max_latency_ms=-1)
    error("or None, for each of 1 predictors; got 2", max_latency_ms=[20, 20])
    error("or None, for each of 2 predictors; got 1", max_latency_ms=20, latency=[note10, note10])
    error("no cost is called 'flops'", limits={"flops": 1e9})
    error("limit of macs must be positive and finite; got nan", limits={"macs": float("nan")})
    error("has no gene 'x'", restrict={"x": [1]})
    error(r"r must keep one of \[160, .*got \[128\]", restrict={"r": [128]})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    _problem_class.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"needs pymoo, .*install 'latcast\[pymoo\]'"):
        as_pymoo_problem("compofa-fixed-kernel", latency="samsung-note10")
    with pytest.raises(ModuleNotFoundError, match=r"needs torch, .*install 'latcast\[torch\]'"):
        interop.ExpectedLatency  # noqa: B018  # looking it up needs PyTorch
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        interop.nothing  # noqa: B018


def test_models_that_share_nothing(note10: Predictor) -> None:
    with pytest.raises(ValueError, match="the models share no value of 'r'"):
        Variables.known(OFA, [note10], (128, 144), None)
    with pytest.raises(ValueError, match="the predictors must be for nasbench201; got one for ofa"):
        Variables.known(space("nasbench201"), [note10], None, None)
