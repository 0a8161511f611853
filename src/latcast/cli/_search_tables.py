"""Tables of ``latcast bench search``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from ._common import print_table

Rows = Sequence[dict[str, Any]]


def print_search(found: Mapping[str, Rows]) -> None:
    """The tables of ``bench search``: of the Note10, of NAS-Bench-201, or both."""
    from latcast.bench.protocol import machine

    typer.echo(machine())
    if rows := found.get("samsung-note10"):
        _print_note10(rows)
    if rows := found.get("nasbench201"):
        _print_nasbench201(rows)


def _print_note10(rows: Rows) -> None:
    """What was found by every source, and what others published."""
    columns = [
        "space", "latencies from", "rows", "confidence", "budget ms", "top-1 %", "teacher's %",
        "predicted ms", "true ms", "over", "over by ms", "regret", "search s", "evaluations",
        "published %",
    ]  # fmt: skip
    print_table(
        columns,
        [_note10_cells(row) for row in rows],
        title=f"\nsamsung-note10; mean ± deviation over {_seeds(rows)}",
    )
    _print_kept(rows)
    typer.echo(
        "true: by the published lookup table; regret: points of top-1 behind the best network "
        "known, of those that keep the budget"
    )
    for line in dict.fromkeys(_published_line(r) for r in rows if r["published"]):
        typer.echo(line)


def _print_kept(rows: Rows) -> None:
    """How often budgets were kept, over all spaces and budgets."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["confidence"]), []).append(row)
    cells = []
    for (source, confidence), own in groups.items():
        found, over = (sum(row[name] for row in own) for name in ("found", "over"))
        excess = [row["excess_ms"] / row["max_latency_ms"] for row in own if row["over"]]
        regret = [row["regret_mean"] for row in own if row["over"] < row["found"]]
        cells.append([
            source,
            _level(confidence),
            f"{found - over} of {found}",
            str(sum(row["seeds"] for row in own) - found),
            _mean([100 * x for x in excess], ".1f"),
            _mean([100 * x for x in regret], ".2f"),
        ])  # fmt: skip
    columns = ["latencies from", "confidence", "kept", "none found", "over by %", "regret"]
    print_table(columns, cells, title="all spaces and budgets")


def _note10_cells(row: dict[str, Any]) -> list[str]:
    published = row["published"]
    exact = " (all)" if row["is_exact"] else ""
    return [
        row["space"],
        row["source"],
        "7000" if row["samples"] is None else str(row["samples"]),
        _level(row["confidence"]),
        f"{row['max_latency_ms']:g}",
        _percent(row, "accuracy"),
        _percent(row, "teacher"),
        _number(row["predicted_ms"], ".2f"),
        _number(row["true_ms"], ".2f"),
        f"{row['over']} of {row['found']}",
        _number(row["excess_ms"], ".2f"),
        _number(100 * row["regret_mean"], ".2f"),
        _number(row["search_seconds"], ".2f"),
        _number(row["evaluations"], ",.0f") + exact,
        "–" if published is None else f"{100 * published['top1']:.2f}",
    ]


def _published_line(row: dict[str, Any]) -> str:
    published = row["published"]
    kind = (
        "top-1 on images of ImageNet"
        if published["measured"]
        else "top-1 by the teacher of the accuracy model"
    )
    return (
        f"published (quoted, not run here): {published['who']}, {row['space']}, {row['source']}: "
        f"{kind}; {published['seconds']:g} s for five budgets"
    )


def _print_nasbench201(rows: Rows) -> None:
    """Regret by budget of every target, source and confidence."""
    quantiles = list(dict.fromkeys(row["quantile"] for row in rows))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["target"], row["source"], row["confidence"]), []).append(row)
    first = rows[0]
    print_table(
        ["target", "latencies from", "confidence",
         *(f"regret at {100 * q:g} %" for q in quantiles), "kept", "none found", "over by %"],
        [_nasbench201_cells(key, own) for key, own in groups.items()],
        title=f"\nnasbench201; {first['samples']} measurements of a target, {_seeds(rows)}; "
        f"a choice among {first['candidates']} networks with known accuracies on CIFAR-100",
    )  # fmt: skip
    typer.echo(
        "budgets: quantiles of these networks' true latencies; regret: points of accuracy behind "
        "the search on the true latencies, of those that keep the budget"
    )
    means = [row for row in rows if "targets" in row]
    partial = sum(len(row["regret_targets"]) < len(row["targets"]) for row in means)
    if partial:
        typer.echo(
            "regret of mean: over the targets where a network kept the budget, which in "
            f"{partial} of {len(means)} cells are not all: two sources can differ in their targets"
        )


def _nasbench201_cells(key: tuple[Any, ...], rows: Rows) -> list[str]:
    target, source, confidence = key
    found = sum(row["found"] for row in rows)
    asked = sum(row["seeds"] * len(row.get("targets", [target])) for row in rows)
    over = [row["excess_percent"] for row in rows if math.isfinite(row["excess_percent"])]
    return [
        target,
        source,
        _level(confidence),
        *(_number(100 * row["regret_mean"], ".2f") for row in rows),
        f"{sum(row['kept'] for row in rows)} of {found}",
        str(asked - found),
        _mean(over, ".1f"),
    ]


def _seeds(rows: Rows) -> str:
    seeds = rows[0]["seeds"]
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _level(confidence: float | None) -> str:
    return "–" if confidence is None else f"{confidence:g}"


def _percent(row: dict[str, Any], name: str) -> str:
    mean, spread = 100 * row[f"{name}_mean"], 100 * row[f"{name}_std"]
    return f"{mean:.2f} ± {spread:.2f}" if math.isfinite(mean) else "–"


def _number(value: float, format_: str) -> str:
    return f"{value:{format_}}" if math.isfinite(value) else "–"


def _mean(values: Sequence[float], format_: str) -> str:
    return _number(sum(values) / len(values), format_) if values else "–"
