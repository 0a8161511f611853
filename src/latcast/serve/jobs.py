"""Searches and tunings as jobs: kept in SQLite, each worked on by a process of its own.

A job outlives the service: one that was running when it ended is begun again when it starts, from
the search's checkpoint or the study's trials. A job runs under limits of memory, of disk, of the
clock and of CPU time; one that exceeds them has failed, and its result says which it was.
:class:`Jobs` is the service's side, :func:`main` what happens inside of the process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast import _limits
from latcast.measure._lines import LineProcess, Tell, answer_lines

from .calls import BusyError, check_names, failed, read_dataset, refusal, text_of
from .workers import begin, ended_by, limit_cpu

if TYPE_CHECKING:
    from latcast.report.record import Record

    from .files import Files

log = logging.getLogger("latcast.serve")

_START = "from latcast.serve.jobs import main; main()"
_ENDED = ("done", "failed", "cancelled")
# Seconds of silence after which the time that a job has run is written down.
_SECONDS_BETWEEN_LOOKS = 10.0
_SECONDS_BETWEEN_PROGRESS = 0.5
# Seconds after which a job that was refused, as too many wait, may be sent again.
_RETRY_S = 30
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, number INTEGER, command TEXT NOT NULL, options TEXT NOT NULL,
    state TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0, total INTEGER, text TEXT NOT NULL
    DEFAULT '', created TEXT NOT NULL, changed TEXT NOT NULL, result TEXT
)
"""
# Columns that a data base of an earlier version lacks.
_ADDED = {"owner": "TEXT NOT NULL DEFAULT ''", "seconds": "REAL NOT NULL DEFAULT 0"}
_SHOWN = "id, command, state, done, total, text, created, changed, seconds"


class UnknownJobError(LookupError):
    """There is no job of that id for whom asks."""


@dataclass(frozen=True)
class JobLimits:
    """Limits of the jobs of a service.

    Attributes:
        running: jobs that run at a time.
        waiting: jobs that wait or run.
        of_key: of these, jobs of one key.
        seconds: that a job may run, and of its CPU time.
        memory_bytes: that a job may take beyond what its process has when it is warm.
        disk_bytes: of all files in a job's folder.
    """

    running: int = _limits.MAX_RUNNING_JOBS
    waiting: int = _limits.MAX_JOBS
    of_key: int = _limits.MAX_KEY_JOBS
    seconds: float = _limits.MAX_JOB_S
    memory_bytes: int = _limits.MAX_JOB_BYTES
    disk_bytes: int = _limits.MAX_JOB_DISK_BYTES


class Jobs:
    """The jobs of a service, each of which belongs to the key that made it.

    An owner is a key's SHA-256; ``""`` where the service has no keys, whose jobs are everybody's.

    Args:
        folder: of the data base, and of what each job keeps.
        files: that jobs read.
        setup: of the process of a job, as of :class:`~latcast.serve.workers.Workers`.
        limits: of all jobs, and of each.
    """

    def __init__(
        self,
        folder: Path,
        files: Files,
        setup: Mapping[str, Any],
        limits: JobLimits = JobLimits(),  # it is frozen
    ) -> None:
        self._folder, self._files, self._limits = folder, files, limits
        of_job = {"memory_bytes": limits.memory_bytes, "file_bytes": limits.disk_bytes}
        self._setup = {**setup, **of_job}
        (folder / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(folder / "jobs.sqlite", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # A job that was told of survives a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_TABLE)
        known = {row["name"] for row in self._db.execute("PRAGMA table_info(jobs)")}
        for name in _ADDED.keys() - known:
            self._db.execute(f"ALTER TABLE jobs ADD COLUMN {name} {_ADDED[name]}")
        self._change("state = 'running'", state="queued")
        # Id of a running job -> its process.
        self._processes: dict[str, LineProcess] = {}
        # Owner -> number of the last of the turns in which a job of theirs was begun.
        self._turns: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Work on queued jobs, so many at a time as the limits allow."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()) for _ in range(self._limits.running)]

    async def close(self) -> None:
        """End the processes of running jobs, which go on when the service starts again."""
        for task in self._tasks:
            task.cancel()
        for process in list(self._processes.values()):
            process.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._db.close()

    # --- what is asked --------------------------------------------------------------------------

    def add(self, command: str, options: Mapping[str, Any], owner: str = "") -> str:
        """Queue a job, and return its id.

        Args:
            command: ``search`` or ``tune``.
            options: of the command, of JSON's types.
            owner: whose job it is.

        Raises:
            BusyError: as many jobs as may, of this owner (429) or of all (503), wait or run.
        """
        self._check_room(owner)
        key, now = uuid.uuid4().hex, _now()
        self._db.execute(
            "INSERT INTO jobs (id, number, command, options, state, created, changed, owner) "
            "VALUES (?, (SELECT COALESCE(MAX(number), 0) + 1 FROM jobs), ?, ?, 'queued', ?, ?, ?)",
            (key, command, json.dumps(options), now, now, owner),
        )
        self._forget(owner)
        self._wake.set()
        return key

    def _check_room(self, owner: str) -> None:
        rows = self._db.execute("SELECT owner FROM jobs WHERE state IN ('queued', 'running')")
        owners = [row["owner"] for row in rows]
        if owner and owners.count(owner) >= self._limits.of_key:
            raise BusyError(
                f"at most {self._limits.of_key} jobs of a key may wait or run; cancel one, or "
                "wait until one has ended", 429, _RETRY_S,
            )  # fmt: skip
        if len(owners) >= self._limits.waiting:
            raise BusyError(
                f"at most {self._limits.waiting} jobs may wait or run; cancel one, or wait until "
                "one has ended", 503, _RETRY_S,
            )  # fmt: skip

    def list(self, owner: str = "") -> list[dict[str, Any]]:
        """An owner's jobs without their results, the newest first."""
        query = f"SELECT {_SHOWN} FROM jobs WHERE owner = ? ORDER BY number DESC"  # noqa: S608
        return [dict(row) for row in self._db.execute(query, (owner,))]

    def get(self, id: str, owner: str = "") -> dict[str, Any]:
        """A job with its result, which is None as long as it has not ended.

        Raises:
            UnknownJobError: the owner has none of that id.
        """
        query = f"SELECT {_SHOWN}, result FROM jobs WHERE id = ? AND owner = ?"  # noqa: S608
        row = self._db.execute(query, (id, owner)).fetchone()
        if row is None:
            raise UnknownJobError(f"no job has the id {id[:80]!r}")
        found = dict(row)
        found["result"] = found["result"] and json.loads(found["result"])
        return found

    def cancel(self, id: str, owner: str = "") -> dict[str, Any]:
        """End a job, and return it as :meth:`get` does; one that has ended stays as it is.

        Raises:
            UnknownJobError: the owner has none of that id.
        """
        if self.get(id, owner)["state"] not in _ENDED:
            self._set(id, state="cancelled")
            if id in self._processes:
                self._processes[id].kill()
            shutil.rmtree(self._folder / "jobs" / id, ignore_errors=True)
        return self.get(id, owner)

    @property
    def needed(self) -> frozenset[str]:
        """Ids of the files that jobs, of whichever owner, will read."""
        rows = self._db.execute("SELECT options FROM jobs WHERE state IN ('queued', 'running')")
        found = (json.loads(row["options"]).get("data") for row in rows)
        return frozenset(key for key in found if key)

    def counts(self) -> dict[str, int]:
        """State -> number of jobs, of all owners."""
        rows = self._db.execute("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    # --- what is done ---------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            if (row := self._next()) is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._run(row)
            except Exception as error:
                log.exception("a job failed")
                self._end(row["id"], "failed", failed(error).body)

    def _next(self) -> sqlite3.Row | None:
        """The job to begin: the first one of the owner who has waited longest for a turn."""
        rows = self._db.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY number")
        turn_of = self._turns
        row = min(rows, key=lambda row: turn_of.get(row["owner"], 0), default=None)
        if row is not None:
            turn_of[row["owner"]] = max(turn_of.values(), default=0) + 1
        return row

    async def _run(self, row: sqlite3.Row) -> None:
        """Work on a job until it has ended, or has taken what it may."""
        id: str = row["id"]  # noqa: A001
        # It is no other task's from now on: nothing has been awaited since it was chosen.
        self._set(id, state="running", text=f"{row['command']}: starting")
        options, own = json.loads(row["options"]), self._folder / "jobs" / id
        own.mkdir(exist_ok=True, mode=0o700)
        shown = {}
        if "data" in options:
            files = self._files.of(row["owner"])
            path = str(files.path("datasets", options["data"], options.pop("name", None)))
            options, shown = {**options, "data": path}, {path: options["data"]}
        # Of the clock and of CPU time, what it took before a restart counts.
        left_s = max(1.0, self._limits.seconds - row["seconds"])
        request = {
            "command": row["command"], "options": options, "shown": shown,
            "setup": {**self._setup, "folder": str(own), "cpu_s": left_s},
        }  # fmt: skip
        process = LineProcess([sys.executable, "-P", "-c", _START])
        self._processes[id] = process
        started = time.monotonic() - row["seconds"]
        try:
            with suppress(BrokenPipeError):  # it has ended: that is heard of below
                process.send(request)
            while not await self._heard(row, process, started):
                pass
        finally:
            process.close()
            del self._processes[id]

    async def _heard(self, row: sqlite3.Row, process: LineProcess, started: float) -> bool:
        """Take the next line that a job's process says, and tell whether the job has ended."""
        id: str = row["id"]  # noqa: A001
        left_s = started + self._limits.seconds - time.monotonic()
        wait_s = min(max(0.0, left_s), _SECONDS_BETWEEN_LOOKS)
        line: str | None = "{}"
        with suppress(TimeoutError):
            line = await asyncio.to_thread(process.receive, wait_s)
        seconds = time.monotonic() - started
        if not self._is_running(id):  # it was cancelled meanwhile
            return True
        if line is None:
            self._end(id, "failed", refusal(500, self._obituary(process)).body, seconds)
            return True
        told = json.loads(line)
        if "state" in told:
            if (model := told.get("model")) is not None:
                self._files.of(row["owner"]).add("models", Path(model), "tuned.latcast")
            self._end(id, told["state"], told["result"], seconds)
        elif seconds >= self._limits.seconds:
            process.kill()
            text = f"a job must end within {self._limits.seconds:g} s; it did not, and was ended"
            self._end(id, "failed", refusal(504, text).body, seconds)
        elif _bytes_in(self._folder / "jobs" / id) > self._limits.disk_bytes:
            process.kill()
            text = (
                f"a job may keep at most {self._limits.disk_bytes} bytes on disk; this one kept "
                "more, and was ended"
            )
            self._end(id, "failed", refusal(413, text).body, seconds)
        else:
            self._set(id, seconds=seconds, **told)
            return False
        return True

    def _obituary(self, process: LineProcess) -> str:
        process.kill()
        log.error("the process of a job ended: %s", process.errors()[-2_000:])
        if reason := ended_by(process.wait(), "a job", self._limits.seconds):
            return reason
        return f"the job's process has ended: {process.last_words()}"

    def _is_running(self, id: str) -> bool:
        found = self._db.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'running'", (id,))
        return found.fetchone() is not None

    def _end(self, id: str, state: str, result: str, seconds: float | None = None) -> None:
        more = {} if seconds is None else {"seconds": seconds}
        self._set(id, state=state, result=result, **more)
        shutil.rmtree(self._folder / "jobs" / id, ignore_errors=True)

    def _set(self, id: str, **values: Any) -> None:
        self._change("id = ?", id, **values)

    def _change(self, which: str, *of: str, **values: Any) -> None:
        values["changed"] = _now()
        sets = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE jobs SET {sets} WHERE {which}", (*values.values(), *of))  # noqa: S608

    def _forget(self, owner: str) -> None:
        """Drop the oldest of too many jobs of an owner that have ended."""
        self._db.execute(
            "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND owner = ? AND id "
            "NOT IN (SELECT id FROM jobs WHERE owner = ? ORDER BY number DESC LIMIT ?)",
            (owner, owner, _limits.MAX_KEPT_JOBS),
        )


def _bytes_in(folder: Path) -> int:
    """Bytes of all files of a folder, some of which may be gone a moment later."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- inside -------------------------------------------------------------------------------------


def main() -> None:
    """Work on the job that standard input names, and tell on standard output how far it is.

    A line is ``{"done", "total", "text"}`` as long as it runs, and ``{"state", "result"}`` at the
    end, with ``model``, a path, where it made one. What exceeds the limits of ``setup`` ends the
    process, or is a failure by lack of memory.
    """

    def handle(request: dict[str, Any], tell: Tell) -> None:
        begin(request["setup"])
        limit_cpu(request["setup"]["cpu_s"])
        told = [0.0]

        def progress(done: int, total: int | None, text: str) -> None:
            if (now := time.monotonic()) >= told[0] + _SECONDS_BETWEEN_PROGRESS:
                told[0] = now
                tell({"done": done, "total": total, "text": text})

        run = {"search": _search, "tune": _tune}[request["command"]]
        try:
            record, more = run(dict(request["options"]), Path.cwd(), progress)
        except Exception as error:  # noqa: BLE001  # whatever it is, the job has failed
            tell({"state": "failed", "result": failed(error, request["shown"]).body})
            return
        tell({"state": "done", "result": text_of(record, request["shown"]), **more})

    answer_lines(handle)


def _search(asked: dict[str, Any], folder: Path, progress: Any) -> tuple[Record, dict[str, Any]]:
    """Search as ``latcast search`` does, with its checkpoint in the job's folder.

    Returns:
        The record, and what else the last line says: nothing.

    Raises:
        ValueError: a name is not known, or nothing keeps the limits.
    """
    from itertools import chain

    from latcast.models.query import TargetQuery
    from latcast.models.resolve import resolve_one
    from latcast.search import METHODS, Progress, search
    from latcast.spaces import space as find_space

    names, space = asked.pop("device"), asked.pop("space", None)
    accuracy, base = asked.pop("accuracy", None), asked.pop("model", None)
    check_names(names)
    check_names([x for x in (accuracy, base) if x], "model")
    the_space = None if space is None else find_space(space)
    query = TargetQuery(*(asked.pop(n, None) for n in ("runtime", "batch", "precision")))
    similar_to = asked.pop("similar_to", None)
    found = [
        resolve_one(name, query, space=the_space, base=base, similar_to=similar_to)
        for name in names
    ]
    predictors = [x.of_space for x in found]
    the_space = the_space or predictors[0].space
    title = f"searching {the_space.name}"

    def tell(p: Progress) -> None:
        best = " ".join("–" if b != b else f"{100 * b:.2f}" for b in p.best)  # noqa: PLR0124
        progress(p.evaluations, p.total, f"{title}: best {best} %")

    resolution, method = asked.pop("resolution", None), asked.pop("method", "auto")
    if population := asked.pop("population_size", None):
        method = METHODS.get(method)(population=population)
    seed, checkpoint = asked.pop("seed", 0), folder / "search.checkpoint"
    result = search(
        the_space, latency=predictors, accuracy=accuracy, method=method, seed=seed,
        restrict={"r": resolution} if resolution else None, checkpoint=checkpoint,
        resume=checkpoint.exists(), progress=tell, **asked,
    )  # fmt: skip
    notes = list(dict.fromkeys(chain.from_iterable(x.notes for x in found)))
    own = [p.fitted.notes(name) for name, p in zip(names, predictors, strict=True)]
    return result.record(names, seed, [*notes, *chain(*own)]), {}


def _tune(asked: dict[str, Any], folder: Path, progress: Any) -> tuple[Record, dict[str, Any]]:
    """Tune as ``latcast tune`` does, with the trials in the job's folder.

    Returns:
        The record, and what else the last line says: ``model``, the path of the winner.

    Raises:
        ValueError: the dataset cannot be read, or options do not go together.
    """
    import hashlib

    from latcast.models.tuning import TuningPlan, TuningRecord, tune

    plan = TuningPlan.make(
        asked.get("predictor"), asked.get("preset"), epochs=asked.get("epochs"),
        test=asked.get("test", 0.15), seed=asked.get("seed", 0), prune=asked.get("prune", True),
    )  # fmt: skip
    result = tune(
        read_dataset(asked, archs=True), plan, trials=asked.get("trials"),
        timeout_s=asked.get("time_limit_s"), storage=folder / "trials.db",
        study=asked.get("study"),
        progress=lambda done, total: progress(done, total, f"tuning {plan.predictor}"),
    )  # fmt: skip
    out = folder / "tuned.latcast"
    result.predictor.save(out)
    with out.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()
    return TuningRecord.of(result, plan, storage=None, model=key), {"model": str(out)}
