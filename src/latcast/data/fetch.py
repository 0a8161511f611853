"""Public tables that are read as they are published: where they come from, and fetching them.

``sources.json`` beside this file states each source's address and licence, and of every file its
size and SHA-256 where its content does not change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from latcast._limits import MAX_FILE_BYTES
from latcast._names import unknown_name
from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.markup import counted
from latcast.report.record import Record
from latcast.report.table import Column, Table

# Of a read, and seconds that a server may be silent.
CHUNK, TIMEOUT_S = 1 << 16, 30.0
PART = ".part"
# Files whose sizes a figure shows.
MAX_DRAWN = 10


class Tell(Protocol):
    """Called with how many bytes are there, how many there will be, and of which file."""

    def __call__(self, done: int, total: int | None, text: str = "", /) -> None: ...


@dataclass(frozen=True, repr=False)
class DataSource:
    """A public source of measurements.

    Attributes:
        name: that ``latcast data fetch`` takes.
        what: it holds.
        repository: that publishes it.
        licence: of the source.
        url: of the folder that its files are below; null where latcast reads a table that is
            assembled from it, and which is not published.
        file_count: how many files are fetched.
        total_bytes: of the files whose content does not change.
    """

    name: str
    what: str
    repository: str
    licence: str
    url: str | None
    file_count: int
    total_bytes: int


@dataclass(frozen=True, repr=False)
class DataSources(Record):
    """The sources of public measurements.

    Attributes:
        sources: each with its address and licence.
    """

    schema = "data-sources"
    frame = "sources"
    tables_first = True

    sources: tuple[DataSource, ...]

    @classmethod
    def of_all(cls) -> DataSources:
        """All that latcast can read."""
        return cls(
            tuple(
                DataSource(
                    name, x["what"], x["repository"], x["licence"], x["url"], len(x["files"]),
                    sum(size or 0 for size, _ in x["files"].values()),
                )
                for name, x in sources().items()
            )
        )  # fmt: skip

    def answer(self) -> str:
        fetched = [x.name for x in self.sources if x.file_count]
        return (
            f"{len(self.sources)} public sources are read, and {len(fetched)} of them fetched by "
            f"latcast data fetch: {', '.join(fetched)}."
        )

    def figures(self) -> Iterator[Figure]:
        rows = [(x.name, x.total_bytes / 1e6) for x in self.sources if x.total_bytes]
        yield charts.bars("Sizes of what is fetched", rows, "MB", of="source")

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("source", "name"),
            Column("what", "what"),
            Column("repository", "repository"),
            Column("licence", "licence"),
            Column("files", lambda x: x.file_count or None),
            Column("MB", lambda x: x.total_bytes or None, ".1f", 1e-6),
        )
        yield Table(columns, self.sources)
        yield "fetched by latcast data fetch NAME; those without files are read, not fetched"


@dataclass(frozen=True)
class FetchedFile:
    """A file.

    Attributes:
        path: where it is.
        url: that it is of.
        state: ``fetched``, ``resumed`` after an interruption, or ``kept``: it was there.
        bytes: its size.
        sha256: of its content.
        verified: whether that is the one that is known of it; null where none is.
    """

    path: str
    url: str
    state: str
    bytes: int
    sha256: str
    verified: bool | None


@dataclass(frozen=True, repr=False)
class Fetched(Record):
    """Files of a public source that are here now.

    Attributes:
        source: its name.
        licence: of the source.
        folder: that holds them.
        files: each with its SHA-256.
        notes: doubts.
    """

    schema = "fetched"
    tables_first = True

    source: str
    licence: str
    folder: str
    files: tuple[FetchedFile, ...]
    notes: tuple[str, ...]

    def headline(self) -> str:
        return f"{self.source}, as it was fetched"

    def answer(self) -> str:
        known = sum(x.verified is True for x in self.files)
        return (
            f"{counted(len(self.files), 'file')} of {self.source}, now in {self.folder}, "
            f"{known} of them with the SHA-256 that is known."
        )

    def figures(self) -> Iterator[Figure]:
        rows = [(os.path.relpath(x.path, self.folder), x.bytes / 1e6) for x in self.files]
        largest = sorted(rows, key=lambda row: -row[1])[:MAX_DRAWN]
        yield charts.bars("The largest files", largest, "MB", of="file")

    def parts(self) -> Iterator[Table | str]:
        columns = (
            Column("file", lambda x: os.path.relpath(x.path, self.folder)),
            Column("state", "state"),
            Column("bytes", "bytes", ","),
            Column("SHA-256", lambda x: x.sha256[:16]),
            Column("as known", "verified"),
        )
        yield Table(columns, self.files, f"{self.source} in {self.folder} ({self.licence})")


@cache
def sources() -> Mapping[str, Any]:
    """Name of a source -> what, repository, licence, url and files (path -> [bytes, SHA-256])."""
    text = files("latcast.data.public").joinpath("sources.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def fetch(
    name: str, folder: str | Path, *, mirror: str | None = None, tell: Tell | None = None
) -> Fetched:
    """Fetch the files of a source into a folder of its name.

    Files that are there are kept, and never written over. One that was interrupted is gone on with
    where it is known what it must become.

    Args:
        name: of the source.
        folder: to hold the source's own folder.
        mirror: address of a copy of the source's folder, to fetch from instead.
        tell: called while files come.

    Raises:
        ValueError: there is no such source, it is not published as it is read, the address is not
            of http or https, or a file is not what it is known to be.
        OSError: the server cannot be reached, or a file cannot be written.
    """
    source, base = check(name, mirror)
    root = Path(folder) / source["folder"]
    found = [
        _file(f"{base.rstrip('/')}/{quote(path)}", root / path, size, known, tell or _silent)
        for path, (size, known) in source["files"].items()
    ]
    unknown = [x for x in found if x.verified is None]
    notes = [
        f"{Path(x.path).name} changes at its source, so that no SHA-256 of it is known: compare "
        f"{x.sha256} with that of a copy that you trust"
        for x in unknown
    ]
    return Fetched(name, source["licence"], str(root), tuple(found), tuple(notes))


def check(name: str, mirror: str | None = None) -> tuple[Mapping[str, Any], str]:
    """A source, and the address that its files are below.

    Raises:
        ValueError: as :func:`fetch`, before anything is fetched.
    """
    if name not in sources():
        raise ValueError(unknown_name("source", name, list(sources())))
    source = sources()[name]
    if not source["files"]:
        fetched = ", ".join(n for n, x in sources().items() if x["files"])
        raise ValueError(
            f"{name} must be published as latcast reads it; its table is assembled from many files "
            f"of {source['repository']} (docs/public-tables.md has its columns): fetch {fetched}"
        )
    base: str = mirror or source["url"]
    if urlsplit(base).scheme not in ("http", "https"):
        raise ValueError(f"the address must begin with http:// or https://; got {base!r}")
    return source, base


def _silent(done: int, total: int | None, text: str = "", /) -> None:
    pass


def _file(url: str, path: Path, size: int | None, known: str | None, tell: Tell) -> FetchedFile:
    """One file, which is here afterwards, whole."""
    state = "kept"
    if not path.exists():
        part = path.with_name(path.name + PART)
        state = _download(url, part, size, tell, resume=known is not None)
        if known is not None and (got := _sha256(part)) != known:
            part.unlink()
            raise ValueError(
                f"{url} must have the SHA-256 {known}; got {got}: it was changed, or damaged on "
                "its way. Try again, or another --mirror"
            )
        os.link(part, path)  # fails where something has come there meanwhile; a rename would not
        part.unlink()
    found = _sha256(path)
    if known is not None and found != known:
        raise ValueError(
            f"{path} must have the SHA-256 {known}; got {found}. It is not written over: move it "
            "away to have it fetched"
        )
    verified = None if known is None else True
    return FetchedFile(str(path), url, state, path.stat().st_size, found, verified)


def _download(url: str, part: Path, size: int | None, tell: Tell, *, resume: bool) -> str:
    """Bring the bytes that ``part`` lacks; ``fetched`` or ``resumed``."""
    start = part.stat().st_size if resume and part.exists() else 0
    if size is not None and start >= size:
        start = 0  # all of it, and yet not taken: it was damaged
    headers = {"User-Agent": "latcast"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310
            if start and answer.status != 206:  # the server sends all of it
                start = 0
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if start else "wb") as file:
                done = _copy(answer, file, start, size, lambda n: tell(n, size, part.stem))
            # A link that breaks off is no error of a read: it only has less than was promised.
            size = size or done + (answer.length or 0)
    except (OSError, HTTPException) as error:
        kept = "What came is kept; run" if part.exists() else "Nothing was written; run"
        raise OSError(
            f"{url} could not be fetched: {getattr(error, 'reason', None) or error}. {kept} the "
            "command again"
        ) from error
    if size is not None and done < size:
        raise OSError(
            f"{url} must have {size:,} bytes; {done:,} came. They are kept; run the command again"
        )
    return "resumed" if start else "fetched"


def _copy(answer: Any, file: IO[bytes], done: int, size: int | None, tell: Any) -> int:
    """Write what a server sends; how many bytes there are then.

    Raises:
        ValueError: there are more than the file has.
    """
    most = MAX_FILE_BYTES if size is None else size
    with suppress(EOFError):
        while piece := answer.read(CHUNK):
            done += len(piece)
            if done > most:
                raise ValueError(f"{answer.url} must have at most {most:,} bytes; it has more")
            file.write(piece)
            tell(done)
    return done


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
