"""The campaign file: every run as it was made, in SQLite.

What was measured is only ever added to, each run in a transaction of its own: a process that is
killed, or a disk that is full, loses the run in flight and nothing else.
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

from ._sources import ArchSource, BlockSource, NetworkSource, parse_source

# Version 1 had no texts of networks, but genes, numbers of blocks, or JSON, as its plan's `unit`
# said; and it called runs visits in its protocol. Its files are read, and gone on with.
SCHEMA_VERSION = 2
_APPLICATION_ID = 0x6C617463  # "latc"
# Settings of the protocol by their names in version 1.
_FORMER = {"visits": "runs", "visits_per_process": "runs_per_process", "visit_s": "run_s"}

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

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a network as it is recorded.

    Attributes:
        network: number of the network in the campaign.
        round: of the campaign, from 0.
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
            FileExistsError: there is a file already.
        """
        # A campaign is hours of a machine's time: no file is ever overwritten.
        if path.exists():
            raise FileExistsError(f"{path} exists already: go on with it, or move it away")
        path.parent.mkdir(parents=True, exist_ok=True)
        self = cls(path, _connect(path))
        # All or nothing: a file with a plan but without its networks could not be gone on with.
        with self._transaction() as db:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            rows = [(key, json.dumps(value)) for key, value in plan.items()]
            db.executemany("INSERT INTO plan VALUES (?, ?)", rows)
            texts = ((n, network.text.encode()) for n, network in enumerate(networks))
            db.executemany("INSERT INTO archs VALUES (?, ?)", texts)
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
        # Any SQLite database opens without complaint, and would be written to.
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
        """What stays the same throughout, but for the number of runs."""
        plan = {k: json.loads(v) for k, v in self._all("SELECT key, value FROM plan")}
        protocol = {_FORMER.get(k, k): v for k, v in plan["protocol"].items()}
        return {**plan, "protocol": NEWER | protocol}

    def networks(self) -> list[NetworkSource]:
        """What is measured, as it was given to :meth:`create`."""
        rows = [row[0] for row in self._all("SELECT genes FROM archs ORDER BY arch")]
        plan = self.plan()
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
        return {number: json.loads(facts) for number, facts in rows}

    def runs(self) -> list[Run]:
        """All runs, in the order in which they were made."""
        rows = self._all(
            "SELECT arch, round, attempt, process, time_s, accepted, samples_ms, before_ms, "
            "after_ms, details FROM visits ORDER BY visit"
        )
        return [_run(row) for row in rows]

    # -- adding -----------------------------------------------------------------------------

    def extend(self, networks: int) -> None:
        """Plan to measure the first ``networks`` networks."""
        self._add("INSERT INTO extents (archs) VALUES (?)", (networks,))

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
            text = json.dumps(protocol)
            db.execute("UPDATE plan SET value = ? WHERE key = 'protocol'", (text,))
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # by the names of its protocol

    def add_process(self, facts: Mapping[str, Any]) -> int:
        """Record a worker process; returns its number."""
        return self._add(
            "INSERT INTO processes (time_s, facts) VALUES (?, ?)", (time.time(), json.dumps(facts))
        )

    def add_run(self, run: Run) -> None:
        """Record a run."""
        self._add(
            "INSERT INTO visits (arch, round, attempt, process, time_s, accepted, samples_ms, "
            "before_ms, after_ms, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.network, run.round, run.attempt, run.process, run.time_s, run.accepted,
                run.samples_ms.tobytes(), *(r.tobytes() for r in run.reference_ms),
                json.dumps(run.details),
            ),
        )  # fmt: skip

    def add_failure(self, network: int, reason: str, *, final: bool) -> None:
        """Record that a network failed; ``final``: it is not tried again."""
        self._add(
            "INSERT INTO failures (arch, time_s, final, reason) VALUES (?, ?, ?, ?)",
            (network, time.time(), final, reason),
        )

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
                # The write lock is taken before anything is read for the write: two processes on
                # one file then wait for each other, where a deferred one could fail half way.
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
        except sqlite3.OperationalError as error:
            raise OSError(
                f"{self.path} could not be written ({error}); what it holds is safe: make room, "
                "then go on with --resume"
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    # Results can be read while the campaign writes.
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit survives the death of the process; only a power cut may take the last ones.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _floats(blob: bytes) -> Floats:
    return np.frombuffer(blob, dtype=np.float64)


def _run(row: tuple[Any, ...]) -> Run:
    network, round_, attempt, process, time_s, accepted, samples, before, after, details = row
    return Run(
        network,
        round_,
        attempt,
        process,
        time_s,
        bool(accepted),
        _floats(samples),
        (_floats(before), _floats(after)),
        json.loads(details),
    )
