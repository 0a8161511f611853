"""A process that is asked in lines of JSON on its input, and answers in lines on its output.

:class:`LineProcess` is the asking side of it, :func:`answer_lines` what happens inside.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

# The end of a traceback is what tells the reason, and messages are one line.
_LAST_WORDS = 300


class WorkerDiedError(RuntimeError):
    """The worker ended, or had to be ended, before it answered; the message says how."""


class LineProcess:
    """A process of this machine, killed when it is closed.

    Args:
        command: program and arguments.
        environment: of the process; this one's by default.
        ended: called once the process has ended, by a thread of its own.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        # Its error output is kept in a file: a pipe that nobody reads would block it.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # what our callers put together
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
                start_new_session=True,  # ctrl-C is the campaign's to handle
            )
        except OSError:
            self._errors.close()
            raise
        # A queue can be waited on with a time limit, which reading a pipe cannot on all systems.
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        assert self._process.stdout is not None
        given = self._process.stdout, ended
        reader = threading.Thread(target=self._read, args=given, daemon=True)
        reader.start()

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def send(self, request: Mapping[str, Any]) -> None:
        """Write a line; any thread may.

        Raises:
            BrokenPipeError: it reads no more.
        """
        assert self._process.stdin is not None
        with self._sending:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except ValueError:  # closed by another thread
                raise BrokenPipeError from None

    def receive(self, timeout_s: float) -> str | None:
        """The next line; None when there are no more.

        Raises:
            TimeoutError: there was none in time.
        """
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None

    def wait(self) -> int:
        """Its exit code once it has ended, as :class:`subprocess.Popen` tells it."""
        return self._process.wait()

    def errors(self) -> str:
        """The error output of a process that has ended; empty once it is closed."""
        if self._errors.closed:
            return ""
        self._errors.seek(0)  # which would move a living one's place to write, too
        return self._errors.read().decode(errors="replace").strip()

    def last_words(self) -> str:
        """The last line of it; empty if it said nothing."""
        lines = self.errors().splitlines()
        return lines[-1][-_LAST_WORDS:] if lines else ""

    def kill(self) -> int:
        """End the process, whatever it is doing; its exit code."""
        if not self.has_ended:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """End the process; nothing can be read of it any more."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # a request that it never read
                    stream.close()
        self._errors.close()

    def _read(self, source: IO[str], ended: Callable[[], None] | None) -> None:
        try:
            for line in source:
                self._lines.put(line)
        except ValueError:  # closed while reading: nobody waits for more
            pass
        self._lines.put(None)
        if ended is not None:
            ended()


Tell = Callable[[Any], None]
"""Writes a line of JSON."""


def answer_lines(answer: Callable[[Any, Tell], None]) -> None:
    """Answer the lines of standard input on what was standard output, until the input ends.

    The process then ends at once, even in the middle of an answer: who asked is gone.

    Args:
        answer: called with each line's JSON, and with what writes a line in return.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Runtimes print what they like: on the pipe of answers it would be taken for one.
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(sys.stdin, requests), daemon=True).start()

    def tell(line: Any) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    while True:
        answer(json.loads(requests.get()), tell)


def _read_requests(source: IO[str], requests: queue.SimpleQueue[str]) -> None:
    for line in source:
        requests.put(line)
    os._exit(0)  # a hanging runtime must not outlive who asked
