"""Batches of architectures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ._base import SearchSpace

Genes = npt.NDArray[np.uint8]


class Archs:
    """An immutable batch of architectures of one search space.

    Two batches are equal when they hold the same networks in the same order: genes of blocks
    that the depth leaves out do not count.

    Args:
        space: the search space.
        genes: shape (n, genes), the value of every gene (not its index).

    Raises:
        ValueError: the shape is wrong, or a value is not among its gene's choices.
    """

    __slots__ = ("_genes", "_space")

    def __init__(self, space: SearchSpace, genes: npt.ArrayLike) -> None:
        array = _as_bytes(genes)
        space.validate(array)
        self._space = space
        self._genes = array
        array.flags.writeable = False

    @classmethod
    def _trusted(cls, space: SearchSpace, genes: Genes) -> Archs:
        """Wrap genes that the space itself made, without checking them again."""
        archs = cls.__new__(cls)
        archs._space = space
        archs._genes = genes
        genes.flags.writeable = False
        return archs

    @property
    def space(self) -> SearchSpace:
        """The search space of the batch."""
        return self._space

    @property
    def genes(self) -> Genes:
        """Gene values, shape (n, genes), read-only."""
        return self._genes

    def to_dicts(self) -> list[dict[str, Any]]:
        """The field's own form of every architecture (see the space's ``parse``)."""
        return self._space.format(self)

    def canonical(self) -> Archs:
        """The same networks with the genes of inactive blocks set to 0."""
        return Archs._trusted(self._space, self._space.canonical_genes(self._genes))

    def unique_index(self) -> npt.NDArray[np.intp]:
        """Group number of every architecture: equal numbers are equal networks; shape (n,)."""
        genes = np.ascontiguousarray(self.canonical().genes)
        rows = genes.view(np.dtype((np.void, genes.shape[1]))).ravel()
        return np.unique(rows, return_inverse=True)[1].ravel()

    def unique(self) -> Archs:
        """Distinct networks, in order of first appearance."""
        _, first = np.unique(self.unique_index(), return_index=True)
        return self[np.sort(first)]

    def concatenate(self, *others: Archs) -> Archs:
        """This batch followed by ``others`` of the same space."""
        for other in others:
            if other.space.name != self._space.name:
                raise ValueError(
                    "only batches of one space can be joined; "
                    f"got {self._space.name!r} and {other.space.name!r}"
                )
        genes = np.concatenate([self._genes, *(o.genes for o in others)])
        return Archs._trusted(self._space, genes)

    def __len__(self) -> int:
        return len(self._genes)

    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[Any]) -> Archs: ...
    @overload
    def __getitem__(self, index: int) -> Archs: ...
    def __getitem__(self, index: Any) -> Archs:
        """A batch of the chosen rows; one integer gives a batch of one."""
        if isinstance(index, int | np.integer):
            index = range(len(self))[int(index)]
            index = slice(index, index + 1)
        return Archs._trusted(self._space, self._genes[index].copy())

    def __iter__(self) -> Iterator[Archs]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Archs):
            return NotImplemented
        return self._space.name == other._space.name and np.array_equal(
            self.canonical().genes, other.canonical().genes
        )

    __hash__ = None  # type: ignore[assignment]  # a batch is a container, like an array

    def __repr__(self) -> str:
        return f"<{len(self)} architectures of {self._space.name}>"


def _as_bytes(genes: npt.ArrayLike) -> Genes:
    """A copy as uint8, shape (n, genes); a plain cast would wrap 256 around to 0."""
    wide = np.array(genes, ndmin=2)
    if wide.size == 0:
        return wide.astype(np.uint8)
    if wide.dtype.kind not in "iu" or wide.min() < 0 or wide.max() > 255:
        raise ValueError("genes must be integers from 0 to 255")
    return wide.astype(np.uint8)
