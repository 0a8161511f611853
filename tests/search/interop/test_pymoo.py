from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import latcast
from latcast.search import accuracy_model
from latcast.search.interop import as_pymoo_problem
from latcast.spaces import space

pytest.importorskip("pymoo", reason="needs pymoo: pip install 'latcast[pymoo]'")

COMPOFA = space("compofa-fixed-kernel")


def _nsga2(problem: Any, evaluations: int) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    algorithm = NSGA2(
        pop_size=60,
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=RoundingRepair()),
        mutation=PM(vtype=float, repair=RoundingRepair()),
    )
    return minimize(problem, algorithm, ("n_eval", evaluations), seed=0)


def test_it_evaluates_populations() -> None:
    devices = ["samsung-note10", "tesla-p40"]
    problem = as_pymoo_problem(
        "ofa-mobilenet-v3", latency=devices, max_latency_ms=[20, 30], max_params=6e6
    )
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
    params = space("ofa-mobilenet-v3").costs(archs)["params"].to_numpy()
    np.testing.assert_allclose(g[:, 2], params / 6e6 - 1)


def test_nsga2_finds_the_front() -> None:
    note10 = latcast.load("samsung-note10")
    found = _nsga2(as_pymoo_problem(COMPOFA, latency=note10), 1_200)
    archs = COMPOFA.enumerate({"r": [160, 176, 192, 208, 224]})
    accuracy, ms = accuracy_model().predict(archs), note10.predict(archs)
    beaten = [((accuracy > -f[0]) & (ms < f[1])).sum() for f in found.F]
    assert np.mean(beaten) < 0.5


def test_constraints_are_kept() -> None:
    problem = as_pymoo_problem(COMPOFA, latency="samsung-note10", max_latency_ms=18)
    found = _nsga2(problem, 600)
    assert (found.F[:, 1] <= 18).all()
    assert (latcast.load("samsung-note10").predict(problem.archs(found.X)) <= 18).all()


def test_what_is_no_integer_is_an_error() -> None:
    problem = as_pymoo_problem(COMPOFA, latency="samsung-note10")
    with pytest.raises(ValueError, match=r"index of d1 must be a whole number .*; got 0\.5"):
        problem.evaluate(np.full((2, 6), 0.5))
