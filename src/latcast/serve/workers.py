"""Warm worker processes for requests about files that anybody may have made.

A worker answers one request at a time, under limits of memory and CPU time; one that takes too long
is killed, and one that has died is replaced. That costs the request that it had, and nothing else.
:class:`Workers` is the service's side, :func:`main` what happens inside.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latcast import _limits
from latcast.measure._lines import LineProcess, Tell, answer_lines

from .calls import Answer, answer, refusal, warm

log = logging.getLogger("latcast.serve")

_START = "from latcast.serve.workers import main; main()"
# Seconds for a process to load what most requests need, on a machine that is busy otherwise.
_START_S = 180.0
# Seconds between tries where no worker starts.
_PAUSE_S = 5.0
# Requests after which a worker is replaced: what a library keeps of each adds up.
_MAX_REQUESTS = 2_000


class BusyError(Exception):
    """Too many requests wait already."""


class Workers:
    """A pool of worker processes.

    Args:
        count: of processes.
        setup: what each is told first: the empty ``folder`` that it runs in, ``memory_bytes`` that
            a request may take, and files of further ``devices``.
        work_s: seconds that a request may take.
    """

    def __init__(
        self,
        count: int,
        setup: Mapping[str, Any],
        work_s: float = _limits.MAX_WORK_S,
    ) -> None:
        self._count, self._work_s = count, work_s
        self._setup = {**setup, "work_s": work_s}
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._all: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.waiting = 0
        self.restarts = 0

    async def start(self) -> None:
        """Start all processes; returns when the first one is warm."""
        for _ in range(self._count):
            self._begin()
        self._idle.put_nowait(await self._idle.get())

    async def ask(self, request: Mapping[str, Any]) -> Answer:
        """The answer to a request, whatever becomes of the worker.

        Raises:
            BusyError: too many wait already.
        """
        if self.waiting >= _limits.MAX_WAITING:
            raise BusyError
        self.waiting += 1
        try:
            worker = await self._idle.get()
        finally:
            self.waiting -= 1
        found = None
        try:
            found = await asyncio.to_thread(worker.ask, request, self._work_s)
        except _DiedError as error:
            log.warning("a worker process is replaced: %s", error)
            return refusal(error.status, str(error))
        finally:
            if found is None or worker.answered >= _MAX_REQUESTS or found.status == 413:
                # What asked for too much memory may hold much of it still.
                self._end(worker)
                self.restarts += 1
                self._begin()
            else:
                self._idle.put_nowait(worker)
        return found

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for worker in list(self._all):
            self._end(worker)

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes."""
        return [worker.pid for worker in self._all]

    def _begin(self) -> None:
        """Start a process in the background."""
        task = asyncio.get_running_loop().create_task(self._started())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self) -> None:
        while not self._is_closed:
            worker = None
            try:
                worker = _Worker()
                self._all.add(worker)
                await asyncio.to_thread(worker.set_up, self._setup)
            except (_DiedError, OSError) as error:
                log.error("a worker process does not start: %s", error)
                if worker is not None:
                    self._end(worker)
                await asyncio.sleep(_PAUSE_S)
            else:
                self._idle.put_nowait(worker)
                return

    def _end(self, worker: _Worker) -> None:
        self._all.discard(worker)
        worker.close()


class _DiedError(Exception):
    """The worker ended, or had to be ended, before it answered."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Worker:
    """A worker process, seen from the service."""

    def __init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LATCAST_KEY")}
        self._lines = LineProcess(
            [sys.executable, "-P", "-c", _START], environment=environment
        )  # fmt: skip
        self.pid = self._lines.pid
        self.answered = 0

    def set_up(self, setup: Mapping[str, Any]) -> None:
        """Tell it its limits, and wait until it is warm."""
        self._exchange(setup, _START_S)

    def ask(self, request: Mapping[str, Any], seconds: float) -> Answer:
        """Its answer to a request.

        Raises:
            _DiedError: there was none in time, or the process ended.
        """
        self.answered += 1
        return Answer(**self._exchange(request, seconds))

    def _exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        import json

        try:
            self._lines.send(request)
            line = self._lines.receive(seconds)
        except TimeoutError:
            self._lines.kill()
            raise _DiedError(
                f"the request must be answered within {seconds:g} s; it was not, and was ended", 504
            ) from None
        except BrokenPipeError:
            line = None
        if line is None:
            raise _DiedError(self._obituary(), 500)
        found: dict[str, Any] = json.loads(line)
        return found

    def _obituary(self) -> str:
        code = self._lines.wait()
        if code == -signal.SIGXCPU:
            return "the request took too much CPU time, and was ended"
        if code < 0:
            name = signal.Signals(-code).name
            return f"the process that worked on the request was ended by {name} (out of memory?)"
        log.error("a worker process ended: %s", self._lines.errors()[-2_000:])
        return f"the process that worked on the request ended with code {code}"

    def close(self) -> None:
        self._lines.close()


# --- inside -------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests until the input ends."""
    limits: dict[str, Any] = {}

    def handle(request: dict[str, Any], tell: Tell) -> None:
        if not limits:
            limits.update(request)
            begin(request)
            tell({"ready": True})
            return
        limit_cpu(limits["work_s"])
        found = answer(request)
        if len(found.body) > _limits.MAX_ANSWER_BYTES:
            found = refusal(
                413, f"an answer must have at most {_limits.MAX_ANSWER_BYTES} bytes; ask for less"
            )
        tell(found._asdict())

    answer_lines(handle)


def begin(setup: Mapping[str, Any]) -> None:
    """Make this process ready to work under limits."""
    from latcast.devices import device_files

    os.chdir(setup["folder"])
    # Known as long as the process lives.
    device_files([Path(file) for file in setup["devices"]]).__enter__()
    warm()
    limit_memory(setup["memory_bytes"])


def limit_memory(more_bytes: int) -> None:
    """Let this process take so much more memory; its system may lack such limits."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    import psutil

    most = psutil.Process().memory_info().vms + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(seconds: float) -> None:
    """End this process if it takes so much more CPU time."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime + seconds) + 2
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
