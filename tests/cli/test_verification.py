"""What ``latcast search --verify`` does."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from latcast.cli._console import Console, UsageError
from latcast.cli.search import Files, verified_search
from latcast.data import read
from latcast.devices import Target
from latcast.measure import Plan, open_or_resume
from latcast.measure.hosts import HOSTS
from latcast.measure.hosts.here import Here
from latcast.models import LookupTable
from latcast.search import InfeasibleError
from latcast.search.verification import Check, search_and_verify_here
from latcast.spaces import space

SPACE = space("compofa-fixed-kernel")
RESOLUTION = {"r": [224]}


@pytest.fixture
def run(instant_campaigns: None) -> Any:
    def call(
        name: str = "samsung-note10", budgets: tuple[float, ...] | None = (4.0,), **options: Any
    ) -> None:
        check = {"verify": 2, "rounds": 1, "suggested": 2, "runs": 2, "name": "here"}
        ours = {n: options.pop(n) for n in list(options) if n in Check.__dataclass_fields__}
        common = {"seed": 0, "restrict": RESOLUTION}
        shown = {n: options.pop(n) for n in ("json", "quiet") if n in options}
        verified_search(
            Console(**shown),
            name,
            SPACE,
            Check(**{**check, **ours}),  # type: ignore[arg-type]
            Files(out=options.pop("out", None)),
            max_latency_ms=None if budgets is None else list(budgets),
            **{**common, **options},
        )

    return call


@pytest.mark.slow
def test_tables_and_files(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, measured = tmp_path / "best.json", tmp_path / "m.parquet"
    run(out=out, measured=measured)
    text = capsys.readouterr()
    assert "round 0: predicted against measured on here/onnxruntime/b1/t1" in text.out
    assert "suggested" in text.out
    assert "round 1: predicted against measured" in text.out
    assert "most accurate of compofa-fixed-kernel on here/onnxruntime/b1/t1" in text.out
    assert "round 1: 2 measured, predictions" in text.err
    archs = SPACE.parse(json.loads(out.read_text(encoding="utf-8")))
    assert len(archs) == 1
    data = read(measured)
    assert len(data) == 4
    assert archs[0] in list(data.archs)
    with pytest.raises(UsageError, match="exists already"):
        run(measured=measured)

    run(measured=measured, resume=True, json=True, quiet=True)
    text = capsys.readouterr()
    assert text.err == ""
    record = json.loads(text.out)
    assert record["measurements"] == 4
    assert [r["round"] for r in record["rounds"]] == [0, 1]
    suggested, checked = record["rounds"]
    assert suggested["mape"] is None
    assert {n["kept"] for n in suggested["networks"]} == {None}
    assert all(isinstance(n["inside"], bool) for n in checked["networks"])
    (found,) = record["found"]
    assert found["verified"] is True
    assert found["measured_ms"] <= 4
    assert found["arch"] == archs.to_dicts()[0]

    check = Check(2, 1, 2, name="here", runs=2, measured=measured, resume=True)
    options = {"space": SPACE, "restrict": RESOLUTION, "max_latency_ms": [4.0]}
    result, told = search_and_verify_here("samsung-note10", check, **options)  # type: ignore[arg-type]
    assert result.archs[0] == archs[0]
    assert json.loads(told.to_json()) == record


@pytest.mark.slow
def test_records_without_a_name_are_kept_if_it_is_interrupted(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(quiet=True)
    assert not list(tmp_path.glob("latcast-*/*.campaign"))

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("latcast.measure.run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run()
    (kept,) = tmp_path.glob("latcast-*/*.campaign")
    text = capsys.readouterr().err
    record = kept.parent / "measured.parquet"
    assert f"go on with the same command and --measured {record} --resume" in text
    run(measured=record, resume=True)
    assert len(read(record)) == 4


def test_it_is_gone_on_with_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class There(Here):
        kind = "there"

    monkeypatch.setitem(HOSTS._things, "there", There)
    record = tmp_path / "m.parquet"
    plan = Plan(Target("here", "onnxruntime", threads=1), SPACE.sample(2, 0), host="there:1")
    open_or_resume(tmp_path / "m.0.campaign", plan).close()
    check = Check(2, name="here", measured=record, resume=True)
    with check.campaigns(record, 0) as measuring:
        assert measuring.host == "there:1"
    with replace(check, host="here").campaigns(record, 0) as measuring:
        assert measuring.host == "here"


@pytest.mark.usefixtures("instant_campaigns")
def test_what_cannot_begin_leaves_no_folder(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises((UsageError, ValueError), match="threads"):
        run(threads=5000)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_base_models_and_specifications(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ofa-mobilenet-v3", "jetson-nano"):
        run(name, json=True)
        record = json.loads(capsys.readouterr().out)
        assert record["target"] == "here/onnxruntime/b1/t1"
        assert record["rounds"][0]["networks"][0]["predicted_ms"] > 0


@pytest.mark.slow
def test_wrong_usage(run: Any, tmp_path: Path) -> None:
    for options, message in (
        ({"measured": tmp_path / "a.csv"}, "must end in .parquet"),
        ({"resume": True}, "name it"),
        ({"measured": tmp_path / "a.parquet", "resume": True}, "no campaign to resume"),
        ({"precision": "fp16"}, "precision of onnxruntime"),
        ({"runtime": "onnxrt"}, "no runtime is called"),
        ({"verify": 0}, "must be at least 1"),
        ({"runs": 0}, "runs must be at least 1"),
        ({"restrict": {"r": [128]}}, "r must keep one of"),
        ({"budgets": (-1.0,)}, "positive and finite"),
        ({"name": "samsung-note11"}, "samsung-note10"),
    ):
        with pytest.raises(UsageError, match=message):
            run(**options)
    with pytest.raises(InfeasibleError, match=r"keeps 0.1 ms on here"):
        run(budgets=(0.1,), quiet=True)


@pytest.mark.slow
def test_the_command(latcast: Any, instant_campaigns: None, tmp_path: Path) -> None:
    command = ["search", "--device", "samsung-note10", "--space", SPACE.name, "--max-latency", 4,
               "--resolution", 224, "--verify", 2, "--rounds", 1, "--suggested", 3, "--runs", 2,
               "--name", "here", "--threads", 2]  # fmt: skip
    record = latcast.json(*command, "--measured", tmp_path / "a.parquet")
    assert record["target"] == "here/onnxruntime/b1/t2"
    assert record["measurements"] == 5
    assert record["found"][0]["verified"] is True
    error = latcast.error(*command, "--measured", tmp_path / "a.parquet", code=2)
    assert "exists already" in error
    error = latcast.error(*command, "--device", "tesla-p40", code=2)
    assert "--max-latency must have 2 numbers" in error
    error = latcast.error(*command, "--checkpoint", tmp_path / "c", code=2)
    assert "--verify is for one --device" in error
    table = latcast(*command, "--max-latency", 6).stdout
    assert "predicted against measured on here/onnxruntime/b1/t2" in table


@pytest.mark.parametrize(
    "options",
    [
        ["--measured", "a.parquet"],
        ["--rounds", 3, "--runs", 4],
        ["--name", "here", "--threads", 0],
        ["--suggested", 10],
    ],
)
def test_options_of_verify_alone_are_wrong_usage(latcast: Any, options: list[Any]) -> None:
    error = latcast.error("search", "--device", "samsung-note10", *options, code=2)
    assert "only with --verify" in error
    assert all(name in error for name in options[::2])


def test_options_that_are_not_given_are_those_of_measure(
    latcast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Check] = []
    monkeypatch.setattr(
        "latcast.cli.search.verified_search",
        lambda _, __, ___, check, *____, **_____: checks.append(check),
    )
    command = ["search", "--device", "samsung-note10", "--verify", 3]
    latcast(*command)
    latcast(*command, "--runtime", "openvino", "--threads", 0, "--batch", 2, "--rounds", 1)
    assert checks == [
        Check(3, 2, 10, "onnxruntime", 1, 1, "fp32"),
        Check(3, 1, 10, "openvino", 0, 2, "fp32"),
    ]


def test_why_networks_are_not_verified(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks, target = space(SPACE.block_space), Target("here", "onnxruntime", threads=1)
    macs = blocks.block_table.facts["macs"]
    model = str(tmp_path / "twice-as-fast.latcast")
    LookupTable.from_blocks(blocks, target, macs * 0.5e-8).save(model)
    run(model, budgets=(2.5,), verify=1)
    text = capsys.readouterr().err
    assert "1 measurements; NOT VERIFIED: no measured network is an answer for 2.5 ms" in text

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latcast.measure.run", interrupt)
    with pytest.raises(typer.Exit):
        run(model, budgets=(2.5,), verify=1)
    text = capsys.readouterr().err
    assert "interrupted after 0 measurements; NOT VERIFIED: nothing has been measured" in text
