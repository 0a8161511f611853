"""Which forecasts of architectures the service makes itself, and which a worker makes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")

from latcast.serve import own_rows
from latcast.serve.calls import Answer
from latcast.serve.own_rows import OwnRows, rows_of
from latcast.spaces import space

ARCHS = space("nasbench201").sample(1, seed=0).to_dicts()
ASKED = {"archs": ARCHS, "devices": ["pixel-7"], "coverage": 0.8}


@pytest.fixture
def rows() -> Iterator[OwnRows]:
    found = OwnRows()
    yield found
    found.close()


@pytest.fixture
def forecasts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """What was forecast, and by which thread."""
    made: list[tuple[Any, str]] = []

    def answer(request: dict[str, Any]) -> Answer:
        made.append((request["arguments"], threading.current_thread().name))
        return Answer(200 if request["arguments"]["devices"] != ["wrong"] else 422, "{}")

    monkeypatch.setattr(own_rows, "answer", answer)
    return made


def learn(rows: OwnRows, asked: dict[str, Any]) -> None:
    for _ in range(2):
        assert rows.answer(asked, page=False) is None
        rows.note(asked)
    learning = rows._learning
    assert learning is not None
    learning[1].result(300)


def test_what_is_asked_for_again_is_learnt_beside(rows: OwnRows, forecasts: list[Any]) -> None:
    assert rows.answer(ASKED, page=False) is None
    rows.note(ASKED)
    assert forecasts == []  # once is a worker's alone
    rows.note(ASKED)
    assert rows._learning is not None
    rows._learning[1].result(300)
    assert [name.startswith("latcast-learning") for _, name in forecasts] == [True]
    # Another architecture of the same row is made here.
    other = ASKED | {"archs": space("nasbench201").sample(2, seed=1).to_dicts()}
    assert rows.answer(other, page=False) is not None
    assert forecasts[-1] == (other, threading.current_thread().name)
    for change in ({"batch": 2}, {"precision": "int8"}, {"space": "fbnet"}, {"similar_to": "x"}):
        assert rows.answer(ASKED | change, page=False) is None


def test_what_fails_is_not_learnt(rows: OwnRows, forecasts: list[Any]) -> None:
    asked = ASKED | {"devices": ["wrong"]}
    learn(rows, asked)
    assert rows.answer(asked, page=False) is None


def test_one_is_learnt_at_a_time(rows: OwnRows, monkeypatch: pytest.MonkeyPatch) -> None:
    let = threading.Event()

    def answer(_: Any) -> Answer:
        let.wait(300)
        return Answer(200, "{}")

    monkeypatch.setattr(own_rows, "answer", answer)
    other = ASKED | {"devices": ["pixel-8"]}
    for asked in (ASKED, ASKED, other, other):
        rows.note(asked)
    assert rows._learning is not None
    assert rows._learning[0] == rows_of(ASKED)
    let.set()
    rows._learning[1].result(300)


def test_rows_asked_for_last_are_kept(forecasts: list[Any]) -> None:
    rows = OwnRows(most=2)
    each = [ASKED | {"devices": [f"pixel-{n}"]} for n in (6, 7, 8)]
    for asked in each:
        learn(rows, asked)
        assert rows.answer(asked, page=False) is not None
    assert rows.answer(each[0], page=False) is None
    assert rows.answer(each[2], page=False) is not None
    rows.close()


def test_shipped_models_are_known_from_the_start(forecasts: list[Any]) -> None:
    rows = OwnRows(most=0)
    rows.start()
    for name in ("tesla-p40", "help-v100-1", "raspberry-pi-4"):
        for of_space in ({}, {"space": "ofa-mobilenet-v3"}):
            asked = {"archs": ARCHS, "devices": [name], **of_space}
            assert rows.answer(asked, page=False) is not None
            assert rows.answer(asked | {"batch": 3}, page=False) is None
    rows.close()


def test_rows() -> None:
    assert len(rows_of(ASKED | {"devices": ["a", "b"], "precision": ["fp32", "int8"]})) == 4
    for more in ({"network": "x"}, {"model": "x"}, {"sweep": {}}, {"vary": {}}, {"batch": [1, 2]}):
        assert rows_of(ASKED | more) == []


@pytest.mark.slow
@pytest.mark.worker
def test_a_row_is_the_same_whoever_makes_it(service: Any, latcast: Any, tmp_path: Any) -> None:
    archs = space("fbnet").sample(1, seed=0).to_dicts()
    (file := tmp_path / "archs.json").write_text(json.dumps(archs))
    command = ("predict", file, "--space", "fbnet", "--device", "rk3588", "--json", "--quiet")
    told = json.loads(latcast(*command).stdout)
    asked = {"archs": archs, "space": "fbnet", "devices": ["rk3588"]}
    for _ in range(4):  # by a worker, twice; then, once it is learnt, by the service
        assert service.ask("POST", "/v1/forecast", asked).json() == told
