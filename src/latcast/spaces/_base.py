"""The contract of a search space, and batches of its architectures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from latcast.report.markup import counted

from ._block_table import BlockTable

if TYPE_CHECKING:
    import polars as pl

    from latcast.graph import Graph

Genes = npt.NDArray[np.uint8]
Seed = int | np.random.Generator | None
# Networks whose blocks' values, of some columns, stay in a core's second cache: sums of 8,192 take
# a quarter longer, and below 500 the calls do.
CHUNK = 1_024

Float = TypeVar("Float", bound=np.floating[Any])


@dataclass(frozen=True, slots=True)
class Gene:
    """One choice that a space offers: a name and its possible values (1 to 255)."""

    name: str
    choices: tuple[int, ...]


class SearchSpace(ABC):
    """A set of networks described by genes.

    A concrete space gives its genes, its block table and the rows of that table which an
    architecture is made of. Everything else — sampling, validation, mutation, crossover,
    costs — follows from those and is not overridden.

    Spaces are immutable; compare them by ``name``.
    """

    name: str
    description: str
    genes: tuple[Gene, ...]
    reads: Sequence[tuple[int, ...]] | None = None
    """For every position in :meth:`block_ids`, the positions of the blocks that it reads, where
    blocks are no chain, in the order of its inputs; -1 is the network's input."""

    # -- what a concrete space defines ------------------------------------------------------

    @abstractmethod
    def parse(self, items: Iterable[Any]) -> Archs:
        """Architectures from the field's own form.

        Raises:
            ValueError: an item is malformed; the message says which and why.
        """

    @abstractmethod
    def format(self, archs: Archs) -> list[dict[str, Any]]:
        """The inverse of :meth:`parse`."""

    @abstractmethod
    def canonical_genes(self, genes: Genes) -> Genes:
        """A copy of ``genes`` (n, genes) in which genes that change nothing are 0."""

    @abstractmethod
    def block_ids(self, archs: Archs) -> npt.NDArray[np.int32]:
        """Rows of :attr:`block_table` of every architecture, shape (n, max_blocks).

        ``len(block_table)`` stands where an architecture has no block.
        """

    @abstractmethod
    def _build_block_table(self) -> BlockTable: ...

    def live_blocks(self, archs: Archs) -> npt.NDArray[np.bool_]:
        """Blocks that a runtime executes which leaves out dead code.

        Those are the blocks whose output has an influence on the network's; by default all that
        there are. Shape (n, max_blocks), as :meth:`block_ids`.
        """
        return self.block_ids(archs) < len(self.block_table)

    @property
    def block_space(self) -> str:
        """Name of the space whose block table this one uses (its own, unless a subspace)."""
        return self.name

    def expand(self, archs: Archs) -> Archs:
        """Return these networks as architectures of the space whose block table this one uses."""
        return archs

    @abstractmethod
    def one_hot(self, archs: Archs) -> npt.NDArray[np.float32]:
        """Encoding for a network that learns from genes, shape (n, features)."""

    @abstractmethod
    def one_hot_to_blocks(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Add up shares of the inputs of :meth:`one_hot` (n, features) by block (n, max_blocks).

        Inputs that belong to no block are left out.
        """

    # -- what every space has ---------------------------------------------------------------

    @cached_property
    def block_table(self) -> BlockTable:
        """One row per distinct block."""
        return self._build_block_table()

    @cached_property
    def size(self) -> int:
        """Number of gene combinations (networks that differ only in inactive genes included)."""
        return prod(len(g.choices) for g in self.genes)

    @cached_property
    def _allowed(self) -> npt.NDArray[np.bool_]:
        allowed = np.zeros((len(self.genes), 256), dtype=np.bool_)
        for row, gene in zip(allowed, self.genes, strict=True):
            row[list(gene.choices)] = True
        return allowed

    def validate(self, genes: Genes) -> None:
        """Check gene values; 0 may stand for a gene of an inactive block.

        Raises:
            ValueError: naming the architecture, the gene, its value and its choices.
        """
        if genes.ndim != 2 or genes.shape[1] != len(self.genes):
            raise ValueError(
                f"architectures of {self.name} need {len(self.genes)} genes each; "
                f"got an array of shape {genes.shape}"
            )
        # A look-up for all genes at once: a search validates millions of them.
        ok = self._allowed[np.arange(len(self.genes)), genes]
        if not ok.all():
            # Slow path: only now look whether the odd values belong to inactive blocks. A valid
            # value in their place is 0 in canonical form exactly where the block is inactive.
            first = np.array([g.choices[0] for g in self.genes], dtype=np.uint8)
            filled = np.where(ok, genes, first)
            ok |= (genes == 0) & (self.canonical_genes(filled) == 0)
        if not ok.all():
            row, column = np.argwhere(~ok)[0]
            gene = self.genes[column]
            raise ValueError(
                f"architecture {row}: {gene.name} must be one of "
                f"{_shorten(gene.choices)}; got {genes[row, column]}"
            )

    def sample(
        self, n: int, seed: Seed = None, *, restrict: Mapping[str, Iterable[int]] | None = None
    ) -> Archs:
        """Draw ``n`` architectures, every gene uniformly.

        Args:
            n: how many.
            seed: an integer or a generator, which is advanced.
            restrict: gene name -> the values to draw from, for example ``{"r": [160, 224]}``.

        Raises:
            ValueError: ``n`` is negative, or ``restrict`` names an unknown gene or value.
        """
        if n < 0:
            raise ValueError(f"the number of architectures must be at least 0; got {n}")
        rng = np.random.default_rng(seed)
        # What Generator.choice does, without its checks: a search samples for every generation.
        columns = [c[rng.integers(0, len(c), n)] for c in self.choices(restrict)]
        return Archs._trusted(self, np.stack(columns, axis=1))

    def choices(
        self, restrict: Mapping[str, Iterable[int]] | None = None
    ) -> list[npt.NDArray[np.uint8]]:
        """The values every gene may take, narrowed by ``restrict`` (gene name -> values)."""
        wanted = {name: set(values) for name, values in (restrict or {}).items()}
        names = {g.name for g in self.genes}
        for name in wanted:
            if name not in names:
                raise ValueError(
                    f"{self.name} has no gene {name!r}; its genes: {_shorten(sorted(names))}"
                )
        result = []
        for gene in self.genes:
            values = [c for c in gene.choices if gene.name not in wanted or c in wanted[gene.name]]
            if not values:
                raise ValueError(
                    f"{gene.name} must keep at least one of {_shorten(gene.choices)}; "
                    f"got {_shorten(sorted(wanted[gene.name]))}"
                )
            result.append(np.array(values, dtype=np.uint8))
        return result

    def enumerate(self, restrict: Mapping[str, Iterable[int]] | None = None) -> Archs:
        """Every combination of gene values, narrowed by ``restrict`` (for small spaces)."""
        choices = self.choices(restrict)
        # Not by a grid: NumPy's have at most 32 dimensions.
        repeats = count = prod(len(values) for values in choices)
        row = np.arange(count)
        columns = []
        for values in choices:
            repeats //= len(values)
            columns.append(values[row // repeats % len(values)])
        return Archs._trusted(self, np.stack(columns, axis=1))

    def mutate(
        self,
        archs: Archs,
        probability: float,
        seed: Seed = None,
        *,
        restrict: Mapping[str, Iterable[int]] | None = None,
    ) -> Archs:
        """Redraw every gene with ``probability``; the batch keeps its length and order."""
        rng = np.random.default_rng(seed)
        fresh = self.sample(len(archs), rng, restrict=restrict).genes
        # All genes are drawn whatever is kept: one call for the batch, and the same numbers for any
        # rate.
        redraw = rng.random(archs.genes.shape, dtype=np.float32) < probability
        return Archs._trusted(self, np.where(redraw, fresh, archs.genes))

    def crossover(self, first: Archs, second: Archs, seed: Seed = None) -> Archs:
        """Children that take every gene from one of their two parents (same row) at random."""
        if len(first) != len(second):
            raise ValueError(
                f"crossover pairs rows: both batches must be equally long; "
                f"got {len(first)} and {len(second)}"
            )
        rng = np.random.default_rng(seed)
        pick = rng.integers(0, 2, first.genes.shape, dtype=np.uint8).astype(np.bool_)
        return Archs._trusted(self, np.where(pick, first.genes, second.genes))

    def block_sums(self, archs: Archs, values: npt.NDArray[Float]) -> npt.NDArray[Float]:
        """Sum ``values`` over the blocks of every architecture.

        Args:
            archs: n architectures.
            values: one number per row of the block table, shape (rows,).

        Returns:
            Shape (n,), of the dtype of ``values``.
        """
        sums = np.empty(len(archs), dtype=values.dtype)
        padded = np.append(values, values.dtype.type(0))
        for start in range(0, len(archs), CHUNK):
            rows = slice(start, start + CHUNK)
            # Not by einsum, whose order of summing depends on where a row lies in memory: networks
            # that are the same must have the same sum.
            np.take(padded, self.block_ids(archs[rows])).sum(axis=1, out=sums[rows])
        return sums

    def gather(self, archs: Archs, values: npt.NDArray[Float]) -> npt.NDArray[Float]:
        """``values`` (rows,) of every block, shape (n, max_blocks); 0 where there is none."""
        # One row more, of 0: what has no block is gathered like all others, without a mask.
        padded = np.append(values, values.dtype.type(0))
        return np.take(padded, self.block_ids(archs))

    def network(self, arch: Archs) -> Graph:
        """The network of one architecture (a batch of one), batch norms folded, for one sample.

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """
        self._check_one(arch)
        ids = self.block_ids(arch)[0].tolist()
        return self.assemble([i for i in ids if i < len(self.block_table)])

    def assemble(self, rows: Sequence[int]) -> Graph:
        """The network of the blocks in ``rows`` of the block table.

        Args:
            rows: of a whole architecture, in the order of :meth:`block_ids`, or of one block.

        Raises:
            ValueError: there is no block, or blocks do not fit.
        """
        from latcast.graph import chained

        reads = self.reads if self.reads and len(rows) == len(self.reads) else None
        return chained([self.block_table.blocks[i] for i in rows], reads)

    def costs(self, archs: Archs) -> pl.DataFrame:
        """Costs of every architecture, for one sample of the batch, one row each.

        Columns: ``macs``, ``params``, ``bytes`` (moved, activations and parameters),
        ``launches`` (layers), ``activation_bytes`` (peak) and ``blocks``; conventions in
        :mod:`latcast.graph`.
        """
        import polars as pl

        return pl.DataFrame(self.cost_columns(archs))

    def cost_columns(self, archs: Archs) -> dict[str, npt.NDArray[np.int64]]:
        """The columns of :meth:`costs` by name, each of shape (n,)."""
        facts = self.block_table.facts
        moved = facts["read_bytes"] + facts["write_bytes"] + facts["param_bytes"]
        summed = {
            "macs": facts["macs"], "params": facts["params"], "bytes": moved,
            "launches": facts["launches"],
        }  # fmt: skip
        # One row more, of 0, as with gather.
        padded = {name: np.append(values, 0.0) for name, values in summed.items()}
        peak = np.append(facts["peak_activation_bytes"], 0.0)
        names = (*summed, "activation_bytes", "blocks")
        columns = {name: np.empty(len(archs)) for name in names}
        for start in range(0, len(archs), CHUNK):
            rows = slice(start, start + CHUNK)
            ids = self.block_ids(archs[rows])  # once for all columns
            for name, values in padded.items():
                columns[name][rows] = np.take(values, ids).sum(axis=1)
            columns["activation_bytes"][rows] = np.take(peak, ids).max(axis=1, initial=0)
            columns["blocks"][rows] = (ids < len(self.block_table)).sum(axis=1)
        # Counts are far below 2 ** 53, where floats are exact.
        return {name: column.astype(np.int64) for name, column in columns.items()}

    def _check_one(self, arch: Archs) -> None:
        if len(arch) != 1:
            raise ValueError(f"a network is built from one architecture; got {len(arch)}")

    def __repr__(self) -> str:
        return f"<search space {self.name}: {counted(len(self.genes), 'gene')}>"


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
        """A copy in which the genes of inactive blocks are 0."""
        return Archs._trusted(self._space, self._space.canonical_genes(self._genes))

    def unique_index(self) -> npt.NDArray[np.intp]:
        """Group number of every architecture: equal numbers are equal networks; shape (n,)."""
        genes = np.ascontiguousarray(self.canonical().genes)
        # One opaque value a row: np.unique along an axis would compare it field by field.
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
        return f"<{counted(len(self), 'architecture')} of {self._space.name}>"


def one_hot(genes: Genes, choices: Sequence[int]) -> npt.NDArray[np.float32]:
    """Genes of one set of choices (n, genes), each as its place among them, (n, genes * choices).

    A gene of none of them is all zeros.
    """
    chosen = genes[:, :, None] == np.array(choices, dtype=np.uint8)
    # Stated, not -1: of no architectures the width cannot be told.
    width = genes.shape[1] * len(choices)
    return np.asarray(chosen.reshape(len(genes), width), dtype=np.float32)


def _as_bytes(genes: npt.ArrayLike) -> Genes:
    """A copy as uint8, shape (n, genes); a plain cast would wrap 256 around to 0."""
    wide = np.array(genes, ndmin=2)
    if wide.size == 0:
        return wide.astype(np.uint8)
    if wide.dtype.kind not in "iu" or wide.min() < 0 or wide.max() > 255:
        raise ValueError("genes must be integers from 0 to 255")
    return wide.astype(np.uint8)


def _shorten(values: Iterable[object]) -> str:
    items = [str(v) for v in values]
    return ", ".join(items if len(items) <= 12 else [*items[:11], "…", items[-1]])
