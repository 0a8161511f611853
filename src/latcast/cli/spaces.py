"""``latcast spaces``: what search spaces there are."""

from __future__ import annotations

from typing import Annotated

import typer

from ._console import Console, UsageError, command
from ._options import Seed, find_space


@command
def spaces(
    console: Console,
    name: Annotated[str | None, typer.Argument(help="One space, with its genes.")] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", min=0, max=1_000_000, help="Print N random architectures of it as JSON."
        ),
    ] = 0,
    seed: Seed = 0,
) -> None:
    """List the search spaces, or show one.

    Example: latcast spaces ofa-mobilenet-v3 --sample 1 > arch.json
    """
    from latcast.spaces.overview import SpaceDetails, SpaceList

    if name is None:
        if sample:
            raise UsageError("--sample needs the name of a space")
        console.show(SpaceList.of_all())
        return
    space = find_space(name)
    if sample:
        console.print_archs(space.sample(sample, seed))
    else:
        console.show(SpaceDetails.of(space))
