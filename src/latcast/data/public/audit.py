"""Data issues of public tables, found without being told where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from math import exp

import polars as pl

from latcast.data._audited import SEVERITIES, Finding

from ._table import PublicTable, finding, number, share_of
from .headings import parse_heading

Check = Callable[[PublicTable], Iterator[Finding]]

# Repeats of one network on one target that differ by more are a warning.
_DIFFERENT = 0.05
# Rows within a quarter of a target's fastest are at its floor; told where they are a fifth or more.
_FLOOR, _FLOOR_SHARE, _MIN_ROWS = 1.25, 0.2, 100
# Robust deviation, in logarithms, of a target's latencies from those of the networks elsewhere.
_ERRATIC, _MIN_NETWORKS = 0.6, 10
# What rows of one target have in common, of the columns that a table has.
_TARGET = ("setting", "heading", "section", "runtime", "precision", "threads", "powersave",
           "gpu_device", "mode")  # fmt: skip

_CONSEQUENCES = {
    "failed": ("A failed run is not slow but impossible there.", "Do not fill the gaps."),
    "copied": (
        "Both would be a device left out that was trained on.",
        "Count the two devices as one.",
    ),
    "int8-on-gpu": (
        "They would tell that the GPU is slow at int8, or stand for another machine's CPU.",
        "Take int8 from the rows of the CPU.",
    ),
    "empty-run": (
        "A model of them forecasts that large networks take no time.",
        "Leave the run out, as the reader does.",
    ),
}
_MALFORMED = (
    "Numbers that were misread would be wrong silently.",
    "Compare the rows that are shown with the table's source.",
)


def audit_table(table: PublicTable) -> list[Finding]:
    """Run the checks of all tables and those in the module of this one.

    Returns:
        The most severe findings first, within a severity in the checks' order.
    """
    own: tuple[Check, ...] = import_module(f"{__package__}.{table.name}").CHECKS
    findings = [found for check in (*CHECKS, *own) for found in check(table)]
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def check_dropped(table: PublicTable) -> Iterator[Finding]:
    """Rows that the reader leaves out, a finding for each reason."""
    for each in table.dropped:
        consequence, advice = _CONSEQUENCES.get(each.kind, _MALFORMED)
        yield Finding(
            each.kind,
            "warning",
            f"{share_of(each.count, table.rows, 'is', 'are')} left out: {each.reason}",
            {"count": each.count, "rows": table.rows, "examples": each.examples},
            consequence,
            advice,
        )


def check_machines(table: PublicTable) -> Iterator[Finding]:
    """Headings that name several machines, and chips that several headings name."""
    headings = table.frame.select("heading").unique(maintain_order=True)
    named = [parse_heading(text).chips for text in headings["heading"]]
    several = headings.filter(pl.Series([len(chips) > 1 for chips in named], dtype=pl.Boolean))
    if len(several):
        yield finding(
            "several-machines",
            "warning",
            f"{len(several)} of {len(headings)} headings name several machines",
            several,
            "Rows of a processor and of a card would be of one device.",
            "Take device and chip from the reader: it goes by the GPU that a row was run on.",
        )
    groups = table.frame.group_by("chip").agg(pl.col("heading").unique().sort())
    shared = groups.filter(pl.col("heading").list.len() > 1).sort("chip")
    if len(shared):
        yield finding(
            "one-chip",
            "note",
            f"{len(headings)} headings are of {len(groups)} chips: {len(shared)} have several",
            shared,
            "A device that is left out by its heading is known from its chip's other headings.",
            "Leave out by chip.",
        )


def check_repeats(table: PublicTable) -> Iterator[Finding]:
    """The same network on the same target in several rows."""
    keys = [c for c in (*_TARGET, "network", "batch", "fused") if c in table.frame.columns]
    latency = pl.col("latency_ms")
    groups = (
        table.frame.group_by(keys, maintain_order=True)
        .agg(pl.len().alias("count"), (latency.max() / latency.min() - 1).alias("spread"))
        .filter(pl.col("count") > 1)
        .sort("spread", descending=True)
    )
    if len(groups):
        yield finding(
            "repeats",
            "warning" if groups["spread"][0] > _DIFFERENT else "note",
            f"{len(groups)} networks have several rows of one target, {groups['count'].sum()} in "
            f"all; they differ by {100 * number(groups['spread'].median()):.2f} % at the "
            "median and "
            f"{100 * groups['spread'][0]:.0f} % at most",
            groups.select("heading", "setting", "network", "count", "spread"),
            "A split by row tests on networks that were trained on; a difference is a setting that "
            "the table does not state, or the noise of a whole run.",
            "Split by network; take their spread for the error that no model gets below.",
        )


def check_floor(table: PublicTable) -> Iterator[Finding]:
    """Targets whose small networks all take the same: the launch, not the work."""
    keys = [c for c in ("setting", "heading", "batch") if c in table.frame.columns]
    floor = pl.col("latency_ms").quantile(0.01).over(keys).alias("floor_ms")
    groups = (
        table.frame.with_columns(floor)
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col("floor_ms").first(),
            (pl.col("latency_ms") < _FLOOR * pl.col("floor_ms")).mean().alias("share"),
            pl.len().alias("rows"),
        )
        .filter(pl.col("rows") >= _MIN_ROWS, pl.col("share") >= _FLOOR_SHARE)
        .sort("share", descending=True)
    )
    if len(groups):
        least, most = number(groups["floor_ms"].min()), number(groups["floor_ms"].max())
        yield finding(
            "launch-floor",
            "note",
            f"{len(groups)} targets have a fifth or more of their rows within a quarter of the "
            f"fastest ({least:.3g} to {most:.3g} ms)",
            groups,
            "There the launch takes the time; the shape does not matter.",
            "Give the model a constant for each launch.",
        )


def check_erratic(table: PublicTable) -> Iterator[Finding]:
    """Targets that order networks unlike all others: a sum of two effects does not explain them."""
    keys = [c for c in _TARGET if c in table.frame.columns and c != "precision"]
    effects = {"of_target": keys, "of_network": ["network", "precision"]}
    left = table.frame.with_columns(left=pl.col("latency_ms").log())
    for _ in range(4):  # medians of rows and columns in turns (Tukey's median polish)
        for of in effects.values():
            left = left.with_columns(left=pl.col("left") - pl.col("left").median().over(of))
    groups = (
        left.with_columns(others=pl.col("left").count().over(effects["of_network"]))
        .filter(pl.col("others") >= _MIN_NETWORKS)
        .group_by(keys, maintain_order=True)
        .agg((1.4826 * pl.col("left").abs().median()).alias("deviation"), pl.len().alias("rows"))
        .filter(pl.col("rows") >= _MIN_NETWORKS, pl.col("deviation") > _ERRATIC)
        .sort("deviation", descending=True)
    )
    if len(groups):
        yield finding(
            "erratic",
            "warning",
            f"{len(groups)} targets order networks unlike the others: their latencies scatter by "
            f"up to a factor of {exp(groups['deviation'][0]):.2g} about what network and "
            "target explain",
            groups.select("deviation", "rows", *keys),
            "Few measured networks of such a target say little about its others.",
            "Expect wide intervals there, and weigh these targets less.",
        )


CHECKS: tuple[Check, ...] = (
    check_dropped,
    check_erratic,
    check_repeats,
    check_machines,
    check_floor,
)
