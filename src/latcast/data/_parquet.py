"""Datasets as Parquet files: one row per measurement, schema version and provenance beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from latcast._files import atomic_path, check_file
from latcast.devices import Target

from ._measurements import OPTIONAL_COLUMNS, Measurements

SCHEMA_VERSION = 1
LATENCIES, NETWORKS = "LatencyDataset", "NetworkDataset"
"""Kinds of files, by the class that reads them."""

_METADATA_KEY = "latcast"
_TARGET_COLUMNS = ("device", "runtime", "batch", "precision", "threads")
_KINDS = {None: LATENCIES, "networks": NETWORKS}
"""Entry ``kind`` of the metadata; the first kind of files has none."""


def write(path: str | Path, data: Measurements, kind: str, subjects: Mapping[str, Any]) -> None:
    """Write a dataset, atomically: a full disk or an interruption leaves no half file.

    Args:
        path: the file.
        data: the dataset.
        kind: of the file.
        subjects: columns that only this kind has; they come first.
    """
    import polars as pl

    n = len(data)
    columns: dict[str, Any] = dict(subjects)
    for name in _TARGET_COLUMNS:
        columns[name] = [getattr(data.target, name)] * n
    columns["latency_ms"] = data.latency_ms
    columns["order"] = data.order
    if data.samples_ms is not None:
        columns["samples_ms"] = pl.Series(
            [s.tolist() for s in data.samples_ms], dtype=pl.List(pl.Float64)
        )
    for name in OPTIONAL_COLUMNS:
        if (values := getattr(data, name)) is not None:
            columns[name] = values
    header: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "provenance": dict(data.provenance)}
    if entry := next(k for k, v in _KINDS.items() if v == kind):
        header["kind"] = entry
    with atomic_path(path) as temporary:
        pl.DataFrame(columns).write_parquet(temporary, metadata={_METADATA_KEY: json.dumps(header)})


def kind_of(path: Path) -> str:
    """Which class reads the file.

    Raises:
        ValueError: it is damaged, or not written by latcast.
    """
    content = _content(path)
    return _checked_header(path, content, LATENCIES)[1]


def read(path: str | Path, kind: str, needed: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """A file's frame, and the attributes that every dataset has.

    Args:
        path: the file.
        kind: that it must be of.
        needed: names of the columns that only this kind has.

    Raises:
        ValueError: the file is damaged, of another kind or a newer schema version, lacks a
            column, has one of the wrong type, or mixes targets.
        FileNotFoundError: there is no such file.
    """
    import polars as pl

    path = Path(path)
    check_file(path)
    content = _content(path)
    header, found = _checked_header(path, content, kind)
    if found != kind:
        raise ValueError(
            f"{path} must be a {kind}; it is a {found}: read it with latcast.read, or {found}.load"
        )
    try:
        frame = pl.read_parquet(BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error
    _check_columns(path, frame, kind, needed)
    return frame, _attributes(path, frame, header)


def only_value(path: Path, frame: Any, name: str) -> Any:
    """The value that a column has in every row.

    Raises:
        ValueError: there are several.
    """
    values = frame[name].unique().to_list()
    if len(values) > 1:
        raise ValueError(
            f"{path} mixes {name} {values[0]!r} and {values[1]!r}: keep one target and space "
            "per dataset"
        )
    return values[0]


def check_text(path: Path, frame: Any, *names: str) -> None:
    """Make sure that columns hold text in every row.

    Raises:
        ValueError: one does not.
    """
    import polars as pl

    for name in names:
        if frame[name].dtype != pl.String or frame[name].null_count():
            raise ValueError(f"{path}: {name} must be text; got {frame[name].dtype}")


def check_lists(path: Path, frame: Any, name: str) -> None:
    """Make sure that a column, if there is one of that name, holds lists of numbers.

    Raises:
        ValueError: it does not.
    """
    import polars as pl

    listed = frame[name].dtype if name in frame.columns else None
    if listed is not None and not (isinstance(listed, pl.List) and listed.inner.is_numeric()):
        raise ValueError(f"{path}: {name} must hold lists of numbers; got {listed}")


def _content(path: Path) -> bytes:
    # Bytes, not the path: polars would take a * or [ in the name for a pattern.
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error


def _checked_header(path: Path, content: bytes, kind: str) -> tuple[dict[str, Any], str]:
    """The header of a file, and its kind; ``kind`` is the one that is asked for."""
    import polars as pl

    try:
        metadata = pl.read_parquet_metadata(BytesIO(content))
        header = json.loads(metadata.get(_METADATA_KEY, "null"))
    except (
        pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError,
        RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(
            f"{path} must be a {kind} written by latcast; its metadata has no "
            f"{_METADATA_KEY!r} entry with a schema version"
        )
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this latcast reads up to "
            f"{SCHEMA_VERSION}: upgrade with pip install -U latcast"
        )
    provenance = header.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ValueError(f"{path}: provenance must be a mapping; got {type(provenance).__name__}")
    entry = header.get("kind")
    if not isinstance(entry, str | None) or entry not in _KINDS:
        raise ValueError(f"{path}: kind must be networks or left out; got {entry!r}")
    return header, _KINDS[entry]


def _check_columns(path: Path, frame: Any, kind: str, needed: Sequence[str]) -> None:
    """Make sure that every column is there and can be converted without loss."""
    missing = sorted({*needed, *_TARGET_COLUMNS, "latency_ms", "order"} - set(frame.columns))
    if missing:
        raise ValueError(f"{path} lacks the column {missing[0]!r} of a {kind}")
    if frame.is_empty():
        raise ValueError(f"{path} holds no rows")
    check_lists(path, frame, "samples_ms")
    check_text(path, frame, "device", "runtime", "precision")
    for name in ("latency_ms", *OPTIONAL_COLUMNS):
        if name in frame.columns and not frame[name].dtype.is_numeric():
            raise ValueError(f"{path}: {name} must hold numbers; got {frame[name].dtype}")
    if not frame["order"].dtype.is_integer() or frame["order"].null_count():
        raise ValueError(f"{path}: order must hold integers throughout")


def _attributes(path: Path, frame: Any, header: Mapping[str, Any]) -> dict[str, Any]:
    import polars as pl

    try:
        samples = frame["samples_ms"].to_list() if "samples_ms" in frame.columns else None
        return {
            "latency_ms": frame["latency_ms"].to_numpy(),
            "target": Target(**{name: only_value(path, frame, name) for name in _TARGET_COLUMNS}),
            "order": frame["order"].to_numpy(),
            **{name: frame[name].to_numpy() for name in OPTIONAL_COLUMNS if name in frame.columns},
            "samples_ms": (
                None if samples is None else tuple(np.array(s or [], np.float64) for s in samples)
            ),
            "provenance": {str(k): str(v) for k, v in header.get("provenance", {}).items()},
        }
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} holds a column of the wrong type: {error}") from error
