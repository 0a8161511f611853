"""Every command that measures does so on the machine that ``--host`` names."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

import latcast as library
from latcast.devices import device
from latcast.graph.write.onnx import to_onnx
from latcast.measure.hosts import HOSTS, Host, HostError, host
from latcast.search import choose
from latcast.search.choose import Choice, ChosenModel

SPACE = library.space("ofa-mobilenet-v3-w1.0")


class Asleep(Host):
    """A board that answers nothing, or what a test lets it answer."""

    kind = "board"
    title = "the board"
    check = start = lambda *_: None

    def facts(self):
        raise HostError("the board is asleep")

    def detect(self, name=None, *, seconds=2.0):
        raise HostError("the board is asleep")

    @contextmanager
    def lock(self, path):
        raise HostError(f"the board is asleep: {path.name}")
        yield


@pytest.fixture(autouse=True)
def board(monkeypatch):
    monkeypatch.setitem(HOSTS._things, "board", Asleep)


@pytest.mark.parametrize(
    "command",
    [
        ("measure", "--samples", 2, "--out", "a.parquet"),
        ("lookup-table", "build", "--out", "a.latcast"),
        ("devices", "--detect"),
        ("suggest", "--samples", 2),
        ("search", "--device", "samsung-note10", "--max-latency", 20, "--verify", 1),
    ],
    ids=lambda command: command[0],
)
def test_commands_ask_the_host(latcast, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "the board is asleep" in latcast(*command, "--host", "board:1", code=1).stderr
    assert not list(tmp_path.iterdir())


def test_networks_are_suggested_for_what_a_host_is(latcast, monkeypatch, tmp_path):
    (model := tmp_path / "a.onnx").write_bytes(to_onnx(SPACE.network(SPACE.sample(1, 0))))
    theirs = replace(device("rk3588"), name="ours")
    monkeypatch.setattr(Asleep, "detect", lambda *_, **__: theirs)
    asked = ("suggest", "--samples", 1, "--among", model)
    found = latcast.json(*asked, "--host", "board:1")
    assert found["target"].startswith("ours/")
    assert [row["network"] for row in found["networks"]] == [str(model)]
    error = latcast.error(*asked, "--host", "board:1", "--device", "rk3588", code=2)
    assert "leave out --device" in error


def test_a_choice_is_verified_on_a_host(tmp_path, monkeypatch):
    content = to_onnx(SPACE.network(SPACE.sample(1, 0)))
    monkeypatch.setattr(choose, "_exported", lambda _, __, path: path.write_bytes(content) and path)
    model = ChosenModel("small", "timm:small", 224, 60.0, 1.0, 0.9, 1.1, 0.9, 1e6, 1e6, 1e6)
    fields = dict.fromkeys(Choice.__dataclass_fields__)
    known = {"models": (model,), "target": "pi/onnxruntime/b1", "notes": ()}
    monkeypatch.setattr(Asleep, "facts", lambda _: {"name": "pi", "cpus": [0, 1]})
    with host("board:1") as board, pytest.raises(HostError, match=r"asleep: choice\.campaign"):
        choose.verify_choice(Choice(**{**fields, **known}), 1, on=board)


def test_a_host_of_a_choice_goes_with_verify(latcast):
    command = ("choose", "--device", "raspberry-pi-4", "--max-latency", 50)
    assert "only with --verify" in latcast.error(*command, "--host", "board:1", code=2)
