"""``latcast devices``, and the option that other commands share."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from latcast.devices import RANGES, VARIABLE, Device, catalogue_text, devices

BOARD = Device("my-board", "A board", "cpu", 4, 2, 6.4, "its manual", power_w=5)


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    path = tmp_path / "boards.toml"
    path.write_text(catalogue_text([BOARD]), encoding="utf-8")
    return path


def test_all_are_listed(latcast: Any) -> None:
    lines = latcast("devices").stdout.splitlines()
    kinds = Counter(d.kind for d in devices().values())
    assert [line for line in lines if line in {f"{k}: {n}" for k, n in kinds.items()}] == [
        f"{kind}: {kinds[kind]}" for kind in ("gpu", "cpu", "phone", "accelerator")
    ]
    rows = [line for line in lines if line.split()[:1] and line.split()[0] in devices()]
    assert len(rows) == len(devices())
    (row,) = [line for line in lines if line.split()[:1] == ["rtx-2080-ti"]]
    assert row.split()[:11] == [
        "rtx-2080-ti", "gpu", "4352", "11", "616", "13.45", "107.6", "–", "215.2", "250", "2018",
    ]  # fmt: skip
    assert row.strip().endswith("NVIDIA GeForce RTX 2080 Ti")


def test_one_device_is_shown_whole(latcast: Any) -> None:
    text = latcast("devices", "epyc-9354").stdout
    for part in ("epyc-9354: AMD EPYC 9354", "32768", "460.8", "3.328", "280", "2022", "source: "):
        assert part in text
    (record,) = latcast.json("devices", "epyc-9354")["devices"]
    assert set(RANGES) <= set(record)
    assert (record["l3_kb"], record["peak_bf16_flops"]) == (32768, None)


def test_a_list_is_narrowed_by_words(latcast: Any) -> None:
    def names(*options: str) -> list[str]:
        return [d["name"] for d in latcast.json("devices", *options)["devices"]]

    assert names("--find", "RK3588") == ["rk3588-mali-g610", "rk3588", "rk3588-npu"]
    assert "pixel-4" in names("--find", "pixel cortex-a76", "--kind", "phone")
    text = latcast("devices", "rk3588").stdout
    assert "4 x cortex-a76 at 2.4 GHz; 4 x cortex-a55 at 1.8 GHz" in text


def test_own_devices_are_known_while_the_command_runs(latcast: Any, boards: Path) -> None:
    names = [d["name"] for d in latcast.json("devices", "--devices", boards)["devices"]]
    assert names == [*devices(), "my-board"]
    assert "its manual" in latcast("devices", "my-board", "--devices", boards).stdout
    assert "my-board" not in devices()
    latcast.error("devices", "my-board", code=2)


def test_several_files_and_the_variable(
    latcast: Any, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def title(*options: object) -> str:
        (record,) = latcast.json("devices", "my-board", *options)["devices"]
        return record["title"]

    other = tmp_path / "other.toml"
    other.write_text(catalogue_text([BOARD]).replace("A board", "Newer"), encoding="utf-8")
    assert title("--devices", boards, "--devices", other) == "Newer"
    another = tmp_path / "another.toml"
    another.write_text(catalogue_text([BOARD]).replace("my-board", "my-other"), encoding="utf-8")
    monkeypatch.setenv(VARIABLE, f"{boards}{os.pathsep}{another}")
    names = [d["name"] for d in latcast.json("devices")["devices"]]
    assert names[-2:] == ["my-board", "my-other"]
    assert title() == "A board"
    # What is given on the command line counts instead.
    latcast.error("devices", "my-board", "--devices", another, code=2)


def test_files_that_are_no_good(latcast: Any, boards: Path, tmp_path: Path) -> None:
    message = latcast.error("devices", "--devices", tmp_path / "absent.toml", code=2)
    assert message.startswith("error: --devices (or LATCAST_DEVICES): no such file: ")
    told = latcast("devices", "--devices", tmp_path / "absent.toml", "--json", code=2).stderr
    assert json.loads(told)["error"] == message.removeprefix("error: ").strip()
    boards.write_text(catalogue_text([BOARD]).replace("6.4", "64000"), encoding="utf-8")
    for arguments in ((), ("tesla-p40",)):
        message = latcast.error("devices", *arguments, "--devices", boards, code=1)
        assert f"{boards}: my-board: bandwidth_gb_s must be" in message
        assert "got 64000 (divide MB/s by 1000" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "gpus"), "did you mean 'gpu'?"),
        (("--kind", "gpu", "tesla-p40"), "--kind goes with the list of devices"),
        (("--kind", "gpu", "--detect"), "--kind goes with the list of devices"),
        (("--find", "rk", "tesla-p40"), "--find goes with the list of devices"),
        (("--find", "rk 9999"), "'rk 9999' is of none of the"),
        (("rtx-2080-t",), "did you mean 'rtx-2080-ti'?"),
    ],
)
def test_wrong_usage(latcast: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in latcast.error("devices", *arguments, code=2)
