"""``latcast bench``: published tables, reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    UsageError,
    fails_cleanly,
    note,
    print_json,
    print_table,
)
from ._learning_curves import Curves, Draw, FineTuning, Samples, find_kind, print_curves, run_curves

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Score predictors on published data."
)


@app.callback()
def _bench() -> None:
    """Keeps ``paper`` a command of its own while it is the only one."""


@app.command()
@fails_cleanly
def paper(
    data: Annotated[Path, typer.Option("--data", help="The paper's folder with datasets/*.csv.")],
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Only this one; repeatable.")
    ] = None,
    predictor: Annotated[
        list[str] | None, typer.Option("--predictor", help="Only this one; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fits per row of the table.")] = 1,
    fine_tuning: FineTuning = False,
    curves: Curves = False,
    samples: Samples = None,
    draw: Draw = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The OFANAS paper's predictors, and ours beside them (MLP rows need PyTorch).

    Example: latcast bench paper --data ofanas --predictor roofline --seeds 10
    """
    from latcast._names import unknown_name
    from latcast.bench import paper as table

    known = {"dataset": [d.name for d in table.DATASETS], "predictor": list(table.PREDICTORS)}
    asked_curves = None
    if fine_tuning or curves or samples or draw:
        asked_curves = find_kind(fine_tuning=fine_tuning, curves=curves)
        known = {"dataset": list(asked_curves.datasets), "predictor": list(asked_curves.predictors)}
    for kind, asked in (("dataset", dataset), ("predictor", predictor)):
        for name in asked or ():
            if name not in known[kind]:
                raise UsageError(unknown_name(kind, name, known[kind]))
    if not data.is_dir():
        raise UsageError(f"--data must be a folder; got {data}")
    if asked_curves is not None:
        rows = run_curves(asked_curves, data, dataset, predictor, samples, seeds, draw, quiet=quiet)
        print_json(rows) if json else print_curves(asked_curves, rows)
        return
    rows = table.run(
        data,
        datasets=dataset,
        predictors=predictor,
        seeds=seeds,
        report=lambda text: note(text, quiet=quiet),
    )
    if json:
        print_json(rows)
    else:
        _print(rows, seeds)


def _print(rows: list[dict[str, Any]], seeds: int) -> None:
    from latcast.bench.machine import describe

    typer.echo(f"{describe()}; {seeds} seed{'s' if seeds > 1 else ''}")
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
            _published(r),
        ]
        for r in rows
    ]  # fmt: skip
    columns = [
        "dataset", "predictor", "train", "test", "MAE ms", "RMSE ms", "MAPE %", "≤ 5 %", "≤ 10 %",
        "Spearman", "Kendall", "cover 50/80/90/95", "fit s", "archs/s", "published MAE",
    ]  # fmt: skip
    print_table(columns, cells)


def _published(row: dict[str, Any]) -> str:
    if row["published_mae_ms"] is None:
        return "–"
    note_ = f" ({row['published_note']})" if row["published_note"] else ""
    return f"{row['published_mae_ms']:.4f}{note_}"
