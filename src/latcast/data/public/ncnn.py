"""``benchncnn`` on phones, boards and computers: ``latencies.csv`` and ``models/*.param``.

The table's own columns: ``powersave`` (0 all, 1 little, 2 big cores), ``gpu_device`` (-1: the CPU),
``section`` (a setting in words, else null), ``loops``, ``min_ms`` (of the fastest pass, which is
the latency), ``mean_ms``, ``max_ms``, ``throttled`` (whether the slowest pass took
:data:`THROTTLED` times as long as the fastest) and ``repeat`` (0, 1 … where a heading has the same
setting and network several times).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import ndtr

from latcast.data._audited import Finding

from ._table import PublicTable, Sieve, finding, number, share_of

SOURCE = "Tencent/ncnn, benchmark/, BSD-3"

THROTTLED = 1.5
"""Slowest over fastest pass: 9 % of the rows of the public table lie above."""

_ROUNDING = 0.01 / 12**0.5
"""Standard deviation of what two printed decimals leave out, ms."""

# Built without Vulkan or without a GPU, a device takes the option and computes on the CPU: rows of
# the AX620A with gpu_device 0 are those of one core (3.5 times four cores', within 5 %).
_NO_GPU = "(?i)ax620a|ax630c|t40xp"

# What one run of benchncnn has in common; a run that is repeated counts as one here.
_RUN = ("heading", "section", "threads", "powersave", "gpu_device")
_LOST = -0.3
_MIN_NETWORKS = 10

_COLUMNS = ("device", "threads", "powersave", "gpu_device", "loops", "section", "model")
_TIMES = ("min_ms", "max_ms", "avg_ms")


def read(folder: Path) -> PublicTable:
    """Read the table.

    Raises:
        FileNotFoundError: there is no ``latencies.csv``.
        ValueError: it is damaged as a whole.
    """
    files = {f"ncnn:{path.stem}": path for path in sorted(folder.glob("models/*.param"))}
    rows = Sieve(folder / "latencies.csv", (*_COLUMNS, *_TIMES))
    rows.text("device", "model")
    rows.numbers("threads", "powersave", "loops", whole=True)
    rows.numbers("gpu_device", optional=True, whole=True)
    rows.numbers(*_TIMES)
    rows.at_least(1, "threads", "loops")
    rows.positive(*_TIMES)
    order = (pl.col("min_ms") > pl.col("avg_ms")) | (pl.col("avg_ms") > pl.col("max_ms"))
    rows.drop("contradiction", "the mean is not between the fastest and slowest pass", order)
    _name_networks(rows, files)
    # Headings from before Vulkan state no gpu_device.
    rows.frame = rows.frame.with_columns(pl.col("gpu_device").fill_null(-1))
    vulkan = (pl.col("gpu_device") >= 0) & ~pl.col("device").str.contains(_NO_GPU)
    rows.frame = rows.frame.with_columns(
        setting=pl.when(vulkan).then(pl.lit("vulkan")).otherwise(pl.lit("cpu"))
    ).rename({"device": "heading"})
    # Of 126 such rows that have a twin with gpu_device -1, the median ratio to it is 1.005.
    rows.drop(
        "int8-on-gpu",
        "int8 with a gpu_device: ncnn computes it on the CPU, which the heading of a card does "
        "not name",
        (pl.col("setting") == "vulkan") & (pl.col("precision") == "int8"),
    )
    _drop_empty_runs(rows)
    spread = (pl.col("max_ms") / pl.col("min_ms")).log()
    scatter = spread / pl.col("loops").replace_strict(_ranges(rows.frame["loops"]), default=None)
    frame = rows.finish(
        "ncnn",
        heading=pl.col("heading"),
        part=pl.when(setting="vulkan").then(pl.lit("gpu")).otherwise(pl.lit("cpu")),
        part_index=pl.when(setting="vulkan").then(pl.col("gpu_device")).otherwise(pl.lit(0)),
        runtime=pl.when(setting="vulkan").then(pl.lit("ncnn-vulkan")).otherwise(pl.lit("ncnn")),
        # Means follow what else a device did and how it throttled; the fastest pass comes again.
        latency_ms=pl.col("min_ms"),
        scatter=(scatter**2 + _ROUNDING**2 / pl.col("min_ms") ** 2).sqrt(),
    )
    frame = (
        frame.with_columns(
            throttled=pl.col("max_ms") > THROTTLED * pl.col("min_ms"),
            repeat=pl.int_range(pl.len()).over(*_RUN, "network", "precision"),
        )
        .rename({"avg_ms": "mean_ms"})
        .drop("model")
    )
    return PublicTable(
        "ncnn", folder, SOURCE, frame, rows.rows, tuple(rows.dropped), rows.devices, files
    )


def _ranges(loops: pl.Series) -> dict[int, float | None]:
    """Passes -> :func:`expected_range`; None of a single pass, whose deviation is not known."""
    return {n: expected_range(n) if n > 1 else None for n in loops.unique().to_list()}


def expected_range(loops: int) -> float:
    """Mean of largest minus smallest of ``loops`` standard normal values (Tippett 1925)."""
    x = np.linspace(-8.0, 8.0, 4001)
    p = ndtr(x)
    return float(np.trapezoid(1 - (1 - p) ** loops - p**loops, x))


def _name_networks(rows: Sieve, files: dict[str, Path]) -> None:
    """A network's name is that of its file; the ``_int8`` twin is the network in int8."""
    underscored = pl.col("model").str.replace_all("-", "_")
    known = (pl.lit("ncnn:") + pl.col("model")).is_in(list(files))
    name = pl.when(known).then(pl.col("model")).otherwise(underscored)
    is_int8 = name.str.ends_with("_int8")
    network = name.str.strip_suffix("_int8")
    rows.frame = rows.frame.with_columns(
        network=pl.lit("ncnn:") + network,
        family=network.str.to_lowercase().str.extract("^([a-z]+)").fill_null(network),
        precision=pl.when(is_int8).then(pl.lit("int8")).otherwise(pl.lit("fp32")),
    )


def _drop_empty_runs(rows: Sieve) -> None:
    """Leave out runs of a GPU that give back nothing once the device is lost.

    Small networks take milliseconds and large ones less than one: the latencies of a run fall
    with those that CPUs take. Of the public table's 35 runs on GPUs one has a correlation of
    ranks of -0.48, and the next, bound by launches, -0.04.
    """
    reference = rows.frame.filter(setting="cpu").group_by("network", "precision")
    usual = reference.agg(usual=pl.col("avg_ms").log().median())
    of_runs = rows.frame.filter(setting="vulkan").join(usual, on=["network", "precision"])
    ranks = of_runs.group_by(_RUN).agg(
        rho=pl.corr("avg_ms", "usual", method="spearman"), networks=pl.len()
    )
    lost = ranks.filter(pl.col("rho") < _LOST, pl.col("networks") >= _MIN_NETWORKS)
    gone = rows.frame.join(lost, on=_RUN, how="semi", nulls_equal=True)["row"]
    rows.drop(
        "empty-run",
        "the larger the network, the faster: the GPU was lost and computed nothing",
        pl.col("row").is_in(gone.implode()),
    )


# --- findings ---------------------------------------------------------------------------------

# Of fewer passes the fastest is still disturbed where a device is busy.
_FEW_PASSES = 5


def check_throttled(table: PublicTable) -> Iterator[Finding]:
    """Rows whose passes differ widely: the device was throttled, or busy."""
    ratio = (pl.col("max_ms") / pl.col("min_ms")).alias("slowest_over_fastest")
    rows = table.frame.filter("throttled").with_columns(ratio)
    if rows.is_empty():
        return
    worst = rows.sort("slowest_over_fastest", descending=True)
    yield finding(
        "throttled",
        "warning",
        f"{share_of(len(rows), len(table.frame))} passes that differ by more than half, the worst "
        f"by a factor of {worst['slowest_over_fastest'][0]:.3g}",
        worst.select("heading", "network", "precision", "min_ms", "max_ms", "latency_ms", "loops"),
        "The fastest pass is read: the mean is of two states of the device.",
        "Weigh rows by their scatter.",
        devices=worst["device"].n_unique(),
    )


def check_passes(table: PublicTable) -> Iterator[Finding]:
    """Latencies of a few passes."""
    rows = table.frame.filter(pl.col("loops") < _FEW_PASSES)
    if len(rows):
        yield finding(
            "few-passes",
            "note",
            f"{share_of(len(rows), len(table.frame))} latencies of fewer than {_FEW_PASSES} "
            f"passes; others are of up to {number(table.frame['loops'].max()):g}",
            rows.select("heading", "network", "loops", "latency_ms"),
            "Of a few passes even the fastest may have been disturbed.",
            "Weigh rows by their scatter and passes.",
            devices=rows["device"].n_unique(),
        )


def check_words(table: PublicTable) -> Iterator[Finding]:
    """Settings in words, and rows that were run elsewhere than the option says."""
    frame = table.frame
    rows = frame.filter(pl.col("section").is_not_null())
    if len(rows):
        yield finding(
            "setting-in-words",
            "warning",
            f"{share_of(len(rows), len(frame))} a setting in words: "
            f"{', '.join(rows['section'].unique().sort())}",
            rows.select("heading", "section", "network", "latency_ms"),
            "Two settings are one target unless the words are read.",
            "Keep sections apart.",
        )
    rows = frame.filter(pl.col("gpu_device") >= 0, pl.col("setting") == "cpu")
    if len(rows):
        yield finding(
            "no-gpu",
            "warning",
            f"{share_of(len(rows), len(frame))} a GPU's number on a chip without one",
            rows.select("heading", "gpu_device", "threads", "network", "latency_ms"),
            "They are latencies of the CPU.",
            "The reader counts them among the CPU's.",
        )


def check_graphs(table: PublicTable) -> Iterator[Finding]:
    """Networks whose file is not there, of a table that has files."""
    if not table.network_files:
        return
    rows = table.frame.filter(~pl.col("network").is_in(list(table.network_files)))
    if len(rows):
        names = rows["network"].unique(maintain_order=True)
        yield finding(
            "no-graph",
            "note",
            f"{share_of(len(rows), len(table.frame))} a network without a file: {', '.join(names)}",
            rows.select("heading", "network", "latency_ms"),
            "Nothing is known of it but its name.",
            "Leave the rows out.",
        )


def check_versions(table: PublicTable) -> Iterator[Finding]:
    """Runs that lack networks which others have: versions of the benchmark, which it grew with."""
    runs = table.frame.filter(precision="fp32").group_by("setting", *_RUN, maintain_order=True)
    sizes = runs.agg(pl.col("network").n_unique().alias("networks")).sort("networks")
    if len(sizes) and sizes["networks"][0] < sizes["networks"][-1]:
        most = sizes["networks"][-1]
        fewer = sizes.filter(pl.col("networks") < most)
        yield finding(
            "versions",
            "note",
            f"{len(fewer)} of {len(sizes)} runs lack some of the {most} networks of others, down "
            f"to {sizes['networks'][0]}: they are of older versions, or out of memory",
            fewer.select("heading", "setting", "threads", "networks"),
            "Headings differ by the runtime's version, which the table does not state.",
            "Compare devices on networks that both have; expect older runs to be slower.",
        )


def check_threads(table: PublicTable) -> Iterator[Finding]:
    """More threads than the device has cores."""
    cores = {name: device.cores for name, device in table.devices.items()}
    frame = table.frame.with_columns(
        cores=pl.col("machine").replace_strict(cores, default=None, return_dtype=pl.Int64)
    )
    rows = frame.filter(pl.col("threads") > pl.col("cores"), pl.col("setting") == "cpu")
    if len(rows):
        yield finding(
            "more-threads-than-cores",
            "note",
            f"{share_of(len(rows), len(frame))} more threads than the device has cores",
            rows.select("heading", "threads", "cores", "network", "latency_ms"),
            "Threads share cores, or wait for each other.",
            "Count as many threads as there are cores.",
            devices=rows["device"].n_unique(),
        )


CHECKS = (
    check_throttled, check_words, check_passes, check_threads, check_graphs, check_versions,
)  # fmt: skip
