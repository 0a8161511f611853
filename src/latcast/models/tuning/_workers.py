"""Workers that run trials: in this process, in others beside it, or as tasks of a Ray cluster.

Workers share the study's storage, Optuna's own in an SQLite file or a data base: each asks it for
options, reports epochs, and is told by it when to give up. What starts them only counts.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from latcast._imports import require

from ._study import Objective, Study

# A running trial tells every so many seconds that it lives; one that has not told for three times
# as long was killed, and is tried again. A fit that keeps the interpreter busy for some seconds is
# not taken for dead.
HEARTBEAT_SECONDS = 20
# Workers that write to an SQLite file at the same time wait for each other.
LOCK_SECONDS = 60


def is_file(where: str) -> bool:
    """Whether a storage is an SQLite file rather than the URL of a data base."""
    return "://" not in where


@contextmanager
def temporary_file() -> Iterator[str]:
    """Path of a storage that several processes share as long as the study lasts."""
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / "study.db")


@contextmanager
def open_storage(where: str | None) -> Iterator[Any]:
    """A storage of Optuna's; in memory without a place.

    Args:
        where: path of an SQLite file, or URL of a data base (``postgresql://…``).

    Raises:
        ValueError: the file is damaged, of something else than Optuna, or of another version.
        OSError: it cannot be written.
    """
    from optuna.storages import InMemoryStorage

    if where is None:
        yield InMemoryStorage()
        return
    with _clear_errors(where):
        storage = _connect(where)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _connect(where: str) -> Any:
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    url, options = where, {}
    if is_file(where):
        _check_file(Path(where))
        # Python's driver begins a transaction at the first write only; _lock_at_begin does.
        connect = {"timeout": LOCK_SECONDS, "isolation_level": None}
        url, options = f"sqlite:///{where}", {"connect_args": connect}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = RDBStorage(
                url,
                options,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=3 * HEARTBEAT_SECONDS,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
    except RuntimeError as error:  # its tables are of another version of Optuna
        raise ValueError(
            f"{where} must be a study of the Optuna that is installed; got: {error}: install "
            "the other version, or name another storage"
        ) from error
    if is_file(where):
        _lock_at_begin(storage.engine)
    return storage


def _lock_at_begin(engine: Any) -> None:
    """Let one worker at a time read and write an SQLite file.

    Optuna reads whether a trial waits, and writes that it runs: SQLite has no ``SELECT … FOR
    UPDATE``, so without the lock two workers took the same trial.
    """
    from sqlalchemy import event

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


@contextmanager
def _clear_errors(where: str) -> Iterator[None]:
    """Say which storage an error of the data base is about."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        what = "a whole SQLite file" if is_file(where) else "a data base that can be reached"
        raise OSError(
            f"{where} must be {what} and can be written; got: {cause}: make room, move it away, "
            "or name another storage"
        ) from error


def _check_file(path: Path) -> None:
    if "?" in str(path):
        raise ValueError(f"the storage's name must not hold a question mark; got {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{path} must be in a folder that can be written; got: {error}: name another storage"
        ) from error
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    except sqlite3.DatabaseError as error:
        verdict, tables = str(error), set()
    if verdict != "ok":
        raise ValueError(
            f"{path} must be a whole SQLite file; got: {verdict}: move it away (its trials are "
            "lost), or name another storage"
        )
    if tables and "studies" not in tables:
        raise ValueError(
            f"{path} must hold studies of Optuna; it is a data base of something else "
            f"({', '.join(sorted(tables)[:3])}): name another storage"
        )


@dataclass(frozen=True)
class Job:
    """The job that is sent to a worker: everything it needs to run trials of a study.

    Attributes:
        storage: path or URL; None in this process only.
        name: of the study within it.
        fingerprint: what must be as it was when the study began.
        objective: of all trials.
    """

    storage: str | None
    name: str
    fingerprint: Mapping[str, str]
    objective: Objective

    def run(self, *stream: int) -> None:
        """Run one trial.

        Args:
            stream: of random numbers; another for every trial.

        Raises:
            OSError: the storage does not reach here.
        """
        if self.storage is not None and is_file(self.storage) and not Path(self.storage).exists():
            raise OSError(
                f"workers must reach the study's storage; {socket.gethostname()} has no "
                f"{self.storage}: name a data base that all machines reach (postgresql://…)"
            )
        with quiet_optuna(), open_storage(self.storage) as storage:
            plan = self.objective.plan
            Study(storage, self.name, plan, self.fingerprint, stream).run(self.objective)


Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pool:
    """Workers that wait for trials.

    Attributes:
        submit: begins the n-th trial of this run.
        slots: trials that may run at once.
        lost: exceptions of workers that died; the storage notices that their trials' heartbeats
            have ended, and they are tried again.
    """

    submit: Callable[[int], Future[None]]
    slots: int
    lost: tuple[type[BaseException], ...] = ()


def run_trials(
    study: Study,
    trials: int | None,
    pool: Pool,
    *,
    late: Callable[[], bool],
    progress: Progress,
) -> None:
    """Run trials until there are enough, those that others run in the same storage among them.

    Args:
        study: tells how many are left.
        trials: how many there shall be in all; None: all points of a preset.
        pool: runs them.
        late: whether no more trials may begin.
        progress: called with (trials ended, trials in all).
    """
    most, begun, ended = study.left(trials), 0, 0
    progress(0, most)
    running: set[Future[None]] = set()
    while True:
        # No more than were left in the beginning: workers that die must not go on for ever.
        while begun < most and len(running) < min(pool.slots, study.left(trials)) and not late():
            running.add(pool.submit(begun))
            begun += 1
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            try:
                one.result()
            except pool.lost:
                continue
            ended += 1
            progress(ended, most)


def start(
    job: Job, study: Study, workers: int | None, ray: str | None
) -> AbstractContextManager[Pool]:
    """The workers that are asked for; this process alone by default.

    Args:
        job: of the workers.
        study: that they work on.
        workers: trials at once.
        ray: address of a Ray cluster.
    """
    # Options that are drawn when a study goes on must not be those of its first trials.
    started = len(study.records())
    if ray is not None:
        return ray_tasks(job, workers, started, ray)
    if workers is not None and workers > 1:
        return processes(job, workers, started)
    return nullcontext(here(study, job.objective))


def here(study: Study, objective: Objective) -> Pool:
    """One trial after the other in this process."""

    def submit(_: int) -> Future[None]:
        study.run(objective)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    return Pool(submit, 1)


@contextmanager
def processes(job: Job, workers: int, started: int) -> Iterator[Pool]:
    """Processes on this machine.

    Args:
        job: of the workers.
        workers: how many.
        started: trials that the study has had before.
    """
    with _isolated():  # its queues start a process that tracks them
        executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def submit(n: int) -> Future[None]:
        with _isolated():  # submitting starts processes, as long as there are fewer than workers
            return executor.submit(job.run, started, n)

    try:
        yield Pool(submit, workers)
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _isolated() -> Iterator[None]:
    """Processes that are started inside import nothing from the current folder.

    Before multiprocessing gives a new process this one's path, Python would look there first.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def ray_tasks(job: Job, workers: int | None, started: int, address: str) -> Iterator[Pool]:
    """Tasks of a Ray cluster, one CPU each.

    Args:
        job: of the workers.
        workers: trials at once; by default as many as the cluster has CPUs.
        started: trials that the study has had before.
        address: ``local`` starts a cluster on this machine, ``auto`` looks for one that runs
            here, ``HOST:PORT`` or ``ray://HOST:PORT`` names one. latcast must be installed there.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        OSError: there is no cluster at the address.
    """
    ray = require("ray", "ray", "tuning on a Ray cluster")
    with _cluster(ray, address, workers):
        task = ray.remote(num_cpus=1, max_retries=0)(Job.run)
        shared = ray.put(job)
        tasks: list[Any] = []

        def submit(n: int) -> Future[None]:
            tasks.append(task.remote(shared, started, n))
            future: Future[None] = tasks[-1].future()
            return future

        slots = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        errors = ray.exceptions
        lost = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        try:
            yield Pool(submit, slots, lost)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        finally:
            for one in tasks:
                ray.cancel(one, force=True)


@contextmanager
def _cluster(ray: Any, address: str, workers: int | None) -> Iterator[None]:
    """Join a cluster, unless this process is in one already."""
    if ray.is_initialized():
        yield
        return
    from latcast.measure.hosts.ray import join

    join(address, num_cpus=workers)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna tells of every trial; so do the progress bar and the record."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
