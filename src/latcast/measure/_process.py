"""The campaign's side of a worker process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LAST_WORDS = 300


class WorkerDiedError(RuntimeError):
    """The worker ended, or had to be ended, before it answered; the message says how."""


class WorkerProcess:
    """A fresh worker process (:mod:`latcast.measure._worker`), ended on leaving the context.

    Args:
        setup: what the worker is told first.
        threads: threads of math libraries in the worker.
        timeout_s: seconds for it to get ready.

    Raises:
        WorkerDiedError: it did not.

    Attributes:
        facts: what it said when it was ready.
    """

    def __init__(self, setup: Mapping[str, Any], *, threads: int, timeout_s: float = 120) -> None:
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
        # Its error output is kept in a file: a pipe that nobody reads would block it.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._process = subprocess.Popen(  # our own interpreter and module
            [sys.executable, "-m", "latcast.measure._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # ctrl-C is the campaign's to handle
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert self._process.stdout is not None
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        try:
            self.facts = self.ask(setup, timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerDiedError: there was none in time; the worker is ended then.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise WorkerDiedError(f"no answer within {timeout_s:.0f} s") from None
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise WorkerDiedError(self._obituary())
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # a request that it never read
                    stream.close()
        self._errors.close()

    def _read(self, source: IO[str]) -> None:
        try:
            for line in source:
                self._answers.put(line)
        except ValueError:  # closed while reading: nobody waits for more
            pass
        self._answers.put(None)

    def _obituary(self) -> str:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the runtime's process was ended by {name}{hint}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][-_LAST_WORDS:]}" if lines else ""
        return f"the runtime's process ended with code {code}{last}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
