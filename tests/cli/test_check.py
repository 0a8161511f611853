"""Budgets in continuous integration: the file, the summary, JUnit, the workflow and the hook."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from latcast.families import Variant
from latcast.models import Kernels
from latcast.search.budgets import check

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Write = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(layer_model: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and a model of layers."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "net.onnx").write_bytes(Variant.parse("squeezenet-1.1").to_onnx())
    layer_model.save(folder / "cpu.latcast")
    return folder


@pytest.fixture
def write(tmp_path: Path, made: Path) -> Write:
    """A file of budgets beside a network and a model of layers."""
    for file in made.iterdir():
        shutil.copy(file, tmp_path)

    def written(text: str) -> Path:
        path = tmp_path / "budgets.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


BUDGETS = """
device = "cpu.latcast"
[[budget]]
model = "net.onnx"
max_latency_ms = 1_000
[[budget]]
name = "<net> & | co"
model = "net.onnx"
max_latency_ms = 0.5
at_least = "unlikely"
[[budget]]
model = "gone.onnx"
max_latency_ms = 10
"""


def test_budgets_that_are_met_or_not(write: Write, latcast: Any, tmp_path: Path) -> None:
    path = write(BUDGETS)
    junit, markdown = tmp_path / "latency.xml", tmp_path / "summary.md"
    html = tmp_path / "page.html"
    run = latcast("check", path, "--junit", junit, "--markdown", markdown, "--json", "--html",
                  html, code=1, partly=True)  # fmt: skip
    assert "no such file" in html.read_text()
    found = json.loads(run.stdout)
    assert not found["is_met"]
    assert [b["is_met"] for b in found["budgets"]] == [True, False, False]
    assert [b["chance"] for b in found["budgets"]] == ["certain", "no", None]
    assert "no such file" in found["budgets"][2]["error"]
    assert "gone.onnx" in json.loads(run.stderr.splitlines()[-1])["error"]
    forecast = latcast.json("predict", tmp_path / "net.onnx", "--device", tmp_path / "cpu.latcast")
    for key in ("target", "latency_ms", "lower_ms", "upper_ms"):
        expected = forecast["devices"][0][key]
        assert found["budgets"][0][key] == (
            expected if key == "target" else pytest.approx(expected, rel=1e-6)
        )
    lines = markdown.read_text().splitlines()
    assert lines[0] == "### ❌ 1 of 3 latency budgets are met"
    assert [line.split(" | ")[0] for line in lines if line[:1] == "|"][2:] == [
        "| ✅",
        "| ❌",
        "| ❌",
    ]
    assert "\\<net\\> & \\| co" in markdown.read_text()


def test_a_note_of_several_budgets_is_told_once(write: Write, latcast: Any, tmp_path: Path) -> None:
    budget = 'device = "raspberry-pi-4"\nmodel = "net.onnx"\nmax_latency_ms = 9999\n'
    path = write(f'[[budget]]\n{budget}[[budget]]\nname = "the same"\n{budget}')
    found = latcast.json("check", path)
    (note,) = (note for note in found["notes"] if "no runtime is asked for" in note)
    assert note.startswith("net.onnx on raspberry-pi-4, the same on raspberry-pi-4: ")


def test_junit_is_read_by_others(write: Write, latcast: Any, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    latcast("check", write(BUDGETS), "--junit", tmp_path / "latency.xml", code=1, partly=True)
    read = junitparser.JUnitXml.fromfile(str(tmp_path / "latency.xml"))
    assert (read.tests, read.failures, read.errors) == (3, 1, 1)
    (suite,) = read
    assert suite.name == "budgets.toml"
    met, failed, broken = suite
    assert met.is_passed
    assert met.classname == "net.onnx"
    assert met.name == "imaginary/simulator/b1 within 1000 ms"
    assert failed.classname == "<net> & | co"
    assert isinstance(failed.result[0], junitparser.Failure)
    assert "within 0.5 ms with a probability of" in failed.result[0].message
    assert isinstance(broken.result[0], junitparser.Error)
    assert "no such file" in broken.result[0].message


def test_a_summary_is_added_to_what_steps_share(
    write: Write, latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, summary = write(BUDGETS.partition("[[budget]]\nname")[0]), tmp_path / "summary.md"
    summary.write_text("before\n")
    latcast("check", path, "--markdown", summary)
    once = summary.read_text()
    assert once.startswith("### ✅ 1 of 1 latency budget is met")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    latcast("check", path, "--markdown", summary)
    assert summary.read_text() == once + once


ONE = '[[budget]]\nmodel = "net.onnx"\nmax_latency_ms = 5\ndevice = "cpu.latcast"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[budget", "must be TOML"),
        ("", r"must hold \[\[budget\]\] tables.*it holds nothing"),
        ("budget = 3", "budget of .* must be of type list; got 3"),
        ("budget = [3]", "must be a table; got 3"),
        (f"devices = 'a'\n{ONE}", "no setting is called 'devices'; did you mean 'device'"),
        (f"{ONE}max_ms = 5", "no setting is called 'max_ms'"),
        (f"{ONE}batch = 0", "batch of .* must be at least 1; got 0"),
        (f"{ONE}batch = true", "batch of .* must be of type int; got True"),
        (f"{ONE}at_least = 'surely'", "no chance is called 'surely'.*known: certain"),
        (f"{ONE}shapes = {{x = [1, -3]}}", "shape of 'x' of .* must be positive"),
        (ONE.replace("5", "-5"), "max_latency_ms of .*positive number of ms; got -5"),
        (ONE.replace("5", "'5'"), "max_latency_ms of .* must be of type int or float"),
        (ONE.replace("device = ", "name = "), "must say device = …; it says"),
        (ONE.replace('"cpu.latcast"', "[]"), "device of .* must be a text or a list"),
        (f"coverage = 1.5\n{ONE}", "coverage of .* between 0 and 1; got 1.5"),
    ],
)
def test_files_that_make_no_sense(write: Write, latcast: Any, text: str, message: str) -> None:
    error = latcast.error("check", write(text), code=2)
    assert re.search(message, error), error


def test_what_all_budgets_share_stands_above_them(write: Write) -> None:
    own = 'model = "net.onnx"\nmax_latency_ms = 1e3\nshapes = {{x = {side}}}\n'
    path = write('device = "rtx-4090"\n' + own.format(side=[1, 3, 32, 32]) + 2 * "[[budget]]\n")
    # The file fixes its sides: those above hold, and a budget's own go before them.
    found = check(path).to_dict()["budgets"]
    assert len(found) == 2
    assert all("'x'" in row["error"] for row in found)


def test_a_budget_holds_for_every_device_and_batch(write: Write) -> None:
    path = write(
        'device = ["epyc-genoa-2c-onnxruntime-b1-t1", "no-such-device", "rtx-4090"]\n'
        '[[budget]]\nmodel = "net.onnx"\nmax_latency_ms = 1e3\nbatch = 4\n'
    )
    ran: list[int] = []
    found = check(path, on_progress=lambda done, total, _: ran.append(total))
    assert ran == [1]
    assert [b.error is None for b in found.budgets] == [True, False, True]
    assert all("/b4" in (b.target or "") for b in found.budgets if b.error is None)
    assert "no-such-device" in found.errors[0]
    assert found.to_polars()["is_met"].to_list() == [True, False, True]


# --- the workflow and the hook ------------------------------------------------------------------


def _step(name: str) -> str:
    workflow = yaml.safe_load((ROOT / "examples" / "latency-budgets.yml").read_text())
    (run,) = (s["run"] for s in workflow["jobs"]["check"]["steps"] if name in s.get("run", ""))
    return str(run)


def test_the_workflow_runs(
    write: Write, latcast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its step runs, with the budgets of the example beside it."""
    write((ROOT / "examples" / "budgets.toml").read_text())
    shutil.move(tmp_path / "net.onnx", tmp_path / "detector.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    program, *arguments = shlex.split(os.path.expandvars(_step("latcast check")))
    assert program == "latcast"
    latcast(*arguments)
    assert (tmp_path / "summary.md").read_text().startswith("### ✅ 3 of 3")
    assert ElementTree.parse(tmp_path / "latency.xml").getroot().attrib["tests"] == "3"


def test_the_hook_of_pre_commit(write: Write, tmp_path: Path) -> None:
    """The manifest is valid, and its hook runs, and fails where a budget is not met."""
    pytest.importorskip("pre_commit", reason="needs pre-commit")
    if shutil.which("git") is None:
        pytest.skip("needs git")
    manifest = ROOT / ".pre-commit-hooks.yaml"
    folder = tmp_path / "home"
    environment = {
        **os.environ, "PRE_COMMIT_HOME": str(folder), "HOME": str(folder), "GIT_CONFIG_GLOBAL": "",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip

    def run(*command: object, code: int = 0) -> str:
        done = subprocess.run(
            [str(c) for c in command], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    pre_commit = (sys.executable, "-m", "pre_commit")
    run(*pre_commit, "validate-manifest", manifest)
    (hook,) = yaml.safe_load(manifest.read_text())
    # By the latcast that is installed here: an environment of its own needs a network.
    config = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "system"}]}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    write(ONE.replace("5", "1_000"))
    (tmp_path / ".gitignore").write_text("home\n")
    run("git", "init", "-q")
    run("git", "add", ".")
    assert "Passed" in run(*pre_commit, "run")
    write(ONE.replace("5", "0.001"))
    run("git", "add", ".")
    assert "0 of 1 latency budget is met" in run(*pre_commit, "run", code=1)
    run("git", "rm", "-q", "--cached", "budgets.toml", "net.onnx")
    assert "Skipped" in run(*pre_commit, "run")


def test_an_interval_that_a_budget_decides_is_not_too_wide(write: Write) -> None:
    """A board that is known by its specification alone, whose interval spans a factor of ten."""
    budget = '[[budget]]\nmodel = "net.onnx"\ndevice = "raspberry-pi-5"\nmax_latency_ms = '
    (open_,) = check(write(budget + "5")).budgets
    assert open_.lower_ms is not None
    assert open_.upper_ms is not None
    assert open_.upper_ms > 3 * open_.lower_ms
    for ms, is_told in ((open_.latency_ms, True), (100_000.0, False), (0.0001, False)):
        found = check(write(f"{budget}{ms}"))
        assert any("too wide to decide" in note for note in found.notes) == is_told
