"""How many may be at it at a time, what the others are told, and how a client goes on."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")

from latcast import __version__
from latcast.serve import client as client_module
from latcast.serve.calls import BusyError
from latcast.serve.client import Client, ServerError
from latcast.serve.gate import Gate, Metrics
from latcast.serve.settings import Keys, Settings, add_key
from latcast.serve.workers import _Line

# --- the service ----------------------------------------------------------------------------------


class Asked:
    """Requests to the gate of an application that answers when it is let."""

    def __init__(self, keys: Keys | None = None, **settings: Any) -> None:
        self.let = asyncio.Event()
        self.metrics = Metrics()
        self.gate = Gate(self.answer, Settings("h", 80, Path(), **settings), keys, self.metrics)
        self.begun = 0

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        await self.let.wait()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"{}"})

    async def __call__(self, path: str, method: str = "POST", key: str = "") -> Any:
        """Status, headers and body of an answer."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("nothing of the body is read")

        headers = [(b"host", b"localhost"), (b"x-api-key", key.encode())]
        await self.gate({"type": "http", "method": method, "path": path, "headers": headers},
                        receive, send)  # fmt: skip
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


async def at_once(asked: Asked, *requests: Any) -> list[Any]:
    """Answers to requests of which all are sent before one is let."""
    tasks = [asyncio.ensure_future(asked(*request)) for request in requests]
    for _ in range(10):
        await asyncio.sleep(0)
    asked.let.set()
    return await asyncio.gather(*tasks)


def test_so_many_uploads_are_taken_at_a_time() -> None:
    async def run() -> None:
        asked = Asked(uploads=2)
        answers = await at_once(asked, *[("/v1/networks",), ("/v1/datasets",)] * 2,
                                ("/v1/networks", "GET"), ("/v1/forecast",))  # fmt: skip
        assert [status for status, _, _ in answers] == [200, 200, 503, 503, 200, 200]
        assert asked.begun == 4
        _, headers, told = answers[2]
        assert int(headers[b"retry-after"]) > 0
        assert told["schema"] == "latcast/error"
        assert "at most 2 uploads are taken at a time" in told["error"]
        # Their places are free again.
        assert [s for s, _, _ in await at_once(asked, *[("/v1/networks",)] * 2)] == [200, 200]
        assert asked.metrics.registry.get_sample_value("latcast_uploads") == 0

    asyncio.run(run())


def test_a_key_has_some_of_the_places(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    mine, yours = add_key(path, "me"), add_key(path, "you")

    async def run() -> None:
        asked = Asked(Keys.read(path), uploads=3, key_uploads=2)
        requests = [("/v1/networks", "POST", key) for key in (mine, mine, mine, yours, yours)]
        answers = await at_once(asked, *requests)
        assert [status for status, _, _ in answers] == [200, 200, 429, 200, 503]
        assert int(answers[2][1][b"retry-after"]) > 0
        assert "at most 2 uploads of a key" in answers[2][2]["error"]

    asyncio.run(run())


def test_so_many_requests_are_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latcast._limits.MAX_REQUESTS", 2)

    async def run() -> None:
        asked = Asked()
        answers = await at_once(asked, *[("/v1/which",)] * 3, ("/healthz", "GET"))
        assert [status for status, _, _ in answers] == [200, 200, 503, 200]

    asyncio.run(run())


# --- turns ----------------------------------------------------------------------------------------


async def waiting(line: Any, *owners: str) -> dict[str, list[asyncio.Task[Any]]]:
    """Owners' requests, which wait for a worker in that order."""
    tasks: dict[str, list[asyncio.Task[Any]]] = {}
    for owner in owners:
        tasks.setdefault(owner, []).append(asyncio.ensure_future(line.get(owner)))
        await asyncio.sleep(0)
    return tasks


def test_owners_take_turns_at_workers() -> None:
    async def run() -> str:
        line, worker = _Line(), object()
        line.put(worker)
        assert await line.get("a") is worker
        tasks = await waiting(line, *"aaaabbc")
        owner, order = "a", ""
        while line.waiting:
            line.leave(owner)
            line.put(worker)
            await asyncio.sleep(0)
            (done,) = [(o, t) for o, own in tasks.items() for t in own if t.done()]
            owner, task = done
            tasks[owner].remove(task)
            order += owner
        return order

    assert asyncio.run(run()) == "bcabaaa"


def test_who_has_fewest_workers_is_next() -> None:
    async def run() -> None:
        line = _Line()
        for _ in range(2):
            line.put(object())
            await line.get("a")
        tasks = await waiting(line, *"aab")
        line.leave("a")
        line.put(object())
        await asyncio.sleep(0)
        assert [t.done() for t in tasks["b"]] == [True]
        line.leave("b")
        line.put(object())
        await asyncio.sleep(0)
        assert [t.done() for t in tasks["a"]] == [True, False]

    asyncio.run(run())


def test_who_sends_most_is_told_that_the_service_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latcast._limits.MAX_WAITING", 4)

    async def run() -> None:
        line = _Line()
        tasks = await waiting(line, *"aaaa")
        with pytest.raises(BusyError, match="4 requests wait already"):
            await line.get("a")
        tasks |= await waiting(line, *"bb")
        with pytest.raises(BusyError):
            await line.get("b")  # it has as many as the other
        assert line.waiting == 4
        await asyncio.sleep(0)
        ended = [t.done() and isinstance(t.exception(), BusyError) for t in tasks["a"]]
        assert ended == [False, False, True, True]
        for task in [*tasks["a"][:2], *tasks["b"]]:
            task.cancel()

    asyncio.run(run())


def test_a_worker_is_not_given_to_a_client_that_has_just_gone() -> None:
    async def run() -> None:
        line, worker = _Line(), object()
        tasks = await waiting(line, *"ab")
        tasks["a"][0].cancel()  # whose task has not run since
        line.put(worker)
        assert await tasks["b"][0] is worker
        tasks = await waiting(line, "c")
        tasks["c"][0].cancel()
        line.put(worker)
        assert line.idle == 1
        await asyncio.sleep(0)
        assert line.waiting == 0

    asyncio.run(run())


def test_room_is_made_by_a_client_that_has_just_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latcast._limits.MAX_WAITING", 2)

    async def run() -> None:
        line = _Line()
        tasks = await waiting(line, *"aa")
        tasks["a"][1].cancel()
        new = line.get("b")
        assert not new.send(None).done()  # runs at once, before the other's task does
        new.close()
        tasks["a"][0].cancel()

    asyncio.run(run())


def test_a_worker_is_not_lost_with_the_client_that_it_was_given_to() -> None:
    async def run() -> None:
        line, worker = _Line(), object()
        tasks = await waiting(line, *"ab")
        line.put(worker)
        tasks["a"][0].cancel()  # before it has heard of it
        assert await tasks["b"][0] is worker
        tasks = await waiting(line, "c")
        tasks["c"][0].cancel()
        await asyncio.sleep(0)
        assert line.waiting == 0
        line.leave("b")
        line.put(worker)
        assert line.idle == 1

    asyncio.run(run())


# --- the client -----------------------------------------------------------------------------------


@pytest.fixture
def busy() -> Iterator[Any]:
    """A server that is busy so many times, and keeps what it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server: Any = self.server
            server.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            is_busy = len(server.bodies) <= server.times
            found = server.busy if is_busy else server.answer
            content = json.dumps(found).encode()
            self.send_response(server.status if is_busy else 200)
            if is_busy:
                self.send_header("retry-after", server.retry)
            self.send_header("content-length", str(len(content)))
            if server.version is not None:
                self.send_header("x-latcast-version", server.version)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815  # names of the base class

        def log_message(self, *_: object) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.bodies, server.times, server.status, server.retry = [], 2, 503, "7"
    server.busy = {"schema": "latcast/error", "version": 1, "error": "busy", "exit_code": 1}
    server.answer, server.version = {"id": "x"}, None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", found.append)
    return found


def client_of(server: Any, **options: Any) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", **options)


@pytest.mark.parametrize("status", [429, 503])
def test_a_client_asks_a_busy_service_again(busy: Any, pauses: list[float], status: int) -> None:
    busy.status = status
    assert client_of(busy).begin("search", device=["pixel-7"]) == "x"
    assert pauses == [7, 7]
    assert len(set(busy.bodies)) == 1


def test_a_client_sends_the_whole_file_again(
    busy: Any, pauses: list[float], tmp_path: Path
) -> None:
    (file := tmp_path / "data.csv").write_bytes(b"0123456789" * 100_000)
    assert client_of(busy).send_dataset(file) == "x"
    assert len(busy.bodies) == 3
    assert all(file.read_bytes() in body for body in busy.bodies)


def test_a_client_gives_up(busy: Any, pauses: list[float]) -> None:
    busy.times, busy.retry = 99, "86400"
    with pytest.raises(ServerError, match="busy") as error:
        client_of(busy, retries=2).jobs()
    assert error.value.status == 503
    assert len(busy.bodies) == 3
    assert pauses == [30, 30]  # however long it is told to wait


def test_a_client_asks_once_where_it_is_not_told_to_ask_again(
    busy: Any, pauses: list[float]
) -> None:
    for status, retry in ((503, "Wed, 21 Oct 2026 07:28:00 GMT"), (422, "1")):
        busy.bodies.clear()
        busy.status, busy.retry = status, retry
        with pytest.raises(ServerError, match="busy"):
            client_of(busy).jobs()
        assert len(busy.bodies) == 1
    assert pauses == []


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("9.8", f"is latcast 9.8, this client {__version__}: install the same version on both"),
        (None, "is latcast of an earlier version, this client"),
        (__version__, f"and this client are latcast {__version__}"),
    ],
)
def test_a_client_says_that_a_server_is_of_another_version(
    busy: Any, version: str | None, text: str
) -> None:
    busy.times, busy.version = 0, version
    busy.answer = {"schema": "latcast/devices", "version": 99, "devices": []}
    with pytest.raises(ServerError, match=re.escape(text)) as error:
        client_of(busy).devices()
    assert "must be of version" in str(error.value)


@pytest.mark.parametrize(("version", "is_told"), [("9.8", True), (__version__, False)])
def test_a_request_that_a_server_of_another_version_does_not_know(
    busy: Any, version: str, is_told: bool
) -> None:
    busy.version, busy.status, busy.retry = version, 422, "x"
    with pytest.raises(ServerError, match="busy") as error:
        client_of(busy).devices()
    assert ("install the same version" in str(error.value)) == is_told
