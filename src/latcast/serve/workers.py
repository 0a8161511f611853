"""Warm worker processes for requests about files that anybody may have made.

A worker answers one request at a time, under limits of memory and CPU time; one that takes too long
is killed, and one that has died is replaced. That costs the request that it had, and nothing else:
a request that a dead worker never took is another worker's.
:class:`Workers` is the service's side, :func:`main` what happens inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latcast import _limits
from latcast.measure._lines import LineProcess, Tell, answer_lines

from .calls import Answer, BusyError, answer, refusal, warm

log = logging.getLogger("latcast.serve")

_START = "from latcast.serve.workers import main; main()"
# Seconds for a process to load what most requests need, on a machine that is busy otherwise.
_START_S = 180.0
# Seconds between tries where no worker starts.
_PAUSE_S = 5.0
# Requests after which a worker is replaced: what a library keeps of each adds up.
_MAX_REQUESTS = 2_000
# Share of the memory of a request that a worker may hold after it and still be asked the next one.
_MAX_HELD = 0.5


class Workers:
    """A pool of worker processes.

    Args:
        count: number of processes.
        setup: what each is told first: the empty ``folder`` that it runs in, ``memory_bytes`` that
            a request may take, ``file_bytes`` that a file may have which it writes, and files of
            further ``devices``.
        work_s: seconds that a request may take, of the clock and of CPU time.
    """

    def __init__(
        self,
        count: int,
        setup: Mapping[str, Any],
        work_s: float = _limits.MAX_WORK_S,
    ) -> None:
        self._count, self._work_s = count, work_s
        self._setup = {**setup, "work_s": work_s}
        self._line = _Line()
        self._all: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.restarts = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a worker."""
        return self._line.waiting

    async def start(self) -> None:
        """Start all processes; returns when the first one is warm."""
        for _ in range(self._count):
            self._begin()
        worker = await self._line.get("")
        self._line.leave("")
        self._line.put(worker)

    async def ask(self, request: Mapping[str, Any], owner: str = "") -> Answer:
        """The answer to a request; an error record where the worker dies or takes too long.

        Args:
            request: as of :func:`latcast.serve.calls.answer`.
            owner: who asks; owners take turns where there are fewer workers than requests.

        Raises:
            BusyError: as many as may wait for a worker already, of whom this owner has most.
        """
        while True:
            worker = await self._line.get(owner)
            with contextlib.suppress(_GoneError):
                return await self._answer(worker, request, owner)
            log.warning("a worker process had ended: its request is given to another one")

    async def _answer(self, worker: _Worker, request: Mapping[str, Any], owner: str) -> Answer:
        """The answer of a worker, which is put back into the line or replaced.

        Raises:
            _GoneError: it had ended before it took the request.
        """
        found = None
        try:
            found = await asyncio.to_thread(worker.ask, request, self._work_s)
        except _DiedError as error:
            log.warning("a worker process is replaced: %s", error)
            return refusal(error.status, str(error))
        finally:
            self._line.leave(owner)
            if found is None or worker.answered >= _MAX_REQUESTS or worker.is_full:
                self._replace(worker)
            else:
                self._line.put(worker)
        return found

    def _replace(self, worker: _Worker) -> None:
        self._end(worker)
        self.restarts += 1
        self._begin()

    def _ended(self, worker: _Worker) -> None:
        """Replace a worker that ended while nobody asked it: the next request need not wait."""
        if not self._is_closed and self._line.drop(worker):
            log.warning("a worker process ended while it was idle, and is replaced")
            self._replace(worker)

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for worker in list(self._all):
            self._end(worker)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return [worker.pid for worker in self._all]

    def _begin(self) -> None:
        """Start a process in the background."""
        task = asyncio.get_running_loop().create_task(self._started())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self) -> None:
        loop = asyncio.get_running_loop()

        def ended(worker: _Worker) -> None:  # called by a thread of the worker
            with contextlib.suppress(RuntimeError):  # the service has ended, too
                loop.call_soon_threadsafe(self._ended, worker)

        while not self._is_closed:
            worker = None
            try:
                worker = _Worker(ended)
                self._all.add(worker)
                await asyncio.to_thread(worker.set_up, self._setup)
            except (_DiedError, _GoneError, OSError) as error:
                log.error("a worker process does not start: %s", error)
                if worker is not None:
                    self._end(worker)
                await asyncio.sleep(_PAUSE_S)
            else:
                self._line.put(worker)
                return

    def _end(self, worker: _Worker) -> None:
        self._all.discard(worker)
        worker.close()


class _Line:
    """Idle workers, or those who wait for one.

    A worker that is free is given to the owner who has fewest of them, of equal ones to the one
    whose last turn is longest ago; so that an owner's requests, however many, let another's wait
    no longer than one of them takes.
    """

    def __init__(self) -> None:
        # The one that answered last is asked next: it remembers what was read and worked out.
        self._idle: list[_Worker] = []
        self._places: dict[str, deque[asyncio.Future[_Worker]]] = {}
        self._held: Counter[str] = Counter()
        self._turns: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._places.values()))

    @property
    def idle(self) -> int:
        """How many workers are free."""
        return len(self._idle)

    async def get(self, owner: str) -> _Worker:
        """Wait for a worker, which :meth:`leave` and :meth:`put` give back.

        Raises:
            BusyError: too many wait, and no owner has more of them than this one.
        """
        if not self._idle:
            return await self._waited(owner)
        self._take_turn(owner)
        return self._idle.pop()

    async def _waited(self, owner: str) -> _Worker:
        if self.waiting >= _limits.MAX_WAITING:
            self._make_room(owner)
        place: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._places.setdefault(owner, deque()).append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                # The client has gone just when its turn came.
                self.leave(owner)
                self.put(place.result())
            raise
        finally:
            self._drop(owner, place)

    def _make_room(self, owner: str) -> None:
        """Send away the last one of the owner of whom most wait.

        Raises:
            BusyError: that is who asks.
        """
        error = BusyError(f"{_limits.MAX_WAITING} requests wait already: try again later")
        longest = max(self._places, key=lambda each: len(self._places[each]))
        if len(self._places[longest]) <= len(self._places.get(owner, ())) + 1:
            raise error
        place = self._places[longest][-1]
        self._drop(longest, place)
        if not place.done():  # else its client has gone, and made room
            place.set_exception(error)

    def _drop(self, owner: str, place: asyncio.Future[_Worker]) -> None:
        places = self._places.get(owner, deque())
        if place in places:
            places.remove(place)
        if not places:
            self._places.pop(owner, None)

    def drop(self, worker: _Worker) -> bool:
        """Take a worker out, and tell whether it was free."""
        if worker not in self._idle:
            return False
        self._idle.remove(worker)
        return True

    def put(self, worker: _Worker) -> None:
        """Give a worker to who is next, or keep it until somebody comes."""
        while self._places:
            owner = min(self._places, key=lambda each: (self._held[each], self._turns.get(each, 0)))
            place = self._places[owner][0]
            self._drop(owner, place)
            # A client that has gone leaves its place only when its task runs next.
            if not place.done():
                self._take_turn(owner)
                place.set_result(worker)
                return
        self._idle.append(worker)

    def _take_turn(self, owner: str) -> None:
        self._held[owner] += 1
        self._turns[owner] = max(self._turns.values(), default=0) + 1

    def leave(self, owner: str) -> None:
        """Note that an owner has a worker less."""
        self._held[owner] -= 1


class _DiedError(Exception):
    """The worker ended, or had to be ended, before it answered."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _GoneError(Exception):
    """The worker had ended before it took the request."""


class _Worker:
    """A worker process, seen from the service.

    Args:
        ended: called with this worker once its process has ended, by a thread of its own.
    """

    def __init__(self, ended: Callable[[_Worker], None]) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LATCAST_KEY")}
        self._lines = LineProcess(
            [sys.executable, "-P", "-c", _START], environment=environment,
            ended=lambda: ended(self),
        )  # fmt: skip
        self.pid = self._lines.pid
        self.answered, self._cpu_s = 0, 0.0
        # Whether it holds so much memory that the next request may lack it.
        self.is_full = False

    def set_up(self, setup: Mapping[str, Any]) -> None:
        """Tell it its limits, and wait until it is warm.

        Raises:
            _DiedError: it is not warm in time, or has ended.
        """
        self._cpu_s = setup["work_s"]
        self._exchange(setup, _START_S)

    def ask(self, request: Mapping[str, Any], seconds: float) -> Answer:
        """The answer to a request.

        Args:
            request: as of :func:`latcast.serve.calls.answer`.
            seconds: to wait for it.

        Raises:
            _GoneError: the process had ended before; the request may be another one's.
            _DiedError: there was none in time, or the process ended.
        """
        self.answered += 1
        if self._lines.has_ended:
            raise _GoneError
        found = self._exchange(request, seconds)
        self.is_full = found.pop("is_full")
        return Answer(**found)

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
        except BrokenPipeError:  # a line that is not read to its end is not begun
            raise _GoneError from None
        if line is None:
            raise _DiedError(self._obituary(), 500)
        found: dict[str, Any] = json.loads(line)
        return found

    def _obituary(self) -> str:
        code = self._lines.wait()
        if reason := ended_by(code, "a request", self._cpu_s):
            return reason
        log.error("a worker process ended: %s", self._lines.errors()[-2_000:])
        return f"the process that worked on the request ended with code {code}"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._lines.close()


def ended_by(code: int, what: str, seconds: float) -> str:
    """A sentence that tells by which signal a process was ended, or an empty text.

    Args:
        code: of the process's exit, negative for a signal.
        what: it worked on, such as ``a request``.
        seconds: of CPU time that it might take.
    """
    if code >= 0:
        return ""
    if code == -signal.SIGXCPU:
        return f"{what} may take {seconds:g} s of CPU time; this one took more, and was ended"
    name = signal.Signals(-code).name
    return f"the process that worked on {what} was ended by {name} (out of memory?)"


# --- inside -------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests until the input ends."""
    limits: dict[str, Any] = {}

    def handle(request: dict[str, Any], tell: Tell) -> None:
        if not limits:
            limits.update(request)
            begin(request)
            limits["room_bytes"] = room_bytes()
            tell({"ready": True})
            return
        limit_cpu(limits["work_s"])
        found = answer(request)
        if len(found.body) > _limits.MAX_ANSWER_BYTES:
            found = refusal(
                413, f"an answer must have at most {_limits.MAX_ANSWER_BYTES} bytes; ask for less"
            )
        tell({**found._asdict(), "is_full": is_full(limits["room_bytes"])})

    answer_lines(handle)


def begin(setup: Mapping[str, Any]) -> None:
    """Make this process ready to work under a limit of memory.

    Args:
        setup: as of :class:`Workers`.
    """
    from latcast.devices import device_files

    os.chdir(setup["folder"])
    # Known as long as the process lives.
    device_files([Path(file) for file in setup["devices"]]).__enter__()
    warm()
    limit_memory(setup["memory_bytes"])
    limit_files(setup["file_bytes"])


def limit_memory(more_bytes: int) -> None:
    """Let this process take so much more memory; a system without such limits is left as it is.

    Args:
        more_bytes: of address space, beyond what the process has now.
    """
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


def limit_files(most_bytes: int) -> None:
    """Let this process write no file of more bytes; what does is an OSError."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard != resource.RLIM_INFINITY:
        most_bytes = min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))


def room_bytes() -> float:
    """Address space that this process may still take; infinite where nothing limits it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return math.inf
    import psutil

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return math.inf
    return float(most - psutil.Process().memory_info().vms)


def is_full(warm_bytes: float) -> bool:
    """Tell whether this process holds so much memory that the next request may lack it.

    An answer's status does not tell: what was asked for in vain was never had.

    Args:
        warm_bytes: :func:`room_bytes` before the first request.
    """
    if math.isinf(warm_bytes) or room_bytes() >= (1 - _MAX_HELD) * warm_bytes:
        return False
    # What tracebacks and circles of objects hold is given back first.
    gc.collect()
    return room_bytes() < (1 - _MAX_HELD) * warm_bytes


def limit_cpu(seconds: float) -> None:
    """End this process by SIGXCPU once it has taken so much more CPU time, to the second."""
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
