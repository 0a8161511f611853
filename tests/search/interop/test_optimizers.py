from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
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
from latcast.spaces import SearchSpace, space

OFA, COMPOFA = space("ofa-mobilenet-v3"), space("compofa-fixed-kernel")
with_pymoo = pytest.mark.skipif(
    importlib.util.find_spec("pymoo") is None, reason="needs pymoo: pip install 'latcast[pymoo]'"
)


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
    return Objectives.of(name, latency=latency, **options)


def test_values_are_those_of_the_models(note10: Predictor, p40: Predictor) -> None:
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
    macs, activations = (OFA.costs(archs)[c].to_numpy() for c in ("macs", "activation_bytes"))
    kept = np.column_stack([ms <= (20, 30), macs <= 3e8, activations <= 4e6])
    assert kept.any(axis=0).all()
    assert not kept.all(axis=0).any()
    np.testing.assert_array_equal(objectives.excess(archs, ms) <= 0, kept)


def test_with_a_confidence_bounds_count(p40: Predictor) -> None:
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

    with pytest.raises(TypeError, match="did you mean 'max_macs'"):
        make("ofa-mobilenet-v3", latency=note10, max_mac=1e9)
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


# -- pymoo ----------------------------------------------------------------------------------------


def _nsga2(problem: Any, evaluations: int) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    crossover, mutation = (kind(vtype=float, repair=RoundingRepair()) for kind in (SBX, PM))
    algorithm = NSGA2(60, IntegerRandomSampling(), crossover=crossover, mutation=mutation)
    return minimize(problem, algorithm, ("n_eval", evaluations), seed=0)


@with_pymoo
def test_it_evaluates_populations() -> None:
    devices = ["samsung-note10", "tesla-p40"]
    problem = as_pymoo_problem(OFA, latency=devices, max_latency_ms=[20, 30], max_params=6e6)
    assert (problem.n_var, problem.n_obj, problem.n_ieq_constr) == (46, 3, 3)
    rng = np.random.default_rng(0)
    x = rng.integers(problem.xl, problem.xu + 1, (40, 46))
    f, g = problem.evaluate(x)
    archs = problem.archs(x)
    np.testing.assert_array_equal(f[:, 0], -accuracy_model().predict(archs))
    for n, name in enumerate(devices):
        ms = latcast.load(name).predict(archs)
        np.testing.assert_array_equal(f[:, 1 + n], ms)
        np.testing.assert_array_equal(g[:, n] <= 0, ms <= [20, 30][n])
    params = OFA.costs(archs)["params"].to_numpy()
    np.testing.assert_allclose(g[:, 2], params / 6e6 - 1)


@with_pymoo
def test_nsga2_finds_the_front(note10: Predictor) -> None:
    found = _nsga2(as_pymoo_problem(COMPOFA, latency=note10), 1_200)
    archs = COMPOFA.enumerate({"r": [160, 176, 192, 208, 224]})
    accuracy, ms = accuracy_model().predict(archs), note10.predict(archs)
    beaten = [((accuracy > -f[0]) & (ms < f[1])).sum() for f in found.F]
    assert np.mean(beaten) < 0.5


@with_pymoo
def test_constraints_are_kept() -> None:
    problem = as_pymoo_problem(COMPOFA, latency="samsung-note10", max_latency_ms=18)
    found = _nsga2(problem, 600)
    assert (found.F[:, 1] <= 18).all()
    assert (latcast.load("samsung-note10").predict(problem.archs(found.X)) <= 18).all()
    with pytest.raises(ValueError, match=r"index of d1 must be a whole number .*; got 0\.5"):
        problem.evaluate(np.full((2, 6), 0.5))


# -- Optuna ---------------------------------------------------------------------------------------


@pytest.fixture
def optuna() -> Iterator[Any]:
    optuna = pytest.importorskip("optuna", reason="needs Optuna: pip install 'latcast[tune]'")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield optuna
    optuna.logging.set_verbosity(before)


def test_a_trial_is_a_network(optuna: Any, note10: Predictor, p40: Predictor) -> None:
    objective = optuna_objective(
        "ofa-mobilenet-v3", latency=[note10, p40], max_latency_ms=(25, 30), max_macs=3e8,
        restrict={"r": [224]},
    )  # fmt: skip
    arch = OFA.sample(1, 0, restrict={"r": [224]})
    names = [g.name for g in arch.space.genes]
    trial = optuna.trial.FixedTrial(dict(zip(names, arch.genes[0].tolist(), strict=True)))
    accuracy, note10_ms, p40_ms = objective(trial)
    assert accuracy == accuracy_model().predict(arch)[0]
    assert (note10_ms, p40_ms) == (note10.predict(arch)[0], p40.predict(arch)[0])
    assert objective.directions == ["maximize", "minimize", "minimize"]
    macs = arch.space.costs(arch)["macs"][0]
    assert trial.constraints == {
        str(note10.target): pytest.approx(note10_ms / 25 - 1),
        str(p40.target): pytest.approx(p40_ms / 30 - 1),
        "max_macs": pytest.approx(macs / 3e8 - 1),
    }


def test_a_study_heeds_the_budget(optuna: Any) -> None:
    objective = optuna_objective(COMPOFA, latency="samsung-note10", max_latency_ms=18)
    study = optuna.create_study(
        directions=objective.directions,
        sampler=optuna.samplers.NSGAIISampler(population_size=20, seed=0),
    )
    study.optimize(objective, n_trials=200)
    assert len(objective.archs([])) == 0
    archs = objective.archs(study.best_trials)
    assert archs.space is COMPOFA
    assert len(archs) == len(study.best_trials) > 0
    ms = latcast.load("samsung-note10").predict(archs)
    assert (ms <= 18).all()
    np.testing.assert_array_equal(ms, [t.values[1] for t in study.best_trials])
    over = [t for t in study.trials if t.values[1] > 18]
    assert over
    assert all(max(t.constraints.values()) > 0 for t in over)
    kept = [t.values[1] <= 18 for t in study.trials]
    assert np.mean(kept[-80:]) > np.mean(kept[:40])  # the first are random
