"""Splitting by architecture: equal networks always end up on the same side."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ._measurements import Measurements

PAPER_FRACTIONS = (0.70, 0.15)


Data = TypeVar("Data", bound=Measurements)


def split(
    data: Data, fraction: float, seed: int | np.random.Generator | None = 0
) -> tuple[Data, Data]:
    """Two parts at random; the first has about ``fraction`` of the distinct networks.

    Raises:
        ValueError: ``fraction`` is not between 0 and 1, or a part would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction must be between 0 and 1; got {fraction}")
    group = data.unique_index()
    groups = int(group.max(initial=-1)) + 1
    first = round(fraction * groups)
    if not 0 < first < groups:
        raise ValueError(
            f"both parts need one {data.subject} at least; {groups} distinct ones cannot be split "
            f"at {fraction}"
        )
    chosen = np.zeros(groups, dtype=np.bool_)
    chosen[np.random.default_rng(seed).permutation(groups)[:first]] = True
    return data[chosen[group]], data[~chosen[group]]


def paper_split(data: Data) -> tuple[Data, Data, Data]:
    """Train, validation and test as the OFANAS paper splits: 70, 15, 15 % of the rows, in order.

    A split by row: where a network occurs twice it may be trained and tested on.
    """
    first = int(PAPER_FRACTIONS[0] * len(data))
    second = first + int(PAPER_FRACTIONS[1] * len(data))
    return data[:first], data[first:second], data[second:]
