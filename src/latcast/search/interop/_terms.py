"""Sums over a network, written as functions of few genes each.

An expectation over independent genes goes through such a sum term by term: nothing else has to be
known of a space. Which genes a block depends on is found by changing one gene at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from latcast.models import Form
from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]
Slots = npt.NDArray[np.int32] | npt.NDArray[np.float32]

# Networks in which every gene is changed, and networks whose sums are compared in the end. A
# dependence that shows in 0.2 % of them (the rarest in NAS-Bench-201) is missed with a probability
# of 0.03 %.
PROBES = 4_096
# Rows of one table: bounds its memory; two or three genes decide on a block of the known spaces.
MAX_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Variables:
    """One discrete variable a gene: the index of its choice.

    Attributes:
        space: whose genes they are.
        choices: of every gene, the values that it may take, in order.
    """

    space: SearchSpace
    choices: tuple[npt.NDArray[np.uint8], ...]

    def archs(self, indices: npt.ArrayLike) -> Archs:
        """The networks of indices into the choices, shape (n, genes).

        Raises:
            ValueError: the shape is wrong, or an index is no integer of its gene's range.
        """
        given = np.atleast_2d(np.asarray(indices))
        counts = np.array([len(c) for c in self.choices])
        if given.ndim != 2 or given.shape[1] != len(counts):
            raise ValueError(
                f"networks of {self.space.name} need {len(counts)} indices each; "
                f"got an array of shape {given.shape}"
            )
        ok = (given >= 0) & (given < counts) & (given == np.floor(given))
        if not ok.all():
            row, column = np.argwhere(~ok)[0]
            raise ValueError(
                f"the index of {self.space.genes[column].name} must be a whole number from 0 to "
                f"{counts[column] - 1}; got {given[row, column]}"
            )
        columns = zip(self.choices, given.T.astype(np.intp), strict=True)
        return Archs(self.space, np.stack([c[column] for c, column in columns], axis=1))

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Indices of random choices, shape (n, genes)."""
        return rng.integers(0, [len(c) for c in self.choices], (n, len(self)), dtype=np.intp)

    def __len__(self) -> int:
        return len(self.choices)


@dataclass(frozen=True)
class Term:
    """A function of some genes.

    Attributes:
        genes: positions of the genes, those with the most choices first; () for a constant.
        table: values by the index of every gene's choice, shape (choices, …, choices, inputs).
    """

    genes: tuple[int, ...]
    table: Floats


@dataclass(frozen=True)
class _Part:
    """Some of a form's inputs: slots that a network fills, and what the filling is worth.

    Attributes:
        slots: of n architectures, what is in each slot, shape (n, slots).
        total: what some slots' filling (n, some) adds up to, given their numbers, (n, inputs).
        width: number of inputs.
    """

    slots: Callable[[Archs], Slots]
    total: Callable[[Slots, Sequence[int]], Floats]
    width: int


def terms_of(form: Form, variables: Variables) -> list[Term]:
    """Terms that add up to the inputs of ``form``.

    Args:
        form: a prediction in the space whose block table that of the variables uses.
        variables: the genes that are meant, and the values that they may take.

    Raises:
        ValueError: a block depends on more genes than can be tabulated, or is unknown to the
            prediction.
    """
    parts = _parts(form, variables.space)
    tables: dict[tuple[int, ...], list[Floats]] = {}
    widths = [part.width for part in parts]
    rng = np.random.default_rng(0)
    for n, part in enumerate(parts):
        for genes, slots in _scopes(part, variables, rng).items():
            table = _tabulate(part, slots, genes, variables)
            place = [(0, 0)] * len(genes) + [(sum(widths[:n]), sum(widths[n + 1 :]))]
            tables.setdefault(genes, []).append(np.pad(table, place))
    terms = [Term(genes, np.sum(parts_of, axis=0)) for genes, parts_of in tables.items()]
    _check(terms, parts, variables, rng)
    return terms


def _parts(form: Form, space: SearchSpace) -> list[_Part]:
    none = len(space.block_table)

    def live(archs: Archs) -> Slots:
        full = space.expand(archs)
        ids = full.space.block_ids(full)
        return np.where(full.space.live_blocks(full), ids, np.int32(none))

    parts = []
    for values, slots in ((form.rows, space.block_ids), (form.live, live)):
        if values.shape[1]:
            parts.append(_Part(slots, _lookup(values), values.shape[1]))
    if form.has_genes:
        width = space.one_hot(space.sample(1, 0)).shape[1]
        parts.append(_Part(space.one_hot, _columns(width), width))
    return parts


def _lookup(values: Floats) -> Callable[[Slots, Sequence[int]], Floats]:
    padded = np.vstack([values, np.zeros((1, values.shape[1]))])

    def total(ids: Slots, _: Sequence[int]) -> Floats:
        result = np.zeros((len(ids), values.shape[1]))
        for column in ids.T.astype(np.intp):
            result += padded[column]
        return result

    return total


def _columns(width: int) -> Callable[[Slots, Sequence[int]], Floats]:
    def total(inputs: Slots, slots: Sequence[int]) -> Floats:
        result = np.zeros((len(inputs), width))
        result[:, slots] = inputs
        return result

    return total


def _scopes(
    part: _Part, variables: Variables, rng: np.random.Generator
) -> dict[tuple[int, ...], list[int]]:
    """Genes -> the slots that depend on just these."""
    choices = variables.choices
    indices = variables.draw(PROBES, rng)
    before = part.slots(variables.archs(indices))
    depends = np.zeros((before.shape[1], len(choices)), dtype=np.bool_)
    for gene, values in enumerate(choices):
        if len(values) == 1:
            continue
        changed = indices.copy()
        # Another choice, every one of them as likely.
        changed[:, gene] += rng.integers(1, len(values), PROBES)
        changed[:, gene] %= len(values)
        after = part.slots(variables.archs(changed))
        depends[:, gene] = (after != before).any(axis=0)
    scopes: dict[tuple[int, ...], list[int]] = {}
    for slot, row in enumerate(depends):
        genes = sorted(np.flatnonzero(row).tolist(), key=lambda g: (-len(choices[g]), g))
        scopes.setdefault(tuple(genes), []).append(slot)
    return scopes


def _tabulate(
    part: _Part, slots: list[int], genes: tuple[int, ...], variables: Variables
) -> Floats:
    """Sum over the slots for every combination of the genes that they depend on."""
    shape = [len(variables.choices[g]) for g in genes]
    count = prod(shape)
    if count > MAX_COMBINATIONS:
        raise ValueError(
            f"at most {MAX_COMBINATIONS:,} combinations of genes may decide on a block of "
            f"{variables.space.name}; got {count:,}: restrict the genes"
        )
    indices = np.zeros((count, len(variables)), dtype=np.intp)
    indices[:, list(genes)] = np.indices(shape).reshape(len(shape), count).T
    archs = variables.archs(indices)
    total = part.total(part.slots(archs)[:, slots], slots)
    if np.isnan(total).any():
        _raise_unknown(part, archs[int(np.argmax(np.isnan(total).any(axis=1)))], slots)
    return total.reshape(*shape, part.width)


def _raise_unknown(part: _Part, arch: Archs, slots: list[int]) -> None:
    ids = part.slots(arch)
    unknown = [slot for slot in slots if np.isnan(part.total(ids[:, [slot]], [slot])).any()]
    block = arch.space.block_table.blocks[int(ids[0, unknown[0]])]
    raise ValueError(
        f"the predictor must know every block that the genes can lead to; it does not know "
        f"{block.name!r}: restrict the genes, or fit it with more networks"
    )


def _check(
    terms: list[Term], parts: list[_Part], variables: Variables, rng: np.random.Generator
) -> None:
    """Compare the terms' sum with the inputs themselves."""
    indices = variables.draw(PROBES, rng)
    archs = variables.archs(indices)
    found = sum(t.table[tuple(indices[:, g] for g in t.genes)] for t in terms)
    true = np.hstack([_summed(part, archs) for part in parts])
    # Of every input its own: MACs are ten million times the ms.
    largest = np.abs(true).max(axis=0)
    if not np.allclose(found, true, rtol=1e-9, atol=1e-9 * largest):
        raise ValueError(
            f"blocks of {variables.space.name} must depend on few genes each; some depend on genes "
            "that hardly ever make a difference, which are not found by changing one at a time"
        )


def _summed(part: _Part, archs: Archs) -> Floats:
    filled = part.slots(archs)
    return part.total(filled, range(filled.shape[1]))
