"""What benchmarks compute by themselves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import latcast
from latcast.search import accuracy_model

FOLDER = Path(__file__).parents[1] / "benchmarks"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # its dataclasses look their annotations up there
    spec.loader.exec_module(loaded)
    return loaded


def test_hypervolume() -> None:
    volume = module("search").hypervolume
    # Two steps up to 60 ms above 0.7; what is dominated or outside adds nothing.
    accuracy, ms = np.array([0.8, 0.9, 0.75, 0.6, 0.99]), np.array([20.0, 50.0, 30.0, 10.0, 70.0])
    assert volume(accuracy, ms) == pytest.approx(30 * 0.1 + 10 * 0.2)
    assert volume(accuracy[3:], ms[3:]) == 0


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("fixed", [0.0, 0.3])
def test_exponents_of_growth(power: float, fixed: float) -> None:
    sizes = [100, 200, 400, 800]
    seconds = [fixed + 0.1 * (n / 100) ** power for n in sizes]
    assert module("scaling").exponent(sizes, seconds) == pytest.approx(power, abs=0.02)
    noisy = np.array(seconds) * [1.02, 0.98, 1.02, 0.98]
    assert module("scaling").exponent(sizes, noisy) == pytest.approx(power, abs=0.3)


def test_the_best_that_keeps_both_budgets() -> None:
    best = module("search")._best_keeping
    models = (latcast.load("samsung-note10"), latcast.load("rtx-2080-ti"))
    archs = latcast.space("compofa-fixed-kernel").sample(40, 0, restrict={"r": [160, 192, 224]})
    ms = np.stack([m.predict(archs) for m in models], axis=1)
    inside = (ms <= (25, 14)).all(axis=1)
    assert 0 < inside.sum() < 40
    expected = accuracy_model().predict(archs)[inside].max()
    assert best(archs, models, (25, 14)) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(best(archs, models, (1, 1)))
