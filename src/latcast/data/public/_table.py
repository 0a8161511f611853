"""One class of all public tables, and the sieve that a file's rows go through."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from latcast._files import read_file, unpacked_bytes
from latcast.data._audited import Finding
from latcast.devices import Device
from latcast.report.markup import counted

from .headings import identify

COLUMNS = {
    "table": pl.String,
    "setting": pl.String,
    "network": pl.String,
    "family": pl.String,
    "device": pl.String,
    "chip": pl.String,
    "runtime": pl.String,
    "batch": pl.Int64,
    "precision": pl.String,
    "threads": pl.Int64,
    "latency_ms": pl.Float64,
    "scatter": pl.Float64,
}
"""Columns that every table has, first and in this order."""

EXAMPLES = 3
"""Rows that are shown of each reason."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows of one file that are left out for one reason.

    Attributes:
        kind: name of the reason, such as ``failed``.
        reason: what is wrong with them.
        count: how many rows.
        examples: the first of them, the cells as they stand in the file and ``row``, counted
            from 0 below the heading.
    """

    kind: str
    reason: str
    count: int
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, eq=False)
class PublicTable:
    """Latencies that other people measured, one row each.

    Attributes:
        name: ``ncnn``, ``timm``, ``ai_hub``, ``neusight`` or ``tinynas``.
        folder: where it was read.
        source: repository and licence.
        frame: :data:`COLUMNS`, then ``heading`` (the device as the file calls it), ``part``
            (``cpu``, ``gpu`` or ``npu``) and ``machine`` (both, a key of ``devices``), ``file``,
            ``row``, and what the reader's module lists. ``latency_ms`` is of the whole batch.
            ``scatter`` is the standard deviation of the logarithm of one pass, null where the
            table does not tell. Rows with one ``chip`` are of one device.
        rows: rows in the files, those that are left out included.
        dropped: what was left out, and why.
        devices: machine -> what is known of it, at the clocks that its heading states; those of
            which nothing is known are absent.
        network_files: network -> its graph (ncnn) or configuration (language models).
    """

    name: str
    folder: Path
    source: str
    frame: pl.DataFrame
    rows: int
    dropped: tuple[Dropped, ...] = ()
    devices: Mapping[str, Device] = field(default_factory=dict)
    network_files: Mapping[str, Path] = field(default_factory=dict)

    def __repr__(self) -> str:
        left_out = sum(each.count for each in self.dropped)
        return f"PublicTable({self.name}: {counted(len(self.frame), 'row')}, {left_out} left out)"


class Sieve:
    """The rows of one file: text first, cast column by column; bad ones leave with a reason.

    Attributes:
        frame: the rows that are left, with ``row``, their number in the file from 0.
        rows: how many the file has.
        dropped: what has left so far.
        devices: machine -> device, once the rows are finished.
    """

    def __init__(self, path: Path, needed: Iterable[str]) -> None:
        """Read a CSV file, gzipped if it ends in ``.gz``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged as a whole, has no heading, or lacks a column.
        """
        header, cells, ragged = _read(path)
        missing = [name for name in needed if name not in header]
        if missing:
            raise ValueError(
                f"{path} must have the column {missing[0]!r}; it has {', '.join(header[:12])}"
            )
        self.path, self._header = path, header
        columns = zip(*cells, strict=True) if cells else [() for _ in header]
        frame = pl.DataFrame(
            [pl.Series(name, v, pl.String) for name, v in zip(header, columns, strict=True)]
        )
        bad = pl.Series(ragged, dtype=pl.Int64)
        self._text = frame.with_columns(
            pl.all().str.strip_chars().replace("", None)
        ).with_row_index("row")
        self.frame = self._text.with_columns(row=pl.col("row").cast(pl.Int64))
        self._text = self.frame
        self.rows = len(frame)
        self.dropped: list[Dropped] = []
        self.devices: dict[str, Device] = {}
        self.drop(
            "ragged",
            "the row has more or fewer cells than the heading",
            pl.col("row").is_in(bad.implode()),
        )
        unreadable = pl.any_horizontal(pl.col(header).str.contains("�", literal=True))
        self.drop("unreadable", "a cell is no UTF-8", unreadable.fill_null(False))

    def drop(self, kind: str, reason: str, where: pl.Expr) -> None:
        """Leave out the rows where an expression is true (null counts as false)."""
        out = self.frame.select(where.fill_null(False).alias("out"))["out"]
        if not out.any():
            return
        gone = self.frame.filter(out)["row"]
        rows = self._text[gone.head(EXAMPLES)].to_dicts()
        self.dropped.append(Dropped(kind, reason, len(gone), tuple(rows)))
        self.frame = self.frame.filter(~out)

    def text(self, *names: str) -> None:
        """Leave out rows where one of these cells is empty."""
        for name in names:
            self.drop("no-" + name, f"{name} is empty", pl.col(name).is_null())

    def numbers(self, *names: str, optional: bool = False, whole: bool = False) -> None:
        """Cast columns; leave out rows whose cell is no finite number, or no whole one.

        Args:
            names: of the columns.
            optional: whether a cell may be empty.
            whole: whether they must be integers (``1024.0`` is one).
        """
        for name in names:
            was_empty = pl.col(name).is_null()
            value = pl.col(name).cast(pl.Float64, strict=False)
            wrong = value.is_null() | ~value.is_finite()
            if whole:
                wrong = wrong | (value != value.round()) | (value.abs() > 2.0**53)
            if optional:
                wrong = ~was_empty & wrong
            what = "whole number" if whole else "number"
            self.drop(f"bad-{name}", f"{name} is no {what}", wrong)
            dtype = pl.Int64 if whole else pl.Float64
            self.frame = self.frame.with_columns(value.cast(dtype).alias(name))

    def at_least(self, least: float, *names: str) -> None:
        """Leave out rows whose number is smaller."""
        for name in names:
            self.drop(f"small-{name}", f"{name} is below {least:g}", pl.col(name) < least)

    def positive(self, *names: str) -> None:
        """Leave out rows whose number is not above 0."""
        for name in names:
            self.drop(f"small-{name}", f"{name} is not above 0", pl.col(name) <= 0)

    def finish(self, table: str, **columns: pl.Expr) -> pl.DataFrame:
        """The rows that are left, with :data:`COLUMNS` first and their machines identified.

        Args:
            table: name of the table.
            columns: those of :data:`COLUMNS` that are not in the frame under their name, but
                ``device`` and ``chip``; ``part``, and ``part_index`` where there are several; and
                ``heading`` where it is not the file's ``device``.
        """
        unknown = {"batch": pl.lit(1), "threads": pl.lit(0), "scatter": pl.lit(None)}
        absent = {n: value for n, value in unknown.items() if n not in self.frame.columns}
        of_device = {"heading": pl.col("device"), "part_index": pl.lit(0)}
        given = {**absent, **of_device, "table": pl.lit(table), **columns}
        frame = self._identified(
            table, self.frame.with_columns(**given, file=pl.lit(self.path.name))
        )
        named = [pl.col(name).cast(dtype) for name, dtype in COLUMNS.items()]
        own = [name for name in frame.columns if name not in COLUMNS and name != "part_index"]
        return frame.select(*named, *own)

    def _identified(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        keys = ["heading", "part", "part_index"]
        machines = frame.select(keys).unique(maintain_order=True)
        found = [identify(table, *row) for row in machines.rows()]
        names = [f"{h} ({part}{index or ''})" for h, part, index in machines.rows()]
        self.devices = {n: i.found for n, i in zip(names, found, strict=True) if i.found}
        machines = machines.with_columns(
            pl.Series("device", [each.device for each in found], pl.String),
            pl.Series("chip", [each.chip for each in found], pl.String),
            pl.Series("machine", names, pl.String),
        )
        return frame.drop("device", strict=False).join(
            machines, on=keys, how="left", maintain_order="left"
        )


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Heading, the cells of every row filled up or cut to its length, and the rows that were."""
    content = read_file(path)
    try:
        if path.suffix == ".gz":
            most = unpacked_bytes(len(content))
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most + 1)
            if len(content) > most:
                raise ValueError(f"{path} must unpack to at most {most} bytes; it has more")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be a whole gzip file; reading it: {error}") from None
    text = content.decode("utf-8-sig", errors="replace")
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(
            f"{path} must be a CSV file; reading its line {reader.line_num}: {error}"
        ) from None
    if not rows or len(set(rows[0])) < len(rows[0]):
        raise ValueError(f"{path} must begin with a heading of distinct columns")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    width = len(header)
    ragged = [n for n, row in enumerate(body) if len(row) != width]
    for n in ragged:
        body[n] = (body[n] + [""] * width)[:width]
    return header, body, ragged


# --- findings about a table -----------------------------------------------------------------------


def finding(
    kind: str,
    severity: str,
    message: str,
    rows: pl.DataFrame,
    consequence: str,
    advice: str,
    **numbers: Any,
) -> Finding:
    """A finding whose evidence is the number of the rows and the first of them."""
    evidence: dict[str, Any] = {
        "count": len(rows),
        **numbers,
        "examples": rows.head(EXAMPLES).to_dicts(),
    }
    return Finding(kind, severity, message, evidence, consequence, advice)


def share_of(count: int, total: int, one: str = "has", several: str = "have") -> str:
    """``3 of 2,000 rows have``, the start of a message."""
    return f"{count:,} of {total:,} rows {one if count == 1 else several}"


def number(value: object) -> float:
    """A minimum, maximum or median of a column that has rows."""
    assert isinstance(value, int | float)
    return value
