"""``latcast train``: fit a predictor on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._common import (
    Debug,
    FormatName,
    Json,
    Quiet,
    Seed,
    SpaceName,
    TargetName,
    UsageError,
    fails_cleanly,
    note,
    print_json,
    print_metrics,
    progress_bar,
    read_data,
    usage,
)


@fails_cleanly
def command(
    data: Annotated[Path, typer.Argument(help="Parquet, CSV or HELP's .pt.")],
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
    predictor: Annotated[
        str, typer.Option("--predictor", help="roofline, lookup-table, mlp or flops.")
    ] = "roofline",
    test: Annotated[
        float, typer.Option("--test", help="Share of the architectures kept for the scores.")
    ] = 0.15,
    space: SpaceName = None,
    target: TargetName = None,
    format_: FormatName = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit a predictor to a dataset, score it, save it.

    Example: latcast train rtx.parquet --predictor roofline --out rtx.latcast
    """
    from latcast.predict import predictor as create
    from latcast.predict.training import fit_and_score

    if out.suffix != ".latcast":
        raise UsageError(f"--out must end in .latcast; got {out}")
    if not 0 < test < 1:
        raise UsageError(f"--test must be between 0 and 1; got {test}")
    with usage():
        model = create(predictor)
    dataset = read_data(data, space, target, format_)
    with progress_bar(f"fitting {predictor}", quiet=quiet):
        scores = fit_and_score(model, dataset, test=test, seed=seed)
    model.save(out)
    card = model.fitted.card
    for trap in card["traps"]:
        note(f"note: the audit found {trap}", quiet=quiet)
    result: dict[str, Any] = {
        "model": str(out),
        "predictor": predictor,
        "target": str(dataset.target),
        "space": dataset.archs.space.name,
        "split": card["split"],
        "metrics": scores,
        "traps": card["traps"],
    }
    if json:
        print_json(result)
        return
    title = f"{predictor} for {dataset.target}, split {card['split']}; on the test part:"
    print_metrics(scores, title=title)
    if not model.covers(0.9):
        note("note: too few rows to calibrate 90 % intervals", quiet=quiet)
    note(f"wrote {out}", quiet=quiet)
