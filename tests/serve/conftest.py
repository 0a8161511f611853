"""A service of its own for the tests: a real one, in a process, on a free port."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi", reason="the service needs latcast[serve]")


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running service, and how to ask it."""

    def __init__(self, state: Path, *options: object) -> None:
        command = [sys.executable, "-m", "latcast", "serve", "--listen", "127.0.0.1:0",
                   "--state", str(state), *map(str, options)]  # fmt: skip
        self.state, self.port = state, 0
        self._log = state.with_name(f"{state.name}.{uuid.uuid4().hex}.log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self._wait_until_it_answers()

    @property
    def log(self) -> str:
        """What it has told the user."""
        return self._log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", self.log):
                self.port = int(found[1])
                # Who is told the address may ask at once.
                assert self.ask("GET", "/healthz").status == 200
                return
            time.sleep(0.1)
        pytest.fail(f"the service does not answer: {self.log}")

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given = {"content-type": "application/json"} | given
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def send(
        self,
        path: str,
        name: str,
        content: bytes,
        fields: Mapping[str, str] | None = None,
        key: str = "",
    ) -> Reply:
        """A file, as a browser's form sends it."""
        border = uuid.uuid4().hex
        start = f"--{border}\r\ncontent-disposition: form-data; name="
        parts = [
            f'{start}"{key}"\r\n\r\n{value}\r\n'.encode() for key, value in (fields or {}).items()
        ]
        head = f'{start}"file"; filename="{name}"\r\n\r\n'
        body = b"".join([*parts, head.encode(), content, f"\r\n--{border}--\r\n".encode()])
        kind = f"multipart/form-data; boundary={border}"
        return self.ask("POST", path, body, {"content-type": kind, "x-api-key": key})

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=120)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Served]]:
    """Start a service; it does not outlive the tests."""
    started: list[Served] = []

    def start(*arguments: Any) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture(scope="session")
def service(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One service that most tests ask."""
    return serve(tmp_path_factory.mktemp("state"), "--workers", 1)
