"""What all commands promise: options, help, errors, former names, and the shape of their JSON."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from latcast.cli import app
from latcast.cli._console import FORMER
from latcast.report.record import described, read_record

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, Any]:
    """Name of a command -> itself."""

    def walk(group: Any, before: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                yield before + name, command

    return dict(walk(typer.main.get_command(app), ""))


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_help(latcast: Any, name: str) -> None:
    text = latcast(*name.split(), "-h").stdout
    assert text == latcast(*name.split(), "--help").stdout
    assert "object at 0x" not in text
    assert f"Example: latcast {name}" in " ".join(text.split())
    _, _, output = text.partition("\nOutput:\n")
    assert all(option in output for option in ("--json", "--quiet", "--debug"))


def test_no_command_is_longer_than_60_lines() -> None:
    lengths = {
        f"{path.stem}.{node.name}": node.end_lineno - node.lineno + 1
        for path in (ROOT / "src/latcast/cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


def test_an_option_of_a_group_that_is_left_out_is_asked_for(latcast: Any, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text("{}")
    error = latcast.error("predict", tmp_path / "arch.json", code=2)
    assert error == "error: missing option '--device'; latcast predict -h helps"


def test_wrong_options_are_one_line_too(latcast: Any) -> None:
    message = latcast.error("predict", "x.onnx", "--devise", "nowhere", code=2)
    assert message.startswith("error: no such option: --devise")
    message = latcast.error("bench", "papr", code=2)
    assert message == "error: no such command 'papr'. Did you mean 'paper'?; latcast bench -h helps"
    told = json.loads(latcast("data", "fetch", "--json", code=2).stderr)
    assert told["error"] == "missing argument 'source'; latcast data fetch -h helps"
    assert "Commands:" in latcast("data", code=2).stderr


def test_former_names_are_understood_however_it_is_started() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "latcast", "search", "--population", "x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--population is called --population-size now" in run.stderr


def test_groups_of_commands_and_completion(latcast: Any) -> None:
    text = latcast("-h").stdout
    assert "--install-completion" in text
    for heading in ("Forecast and search:", "Measure:", "Models:", "What there is:"):
        assert heading in text
    search = latcast("search", "-h").stdout
    headings = [line for line in search.splitlines() if line[:1].strip() and line.endswith(":")]
    assert headings == ["Target:", "Budgets:", "Search:", "Measuring:", "Input:", "Options:",
                        "Output:"]  # fmt: skip


def test_help_loads_no_command_and_says_of_each_what_it_does_in_a_line() -> None:
    code = (
        "import sys\nfrom latcast.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted(m for m in sys.modules if m.startswith('latcast.cli.')))\n"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True,
                         check=True, env=environment)  # fmt: skip
    *lines, loaded = run.stdout.splitlines()
    assert loaded == str([f"latcast.cli.{n}" for n in ("_console", "_interrupts", "_streams")])
    names = {name.partition(" ")[0] for name in COMMANDS}
    told = {name: text for line in lines if (words := line.strip().partition("  "))
            for name, _, text in [words] if name in names}  # fmt: skip
    assert told.keys() == names
    assert all(text.endswith(".") for text in told.values())


def test_a_command_that_is_none_is_told_what_there_is(latcast: Any) -> None:
    assert "Did you mean 'search'" in latcast("serch", code=2).stderr


@pytest.mark.parametrize(
    ("name", "former", "now"),
    [(c, old, new) for c, own in FORMER.items() for old, new in own.items()],
)
def test_former_names_lead_to_options(name: str, former: str, now: str) -> None:
    options = {option for param in COMMANDS[name].params for option in param.opts}
    assert now in options
    assert former not in options


def test_a_former_name_works_and_warns(latcast: Any, tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    csv.write_text('arch,latency_ms\n"|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",3\n')
    options = ("--space", "nasbench201", "--target", "mine/x/b1", "--json")
    now = latcast("audit", csv, *options, "--input-format", "csv")
    for spelled in (("--format", "csv"), ("--format=csv",)):
        run = latcast("audit", csv, *options, *spelled)
        assert run.stdout == now.stdout
        assert run.stderr == f"warning: --format is called --input-format now\n{now.stderr}"


@pytest.mark.parametrize("spelled", [("--table", "none"), ("--table=none",)])
def test_a_public_table_that_is_no_format_is_understood(latcast: Any, spelled: Any) -> None:
    run = latcast("bench", "devices", "--data", "absent", *spelled, "--table", "csv", code=1)
    assert run.stderr.startswith("warning: --table is called --public-table now\nerror: no such")


# --- JSON -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The script that writes docs/json.md."""
    return import_module("json_reference")


def test_the_page_is_that_of_the_records(reference: ModuleType) -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert page == reference.page(), "write it anew: python scripts/json_reference.py"
    # Architectures are no record; services tell nothing but their address, and pages are no JSON.
    others = {"suggest", "serve", "explore", "report"}
    assert {c.split(maxsplit=1)[0] for c in reference.COMMANDS} >= {
        name.split()[0] for name in COMMANDS
    } - others


@pytest.mark.parametrize(
    "arguments",
    [
        ("spaces",),
        ("spaces", "fbnet"),
        ("devices", "pixel-3"),
        ("models",),
        ("models", "tesla-p40"),
        ("predict", "archs.json", "--device", "tesla-p40"),
        ("predict", "net.onnx", "--device", "samsung-note10"),
        ("inspect", "net.onnx"),
        ("audit", "data.parquet"),
        ("train", "data.parquet", "--predictor", "flops", "--out", "n.latcast"),
        ("evaluate", "m.latcast", "data.parquet"),
        ("compare", "m.latcast", "data.parquet"),
        ("adapt", "tesla-p40", "data.parquet", "--samples", 9, "--out", "a.latcast"),
        ("search", "--device", "m.latcast", "--max-latency", 60, "--evaluations", 600),
        ("export", "archs.json", "--index", 1, "--out", "x.onnx"),
        ("accuracy", "predict", "ofa-mobilenet-v3", "archs.json"),
    ],
    ids=lambda a: " ".join(map(str, a[:2])),
)
def test_json_has_the_keys_that_are_described(
    latcast: Any,
    files: Path,
    reference: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
) -> None:
    monkeypatch.chdir(files)
    found = latcast.json(*arguments, "--html", "page.html")
    again = read_record(found)
    assert again.to_dict() == found
    page = Path("page.html").read_text(encoding="utf-8")
    # Every element is closed where it must be.
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert f"latcast {arguments[0]}" in page
    cls = reference.load()[found.pop("schema").removeprefix("latcast/")]
    assert found.pop("version") == cls.version
    keys = [path for path, _ in described(cls)]
    assert set(_paths(found, set(keys))) <= set(keys)
    assert set(found) == {key for key in keys if "." not in key}


def _paths(value: Any, described: set[str], before: str = "") -> Iterator[str]:
    """Paths of all keys; of objects whose keys depend on the data only their own."""
    for key, inner in value.items():
        path = before + key
        yield path
        rows = inner if isinstance(inner, list) else [inner]
        inside = f"{path}{'[]' if isinstance(inner, list) else ''}."
        if any(p.startswith(inside) for p in described):
            for row in rows:
                if row is not None:
                    yield from _paths(row, described, inside)


def test_records_in_python(files: Path) -> None:
    import latcast

    found = latcast.forecast(files / "archs.json", ["tesla-p40", "rtx-2080-ti"])
    frame = found.to_polars()
    assert frame["device"].to_list() == ["tesla-p40"] * 2 + ["rtx-2080-ti"] * 2
    assert frame["latency_ms"].dtype.is_float()
    assert frame["costs.macs"].dtype.is_integer()
    assert repr(found).startswith("<ArchsForecast: The 2 architectures take ")
    assert repr(found).endswith(" ms on rtx-2080-ti.>")
    assert "<table>" in found._repr_html_()
