"""Tables of declared columns, and rows that are made when they are looked at."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .markup import breaks, wrapped

# A cell whose value is not known, or does not apply.
MISSING = "–"
# Characters of a text beyond which it wraps in a page that is narrow, and beyond which it needs
# more room to do so; of a heading beyond which it does.
_LONG, _LONGER, _LONG_HEAD = 24, 60, 16
# Characters that are left of the texts of a column where a terminal is too narrow.
_SHORTEST = 20

Cell = str | Callable[[Any], Any]

# --- rows -------------------------------------------------------------------------------------

# Rows that are made, and printed, at a time. A forecast of an architecture takes 26 kB as objects
# and as JSON, so that these take some 100 MB.
AT_ONCE = 4_096


class LazyRows(Sequence[Any]):
    """Rows that are made anew, some at a time, whenever they are looked at.

    Args:
        length: how many there are.
        make: makes those of a slice.
    """

    def __init__(self, length: int, make: Callable[[slice], Sequence[Any]]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._make(index)
        number = range(self._length)[index]
        return self._make(slice(number, number + 1))[0]

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[Sequence[Any]]:
        """All rows, some at a time."""
        for start in range(0, self._length, AT_ONCE):
            yield self._make(slice(start, min(start + AT_ONCE, self._length)))


def lazy(length: int, make: Callable[[slice], Sequence[Any]]) -> Sequence[Any]:
    """Rows as a tuple, or lazy ones where they are too many."""
    return tuple(make(slice(0, length))) if length <= AT_ONCE else LazyRows(length, make)


def numbered(rows: Sequence[Any]) -> Sequence[tuple[int, Any]]:
    """Pairs of a row's number and itself."""
    numbers = range(len(rows))
    return lazy(len(rows), lambda part: list(zip(numbers[part], rows[part], strict=True)))


# --- tables -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column: its heading, and how a row's value becomes text.

    Attributes:
        label: heading, with the unit.
        value: key of a mapping or attribute of an object, dots for those inside of others; or a
            function of the row.
        form: format specification of a number, such as ``.2f``, or a function that writes it.
        scale: factor to the unit that is shown, 100 for a share that is shown in percent.
        detail: columns of the most detail are left out first where a terminal is too narrow, of
            equal ones the rightmost; those of 0 stay, as the first one does.
        ends: names of the two ends of an interval, where the value is one.
    """

    label: str
    value: Cell
    form: str | Callable[[Any], str] = ""
    scale: float = 1.0
    detail: int = 1
    ends: tuple[str, ...] = ()

    def cell(self, row: Any) -> str:
        """The text of a row's cell; values of several targets stand beside each other."""
        value = self._value(row)
        if self.ends:
            texts = [self._text(end) for end in value]
            return MISSING if MISSING in texts else " – ".join(texts)
        if isinstance(value, list | tuple):
            return " / ".join(map(self._text, value)) or MISSING
        return self._text(value)

    def exact(self, row: Any) -> Any:
        """A number as it is, in the unit that is shown; None where there is none; else the text."""
        value = self._value(row)
        if self.ends:
            return [self._exact(end) for end in value]
        return self.cell(row) if isinstance(value, list | tuple) else self._exact(value)

    def _value(self, row: Any) -> Any:
        value = self.value(row) if callable(self.value) else look_up(row, self.value)
        return value.tolist() if hasattr(value, "tolist") else value

    def _exact(self, value: Any) -> Any:
        text = self._text(value)
        if text == MISSING:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return text
        return value if self.scale == 1 else float(f"{value * self.scale:.15g}")

    def _text(self, value: Any) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "NO"
        if isinstance(value, str):
            return value
        try:
            shown = self.scale * value if self.scale != 1 else value
            return self.form(shown) if callable(self.form) else f"{shown:{self.form}}"
        except OverflowError:  # an integer of a damaged file, too large for a float
            return "> 1e308"


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
        return self._cells(self.rows)

    def _cells(self, rows: Sequence[Any]) -> list[list[str]]:
        return [[column.cell(row) for column in self.columns] for row in rows]

    def pieces(self, limit: int | None = None) -> Iterator[str]:
        """:meth:`to_text` in pieces; of lazy rows, some at a time, made twice: first for widths.

        Args:
            limit: characters of a line, to which the table is fitted: texts are shortened and
                columns left out, and a line says which. Numbers are never cut: a table of few
                columns may still be wider. By default a table is as wide as it needs.
        """
        widths, numeric = self._measured()
        shown = list(range(len(widths)))
        told = ""
        if limit is not None and _total(widths) > limit:
            shown, widths, told = self._fitted(widths, numeric, limit)

        def line(cells: Sequence[str]) -> str:
            texts = []
            for n in shown:
                cell = _shortened(cells[n], widths[n])
                space = " " * (widths[n] - _width(cell))
                texts.append(space + cell if numeric[n] else cell + space)
            return (" " + "   ".join(texts)).rstrip()

        if self.title:
            yield f"{wrapped(self.title, limit)}\n"
        yield line([column.label for column in self.columns])
        yield "\n " + "─" * (_total([widths[n] for n in shown]) - 1)
        for part in self._parts():
            yield "".join("\n" + line(cells) for cells in self._cells(part))
        if told:
            yield "\n" + wrapped(f" {told} (--wide shows all)", limit)

    def _measured(self) -> tuple[list[int], list[bool]]:
        """Characters that every column needs, and whether it is of numbers."""
        widths = [_width(column.label) for column in self.columns]
        numeric = [True] * len(widths)
        for part in self._parts():
            for n, cells in enumerate(zip(*self._cells(part), strict=True)):
                widths[n] = max(widths[n], *map(_width, cells))
                numeric[n] &= all(map(_is_number, cells))
        return widths, numeric

    def numeric(self) -> list[bool]:
        """Whether a column is of numbers, and so aligns right."""
        return self._measured()[1]

    def _fitted(
        self, widths: Sequence[int], numeric: Sequence[bool], limit: int
    ) -> tuple[list[int], list[int], str]:
        """Columns that fit into a line, the width of every column, and what is left out."""
        numbers = range(len(widths))
        least = [
            width if is_numeric else min(width, max(_width(column.label), _SHORTEST))
            for column, width, is_numeric in zip(self.columns, widths, numeric, strict=True)
        ]
        shortest = list(least)
        # Names, which come first or stay whatever is left out, are what users copy.
        for n in numbers:
            if n == 0 or not self.columns[n].detail:
                least[n] = max(least[n], min(widths[n], limit // 2))
        shown = list(numbers)
        for n in sorted(numbers[1:], key=lambda n: (-self.columns[n].detail, -n)):
            if _total([least[m] for m in shown]) <= limit:
                break
            if self.columns[n].detail:
                shown.remove(n)
        for n in sorted(shown, key=lambda n: -least[n]):
            beyond = _total([least[m] for m in shown]) - limit
            least[n] -= min(max(beyond, 0), least[n] - shortest[n])
        spare = limit - _total([least[m] for m in shown])
        for n in shown:
            grown = min(max(spare, 0), widths[n] - least[n])
            least[n] += grown
            spare -= grown
        left_out = ", ".join(self.columns[n].label for n in numbers if n not in shown)
        is_short = any(least[n] < widths[n] for n in shown)
        told = [f"left out: {left_out}"] if left_out else []
        return shown, least, "; ".join(told + ["texts are shortened"] * is_short)

    def _parts(self) -> Iterable[Sequence[Any]]:
        return self.rows.parts() if isinstance(self.rows, LazyRows) else (self.rows,)

    def to_text(self) -> str:
        """For a terminal; columns whose cells start with a digit, sign or dash align right."""
        return "".join(self.pieces())

    def known_columns(self, most: int | None = None) -> Table:
        """The table without the columns that tell nothing of its first ``most`` rows.

        A table of which nothing is known stays as it is.
        """
        cells = self._cells(self.rows[:most])
        is_known = [any(c != MISSING for c in column) for column in zip(*cells, strict=True)]
        if not any(is_known):
            return self
        shown = [c for c, known in zip(self.columns, is_known, strict=True) if known]
        return replace(self, columns=shown)

    def to_html(self, most: int | None = None) -> str:
        """An HTML table whose texts are escaped, of ``most`` rows.

        Columns of numbers have the class ``number``, those of texts that may wrap ``long`` or
        ``longer``; headings that do have ``head``.
        """
        cells = self._cells(self.rows[:most])
        columns = list(zip(*cells, strict=True)) or [()] * len(self.columns)
        kinds = list(map(_kind_of, columns))

        def row(texts: Sequence[str], tag: str, kinds: Sequence[str], more: str = "") -> str:
            classes = [f' class="{kind}"' if kind else "" for kind in kinds]
            return "<tr>" + "".join(
                f"<{tag}{more}{kind}>{breaks(text)}</{tag}>"
                for kind, text in zip(classes, texts, strict=True)
            ) + "</tr>"  # fmt: skip

        labels = [column.label for column in self.columns]
        headings = [f"{k} head".strip() if len(label) > _LONG_HEAD else k
                    for k, label in zip(kinds, labels, strict=True)]  # fmt: skip
        head = row(labels, "th", headings, ' scope="col"')
        # A heading without a text is none: screen readers would announce it.
        head = re.sub(r"<th[^>]*></th>", "<td></td>", head)
        body = "".join(row(texts, "td", kinds) for texts in cells)
        caption = f"<caption>{breaks(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _kind_of(cells: Sequence[str]) -> str:
    """Return the class of a column of a page's table, or an empty text."""
    if cells and all(map(_is_number, cells)):
        return "number"
    longest = max(map(len, cells), default=0)
    return "longer" if longest > _LONGER else "long" if longest > _LONG else ""


def _width(text: str) -> int:
    """Columns that a text takes on a terminal, where Chinese characters are two wide."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(1 + (east_asian_width(c) in "WF") for c in text if not combining(c))


def _total(widths: Sequence[int]) -> int:
    """Characters of a line of such columns."""
    return 1 + sum(widths) + 3 * (len(widths) - 1)


def _shortened(text: str, width: int) -> str:
    """A text of at most that width: prose loses its end, a name its middle, as its end tells it."""
    if _width(text) <= width:
        return text
    end = 0 if " " in text else (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _is_number(cell: str) -> bool:
    return cell[:1] in "0123456789-–+"


def pairs(heading: tuple[str, str], rows: Sequence[tuple[str, Any]], title: str = "") -> Table:
    """A table of names and values."""
    columns = Column(heading[0], lambda row: row[0]), Column(heading[1], lambda row: row[1])
    return Table(columns, rows, title)
