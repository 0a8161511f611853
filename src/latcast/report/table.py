"""Tables: columns that are declared once, shown on terminals and in pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "–"
"""A cell whose value is not known, or does not apply."""

Cell = str | Callable[[Any], Any]


@dataclass(frozen=True)
class Column:
    """One column: its heading, and how a row's value becomes text.

    Attributes:
        label: heading, with the unit.
        value: key of a mapping or attribute of an object, dots for those inside of others; or a
            function of the row.
        form: format specification of a number, such as ``.2f``.
        scale: factor to the unit that is shown, 100 for a share that is shown in percent.
    """

    label: str
    value: Cell
    form: str = ""
    scale: float = 1.0

    def cell(self, row: Any) -> str:
        """The text of a row's cell; values of several targets stand beside each other."""
        value = self.value(row) if callable(self.value) else look_up(row, self.value)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, list | tuple):
            return " / ".join(map(self._text, value)) or MISSING
        return self._text(value)

    def _text(self, value: Any) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "NO"
        if isinstance(value, str):
            return value
        return f"{self.scale * value if self.scale != 1 else value:{self.form}}"


def look_up(row: Any, path: str) -> Any:
    """A value by its key or attribute; None where it, or what it is inside of, is missing."""
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)
    return row


@dataclass(frozen=True)
class Table:
    """Rows under declared columns.

    Attributes:
        columns: from left to right.
        rows: mappings or objects, of which columns take values.
        title: a line above the table, or none.
    """

    columns: Sequence[Column]
    rows: Sequence[Any]
    title: str = ""

    def cells(self) -> list[list[str]]:
        """The text of every cell, row by row."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]

    def to_text(self) -> str:
        """For a terminal; columns whose cells start with a digit, sign or dash align right."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        cells = self.cells()
        for n, column in enumerate(self.columns):
            numeric = all(row[n][:1] in "0123456789-–+" for row in cells)
            table.add_column(column.label, justify="right" if numeric else "left", no_wrap=True)
        for row in cells:
            table.add_row(*row)
        # As wide as it needs: a terminal that is narrower wraps whole lines, not every cell.
        console = Console(width=400, markup=False, highlight=False)
        with console.capture() as captured:
            console.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        body = "\n".join(lines).strip("\n")
        return f"{self.title}\n{body}" if self.title else body

    def to_html(self) -> str:
        """An HTML table whose texts are escaped."""
        from html import escape

        def row(tag: str, texts: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(t)}</{tag}>" for t in texts) + "</tr>"

        head = row("th", [column.label for column in self.columns])
        body = "".join(row("td", cells) for cells in self.cells())
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def pairs(heading: tuple[str, str], rows: Sequence[tuple[str, Any]], title: str = "") -> Table:
    """A table of names and values."""
    columns = Column(heading[0], lambda row: row[0]), Column(heading[1], lambda row: row[1])
    return Table(columns, rows, title)
