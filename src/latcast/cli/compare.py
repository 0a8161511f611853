"""``latcast compare``: what differs between two datasets, or a forecast and a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ._console import Console, argument, command, option
from ._options import DataHints, check_share, resolving


@command
def compare(
    console: Console,
    *,
    a: str = argument("A dataset, a model (.latcast), a device or a target."),
    b: str = argument("Likewise; one of the two must be a dataset."),
    hints: DataHints,
    false_share: float = option("Of false ones among those that are said to differ.", 0.05),
) -> None:
    """Compare two datasets, or a forecast and a dataset: what differs, and why it may.

    Networks are tested by the scatter of their runs, and by a forecast's intervals; conditions
    are those of the machines and their runtimes, as campaigns state them.

    Example: latcast compare mine.parquet yours.parquet
    """
    from latcast.models.comparison import compare as compared
    from latcast.models.comparison import is_dataset

    check_share(false_share, "--false-share")
    sides: list[Any] = [hints.read(Path(x)) if is_dataset(x) else x for x in (a, b)]
    with resolving(), console.progress("comparing"):
        found = compared(sides[0], sides[1], false_share=false_share, names=(a, b))
    console.show(found)
