"""``latcast suggest``: which architectures to measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import Console, UsageError, command, usage
from ._options import INPUT, InputFormat, Seed, TargetName, find_space, read_data, resolving

if TYPE_CHECKING:
    from latcast.spaces import Archs, SearchSpace


@command
def suggest(
    console: Console,
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
        Path | None,
        typer.Option(
            "--measured", help="Dataset of what is measured already.", rich_help_panel=INPUT
        ),
    ] = None,
    networks: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    target: TargetName = None,
    input_format: InputFormat = None,
    seed: Seed = 0,
) -> None:
    """Suggest architectures whose measurements tell most about all others, as JSON.

    Needs no latency. The output is what `latcast measure --archs` and `latcast predict` read.

    Example: latcast suggest --space ofa-mobilenet-v3 --samples 10 > archs.json
    """
    from latcast.models import load
    from latcast.models.adaptation import suggest as chosen

    if networks:
        raise UsageError(
            f"architectures of a search space are suggested, which --space or --model names; got "
            f"{networks[0]}: latcast predict forecasts a network"
        )
    with resolving():
        base = None if model is None else load(model)
    if space is not None:
        the_space = find_space(space)
    elif base is not None:
        the_space = base.space
    else:
        raise UsageError("suggesting needs a search space: give --space or --model")
    known = None if measured is None else _known(measured, the_space, target, input_format)
    with usage():
        archs = chosen(the_space, samples, base=base, measured=known, seed=seed)
    if not console.json:
        console.note(
            f"{samples} of {the_space.name}; measure them, then adapt a model to them: latcast "
            "measure --archs, latcast adapt"
        )
    console.print(json.dumps(archs.to_dicts(), indent=2))


def _known(path: Path, space: SearchSpace, target: str | None, format_: str | None) -> Archs:
    archs = read_data(path, space.name, target, format_).archs
    if archs.space.name != space.name:
        raise ValueError(f"--measured must be of {space.name}; got {archs.space.name}")
    return archs
