"""CSV files of the user's own.

A column called as the quantity, such as ``latency_ms`` (of accuracies ``accuracy`` or
``accuracy_percent``; ``latency`` where the caller states its unit); the architecture either in a
column ``arch`` (the space's own form: an OFA dict in JSON, a NAS-Bench-201 string …), in one
column per key of such a dict (``ks``, ``e``, ``d``, ``r``) or in one per gene; optional columns
``device``, ``runtime``, ``batch``, ``precision`` and ``threads``, each with one value throughout;
optional ``order``. A column ``std``, in the unit of the values, tells how well they are known,
with ``n``, the passes that a value is the mean of; without that it is of a single pass.
Columns of other names are named by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latcast._names import short_list, short_repr
from latcast.devices import Target

from ._csv import Frame, float_column, fractions, int_column, read_csv, text_frame
from ._dataset import Dataset
from ._quantity import ACCURACY, LATENCY_MS, LATENCY_UNITS, Quantity, quantity_names
from .ofanas import parse_cell

if TYPE_CHECKING:
    import polars as pl

    from latcast.spaces import Archs, SearchSpace

    from ._formats import Asked

_PERCENT_COLUMN = "accuracy_percent"
_DEVIATION, _NUMBER = "std", "n"
# What messages call a frame, which has no name.
FRAME = Path("the frame")


def read(path: Path | Frame, asked: Asked) -> Dataset:
    """Read one file, or the rows of a frame.

    Raises:
        ValueError: the space is not given, the target is neither given nor in the file, a
            column is missing, or a cell is malformed.
    """
    frame = read_csv(path) if isinstance(path, Path) else text_frame(path)
    path = path if isinstance(path, Path) else FRAME
    frame = _named(path, frame, asked.columns)
    if asked.space is None:
        raise ValueError(
            f"{path.name} does not tell its search space: give --space (in Python, space= of "
            "latcast.read)"
        )
    of = asked.quantity or LATENCY_MS
    _check_named(path, asked.columns, of)
    provenance = {"source": path.name, "licence": "unknown"}
    if of == ACCURACY:
        unit, values = _accuracies(path, frame, asked.unit)
        provenance["unit"] = unit
    else:
        values, unit = _values(path, frame, of, asked.unit)
        if unit != "ms":
            provenance["unit"] = unit
    target = asked.target
    if of.of_target and (target is None or {"device", "runtime"} <= set(frame.columns)):
        named = _target(path, frame)
        if target is not None and target != named:
            raise ValueError(f"{path} is of target {named}; asked for {target}")
        target = named
    return Dataset(
        architectures(path, frame, asked.space),
        values,
        target if of.of_target else None,  # type: ignore[arg-type]  # an accuracy has none
        of,
        order=_order(path, frame),
        standard_error=(
            _standard_error(path, frame, values, asked.columns) if of != ACCURACY else None
        ),
        provenance=provenance,
    )


def _named(path: Path, frame: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """The frame with its columns called as here.

    Raises:
        ValueError: there is no such column.
    """
    for name, theirs in columns.items():
        if theirs not in frame.columns:
            raise ValueError(
                f"{path} has no column {short_repr(theirs)}, which is to be {name}; it has "
                f"{short_list(frame.columns)}"
            )
    others = set(columns) - set(columns.values())
    return frame.drop(others & set(frame.columns)).rename({b: a for a, b in columns.items()})


def _check_named(path: Path, columns: Mapping[str, str], of: Quantity) -> None:
    """Make sure that every column which the caller names is read.

    Raises:
        ValueError: one is of another quantity, or tells how well accuracies are known.
    """
    others = {name for name in quantity_names() if name != of.name}
    others |= {_DEVIATION, _NUMBER} if of == ACCURACY else set()
    if wrong := [name for name in columns if name in others]:
        raise ValueError(
            f"{path.name} is read for {of.name}, and a column {wrong[0]} is named: leave it out, "
            f"or ask for its quantity (--quantity)"
        )


def _standard_error(
    path: Path, frame: pl.DataFrame, values: npt.NDArray[np.float64], columns: Mapping[str, str]
) -> npt.NDArray[np.float64] | None:
    """Relative standard errors of values, where deviations are told: of means of so many passes.

    Args:
        path: for messages.
        frame: all cells as strings.
        values: of the rows.
        columns: that the caller names.

    Raises:
        ValueError: one cannot be, or the passes are named without a deviation.
    """
    if _DEVIATION not in frame.columns:
        if _NUMBER in columns:
            raise ValueError(
                f"{path.name}: {_NUMBER} is the passes of a mean, whose standard deviation is told "
                f"in no column {_DEVIATION!r}: name that, too, or leave {_NUMBER} out"
            )
        return None
    deviations = float_column(path, frame, _DEVIATION)
    is_mean = _NUMBER in frame.columns
    numbers = float_column(path, frame, _NUMBER) if is_mean else np.ones(len(frame))
    for name, column, least in ((_DEVIATION, deviations, 0.0), (_NUMBER, numbers, 1.0)):
        if not (column >= least).all():
            row = int((~(column >= least)).argmax())
            raise ValueError(
                f"{path.name}, row {row}: {name} must be at least {least:g}; got {column[row]:g}"
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(deviations / np.sqrt(numbers) / np.abs(values))


def _values(
    path: Path, frame: pl.DataFrame, of: Quantity, unit: str | None
) -> tuple[npt.NDArray[np.float64], str]:
    """The values of the rows, and the unit that the table has them in, ``ms`` but for latencies.

    Latencies are in the unit that the caller states, who makes them milliseconds, or in
    milliseconds. A column of another unit says so by its name (``latency_s``), and the caller does
    as well: a table of seconds is not taken for one of milliseconds, nor the other way round.

    Raises:
        ValueError: there is no such column, several, one of another unit than asked for, or one
            whose unit is not told; or a cell is no number.
    """
    columns = [of.name] if of != LATENCY_MS else [f"latency_{u}" for u in LATENCY_UNITS]
    found = [name for name in columns if name in frame.columns]
    if len(found) > 1:
        raise ValueError(f"{path} must have one column of latencies; it has {', '.join(found)}")
    if found and of == LATENCY_MS:
        return _in_unit(path, float_column(path, frame, found[0]), found[0], unit)
    if found:
        return float_column(path, frame, found[0]), "ms"
    if of == LATENCY_MS and "latency" in frame.columns:
        if unit is None:
            raise ValueError(
                f"{path}: the column 'latency' does not tell its unit: give --unit s, ms, us or ns"
            )
        return float_column(path, frame, "latency"), unit
    other = " (or latency_s, latency_us, latency_ns, or 'latency' with --unit)"
    raise ValueError(
        f"{path} lacks the column {of.name!r}{other if of == LATENCY_MS else ''}; "
        f"it has {short_list(frame.columns)} (--column {of.name}=NAME, in Python columns=…, says "
        "which it is)"
    )


def _in_unit(
    path: Path, values: npt.NDArray[np.float64], column: str, unit: str | None
) -> tuple[npt.NDArray[np.float64], str]:
    """Latencies of a column that names its unit, in the unit that is asked for."""
    named = column.removeprefix("latency_")
    if unit is None:
        if named != "ms":
            raise ValueError(
                f"{path} lacks the column 'latency_ms'; its column {column!r} is read with --unit "
                f"{named} (in Python, unit={named!r})"
            )
        return values, named
    # Milliseconds are what the column is called that most people take, whatever is in it.
    if unit is not None and named not in (unit, "ms"):
        raise ValueError(f"{path}: the column {column!r} is in {named}; asked for {unit}")
    return values, unit


def _accuracies(
    path: Path, frame: pl.DataFrame, unit: str | None
) -> tuple[str, npt.NDArray[np.float64]]:
    """The unit of a file's accuracies, and the accuracies from 0 to 1."""
    columns = [c for c in (ACCURACY.name, _PERCENT_COLUMN) if c in frame.columns]
    if len(columns) != 1:
        raise ValueError(
            f"{path} must have one column {ACCURACY.name!r} or {_PERCENT_COLUMN!r}; "
            f"it has {short_list(frame.columns)}"
        )
    if columns[0] == _PERCENT_COLUMN:
        if unit == "fraction":
            raise ValueError(
                f"{path}: the column {_PERCENT_COLUMN!r} is in percent; asked for fractions"
            )
        unit = "percent"
    return fractions(path, float_column(path, frame, columns[0]), unit)


def _order(path: Path, frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    if "order" in frame.columns:
        return int_column(path, frame, "order")
    return np.arange(len(frame))


def architectures(path: Path, frame: pl.DataFrame, the_space: SearchSpace) -> Archs:
    """The architectures of a file's rows, from a column ``arch`` or from one per gene.

    Args:
        path: for the messages.
        frame: all cells as strings.
        the_space: of the architectures.

    Raises:
        ValueError: a column is missing, or a cell is malformed; the message names its row.
    """
    from latcast.spaces import Archs

    if "arch" in frame.columns:
        cells = enumerate(frame["arch"].to_list())
        items = [_cell(cell, f"{path.name}, row {n}") for n, cell in cells]
        with _rows_named(path):
            return the_space.parse(items)
    missing = [g.name for g in the_space.genes if g.name not in frame.columns]
    if missing and (keys := _keys(the_space)) and set(keys) <= set(frame.columns):
        # A frame that was made of a list of dicts, such as Once-For-All's: one column per key.
        rows = enumerate(frame.select(keys).iter_rows())
        items = [
            {k: _cell(cell, f"{path.name}, row {n}") for k, cell in zip(keys, row, strict=True)}
            for n, row in rows
        ]
        with _rows_named(path):
            return the_space.parse(items)
    if missing:
        raise ValueError(
            f"{path} must have a column 'arch', or one per gene of {the_space.name}; "
            f"{missing[0]!r} is missing"
        )
    genes = np.stack([int_column(path, frame, g.name) for g in the_space.genes], axis=1)
    outside = (genes < 0) | (genes > 255)
    if outside.any():
        # A gene is a byte: 480 would wrap around to 224, a resolution.
        row, column = np.argwhere(outside)[0]
        raise ValueError(
            f"{path.name}, row {row}: {the_space.genes[column].name} must be one of the gene's "
            f"choices; got {genes[row, column]}"
        )
    with _rows_named(path):
        return Archs(the_space, genes)


def _keys(the_space: SearchSpace) -> list[str]:
    """The keys of a space's architectures, where it writes them as dicts of lists."""
    item = the_space.format(the_space.sample(1, seed=0))[0]
    is_of_lists = isinstance(item, dict) and all(isinstance(v, list) for v in item.values())
    return list(item) if is_of_lists else []


@contextmanager
def _rows_named(path: Path) -> Iterator[None]:
    """A space's errors number architectures; here those are the rows of a file."""
    try:
        yield
    except ValueError as error:
        text = str(error).replace("architecture ", "row ", 1)
        raise ValueError(f"{path.name}, {text}") from None


def _cell(cell: str | None, where: str) -> Any:
    """Parse a cell: JSON, a Python literal of an OFA dict, or a string that the space knows."""
    text = (cell or "").strip()
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return parse_cell(cell, where)


def _target(path: Path, frame: pl.DataFrame) -> Target:
    if not {"device", "runtime"} <= set(frame.columns):
        raise ValueError(
            f"{path.name} has no columns 'device' and 'runtime': give --target (in Python, "
            "target=…), such as my-phone/onnxruntime/b1"
        )
    for name in ("device", "runtime", "batch", "precision", "threads"):
        if name in frame.columns and frame[name].n_unique() > 1:
            values = frame[name].unique(maintain_order=True).to_list()
            raise ValueError(
                f"{path.name} mixes {name} {short_repr(values[0])} and {short_repr(values[1])}: "
                "keep one target per file"
            )
    numbers = {
        name: int(int_column(path, frame, name)[0])
        for name in ("batch", "threads")
        if name in frame.columns
    }
    precision = frame["precision"][0] if "precision" in frame.columns else "fp32"
    return Target(frame["device"][0], frame["runtime"][0], precision=precision, **numbers)
