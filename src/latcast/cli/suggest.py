"""``latcast suggest``: which architectures to measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import (
    Debug,
    FormatName,
    Json,
    Quiet,
    Seed,
    TargetName,
    UsageError,
    fails_cleanly,
    find_space,
    note,
    print_json,
    read_data,
    resolving,
    usage,
)

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace


@fails_cleanly
def command(
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=1_000, help="Architectures to suggest.")
    ],
    space: Annotated[
        str | None, typer.Option("--space", help="Search space; that of the model by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="What will be adapted: a name or a .latcast file."),
    ] = None,
    measured: Annotated[
        Path | None, typer.Option("--measured", help="Dataset of what is measured already.")
    ] = None,
    target: TargetName = None,
    format_: FormatName = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Suggest architectures whose measurements tell most about all others, as JSON.

    Needs no latency. The output is what `latcast measure --archs` and `latcast predict` read.

    Example: latcast suggest --space ofa-mobilenet-v3 --samples 10 > archs.json
    """
    from latcast.models import load
    from latcast.models.design import suggest

    with resolving():
        base = None if model is None else load(model)
    the_space = _space(space, base.space if base is not None else None)
    known = None if measured is None else _known(measured, the_space, target, format_)
    with usage():
        chosen = suggest(the_space, samples, base=base, measured=known, seed=seed)
    note(
        f"{samples} of {the_space.name}; measure them, then adapt a model to them: latcast measure "
        "--archs, latcast adapt",
        quiet=quiet or json,
    )
    print_json(chosen.to_dicts())


def _space(name: str | None, of_model: SearchSpace | None) -> SearchSpace:
    if name is not None:
        return find_space(name)
    if of_model is None:
        raise UsageError("suggesting needs a search space: give --space or --model")
    return of_model


def _known(path: Path, space: SearchSpace, target: str | None, format_: str | None) -> Archs:
    archs = read_data(path, space.name, target, format_).archs
    if archs.space.name != space.name:
        raise ValueError(f"--measured must be of {space.name}; got {archs.space.name}")
    return archs
