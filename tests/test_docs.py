"""Every command and snippet of the README and the docs runs."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from snippets import hurry, run_snippet

from latcast.bench import paper
from latcast.models import zoo

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHARED = ROOT.parent / "shared" / "data"

# A block with a title is a file that the reader saves; one in Python is run as well.
BLOCK = re.compile(
    r'^```(sh|python|toml)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
# Installing and testing the project is what runs this test.
NOT_HERE = ("make ", "git clone", "cd latcast", "pip install")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch.setattr)
    monkeypatch.setattr(paper, "split_of", functools.cache(paper.split_of))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT).as_posix()).removeprefix("docs/")


def blocks_of(page: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("page", list(filter(blocks_of, PAGES)), ids=name_of)
def test_page(page: Path, latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snippets run in processes of their own, as they may register things; commands need none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATCAST_DATA", str(SHARED))
    for language, title, text in blocks_of(page):
        if title:
            Path(title).write_text(text, encoding="utf-8")
        if language == "python":
            assert not (told := run_snippet(text)), f"{text}\n{told}"
        if language != "sh":
            continue
        for line in text.strip().splitlines():
            if line.startswith(NOT_HERE):
                continue
            if "$LATCAST_DATA" in line and not SHARED.is_dir():
                pytest.skip(f"needs the public data in {SHARED}")
            command, _, out = os.path.expandvars(line).partition(" > ")
            told = None
            for part in command.split(" | "):
                program, *arguments = shlex.split(part)
                assert program == "latcast", line
                told = latcast(*arguments, stdin=told).stdout
            if out:
                Path(out).write_text(told, encoding="utf-8")
    if page.parent.name == "tutorials":
        assert all("<html" in p.read_text(encoding="utf-8") for p in Path().glob("*.html"))
        assert list(Path().glob("*.html"))


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name == "tutorials"], ids=name_of)
def test_tutorials_are_short(page: Path) -> None:
    blocks = blocks_of(page)
    lines = sum(len(text.splitlines()) for language, _, text in blocks if language == "sh")
    assert lines + sum(language == "python" for language, _, _ in blocks) <= 10


def test_the_program_is_installed() -> None:
    program = Path(sys.executable).parent / "latcast"
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("latcast ")


def test_cards_of_the_zoo_are_the_readme_s() -> None:
    text = (ROOT / "src" / "latcast" / "zoo" / "README.md").read_text(encoding="utf-8")
    for name in zoo.names():
        scores = zoo.header(name)["card"]["metrics"]
        row = f"| `{name}` | {scores['mae_ms']:.4f} | {scores['mape']:.3f} | "
        assert row in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
