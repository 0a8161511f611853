"""``latcast models``: the shipped models and their cards."""

from __future__ import annotations

from pathlib import Path

from ._console import Console, argument, command, usage
from ._options import check_usable


@command
def models(
    console: Console,
    *,
    name: str | None = argument("One model, or a .latcast file: show its card.", None),
) -> None:
    """List the shipped models, or show one's card.

    Example: latcast models rtx-2080-ti
    """
    from latcast.models.overview import ModelCard, ModelList

    if name is None:
        console.show(ModelList.of_all())
    elif name.endswith(".latcast"):
        check_usable(Path(name))
        console.show(ModelCard.of(name))
    else:
        with usage():
            found = ModelCard.of(name)
        console.show(found)
