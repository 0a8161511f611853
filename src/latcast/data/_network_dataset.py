"""Datasets of networks of any kind: graphs with their measured milliseconds on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.devices import Target
from latcast.graph import Graph

from . import _parquet
from ._measurements import Floats, Measurements, read_only


@dataclass(frozen=True, eq=False)
class NetworkDataset(Measurements):
    """Measurements of networks, as graphs of layers, on one target, row by row.

    Datasets are immutable; slicing (slices, index arrays, masks) keeps all columns together.

    Attributes:
        graphs: n networks; their shapes include the target's batch.
        names: of every network: a member of a family (``resnet(depth1=2,…)``), or a file.
        families: of every network, empty for a file.
        latency_ms: median latency of every row in ms, shape (n,), read-only.
        target: what the latencies belong to.
        order: position of every row in the measuring campaign, shape (n,); row
            numbers by default.
        reference_ms: latency of the interleaved reference network, shape (n,), or None.
        samples_ms: raw timed samples of every row, or None.
        uncorrected_ms: latency of every row before the machine's drift was taken out, shape
            (n,), or None.
        standard_error: relative standard error of every latency, shape (n,), or None.
        layers_ms: of every row milliseconds by position of the graph's layers, from the
            runtime's profiler, whose clock takes time too; NaN where nothing is booked, as on
            layers that are fused into others; or None.
        provenance: where the data comes from (source, licence, notes).
    """

    subject = "network"

    graphs: tuple[Graph, ...]
    names: tuple[str, ...]
    families: tuple[str, ...]
    latency_ms: Floats
    target: Target
    order: npt.NDArray[np.int64] = None  # type: ignore[assignment]  # set on creation
    reference_ms: Floats | None = None
    samples_ms: tuple[Floats, ...] | None = None
    uncorrected_ms: Floats | None = None
    standard_error: Floats | None = None
    layers_ms: tuple[Floats, ...] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.graphs)
        for name in ("graphs", "names", "families"):
            self._set(name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != n:
                raise ValueError(
                    f"{name} must have one entry per network ({n}); got {len(getattr(self, name))}"
                )
        self._check_columns()
        if self.layers_ms is not None:
            self._set("layers_ms", tuple(map(read_only, self.layers_ms)))
            lengths = [x.shape for x in self.layers_ms or ()]
            if lengths != [(len(graph),) for graph in self.graphs]:
                raise ValueError(
                    "layers_ms must have one array per network, with a value for each layer; "
                    f"got arrays of {[s[0] if s else 0 for s in lengths[:9]]} for graphs of "
                    f"{[len(graph) for graph in self.graphs[:9]]} layers"
                )

    def __len__(self) -> int:
        return len(self.graphs)

    def unique_index(self) -> npt.NDArray[np.intp]:
        return np.unique(np.array(self.names, dtype=object), return_inverse=True)[1].ravel()

    def _subjects_at(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        return {
            name: None if (values := getattr(self, name)) is None else _chosen(values, positions)
            for name in _SUBJECTS
        }

    def _joined_subjects(self, others: Sequence[NetworkDataset]) -> dict[str, Any]:
        columns = {name: [getattr(part, name) for part in (self, *others)] for name in _SUBJECTS}
        return {
            name: None if any(v is None for v in values) else sum(values, ())
            for name, values in columns.items()
        }

    def save(self, path: str | Path) -> None:
        """Write Parquet, atomically: a full disk or an interruption leaves no half file."""
        import polars as pl

        subjects: dict[str, Any] = {
            "name": list(self.names),
            "family": list(self.families),
            "graph": [graph.to_json() for graph in self.graphs],
        }
        if self.layers_ms is not None:
            subjects["layers_ms"] = pl.Series(
                [ms.tolist() for ms in self.layers_ms], dtype=pl.List(pl.Float64)
            )
        _parquet.write(path, self, _parquet.NETWORKS, subjects)

    @classmethod
    def load(cls, path: str | Path) -> NetworkDataset:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is damaged, not a NetworkDataset, of a newer schema version,
                or mixes targets.
            FileNotFoundError: there is no such file.
        """
        frame, attributes = _parquet.read(path, _parquet.NETWORKS, ("name", "family", "graph"))
        path = Path(path)
        _parquet.check_text(path, frame, "name", "family", "graph")
        _parquet.check_lists(path, frame, "layers_ms")
        listed = frame["layers_ms"].to_list() if "layers_ms" in frame.columns else None
        try:
            graphs = [Graph.from_json(text) for text in frame["graph"]]
            return cls(
                tuple(graphs),
                tuple(frame["name"]),
                tuple(frame["family"]),
                layers_ms=listed and tuple(np.array(x or [], np.float64) for x in listed),
                **attributes,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


_SUBJECTS = ("graphs", "names", "families", "layers_ms")


def _chosen(values: Sequence[Any], positions: npt.NDArray[np.int64]) -> tuple[Any, ...]:
    return tuple(values[i] for i in positions.tolist())
