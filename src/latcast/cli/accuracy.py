"""``latcast accuracy``: train, score and ask models of networks' accuracies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import Command, Console, Group, UsageError, argument, command, option, usage
from ._options import (
    INPUT,
    ModelOut,
    Seed,
    TestShare,
    check_share,
    check_suffix,
    check_usable,
    find_space,
    read_archs,
)

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.models.accuracy import AccuracyModel
    from latcast.spaces import SearchSpace

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Accuracy models: train one on a table, score it, ask it.",
)

Model = Annotated[
    str, argument("A trained model (.latcast), a table (.csv), or the name of a shipped model.")
]
Space = Annotated[
    str | None, option("Search space; the model's own by default.", None, "--space", panel=INPUT)
]
Unit = Annotated[
    str | None,
    option(
        "Of the accuracies: fraction or percent; detected by default.", None, "--unit", panel=INPUT
    ),
]


@app.command("train", cls=Command)
@command
def train(
    console: Console,
    *,
    data: Path = argument(
        "CSV: arch (or a column per gene) and accuracy; or HELP's list of NAS-Bench-201."
    ),
    out: ModelOut,
    space: str | None = option("Search space, where the file does not tell.", panel=INPUT),
    unit: Unit = None,
    test: TestShare = 0.15,
    model_name: str | None = option("What it is called; as the file by default."),
    seed: Seed = 0,
) -> None:
    """Train a model on architectures and their accuracies, score it, save it.

    Example: latcast accuracy train trained.csv --space ofa-mobilenet-v3 --out mine.latcast
    """
    from latcast.models.accuracy.records import train_and_score

    check_suffix(out, "--out", ".latcast")
    check_share(test, "--test")
    table = _read(data, None if space is None else find_space(space), unit)
    with console.progress("training an accuracy model"):
        model, found = train_and_score(
            table, test=test, seed=seed, name=model_name or out.stem, out=out
        )
    model.save(out)
    console.show(found)
    console.note(f"wrote {out}")


@app.command("evaluate", cls=Command)
@command
def evaluate(
    console: Console,
    *,
    model: Model,
    data: Path = argument("Accuracies that the model was not trained on."),
    space: Space = None,
    unit: Unit = None,
) -> None:
    """Score a model on accuracies it has not seen.

    Example: latcast accuracy evaluate mine.latcast others.csv
    """
    from latcast.models.accuracy.records import AccuracyEvaluation

    found, the_space = _model(model, space)
    table = _read(data, the_space, unit)
    console.show(AccuracyEvaluation.of(found, table, model_name=model, data=str(data)))


@app.command("predict", cls=Command)
@command
def predict(
    console: Console,
    *,
    model: Model,
    archs: Path = argument("JSON: an architecture, or a list of them."),
    space: Space = None,
) -> None:
    """Top-1 accuracy of architectures, and how sure the model is.

    Example: latcast accuracy predict mine.latcast best.json
    """
    from latcast.models.accuracy.records import AccuracyPrediction

    found, the_space = _model(model, space)
    console.show(AccuracyPrediction.of(found, read_archs(archs, the_space), model))


def _model(name: str, space: str | None) -> tuple[AccuracyModel, SearchSpace]:
    """The model, and the space in which it is asked."""
    from latcast.models.accuracy import as_accuracy_model
    from latcast.models.accuracy.sources import TABLE_SUFFIXES

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
    check_usable(path, stdin=True)
    if path.is_file():
        _check_told(path, space)
    return read_accuracies(path, space, unit=unit)


def _check_told(path: Path, space: SearchSpace | None) -> None:
    """Make sure that the search space of a table is known."""
    from latcast.data.help import is_accuracies

    if space is None and not is_accuracies(path):
        raise UsageError(f"{path} does not tell its search space: give --space")
