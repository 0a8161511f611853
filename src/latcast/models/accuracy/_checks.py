"""What must hold of accuracies, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from ._base import Floats


def checked_accuracies(values: npt.ArrayLike, n: int, whose: str) -> Floats:
    """Accuracies as float64, shape (n,).

    Args:
        values: what was given.
        n: how many there must be.
        whose: what they are, for the message.

    Raises:
        ValueError: they are no numbers, not n, not finite or not from 0 to 1.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose} must be numbers; got: {error}") from None
    if array.shape != (n,):
        raise ValueError(
            f"{whose} must be one number per architecture, shape ({n},); got shape {array.shape}"
        )
    wrong = ~((array >= 0.0) & (array <= 1.0))
    if wrong.any():
        row = int(wrong.argmax())
        hint = " (divide percent by 100)" if 1.0 < array[row] <= 100.0 else ""
        raise ValueError(
            f"{whose} must be from 0 to 1{hint}; got {array[row]:g} for architecture {row}"
        )
    return array


def resolutions_of(archs: Archs) -> tuple[int, ...] | None:
    """The resolutions that occur, ascending; None in a space without."""
    names = [g.name for g in archs.space.genes]
    if "r" not in names:
        return None
    return tuple(np.unique(archs.genes[:, names.index("r")]).tolist())


def checked_resolutions(resolutions: Any, choices: Sequence[int]) -> tuple[int, ...]:
    """Resolutions in pixels, of a file's header.

    Args:
        resolutions: what was given.
        choices: those of the space, ascending.

    Raises:
        ValueError: they are no list of numbers, not ascending, none, or not the space's.
    """
    known = set(choices)
    if (
        not isinstance(resolutions, list)
        or not resolutions
        or not all(type(r) is int and r in known for r in resolutions)
        or sorted(set(resolutions)) != resolutions
    ):
        raise ValueError(
            f"the resolutions must be ascending and of the space's, {choices[0]} to {choices[-1]}; "
            f"got {resolutions!r}"
        )
    return tuple(resolutions)
