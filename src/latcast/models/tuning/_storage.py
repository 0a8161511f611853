"""The SQLite file that keeps a study: who may open it, and is it whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def open_storage(path: Path | None) -> Iterator[Any]:
    """An Optuna storage that no other process has open; in memory without a path.

    Only one process works on a file at a time, so a trial that is not finished when the file is
    opened was interrupted.

    Raises:
        ValueError: the file is damaged, of something else than Optuna, of another version, or in
            use.
        OSError: it cannot be written.
    """
    from optuna.storages import InMemoryStorage

    if path is None:
        yield InMemoryStorage()
        return
    with _only_here(path), _clear_errors(path):
        _check_whole(path)
        storage = _connect(path)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _connect(path: Path) -> Any:
    from optuna.storages import RDBStorage

    if "?" in str(path):
        raise ValueError(f"the storage's name must not hold a question mark; got {path}")
    try:
        return RDBStorage(f"sqlite:///{path}")
    except RuntimeError as error:  # its tables are of another version of Optuna
        raise ValueError(
            f"{path} must be a study of the Optuna that is installed; got: {error}: install "
            "the other version, or name another storage"
        ) from error


@contextmanager
def _only_here(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except Timeout:
        raise ValueError(
            f"only one process may work on a study at a time; another works on {path}: wait, "
            "or name another storage"
        ) from None
    except OSError as error:
        raise OSError(
            f"{path} must be in a folder that can be written; got: {error}: name another storage"
        ) from error
    with held:
        yield


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Say which file an error of the data base is about."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        raise OSError(
            f"{path} must be a whole SQLite file that can be written; got: {cause}: make room, "
            "move it away, or name another storage"
        ) from error


def _check_whole(path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
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
