"""Tutorials end with a page to send on; the notebook runs, and its page shows what cells give."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from snippets import run_snippet

pytestmark = [pytest.mark.docs, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOK = TUTORIALS / "notebook.ipynb"


@pytest.mark.parametrize("name", ["deploy", "design", "search"])
def test_a_tutorial_ends_with_a_page_of_its_results(name: str) -> None:
    text = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall("```sh\n(.*?)```", text, re.DOTALL)
                for line in block.splitlines()]  # fmt: skip
    *others, last = commands
    report, *results, out, page = last.removeprefix("latcast ").split()
    assert (report, out, page) == ("report", "--out", "report.html")
    made = "\n".join(others)
    assert len(results) > 1
    assert all(re.search(f"(> |--out ){re.escape(result)}", made) for result in results)


def test_the_output_that_a_tutorial_quotes_is_printed(
    latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (TUTORIALS / "search.md").read_text(encoding="utf-8").partition("## 3.")[0]
    printed, quoted = "", []
    for language, block in re.findall(
        r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    ):
        if language == "python":
            assert not run_snippet(block)
        elif language == "sh":
            command = shlex.split(block.strip().removeprefix("latcast "))
            printed += latcast(*command).stdout
        else:
            quoted += block.splitlines()
    assert len(quoted) == 3
    assert set(quoted) <= set(printed.splitlines())


@pytest.fixture(scope="module")
def site_notebook() -> Any:
    found = spec_from_file_location("site_notebook", ROOT / "scripts" / "site_notebook.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_it_is_short_and_stored_without_outputs(site_notebook: Any) -> None:
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert len(list(site_notebook.cells(NOTEBOOK))) <= 12
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in stored["cells"])
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])


def test_it_runs_and_every_cell_shows_something(site_notebook: Any) -> None:
    pytest.importorskip("matplotlib")
    told = site_notebook.page(NOTEBOOK)
    outputs = re.findall('<div class="output">.*', told)
    assert len(outputs) == told.count("```python")
    assert all("<svg" in output for output in outputs)
    assert "latency goes from" in told
