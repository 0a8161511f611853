"""Every example runs, and finds what it says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs

FOLDER = Path(__file__).parents[1] / "examples"
PACKAGES = {"gradient_nas": "torch", "pymoo_front": "pymoo", "optuna_study": "optuna"}


def _run(name: str) -> str:
    package = PACKAGES[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    run = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / f"{name}.py"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def _last(pattern: str, text: str) -> list[float]:
    """The numbers of the pattern's last occurrence."""
    return [float(number) for number in re.findall(pattern, text)[-1]]


def test_all_are_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PACKAGES)


def test_gradients_find_what_evolution_finds() -> None:
    output = _run("gradient_nas")
    top1, ms = _last(r"top-1 ([\d.]+) % in ([\d.]+) ms", output)
    assert ms <= 20
    assert top1 > 80.3  # Once-For-All's evolutionary search: 80.65
    (expected_ms,) = (float(x) for x in re.findall(r"step 199: expected ([\d.]+) ms", output))
    assert expected_ms == pytest.approx(20, abs=0.5)


def test_pymoo_keeps_both_budgets() -> None:
    found = re.findall(r"top-1 ([\d.]+), Note10 ([\d.]+) ms, P40 ([\d.]+) ms", _run("pymoo_front"))
    assert found
    for top1, note10_ms, p40_ms in found:
        assert float(top1) > 0.75
        assert float(note10_ms) <= 25
        assert float(p40_ms) <= 30


def test_optuna_keeps_the_budget() -> None:
    top1, ms = _last(r"top-1 ([\d.]+) in ([\d.]+) ms", _run("optuna_study"))
    assert ms <= 20
    assert top1 > 0.78
