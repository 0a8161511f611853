"""Files that the service keeps: networks and datasets that were sent, models that were adapted.

A file is named by the SHA-256 of its content. Its folder may hold it by several names, links to
one content, since the name that a network was sent by stands in its records.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Literal, NamedTuple

from latcast import _limits
from latcast.graph.read import SUFFIXES

Kind = Literal["networks", "datasets", "models"]
KINDS: tuple[Kind, ...] = ("networks", "datasets", "models")

_ID = re.compile(r"[0-9a-f]{64}")
_MAX_NAMES = 16
# What the name of an owner's folder begins with, as no id does.
_OF = "of-"


class UnknownFileError(FileNotFoundError):
    """The service keeps no file of that id for whom asks."""


class Files:
    """A folder of files by their owner, kind and id.

    An owner's files are nobody else's: the same content that two owners send is kept twice, so
    that none can tell what the other has. ``""`` is the owner where the service has no keys.

    Args:
        folder: it is made where it is missing.
        most_bytes: of all files.
        most_days: that a file is kept after it was used last.
    """

    def __init__(
        self,
        folder: Path,
        most_bytes: int = _limits.MAX_STATE_BYTES,
        most_days: float = _limits.MAX_STATE_DAYS,
    ) -> None:
        self._folder, self._most_bytes, self._most_days = folder, most_bytes, most_days
        self._owner = ""
        # Uploads are put away, and old files swept, by several threads.
        self._lock = threading.Lock()
        for name in (*KINDS, "coming"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in (folder / "coming").iterdir():  # of a service that was killed
            shutil.rmtree(left, ignore_errors=True)

    def of(self, owner: str) -> Files:
        """The files of an owner, by the SHA-256 of their key; ``""`` where there are no keys."""
        new = copy(self)
        new._owner = owner
        return new

    def _home(self, kind: Kind) -> Path:
        """The folder of an owner's files of a kind."""
        home = self._folder / kind
        return home / f"{_OF}{self._owner}" if self._owner else home

    def coming(self) -> Path:
        """A new folder for files that are being made; to be removed by the caller."""
        return Path(tempfile.mkdtemp(dir=self._folder / "coming"))

    def add(self, kind: Kind, source: Path, name: str) -> str:
        """Move a file in, and return its id: the SHA-256 of its content.

        Args:
            kind: of the file.
            source: on the same disk; it is gone afterwards.
            name: as its owner calls it.
        """
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        folder = self._home(kind) / found
        with self._lock:
            folder.parent.mkdir(exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            if any(_contents(folder)):
                # One more name of what is kept: a copy of its own would count as nothing.
                self._named(kind, found, name)
                source.unlink()
            else:
                source.replace(folder / file_name(name))
                os.utime(folder)
        return found

    def path(self, kind: Kind, id: str, name: str | None = None) -> Path:
        """A file by its id, under a name that its owner gives it now; it counts as used.

        Raises:
            UnknownFileError: there is none, or it was removed.
        """
        with self._lock:
            return self._named(kind, id, name)

    def _named(self, kind: Kind, id: str, name: str | None) -> Path:
        folder = self._home(kind) / id
        if not _ID.fullmatch(id) or not (known := sorted(_contents(folder))):
            raise UnknownFileError(f"no {kind[:-1]} is kept under the id {id[:80]!r}: send it")
        os.utime(folder)
        wanted = folder / _suffixed(file_name(name), known) if name else known[0]
        if wanted not in known:
            if len(known) >= _MAX_NAMES:
                return known[0]
            try:
                wanted.hardlink_to(known[0])
            except OSError:  # a file system without links
                shutil.copyfile(known[0], wanted)
        return wanted

    def remove(self, kind: Kind, id: str) -> None:
        """Remove a file.

        Raises:
            UnknownFileError: there is none.
        """
        with self._lock:
            folder = self._named(kind, id, None).parent
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, needed: frozenset[str] = frozenset()) -> None:
        """Remove what is too old, and then what was not used longest until the rest fits.

        Files of all owners are looked at, whoever's these are; each that goes is of the owner who
        has most, so that nobody who keeps to an equal share loses any to another.

        Args:
            needed: ids of files that are kept in any case, as jobs wait to read them.
        """
        with self._lock:
            self._sweep(needed)

    def _sweep(self, needed: frozenset[str]) -> None:
        oldest = time.time() - 86_400 * self._most_days
        kept: list[_Kept] = []
        for folder in (f for kind in KINDS for f in _folders(self._folder / kind)):
            if folder.name in needed:  # the limits of jobs are theirs
                continue
            if (used := folder.stat().st_mtime) < oldest:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            owner = folder.parent.name if folder.parent.name.startswith(_OF) else ""
            # Names of one file are one content.
            size = max((p.stat().st_size for p in _contents(folder)), default=0)
            kept.append(_Kept(used, folder, owner, size))
        kept = _shrunk(kept, self._most_bytes, lambda file: file.size)
        _shrunk(kept, _limits.MAX_STATE_FILES, lambda _: 1)


class _Kept(NamedTuple):
    """A file that is kept: when it was used last, its folder, its owner and its bytes."""

    used: float
    folder: Path
    owner: str
    size: int


def _shrunk(kept: Iterable[_Kept], most: int, weight: Callable[[_Kept], int]) -> list[_Kept]:
    """Remove files until all that are left weigh no more than ``most``; return those.

    Each is the one of its owner that was not used longest, and of the owner who has most.
    """
    of: dict[str, deque[_Kept]] = {}
    for file in sorted(kept):
        of.setdefault(file.owner, deque()).append(file)
    weights = {owner: sum(map(weight, files)) for owner, files in of.items()}
    over = sum(weights.values()) - most
    while over > 0:
        owner = max(weights, key=lambda each: (weights[each], -of[each][0].used if of[each] else 0))
        file = of[owner].popleft()
        shutil.rmtree(file.folder, ignore_errors=True)
        weights[owner] -= weight(file)
        over -= weight(file)
    return [file for files in of.values() for file in files]


def _folders(kind: Path) -> Iterator[Path]:
    """The folders of all files of a kind, each owner's."""
    for folder in kind.iterdir():
        if _ID.fullmatch(folder.name):
            yield folder
        elif folder.is_dir():
            yield from folder.iterdir()


def _contents(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else iter(())


def _suffixed(name: str, known: Sequence[Path]) -> str:
    """A name with the suffix that readers go by, where it has none and the file has one."""
    if Path(name).suffix.lower() in SUFFIXES:
        return name
    return name + next((p.suffix for p in known if p.suffix.lower() in SUFFIXES), "")


def file_name(name: str) -> str:
    """A name as a file may have it, with the suffix that readers go by."""
    last = re.split(r"[\\/]", name)[-1]
    clean = re.sub(r"[^\w. ()+-]", "_", last).lstrip(". ")[-100:]
    return clean or "file"
