"""Latencies that other people measured: five public tables, each read to one class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from latcast._names import unknown_name

from ._table import Dropped, PublicTable
from .headings import Machine, parse_heading

__all__ = [
    "TABLES",
    "Dropped",
    "Machine",
    "PublicTable",
    "find_tables",
    "parse_heading",
    "read_public",
    "read_table",
]

TABLES = {
    "ncnn": ("latencies.csv",),
    "timm": ("latencies.csv.gz",),
    "ai_hub": ("latencies.csv.gz",),
    "neusight": ("operators.csv.gz", "operators-test-known-gpus.csv.gz", "models.csv"),
    "tinynas": ("v100-convolutions.csv.gz",),
}
"""Name of a table, of its folder and of the module that reads it -> its files, one at least."""


def read_public(folder: str | Path, names: Sequence[str] | None = None) -> list[PublicTable]:
    """Read the tables of a folder, in the order of :data:`TABLES`.

    Args:
        folder: holds folders that are called as the tables, or a folder ``public`` that does; or
            is such a folder itself.
        names: of the tables; by default all that there are.

    Raises:
        ValueError: no table is there, one that is asked for is not, or a file is damaged.
        FileNotFoundError: there is no such folder.
    """
    found = find_tables(folder)
    for name in names or ():
        if name not in found:
            raise ValueError(unknown_name(f"table in {folder}", name, list(found)))
    return [read_table(name, found[name]) for name in found if names is None or name in names]


def read_table(name: str, folder: str | Path) -> PublicTable:
    """Read one table.

    Args:
        name: one of :data:`TABLES`.
        folder: that holds its files.

    Raises:
        ValueError: there is no such table, or a file is damaged.
        FileNotFoundError: the folder lacks the table's file.
    """
    if name not in TABLES:
        raise ValueError(unknown_name("public table", name, list(TABLES)))
    read: Callable[[Path], PublicTable] = import_module(f"{__name__}.{name}").read
    return read(Path(folder))


def find_tables(folder: str | Path) -> dict[str, Path]:
    """Name of a table -> its folder, of those that are in ``folder``.

    Takes and raises what :func:`read_public` does.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    for place in (folder, folder / "public"):
        found = {n: place / n for n, files in TABLES.items() if _has(place / n, files)}
        if found:
            return found
    if folder.name in TABLES and _has(folder, TABLES[folder.name]):
        return {folder.name: folder}
    raise ValueError(
        f"{folder} must hold public tables, in folders called {', '.join(TABLES)}; found none"
    )


def _has(folder: Path, files: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in files)
