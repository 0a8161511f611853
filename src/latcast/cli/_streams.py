"""The terminal: standard streams whose reader may go away, and a bar on stderr."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any


class _Stream(io.TextIOWrapper):
    """A standard stream whose reader may go away, as ``| head`` does, which is no failure.

    What is written then goes nowhere, and the command goes on: it may have files to write. Likewise
    after an error such as a full disk, which is raised once and not again when Python exits. A raw
    stream could not do it: an interruption in the middle of its write would write twice.
    """

    gone = False

    def write(self, text: str, /) -> int:
        with self._read():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._read():
            super().flush()

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.gone = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # what is still buffered goes there, too
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise


def stream_of(stream: TextIOWrapper) -> TextIOWrapper:
    """A standard stream whose reader may go away."""
    return _Stream(
        io.BufferedWriter(io.FileIO(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="replace",  # a terminal that lacks – or × shows a ?
        line_buffering=stream.line_buffering,
    )


def has_gone(stream: object) -> bool:
    """Whether nobody reads any more what is written to a standard stream."""
    return isinstance(stream, _Stream) and stream.gone


class Bar:
    """A bar that is drawn once it is started; what is told before counts, too."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit = title, unit
        self._told: dict[str, Any] = {"completed": 0, "total": None, "description": title}
        self._drawn: Any = None
        self._task: Any = None

    def start(self) -> None:
        """Draw it from now on."""
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        counted = TextColumn(self._unit + " {task.completed}/{task.total}"), TimeRemainingColumn()
        columns = counted if self._unit else (TimeElapsedColumn(),)
        text = TextColumn("{task.description}")
        drawn = Progress(
            text, BarColumn(), *columns, console=Terminal(stderr=True), transient=True
        )  # fmt: skip
        self._task = drawn.add_task(**self._told)
        drawn.start()
        self._drawn = drawn

    def tell(self, done: int, total: int | None, text: str = "", /) -> None:
        """How much is done, and of how much; drawn if the bar is."""
        self._told = {"completed": done, "total": total, "description": text or self._title}
        if self._drawn is not None:
            self._drawn.update(self._task, **self._told)

    def stop(self) -> None:
        """Leave nothing of it on the terminal."""
        if self._drawn is not None:
            self._drawn.stop()
