"""The campaign file: every visit as it was made, in SQLite.

What was measured is only ever added to, each visit in a transaction of its own: a process that is
killed, or a disk that is full, loses the visit in flight and nothing else.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x6C617463  # "latc"

_SCHEMA = """
CREATE TABLE plan (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE archs (arch INTEGER PRIMARY KEY, genes BLOB NOT NULL);
CREATE TABLE extents (extent INTEGER PRIMARY KEY, archs INTEGER NOT NULL);
CREATE TABLE processes (
    process INTEGER PRIMARY KEY, time_s REAL NOT NULL, facts TEXT NOT NULL);
CREATE TABLE visits (
    visit INTEGER PRIMARY KEY,
    arch INTEGER NOT NULL REFERENCES archs,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    process INTEGER NOT NULL REFERENCES processes,
    time_s REAL NOT NULL,
    accepted INTEGER NOT NULL,
    samples_ms BLOB NOT NULL,
    before_ms BLOB NOT NULL,
    after_ms BLOB NOT NULL,
    details TEXT NOT NULL,
    UNIQUE (arch, round, attempt));
CREATE TABLE failures (
    failure INTEGER PRIMARY KEY,
    arch INTEGER NOT NULL REFERENCES archs,
    time_s REAL NOT NULL,
    final INTEGER NOT NULL,
    reason TEXT NOT NULL);
"""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit as it is recorded.

    Attributes:
        arch: number of the architecture in the campaign.
        round: of the campaign, from 0.
        attempt: 0, or how often the visit had been made before.
        process: number of the worker process.
        time_s: seconds since 1970.
        accepted: whether it counts: it raised no doubts, or was the last attempt.
        samples_ms: time of a pass, one a sample.
        reference_ms: the same of the reference network, before and after.
        details: ``repeats``, ``inference_s``, ``load_s``, ``doubts`` and ``machine``; of graphs
            also ``model_bytes``, and of members in the first round ``profile_ms``: number of a
            layer -> ms, or None.
    """

    arch: int
    round: int
    attempt: int
    process: int
    time_s: float
    accepted: bool
    samples_ms: Floats
    reference_ms: tuple[Floats, Floats]
    details: Mapping[str, Any]


class CampaignFile:
    """An open campaign file.

    Make one with :meth:`create` or :meth:`open`, and close it (it is a context manager).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def create(
        cls,
        path: Path,
        plan: Mapping[str, Any],
        items: Sequence[bytes] | npt.NDArray[np.uint8],
    ) -> Self:
        """Start a campaign.

        Args:
            path: the file, which must not exist.
            plan: what stays the same throughout, as JSON can hold it.
            items: what is visited: the genes of an architecture each, or other bytes.

        Raises:
            FileExistsError: there is a file already.
        """
        if path.exists():
            raise FileExistsError(f"{path} exists already: go on with it, or move it away")
        path.parent.mkdir(parents=True, exist_ok=True)
        self = cls(path, _connect(path))
        with self._transaction() as db:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            rows = [(key, json.dumps(value)) for key, value in plan.items()]
            db.executemany("INSERT INTO plan VALUES (?, ?)", rows)
            db.executemany(
                "INSERT INTO archs VALUES (?, ?)", ((n, bytes(x)) for n, x in enumerate(items))
            )
        return self

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a campaign to go on with it, or to read it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no campaign file, damaged, or of a newer schema version.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no such campaign: {path}")
        try:
            self = cls(path, _connect(path))
            application, version = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            )
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} must be a campaign file; reading it: {error}") from error
        if application != _APPLICATION_ID:
            self.close()
            raise ValueError(f"{path} must be a campaign file of latcast; it is another database")
        if version > SCHEMA_VERSION:
            self.close()
            raise ValueError(
                f"{path} has schema version {version}, this latcast reads up to "
                f"{SCHEMA_VERSION}: upgrade with pip install -U latcast"
            )
        return self

    # -- reading ----------------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        """What stays the same throughout, but for the number of visits."""
        return {k: json.loads(v) for k, v in self._all("SELECT key, value FROM plan")}

    def genes(self) -> npt.NDArray[np.uint8]:
        """Genes of every architecture, shape (n, genes)."""
        rows = self.items()
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)

    def items(self) -> list[bytes]:
        """What is visited, as it was given to :meth:`create`."""
        return [r[0] for r in self._all("SELECT genes FROM archs ORDER BY arch")]

    def extent(self) -> int:
        """How many of the architectures are planned to be measured: the first so many."""
        return int(self._all("SELECT COALESCE(MAX(archs), 0) FROM extents")[0][0])

    def pending(self, round_: int, attempt: int, extent: int) -> list[int]:
        """Architectures that need this attempt: earlier ones raised doubts, none has failed."""
        rows = self._all(
            """SELECT arch FROM archs WHERE arch < ?
            AND arch NOT IN (SELECT arch FROM failures WHERE final)
            AND arch NOT IN (SELECT arch FROM visits WHERE round = ? AND
                             (accepted OR attempt >= ?))
            ORDER BY arch""",
            (extent, round_, attempt),
        )
        return [r[0] for r in rows]

    def deaths(self, arch: int) -> int:
        """How often a worker process died with this architecture."""
        return int(self._all("SELECT COUNT(*) FROM failures WHERE arch = ?", (arch,))[0][0])

    def failures(self) -> dict[int, str]:
        """Architectures that cannot be measured, with the reason."""
        return dict(self._all("SELECT arch, reason FROM failures WHERE final ORDER BY failure"))

    def counts(self) -> tuple[int, int]:
        """Accepted visits, and all visits."""
        total, accepted = self._all("SELECT COUNT(*), COALESCE(SUM(accepted), 0) FROM visits")[0]
        return int(accepted), int(total)

    def processes(self) -> dict[int, dict[str, Any]]:
        """Facts that every worker process stated."""
        rows = self._all("SELECT process, facts FROM processes ORDER BY process")
        return {number: json.loads(facts) for number, facts in rows}

    def visits(self) -> list[Visit]:
        """All visits, in the order in which they were made."""
        rows = self._all(
            "SELECT arch, round, attempt, process, time_s, accepted, samples_ms, before_ms, "
            "after_ms, details FROM visits ORDER BY visit"
        )
        return [_visit(row) for row in rows]

    # -- adding -----------------------------------------------------------------------------

    def extend(self, archs: int) -> None:
        """Plan to measure the first ``archs`` architectures."""
        self._add("INSERT INTO extents (archs) VALUES (?)", (archs,))

    def plan_visits(self, visits: int) -> None:
        """Plan more visits to every architecture than so far.

        Raises:
            ValueError: they are fewer.
        """
        protocol = self.plan()["protocol"]
        if visits < protocol["visits"]:
            raise ValueError(
                f"a campaign can only get more visits than the {protocol['visits']} that are "
                f"planned; got {visits}"
            )
        protocol["visits"] = visits
        self._add("UPDATE plan SET value = ? WHERE key = 'protocol'", (json.dumps(protocol),))

    def add_process(self, facts: Mapping[str, Any]) -> int:
        """Record a worker process; returns its number."""
        return self._add(
            "INSERT INTO processes (time_s, facts) VALUES (?, ?)", (time.time(), json.dumps(facts))
        )

    def add_visit(self, visit: Visit) -> None:
        """Record a visit."""
        self._add(
            "INSERT INTO visits (arch, round, attempt, process, time_s, accepted, samples_ms, "
            "before_ms, after_ms, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                visit.arch, visit.round, visit.attempt, visit.process, visit.time_s,
                visit.accepted, visit.samples_ms.tobytes(),
                *(r.tobytes() for r in visit.reference_ms), json.dumps(visit.details),
            ),
        )  # fmt: skip

    def add_failure(self, arch: int, reason: str, *, final: bool) -> None:
        """Record that an architecture failed; ``final``: it is not tried again."""
        self._add(
            "INSERT INTO failures (arch, time_s, final, reason) VALUES (?, ?, ?, ?)",
            (arch, time.time(), final, reason),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is a damaged campaign file: {error}") from error

    def _add(self, statement: str, values: Sequence[Any]) -> int:
        with self._transaction() as db:
            return int(db.execute(statement, values).lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
        except sqlite3.OperationalError as error:
            raise OSError(
                f"{self.path} could not be written ({error}); what it holds is safe: make room, "
                "then go on with --resume"
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit survives the death of the process; only a power cut may take the last ones.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _floats(blob: bytes) -> Floats:
    return np.frombuffer(blob, dtype=np.float64)


def _visit(row: tuple[Any, ...]) -> Visit:
    arch, round_, attempt, process, time_s, accepted, samples, before, after, details = row
    return Visit(
        arch,
        round_,
        attempt,
        process,
        time_s,
        bool(accepted),
        _floats(samples),
        (_floats(before), _floats(after)),
        json.loads(details),
    )
