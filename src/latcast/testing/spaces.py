"""The contract of a search space: sampling, parsing, block table and networks agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from latcast.spaces import Archs, SearchSpace

Check = Callable[[SearchSpace], None]

# A value that no gene may have in these checks; a space whose genes have it skips them.
FORBIDDEN = 77


def check_space(space: SearchSpace) -> None:
    """Put a search space through the contract.

    Raises:
        AssertionError: it does not keep the contract.
    """
    for check in SPACE_CHECKS:
        check(space)


def samples_are_valid(space: SearchSpace) -> None:
    """A seed draws the same, every value of every gene is drawn, and a generator advances."""
    archs = space.sample(3_000, 7)
    assert np.array_equal(archs.genes, space.sample(3_000, 7).genes)
    assert archs.genes.shape == (3_000, len(space.genes))
    assert archs.genes.dtype == np.uint8
    space.validate(archs.genes)
    for column, gene in enumerate(space.genes):
        assert set(archs.genes[:, column]) == set(gene.choices), f"{gene.name} lacks values"
    rng = np.random.default_rng(0)
    assert not np.array_equal(space.sample(5, rng).genes, space.sample(5, rng).genes)


def samples_can_be_restricted(space: SearchSpace) -> None:
    """Only the values that are asked for are drawn; an unknown gene or value is refused."""
    first, last = space.genes[0], space.genes[-1]
    two = {last.choices[0], last.choices[-1]}
    archs = space.sample(50, 0, restrict={first.name: first.choices[:1], last.name: two})
    assert set(archs.genes[:, -1]) == two
    if first != last:
        assert set(archs.genes[:, 0]) == {first.choices[0]}
    refused("no gene 'x'", lambda: space.sample(1, 0, restrict={"x": [1]}))
    if FORBIDDEN not in last.choices:
        wanted = {last.name: [FORBIDDEN]}
        refused(
            f"{last.name} must keep at least one of ", lambda: space.sample(1, 0, restrict=wanted)
        )


def enumeration_is_complete(space: SearchSpace) -> None:
    """All combinations of the first and the last gene, the others fixed."""
    free = [space.genes[0], space.genes[-1]]
    fixed = {g.name: g.choices[-1:] for g in space.genes[1:-1]}
    genes = space.enumerate(fixed).genes
    pairs = [[a, b] for a in free[0].choices for b in free[1].choices]
    assert genes[:, [0, -1]].tolist() == pairs
    for column, gene in zip(genes.T[1:-1], space.genes[1:-1], strict=True):
        assert (column == gene.choices[-1]).all()


def parsing_inverts_formatting(space: SearchSpace) -> None:
    """Parsing inverts :meth:`SearchSpace.format`: the same architectures come back."""
    archs = space.sample(200, 1)
    dicts = archs.to_dicts()
    again = space.parse(dicts)
    assert again == archs
    assert again.to_dicts() == dicts
    assert space.parse([]).genes.shape == (0, len(space.genes))


def inactive_genes_do_not_count(space: SearchSpace) -> None:
    """Genes that change nothing change neither blocks nor encodings nor equality."""
    archs = space.sample(300, 2)
    canonical = archs.canonical()
    assert canonical == archs
    assert np.array_equal(canonical.canonical().genes, canonical.genes)
    assert np.array_equal(space.block_ids(canonical), space.block_ids(archs))
    assert np.array_equal(space.one_hot(canonical), space.one_hot(archs))
    assert len(canonical.unique()) == len(archs.unique())
    space.validate(canonical.genes)


def variation_stays_in_the_space(space: SearchSpace) -> None:
    """Mutants and children are valid, and every gene of a child is one of a parent's."""
    archs = space.sample(500, 3)
    assert np.array_equal(space.mutate(archs, 0.0, 0).genes, archs.genes)
    last = space.genes[-1]
    mutants = space.mutate(archs, 0.1, 0, restrict={last.name: last.choices[1:2]})
    space.validate(mutants.genes)
    changed = mutants.genes != archs.genes
    assert 0.03 < changed[:, :-1].mean() < 0.1  # a redrawn gene often keeps its value
    assert set(mutants.genes[changed[:, -1], -1]) == {last.choices[1]}
    a, b = space.sample(500, 4), space.sample(500, 5)
    child = space.crossover(a, b, 0).genes
    assert ((child == a.genes) | (child == b.genes)).all()
    differs = a.genes != b.genes
    assert 0.45 < (child == a.genes)[differs].mean() < 0.55
    refused("equally long", lambda: space.crossover(a, b[:3], 0))


def block_ids_are_rows(space: SearchSpace) -> None:
    """Ids are rows of the block table, whose rows have distinct keys, or its length."""
    ids, table = space.block_ids(space.sample(500, 6)), space.block_table
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    assert ids.max() <= len(table)
    assert len(table.keys) == len(set(table.keys)) == len(table.groups) == len(table)
    runs = [any(x.op != "identity" for x in block.layers) for block in table.blocks]
    for name in ("read_bytes", "write_bytes", "launches"):
        assert np.array_equal(table.facts[name] > 0, runs)


def live_blocks_are_blocks(space: SearchSpace) -> None:
    """Blocks that a compiler keeps are blocks of the architecture."""
    archs = space.sample(200, 7)
    live, there = space.live_blocks(archs), space.block_ids(archs) < len(space.block_table)
    assert live.shape == there.shape
    assert live.dtype == np.bool_
    assert not (live & ~there).any()


def networks_are_their_blocks(space: SearchSpace) -> None:
    """A network has the layers of its blocks, computes nothing in vain, and costs what they do.

    Folding takes the scale and shift of a batch norm out and puts a bias in their place; a batch
    norm that no convolution precedes becomes a scale and a shift.
    """
    arch = space.sample(1, 8, restrict=_smallest(space))
    network = space.network(arch)
    rows = [i for i in space.block_ids(arch)[0].tolist() if i < len(space.block_table)]
    blocks = [space.block_table.blocks[i] for i in rows]
    parts = [space.assemble([i]).layers for i in rows]
    assert [x.op for x in network.layers] == [x.op for part in parts for x in part]
    read = {i for x in network.layers for i in x.inputs}
    assert read == set(range(-1, len(network.layers) - 1)), "an output that nobody reads"
    assert network.in_shape == blocks[0].in_shape
    assert network.out_shape == blocks[-1].out_shape
    shifts = sum(x.params // 2 for b in blocks for x in b.layers if x.op == "batch_norm")
    scales = [x for x in network.layers if x.window == (1, 1) and x.op == "depthwise_conv"]
    (costs,) = space.costs(arch).to_dicts()
    assert network.params == costs["params"] - shifts + sum(x.out_shape[1] for x in scales)
    assert network.macs == costs["macs"] + sum(prod(x.out_shape) for x in scales)
    refused("from one architecture; got 2", lambda: space.network(space.sample(2, 0)))


def costs_are_those_of_the_blocks(space: SearchSpace) -> None:
    """Costs of an architecture, and sums over its blocks, are those of a loop over its blocks."""
    archs, table = space.sample(5, 3), space.block_table
    values = np.random.default_rng(0).random(len(table))
    sums = space.block_sums(archs, values)
    for row, total, costs in zip(
        space.block_ids(archs), sums, space.costs(archs).to_dicts(), strict=True
    ):
        rows = [i for i in row if i < len(table)]
        blocks = [table.blocks[i] for i in rows]
        layers = [x for b in blocks for x in b.layers if x.kind != "view"]
        params = sum(b.params for b in blocks)
        assert costs == {
            "macs": sum(b.macs for b in blocks),
            "params": params,
            "bytes": sum(x.read_bytes + x.write_bytes for x in layers) + 4 * params,
            "launches": len(layers),
            "activation_bytes": max(b.peak_activation_bytes for b in blocks),
            "blocks": len(blocks),
        }
        assert np.isclose(total, values[rows].sum(), rtol=1e-12)


def expansion_keeps_networks(space: SearchSpace) -> None:
    """Architectures have the same blocks in the space whose block table is used."""
    archs = space.sample(30, 9)
    full = space.expand(archs)
    assert full.space.name == space.block_space
    assert full.to_dicts() == archs.to_dicts()
    assert np.array_equal(full.space.block_ids(full), space.block_ids(archs))


def bad_genes_are_named(space: SearchSpace) -> None:
    """A value that a gene does not have is refused, with the architecture and the choices."""
    last, genes = space.genes[-1], space.sample(3, 0).genes.astype(np.int64)
    refused("genes each; got an array of shape", lambda: Archs(space, genes[:, :-1]))
    wrapped = genes.copy()
    wrapped[0, -1] += 256  # it would wrap around to a valid value
    refused("integers from 0 to 255", lambda: Archs(space, wrapped))
    if FORBIDDEN not in last.choices:
        genes[2, -1] = FORBIDDEN
        refused(f"architecture 2: {last.name} must be one of ", lambda: Archs(space, genes))


def shares_go_to_blocks(space: SearchSpace) -> None:
    """Shares of one-hot inputs go to blocks that there are."""
    archs = space.sample(10, 0)
    x = space.one_hot(archs)
    blocks, ids = space.one_hot_to_blocks(x.astype(np.float64)), space.block_ids(archs)
    assert blocks.shape == ids.shape
    assert (blocks[ids == len(space.block_table)] == 0).all()


def batches_are_immutable(space: SearchSpace) -> None:
    """Architectures are read-only batches that can be sliced and joined."""
    archs = space.sample(6, 0)
    refused("read-only", lambda: archs.genes.fill(3))
    assert [len(archs[1]), len(archs[-2:])] == [1, 2]
    assert archs[:3].concatenate(archs[3:]) == archs
    assert [len(a) for a in archs] == [1] * 6


SPACE_CHECKS: tuple[Check, ...] = (
    samples_are_valid,
    samples_can_be_restricted,
    enumeration_is_complete,
    parsing_inverts_formatting,
    inactive_genes_do_not_count,
    variation_stays_in_the_space,
    block_ids_are_rows,
    live_blocks_are_blocks,
    networks_are_their_blocks,
    costs_are_those_of_the_blocks,
    expansion_keeps_networks,
    bad_genes_are_named,
    shares_go_to_blocks,
    batches_are_immutable,
)
"""The parts of the contract, each of which takes a space."""


def _smallest(space: SearchSpace) -> Mapping[str, Any] | None:
    """The smallest resolution, where the last gene is one."""
    last = space.genes[-1]
    return {"r": [last.choices[0]]} if last.name == "r" else None


def refused(words: str, call: Callable[[], object], kind: type[ValueError] = ValueError) -> None:
    """Make sure that a call raises an error that says so."""
    message = None
    try:
        call()
    except kind as error:
        message = str(error)
    assert words in (message or ""), f"it must be refused with {words!r}; got {message}"
