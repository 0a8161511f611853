"""Qualcomm AI Hub's models on phones and boards: ``latencies.csv.gz``.

The table's own columns: ``component``, ``stated_precision`` (``float``, ``w8a8``, ``w8a16`` …),
``compute_unit``, ``layers``, ``layers_npu``, ``layers_gpu``, ``layers_cpu`` (null: none),
``memory_min_mb`` and ``memory_max_mb`` (estimated peak memory, a range over runs), ``is_proxy``
(a phone or board that stands in for another), ``qairt`` (version of the compiler, null where it
was not used).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from latcast.data._audited import Finding
from latcast.devices import PRECISIONS

from ._table import PublicTable, Sieve, finding, share_of

SOURCE = "quic/ai-hub-models, BSD-3"

SETTINGS = {"NPU": "npu", "GPU": "gpu", "CPU": "cpu"}

COPIED_SHARE = 0.9
"""Of the rows of two devices for the same network, precision and runtime, those with the same
latency, where the one's table is the other's. By chance it is 1 in 600 of the public rows."""
# Two devices that have a few networks in common may agree on them by chance.
MIN_SHARED = 20

_KEY = ("model", "component", "stated_precision", "runtime")
_LAYERS = ("layers_npu", "layers_gpu", "layers_cpu")
_MEMORY = ("memory_min_mb", "memory_max_mb")
_COLUMNS = (
    *("model", "component", "precision", "device", "runtime", "latency_ms", "compute_unit"),
    *("layers", *_LAYERS, *_MEMORY, "qairt"),
)


def read(folder: Path) -> PublicTable:
    """Read the table.

    Rows of a device whose latencies are copies of another's are left out, and what is left of
    both has one chip.

    Raises:
        FileNotFoundError: there is no ``latencies.csv.gz``.
        ValueError: it is damaged as a whole.
    """
    rows = Sieve(folder / "latencies.csv.gz", _COLUMNS)
    rows.text("model", "component", "precision", "device", "runtime", "compute_unit")
    rows.numbers("latency_ms")
    rows.positive("latency_ms")
    rows.numbers(*_MEMORY, optional=True)
    rows.numbers("layers", *_LAYERS, optional=True, whole=True)
    rows.drop(
        "contradiction",
        "the least memory is above the most",
        pl.col("memory_min_mb") > pl.col("memory_max_mb"),
    )
    unit = pl.col("compute_unit")
    rows.drop(
        "bad-unit", f"compute_unit is none of {', '.join(SETTINGS)}", ~unit.is_in([*SETTINGS])
    )
    rows.frame = rows.frame.rename(
        {"device": "heading", "precision": "stated_precision"}
    ).with_columns(
        is_proxy=pl.col("heading").str.contains("(?i)proxy"),
        runtime=pl.col("runtime").str.to_lowercase().str.replace_all("_", "-"),
        setting=unit.replace_strict(SETTINGS, default=None),
        network=pl.format("ai_hub:{}/{}", "model", "component"),
        family=pl.col("model").str.extract("^([a-z]+)").fill_null(pl.col("model")),
    )
    copies = _drop_copies(rows)
    stated = pl.col("stated_precision")
    floating = pl.when(setting="cpu").then(pl.lit("fp32")).otherwise(pl.lit("fp16"))
    precision = pl.when(stated == "float").then(floating).otherwise(
        stated.replace({"w8a8": "int8"})
    )  # fmt: skip
    frame = rows.finish(
        "ai_hub", precision=precision, heading=pl.col("heading"), part=pl.col("setting")
    ).drop("model")
    chips = dict(frame.select("heading", "chip").unique().rows())
    for copy, original in copies.items():
        if copy in chips:
            frame = frame.with_columns(pl.col("chip").replace(chips[copy], chips[original]))
    return PublicTable(
        "ai_hub", folder, SOURCE, frame, rows.rows, tuple(rows.dropped), rows.devices
    )


def _drop_copies(rows: Sieve) -> dict[str, str]:
    """Leave out what one device's table has from another's; returns copy -> original."""
    frame = rows.frame
    latencies = frame.select(*_KEY, "heading", "is_proxy", "latency_ms")
    both = latencies.join(latencies, on=list(_KEY), suffix="_of")
    # Of two, the one that is no proxy was measured.
    first = (pl.col("is_proxy_of"), pl.col("heading_of")), (pl.col("is_proxy"), pl.col("heading"))
    earlier = (first[0][0] < first[1][0]) | (
        (first[0][0] == first[1][0]) & (first[0][1] < first[1][1])
    )
    equal = pl.col("latency_ms") == pl.col("latency_ms_of")
    copies = (
        both.filter(earlier)
        .group_by("heading", "heading_of")
        .agg(equal.mean().alias("share"), pl.len().alias("shared"))
        .filter(pl.col("share") >= COPIED_SHARE, pl.col("shared") >= MIN_SHARED)
        .sort("heading", "share", descending=[False, True])
        .unique("heading", keep="first", maintain_order=True)
    )
    found = {copy: original for copy, original, *_ in copies.iter_rows()}
    for copy, original in found.items():
        measured = frame.filter(heading=original).select(*_KEY, "latency_ms").unique()
        keys = frame.select(*_KEY, "latency_ms", "heading", "row").join(
            measured, on=[*_KEY, "latency_ms"], how="semi"
        )
        copied = keys.filter(heading=copy)["row"]
        rows.drop(
            "copied",
            f"{copy} has the latency of {original}: one was measured",
            pl.col("row").is_in(copied.implode()),
        )
    return found


# --- findings ---------------------------------------------------------------------------------

# Memory over runs of one network: most over least, in MB above 1.
_MEMORY_RANGE = 10


def check_memory(table: PublicTable) -> Iterator[Finding]:
    """Memory that is a range over runs."""
    frame = table.frame
    least = pl.col("memory_min_mb").clip(lower_bound=1)
    rows = frame.filter(pl.col("memory_max_mb") > _MEMORY_RANGE * least)
    if len(rows):
        yield finding(
            "memory-range",
            "warning",
            f"{share_of(len(rows), len(frame))} a peak memory that is a range of more than a "
            f"factor of {_MEMORY_RANGE}",
            rows.select("heading", "network", "runtime", "memory_min_mb", "memory_max_mb"),
            "Neither end is the memory that the network needs.",
            "Do not train on it.",
        )


def check_units(table: PublicTable) -> Iterator[Finding]:
    """Layers that ran elsewhere than on the unit that is stated."""
    frame = table.frame
    others = {"npu": ("gpu", "cpu"), "gpu": ("npu", "cpu"), "cpu": ("npu", "gpu")}
    elsewhere = [
        pl.col("setting").eq(unit) & pl.sum_horizontal(f"layers_{o}" for o in rest).gt(0)
        for unit, rest in others.items()
    ]
    rows = frame.filter(pl.any_horizontal(elsewhere))
    if len(rows):
        yield finding(
            "mixed-units",
            "warning",
            f"{share_of(len(rows), len(frame))} layers on another unit than the one stated",
            rows.select("heading", "network", "runtime", pl.col("^(compute_unit|layers_.*)$")),
            "The time includes another unit's, and the way there and back.",
            "Give the model the layers of each unit, or leave the rows out.",
        )


def check_precisions(table: PublicTable) -> Iterator[Finding]:
    """Precisions that are no target's."""
    rows = table.frame.filter(~pl.col("precision").is_in(PRECISIONS))
    if len(rows):
        yield finding(
            "mixed-precisions",
            "note",
            f"{share_of(len(rows), len(table.frame))} weights and activations of different widths: "
            f"{', '.join(rows['precision'].unique().sort())}",
            rows.select("heading", "network", "precision", "latency_ms"),
            f"They are none of {', '.join(PRECISIONS)}.",
            "Keep them apart from both precisions.",
        )


def check_devices(table: PublicTable) -> Iterator[Finding]:
    """Devices that stand in for others."""
    headings = table.frame.select("heading").unique(maintain_order=True)
    stand_ins = headings.filter(pl.col("heading").str.contains("(?i)proxy"))
    if len(stand_ins):
        yield finding(
            "stand-ins",
            "note",
            f"{len(stand_ins)} of {len(headings)} devices stand in for another one",
            stand_ins,
            "Clock, memory and cooling are those of the stand-in.",
            "Take them for the chip, not for the board.",
        )


CHECKS = (check_memory, check_units, check_devices, check_precisions)
