"""Folds of groups that leave together, so that those of few are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def folds_of(groups: Mapping[str, Sequence[str]], count: int, seed: int) -> dict[str, int]:
    """A fold for every group, so that those of one table spread over the folds.

    Args:
        groups: table -> its groups; one group may be of several tables.
        count: of folds.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, int] = {}
    # Tables of few groups first: three GPUs are then left out one by one.
    for names in sorted(map(sorted, map(set, groups.values())), key=len):
        taken = np.bincount([found[n] for n in names if n in found], minlength=count)
        for place in rng.permutation(len(names)):
            if names[place] not in found:
                least = np.flatnonzero(taken == taken.min())
                found[names[place]] = fold = int(rng.choice(least))
                taken[fold] += 1
    return found
