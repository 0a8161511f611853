"""``latcast tune``: search the options of a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ._console import OUTPUT, Console, UsageError, argument, command, option, usage
from ._options import SEARCH, DataHints, Seed, TestShare, check_suffix, parse_duration


@dataclass(frozen=True, kw_only=True)
class What:
    """Options of the predictor and of the hyper-parameters that are searched."""

    panel: ClassVar[str] = "Predictor"

    predictor: str | None = option("roofline (the default), lookup-table or mlp.")
    preset: str | None = option("A published grid instead: paper-grid (36 points, mlp).")
    epochs: int | None = option("Of every fit, where there are epochs.", min=1)


@dataclass(frozen=True, kw_only=True)
class How:
    """How they are searched, and where trials are kept and run."""

    panel: ClassVar[str] = SEARCH

    trials: int | None = option("Trials in all; 50, or all points of a preset, by default.", min=1)
    prune: bool = option("Give up MLPs that fall behind.", True, "--prune/--no-prune")
    time_limit: str | None = option("No trial begins after this time, such as 90s or 20m.")
    storage: str | None = option(
        "SQLite file, or URL of a data base, to go on from; DATA.tune.db by default."
    )
    study: str | None = option("Name in it; the preset's or predictor's by default.")
    workers: int | None = option(
        "Trials at once, each in a process; 1 by default, with --ray all of its CPUs.", min=1
    )
    ray: str | None = option("Run trials on a Ray cluster: local, auto or HOST:PORT.")


@command
def tune(
    console: Console,
    *,
    data: Path = argument("Parquet, CSV or HELP's .pt."),
    what: What,
    how: How,
    out: Path | None = option("Write the winner here (.latcast).", panel=OUTPUT),
    test: TestShare = 0.15,
    hints: DataHints,
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
    dataset = hints.read(data, archs=True)
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
