"""Search spaces as records: all of them, or one with its genes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import log10

from latcast.report import charts
from latcast.report.figure import Figure
from latcast.report.record import Record
from latcast.report.table import Column, Table

from . import space, space_names
from ._base import SearchSpace


@dataclass(frozen=True)
class SpaceEntry:
    """A search space in a list.

    Attributes:
        name: of the space.
        description: what its networks are, in a line.
        gene_combinations: how many combinations of its genes there are.
    """

    name: str
    description: str
    gene_combinations: int


@dataclass(frozen=True, repr=False)
class SpaceList(Record):
    """All search spaces.

    Attributes:
        spaces: one entry each.
    """

    schema = "spaces"
    frame = "spaces"
    tables_first = True

    spaces: tuple[SpaceEntry, ...]

    @classmethod
    def of_all(cls) -> SpaceList:
        """The spaces that there are."""
        found = map(space, space_names())
        return cls(tuple(SpaceEntry(s.name, s.description, s.size) for s in found))

    def answer(self) -> str:
        return f"{len(self.spaces)} search spaces are known."

    def figures(self) -> Iterator[Figure]:
        rows = [(s.name, log10(s.gene_combinations)) for s in self.spaces]
        yield charts.bars("Sizes of the spaces", rows, "gene combinations, powers of ten",
                          of="space")  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        columns = Column("space", "name"), Column("description", "description")
        yield Table(columns, self.spaces)


def list_spaces() -> SpaceList:
    """The search spaces that there are, as a record."""
    return SpaceList.of_all()


@dataclass(frozen=True, repr=False)
class SpaceDetails(Record):
    """One search space.

    Attributes:
        name: of the space.
        description: what its networks are, in a line.
        gene_combinations: how many combinations of its genes there are.
        block_table_rows: distinct blocks that its networks are made of.
        genes: name of a gene -> its choices.
    """

    schema = "space"
    tables_first = True

    name: str
    description: str
    gene_combinations: int
    block_table_rows: int
    genes: Mapping[str, list[int]]

    @classmethod
    def of(cls, of: SearchSpace) -> SpaceDetails:
        """The details of a space."""
        genes = {g.name: list(g.choices) for g in of.genes}
        return cls(of.name, of.description, of.size, len(of.block_table), genes)

    def headline(self) -> str:
        return f"The search space {self.name}"

    def answer(self) -> str:
        return (
            f"{self.name} has {self.gene_combinations:,} combinations of {len(self.genes)} genes, "
            f"made of {self.block_table_rows:,} distinct blocks."
        )

    def figures(self) -> Iterator[Figure]:
        rows = [(label, float(len(choices))) for label, choices in self._alike()]
        yield charts.bars("Choices of every gene", rows, "choices", of="gene")

    def _alike(self) -> Iterator[tuple[str, list[int]]]:
        """Yield neighbouring genes of the same choices under one name, and these choices."""
        for choices, genes in groupby(self.genes, key=lambda name: self.genes[name]):
            names = list(genes)
            yield names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}", choices

    def parts(self) -> Iterator[Table | str]:
        yield f"{self.name}: {self.description}"
        yield (
            f"{self.gene_combinations:,} gene combinations, {self.block_table_rows:,} distinct "
            "blocks"
        )
        for label, choices in self._alike():
            yield f"  {label}: {', '.join(map(str, choices))}"
