"""What a user meets in a terminal: budgets as they are typed, curves, alike rows, notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import latcast as library
from latcast.cli._console import UsageError
from latcast.cli._options import parse_milliseconds, split_names
from latcast.cli.search import Budgets
from latcast.graph import GraphBuilder
from latcast.graph.write.onnx import to_onnx
from latcast.report.markup import wrapped
from latcast.report.text import shared_notes

InTerminal = Callable[..., list[str]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    b = GraphBuilder(1)
    x = b.activation(b.conv(b.input(3, 64, 64), 16, 3, padding=1), "relu")
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(to_onnx(b.build(b.linear(b.global_pool(x), 10))))
    return path


# --- budgets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [("20", 20.0), ("50ms", 50.0), ("50 MS", 50.0), ("0.05s", 50.0), ("500us", 0.5), ("1e6", 1e6)],
)
def test_a_budget_may_have_its_unit(text: str, ms: float) -> None:
    assert parse_milliseconds(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["", "ms", "-3", "0", "nan", "inf", "5 minutes", "25,35"])
def test_what_is_no_budget_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="must be a positive number of ms, such as 20, 20ms or"):
        parse_milliseconds(text)


def test_one_budget_is_asked_for_where_one_is_answered(latcast: Any, file: Path) -> None:
    search = ("search", "--device", "samsung-note10")
    for command in (("which", file), ("choose", "--device", "pixel-7"), search):
        message = latcast.error(*command, "--max-latency", "25,35", code=2)
        assert "it takes one budget; got '25,35'" in message
    assert "within 50 ms" in latcast(
        "which", file, "--device", "raspberry-pi-4", "--max-latency", "50ms"
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "targets", "budgets"),
    [
        (["25", "0.035s"], 1, [[25.0], [35.0]]),
        (["25,35", "5,6"], 2, [[25.0, 35.0], [5.0, 6.0]]),
        ([], 1, None),
    ],
)
def test_a_search_has_several_budgets(
    texts: list[str], targets: int, budgets: list[list[float]] | None
) -> None:
    assert Budgets(max_latency=texts).max_latency_ms(targets) == budgets


def test_of_several_devices_a_budget_has_a_number_for_each() -> None:
    with pytest.raises(UsageError, match="2 numbers between commas, one for each --device"):
        Budgets(max_latency=["25"]).max_latency_ms(2)


# --- curves -----------------------------------------------------------------------------------


def test_a_varied_device_is_told_from_real_ones(latcast: Any, file: Path) -> None:
    asked = ("predict", file, "--device", "rtx-4090", "--vary", "bandwidth_gb_s=500,1008")
    run = latcast(*asked)
    assert "bandwidth, GB/s" in run.stdout
    assert "bandwidth_gb_s" not in run.stdout + run.stderr
    told = "note: rtx-4090 has 1008 GB/s: with another bandwidth, and all else as it is, it is a"
    assert told in run.stderr
    assert latcast.json(*asked)["side"] == "bandwidth_gb_s"


def test_a_curve_of_each_precision(latcast: Any, file: Path) -> None:
    asked = ("predict", file, "--device", "raspberry-pi-4", "--precision", "fp32,int8")
    found = latcast.json(*asked, "--sweep", "batch=1,2")["points"]
    assert [(p["value"], p["target"].rpartition("/")[2] == "int8") for p in found] == [
        (1, False), (2, False), (1, True), (2, True)
    ]  # fmt: skip
    for option, value in (("--sweep", "batch=1,2"), ("--vary", "cores=1,2")):
        similar = ("--similar-to", "pixel-7")
        assert "--similar-to is for one forecast" in latcast.error(
            "predict", file, "--device", "mine", *similar, option, value, code=2
        )


def test_devices_may_stand_between_commas(latcast: Any, file: Path, tmp_path: Path) -> None:
    names = "raspberry-pi-4,rtx-4090"
    assert [d["device"] for d in latcast.json("predict", file, "--device", names)["devices"]] == [
        "raspberry-pi-4", "rtx-4090"
    ]  # fmt: skip
    asked = ("which", file, "--max-latency", 1e6, "--device", names, "--runtime", "ncnn,pytorch")
    found = {t["target"].split("/")[1] for t in latcast.json(*asked)["targets"]}
    assert found == {"ncnn", "pytorch"}
    (odd := tmp_path / "a,b.latcast").touch()
    assert split_names([str(odd), "x,y,", ""]) == [str(odd), "x", "y", ""]


# --- rows that are alike, runtimes that differ ---------------------------------------------------


def test_one_forecast_is_one_row_and_names_its_devices(latcast: Any, file: Path) -> None:
    """Boards and phones with one chip; JSON has them all."""
    names = ["samsung-s25", "snapdragon-8-elite", "pixel-3"]
    asked = ("which", file, "--max-latency", 1e6, *(w for n in names for w in ("--device", n)))
    text = latcast(*asked).stdout
    assert "the same forecast: samsung-s25 = snapdragon-8-elite\n" in text
    table = text.partition("ms\n")[2]
    assert sum(table.count(f" {name}/") for name in names) == 2
    assert "3 devices, " in text
    assert {t["device"] for t in latcast.json(*asked)["targets"]} == set(names)
    run = latcast("predict", file, *(w for n in names[:2] for w in ("--device", n)))
    assert "note: samsung-s25, snapdragon-8-elite: one forecast, as nothing" in run.stderr


def test_what_is_not_decided_is_called_so(latcast: Any, file: Path) -> None:
    asked = ("which", file, "--device", "pixel-3", "--runtime", "onnx", "--precision", "int8")
    (row,) = latcast.json(*asked, "--max-latency", 1e6)["targets"]
    budget = row["latency_ms"] * 1.1
    assert row["upper_ms"] > 3 * row["lower_ms"]
    text = latcast(*asked, "--max-latency", budget, partly=True).stdout
    assert "undecided on 1 of 1 device: measure pixel-3" in text
    (line,) = [x for x in text.splitlines() if x.startswith(" pixel-3/")]
    assert " undecided " in line


def test_devices_are_ranked_by_what_they_run(file: Path) -> None:
    """No phone has OpenVINO, and bf16 is asked of CPUs that compute in it."""
    found = library.which(file, 2.0, devices=["pixel-3", "core-i7-8700k", "xeon-platinum-8488c"])
    by = {t.device: {t.target.partition("/")[2]} for t in found.targets}
    for each in found.targets:
        by[each.device].add(each.target.partition("/")[2])
    assert not any("openvino" in x for x in by["pixel-3"])
    assert "openvino/b1" in by["core-i7-8700k"]
    assert not any("bf16" in x for x in by["core-i7-8700k"])
    assert "openvino/b1/bf16" in by["xeon-platinum-8488c"]


def test_int8_that_wins_is_said_to_be_of_another_network() -> None:
    b = GraphBuilder(1)
    graph = b.build(b.conv(b.conv(b.input(3, 64, 64), 512, 3), 512, 3))
    options: Any = {"devices": ["rtx-4090"], "runtimes": ["tensorrt"]}
    (note,) = [n for n in library.which(graph, 1.0, **options).notes if "quantized" in n]
    assert "--precision fp32,fp16 leaves them out" in note
    found = library.which(graph, 1.0, precisions=["int8"], **options)
    assert not any("quantized" in n for n in found.notes)


def test_runtimes_that_differ_are_named(latcast: Any, file: Path) -> None:
    devices = ("--device", "rtx-4090", "--device", "raspberry-pi-4")
    told = "note: rows differ in their runtime, too (rtx-4090 by pytorch, raspberry-pi-4 by ncnn)"
    assert told in latcast("predict", file, *devices).stderr
    same = latcast("predict", file, *devices[2:], "--device", "pixel-3", "--runtime", "ncnn")
    assert "rows differ" not in same.stderr


def test_pytorch_runs_no_int8_on_gpus(latcast: Any, file: Path) -> None:
    asked = ("predict", file, "--device", "rtx-4090", "--precision")
    (row,) = latcast.json(*asked, "int8")["devices"]
    assert row["target"] == "rtx-4090/tensorrt/b1/int8"
    rows = latcast.json(*asked, "fp32,int8")
    assert [r["target"].split("/")[1] for r in rows["devices"]] == ["tensorrt", "tensorrt"]
    assert rows["faster"][0]["precision"] == "int8"
    (row,) = latcast.json(*asked, "int8", "--runtime", "pytorch")["devices"]
    assert any("PyTorch by itself runs no network in int8 on GPUs" in n for n in row["notes"])


# --- notes ------------------------------------------------------------------------------------


def test_notes_that_differ_in_names_alone_are_told_once() -> None:
    a, b = ("a", "a/x/b1"), ("b", "b/y/b1")
    notes = [
        (a, "no network was measured on a by x in 3 ms"),
        (b, "no network was measured on chip by y in 4 ms"),
        (b, "its own 1"),
        (b, "its own 2"),
        (a, "of both"),
        (b, "of both"),
    ]
    words = {a: ["a", "x"], b: ["chip", "b", "y"]}
    assert list(shared_notes(notes, [a, b], words)) == [
        "note: a: no network was measured on a by x in 3 ms (alike: b)",
        "note: b: its own 1",
        "note: b: its own 2",
        "note: of both",
    ]
    assert len(list(shared_notes(notes, [a, b]))) == 5


def test_a_model_that_has_its_devices_name_is_told(latcast: Any, file: Path) -> None:
    run = latcast("predict", file, "--device", "samsung-note10")
    assert "samsung-note10/ncnn/b1 " in run.stdout
    told = "search spaces' architectures on samsung-note10: samsung-note10/lookup-table/b1; name"
    assert told in run.stderr
    named = latcast("predict", file, "--device", "samsung-note10/lookup-table/b1")
    assert "samsung-note10/lookup-table/b1 " in named.stdout
    assert told not in named.stderr


def test_lines_are_broken_between_words() -> None:
    assert wrapped("  note: a b c\nlonger-than-that --x", 9) == (
        "  note: a\n    b c\nlonger-than-that\n  --x"
    )
    assert wrapped("note: a b c", None) == "note: a b c"


def test_a_terminals_lines_end_where_it_ends(in_terminal: InTerminal, file: Path) -> None:
    asked = ("predict", file, "--device", "samsung-note10", "--device", "rtx-2080-ti")
    for width in (80, 120):
        lines = in_terminal(*asked, columns=width)
        assert max(map(len, lines)) <= width
        assert any(line.startswith(" A   samsung-note10/ncnn/b1 ") for line in lines)
    assert max(map(len, in_terminal(*asked, "--wide", columns=80))) > 80
