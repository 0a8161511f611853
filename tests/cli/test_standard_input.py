"""Budgets, results, datasets and accuracies that come from standard input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latcast.cli import app
from latcast.data import LatencyDataset
from latcast.families import Variant


@pytest.fixture
def files(tmp_path: Path, synthetic: LatencyDataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network and a file for every command."""
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(Variant.parse("squeezenet-1.1").to_onnx(1))
    budget = {"model": "net.onnx", "device": "raspberry-pi-4", "max_latency_ms": 9e9}
    lines = (f"{key} = {json.dumps(value)}" for key, value in budget.items())
    Path("budgets.toml").write_text("\n".join(["[[budget]]", *lines]))
    archs = (json.dumps(a).replace('"', '""') for a in synthetic.archs[:30].to_dicts())
    rows = [f'"{arch}",{0.7 + n / 1000}' for n, arch in enumerate(archs)]
    Path("accuracies.csv").write_text("\n".join(["arch,accuracy", *rows]))
    synthetic[:20].save("data.parquet")
    Path("result.json").write_text(CliRunner().invoke(app, ["devices", "pixel-3", "--json"]).stdout)
    return tmp_path


def both(line: tuple[str, ...], file: str) -> list[Any]:
    """What a command gives that reads a file, and one that reads the same from standard input."""
    results = []
    for given in (file, "-"):
        command = [given if word == file else word for word in line]
        run = CliRunner().invoke(app, command, input=Path(file).read_bytes())
        assert run.exit_code == 0, run.stderr
        results.append(run)
    return results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "keys"),
    [
        (("check", "budgets.toml", "--json"), ("budgets", "is_met")),
        (
            ("search", "--device", "samsung-note10", "--max-latency", "60", "--evaluations", "600",
             "--accuracy", "accuracies.csv", "--json"),
            ("found", "front"),
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("files")
def test_a_result_of_what_is_piped(line: tuple[str, ...], keys: tuple[str, ...]) -> None:
    file = next(word for word in line if Path(word).is_file())
    of_file, piped = (json.loads(run.stdout) for run in both(line, file))
    assert all(of_file[key] == piped[key] for key in keys if key in of_file)
    assert set(keys) & of_file.keys()


@pytest.mark.parametrize("file", ["result.json", "data.parquet"])
@pytest.mark.usefixtures("files")
def test_a_page_is_made_of_what_is_piped(file: str) -> None:
    pages = []
    for name in (file, "-"):
        run = CliRunner().invoke(
            app, ["report", name, "--out", "a.html"], input=Path(file).read_bytes()
        )
        assert run.exit_code == 0, run.stderr
        page = Path("a.html").read_text(encoding="utf-8").partition("<footer")[0]
        pages.append(page.replace("<wbr/>", "").replace(file, "standard input"))
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["check", "-"], "standard input must be TOML"),
        (["report", "-", "--out", "a.html"], "standard input must be JSON"),
    ],
)
def test_what_is_piped_is_called_standard_input(line: list[str], told: str) -> None:
    run = CliRunner().invoke(app, line, input=b"garbage")
    assert run.exit_code == 2
    assert told in run.stderr
