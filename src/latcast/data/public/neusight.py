"""NeuSight's single operators and language models on GPUs, fp32, PyTorch 2.1.

``operators.csv.gz``, ``operators-test-known-gpus.csv.gz``, ``models.csv`` and ``configs/*.json``; a
folder may have some of them. The table's own columns: of operators ``op`` and the dimensions as
integers (``b``, ``m``, ``n``, ``k``, ``h``, ``c_in``, ``c_out``, ``kernel``, ``input_size``,
``stride``, ``padding``); of models ``mode`` (``inf``, ``train``), ``sequence``, ``fused``
and ``forward_ms``. ``batch`` of an operator is 1: its first dimension, ``b``, is part of the
network ``neusight:op/dims``.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from latcast.devices import Device

from ._table import Dropped, PublicTable, Sieve

SOURCE = "sitar-lab/NeuSight, MIT"

OPERATORS = ("operators.csv.gz", "operators-test-known-gpus.csv.gz")
MODELS = "models.csv"

DIMENSIONS = {
    "B": "b", "M": "m", "N": "n", "K": "k", "H": "h", "Input_Channel": "c_in",
    "Output_Channel": "c_out", "Kernel_Size": "kernel", "Input_Size": "input_size",
    "Stride": "stride", "Padding": "padding",
}  # fmt: skip
"""Dimension as the table calls it -> column."""

# Operators whose dimensions are known; of others, those that are stated.
_NEEDED = {
    "conv": ("b", "c_in", "c_out", "kernel", "input_size", "stride", "padding"),
    "linear": ("b", "m", "n", "k"),
    "bmm": ("b", "m", "n", "k"),
}
_DIM = rf"(?:{'|'.join(DIMENSIONS)})=\d{{1,12}}"
_DIMS = f"^{_DIM}(?: {_DIM})*$"


def read(folder: Path) -> PublicTable:
    """Read the files that there are.

    Raises:
        FileNotFoundError: there is none of them.
        ValueError: one is damaged as a whole.
    """
    frames: list[pl.DataFrame] = []
    dropped: list[Dropped] = []
    devices: dict[str, Device] = {}
    rows = 0
    for name in (*OPERATORS, MODELS):
        if (folder / name).is_file():
            sieve = _models(folder / name) if name == MODELS else _operators(folder / name)
            frames.append(sieve.frame)
            dropped += sieve.dropped
            devices |= sieve.devices
            rows += sieve.rows
    if not frames:
        raise FileNotFoundError(f"{folder} must hold one of {', '.join((*OPERATORS, MODELS))}")
    frame = pl.concat(frames, how="diagonal")
    files = {f"neusight:{path.stem}": path for path in sorted((folder / "configs").glob("*.json"))}
    return PublicTable("neusight", folder, SOURCE, frame, rows, tuple(dropped), devices, files)


def _operators(path: Path) -> Sieve:
    rows = Sieve(path, ("op", "device", "dims", "latency_ms"))
    rows.text("op", "device", "dims")
    rows.numbers("latency_ms")
    rows.positive("latency_ms")
    dims = pl.col("dims")
    rows.drop(
        "bad-dims",
        f"dims are not NAME=INTEGER with {', '.join(DIMENSIONS)}",
        ~dims.str.contains(_DIMS),
    )
    rows.frame = rows.frame.with_columns(
        dims.str.extract(rf"(?:^| ){name}=(\d+)").cast(pl.Int64).alias(column)
        for name, column in DIMENSIONS.items()
    )
    for column in DIMENSIONS.values():
        if column != "padding":
            rows.at_least(1, column)
    for op, needed in _NEEDED.items():
        lacks = pl.any_horizontal(pl.col(needed).is_null())
        rows.drop(
            "bad-dims", f"{op} lacks one of {', '.join(needed)}", (pl.col("op") == op) & lacks
        )
    return _finish(
        rows,
        setting=pl.col("op"),
        network=pl.format("neusight:{}/{}", "op", "dims"),
        family=pl.col("op"),
        runtime=pl.lit("pytorch"),
    )


def _models(path: Path) -> Sieve:
    columns = ("device", "model", "mode", "sequence", "batch", "forward_ms", "end_to_end_ms")
    rows = Sieve(path, columns)
    rows.text("device", "model", "mode")
    rows.frame = rows.frame.with_columns(
        fused=pl.col("batch").str.ends_with("-fusion"),
        batch=pl.col("batch").str.strip_suffix("-fusion"),
    )
    rows.numbers("sequence", "batch", whole=True)
    rows.numbers("forward_ms", "end_to_end_ms")
    rows.at_least(1, "sequence", "batch")
    rows.positive("forward_ms", "end_to_end_ms")
    rows.drop("bad-mode", "mode is neither inf nor train", ~pl.col("mode").is_in(["inf", "train"]))
    inference = pl.col("mode") == "inf"
    fused = pl.lit("pytorch-fused")
    return _finish(
        rows,
        setting=pl.when(inference).then(pl.lit("models")).otherwise(pl.lit("training")),
        network=pl.format("neusight:{}@{}", "model", "sequence"),
        family=pl.col("model").str.extract("^([a-z]+)").fill_null(pl.col("model")),
        runtime=pl.when(pl.col("fused")).then(fused).otherwise(pl.lit("pytorch")),
        latency_ms=pl.col("end_to_end_ms"),
    )


def _finish(rows: Sieve, **columns: pl.Expr) -> Sieve:
    """Order the columns; the sieve's frame is the table's."""
    fixed = {"precision": pl.lit("fp32"), "part": pl.lit("gpu")}
    frame = rows.finish("neusight", **fixed, **columns)
    rows.frame = frame.drop("dims", "model", "end_to_end_ms", strict=False)
    return rows


CHECKS = ()
