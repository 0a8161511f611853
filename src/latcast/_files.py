"""Writing files so that an interruption or a full disk loses nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_file(path: Path) -> None:
    """Make sure that there is a file.

    Raises:
        FileNotFoundError: there is nothing of that name, or it is a folder or a device.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file; it is something else")


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
