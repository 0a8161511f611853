"""Networks that differ from one in a gene or two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

Genes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]


@lru_cache(maxsize=256)
def _triangle(n: int) -> tuple[Positions, Positions]:
    """Both positions of all pairs of n things, shape (n (n - 1) / 2,) each."""
    first, second = np.triu_indices(n, 1)
    return first, second


class Changes:
    """The changes of one gene that change a network.

    Args:
        arch: one network (a batch of one).
        choices: values that every gene may take.

    Attributes:
        columns: gene of every change, shape (changes,).
        values: its new value, shape (changes,).
    """

    def __init__(self, arch: Archs, choices: Sequence[Genes]) -> None:
        self._arch = arch
        genes = arch.genes[0]
        columns = np.repeat(np.arange(len(choices)), [len(c) for c in choices])
        values = np.concatenate(list(choices))
        active = arch.space.canonical_genes(arch.genes)[0] != 0
        kept = active[columns] & (values != genes[columns])
        self.columns: Positions = columns[kept]
        self.values: Genes = values[kept]

    def __len__(self) -> int:
        return len(self.columns)

    def singly(self) -> Archs:
        """The networks with one of the changes each."""
        return self.made(np.arange(len(self))[:, None])

    def pairs(self, among: Positions | None = None) -> Positions:
        """Two changes of different genes each, shape (pairs, 2).

        Args:
            among: the changes to pair; all of them by default.
        """
        first, second = _triangle(len(self) if among is None else len(among))
        if among is not None:
            first, second = among[first], among[second]
        different = np.flatnonzero(self.columns[first] != self.columns[second])
        return np.stack([first[different], second[different]], axis=1)

    def made(self, changes: Positions) -> Archs:
        """The networks with the changes of every row of ``changes`` (n, changes a network)."""
        genes = np.repeat(self._arch.genes, len(changes), axis=0)
        rows = np.arange(len(changes))
        for change in changes.T:
            genes[rows, self.columns[change]] = self.values[change]
        return Archs._trusted(self._arch.space, genes)
