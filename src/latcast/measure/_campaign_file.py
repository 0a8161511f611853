"""The campaign file: every run as it was made, in SQLite.

What was measured is only ever added to, each run in a transaction of its own: a process that is
killed, or a disk that is full, loses the run in flight and nothing else. Every row has a checksum,
which is compared when the file is opened.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latcast._checksums import warn_unchecked
from latcast._files import write_file
from latcast._limits import MAX_CAMPAIGN_VALUE_BYTES

from ._sources import ArchSource, BlockSource, NetworkSource, parse_source
from .runtimes import NAMES, Runtime

# Version 1 had no texts of networks, but genes, numbers of blocks, or JSON, as its plan's `unit`
# said; and it called runs visits in its protocol. Version 2 had no checksums, and named the class
# of a runtime of ours. Files of both are read, and gone on with.
SCHEMA_VERSION = 3
# The latter of a message that quotes what is damaged.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID = 0x6C617463  # "latc"
# Settings of the protocol by their names in version 1.
_FORMER = {"visits": "runs", "visits_per_process": "runs_per_process", "visit_s": "run_s"}

# Beyond all rounds, however many more of them are planned.
SUSTAINED_ROUND = -1
"""Round of runs that last for minutes or hours, which tell nothing of the others' latencies."""

NEWER = {"cpu_share": 0.0}
"""Settings that a campaign of before does not state, with what it went by."""

# Tables and columns have the names of version 1: `archs` are networks, `visits` are runs.
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
# Since version 3, and in older files from when they are gone on with: of every row of every table.
_CHECKSUMS = """
CREATE TABLE checksums (
    name TEXT NOT NULL, number INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (name, number)) WITHOUT ROWID;
"""
_TABLES = ("plan", "archs", "extents", "processes", "visits", "failures")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a network as it is recorded.

    Attributes:
        network: number of the network in the campaign.
        round: of the campaign, from 0; :data:`SUSTAINED_ROUND` of a sustained run.
        attempt: 0, or how often the run had been made before.
        process: number of the worker process.
        time_s: seconds since 1970.
        accepted: whether it counts: it raised no doubts, or was the last attempt.
        samples_ms: time of a pass, one a sample.
        reference_ms: the same of the reference network, before and after.
        details: ``repeats``, ``inference_s``, ``load_s``, ``doubts`` and ``machine``; of models
            in ONNX also ``model_bytes``, and of networks that are profiled, in the first round,
            ``profile_ms``: number of a layer -> ms, or None.
    """

    network: int
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

    runtime: type[Runtime] | None = None
    """Class of the runtime where the plan has one of its own: known to this process, and never
    looked up by what the file says."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def create(
        cls,
        path: Path,
        plan: Mapping[str, Any],
        networks: Sequence[NetworkSource],
    ) -> Self:
        """Start a campaign.

        Args:
            path: the file, which must not exist.
            plan: what stays the same throughout, as JSON can hold it.
            networks: what is measured.

        Raises:
            FileExistsError: there is a file already, which is more than a beginning without a
                plan, as a full disk left behind once.
            OSError: it cannot be written; there is none then.
        """
        # A campaign is hours of a machine's time: no file is ever overwritten.
        try:
            write_file(path, _beginning(plan, networks), replaces=is_stub(path))
        except FileExistsError:
            raise FileExistsError(
                f"{path} exists already: go on with it, or move it away"
            ) from None
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a campaign to go on with it, or to read it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no campaign file, damaged, or of a newer schema version.
            OSError: the disk is full, or the file is beside what cannot be read without writing.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no such campaign: {path}")
        if is_stub(path):
            raise ValueError(f"{path} holds no plan: begin the campaign again, without --resume")
        self = cls(path, _connect(path))
        try:
            self._check()
        except _DAMAGED as error:
            self.close()
            raise ValueError(f"{path} must be a campaign file; reading it: {error}") from error
        except BaseException:
            self.close()
            raise
        return self

    def _check(self) -> None:
        """Make sure that the file is a campaign, and as it was written.

        Raises:
            ValueError, sqlite3.DatabaseError: it is not.
        """
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise ValueError(
                f"{self.path} has schema version {version}, this latcast reads up to "
                f"{SCHEMA_VERSION}: upgrade with pip install -U latcast"
            )
        self._db.execute("BEGIN")  # of one moment, though a campaign may be writing
        try:
            reason = _foreign(self._db) or self._damage(version)
        finally:
            self._db.execute("ROLLBACK")
        if reason:
            raise ValueError(f"{self.path} must be a campaign file as latcast wrote it: {reason}")

    def _damage(self, version: int) -> str | None:
        """How the file differs from what was written."""
        # The indices, too, which tell what is pending.
        if (verdict := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            return str(verdict)
        if not self._has_checksums():
            if version >= 3:
                return "its checksums are missing"
            warn_unchecked(self.path)
            return None
        kept = {
            (name, number): crc
            for name, number, crc in self._db.execute("SELECT name, number, crc FROM checksums")
        }
        found = dict(_checksums(self._db))
        if kept == found:
            return None
        wrong = [x for x in {**kept, **found} if kept.get(x) != found.get(x)]
        return f"row {wrong[0][1]} of {wrong[0][0]} was damaged after it was written"

    def _has_checksums(self) -> bool:
        return bool(self._all("SELECT 1 FROM sqlite_master WHERE name = 'checksums'"))

    # -- reading ----------------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        """Return the part of the plan that never changes: all but the number of runs."""
        with self._understood():
            plan = {k: json.loads(v) for k, v in self._all("SELECT key, value FROM plan")}
            protocol = {_FORMER.get(k, k): v for k, v in plan["protocol"].items()}
            _check_plan(plan, protocol)
            if "runtime" in plan:  # version 2 says the class of ours
                plan["runtime"] = NAMES.get(str(plan["runtime"]), plan["runtime"])
        return {**plan, "protocol": NEWER | protocol}

    def networks(self) -> list[NetworkSource]:
        """Return the networks that are measured, as given to :meth:`create`."""
        rows = [row[0] for row in self._all("SELECT genes FROM archs ORDER BY arch")]
        plan = self.plan()
        with self._understood():
            match plan.get("unit"):  # since version 2 every row has the same form
                case "network":
                    return [ArchSource(plan["space"], tuple(genes)) for genes in rows]
                case "block":
                    numbers = (int.from_bytes(row, "little") for row in rows)
                    return [BlockSource(plan["space"], number) for number in numbers]
            return [parse_source(row.decode()) for row in rows]

    def extent(self) -> int:
        """How many of the networks are planned to be measured: the first so many."""
        return int(self._all("SELECT COALESCE(MAX(archs), 0) FROM extents")[0][0])

    def pending(self, round_: int, attempt: int, extent: int) -> list[int]:
        """Networks that need this attempt: earlier ones raised doubts, none has failed."""
        rows = self._all(
            """SELECT arch FROM archs WHERE arch < ?
            AND arch NOT IN (SELECT arch FROM failures WHERE final)
            AND arch NOT IN (SELECT arch FROM visits WHERE round = ? AND
                             (accepted OR attempt >= ?))
            ORDER BY arch""",
            (extent, round_, attempt),
        )
        return [r[0] for r in rows]

    def deaths(self, network: int) -> int:
        """How often a worker process died with this network."""
        return int(self._all("SELECT COUNT(*) FROM failures WHERE arch = ?", (network,))[0][0])

    def failures(self) -> dict[int, str]:
        """Networks that cannot be measured, with the reason."""
        return dict(self._all("SELECT arch, reason FROM failures WHERE final ORDER BY failure"))

    def counts(self) -> tuple[int, int]:
        """Accepted runs, and all runs."""
        total, accepted = self._all("SELECT COUNT(*), COALESCE(SUM(accepted), 0) FROM visits")[0]
        return int(accepted), int(total)

    def processes(self) -> dict[int, dict[str, Any]]:
        """Facts that every worker process stated."""
        rows = self._all("SELECT process, facts FROM processes ORDER BY process")
        with self._understood():
            return {number: _mapping(json.loads(facts)) for number, facts in rows}

    def boards(self) -> dict[int, str]:
        """Number of a network -> text of the host that ran it last, where several share them."""
        hosts = {n: facts["host"] for n, facts in self.processes().items() if "host" in facts}
        rows = self._all("SELECT arch, process FROM visits ORDER BY visit")
        return {network: hosts[process] for network, process in rows if process in hosts}

    def runs(self) -> list[Run]:
        """All runs but the sustained ones, in the order in which they were made."""
        return [run for run in self._every_run() if run.round != SUSTAINED_ROUND]

    def sustained_runs(self) -> list[Run]:
        """The sustained runs, in the order of their networks; samples are medians of steps."""
        found = [run for run in self._every_run() if run.round == SUSTAINED_ROUND]
        return sorted(found, key=lambda run: run.network)

    def _every_run(self) -> list[Run]:
        rows = self._all(
            "SELECT arch, round, attempt, process, time_s, accepted, samples_ms, before_ms, "
            "after_ms, details FROM visits ORDER BY visit"
        )
        with self._understood():
            return [_run(row) for row in rows]

    # -- adding -----------------------------------------------------------------------------

    def extend(self, networks: int) -> None:
        """Plan to measure the first ``networks`` networks."""
        self._add("extents", archs=networks)

    def plan_runs(self, runs: int) -> None:
        """Plan more runs of every network than so far.

        Raises:
            ValueError: they are fewer.
        """
        protocol = self.plan()["protocol"]
        # Fewer would leave runs in the file that its own plan does not know.
        if runs < protocol["runs"]:
            raise ValueError(
                f"a campaign can only get more runs than the {protocol['runs']} that are planned; "
                f"got {runs}"
            )
        protocol["runs"] = runs
        with self._transaction() as db:
            # By the names of this version.
            text = json.dumps(protocol)
            db.execute("UPDATE plan SET value = ? WHERE key = 'protocol'", (text,))
            _seal(db, "plan")

    def add_process(self, facts: Mapping[str, Any]) -> int:
        """Record a worker process; returns its number."""
        return self._add("processes", time_s=time.time(), facts=json.dumps(facts))

    def add_run(self, run: Run) -> None:
        """Record a run."""
        before, after = run.reference_ms
        self._add(
            "visits", arch=run.network, round=run.round, attempt=run.attempt, process=run.process,
            time_s=run.time_s, accepted=run.accepted, samples_ms=run.samples_ms.tobytes(),
            before_ms=before.tobytes(), after_ms=after.tobytes(), details=json.dumps(run.details),
        )  # fmt: skip

    def add_failure(self, network: int, reason: str, *, final: bool) -> None:
        """Record that a network failed; ``final``: it is not tried again."""
        self._add("failures", arch=network, time_s=time.time(), final=final, reason=reason)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def discard_if_unused(self) -> None:
        """Close and remove the file of a campaign that has no run yet."""
        if not self.counts()[1]:
            self.close()  # which removes what SQLite keeps beside it
            self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except _DAMAGED as error:
            raise ValueError(f"{self.path} is a damaged campaign file: {error}") from error

    def _add(self, table: str, **values: Any) -> int:
        """Add a row and its checksum; returns its number."""
        places = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"  # noqa: S608
        with self._transaction() as db:
            number = int(db.execute(statement, tuple(values.values())).lastrowid or 0)
            _seal(db, table, number)
            return number

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Values inside are of the file; what makes no sense is its damage."""
        try:
            yield
        except (
            KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError,
            RecursionError,
        ) as error:  # fmt: skip
            raise ValueError(
                f"{self.path} is a damaged campaign file: {type(error).__name__} {error}"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db:
                # The write lock is taken before anything is read for the write: two processes on
                # one file then wait for each other, where a deferred one could fail half way.
                self._db.execute("BEGIN IMMEDIATE")
                if not self._has_checksums():  # a file of before; what it holds is taken as it is
                    self._db.execute(_CHECKSUMS)
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    for table in _TABLES:
                        _seal(self._db, table)
                yield self._db
        except sqlite3.OperationalError as error:
            raise _unwritable(self.path, error) from error


def is_stub(path: Path) -> bool:
    """Whether a file is what a full disk left of a campaign's beginning: empty, or without tables.

    Files are written whole now; those of earlier versions could neither be resumed nor begun anew.
    """
    try:
        if (size := path.stat().st_size) == 0:
            return path.is_file()
        wal = path.with_name(f"{path.name}-wal")
        if size > 4096 or (wal.exists() and wal.stat().st_size):  # more than one page
            return False
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return False
        with closing(_immutable(path)) as db:
            return not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    except (OSError, sqlite3.DatabaseError):
        return False


def _beginning(plan: Mapping[str, Any], networks: Sequence[NetworkSource]) -> bytes:
    """The file of a campaign that has not begun to measure."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(_SCHEMA + _CHECKSUMS)
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("BEGIN")
        rows = [(key, json.dumps(value)) for key, value in plan.items()]
        db.executemany("INSERT INTO plan VALUES (?, ?)", rows)
        texts = ((n, network.text.encode()) for n, network in enumerate(networks))
        db.executemany("INSERT INTO archs VALUES (?, ?)", texts)
        for table in _TABLES:
            _seal(db, table)
        db.execute("COMMIT")
        return db.serialize()


def _foreign(db: sqlite3.Connection) -> str | None:
    """Return a data base's object that is not ours: SQLite would run views and triggers."""
    ours = {" ".join(s.split()) for s in (_SCHEMA + _CHECKSUMS).split(";") if s.strip()}
    for kind, name, statement in db.execute("SELECT type, name, sql FROM sqlite_master"):
        is_own_index = kind == "index" and statement is None
        if not is_own_index and " ".join(str(statement).split()) not in ours:
            return f"its {str(kind)[:20]} {str(name)[:40]!r} is none of a campaign's"
    return None


def _checksums(
    db: sqlite3.Connection, table: str | None = None, number: int | None = None
) -> Iterator[tuple[tuple[str, int], int]]:
    """Table and number of rows, with checksums of what they hold."""
    for name in _TABLES if table is None else (table,):
        where, values = ("", ()) if number is None else (" WHERE rowid = ?", (number,))
        # ascii() writes the same for the same values in every version of Python.
        for row in db.execute(f"SELECT rowid, * FROM {name}{where}", values):  # noqa: S608
            yield (name, row[0]), zlib.crc32(ascii((name, *row)).encode())


def _seal(db: sqlite3.Connection, table: str, number: int | None = None) -> None:
    """Note the checksum of a row, as it is read; of all rows of the table by default."""
    rows = [(*key, crc) for key, crc in _checksums(db, table, number)]
    db.executemany("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?)", rows)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that reads, and writes where the folder lets it.

    Raises:
        ValueError: the file is no data base, or another.
        OSError: it cannot be opened without room on the disk.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _restrict(connection)
        # Any SQLite database opens without complaint, a few bytes of anything as an empty one, and
        # would be written to.
        if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            connection.close()
            raise ValueError(f"{path} must be a campaign file of latcast; it is another database")
        # Results can be read while the campaign writes.
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit survives the death of the process; only a power cut may take the last ones.
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.OperationalError as error:
        connection.close()
        wal = path.with_name(f"{path.name}-wal")
        if not wal.exists() and not os.access(path.parent, os.W_OK):
            return _immutable(path)  # it can be read, and writing to it says why it cannot
        raise _unwritable(path, error) from error
    except _DAMAGED as error:
        connection.close()
        raise ValueError(f"{path} must be a campaign file; reading it: {error}") from error
    return connection


def _immutable(path: Path) -> sqlite3.Connection:
    """A connection that neither locks the file nor writes beside it."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    _restrict(connection)
    return connection


def _restrict(connection: sqlite3.Connection) -> None:
    """Let a file from elsewhere make no large values, and call nothing."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CAMPAIGN_VALUE_BYTES)
    connection.execute("PRAGMA trusted_schema = OFF")


def _unwritable(path: Path, error: sqlite3.OperationalError) -> OSError:
    return OSError(
        f"{path} could not be written ({error}); what it holds is safe: make room, or let its "
        "folder be written to, then go on with --resume"
    )


def _floats(blob: bytes) -> Floats:
    return np.frombuffer(blob, dtype=np.float64)


def _check_plan(plan: Mapping[str, Any], protocol: Mapping[str, Any]) -> None:
    """Make sure that a plan's values are of their types: a file may hold any.

    Raises:
        TypeError, ValueError: they are not.
    """
    if not isinstance(plan.get("target"), str) or type(plan.get("seed")) is not int:
        raise TypeError("a plan without target or seed")
    if not all(isinstance(value, int | float) for value in protocol.values()):
        raise TypeError("a protocol whose settings are no numbers")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("facts that are no object")
    return value


def _details(value: Any) -> dict[str, Any]:
    """Details of a run, of which the machine and a profile are objects of their own.

    Raises:
        TypeError: one of them is none.
    """
    for part in ("machine", "profile_ms"):
        _mapping(_mapping(value).get(part) or {})
    return _mapping(value)


def _run(row: tuple[Any, ...]) -> Run:
    """A run of its row, whose values may be of any type.

    Raises:
        TypeError, ValueError: one is of another type than was written.
    """
    network, round_, attempt, process, time_s, accepted, samples, before, after, details = row
    if not all(isinstance(x, int) for x in (network, round_, attempt, process)):
        raise TypeError("a run whose numbers are no integers")
    if not isinstance(time_s, int | float):
        raise TypeError("a run without a time")
    return Run(
        network,
        round_,
        attempt,
        process,
        time_s,
        bool(accepted),
        _floats(samples),
        (_floats(before), _floats(after)),
        _details(json.loads(details)),
    )
