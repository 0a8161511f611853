"""Datasets as Parquet files: one row per measurement, schema version and provenance beside.

Version 2 states the quantity, whose name is that of the column of values. Version 1 held
latencies, of architectures or of graphs; its columns were the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._checksums import SEAL, UNSEALED, check_seal, sealed
from latcast._files import read_file, write_file
from latcast._limits import MAX_FILE_BYTES
from latcast._parquet_pages import check_pages
from latcast.devices import Target

from ._quantity import LATENCY_MS, Quantity, quantity

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 2

_METADATA_KEY = "latcast"
_TARGET_COLUMNS = ("device", "runtime", "batch", "precision", "threads")
# Columns of values in the quantity's unit, which is a part of their names.
_VALUES = ("reference", "uncorrected")


def write(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write a dataset, atomically: a full disk or an interruption leaves no half file.

    Args:
        path: the file.
        data: the attributes of a :class:`~latcast.data.Dataset` by name.
    """
    of: Quantity = data["quantity"]
    header = {
        "schema_version": SCHEMA_VERSION,
        SEAL: UNSEALED,
        "quantity": of.name,
        "provenance": dict(data["provenance"]),
    }
    content = BytesIO()
    frame(data).write_parquet(content, metadata={_METADATA_KEY: json.dumps(header)})
    write_file(path, sealed(content.getvalue()))


def frame(data: Mapping[str, Any]) -> pl.DataFrame:
    """The columns of a dataset's file."""
    import polars as pl

    of: Quantity = data["quantity"]
    columns = _network_columns(data)
    n = len(data["networks"])
    if data["target"] is not None:
        for name in _TARGET_COLUMNS:
            columns[name] = [getattr(data["target"], name)] * n
    columns[of.name] = data["values"]
    columns["order"] = data["order"]
    if data["samples"] is not None:
        columns[of.column("samples")] = _lists(data["samples"])
    columns |= {of.column(name): data[name] for name in _VALUES if data[name] is not None}
    if data["standard_error"] is not None:
        columns["standard_error"] = data["standard_error"]
    return pl.DataFrame(columns)


def _network_columns(data: Mapping[str, Any]) -> dict[str, Any]:
    import polars as pl

    networks = data["networks"]
    if not isinstance(networks, tuple):
        return {
            "space": [networks.space.name] * len(networks),
            "arch": pl.Series(networks.genes.astype(np.int16)).cast(pl.List(pl.UInt8)),
        }
    columns = {
        "name": list(data["names"]),
        "family": list(data["families"]),
        "graph": [graph.to_json() for graph in networks],
    }
    if data["layers"] is not None:
        columns[data["quantity"].column("layers")] = _lists(data["layers"])
    return columns


def _lists(values: Sequence[Any]) -> Any:
    import polars as pl

    return pl.Series([v.tolist() for v in values], dtype=pl.List(pl.Float64))


def read(path: str | Path) -> dict[str, Any]:
    """The attributes of the dataset in a file, by name.

    Raises:
        ValueError: the file is damaged, of a newer schema version, lacks a column, has one of
            the wrong type, or mixes targets or spaces.
        FileNotFoundError: there is no such file.
    """
    import polars as pl

    path = Path(path)
    # Bytes, not the path: polars would take a * or [ in the name for a pattern.
    content = read_file(path)
    try:
        metadata = pl.read_parquet_metadata(BytesIO(content))
        header = json.loads(metadata.get(_METADATA_KEY, "null"))
        of = _checked_quantity(path, header)
        check_seal(path, content, header)
        check_pages(path, content)
        frame = pl.read_parquet(BytesIO(content))
    except (
        pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, json.JSONDecodeError,
        UnicodeDecodeError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error
    file = _File(path, frame, of)
    file.check_columns()
    return {
        "quantity": of,
        "provenance": {str(k): str(v) for k, v in header.get("provenance", {}).items()},
        **file.columns(),
        **(file.graphs() if file.is_of_graphs else file.archs()),
    }


def _checked_quantity(path: Path, header: Any) -> Quantity:
    """The quantity that a file's header states.

    Raises:
        ValueError: it is no header of latcast's, or of a newer version.
    """
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(
            f"{path} must be a dataset written by latcast; its metadata has no "
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
    if version == 1:
        return LATENCY_MS
    try:
        return quantity(str(header.get("quantity")))
    except ValueError as error:
        raise ValueError(
            f"{path}: {error} (a quantity of your own: latcast.data.register_quantity)"
        ) from None


class _File:
    """The table in a file, and what it is turned into."""

    def __init__(self, path: Path, frame: Any, of: Quantity) -> None:
        self.path, self.frame, self.of = path, frame, of
        self.is_of_graphs = "graph" in frame.columns or "family" in frame.columns
        self.has_target = of.of_target or "device" in frame.columns

    def check_columns(self) -> None:
        """Make sure that every column is there and can be converted without loss."""
        import polars as pl

        frame, of = self.frame, self.of
        needed = {of.name, "order", *(_TARGET_COLUMNS if self.has_target else ())}
        needed |= {"name", "family", "graph"} if self.is_of_graphs else {"space", "arch"}
        if missing := sorted(needed - set(frame.columns)):
            raise ValueError(f"{self.path} lacks the column {missing[0]!r} of a dataset")
        if frame.is_empty():
            raise ValueError(f"{self.path} holds no rows")
        self._check_size()
        for name in needed & {"device", "runtime", "precision", "name", "family", "graph", "space"}:
            if frame[name].dtype != pl.String or frame[name].null_count():
                raise ValueError(f"{self.path}: {name} must be text; got {frame[name].dtype}")
        for name in (of.name, *map(of.column, _VALUES), "standard_error"):
            if name in frame.columns and not frame[name].dtype.is_numeric():
                raise ValueError(f"{self.path}: {name} must hold numbers; got {frame[name].dtype}")
        if not frame["order"].dtype.is_integer() or frame["order"].null_count():
            raise ValueError(f"{self.path}: order must hold integers throughout")

    def _check_size(self) -> None:
        """Make sure that texts fit into memory: a file may hold one for all rows."""
        import polars as pl

        for name, kind in self.frame.schema.items():
            size = self.frame[name].str.len_bytes().sum() if kind == pl.String else 0
            if size > MAX_FILE_BYTES:
                raise ValueError(f"{self.path}: {name} must hold at most {MAX_FILE_BYTES} bytes")

    def columns(self) -> dict[str, Any]:
        """Return the columns of a dataset that do not depend on the kind of its networks."""
        frame, of = self.frame, self.of
        target = {name: self._only_value(name) for name in _TARGET_COLUMNS if self.has_target}
        named = {name: of.column(name) for name in _VALUES} | {"standard_error": "standard_error"}
        return {
            "values": frame[of.name].to_numpy(),
            "order": frame["order"].to_numpy(),
            "target": Target(**target) if target else None,
            "samples": self._lists("samples"),
            **{
                name: frame[column].to_numpy()
                for name, column in named.items()
                if column in frame.columns
            },
        }

    def graphs(self) -> dict[str, Any]:
        """The networks of a file of graphs, and what belongs to them."""
        from latcast.graph import Graph

        try:
            graphs = tuple(Graph.from_json(text) for text in self.frame["graph"])
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return {
            "networks": graphs,
            "names": tuple(self.frame["name"]),
            "families": tuple(self.frame["family"]),
            "layers": self._lists("layers"),
        }

    def archs(self) -> dict[str, Any]:
        """The networks of a file of architectures."""
        import polars as pl

        from latcast.spaces import Archs, space

        genes = self.frame["arch"]
        if not (isinstance(genes.dtype, pl.List) and genes.dtype.inner.is_integer()):
            raise ValueError(f"{self.path}: arch must hold lists of integers; got {genes.dtype}")
        values = genes.explode()
        if values.null_count() or not values.is_between(0, 255).all():
            raise ValueError(f"{self.path}: genes must be integers from 0 to 255")
        the_space = space(self._only_value("space"))
        lengths = genes.list.len().unique().to_list()
        if lengths != [len(the_space.genes)]:
            raise ValueError(
                f"{self.path}: architectures of {the_space.name} need {len(the_space.genes)} "
                f"genes; got lists of {lengths}"
            )
        return {"networks": Archs(the_space, np.array(genes.to_list(), dtype=np.uint8))}

    def _only_value(self, name: str) -> Any:
        """The value that a column has in every row."""
        values = self.frame[name].unique().to_list()
        if len(values) > 1:
            raise ValueError(
                f"{self.path} mixes {name} {values[0]!r} and {values[1]!r}: keep one target and "
                "space per dataset"
            )
        return values[0]

    def _lists(self, what: str) -> tuple[Any, ...] | None:
        """An array for every row, where there is such a column."""
        import polars as pl

        name = self.of.column(what)
        if name not in self.frame.columns:
            return None
        kind = self.frame[name].dtype
        if not (isinstance(kind, pl.List) and kind.inner.is_numeric()):
            raise ValueError(f"{self.path}: {name} must hold lists of numbers; got {kind}")
        return tuple(np.array(x or [], np.float64) for x in self.frame[name].to_list())
