"""timm's benchmark of image models: ``latencies.csv.gz``, and ``imagenet.csv.gz`` beside it.

The table's own columns: ``layout``, ``image_size``, ``gmacs``, ``macts`` (millions of activations),
``params_m``, ``counts_stated`` (False where the row's counts are those of other settings), ``amp``,
``dynamo`` (compiled), ``torch``, ``cuda`` (null on a CPU) and ``images_per_second``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from latcast.data._audited import Finding

from ._table import PublicTable, Sieve, finding, number, share_of

SOURCE = "huggingface/pytorch-image-models, results/, Apache-2.0"

_SETTING = (
    r"^(?P<stated>[a-z]+\d*)-(?P<layout>nchw|nhwc)-(?P<torch>pt\d+)-(?P<backend>[a-z]+\d*)"
    r"-(?P<heading>.+?)(?P<dynamo>-dynamo)?$"
)
# torch.autocast computes convolutions and products in half precision; on a CPU in bfloat16.
_PRECISIONS = {"amp": "fp16", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "ampbf16": "bf16"}
_COUNTS = ("gmacs", "macts", "params_m")


def read(folder: Path) -> PublicTable:
    """Read the table.

    Raises:
        FileNotFoundError: there is no ``latencies.csv.gz``.
        ValueError: it is damaged as a whole.
    """
    columns = ("setting", "model", "image_size", "batch", "step_ms", "images_per_second", *_COUNTS)
    rows = Sieve(folder / "latencies.csv.gz", columns)
    rows.text("setting", "model")
    rows.drop(
        "failed",
        "neither batch nor latency: it did not run",
        pl.all_horizontal(pl.col("batch", "step_ms", "images_per_second").is_null()),
    )
    rows.numbers("image_size", "batch", whole=True)
    rows.numbers("step_ms", "images_per_second")
    rows.numbers(*_COUNTS, optional=True)
    rows.at_least(1, "image_size", "batch")
    rows.positive("step_ms", "images_per_second", *_COUNTS)
    ratio = pl.col("step_ms") * pl.col("images_per_second") / (1000 * pl.col("batch"))
    rows.drop(
        "contradiction",
        "step_ms and images_per_second differ by more than 10 %",
        (ratio - 1).abs() > 0.1,
    )
    _read_settings(rows)
    counted = pl.all_horizontal(pl.col("gmacs", "macts").is_not_null())
    others = [pl.col(name).fill_null(pl.col(name).median().over("network")) for name in _COUNTS]
    family = pl.col("model").str.extract("^([a-z]+)").fill_null(pl.col("model"))
    rows.frame = rows.frame.with_columns(
        network=pl.format("timm:{}@{}", "model", "image_size"), family=family, counts_stated=counted
    ).with_columns(others)
    frame = rows.finish(
        "timm", latency_ms=pl.col("step_ms"), heading=pl.col("heading"), part=pl.col("part")
    )
    frame = frame.drop("model", "step_ms", "stated", "backend")
    return PublicTable("timm", folder, SOURCE, frame, rows.rows, tuple(rows.dropped), rows.devices)


def _read_settings(rows: Sieve) -> None:
    frame = rows.frame.with_columns(parts=pl.col("setting").str.extract_groups(_SETTING))
    rows.frame = frame.unnest("parts")
    known = pl.col("stated").is_in(list(_PRECISIONS))
    rows.drop(
        "bad-setting",
        "setting is not PRECISION-LAYOUT-TORCH-CUDA-DEVICE[-dynamo]",
        ~known | pl.col("stated").is_null(),
    )
    is_cpu = pl.col("backend") == "cpu"
    compiled = pl.col("dynamo").fill_null("") != ""
    rows.frame = rows.frame.with_columns(
        precision=pl.when(is_cpu & (pl.col("stated") == "amp"))
        .then(pl.lit("bf16"))
        .otherwise(pl.col("stated").replace_strict(_PRECISIONS, default=None)),
        amp=pl.col("stated").str.starts_with("amp"),
        dynamo=compiled,
        runtime=pl.when(compiled).then(pl.lit("pytorch-dynamo")).otherwise(pl.lit("pytorch")),
        cuda=pl.when(is_cpu).then(None).otherwise(pl.col("backend")),
        part=pl.when(is_cpu).then(pl.lit("cpu")).otherwise(pl.lit("gpu")),
    )


IMAGENET = "imagenet.csv.gz"
VARIABLE = "LATCAST_DATA"
"""Environment variable that names the folder of the public tables."""

# Where the public tables are looked for, beside the current folder.
_FOLDERS = ("../shared/data/public", "shared/data/public")
# Below a folder of public tables, timm's own name of the file last.
_PLACES = tuple(
    f"{folder}{name}"
    for folder in ("timm/", "public/timm/", "")
    for name in (IMAGENET, "results-imagenet.csv")
)


def find_imagenet(given: str | Path | None = None) -> Path:
    """The table of ImageNet accuracies: a file, or what is found where public tables are kept.

    Args:
        given: a file, or a folder of public tables; by default the folder that :data:`VARIABLE`
            names, or else ``../shared/data/public`` or ``shared/data/public``.

    Raises:
        FileNotFoundError: there is none; the message says which file to download.
    """
    named = given or os.environ.get(VARIABLE)
    found = [Path(named)] if named else [Path(folder) for folder in _FOLDERS]
    for place in found:
        for path in (place, *(place / name for name in _PLACES)):
            if path.is_file():
                return path
    where = ", ".join(map(str, found))
    raise FileNotFoundError(
        f"choosing needs a table of accuracies, which latcast does not ship, and {where} holds "
        "none: fetch it (latcast data fetch timm-imagenet --out data) and give it with "
        f"--accuracies data/timm, or put it into the folder that {VARIABLE} names"
    )


def read_imagenet(path: Path) -> pl.DataFrame:
    """ImageNet accuracies of timm's pretrained models.

    Args:
        path: folder of the table, or the file itself.

    Returns:
        ``network`` (the key of the latencies: the name without the weights' tag), ``model`` (the
        name with it), ``image_size``, ``top1`` and ``top5`` (percent), ``params_m``.

    Raises:
        FileNotFoundError: there is no such file, or no ``imagenet.csv.gz`` in the folder.
        ValueError: it is damaged, or a cell is no number.
    """
    file = path / IMAGENET if path.is_dir() else path
    rows = Sieve(file, ("model", "img_size", "top1", "top5", "param_count"))
    without_commas = pl.col("param_count").str.replace_all(",", "")  # 1,014.45
    rows.frame = rows.frame.with_columns(without_commas)
    rows.text("model")
    rows.numbers("img_size", whole=True)
    rows.numbers("top1", "top5", "param_count")
    if rows.dropped:
        first = rows.dropped[0]
        raise ValueError(f"{rows.path}, row {first.examples[0]['row']}: {first.reason}")
    name = pl.col("model").str.split(".").list.first()
    return rows.frame.select(
        pl.format("timm:{}@{}", name, "img_size").alias("network"),
        "model",
        pl.col("img_size").alias("image_size"),
        "top1",
        "top5",
        pl.col("param_count").alias("params_m"),
    )


# --- findings ---------------------------------------------------------------------------------

# Counts of one network in other settings that differ by more are told.
_DIFFERENT = 0.05
# Share of a setting's best rates (their 95 % quantiles) that arithmetic or memory would reach.
_FAR, _SMALL = 0.25, 1.0


def check_batches(table: PublicTable) -> Iterator[Finding]:
    """Batches that were halved until they fitted."""
    frame = table.frame
    most = pl.col("batch").max().over("setting")
    rows = frame.with_columns(largest=most).filter(pl.col("batch") < pl.col("largest"))
    if len(rows):
        yield finding(
            "shrinking-batch",
            "warning",
            f"{share_of(len(rows), len(frame))} a smaller batch than their setting's largest, down "
            f"to {number(rows['batch'].min()):g}: halved until it fitted",
            rows.sort("batch").select("setting", "network", "batch", "largest", "latency_ms"),
            "Per image, large networks are slower than at the batch of the small ones.",
            "Compare latencies of the batch, with the batch as an input.",
        )


def check_counts(table: PublicTable) -> Iterator[Finding]:
    """Counts that are missing, and that disagree."""
    frame = table.frame
    rows = frame.filter(~pl.col("counts_stated"))
    if len(rows):
        unknown = rows["gmacs"].null_count()
        yield finding(
            "no-counts",
            "note",
            f"{share_of(len(rows), len(frame))} no GMACs or activations; other settings have them "
            f"for {len(rows) - unknown}, none for {unknown}",
            rows.select("setting", "network", "params_m", "latency_ms"),
            "A model of stated counts does without these rows.",
            "Count the graphs instead.",
            unknown=unknown,
        )
    spread = [(pl.col(c).max() / pl.col(c).min() - 1).alias(c) for c in ("gmacs", "params_m")]
    stated = frame.filter("counts_stated").group_by("network", maintain_order=True).agg(spread)
    rows = stated.filter(pl.max_horizontal("gmacs", "params_m") > _DIFFERENT)
    if len(rows):
        yield finding(
            "other-counts",
            "note",
            f"{len(rows)} of {len(stated)} networks have GMACs or parameters that differ by more "
            f"than {100 * _DIFFERENT:.0f} % between settings: other versions, or branches merged",
            rows.sort("gmacs", descending=True),
            "One name stands for several graphs.",
            "Take counts from the graph, with branches merged where the benchmark merges them.",
        )


def check_versions(table: PublicTable) -> Iterator[Finding]:
    """Networks that versions of PyTorch run differently fast on one device."""
    keys = ["chip", "layout", "dynamo", "precision", "network", "batch"]
    torch, latency = pl.col("torch"), pl.col("latency_ms").sort_by("torch")
    groups = (
        table.frame.group_by(keys, maintain_order=True)
        .agg(
            torch.min().alias("oldest"),
            torch.max().alias("newest"),
            (latency.last() / latency.first()).alias("ratio"),
        )
        .filter(pl.col("oldest") != pl.col("newest"))
        .with_columns(off=pl.col("ratio").log().abs())
        .sort("off", descending=True)
    )
    if len(groups):
        least, median, most = (number(groups["ratio"].quantile(q)) for q in (0.05, 0.5, 0.95))
        yield finding(
            "versions",
            "note",
            f"{len(groups)} networks were run by several versions of PyTorch on one device: the "
            f"newest takes {median:.2f} times as long as the oldest at the median, {least:.2f} to "
            f"{most:.2f} times in nine of ten",
            groups.drop("off"),
            "Settings of one device differ by their software, and by branches that are merged.",
            "Give the model the version, or take the newest setting.",
        )


def check_rates(table: PublicTable) -> Iterator[Finding]:
    """Rows far from what the setting reaches in arithmetic and in activations alike."""
    passes = pl.col("batch") / pl.col("latency_ms")
    rates = [pl.col(name) * passes for name in ("gmacs", "macts")]
    best = [rate / rate.quantile(0.95).over("setting") for rate in rates]
    frame = table.frame.with_columns(share_of_best=pl.max_horizontal(best))
    rows = frame.filter(pl.col("share_of_best") < _FAR).sort("share_of_best")
    if len(rows):
        small = (rows["gmacs"] < _SMALL).sum()
        yield finding(
            "launch-bound",
            "note",
            f"{share_of(len(rows), len(frame))} less than {100 * _FAR:.0f} % of their "
            "setting's best rate "
            f"of GMACs and of activations alike, {small} of them below {_SMALL:g} GMACs",
            rows.select("setting", "network", "batch", "latency_ms", "gmacs", "share_of_best"),
            "Launches, or operators that are slow there, take the time: counts do not tell it.",
            "Give the model the kernels of the network.",
        )


CHECKS = (check_batches, check_counts, check_versions, check_rates)
