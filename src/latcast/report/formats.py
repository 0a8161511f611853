"""Parts of a record as what a command prints: text, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .record import text_pieces
from .table import Column, LazyRows, Table

FORMATS = ("text", "csv", "md")


def pieces(
    parts: Iterable[Table | str],
    form: str,
    *,
    limit: int | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Return the parts of a record in pieces of text.

    Args:
        parts: tables and lines of text.
        form: one of :data:`FORMATS`: columns that are aligned; one CSV table; or Markdown.
        limit: characters of a line, to which the columns of ``text`` are fitted.
        note: is told what the CSV leaves out.
    """
    if form == "csv":
        return _csv(parts, note)
    return _markdown(parts) if form == "md" else text_pieces(parts, limit)


# --- CSV ----------------------------------------------------------------------------------------


def _csv(parts: Iterable[Table | str], note: Callable[[str], None]) -> Iterator[str]:
    """Yield one CSV table (RFC 4180): the first, and below it all that have the same columns.

    Numbers are in full, without separators of thousands; what is not known is empty. An interval
    has a column for each end. Where several tables are joined, the first column is their titles.
    A table of other columns would be no part of the same CSV: a note says what is left out.
    """
    tables = [part for part in parts if isinstance(part, Table)]
    if not tables:
        note("note: there is no table to print as CSV")
        return
    heads = list(_heads(tables[0].columns))
    same = [t for t in tables if list(_heads(t.columns)) == heads]
    others = [t for t in tables if list(_heads(t.columns)) != heads]
    yield from _csv_rows([[*(["table"] if len(same) > 1 else []), *heads]], first=True)
    for table in same:
        before = [table.title] if len(same) > 1 else []
        for rows in table.rows.parts() if isinstance(table.rows, LazyRows) else (table.rows,):
            yield from _csv_rows([*before, *_values(table.columns, row)] for row in rows)
    if left := [t.title or t.columns[0].label for t in others]:
        note(
            f"note: --table csv prints one table; left out: {'; '.join(left)} (--table md and "
            "--json have all)"
        )


def _heads(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        yield from (f"{column.label}, {end}" for end in column.ends)
        if not column.ends:
            yield column.label or "row"


def _values(columns: Sequence[Column], row: Any) -> Iterator[Any]:
    for column in columns:
        value = column.exact(row)
        yield from value if column.ends else [value]


def _csv_rows(rows: Iterable[Sequence[Any]], *, first: bool = False) -> Iterator[str]:
    """Yield lines of CSV; all but the first row of the file have the line's end before them."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    if lines := written.getvalue().removesuffix("\n"):
        yield lines if first else f"\n{lines}"


# --- Markdown -----------------------------------------------------------------------------------


def _markdown(parts: Iterable[Table | str]) -> Iterator[str]:
    """Yield tables of GitHub's Markdown under their titles, and lines of text between them."""
    for n, part in enumerate(parts):
        between = "\n\n" if n else ""
        if isinstance(part, Table):
            yield between + "\n".join(_markdown_lines(part))
        else:
            yield between + "  \n".join(map(_escaped, part.rstrip("\n").split("\n")))


def _markdown_lines(table: Table) -> Iterator[str]:
    if table.title:
        yield f"**{_escaped(table.title)}**\n"
    yield _markdown_row([column.label for column in table.columns])
    yield f"|{'|'.join(' ---: ' if is_right else ' --- ' for is_right in table.numeric())}|"
    yield from map(_markdown_row, table.cells())


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Escape what would end a cell, or be markup: names in files may hold anything."""
    return " ".join(re.sub(r"[\\`*{}\[\]<>#|~]|\b_|_\b", r"\\\g<0>", text).splitlines())
