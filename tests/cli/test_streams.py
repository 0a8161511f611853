"""What every command promises of its streams: closed pipes, errors as JSON, ``-`` for a file."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer
from typer.testing import CliRunner

from latcast.cli import app
from latcast.cli._console import Console
from latcast.cli._streams import Bar, has_gone, stream_of

from .test_every_command import COMMANDS as ALL

VALUES = {Path: "absent.parquet", int: "3", float: "9", str: "absent"}


def signature(command: Any) -> inspect.Signature:
    """Parameters of a command, but for the context, which is no option."""
    whole = inspect.signature(command.callback)
    own = [p for p in whole.parameters.values() if get_args(p.annotation)]
    return whole.replace(parameters=own)


# Those that end by themselves.
COMMANDS = {name: signature(c) for name, c in ALL.items() if name not in ("explore", "serve")}


def spelled(parameter: inspect.Parameter, value: str) -> list[str]:
    """A parameter with a value, as it is typed."""
    info = get_args(parameter.annotation)[1]
    if isinstance(info, typer.models.ArgumentInfo):
        return [value]
    declared = [d for d in info.param_decls or () if d.startswith("--")]
    return [*(declared or [f"--{parameter.name.replace('_', '-')}"])[:1], value]


def kind(parameter: inspect.Parameter) -> Any:
    """The type of a parameter's value, or of one of several."""
    found = get_args(parameter.annotation)[0]
    while get_origin(found) is not None or get_args(found):
        found = get_args(found)[0]
    return found


def required(signature: inspect.Signature, but: str = "") -> list[str]:
    """Something for every required parameter, of the right type."""
    return [
        text
        for p in signature.parameters.values()
        if p.default is p.empty and p.name != but and get_origin(p.annotation) is Annotated
        for text in spelled(p, "absent.latcast" if p.name == "out" else VALUES[kind(p)])
    ]


FILES = [
    (name, parameter.name)
    for name, signature in COMMANDS.items()
    for parameter in signature.parameters.values()
    if kind(parameter) is Path
]


def test_all_commands_are_there() -> None:
    import latcast.cli as cli

    found = {f.stem for f in Path(cli.__file__).parent.glob("[a-z]*.py")}
    known = {name.split()[0].replace("-", "_") for name in COMMANDS}
    assert found == known | {"explore", "serve"}
    assert len(FILES) > 20


@pytest.fixture(autouse=True)
def nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service would answer until it is told to end."""
    if importlib.util.find_spec("uvicorn"):
        monkeypatch.setattr("latcast.serve.running.run", _interrupt)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("wrong", [["--no-such-option"], None], ids=["usage", "files"])
def test_errors_are_json_where_that_is_asked_for(
    name: str, wrong: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latcast.measure.run", _interrupt)
    line = [*name.split(), *(wrong or required(COMMANDS[name]))]
    if name == "data list" and not wrong:
        return  # it takes nothing that could be wrong
    if name in ("spaces", "devices", "models") and not wrong:
        line.append("absent")
    runs = []
    for more in ([], ["--json"]):
        (folder := tmp_path / str(len(more))).mkdir()  # a campaign is begun in it
        monkeypatch.chdir(folder)
        runs.append(CliRunner().invoke(app, [*line, *more]))
    text, found = runs
    error = json.loads(found.stderr.splitlines()[-1])
    assert found.stdout == ""
    assert text.exit_code == found.exit_code == error["exit_code"] > 0
    assert error["schema"] == "latcast/error"
    assert text.stderr.splitlines()[-1] == f"error: {error['error']}"
    assert "Traceback" not in text.stderr + found.stderr


@pytest.mark.parametrize("name", ["explore", "serve"])
def test_a_command_without_a_result_has_no_page_of_it(name: str, latcast: Any) -> None:
    for option, value in (("--html", "x.html"), ("--table", "md")):
        assert f"leave out {option}" in latcast.error(name, option, value, code=2)


def test_standard_output_is_no_page(latcast: Any) -> None:
    assert "--html must be a file" in latcast.error("spaces", "--html", "-", code=2)


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


class Closed:
    """Standard streams of this process whose readers have gone away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.files: list[io.TextIOWrapper] = []
        for name in names:
            read, write = os.pipe()
            os.close(read)
            self.files.append(open(write, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
            monkeypatch.setattr(sys, name, stream_of(self.files[-1]))

    def close(self) -> None:
        """Take them away; what is left in them is written then, as when Python exits."""
        for name in ("stdout", "stderr"):
            getattr(sys, name).flush()
        for file in self.files:
            file.close()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("arguments", [["--help"], ["--no-such"]], ids=["help", "usage"])
def test_a_closed_pipe_changes_no_exit_code(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Closed(monkeypatch, "stdout", "stderr")
    with pytest.raises(SystemExit) as ended:
        app([*name.split(), *arguments])
    assert ended.value.code == (0 if arguments == ["--help"] else 2)
    assert has_gone(sys.stdout) or has_gone(sys.stderr)
    streams.close()


# A command that ends well, with the file that it reads; those without one take too long here.
SPACE = ("--space", "ofa-mobilenet-v3")
WORKS: dict[str, tuple[object, ...]] = {
    "predict": ("archs.json", "--device", "tesla-p40"),
    "inspect": ("net.onnx",),
    "which": ("net.onnx", "--max-latency", 9_999, "--device", "samsung-note10"),
    "export": ("one.json", "--out", "x.onnx"),
    "audit": ("data.parquet",),
    "train": ("data.parquet", "--predictor", "flops", "--out", "n.latcast"),
    "evaluate": ("m.latcast", "data.parquet"),
    "adapt": ("tesla-p40", "data.parquet", "--samples", 9, "--out", "a.latcast"),
    "accuracy predict": ("ofa-mobilenet-v3", "archs.json"),
    "accuracy train": ("accuracies.csv", *SPACE, "--out", "acc.latcast"),
    "accuracy evaluate": ("ofa-mobilenet-v3", "accuracies.csv", *SPACE),
    "suggest": (*SPACE, "--samples", 2, "--measured", "data.parquet"),
    "tune": (
        "data.parquet", "--predictor", "roofline", "--trials", 1, "--storage", "tune.db"
    ),
    "search": (
        "--device", "m.latcast", "--max-latency", 60, "--evaluations", 600, "--accuracy",
        "accuracies.csv",
    ),
    "check": ("budgets.toml",),
    "spaces": (),
    "devices": ("pixel-3",),
    "models": ("tesla-p40",),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_a_result_that_nobody_reads_is_no_failure(
    name: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    outs = [files / str(a) for a in WORKS[name] if str(a).endswith((".latcast", "x.onnx"))]
    for out in outs:
        if out.name != "m.latcast":
            out.unlink(missing_ok=True)
    streams = Closed(monkeypatch, "stdout", "stderr")
    with pytest.raises(SystemExit) as ended:
        app([*name.split(), *map(str, WORKS[name])])
    assert not ended.value.code
    assert has_gone(sys.stdout)
    streams.close()
    assert all(out.is_file() for out in outs)  # the work was done nevertheless


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [(n, str(a)) for n, line in WORKS.items() for a in line if Path(str(a)).suffix
     in {".json", ".parquet", ".csv", ".toml"} or a == "net.onnx"],
)  # fmt: skip
def test_standard_input_is_read_as_the_file_is(
    name: str, file: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    (files / "tune.db").unlink(missing_ok=True)
    line = [*name.split(), *map(str, WORKS[name]), "--json"]
    by_name = CliRunner().invoke(app, line)
    (files / "tune.db").unlink(missing_ok=True)
    streamed = CliRunner().invoke(
        app, ["-" if a == file else a for a in line], input=(files / file).read_bytes()
    )
    assert streamed.exit_code == by_name.exit_code == 0, streamed.stderr
    ours, theirs = (_without_names(json.loads(r.stdout)) for r in (streamed, by_name))
    assert ours == theirs


def _without_names(found: Any) -> Any:
    """A record without what a file is called, and how long things took."""
    if isinstance(found, list):
        return [_without_names(x) for x in found]
    if not isinstance(found, dict):
        return found
    own = {
        "data",
        "dataset",
        "name",
        "network",
        "seconds",
        "file",
        "arch_file",
        "model",
        "trials",
        "fit_s",
    }
    return {k: _without_names(v) for k, v in found.items() if k not in own}


@pytest.mark.parametrize(("name", "parameter"), FILES)
def test_standard_input_is_never_looked_for_as_a_file(
    name: str, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latcast.measure.run", _interrupt)
    signature = COMMANDS[name]
    line = [*required(signature, but=parameter), *spelled(signature.parameters[parameter], "-")]
    run = CliRunner().invoke(app, [*name.split(), *line], input=b"\xffgarbage\n1,2\n")
    assert run.exit_code in (1, 2, 130)
    assert "Traceback" not in run.stderr
    assert "no such file: -" not in run.stderr
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("file", ["result.json", "data.parquet"])
def test_a_page_is_made_of_what_is_piped(
    file: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    pages = []
    for name in (file, "-"):
        line = ["report", name, "--out", "a.html"]
        run = CliRunner().invoke(app, line, input=Path(file).read_bytes())
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


def test_standard_input_is_read_for_one_thing(latcast: Any) -> None:
    message = latcast.error("train", "-", "-", "--out", "x.latcast", code=2)
    assert message == "error: standard input (-) can be read once; it is named 2 times"


def test_a_full_disk_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", stream_of(full))
        with pytest.raises(SystemExit) as ended:
            app(["spaces"])
        assert ended.value.code == 1
        sys.stdout.flush()  # as when Python exits


# --- terminals ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_fits_the_terminal_and_wide_and_pipes_show_all(
    latcast: Any, in_terminal: Callable[..., list[str]]
) -> None:
    command = ("devices", "--find", "adreno-7")
    piped = latcast(*command).stdout.splitlines()
    fitted = in_terminal(*command, columns=80)
    assert max(map(len, piped)) > 100
    assert max(map(len, fitted)) <= 80
    *_, told, _, last = fitted
    assert told.startswith(" left out: ")
    assert told.endswith("title (--wide shows all)")
    assert last == "11 devices"
    assert in_terminal(*command, "--wide", columns=80) == piped


def test_tables_in_other_formats(latcast: Any) -> None:
    rows = latcast("devices", "--find", "adreno-7", "--table", "csv").stdout.splitlines()
    assert rows[0].startswith("device,kind,cores,GB,GB/s,fp32 TFLOP/s")
    assert "| ofa-resnet50 | Once-" in latcast("spaces", "--table", "md").stdout
    assert "csv, md; got 'tsv'" in latcast.error("devices", "--table", "tsv", code=2)
    assert "leave out" in latcast("spaces", "--table", "csv", "--json", code=2).stderr
    sampled = ("spaces", "fbnet", "--sample", 1, "--table", "csv")
    assert "printed as JSON" in latcast.error(*sampled, code=2)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "is_drawn"), [(0.0, True), (1_000.0, False)])
def test_a_bar_is_drawn_of_what_takes_its_time_and_leaves_nothing(
    seconds: float, is_drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = threading.Event()
    start = Bar.start

    def started(self: Bar) -> None:
        start(self)
        drawn.set()

    monkeypatch.setattr(Bar, "start", started)
    monkeypatch.setattr("latcast.cli._console.SECONDS_WITHOUT_BAR", seconds)
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with Console().progress("looking", unit="things") as tell:
        tell(1, 3)
        if is_drawn:
            assert drawn.wait(60)
        tell(2, 3, "still looking")
    assert drawn.is_set() == is_drawn
    assert ("looking" in sys.stderr.getvalue()) == is_drawn  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Console().progress("looking") as tell:  # no terminal
        tell(1, 2)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
