"""Files that are read, standard input among them, and files that are whole or not there.

Every file that latcast writes goes through :func:`write_file`.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ._limits import MAX_FILE_BYTES, MAX_UNPACKED_RATIO, MIN_UNPACKED_BYTES

STDIN = "-"
"""Standard input, where a file is named."""

_EMPTY = "standard input (-) must hold what is to be read; it is empty"
# What a path's own name may take of the name of the temporary file beside it.
_NAME = 40
_ADVICE = {
    errno.ENOSPC: "make room, then try again",
    errno.EDQUOT: "make room, then try again",
    errno.EROFS: "name a file in a folder that can be written to",
    errno.EACCES: "name a file in a folder that can be written to",
    errno.EPERM: "name a file in a folder that can be written to",
}


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


def read_file(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file.

    Args:
        path: of the file.
        most: bytes that files of its kind may have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is larger.
    """
    check_file(path)
    check_size(path, most)
    return path.read_bytes()


def check_archive(path: Path) -> None:
    """Make sure that an archive, as those of ``torch.save``, unpacks to little more than it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does; a file that is no archive is not looked into.
    """
    import zipfile

    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return
    if unpacked > (most := max(unpacked_bytes(path.stat().st_size), 2 * path.stat().st_size)):
        raise ValueError(f"{path} must unpack to at most {most} bytes; it has {unpacked}")


def unpacked_bytes(size: int) -> int:
    """Bytes that an archive of a size may unpack to."""
    return min(MAX_FILE_BYTES, max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * size))


def check_size(path: Path, most: int) -> None:
    """Make sure that a file is not larger than files of its kind are.

    Raises:
        ValueError: it is.
    """
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{path} must have at most {most} bytes; it has {size}")


def standard_input() -> bytes:
    """Read standard input, once: later calls return the same bytes."""
    return b"" if sys.stdin is None else _content(sys.stdin.buffer)


def read_input(path: Path, most: int = MAX_FILE_BYTES) -> tuple[str, bytes]:
    """What a file is called in messages, and its bytes; ``-`` is standard input.

    Args:
        path: as the user named it.
        most: bytes that files of its kind may have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is larger, or nothing comes from standard input.
    """
    if str(path) != STDIN:
        return str(path), read_file(path, most)
    if not (content := standard_input()):
        raise ValueError(_EMPTY)
    if len(content) > most:
        raise ValueError(f"standard input must have at most {most} bytes; it has {len(content)}")
    return "standard input", content


@lru_cache(maxsize=1)
def _content(stream: BinaryIO) -> bytes:
    content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"standard input must have at most {MAX_FILE_BYTES} bytes; it has more")
    return content


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
        raise ValueError(_EMPTY)
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
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{path.name[:_NAME]}.", dir=path.parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OSError:
    """The error of a write that failed: what was to be written, why not, and what to do."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    advice = _ADVICE.get(error.errno or 0)
    told = OSError(f"{path} could not be written: {reason}{f'; {advice}' if advice else ''}")
    told.errno = error.errno
    return told


def write_file(path: str | Path, content: bytes | str, *, replaces: bool = True) -> None:
    """Write a file, whole or not at all.

    It is written beside ``path`` first: if that fails or the process is killed, ``path`` is as it
    was before.

    Args:
        path: of the file; its folder is made.
        content: bytes, or text that is written in UTF-8.
        replaces: whether there may be a file already.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
        OSError: it could not be written; the message says why, and what to do.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name[:_NAME]}."
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private to the user; give the file the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _put(temporary, path, replaces=replaces)
    except OSError as error:
        if not replaces and isinstance(error, FileExistsError):
            raise FileExistsError(f"{path} exists already") from None
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path, *, replaces: bool) -> None:
    """Give a finished file its name, and make the name last through a power cut."""
    if replaces:
        temporary.replace(path)
    else:
        try:
            # Unlike a check before a rename, fails if another process was faster.
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if path.exists():
                raise FileExistsError(path) from None
            temporary.replace(path)
    with suppress(OSError):  # where a folder cannot be opened, as on Windows
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
