from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latcast
from latcast.models import Predictor
from latcast.search import accuracy_model, interop
from latcast.search.interop import as_pymoo_problem, optuna_objective
from latcast.search.interop._terms import Variables
from latcast.search.interop.optimizers import Objectives, _problem_class
from latcast.search.request import Request
from latcast.spaces import SearchSpace, space

OFA = space("ofa-mobilenet-v3")


@pytest.fixture(scope="module")
def note10() -> Predictor:
    return latcast.load("samsung-note10")


SPACES = ["compofa-elastic-kernel", "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet"]


@pytest.mark.slow
@given(st.data())
def test_indices_stand_for_choices(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(SPACES))
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


def _objectives(name: str, latency: Any, **options: Any) -> Objectives:
    return Objectives.of(
        Request.of(name, latency, None, options.pop("max_latency_ms", None), **options)
    )


def test_values_are_those_of_the_models(note10: Predictor) -> None:
    p40 = latcast.load("tesla-p40")
    objectives = _objectives(
        "ofa-mobilenet-v3", [note10, p40], max_latency_ms=(20, 30), max_macs=3e8,
        max_activation_bytes=4e6,
    )  # fmt: skip
    archs = OFA.sample(50, 0, restrict={"r": [160, 224]})
    accuracy, ms = objectives.values(archs)
    np.testing.assert_array_equal(accuracy, accuracy_model().predict(archs))
    np.testing.assert_array_equal(ms, np.stack([note10.predict(archs), p40.predict(archs)], axis=1))
    assert objectives.constraints == (
        str(note10.target), str(p40.target), "max_macs", "max_activation_bytes"
    )  # fmt: skip
    costs = OFA.costs(archs)
    kept = np.column_stack(
        [
            ms <= (20, 30),
            costs["macs"].to_numpy() <= 3e8,
            costs["activation_bytes"].to_numpy() <= 4e6,
        ]
    )
    assert kept.any(axis=0).all()
    assert not kept.all(axis=0).any()
    np.testing.assert_array_equal(objectives.excess(archs, ms) <= 0, kept)


def test_with_a_confidence_bounds_count() -> None:
    p40 = latcast.load("tesla-p40")
    archs = OFA.sample(5, 0, restrict={"r": [224]})
    found = _objectives("ofa-mobilenet-v3", p40, confidence=0.9).values(archs)[1]
    # The bound of a random network, and a correction for the search that picks lucky predictions.
    assert (found[:, 0] >= p40.upper_bound(archs, 0.9) - 1e-9).all()
    assert (found[:, 0] < p40.upper_bound(archs, 0.99)).all()


def test_without_constraints_nothing_is_exceeded(note10: Predictor) -> None:
    objectives = _objectives("compofa-fixed-kernel", note10, restrict={"d1": [2, 3]})
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
    error("no model or device is called", latency="no-such")
    error("it knows nothing of fbnet", "fbnet", accuracy="ofa-mobilenet-v3")
    error("a latency budget must be positive and finite; got -1", max_latency_ms=-1)
    error("must be one number of ms a target, 1 in all; got 2", max_latency_ms=[20, 25])
    error("must be 2 numbers of ms", max_latency_ms=20, latency=[note10, note10])
    error("max_macs must be positive and finite; got nan", max_macs=float("nan"))
    error("has no gene 'x'", restrict={"x": [1]})
    error(r"r must keep one of \[160, .*got \[128\]", restrict={"r": [128]})


def test_an_accuracy_of_some_networks_only(note10: Predictor, tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    arch = json.dumps(OFA.sample(1, 0, restrict={"r": [224]}).to_dicts()[0])
    quoted = arch.replace('"', '""')
    table.write_text(f'arch,accuracy\n"{quoted}",0.75\n', encoding="utf-8")
    with pytest.raises(ValueError, match="knows only some networks: choose among them with"):
        optuna_objective("ofa-mobilenet-v3", latency=note10, accuracy=table)


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
