"""``latcast accuracy``: train, score and ask models of networks' accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._common import (
    Debug,
    Json,
    Quiet,
    Seed,
    UsageError,
    check_model_name,
    check_usable,
    fails_cleanly,
    find_space,
    note,
    print_json,
    print_table,
    progress_bar,
    read_architectures,
    usage,
)

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.models.accuracy import AccuracyModel
    from latcast.spaces import SearchSpace

METRICS = {
    "mae": ("MAE, % points", 100.0),
    "rmse": ("RMSE, % points", 100.0),
    "median_error": ("median absolute error, % points", 100.0),
    "spearman": ("Spearman rank correlation", 1.0),
    "kendall": ("Kendall rank correlation", 1.0),
    "coverage_50": ("50 % interval covers, %", 1.0),
    "coverage_80": ("80 % interval covers, %", 1.0),
    "coverage_90": ("90 % interval covers, %", 1.0),
    "coverage_95": ("95 % interval covers, %", 1.0),
}
"""Metric -> label with the unit in which it is shown, and the factor to that unit."""

app = typer.Typer(
    no_args_is_help=True, help="Accuracy models: train one on a table, score it, ask it."
)

Model = Annotated[
    str,
    typer.Argument(
        help="A trained model (.latcast), a table (.csv), or the name of a shipped model."
    ),
]
Space = Annotated[
    str | None, typer.Option("--space", help="Search space; the model's own by default.")
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Of the accuracies: fraction or percent; detected by default."),
]


@app.command("train")
@fails_cleanly
def train(
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV: arch (or a column per gene) and accuracy; or HELP's list of NAS-Bench-201."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Model file to write (.latcast).")],
    space: Annotated[
        str | None, typer.Option("--space", help="Search space, where the file does not tell.")
    ] = None,
    unit: Unit = None,
    test: Annotated[
        float, typer.Option("--test", help="Share of the architectures kept for the scores.")
    ] = 0.15,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the model; that of the file by default.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model on architectures and their accuracies, score it, save it.

    Example: latcast accuracy train trained.csv --space ofa-mobilenet-v3 --out mine.latcast
    """
    from latcast.models.accuracy import train_accuracy

    check_model_name(out)
    if not 0 < test < 1:
        raise UsageError(f"--test must be between 0 and 1; got {test}")
    table = _read(data, None if space is None else find_space(space), unit)
    with progress_bar("training an accuracy model", quiet=quiet):
        model, scores = train_accuracy(table, test=test, seed=seed, name=name or out.stem)
    model.save(out)
    note(f"wrote {out}", quiet=quiet)
    if json:
        print_json(
            {
                "model": str(out),
                "name": model.name,
                "space": model.space.name,
                "resolutions": model.resolutions,
                "unit": table.provenance.get("unit"),
                "split": model.card["split"],
                "noise": model.noise,
                "metrics": scores,
            }
        )
        return
    title = f"{model.name} for {model.space.name}, split {model.card['split']}; on the test part:"
    _print_metrics(scores, title)
    typer.echo(f"one network is ± {100 * model.noise:.2g} % points around what is expected of it")


@app.command("evaluate")
@fails_cleanly
def evaluate(
    model: Model,
    data: Annotated[Path, typer.Argument(help="Accuracies that the model was not trained on.")],
    space: Space = None,
    unit: Unit = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score a model on accuracies it has not seen.

    Example: latcast accuracy evaluate mine.latcast others.csv
    """
    from latcast.models.accuracy import evaluate_accuracy

    found, the_space = _model(model, space)
    table = _read(data, the_space, unit)
    scores = evaluate_accuracy(found, table)
    if json:
        print_json({"model": model, "data": str(data), "rows": len(table), "metrics": scores})
        return
    _print_metrics(scores, f"{model} on {data.name}, {len(table)} rows")


@app.command("predict")
@fails_cleanly
def predict(
    model: Model,
    archs: Annotated[Path, typer.Argument(help="JSON: an architecture, or a list of them.")],
    space: Space = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Top-1 accuracy of architectures, and how sure the model is.

    Example: latcast accuracy predict mine.latcast best.json
    """
    found, the_space = _model(model, space)
    items = read_architectures(archs)
    batch = the_space.parse(items)
    accuracy, deviation = found.predict(batch), found.uncertainty(batch)
    records = [
        {
            "accuracy": float(accuracy[n]),
            "uncertainty": None if deviation is None else float(deviation[n]),
            "arch": arch,
        }
        for n, arch in enumerate(batch.to_dicts())
    ]
    if json:
        print_json({"model": model, "space": the_space.name, "predicted": records})
        return
    rows = [
        [
            str(n),
            f"{100 * accuracy[n]:.2f}",
            "–" if deviation is None else f"{100 * deviation[n]:.2f}",
        ]
        for n in range(len(batch))
    ]
    print_table(
        ["architecture", "top-1 %", "± % points"], rows, title=f"{model} on {the_space.name}"
    )


def _model(name: str, space: str | None) -> tuple[AccuracyModel, SearchSpace]:
    """The model, and the space in which it is asked."""
    from latcast.models.accuracy import as_accuracy_model
    from latcast.models.accuracy._find import TABLE_SUFFIXES

    the_space = None if space is None else find_space(space)
    if suffix := Path(name).suffix.lower():
        check_usable(Path(name))
        if suffix in TABLE_SUFFIXES:
            _check_told(Path(name), the_space)
        found = as_accuracy_model(name, the_space)
    else:
        with usage():
            found = as_accuracy_model(name)
    the_space = the_space or _widest(found)
    if not found.supports(the_space):
        raise UsageError(f"the accuracy model {name} knows nothing of {the_space.name}")
    return found, the_space


def _widest(model: AccuracyModel) -> SearchSpace:
    """The space of which all others that the model supports are a part."""
    from latcast.spaces import space, space_names

    supported = [s for s in map(space, space_names()) if model.supports(s)]
    widest = [s for s in supported if s.block_space == s.name] or supported
    if len(widest) != 1:
        raise UsageError(f"{model.name} is for several search spaces: give --space")
    return widest[0]


def _read(path: Path, space: SearchSpace | None, unit: str | None) -> Dataset:
    from latcast.data import UNITS, read_accuracies

    if unit is not None and unit not in UNITS:
        raise UsageError(f"--unit must be {' or '.join(UNITS)}; got {unit!r}")
    check_usable(path)
    _check_told(path, space)
    return read_accuracies(path, space, unit=unit)


def _check_told(path: Path, space: SearchSpace | None) -> None:
    """Make sure that the search space of a table is known."""
    from latcast.data.help import is_accuracies

    if space is None and not is_accuracies(path):
        raise UsageError(f"{path} does not tell its search space: give --space")


def _print_metrics(scores: Mapping[str, Any], title: str) -> None:
    rows = [
        [label, f"{factor * value:.4g}" if math.isfinite(value) else "–"]
        for name, (label, factor) in METRICS.items()
        for value in [scores.get(name, math.nan)]
    ]
    print_table(["score", "value"], rows, title=title)
