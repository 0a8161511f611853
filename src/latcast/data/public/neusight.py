"""NeuSight's single operators and language models on GPUs, fp32, PyTorch 2.1.

``operators.csv.gz``, ``operators-test-known-gpus.csv.gz``, ``models.csv`` and ``configs/*.json``; a
folder may have some of them. The table's own columns: of operators ``op`` and the dimensions as
integers (``b``, ``m``, ``n``, ``k``, ``h``, ``c_in``, ``c_out``, ``kernel``, ``input_size``,
``stride``, ``padding``); of models ``mode`` (``inf``, ``train``), ``sequence``, ``fused``
and ``forward_ms``. ``batch`` of an operator is 1: its first dimension, ``b``, is part of the
network ``neusight:op/dims``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

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
PRODUCTS = ("linear", "bmm")
LARGE_OPERATIONS = 5e10
"""Products so large run at a card's own rate: that of two files differs by a third at most."""
HELD_DOWN, LEAST_LARGE = 0.5, 20
"""Less of its rate in another file means that a card's clock was held down, if so many tell."""

_DIM = rf"(?:{'|'.join(DIMENSIONS)})=\d{{1,12}}"
_DIMS = f"^{_DIM}(?: {_DIM})*$"


def read(folder: Path) -> PublicTable:
    """Read the files that there are.

    Raises:
        FileNotFoundError: there is none of them.
        ValueError: one is damaged as a whole.
    """
    operators = [_operators(folder / name) for name in OPERATORS if (folder / name).is_file()]
    _drop_held_down(operators)
    sieves = [*operators, *([_models(folder / MODELS)] if (folder / MODELS).is_file() else [])]
    if not sieves:
        raise FileNotFoundError(f"{folder} must hold one of {', '.join((*OPERATORS, MODELS))}")
    frame = pl.concat([sieve.frame for sieve in sieves], how="diagonal")
    dropped: tuple[Dropped, ...] = tuple(each for sieve in sieves for each in sieve.dropped)
    devices = {name: device for sieve in sieves for name, device in sieve.devices.items()}
    rows = sum(sieve.rows for sieve in sieves)
    files = {f"neusight:{path.stem}": path for path in sorted((folder / "configs").glob("*.json"))}
    return PublicTable("neusight", folder, SOURCE, frame, rows, dropped, devices, files)


def _drop_held_down(files: Sequence[Sieve]) -> None:
    """Leave out products of one file that a card runs at less than half its rate in another."""
    operations = 2 * pl.col("b") * pl.col("m") * pl.col("n") * pl.col("k")
    large = pl.col("op").is_in(PRODUCTS) & (operations >= LARGE_OPERATIONS)
    rates = [
        file.frame.filter(large)
        .group_by("heading", "op")
        .agg(rate=(operations / pl.col("latency_ms")).median(), rows=pl.len())
        .filter(pl.col("rows") >= LEAST_LARGE)
        for file in files
    ]
    for file, own in zip(files, rates, strict=True):
        best = pl.concat(rates).group_by("heading", "op").agg(best=pl.col("rate").max())
        slow = own.join(best, on=["heading", "op"]).filter(
            pl.col("rate") < HELD_DOWN * pl.col("best")
        )
        for heading, op, rate, _, most in slow.sort("heading", "op").iter_rows():
            file.drop(
                "held-down",
                f"{heading} ran large products ({op}) at {rate / most:.2f} of its rate in another "
                "file: its clock was held down",
                (pl.col("heading") == heading) & (pl.col("op") == op),
            )


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
