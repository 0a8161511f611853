"""The far side of a link: this machine as a host, asked in lines of JSON.

It reads one request a line from standard input and answers each with one line on what was its
standard output, in their order; whatever else is printed goes to standard error. The first line
is a greeting (:mod:`._greeting`), by which the near side tells it from a login's banner. A request
says what to ``do``; an answer holds ``answer``, or ``error`` with its ``kind`` and ``message``. A
request ``{"do": "ping"}`` has no answer: it says that the link is alive.

It ends, and with it its worker and its lock on the machine, when its input does, or when nothing
was heard for :data:`SILENCE_S`: a link that was cut in between is told to neither side.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, Any

from latcast.devices import Target
from latcast.measure._lines import WorkerDiedError
from latcast.measure._machine import machine_lock
from latcast.measure._worker import WorkerProcess

from ._greeting import FOLDER, greeting
from .here import Here

SILENCE_S = 75.0
"""Seconds without a line after which the near side is given up: five pings."""

Request = Mapping[str, Any]


class Agent:
    """Answers requests about this machine, one at a time.

    Args:
        folder: where files of networks are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._here = Here()
        self._folder = folder
        self._worker: WorkerProcess | None = None
        self._lock = ExitStack()
        self._does: dict[str, Callable[[Request], Any]] = {
            "facts": lambda _: dict(self._here.facts()),
            "check": lambda r: self._here.check(Target.parse(r["target"])),
            "tells": lambda r: self._here.check_quantities(r["quantities"], r["runtime"]),
            "lock": self._hold,
            "unlock": lambda _: self._lock.close(),
            "start": self._start,
            "ask": self._ask,
            "stop": lambda _: self.stop(),
            "version": lambda r: metadata.version(r["package"]),
            "detect": lambda r: asdict(self._here.detect(r["name"], seconds=r["seconds"])),
            "has": self._has,
            "put": self._put,
        }

    def answer(self, request: Request) -> dict[str, Any]:
        """Do what a request says; whatever goes wrong is the answer."""
        try:
            return {"answer": self._does[request["do"]](request)}
        except Exception as error:  # noqa: BLE001  # the near side raises it again
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = "DiskFull" if is_full else type(error).__name__
            return {"error": {"kind": kind, "message": str(error) or kind}}

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def _hold(self, request: Request) -> None:
        self._lock.close()
        self._lock.enter_context(machine_lock(request["campaign"]))

    def _start(self, request: Request) -> dict[str, Any]:
        self.stop()
        self._worker = self._here.start(Target.parse(request["target"]), request["protocol"])
        return {"facts": self._worker.facts, "pid": self._worker.pid}

    def _ask(self, request: Request) -> dict[str, Any]:
        if self._worker is None:
            raise WorkerDiedError("there is no worker")
        return self._worker.ask(request["request"], request["timeout_s"])

    def _has(self, request: Request) -> str | None:
        """Folder of a network's files, if all of them are there in their sizes."""
        folder = self._folder / request["folder"]
        for name, size in request["files"].items():
            path = folder / _inside(name)
            if not path.is_file() or path.stat().st_size != size:
                return None
        return str(folder.absolute())

    def _put(self, request: Request) -> None:
        """Add a piece to a file, which has its name when the last piece is there."""
        path = self._folder / request["folder"] / _inside(request["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with part.open("ab" if request["offset"] else "wb") as file:
            if file.tell() != request["offset"]:
                raise ValueError(f"pieces of {path.name} must follow each other")
            file.write(base64.b64decode(request["data"]))
        if request["last"]:
            part.replace(path)


def _inside(name: str) -> PurePosixPath:
    """A relative path that leads out of no folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"a network's file must be inside its folder; got {name!r}")
    return path


class _Heard:
    """The time when the near side was last heard."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._at = time.monotonic()
        self._end = end

    def read(self, source: IO[str], requests: queue.SimpleQueue[Request]) -> None:
        """Requests of the near side, until it has gone."""
        try:
            for line in source:
                self._at = time.monotonic()
                if (request := json.loads(line))["do"] != "ping":
                    requests.put(request)
        finally:
            self._end()

    def watch(self) -> None:
        """Wait for a silence that lasts too long."""
        while time.monotonic() - self._at < SILENCE_S:
            time.sleep(SILENCE_S / 15)
        self._end()


def main() -> None:
    """Answer requests until the near side has gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    agent = Agent(Path(FOLDER).expanduser() / "files")

    def end() -> None:
        agent.stop()
        os._exit(0)  # the thread that answers may be waiting for its worker

    heard = _Heard(end)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for job in (partial(heard.read, sys.stdin, requests), heard.watch):
        threading.Thread(target=job, daemon=True).start()
    reply = greeting()
    while True:
        try:
            answers.write(json.dumps(reply) + "\n")
            answers.flush()
        except BrokenPipeError:
            end()
        reply = agent.answer(requests.get())


if __name__ == "__main__":
    main()
