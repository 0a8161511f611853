"""Every command and snippet of the README and the docs runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from latcast.models import zoo

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHARED = ROOT.parent / "shared" / "data"

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Installing and testing the project is what runs this test.
NOT_HERE = ("make ", "git clone", "cd latcast", "pip install")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page(page: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for language, text in blocks:
        if language == "python":
            _run([sys.executable, "-W", "error", "-c", text], tmp_path)
            continue
        for command in text.strip().splitlines():
            if command.startswith(NOT_HERE):
                continue
            if "$LATCAST_DATA" in command and not SHARED.is_dir():
                pytest.skip(f"needs the public data in {SHARED}")
            assert command.startswith("latcast "), command
            _run(["bash", "-euo", "pipefail", "-c", command], tmp_path)


def _run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LATCAST_DATA": str(SHARED)}
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{command[-1]}\n{run.stderr}"


def test_cards_of_the_zoo_are_the_readme_s() -> None:
    text = (ROOT / "src" / "latcast" / "zoo" / "README.md").read_text(encoding="utf-8")
    for name in zoo.names():
        scores = zoo.header(name)["card"]["metrics"]
        row = f"| `{name}` | {scores['mae_ms']:.4f} | {scores['mape']:.3f} | "
        assert row in text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
