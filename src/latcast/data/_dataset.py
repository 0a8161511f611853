"""Latency datasets: architectures with their measured milliseconds on one target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._files import atomic_path, check_file
from latcast.devices import Target
from latcast.spaces import Archs, space

SCHEMA_VERSION = 1
_METADATA_KEY = "latcast"
_TARGET_COLUMNS = ("device", "runtime", "batch", "precision", "threads")

_OPTIONAL_COLUMNS = ("reference_ms", "uncorrected_ms", "standard_error")

Floats = npt.NDArray[np.float64]

POSSIBLE_MS = (1e-9, 1e12)
"""From less than a cycle of any clock to thirty years; beyond, sums and squares overflow too."""


@dataclass(frozen=True, eq=False)
class LatencyDataset:
    """Measurements of architectures of one space on one target, row by row.

    Datasets are immutable; slicing (slices, index arrays, masks) keeps all columns together.

    Attributes:
        archs: n architectures.
        latency_ms: median latency of every row in ms, shape (n,), read-only.
        target: what the latencies belong to.
        order: position of every row in the measuring campaign, shape (n,); row
            numbers by default.
        reference_ms: latency of the interleaved reference network, shape (n,), or None.
        samples_ms: raw timed samples of every row, or None.
        uncorrected_ms: latency of every row before the machine's drift was taken out, shape
            (n,), or None.
        standard_error: relative standard error of every latency, shape (n,), or None.
        provenance: where the data comes from (source, licence, notes).
    """

    archs: Archs
    latency_ms: Floats
    target: Target
    order: npt.NDArray[np.int64] = None  # type: ignore[assignment]  # set on creation
    reference_ms: Floats | None = None
    samples_ms: tuple[Floats, ...] | None = None
    uncorrected_ms: Floats | None = None
    standard_error: Floats | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.archs)
        latency = np.array(self.latency_ms, dtype=np.float64)
        order = np.arange(n) if self.order is None else _integers(self.order)
        if isinstance(self.target, str):
            object.__setattr__(self, "target", Target.parse(self.target))
        columns: dict[str, npt.NDArray[Any] | None] = {"latency_ms": latency, "order": order}
        for name in _OPTIONAL_COLUMNS:
            if (values := getattr(self, name)) is not None:
                columns[name] = np.array(values, dtype=np.float64)
        for name, column in columns.items():
            if column is not None:
                if column.shape != (n,):
                    raise ValueError(
                        f"{name} must have one value per architecture, shape ({n},); "
                        f"got {column.shape}"
                    )
                column.flags.writeable = False
                object.__setattr__(self, name, column)
        if self.samples_ms is not None and len(self.samples_ms) != n:
            raise ValueError(
                f"samples_ms must have one list per architecture ({n}); got {len(self.samples_ms)}"
            )
        if self.samples_ms is not None:
            object.__setattr__(self, "samples_ms", tuple(map(_read_only, self.samples_ms)))

    def __len__(self) -> int:
        return len(self.archs)

    def __getitem__(self, index: int | slice | npt.NDArray[Any]) -> LatencyDataset:
        """The chosen rows, with everything that belongs to them."""
        positions = np.atleast_1d(np.arange(len(self))[index])
        columns: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[positions]
            for name in ("latency_ms", "order", *_OPTIONAL_COLUMNS)
        }
        if self.samples_ms is not None:
            columns["samples_ms"] = tuple(self.samples_ms[i] for i in positions.tolist())
        return replace(self, archs=self.archs[positions], **columns)

    def concatenate(self, *others: LatencyDataset) -> LatencyDataset:
        """These measurements followed by others of the same target and space.

        Columns and provenance are kept where all state them, the provenance where it is the same
        in all; the order goes on from one to the next.

        Raises:
            ValueError: a target or a space is another.
        """
        parts = (self, *others)
        for part in others:
            if part.target != self.target:
                raise ValueError(
                    f"only measurements of one target can be joined; got {self.target} and "
                    f"{part.target}"
                )
        columns: dict[str, Any] = {}
        for name in (*_OPTIONAL_COLUMNS, "samples_ms"):
            values = [getattr(part, name) for part in parts]
            if all(v is not None for v in values):
                joined = sum(values, ()) if name == "samples_ms" else np.concatenate(values)
                columns[name] = joined
        return LatencyDataset(
            self.archs.concatenate(*(part.archs for part in others)),
            np.concatenate([part.latency_ms for part in parts]),
            self.target,
            order=_consecutive([part.order for part in parts]),
            provenance={
                key: value
                for key, value in self.provenance.items()
                if all(part.provenance.get(key) == value for part in others)
            },
            **columns,
        )

    def check_latencies(self) -> None:
        """Make sure that every latency is finite, positive and within :data:`POSSIBLE_MS`.

        Raises:
            ValueError: naming the first row that is not, its value and what to do.
        """
        bad = ~self.possible
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"latencies must be finite and positive; got {self.latency_ms[row]} ms in row "
                f"{row} ({int(bad.sum())} such rows): see `latcast audit`, and leave them out "
                "with data.valid()"
            )

    def valid(self) -> LatencyDataset:
        """The rows that :meth:`check_latencies` lets pass."""
        return self[self.possible]

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Whether every latency is finite, positive and within :data:`POSSIBLE_MS`, shape (n,)."""
        least, most = POSSIBLE_MS
        return (self.latency_ms >= least) & (self.latency_ms <= most)

    def save(self, path: str | Path) -> None:
        """Write Parquet, atomically: a full disk or an interruption leaves no half file."""
        import polars as pl

        n = len(self)
        columns: dict[str, Any] = {
            "space": [self.archs.space.name] * n,
            "arch": pl.Series(self.archs.genes.astype(np.int16)).cast(pl.List(pl.UInt8)),
        }
        for name in _TARGET_COLUMNS:
            columns[name] = [getattr(self.target, name)] * n
        columns["latency_ms"] = self.latency_ms
        columns["order"] = self.order
        if self.samples_ms is not None:
            columns["samples_ms"] = pl.Series(
                [s.tolist() for s in self.samples_ms], dtype=pl.List(pl.Float64)
            )
        for name in _OPTIONAL_COLUMNS:
            if (values := getattr(self, name)) is not None:
                columns[name] = values
        header = {"schema_version": SCHEMA_VERSION, "provenance": dict(self.provenance)}
        with atomic_path(path) as temporary:
            pl.DataFrame(columns).write_parquet(
                temporary, metadata={_METADATA_KEY: json.dumps(header)}
            )

    @classmethod
    def load(cls, path: str | Path) -> LatencyDataset:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is damaged, not a LatencyDataset, of a newer schema version,
                or mixes spaces or targets.
            FileNotFoundError: there is no such file.
        """
        import polars as pl

        path = Path(path)
        check_file(path)
        try:
            # Bytes, not the path: polars would take a * or [ in the name for a pattern.
            content = path.read_bytes()
            metadata = pl.read_parquet_metadata(BytesIO(content))
            header = json.loads(metadata.get(_METADATA_KEY, "null"))
            frame = pl.read_parquet(BytesIO(content))
        except (
            pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError,
            RecursionError,
        ) as error:  # fmt: skip
            raise ValueError(f"{path} must be a whole Parquet file; reading it: {error}") from error
        _check_header(path, header)
        try:
            return _from_frame(path, frame, header)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{path} holds a column of the wrong type: {error}") from error


def _read_only(values: npt.ArrayLike) -> Floats:
    """The values as a read-only array; one that is so already is not copied."""
    if isinstance(values, np.ndarray) and not values.flags.writeable and values.dtype == np.float64:
        return values
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _consecutive(orders: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Positions in several campaigns as those in one."""
    ends = np.cumsum([0, *(int(order.max(initial=-1)) + 1 for order in orders)])
    return np.concatenate([order + end for order, end in zip(orders, ends, strict=False)])


def _integers(order: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(order)
    if array.size and (array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max):
        raise ValueError(f"order must hold integers; got {array.dtype}")
    return array.astype(np.int64)


def _check_header(path: Path, header: object) -> None:
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(
            f"{path} must be a LatencyDataset written by latcast; its metadata has no "
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


def _check_types(path: Path, frame: Any) -> None:
    """Make sure that every column can be converted without loss."""
    import polars as pl

    genes = frame["arch"]
    if isinstance(genes.dtype, pl.List) and genes.dtype.inner.is_integer():
        values = genes.explode()
        if values.null_count() or not values.is_between(0, 255).all():
            raise ValueError(f"{path}: genes must be integers from 0 to 255")
    else:
        raise ValueError(f"{path}: arch must hold lists of integers; got {genes.dtype}")
    listed = frame["samples_ms"].dtype if "samples_ms" in frame.columns else None
    if listed is not None and not (isinstance(listed, pl.List) and listed.inner.is_numeric()):
        raise ValueError(f"{path}: samples_ms must hold lists of numbers; got {listed}")
    for name in ("space", "device", "runtime", "precision"):
        if frame[name].dtype != pl.String or frame[name].null_count():
            raise ValueError(f"{path}: {name} must be text; got {frame[name].dtype}")
    for name in ("latency_ms", *_OPTIONAL_COLUMNS):
        if name in frame.columns and not frame[name].dtype.is_numeric():
            raise ValueError(f"{path}: {name} must hold numbers; got {frame[name].dtype}")
    if not frame["order"].dtype.is_integer() or frame["order"].null_count():
        raise ValueError(f"{path}: order must hold integers throughout")


def _from_frame(path: Path, frame: Any, header: dict[str, Any]) -> LatencyDataset:
    needed = {"space", "arch", *_TARGET_COLUMNS, "latency_ms", "order"}
    missing = sorted(needed - set(frame.columns))
    if missing:
        raise ValueError(f"{path} lacks the column {missing[0]!r} of a LatencyDataset")
    if frame.is_empty():
        raise ValueError(f"{path} holds no rows")
    _check_types(path, frame)
    one: dict[str, Any] = {}
    for name in ("space", *_TARGET_COLUMNS):
        values = frame[name].unique().to_list()
        if len(values) > 1:
            raise ValueError(
                f"{path} mixes {name} {values[0]!r} and {values[1]!r}: keep one target and space "
                "per dataset"
            )
        one[name] = values[0]
    the_space = space(one.pop("space"))
    lengths = frame["arch"].list.len().unique().to_list()
    if lengths != [len(the_space.genes)]:
        raise ValueError(
            f"{path}: architectures of {the_space.name} need {len(the_space.genes)} genes; "
            f"got lists of {lengths}"
        )
    samples = frame["samples_ms"].to_list() if "samples_ms" in frame.columns else None
    return LatencyDataset(
        Archs(the_space, np.array(frame["arch"].to_list(), dtype=np.uint8)),
        frame["latency_ms"].to_numpy(),
        Target(**one),
        order=frame["order"].to_numpy(),
        **{name: frame[name].to_numpy() for name in _OPTIONAL_COLUMNS if name in frame.columns},
        samples_ms=(
            None if samples is None else tuple(np.array(s or [], dtype=np.float64) for s in samples)
        ),
        provenance={str(k): str(v) for k, v in header.get("provenance", {}).items()},
    )
