"""``latcast tune``: search the options of a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ._console import OUTPUT, Console, UsageError, command, usage
from ._options import (
    SEARCH,
    InputFormat,
    Seed,
    SpaceName,
    TargetName,
    TestShare,
    check_suffix,
    parse_duration,
    read_data,
)


@dataclass(frozen=True)
class What:
    """Which options are searched."""

    panel: ClassVar[str] = "Predictor"

    predictor: Annotated[
        str | None,
        typer.Option("--predictor", help="roofline (the default), lookup-table or mlp."),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A published grid instead: paper-grid (36 points, mlp)."),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of every fit, where there are epochs.")
    ] = None


@dataclass(frozen=True)
class How:
    """How they are searched, and where trials are kept and run."""

    panel: ClassVar[str] = SEARCH

    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, help="Trials in all; 50, or all points of a preset, by default."
        ),
    ] = None
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Give up MLPs that fall behind.")
    ] = True
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", help="No trial begins after this time, such as 90s or 20m."),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="SQLite file, or URL of a data base, to go on from; DATA.tune.db by default.",
        ),
    ] = None
    study: Annotated[
        str | None,
        typer.Option("--study", help="Name in it; the preset's or predictor's by default."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Trials at once, each in a process; 1 by default, with --ray all of its CPUs.",
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Run trials on a Ray cluster: local, auto or HOST:PORT."),
    ] = None


@command
def tune(
    console: Console,
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or HELP's .pt.")],
    what: What,
    how: How,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the winner here (.latcast).", rich_help_panel=OUTPUT),
    ] = None,
    test: TestShare = 0.15,
    space: SpaceName = None,
    target: TargetName = None,
    input_format: InputFormat = None,
    seed: Seed = 0,
) -> None:
    """Search the options of a predictor; goes on where it was interrupted.

    Example: latcast tune rtx.parquet --predictor mlp --trials 30 --out rtx.latcast
    """
    from latcast.models.tuning import TuningPlan, TuningRecord
    from latcast.models.tuning import tune as run

    check_suffix(out, "--out", ".latcast")
    seconds = parse_duration(how.time_limit)
    with usage():
        plan = TuningPlan.make(
            what.predictor, what.preset, epochs=what.epochs, test=test, seed=seed, prune=how.prune
        )
    dataset = read_data(data, space, target, input_format)
    if how.storage is None and str(data) == "-":
        raise UsageError("rows from standard input (-) need --storage, where trials are kept")
    where = how.storage or str(data.with_name(f"{data.name}.tune.db"))
    try:
        with console.progress(f"tuning {plan.predictor}") as progress:
            result = run(
                dataset, plan, trials=how.trials, timeout_s=seconds, storage=where,
                study=how.study, workers=how.workers, ray=how.ray, progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.note(f"note: {where} keeps the trials that ended; run it again to go on")
        raise
    if out is not None:
        result.predictor.save(out)
    model = None if out is None else str(out)
    console.show(TuningRecord.of(result, plan, storage=where, model=model))
    if out is not None:
        console.note(f"wrote {out}")
