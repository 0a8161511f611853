"""``latcast spaces``: what search spaces there are."""

from __future__ import annotations

from ._console import Console, UsageError, argument, command, option
from ._options import Seed, find_space


@command
def spaces(
    console: Console,
    *,
    name: str | None = argument("One space, with its genes.", None),
    sample: int = option("Print N random architectures of it as JSON.", 0, min=0, max=1_000_000),
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
