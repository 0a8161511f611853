"""Cells of tables: read as text first, so that every bad one can be named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from latcast._files import read_file
from latcast._limits import MAX_COLUMNS
from latcast._names import short_list, short_repr

if TYPE_CHECKING:
    import polars as pl


def read_csv(path: Path, needed: Iterable[str] = ()) -> pl.DataFrame:
    """All cells as strings.

    Raises:
        ValueError: the file is no CSV, has no rows, or lacks a column.
    """
    import polars as pl

    content = read_file(path)
    header = content[: content.find(b"\n")]
    # Spreadsheets of countries with decimal commas write semicolons, or tabs.
    separator = next((s for s in ",;\t" if s.encode() in header), ",")
    if (columns := header.count(separator.encode()) + 1) > MAX_COLUMNS:
        raise ValueError(f"{path} must have at most {MAX_COLUMNS} columns; it has {columns}")
    try:
        # Bytes, not the path: polars would take a * or [ in the name for a pattern.
        frame = pl.read_csv(content, infer_schema=False, separator=separator)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        told = str(error)[:300]  # which may quote all of the file
        raise ValueError(f"{path} must be a CSV file with a header; reading it: {told}") from error
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column {missing[0]!r}; it has {short_list(frame.columns)}"
        )
    if frame.is_empty():
        raise ValueError(f"{path} holds no rows")
    return frame


class Frame(Protocol):
    """A frame of polars or pandas, an Arrow table: what has Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def text_frame(given: Frame) -> pl.DataFrame:
    """All cells of a frame as strings, as those of a CSV file; lists and dicts as JSON.

    Raises:
        ValueError: it is no frame of rows.
    """
    import polars as pl

    needed = "a column arch, or one per gene"
    try:
        frame = given if isinstance(given, pl.DataFrame) else pl.DataFrame(given)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"a frame must have {needed}; reading it: {error}") from error
    if frame.is_empty():
        raise ValueError(f"a frame must have rows with {needed}; it has none")
    return frame.select(map(_texts, frame))


def _texts(column: pl.Series) -> pl.Series:
    import polars as pl

    if not column.dtype.is_nested() and column.dtype != pl.Object:
        return column.cast(pl.String)
    cells = (None if x is None else json.dumps(x) for x in column.to_list())
    return pl.Series(column.name, list(cells), pl.String)


def float_column(path: Path, frame: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers (NaN and infinities are numbers here; the audit finds them).

    Raises:
        ValueError: naming the first cell that is no number.
    """
    return _cast(path, frame, name, "number", "Float64").astype(np.float64)


def int_column(path: Path, frame: pl.DataFrame, name: str) -> npt.NDArray[np.int64]:
    """A column of integers.

    Raises:
        ValueError: naming the first cell that is no integer.
    """
    return _cast(path, frame, name, "integer", "Int64").astype(np.int64)


def _cast(path: Path, frame: pl.DataFrame, name: str, what: str, dtype: str) -> npt.NDArray[Any]:
    import polars as pl

    values = frame[name].str.strip_chars().cast(getattr(pl, dtype), strict=False)
    if values.null_count():
        row = int(values.is_null().arg_max() or 0)
        raise ValueError(
            f"{path.name}, row {row}: {name} must be a{'n' if what[0] in 'aeiou' else ''} {what}; "
            f"got {short_repr(frame[name][row])}"
        )
    return values.to_numpy()


def fractions(path: Path, values: npt.NDArray[np.float64], unit: str | None) -> tuple[str, Any]:
    """The unit that accuracies are in, and the accuracies from 0 to 1, shape (n,).

    Args:
        path: for messages.
        values: shape (n,).
        unit: ``fraction`` or ``percent``, where it is stated. By default they are percent where
            one is above 1 and fractions where none is.

    Raises:
        ValueError: one is not finite or not within the unit, or the unit cannot be told.
    """
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise ValueError(f"{path.name}, row {row}: accuracy must be finite; got {values[row]}")
    unit = unit or _unit(path, values)
    largest = 100.0 if unit == "percent" else 1.0
    wrong = (values < 0.0) | (values > largest)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path.name}, row {row}: accuracy in {unit} must be from 0 to {largest:g}; "
            f"got {values[row]:g}"
        )
    return unit, values / largest


def _unit(path: Path, values: npt.NDArray[np.float64]) -> str:
    if values.max() <= 1.0:
        return "fraction"
    # A percentage can be below 1, of a network that learned nothing; most of a table's are not.
    if np.median(values) > 1.0:
        return "percent"
    row = int((values > 1.0).argmax())
    raise ValueError(
        f"{path.name}: the accuracies must be fractions or percent, and most are at most 1 but row "
        f"{row} is {values[row]:g}: correct it, or state --unit percent (in Python, unit='percent')"
    )
