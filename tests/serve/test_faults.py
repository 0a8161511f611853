"""Faults of the system and of clients, by the parts of the service that meet them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latcast import _limits
from latcast.models.zoo import UnresolvedError
from latcast.serve import files as files_module
from latcast.serve import workers as workers_module
from latcast.serve.calls import CALLS, Answer, answer, failed
from latcast.serve.files import Files
from latcast.serve.gate import Gate, Metrics
from latcast.serve.settings import Settings
from latcast.serve.workers import Workers


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        pid, tries = 1, 0

        def __init__(self, _: object) -> None:
            Worker.tries += 1
            if Worker.tries == 1:
                raise OSError("no more processes")

        def set_up(self, _: object) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(workers_module, "_Worker", Worker)
    monkeypatch.setattr(workers_module, "_PAUSE_S", 0.0)

    async def start() -> list[int]:
        workers = Workers(1, {})
        await asyncio.wait_for(workers.start(), 300)
        return workers.pids

    assert asyncio.run(start()) == [1]


@pytest.mark.parametrize(("status", "is_full"), [(413, False), (413, True), (200, True)])
def test_a_worker_is_replaced_for_what_it_holds_and_not_for_its_answer(
    monkeypatch: pytest.MonkeyPatch, status: int, is_full: bool
) -> None:
    class Worker:
        pid, answered = 1, 0

        def __init__(self, _: object) -> None:
            self.is_full = False

        def set_up(self, _: object) -> None:
            pass

        def ask(self, _: object, seconds: float) -> Answer:
            self.is_full = is_full
            return Answer(status, "{}")

        def close(self) -> None:
            pass

    monkeypatch.setattr(workers_module, "_Worker", Worker)

    async def ask() -> int:
        workers = Workers(1, {})
        await workers.start()
        assert (await workers.ask({})).status == status
        return workers.restarts

    assert asyncio.run(ask()) == is_full


def test_the_worker_that_answered_last_is_asked_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        pid, answered, is_full = 1, 0, False
        made = 0

        def __init__(self, _: object) -> None:
            Worker.made += 1
            self.name = str(Worker.made)

        def set_up(self, _: object) -> None:
            pass

        def ask(self, _: object, seconds: float) -> Answer:
            return Answer(200, self.name)

        def close(self) -> None:
            pass

    monkeypatch.setattr(workers_module, "_Worker", Worker)

    async def ask() -> set[str]:
        workers = Workers(3, {})
        await workers.start()
        while workers._line.idle < 3:
            await asyncio.sleep(0)
        return {(await workers.ask({})).body for _ in range(5)}

    assert len(asyncio.run(ask())) == 1


# A process that answers everything alike. The second one closes its input after it has started.
_LIGHT = """
import json, os, sys, time
print("{}", flush=True)
sys.stdin.readline()
if %d and not os.path.exists(%r):
    os.close(0)
    open(%r, "w").close()
    time.sleep(600)
for _ in sys.stdin:
    print(json.dumps({"status": 200, "body": "{}", "is_full": False}), flush=True)
"""


@pytest.mark.parametrize("closes", [False, True])
def test_a_request_that_a_dead_worker_never_took_is_another_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closes: bool
) -> None:
    marked = str(tmp_path / "marked")
    monkeypatch.setattr(workers_module, "_START", _LIGHT % (closes, marked, marked))

    async def ask() -> Answer:
        workers = Workers(1, {})
        await workers.start()
        try:
            if closes:
                await asyncio.to_thread(wait_for, lambda: Path(marked).exists())
            else:
                kill(workers.pids[0])
            return await asyncio.wait_for(workers.ask({}), 300)
        finally:
            workers.close()

    assert asyncio.run(ask()).status == 200


def test_an_idle_worker_that_dies_is_replaced_before_anybody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "_START", _LIGHT % (False, "", ""))

    async def replaced() -> tuple[list[int], list[int]]:
        workers = Workers(1, {})
        await workers.start()
        try:
            before = workers.pids
            kill(before[0])
            async with asyncio.timeout(300):
                while workers.restarts == 0 or workers._line.idle == 0:
                    await asyncio.sleep(0.01)
            return before, workers.pids
        finally:
            workers.close()

    before, after = asyncio.run(replaced())
    assert len(after) == 1
    assert before != after


def kill(pid: int) -> None:
    """End a process of this one, and return when it has ended."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def wait_for(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not found():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.01)


def test_a_process_is_full_by_what_it_still_holds() -> None:
    code = """
from latcast.serve.workers import is_full, limit_memory, room_bytes
print(is_full(room_bytes()))
limit_memory(2**28)
room = room_bytes()
try:
    bytearray(2**29)
except MemoryError:
    print(is_full(room))
circle = [bytearray(2**27 + 2**26)]
circle.append(circle)
print(is_full(room))
del circle
print(is_full(room))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "True", "False"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), OSError(errno.ENOMEM, "Cannot allocate memory")]
)
def test_a_lack_of_memory_is_too_large_a_request(error: Exception) -> None:
    found = failed(error)
    assert found.status == 413
    assert "needs more memory than it may take" in json.loads(found.body)["error"]


def asked(method: str = "GET", **headers: str) -> tuple[int, Any, Metrics]:
    """Status and body of the gate's answer to a request that the application says nothing to."""
    sent: list[Any] = []
    metrics = Metrics()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    given = {"host": "localhost:80", **headers}
    scope = {
        "type": "http", "method": method, "path": "/v1/devices",
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }  # fmt: skip
    gate = Gate(application, Settings("127.0.0.1", 80, Path()), None, metrics)
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), metrics


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://localhost", "localhost:80"])
def test_what_is_no_origin_of_the_service_is_refused(origin: str) -> None:
    status, told, _ = asked(origin=origin)
    assert status == 403
    assert "may not ask this service" in told["error"]


def test_its_own_origin_may_ask() -> None:
    assert asked(origin="http://localhost:80")[0] == 200


def test_methods_that_clients_make_up_are_counted_as_one() -> None:
    metrics = asked("MADE-UP")[2]
    (family,) = metrics.requests.collect()
    assert {x.labels["method"] for x in family.samples} == {"other"}


def put(files: Files, content: bytes) -> str:
    (path := files.coming() / "x").write_bytes(content)
    return files.add("networks", path, "a.onnx")


def test_files_may_be_removed_while_others_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    keys = [put(files, bytes([n])) for n in range(3)]
    removing = [threading.Thread(target=files.remove, args=("networks", key)) for key in keys]
    contents = files_module._contents

    def meanwhile(folder: Path) -> Any:
        if not any(thread.ident for thread in removing):
            for thread in removing:
                thread.start()
                thread.join(0.1)  # they wait for the sweep, which does not depend on how long
        return contents(folder)

    monkeypatch.setattr(files_module, "_contents", meanwhile)
    files.sweep()
    for thread in removing:
        thread.join()
    assert not list((tmp_path / "networks").iterdir())


def test_small_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "MAX_STATE_FILES", 2)
    files = Files(tmp_path)
    keys = {put(files, bytes([n])) for n in range(4)}
    files.sweep()
    assert len({x.name for x in (tmp_path / "networks").iterdir()} & keys) == 2


def test_without_accuracies_it_is_told_what_to_do_at_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATCAST_DATA", str(tmp_path))
    asked = {"device": "raspberry-pi-4", "max_latency_ms": 20.0}
    found = answer({"call": "choose", "arguments": asked})
    assert found.status == 422
    assert "start it again with LATCAST_DATA=" in found.body
    assert "--accuracies" not in found.body  # which a client refuses
    assert str(tmp_path) not in found.body


def test_a_side_of_an_input_is_an_integer() -> None:
    curve = {"of": "batch", "values": [1.0, 1.5]}
    with pytest.raises(UnresolvedError, match=r"must be integers; got 1\.5"):
        CALLS["forecast"]({"network": "x.onnx", "devices": ["raspberry-pi-4"], "sweep": curve})
