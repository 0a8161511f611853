"""Searches and tunings that take their time: kept in SQLite, each worked on in a process.

A job outlives the service: one that was running when it ended is begun again when it starts, from
the search's checkpoint or the study's trials. :class:`Jobs` is the service's side of it,
:func:`main` what happens inside of the process.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast import _limits
from latcast.measure._lines import LineProcess, Tell, answer_lines
from latcast.models.zoo import UnresolvedError

from .calls import check_names, failed, read_dataset
from .workers import begin

if TYPE_CHECKING:
    from latcast.report.record import Record

    from .files import Files

log = logging.getLogger("latcast.serve")

_START = "from latcast.serve.jobs import main; main()"
_ENDED = ("done", "failed", "cancelled")
# Seconds for a process to say something.
_SILENCE_S = 24 * 3_600.0
_SECONDS_BETWEEN_PROGRESS = 0.5
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, number INTEGER, command TEXT NOT NULL, options TEXT NOT NULL,
    state TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0, total INTEGER, text TEXT NOT NULL
    DEFAULT '', created TEXT NOT NULL, changed TEXT NOT NULL, result TEXT
)
"""
_SHOWN = "id, command, state, done, total, text, created, changed"


class UnknownJobError(LookupError):
    """There is no job of that id."""


class Jobs:
    """The jobs of a service.

    Args:
        folder: of the data base, and of what each job keeps.
        files: that jobs read.
        setup: of the process of a job, as of :class:`~latcast.serve.workers.Workers`.
    """

    def __init__(self, folder: Path, files: Files, setup: Mapping[str, Any]) -> None:
        self._folder, self._files, self._setup = folder, files, setup
        (folder / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(folder / "jobs.sqlite", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # A job that was told of survives a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_TABLE)
        self._change("state = 'running'", state="queued")
        self._process: LineProcess | None = None
        self._running: str | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Work on what is queued, one job after the other."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """End the process of a running job, which goes on when the service starts again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            if self._process is not None:
                self._process.close()
            await asyncio.gather(task, return_exceptions=True)
        self._db.close()

    # --- what is asked --------------------------------------------------------------------------

    def add(self, command: str, options: Mapping[str, Any]) -> str:
        """Queue a job; its id.

        Raises:
            OverflowError: too many wait already.
        """
        waiting = "SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running')"
        if self._db.execute(waiting).fetchone()[0] >= _limits.MAX_JOBS:
            raise OverflowError(f"at most {_limits.MAX_JOBS} jobs may wait; cancel one, or wait")
        key, now = uuid.uuid4().hex, _now()
        self._db.execute(
            "INSERT INTO jobs (id, number, command, options, state, created, changed) VALUES "
            "(?, (SELECT COALESCE(MAX(number), 0) + 1 FROM jobs), ?, ?, 'queued', ?, ?)",
            (key, command, json.dumps(options), now, now),
        )
        self._forget()
        self._wake.set()
        return key

    def list(self) -> list[dict[str, Any]]:
        """All jobs without their results, the newest first."""
        rows = self._db.execute(f"SELECT {_SHOWN} FROM jobs ORDER BY number DESC")  # noqa: S608
        return [dict(row) for row in rows]

    def get(self, id: str) -> dict[str, Any]:
        """A job with its result.

        Raises:
            UnknownJobError: there is none of that id.
        """
        query = f"SELECT {_SHOWN}, result FROM jobs WHERE id = ?"  # noqa: S608
        row = self._db.execute(query, (id,)).fetchone()
        if row is None:
            raise UnknownJobError(f"no job has the id {id[:80]!r}")
        found = dict(row)
        found["result"] = found["result"] and json.loads(found["result"])
        return found

    def cancel(self, id: str) -> dict[str, Any]:
        """End a job; one that has ended stays as it is.

        Raises:
            UnknownJobError: there is none of that id.
        """
        if self.get(id)["state"] not in _ENDED:
            self._set(id, state="cancelled")
            if self._running == id and self._process is not None:
                self._process.kill()
            shutil.rmtree(self._folder / "jobs" / id, ignore_errors=True)
        return self.get(id)

    @property
    def needed(self) -> frozenset[str]:
        """Ids of files that jobs will read."""
        rows = self._db.execute("SELECT options FROM jobs WHERE state IN ('queued', 'running')")
        found = (json.loads(row["options"]).get("data") for row in rows)
        return frozenset(key for key in found if key)

    def counts(self) -> dict[str, int]:
        """State -> number of jobs."""
        rows = self._db.execute("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    # --- what is done ---------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            query = "SELECT id FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1"
            row = self._db.execute(query).fetchone()
            if row is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._run(row["id"])
            except Exception as error:
                log.exception("a job failed")
                self._end(row["id"], "failed", failed(error).body)

    async def _run(self, id: str) -> None:
        row = self._db.execute("SELECT command, options FROM jobs WHERE id = ?", (id,)).fetchone()
        options, own = json.loads(row["options"]), self._folder / "jobs" / id
        own.mkdir(exist_ok=True, mode=0o700)
        shown = {}
        if "data" in options:
            path = str(self._files.path("datasets", options["data"], options.pop("name", None)))
            options, shown = {**options, "data": path}, {path: options["data"]}
        request = {
            "command": row["command"], "options": options, "shown": shown,
            "setup": {**self._setup, "folder": str(own)},
        }  # fmt: skip
        self._set(id, state="running", text=f"{row['command']}: starting")
        self._running = id
        self._process = LineProcess([sys.executable, "-P", "-c", _START])
        try:
            self._process.send(request)
            while not await self._heard(id, self._process):
                pass
        finally:
            self._process.close()
            self._running = self._process = None

    async def _heard(self, id: str, process: LineProcess) -> bool:
        """Take what the process says; whether that was the last."""
        try:
            line = await asyncio.to_thread(process.receive, _SILENCE_S)
        except TimeoutError:
            line = None
        if self._task is None or self.get(id)["state"] == "cancelled":
            return True
        if line is None:
            process.kill()
            log.error("the process of a job ended: %s", process.errors()[-2_000:])
            error = RuntimeError(f"the job's process has ended: {process.last_words()}")
            self._end(id, "failed", failed(error).body)
            return True
        told = json.loads(line)
        if "state" in told:
            model = told.get("model")
            if model is not None:
                self._files.add("models", Path(model), "tuned.latcast")
            self._end(id, told["state"], told["result"])
            return True
        self._set(id, **told)
        return False

    def _end(self, id: str, state: str, result: str) -> None:
        self._set(id, state=state, result=result)
        shutil.rmtree(self._folder / "jobs" / id, ignore_errors=True)

    def _set(self, id: str, **values: Any) -> None:
        self._change("id = ?", id, **values)

    def _change(self, which: str, *of: str, **values: Any) -> None:
        values["changed"] = _now()
        sets = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE jobs SET {sets} WHERE {which}", (*values.values(), *of))  # noqa: S608

    def _forget(self) -> None:
        """Drop the oldest of too many jobs that have ended."""
        self._db.execute(
            "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND number <= "
            "(SELECT MAX(number) FROM jobs) - ?",
            (_limits.MAX_KEPT_JOBS,),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- inside -------------------------------------------------------------------------------------


def main() -> None:
    """Work on one job, and tell how far it is."""

    def handle(request: dict[str, Any], tell: Tell) -> None:
        begin(request["setup"])
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
        result = json.dumps(record.to_dict(), ensure_ascii=False)
        for path, name in request["shown"].items():
            result = result.replace(json.dumps(path)[1:-1], name)
        tell({"state": "done", "result": result, **more})

    answer_lines(handle)


def _search(asked: dict[str, Any], folder: Path, progress: Any) -> tuple[Record, dict[str, Any]]:
    """As ``latcast search`` does; its checkpoint is in the job's folder."""
    from itertools import chain

    from latcast.models.query import TargetQuery
    from latcast.models.resolve import resolve_one
    from latcast.search import METHODS, Progress, search
    from latcast.spaces import space as find_space

    names, space = asked.pop("device"), asked.pop("space", None)
    accuracy, base = asked.pop("accuracy", None), asked.pop("model", None)
    check_names(names)
    check_names([x for x in (accuracy, base) if x], "model")
    if accuracy is not None and accuracy.endswith(".csv"):
        raise UnresolvedError(f"a shipped accuracy model must be named; got {accuracy!r}")
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
    """As ``latcast tune`` does; its trials are in the job's folder, and the winner is kept."""
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
