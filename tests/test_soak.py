"""A short soak: episodes with accidents, by count and seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "soak.py"


@pytest.mark.slow
@pytest.mark.worker
def test_a_short_soak(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--episodes", "2", "--seed", "3", "--work", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 episodes, 0 that did not hold" in run.stdout
