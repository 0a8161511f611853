"""Tables of ``latcast bench``: the machine first, then the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import typer

from ._common import print_table

Rows = Sequence[dict[str, Any]]


def print_paper(rows: Rows, seeds: int) -> None:
    """The table of ``bench paper``."""
    print_machine(f"{seeds} seed{'s' if seeds > 1 else ''}")
    cells = [
        [
            r["dataset"],
            r["predictor"],
            str(r["train"]),
            str(r["test"]),
            f"{r['mae_ms']:.4g} ± {r['mae_std_ms']:.1g}",
            f"{r['rmse_ms']:.4g}",
            f"{r['mape']:.3g}",
            f"{r['within_5']:.1f}",
            f"{r['within_10']:.1f}",
            f"{r['spearman']:.4f}",
            f"{r['kendall']:.4f}",
            "/".join(f"{r[f'coverage_{c}']:.0f}" if f"coverage_{c}" in r else "–"
                     for c in (50, 80, 90, 95)),
            f"{r['fit_seconds']:.2f}",
            f"{r['archs_per_second']:,.0f}",
            _published_mae(r),
        ]
        for r in rows
    ]  # fmt: skip
    columns = [
        "dataset", "predictor", "train", "test", "MAE ms", "RMSE ms", "MAPE %", "≤ 5 %", "≤ 10 %",
        "Spearman", "Kendall", "cover 50/80/90/95", "fit s", "archs/s", "published MAE",
    ]  # fmt: skip
    print_table(columns, cells)


def print_transfer(rows: Rows) -> None:
    """The table of ``bench transfer``."""
    ceiling, peers = any("ceiling_mape" in r for r in rows), any(r["published"] for r in rows)
    print_machine(_protocol(rows, "base_seconds"))
    columns = ["target", "samples", "selection", *SCORE_COLUMNS, "adapt s", "scored"]
    columns += ["ceiling ρ", "ceiling MAPE %", "ceiling ≤ 10 %"] if ceiling else []
    columns += ["published ρ"] if peers else []
    cells = []
    for r in rows:
        row = [r["target"], str(r["samples"]), r["selection"], *_scores(r)]
        row += [_number(r["adapt_seconds"], ".2f"), str(r["scored"])]
        if ceiling:
            row += [
                _number(r["ceiling_spearman"], ".4f"),
                _number(r["ceiling_mape"], ".2f"),
                _number(r["ceiling_within_10"], ".1f"),
            ]
        cells.append(row + ([_peers(r["published"])] if peers else []))
    print_table(columns, cells)
    _print_doubts(rows)
    for easier in sorted({p["easier"] for r in rows for p in r["published"]}):
        names = sorted({p["peer"] for r in rows for p in r["published"] if p["easier"] == easier})
        typer.echo(f"{', '.join(names)}: {easier}; in brackets, measurements of the target in all")


def print_gpu(rows: Rows) -> None:
    """The tables of ``bench gpu``, one a space."""
    for space in dict.fromkeys(r["space"] for r in rows):
        own = [r for r in rows if r["space"] == space]
        print_machine(_protocol(own, "fit_seconds"))
        columns = ["GPU left out", "target", "method", "samples", *SCORE_COLUMNS, "fit s"]
        cells = [
            [r["gpu"], r["target"], r["method"], str(r["samples"]), *_scores(r),
             _number(r["fit_seconds"], ".1f")]
            for r in own
        ]  # fmt: skip
        print_table(columns, cells)
        _print_doubts(own)


SCORE_COLUMNS = (
    "Spearman", "Kendall", "MAPE %", "median error %", "≤ 10 %", "90 % interval covers %",
)  # fmt: skip


def _scores(row: dict[str, Any]) -> list[str]:
    formats = {
        "spearman": (".4f", ".4f"),
        "kendall": (".4f", ".4f"),
        "mape": (".2f", ".2f"),
        "median_error": (".2f", ".2f"),
        "within_10": (".1f", ".1f"),
        "coverage_90": (".1f", ".1f"),
    }
    return [
        _number(row[f"{name}_mean"], mean)
        if row["seeds"] < 2 or not math.isfinite(row[f"{name}_mean"])
        else f"{row[f'{name}_mean']:{mean}} ± {row[f'{name}_std']:{std}}"
        for name, (mean, std) in formats.items()
    ]


def _number(value: float, format_: str) -> str:
    """A number; a dash where there is none, and a power of ten where it is out of bounds."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{format_}}" if abs(value) < 1e6 else f"{value:.1e}"


def _peers(published: Rows) -> str:
    text = ", ".join(f"{p['peer']} {p['spearman']:.3f} ({p['measurements']})" for p in published)
    return text or "–"


def _protocol(rows: Rows, seconds: str) -> str:
    bases = {r["base_samples"] for r in rows}
    fits = [r[seconds] for r in rows if r.get("method", "base-model") == "base-model"]
    took = f", fitted in {max(fits):.1f} s at most" if fits else ""
    return (
        f"{rows[0]['space']}; base models of {max(bases)} networks a target{took}; "
        f"mean ± deviation over {max(r['seeds'] for r in rows)} seeds"
    )


def _print_doubts(rows: Rows) -> None:
    """What of the latencies was left out, and what is not to be believed."""
    seen = {r["target"]: r for r in rows if r["target"] != "mean"}
    for name, r in seen.items():
        if r["impossible"]:
            typer.echo(f"{name}: {r['impossible']} impossible latencies were left out")
        if r["near_zero"]:
            typer.echo(
                f"{name}: {r['near_zero']} latencies are near zero (`latcast audit`); they are "
                "scored like all others, and weigh on the MAPE"
            )


def print_machine(what: str) -> None:
    """The machine, and what else is true of the whole table."""
    from latcast.bench.protocol import machine

    typer.echo(f"{machine()}; {what}")


def _published_mae(row: dict[str, Any]) -> str:
    if row["published_mae_ms"] is None:
        return "–"
    note_ = f" ({row['published_note']})" if row["published_note"] else ""
    return f"{row['published_mae_ms']:.4f}{note_}"
