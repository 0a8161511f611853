"""Single convolutions on a V100 with TensorRT at fp32, fp16 and int8: ``v100-convolutions.csv.gz``.

The table's own columns: ``kind`` (``Regular``, ``Depthwise``), ``c_in``, ``height``, ``width``,
``c_out``, ``kernel``, ``stride``, ``fused`` (as the source flags it) and ``padded`` (whether the
channels are no multiple of what the precision computes at once, so that TensorRT pads them).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from latcast.data._audited import Finding

from ._table import PublicTable, Sieve, finding, share_of

SOURCE = "alibaba/lightweight-neural-architecture-search, Apache-2.0"

FILE = "v100-convolutions.csv.gz"

CHANNELS = {"fp32": 1, "fp16": 8, "int8": 4}
"""Channels that a precision computes at once: tensor cores eight, dp4a four."""

_SHAPE = ("c_in", "c_out", "height", "width", "kernel", "stride")


def read(folder: Path) -> PublicTable:
    """Read the table.

    Raises:
        FileNotFoundError: there is no :data:`FILE`.
        ValueError: it is damaged as a whole.
    """
    rows = Sieve(folder / FILE, ("precision", "kind", "batch", *_SHAPE, "fused", "latency_ms"))
    rows.text("precision", "kind")
    rows.numbers("latency_ms")
    rows.drop("failed", "latency_ms is -1: the run failed", pl.col("latency_ms") == -1)
    rows.positive("latency_ms")
    rows.numbers("batch", *_SHAPE, "fused", whole=True)
    rows.at_least(1, "batch", *_SHAPE)
    rows.drop(
        "bad-precision",
        f"precision is none of {', '.join(CHANNELS)}",
        ~pl.col("precision").is_in(list(CHANNELS)),
    )
    rows.drop("bad-fused", "fused is neither 0 nor 1", ~pl.col("fused").is_in([0, 1]))
    at_once = pl.col("precision").replace_strict(CHANNELS, default=None)
    kind = pl.col("kind").str.to_lowercase()
    frame = rows.finish(
        "tinynas",
        setting=pl.col("precision"),
        network=pl.format("tinynas:{}/{}-{}-{}x{}-k{}-s{}-f{}", kind, *_SHAPE, "fused"),
        family=kind,
        runtime=pl.lit("tensorrt"),
        heading=pl.lit("Tesla V100"),
        part=pl.lit("gpu"),
    ).with_columns(padded=(pl.col("c_in") % at_once != 0) | (pl.col("c_out") % at_once != 0))
    return PublicTable(
        "tinynas", folder, SOURCE, frame, rows.rows, tuple(rows.dropped), rows.devices
    )


# --- findings ---------------------------------------------------------------------------------


def check_precisions(table: PublicTable) -> Iterator[Finding]:
    """Shapes that not all precisions have, and channels that a precision pads."""
    rows = table.frame.filter("padded")
    if len(rows):
        yield finding(
            "padded",
            "note",
            f"{share_of(len(rows), len(table.frame))} channels that the precision pads",
            rows.select("setting", "network", "batch", "latency_ms"),
            "MACs that are counted are fewer than those that are computed.",
            "Count channels rounded up.",
        )
    pairs = table.frame.group_by("network", "batch", maintain_order=True).agg(
        pl.col("precision").unique().sort()
    )
    all_of_them = table.frame["precision"].n_unique()
    rows = pairs.filter(pl.col("precision").list.len() < all_of_them)
    if len(rows):
        yield finding(
            "unpaired",
            "note",
            f"{len(rows)} of {len(pairs)} shapes lack one of {all_of_them} precisions",
            rows,
            "Means by precision are of other shapes.",
            "Compare precisions on shapes that have both.",
        )


CHECKS = (check_precisions,)
