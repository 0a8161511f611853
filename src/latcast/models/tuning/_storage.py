"""The storage that keeps studies: Optuna's own, in an SQLite file or a data base."""

from __future__ import annotations

import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

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
        url, options = f"sqlite:///{where}", {"connect_args": {"timeout": LOCK_SECONDS}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
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
