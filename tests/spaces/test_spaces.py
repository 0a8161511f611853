"""Every search space passes these."""

from __future__ import annotations

from math import prod

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.graph.read.onnx import read_onnx
from latcast.graph.write.onnx import to_onnx
from latcast.spaces import Archs, SearchSpace, space, space_names


@pytest.fixture(params=space_names())
def each(request: pytest.FixtureRequest) -> SearchSpace:
    return space(request.param)


def test_sample_is_deterministic_valid_and_covers_all_choices(each: SearchSpace) -> None:
    archs = each.sample(3_000, 7)
    assert np.array_equal(archs.genes, each.sample(3_000, 7).genes)
    assert archs.genes.shape == (3_000, len(each.genes))
    assert archs.genes.dtype == np.uint8
    each.validate(archs.genes)
    for column, gene in enumerate(each.genes):
        assert set(archs.genes[:, column]) == set(gene.choices)


def test_sample_advances_a_generator(each: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    assert each.sample(5, rng) != each.sample(5, rng)


def test_sample_restricted(each: SearchSpace) -> None:
    first, last = each.genes[0], each.genes[-1]
    two = {last.choices[1], last.choices[-2]}
    archs = each.sample(50, 0, restrict={first.name: first.choices[:1], last.name: two})
    assert set(archs.genes[:, 0]) == {first.choices[0]}
    assert set(archs.genes[:, -1]) == two
    with pytest.raises(ValueError, match="no gene 'x'"):
        each.sample(1, 0, restrict={"x": [1]})
    with pytest.raises(ValueError, match=f"{last.name} must keep at least one of "):
        each.sample(1, 0, restrict={last.name: [77]})


def test_enumeration_however_many_genes(each: SearchSpace) -> None:
    free = [each.genes[0], each.genes[-1]]
    fixed = {g.name: g.choices[-1:] for g in each.genes[1:-1]}
    genes = each.enumerate(fixed).genes
    assert genes[:, [0, -1]].tolist() == [[a, b] for a in free[0].choices for b in free[1].choices]
    for column, gene in zip(genes.T[1:-1], each.genes[1:-1], strict=True):
        assert (column == gene.choices[-1]).all()


def test_parse_is_the_inverse_of_format(each: SearchSpace) -> None:
    archs = each.sample(200, 1)
    assert each.parse(archs.to_dicts()) == archs
    assert each.parse([]).genes.shape == (0, len(each.genes))


def test_inactive_genes_do_not_count(each: SearchSpace) -> None:
    archs = each.sample(300, 2)
    canonical = archs.canonical()
    assert canonical == archs
    assert np.array_equal(canonical.canonical().genes, canonical.genes)
    assert np.array_equal(each.block_ids(canonical), each.block_ids(archs))
    assert np.array_equal(each.one_hot(canonical), each.one_hot(archs))
    assert len(canonical.unique()) == len(archs.unique())
    each.validate(canonical.genes)


def test_mutation_stays_in_the_space(each: SearchSpace) -> None:
    archs = each.sample(500, 3)
    assert np.array_equal(each.mutate(archs, 0.0, 0).genes, archs.genes)
    last = each.genes[-1]
    mutants = each.mutate(archs, 0.1, 0, restrict={last.name: last.choices[1:2]})
    each.validate(mutants.genes)
    changed = mutants.genes != archs.genes
    assert 0.03 < changed[:, :-1].mean() < 0.1  # a redrawn gene often keeps its value
    assert set(mutants.genes[changed[:, -1], -1]) == {last.choices[1]}


def test_crossover_takes_every_gene_from_a_parent(each: SearchSpace) -> None:
    a, b = each.sample(500, 4), each.sample(500, 5)
    child = each.crossover(a, b, 0).genes
    assert ((child == a.genes) | (child == b.genes)).all()
    differs = a.genes != b.genes
    assert 0.45 < (child == a.genes)[differs].mean() < 0.55
    with pytest.raises(ValueError, match="equally long"):
        each.crossover(a, b[:3], 0)


def test_block_ids_are_rows_of_the_table(each: SearchSpace) -> None:
    ids = each.block_ids(each.sample(500, 6))
    rows = len(each.block_table)
    assert ids.dtype == np.int32
    assert ids.min() >= 0
    has_empty = each.name != "nasbench201"  # every edge has an operation, if only "none"
    assert ids.max() == (rows if has_empty else rows - 1)
    assert len(each.block_table.keys) == len(set(each.block_table.keys)) == rows
    assert len(each.block_table.groups) == rows
    runs = [any(x.op != "identity" for x in block.layers) for block in each.block_table.blocks]
    for name in ("read_bytes", "write_bytes", "launches"):
        assert np.array_equal(each.block_table.facts[name] > 0, runs)


def test_every_block_is_in_some_network(each: SearchSpace) -> None:
    if each.block_space != each.name:
        pytest.skip("a subspace does not have all blocks of the table")
    has_resolution = each.genes[-1].name == "r"
    restrict = {"r": each.genes[-1].choices[:1]} if has_resolution else None
    used = np.unique(each.block_ids(each.sample(4_000, 6, restrict=restrict)))
    rows = len(each.block_table) // (len(each.genes[-1].choices) if has_resolution else 1)
    assert (used < len(each.block_table)).sum() == rows


def test_live_blocks_are_blocks(each: SearchSpace) -> None:
    archs = each.sample(200, 7)
    live = each.live_blocks(archs)
    there = each.block_ids(archs) < len(each.block_table)
    assert live.shape == there.shape
    assert live.dtype == np.bool_
    assert not (live & ~there).any()
    assert np.array_equal(live, there) or each.name == "nasbench201"


def test_a_network_is_its_blocks(each: SearchSpace) -> None:
    restrict = {"r": [each.genes[-1].choices[0]]} if each.genes[-1].name == "r" else None
    arch = each.sample(1, 8, restrict=restrict)
    network = each.network(arch)
    rows = [i for i in each.block_ids(arch)[0].tolist() if i < len(each.block_table)]
    blocks = [each.block_table.blocks[i] for i in rows]
    parts = [each.assemble([i]).layers for i in rows]
    assert [x.op for x in network.layers] == [x.op for part in parts for x in part]
    read = {i for x in network.layers for i in x.inputs}
    assert read == set(range(-1, len(network.layers) - 1))  # nothing is computed in vain
    assert network.in_shape == blocks[0].in_shape
    assert network.out_shape == blocks[-1].out_shape
    # Folding takes out a batch norm's scale and shift, and puts a bias in their place; one that
    # no convolution precedes becomes a scale and a shift.
    shifts = sum(x.params // 2 for b in blocks for x in b.layers if x.op == "batch_norm")
    scales = sum(x.out_shape[1] for x in network.layers if x.window == (1, 1) and
                 x.op == "depthwise_conv")  # fmt: skip
    (costs,) = each.costs(arch).to_dicts()
    assert network.params == costs["params"] - shifts + scales
    assert network.macs == costs["macs"] + sum(
        prod(x.out_shape) for x in network.layers if x.window == (1, 1) and x.op == "depthwise_conv"
    )
    with pytest.raises(ValueError, match="from one architecture; got 2"):
        each.network(each.sample(2, 0))


def test_a_written_network_computes_numbers(each: SearchSpace) -> None:
    restrict = {"r": [each.genes[-1].choices[0]]} if each.genes[-1].name == "r" else None
    network = each.network(each.sample(1, 5, restrict=restrict))
    content = to_onnx(network, network.weights(1))
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": network.inputs()})
    assert output.shape == network.out_shape
    assert 0.01 < output.std() < 1000
    # A reader leaves out bounds of activations, and cannot tell that a bias of zeros is none.
    for ours, theirs in zip(network.layers, read_onnx(content).layers, strict=True):
        bare = ours._replace(ports=(), constants=(), attributes=())
        if ours.op == "relu6":
            bare = bare._replace(param_bytes=0)
        elif ours.operator == "Conv":
            bare = bare._replace(params=ours.param_bytes // 4)
        assert theirs == bare


def test_facts_are_those_of_the_blocks(each: SearchSpace) -> None:
    archs = each.sample(5, 3)
    table, ids = each.block_table, each.block_ids(archs)
    for row, costs in zip(ids, each.costs(archs).to_dicts(), strict=True):
        blocks = [table.blocks[i] for i in row if i < len(table)]
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
        assert all(not b.uncosted for b in blocks)


def test_block_sums_equal_a_loop(each: SearchSpace) -> None:
    archs = each.sample(20, 8)
    values = np.random.default_rng(0).random(len(each.block_table))
    sums = each.block_sums(archs, values)
    for ids, total in zip(each.block_ids(archs), sums, strict=True):
        assert total == pytest.approx(sum(values[i] for i in ids if i < len(values)))


def test_expanded_networks_are_the_same(each: SearchSpace) -> None:
    archs = each.sample(30, 9)
    full = each.expand(archs)
    assert full.space.name == each.block_space
    assert full.to_dicts() == archs.to_dicts()
    assert np.array_equal(full.space.block_ids(full), each.block_ids(archs))


def test_bad_genes_are_named(each: SearchSpace) -> None:
    genes = each.sample(3, 0).genes.copy()
    genes[2, -1] = 77
    last = each.genes[-1]
    message = rf"architecture 2: {last.name} must be one of {last.choices[0]}, .*; got 77"
    with pytest.raises(ValueError, match=message):
        Archs(each, genes)
    with pytest.raises(ValueError, match="genes each; got an array of shape"):
        Archs(each, genes[:, :-1])


def test_zero_is_no_choice_of_an_active_gene(each: SearchSpace) -> None:
    for column, gene in enumerate(each.genes):
        depths = {
            g.name: g.choices[-1:] for g in each.genes if g.name in {f"d{i}" for i in range(1, 6)}
        }
        genes = each.sample(1, 0, restrict=depths).genes.copy()
        genes[0, column] = 0
        with pytest.raises(ValueError, match=f"{gene.name} must be one of .*; got 0"):
            Archs(each, genes)


def test_numbers_outside_of_a_byte_are_refused(each: SearchSpace) -> None:
    genes = each.sample(1, 0).genes.astype(np.int64)
    genes[0, -1] += 256  # would wrap around to a valid value
    with pytest.raises(ValueError, match="integers from 0 to 255"):
        Archs(each, genes)


def test_one_hot_shares_go_to_blocks(each: SearchSpace) -> None:
    archs = each.sample(10, 0)
    x = each.one_hot(archs)
    blocks = each.one_hot_to_blocks(x.astype(np.float64))
    ids = each.block_ids(archs)
    assert blocks.shape == ids.shape
    assert (blocks[ids == len(each.block_table)] == 0).all()


def test_archs_are_immutable_batches(each: SearchSpace) -> None:
    archs = each.sample(6, 0)
    with pytest.raises(ValueError, match="read-only"):
        archs.genes[0, 0] = 3
    assert len(archs[1]) == 1
    assert len(archs[-2:]) == 2
    assert archs[:3].concatenate(archs[3:]) == archs
    assert [len(a) for a in archs] == [1] * 6
    other = space("ofa-mobilenet-v3-w1.0" if each.name != "ofa-mobilenet-v3-w1.0" else
                  "ofa-mobilenet-v3")  # fmt: skip
    with pytest.raises(ValueError, match="only batches of one space"):
        archs.concatenate(other.sample(1, 0))


def test_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'compofa-fixed-kernel'\? known: ofa"):
        space("compofa-fixed-kernal")


BLOCKS = st.lists(st.sampled_from((3, 5, 7)), min_size=20, max_size=20)
OFA_DICT = st.fixed_dictionaries(
    {
        "ks": BLOCKS,
        "e": st.lists(st.sampled_from((3, 4, 6)), min_size=20, max_size=20),
        "d": st.lists(st.sampled_from((2, 3, 4)), min_size=5, max_size=5),
        "r": st.sampled_from(range(128, 241, 4)).map(lambda r: [r]),
    }
)


@given(st.lists(OFA_DICT, max_size=5))
def test_any_ofa_dict_survives(items: list[dict[str, list[int]]]) -> None:
    assert space("ofa-mobilenet-v3").parse(items).to_dicts() == items


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(JUNK)
def test_anything_else_is_a_clear_error(item: object) -> None:
    with pytest.raises(ValueError, match="architecture 0"):
        space("ofa-mobilenet-v3").parse([item])


@given(OFA_DICT, st.sampled_from(("ks", "e", "d", "r")), JUNK)
def test_a_damaged_dict_is_a_clear_error(item: dict[str, object], key: str, junk: object) -> None:
    if key == "r" and junk in space("ofa-mobilenet-v3").genes[-1].choices:
        junk = "x"
    with pytest.raises(ValueError, match="architecture 0"):
        space("ofa-mobilenet-v3").parse([item | {key: junk}])
