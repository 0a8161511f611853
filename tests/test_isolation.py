"""Nothing in the current folder, nor in a file that was received, is imported or run."""

from __future__ import annotations

import ast
import operator
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from latcast import measure
from latcast.devices import Target, _host, detect
from latcast.measure import BlockSource, CampaignFile, Plan, Protocol
from latcast.measure._worker import WorkerProcess, search_path, worker_setup
from latcast.measure.runtimes import NAMES, RUNTIMES, class_name, runtime, runtime_text
from latcast.models.tuning import _workers

SRC = Path(__file__).parents[1] / "src" / "latcast"
PACKAGES = ("numpy", "scipy", "polars", "onnx", "onnxruntime", "typer", "rich", "safetensors",
            "psutil", "openvino", "torch", "optuna", "filelock")  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: every module that could be imported by mistake, and says that it was."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    sprung = tmp_path / "sprung"
    for name in (*sys.stdlib_module_names, *PACKAGES):
        code = f"open({str(sprung)!r}, 'a').write({name!r} + ' ')\nraise SystemExit({name!r})\n"
        (folder / f"{name}.py").write_text(code)
    monkeypatch.chdir(folder)
    yield folder
    assert not sprung.exists(), sprung.read_text()


@pytest.mark.worker
def test_workers_of_campaigns(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, kind = Target("here", "onnxruntime", threads=1), runtime("onnxruntime")
    worker_setup(target, {}, class_name(kind))  # this process imports what it needs of itself
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", ["", str(trap), *sys.path])
        setup = worker_setup(target, asdict(Protocol()), class_name(kind))
    assert not {"", str(trap)} & set(setup["path"])
    with WorkerProcess(setup, threads=1) as worker:
        assert worker.facts["clock"] == "process"


@pytest.mark.worker
@pytest.mark.usefixtures("trap")
def test_the_micro_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "_array_bytes", lambda *_: 2**20)
    assert detect("here", seconds=0.01).peak_fp32_flops is not None


class Job:
    """What stands for trials of a study."""

    run = operator.add


@pytest.mark.worker
@pytest.mark.usefixtures("trap")
def test_workers_of_tuning() -> None:
    environment = dict(os.environ)
    with _workers.processes(Job(), 1, 3) as pool:  # type: ignore[arg-type]
        assert pool.submit(4).result() == 7  # type: ignore[func-returns-value]
    assert dict(os.environ) == environment


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-P", "-m", "latcast"], ["-m", "latcast"]], ids=" ".join)
def test_python_m(trap: Path, command: list[str]) -> None:
    if "-P" not in command:  # what Python itself loads before latcast is not ours to choose
        loaded = [sys.executable, "-P", "-c", "import runpy, sys; print(*sys.modules)"]
        own = subprocess.run(loaded, capture_output=True, text=True, check=True).stdout.split()
        assert not {"json", "queue", "typing"} & set(own)
        for name in own:
            (trap / f"{name}.py").unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, *command, "spaces", "--json"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_runtime_of_the_current_folder_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script beside which the runtime stands asks for it by importing it."""
    (tmp_path / "beside_me.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("beside_me")
    assert str(tmp_path) in search_path("beside_me")
    assert str(tmp_path) not in search_path("latcast.measure.runtimes.pytorch")


LIES = ["evil:Evil", "evil", "os:system", "", None, 3, ["evil:Evil"], {"evil": "Evil"}, "pytorch",
        "latcast.measure.runtimes.pytorch:PyTorch", "builtins:exec"]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_campaign_s_file_names_no_code(
    lie: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nEvil = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    plan = {"target": "here/onnxruntime/b1", "seed": 0, "protocol": {"runs": 1}, "runtime": lie}
    networks = [BlockSource("nasbench201", 0)]
    with (
        CampaignFile.create(tmp_path / "a.campaign", plan, networks) as campaign,
        pytest.raises(ValueError, match="a campaign goes on with the runtime it began with"),
    ):
        measure.run(campaign)
    assert not (tmp_path / "sprung").exists()
    assert "evil" not in sys.modules


def test_files_of_before_name_the_class_of_a_runtime_of_ours(tmp_path: Path) -> None:
    assert set(NAMES.values()) <= set(RUNTIMES.names())
    target = Target("here", "onnxruntime", batch=1)
    plan = Plan(target, [BlockSource("nasbench201", 0)])
    assert plan.record()["runtime"] == runtime_text(runtime("onnxruntime")) == "onnxruntime"
    path = tmp_path / "a.campaign"
    measure.open_or_resume(path, plan).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE checksums")
        db.execute("PRAGMA user_version = 2")
        text = '"latcast.measure.runtimes.onnx_runtime:ONNXRuntime"'
        db.execute("UPDATE plan SET value = ? WHERE key = 'runtime'", (text,))
    with measure.open_or_resume(path, plan, resume=True) as campaign:
        assert campaign.plan()["runtime"] == "onnxruntime"


def test_no_reader_opens_pickles_or_evaluates() -> None:
    """``torch.load`` says weights_only=True wherever it stands; what runs code stands nowhere."""
    loads = 0
    for path in SRC.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if re.search(r"load|eval|exec", text) else ():
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in ("eval", "exec", "pickle.load", "pickle.loads"), path
            assert called not in ("yaml.load", "numpy.load", "joblib.load"), path
            if called == "np.load":
                assert given.get("allow_pickle") == "False", path
            if called == "torch.load":
                loads += 1
                assert given.get("weights_only") == "True", path
    assert loads >= 2
