from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import latcast
from latcast.search import accuracy_model
from latcast.search.interop import optuna_objective
from latcast.spaces import space

optuna = pytest.importorskip("optuna", reason="needs Optuna: pip install 'latcast[tune]'")

COMPOFA = space("compofa-fixed-kernel")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def test_a_trial_is_a_network() -> None:
    objective = optuna_objective(
        "ofa-mobilenet-v3",
        latency=["samsung-note10", "tesla-p40"],
        max_latency_ms=(25, 30),
        max_macs=3e8,
        restrict={"r": [224]},
    )
    arch = space("ofa-mobilenet-v3").sample(1, 0, restrict={"r": [224]})
    names = [g.name for g in arch.space.genes]
    params = dict(zip(names, arch.genes[0].tolist(), strict=True))
    trial = optuna.trial.FixedTrial(params)
    accuracy, note10_ms, p40_ms = objective(trial)
    assert accuracy == accuracy_model().predict(arch)[0]
    assert note10_ms == latcast.load("samsung-note10").predict(arch)[0]
    p40 = latcast.load("tesla-p40")
    assert p40_ms == p40.predict(arch)[0]
    assert objective.directions == ["maximize", "minimize", "minimize"]
    macs = arch.space.costs(arch)["macs"][0]
    assert trial.constraints == {
        str(latcast.load("samsung-note10").target): pytest.approx(note10_ms / 25 - 1),
        str(p40.target): pytest.approx(p40_ms / 30 - 1),
        "max_macs": pytest.approx(macs / 3e8 - 1),
    }


def test_a_study_heeds_the_budget() -> None:
    objective = optuna_objective(COMPOFA, latency="samsung-note10", max_latency_ms=18)
    study = optuna.create_study(
        directions=objective.directions,
        sampler=optuna.samplers.NSGAIISampler(population_size=20, seed=0),
    )
    study.optimize(objective, n_trials=200)
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


def test_no_trial_is_no_network() -> None:
    objective = optuna_objective(COMPOFA, latency="samsung-note10")
    assert len(objective.archs([])) == 0
