"""Latency datasets: architectures with their measured milliseconds on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.devices import Target
from latcast.spaces import Archs, space

from . import _parquet
from ._measurements import POSSIBLE_MS, Floats, Measurements

__all__ = ["POSSIBLE_MS", "LatencyDataset"]


@dataclass(frozen=True, eq=False)
class LatencyDataset(Measurements):
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

    subject = "architecture"

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
        self._check_columns()

    def __len__(self) -> int:
        return len(self.archs)

    def unique_index(self) -> npt.NDArray[np.intp]:
        return self.archs.unique_index()

    def _subjects_at(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        return {"archs": self.archs[positions]}

    def _joined_subjects(self, others: Sequence[LatencyDataset]) -> dict[str, Any]:
        return {"archs": self.archs.concatenate(*(part.archs for part in others))}

    def save(self, path: str | Path) -> None:
        """Write Parquet, atomically: a full disk or an interruption leaves no half file."""
        import polars as pl

        subjects = {
            "space": [self.archs.space.name] * len(self),
            "arch": pl.Series(self.archs.genes.astype(np.int16)).cast(pl.List(pl.UInt8)),
        }
        _parquet.write(path, self, _parquet.LATENCIES, subjects)

    @classmethod
    def load(cls, path: str | Path) -> LatencyDataset:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is damaged, not a LatencyDataset, of a newer schema version,
                or mixes spaces or targets.
            FileNotFoundError: there is no such file.
        """
        frame, attributes = _parquet.read(path, _parquet.LATENCIES, ("space", "arch"))
        return cls(_archs(Path(path), frame), **attributes)


def _archs(path: Path, frame: Any) -> Archs:
    import polars as pl

    _parquet.check_text(path, frame, "space")
    genes = frame["arch"]
    if not (isinstance(genes.dtype, pl.List) and genes.dtype.inner.is_integer()):
        raise ValueError(f"{path}: arch must hold lists of integers; got {genes.dtype}")
    values = genes.explode()
    if values.null_count() or not values.is_between(0, 255).all():
        raise ValueError(f"{path}: genes must be integers from 0 to 255")
    the_space = space(_parquet.only_value(path, frame, "space"))
    lengths = genes.list.len().unique().to_list()
    if lengths != [len(the_space.genes)]:
        raise ValueError(
            f"{path}: architectures of {the_space.name} need {len(the_space.genes)} genes; "
            f"got lists of {lengths}"
        )
    return Archs(the_space, np.array(genes.to_list(), dtype=np.uint8))
