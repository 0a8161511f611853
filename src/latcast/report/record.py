"""Records: what a call of the library found, as JSON, as tables, as a polars frame.

A record is a frozen dataclass that inherits from :class:`Record`. Its fields are the keys of its
JSON, and the ``Attributes`` of its docstring describe them: ``docs/json.md`` is made of both, and
a test compares them. Rows inside of it are dataclasses too, which need not be records.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args, get_type_hints

from latcast._names import short_repr, unknown_name

from .frame import Tabular
from .markup import printable, start_of, wrapped
from .reading import HOMES, key_of, read_fields
from .table import LazyRows, Table

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl
    from matplotlib.figure import Figure as Picture

    from .figure import Figure

# Rows of a table that a notebook shows.
NOTEBOOK_ROWS = 30
# Characters of an answer in the repr of its record.
REPR_WIDTH = 160

# A heading of a page, and what stands under it: Markup of :mod:`markupsafe` is HTML as it is.
Section = tuple[str, Sequence["Table | Figure | str"]]

# Name of a schema -> its class, of all that have been imported.
RECORDS: dict[str, type[Record]] = {}
NAMESPACE = "latcast/"


class Record(Tabular):
    """Describes itself as JSON, as a frame and as text.

    A subclass sets :attr:`schema`, and :attr:`frame` if one of its fields holds the rows of
    :meth:`to_polars`; it implements :meth:`parts`. Rendering computes nothing new.

    Attributes:
        schema: name of the JSON's shape, kept as long as a script could rely on it.
        version: counts up when a key is renamed, dropped or changes its meaning.
        frame: the field whose items are the rows of :meth:`to_polars`; None makes one row.
        no_figure: why :meth:`plot` has nothing to draw, where it has nothing.
        tables_first: whether a page shows the tables before the figures, as of a list.
    """

    schema: ClassVar[str] = ""
    version: ClassVar[int] = 1
    frame: ClassVar[str | None] = None
    no_figure: ClassVar[str] = ""
    tables_first: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.schema:
            RECORDS[cls.schema] = cls

    def parts(self) -> Iterator[Table | str]:
        """Tables and lines of text, from the most to the least important."""
        raise NotImplementedError

    def headline(self) -> str:
        """What it is, as the title of its page: by default the start of its class's docstring."""
        return cleandoc(type(self).__doc__ or "").partition(".")[0]

    def answer(self) -> str:
        """One sentence that answers what was asked; empty where the tables are the answer."""
        return ""

    def figures(self) -> Iterator[Figure]:
        """What can be seen better than read, from the most to the least important."""
        yield from ()

    def sections(self) -> Iterator[Section]:
        """What a page shows: figures, and tables with the texts that follow them."""
        from .page import sections_of

        if self.tables_first:
            yield from sections_of((), self.parts())
            yield from sections_of(self.figures(), ())
        else:
            yield from sections_of(self.figures(), self.parts())

    def doubts(self) -> Iterator[str]:
        """Doubts about the result and what to do about them, a line each: by default its notes."""
        yield from (f"note: {text}" for text in getattr(self, "notes", ()))

    def to_dict(self) -> dict[str, Any]:
        """Of JSON's types; NaN and infinities, which JSON lacks, are None."""
        head = {"schema": f"latcast/{self.schema}", "version": self.version}
        return head | _keyed(self)

    def to_json(self) -> str:
        """:meth:`to_dict` as indented text."""
        return "".join(self.json_pieces())

    def json_pieces(self) -> Iterator[str]:
        """:meth:`to_json` in pieces; of lazy rows, some at a time."""
        head = {"schema": f"latcast/{self.schema}", "version": self.version}
        yield from json_pieces(head | dict(_items(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record whose :meth:`to_dict` this is; :func:`read_record` finds the class.

        Raises:
            ValueError: it is of another schema or of a later version, or a key is missing.
        """
        schema, version = f"latcast/{cls.schema}", data.get("version")
        if data.get("schema") != schema:
            raise ValueError(f"the schema must be {schema}; got {data.get('schema')!r}")
        if not isinstance(version, int) or version > cls.version:
            raise ValueError(
                f"{schema} must be of version {cls.version} or earlier; got {version!r}: "
                "install a later latcast"
            )
        return read_fields(cls, data)

    def to_html(
        self,
        *,
        command: str = "",
        files: Mapping[str, str] | None = None,
        made: datetime | None = None,
    ) -> str:
        """One HTML file that loads nothing, with a script to sort and filter that it can lack.

        Args:
            command: that the record is of, as it was typed.
            files: that it was made from -> their SHA-256.
            made: when; now by default.
        """
        from .page import page

        return page([self], command=command, files=files or {}, made=made)

    def to_polars(self) -> pl.DataFrame:
        """A row for each item of :attr:`frame`.

        Objects inside of a row are columns ``a.b``, lists of objects are left out. Of a frame in
        rows that hold others (``devices.architectures``) each has the columns of both.
        """
        import polars as pl

        rows: list[dict[str, Any]] = [{}]
        found: list[Any] = [self.to_dict()]
        for name in self.frame.split(".") if self.frame else ():
            inner = [(row, item) for row, holder in zip(rows, found, strict=True)
                     for item in holder[name]]  # fmt: skip
            rows = [row | dict(_flat(item)) for row, item in inner]
            found = [item for _, item in inner]
        if not self.frame:
            rows = [dict(_flat(found[0]))]
        # An option may be a number in one row and a name in another: such columns are texts.
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)

    def to_text(self) -> str:
        """As the command line prints it."""
        return text_of(self.parts())

    def plot(self) -> Picture:
        """Its figures, drawn by matplotlib's objects one below the other; pyplot has no part.

        Raises:
            ValueError: it has nothing to draw; the message says what it lacks.
            ModuleNotFoundError: matplotlib is not installed.
        """
        from .plot import picture

        if not (figures := list(self.figures())):
            raise ValueError(
                f"a record must have numbers to draw; {self.headline()}: "
                f"{self.no_figure or 'it has none'}. to_polars() and to_html() show what it has"
            )
        return picture(figures)

    def _repr_html_(self) -> str:
        """As a notebook shows it: the answer, the figures, the tables' first rows, the doubts."""
        return "".join(self._html_pieces())

    def _html_pieces(self) -> Iterator[str]:
        from html import escape

        def lines(text: str) -> str:
            return "<br>".join(escape(printable(line)) for line in text.strip("\n").split("\n"))

        if answer := self.answer():
            yield f"<p><b>{lines(answer)}</b></p>"
        for figure in self.figures():
            yield f"<p>{lines(figure.title)}</p>{figure.to_notebook()}"
        for part in self.parts():
            if isinstance(part, str):
                yield f"<p>{lines(part)}</p>" if part.strip() else ""
                continue
            yield part.to_html(most=NOTEBOOK_ROWS)
            if (left := len(part.rows) - NOTEBOOK_ROWS) > 0:
                yield f"<p>and {left:,} more rows: to_text() and to_polars() have all</p>"
        for doubt in self.doubts():
            yield f"<p><small>{lines(doubt)}</small></p>"

    def __repr__(self) -> str:
        """The answer, or else what the record is of, in one line; :meth:`to_text` shows all."""
        if answer := "" if self._is_lazy() else " ".join(self.answer().split()):
            return f"<{type(self).__name__}: {start_of(answer, REPR_WIDTH)}>"
        texts = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if self.frame and field.name == self.frame.split(".")[0]:
                name = field.name.removesuffix("s") if len(value) == 1 else field.name
                texts.append(f"{len(value)} {name}")
            elif isinstance(value, str | int | float) and len(texts) < 4:
                texts.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(texts)})"

    def _is_lazy(self) -> bool:
        """Whether the rows of :attr:`frame` would have to be made, which takes time."""
        found: list[Any] = [self]
        for name in self.frame.split(".") if self.frame else ():
            inner = [getattr(holder, name) for holder in found]
            if any(isinstance(rows, LazyRows) for rows in inner):
                return True
            found = [row for rows in inner for row in rows]
        return False


def record_class(schema: str) -> type[Record]:
    """The class of the records of a schema, such as ``network-forecast``.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    if schema not in RECORDS and schema in HOMES:
        import_module(f"latcast.{HOMES[schema]}")
    if schema not in RECORDS:
        known = sorted({*HOMES, *RECORDS})
        raise ValueError(unknown_name("schema", schema, known))
    return RECORDS[schema]


def read_record(data: Mapping[str, Any]) -> Record:
    """The record that ``to_dict`` or ``--json`` wrote.

    Args:
        data: of JSON's types, with ``schema`` and ``version``.

    Raises:
        ValueError: it is no record of latcast, of a later version, or lacks a key.
    """
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if not isinstance(schema, str) or not schema.startswith(NAMESPACE):
        raise ValueError(
            f"a record must have a schema such as {NAMESPACE}search, as --json prints it; "
            f"got {short_repr(schema)}"
        )
    return record_class(schema.removeprefix(NAMESPACE)).from_dict(data)


@dataclass(frozen=True, repr=False)
class Failure(Record):
    """An error of the command line, on stderr, in one line.

    Attributes:
        error: what must hold, what was got, what to do.
        exit_code: 1 where the work failed, 2 where the command was used wrongly.
    """

    schema = "error"
    no_figure = "an error is a text"

    error: str
    exit_code: int

    def parts(self) -> Iterator[Table | str]:
        yield f"error: {self.error}"


def text_of(parts: Iterable[Table | str]) -> str:
    """Parts of a record one below the other, an empty line after a table."""
    return "".join(text_pieces(parts))


def text_pieces(parts: Iterable[Table | str], limit: int | None = None) -> Iterator[str]:
    """:func:`text_of` in pieces, fitted to lines of so many characters."""
    between = ""  # newlines are kept back until something follows them
    for part in parts:
        for piece in [wrapped(part, limit)] if isinstance(part, str) else part.pieces(limit):
            text = between + piece
            between = text[len(text.rstrip("\n")) :]
            yield text[: len(text) - len(between)]
        between += "\n" if isinstance(part, str) else "\n\n"


def json_pieces(value: Any, margin: str = "") -> Iterator[str]:
    """JSON as ``json.dumps(plain(value), indent=2)`` writes it, of lazy rows some at a time.

    Args:
        value: of a record.
        margin: spaces before the lines that are inside of it.
    """
    inner = f"{margin}  "
    if isinstance(value, LazyRows):
        between = "["
        for part in value.parts():
            # Without the brackets of its own.
            yield between + _dumped(part, margin)[1 : -len(margin) - 2]
            between = ","
        yield f"\n{margin}]"
    elif not _has_lazy(value):
        yield _dumped(value, margin)
    elif isinstance(value, list | tuple):
        for n, item in enumerate(value):
            yield f"{',' if n else '['}\n{inner}"
            yield from json_pieces(item, inner)
        yield f"\n{margin}]"
    else:
        items = value.items() if isinstance(value, Mapping) else _items(value)
        for n, (key, item) in enumerate(items):
            yield f"{',' if n else '{'}\n{inner}{_dumped(str(key), inner)}: "
            yield from json_pieces(item, inner)
        yield f"\n{margin}}}"


def _dumped(value: Any, margin: str) -> str:
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    return text.replace("\n", f"\n{margin}")  # strings have theirs escaped


def _has_lazy(value: Any) -> bool:
    """Whether there are lazy rows in a value."""
    if isinstance(value, Mapping):
        return any(map(_has_lazy, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_lazy, value))
    if is_dataclass(value):
        return any(_has_lazy(getattr(value, f.name)) for f in fields(value))
    return isinstance(value, LazyRows)


def plain(value: Any) -> Any:
    """A value of JSON's types."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | LazyRows):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if is_dataclass(value):
        return _keyed(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _keyed(value: Any) -> dict[str, Any]:
    return {key: plain(item) for key, item in _items(value)}


def _items(value: Any) -> list[tuple[str, Any]]:
    """Keys in JSON of a dataclass, and what they hold."""
    return [(key_of(f.name), getattr(value, f.name)) for f in fields(value)]


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif not (isinstance(value, list) and any(isinstance(v, Mapping) for v in value)):
            # Frames have integers of 64 bits, and Arrow none of more.
            is_large = isinstance(value, int) and abs(value) >= 2**63
            yield before + name, float(value) if is_large else value


def described(cls: type[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a record's JSON and what it is, rows inside of it included.

    Args:
        cls: a record, or a dataclass inside of one.
        before: path of the object that holds the keys.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # fields that are inherited are described where they stand
        texts |= _attributes(cleandoc(base.__doc__ or ""))
    hints = get_type_hints(cls)
    for field in fields(cls):
        path, hint = before + key_of(field.name), hints[field.name]
        yield path, texts[field.name]
        for inner in _dataclasses(hint):
            yield from described(inner, f"{path}{'[]' if _is_sequence(hint) else ''}.")


def _is_sequence(hint: Any) -> bool:
    origin = getattr(hint, "__origin__", None)
    if origin is not None and isinstance(origin, type):
        return issubclass(origin, Sequence)
    return any(map(_is_sequence, get_args(hint)))


def _dataclasses(hint: Any) -> Iterator[type[Any]]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for argument in get_args(hint):
        yield from _dataclasses(argument)


def _attributes(doc: str) -> dict[str, str]:
    """Name -> description, from the ``Attributes`` of a docstring."""
    _, _, section = doc.partition("Attributes:\n")
    section = re.split(r"\n\S", section)[0]
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {
        name.strip(): re.sub(r"\s+", " ", re.sub(r"(?::\w+:)?`+~?([^`]*)`+", r"`\1`", text))
        for names, text in entries
        for name in names.split(",")
    }
