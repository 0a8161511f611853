"""``latcast tune``: search the options of a predictor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    METRICS,
    Debug,
    FormatName,
    Json,
    Quiet,
    Seed,
    SpaceName,
    TargetName,
    UsageError,
    check_model_name,
    fails_cleanly,
    note,
    print_json,
    print_table,
    progress_bar,
    read_data,
    usage,
)

if TYPE_CHECKING:
    from latcast.models.tuning import TuningResult


@fails_cleanly
def command(
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or HELP's .pt.")],
    predictor: Annotated[
        str | None,
        typer.Option("--predictor", help="roofline (the default), lookup-table or mlp."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A published grid instead: paper-grid (36 points, mlp)."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, help="Trials in all; 50, or all points of a preset, by default."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of every fit, where there are epochs.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Give up MLPs that fall behind.")
    ] = True,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="No trial begins after so many seconds.")
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option("--storage", help="SQLite file to go on from; DATA.tune.db by default."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="Name in it; the preset's or predictor's by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the winner here (.latcast).")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Run trials on a Ray cluster: local, auto or HOST:PORT."),
    ] = None,
    test: Annotated[
        float, typer.Option("--test", help="Share of the architectures that no trial sees.")
    ] = 0.15,
    space: SpaceName = None,
    target: TargetName = None,
    format_: FormatName = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search the options of a predictor; goes on where it was interrupted.

    Example: latcast tune rtx.parquet --predictor mlp --trials 30 --out rtx.latcast
    """
    from latcast.models.tuning import Plan, tune

    if out is not None:
        check_model_name(out)
    if timeout is not None and not timeout > 0:
        raise UsageError(f"--timeout must be a positive number of seconds; got {timeout}")
    with usage():
        plan = Plan.make(predictor, preset, epochs=epochs, test=test, seed=seed, prune=prune)
    dataset = read_data(data, space, target, format_)
    where = storage or data.with_name(f"{data.name}.tune.db")
    try:
        with progress_bar(f"tuning {plan.predictor}", quiet=quiet) as progress:
            result = tune(
                dataset,
                plan,
                trials=trials,
                timeout_s=timeout,
                storage=where,
                study=study,
                ray=ray,
                progress=progress,
            )
    except KeyboardInterrupt:
        note(f"note: {where} keeps the trials that ended; run it again to go on", quiet=quiet)
        raise
    card = result.predictor.fitted.card
    for trap in card["traps"]:
        note(f"note: the audit found {trap}", quiet=quiet)
    if out is not None:
        result.predictor.save(out)
        note(f"wrote {out}", quiet=quiet)
    _note_failures(result, quiet=quiet)
    if json:
        print_json(
            {
                "study": result.study,
                "storage": str(where),
                "predictor": plan.predictor,
                "preset": preset,
                "target": str(dataset.target),
                "space": dataset.archs.space.name,
                "split": card["split"],
                "seed": seed,
                "model": None if out is None else str(out),
                **_record(result),
            }
        )
        return
    _print(result, f"{plan.predictor} for {dataset.target}, split {card['split']}")


def _record(result: TuningResult) -> dict[str, Any]:
    default = result.default
    return {
        "counts": result.counts(),
        "best": {
            "trial": result.best.number,
            "options": result.best.options,
            "all_options": result.predictor.options(),
            "validation_mae_ms": result.best.mae_ms,
            "metrics": result.metrics,
        },
        "default": {
            "options": result.default_options,
            "validation_mae_ms": None if default is None else default.mae_ms,
            "metrics": result.default_metrics,
        },
        "trials": [asdict(t) for t in result.trials],
    }


def _print(result: TuningResult, title: str) -> None:
    record = _record(result)
    default, best = record["default"], record["best"]
    rows = [
        [name, _text(default["options"][name]), _text(value)]
        for name, value in best["options"].items()
    ]
    rows.append(
        ["validation MAE, ms", *(_text(side["validation_mae_ms"]) for side in (default, best))]
    )
    for name, label in METRICS.items():
        cells = [side["metrics"].get(name) for side in (default, best)]
        rows.append([f"test: {label}", *map(_text, cells)])
    print_table(["", "default", "tuned"], rows, title=title)
    counts = ", ".join(f"{n} {state}" for state, n in record["counts"].items())
    typer.echo(f"trials: {counts}; the winner is number {best['trial']} of study {result.study}")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _note_failures(result: TuningResult, *, quiet: bool) -> None:
    failed = [t for t in result.trials if t.state == "failed"]
    if failed:
        last = failed[-1]
        options = ", ".join(f"{k} {_text(v)}" for k, v in last.options.items())
        note(
            f"note: {len(failed)} trials failed, the last with {options}: {last.reason}",
            quiet=quiet,
        )
