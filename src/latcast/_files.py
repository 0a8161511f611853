"""Reading standard input as a file, and writing so that an interruption loses nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

STDIN = "-"
"""Standard input, where a file is named."""


def check_file(path: Path) -> None:
    """Make sure that there is a file.

    Raises:
        FileNotFoundError: there is nothing of that name, or it is a folder, a device or standard
            input, which only what reads through :func:`input_file` takes.
    """
    if str(path) == STDIN:
        raise FileNotFoundError("standard input (-) is not read here: name a file")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file; it is something else")


def standard_input() -> bytes:
    """What comes from standard input, which is read once."""
    return b"" if sys.stdin is None else _content(sys.stdin.buffer)


@lru_cache(maxsize=1)
def _content(stream: BinaryIO) -> bytes:
    return stream.read()


@contextmanager
def input_file(path: Path, suffix_of: Callable[[bytes], str]) -> Iterator[Path]:
    """A file to read: ``path`` itself, or for ``-`` one with the content of standard input.

    Errors inside call the latter "standard input".

    Args:
        path: as the user named it.
        suffix_of: the suffix that a file of such content has, as readers go by it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing comes from standard input.
    """
    if str(path) != STDIN:
        check_file(path)
        yield path
        return
    if not (content := standard_input()):
        raise ValueError("standard input (-) must hold what is to be read; it is empty")
    with tempfile.TemporaryDirectory(prefix="latcast-") as folder:
        file = Path(folder) / f"input{suffix_of(content)}"
        file.write_bytes(content)
        try:
            yield file
        except (ValueError, OSError) as error:
            names = (str(file), file.name)
            error.args = tuple(_called(a, names, "standard input") for a in error.args)
            raise


def _called(value: object, names: tuple[str, ...], name: str) -> object:
    """A text with another name in place of any of some."""
    for former in names if isinstance(value, str) else ():
        value = str(value).replace(former, name)
    return value


def check_writable(path: str | Path) -> None:
    """Make sure that a file can be written, before the work that it is for.

    Raises:
        OSError: its folder is missing or cannot be written to, or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file; it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} must be there; there is no {path.parent}")
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
        pass


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces ``path`` once the block has ended well.

    If the block raises, or the process is killed, ``path`` is as it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private to the user; give the file the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
