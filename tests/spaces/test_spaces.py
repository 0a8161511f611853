"""Every search space passes these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.graph import Graph, GraphBuilder
from latcast.graph.read.onnx import read_onnx
from latcast.graph.write.onnx import to_onnx
from latcast.spaces import Archs, SearchSpace, _block_table, register_space, space, space_names
from latcast.spaces._block_table import FACTS, STORED, BlockTable
from latcast.testing import SPACE_CHECKS


@pytest.fixture(params=space_names())
def each(request: pytest.FixtureRequest) -> SearchSpace:
    return space(request.param)


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
def test_contract(each: SearchSpace, check: Callable[[SearchSpace], None]) -> None:
    check(each)


def test_only_cells_have_a_block_everywhere(each: SearchSpace) -> None:
    archs = each.sample(500, 6)
    ids, live = each.block_ids(archs), each.live_blocks(archs)
    rows = len(each.block_table)
    is_cell = each.name == "nasbench201"  # every edge has an operation, if only "none"
    assert ids.max() == (rows - 1 if is_cell else rows)
    assert np.array_equal(live, ids < rows) == (not is_cell)
    assert not any(block.unsupported for block in each.block_table.blocks)


def test_batches_of_two_spaces_are_not_joined() -> None:
    first, second = space("nasbench201"), space("fbnet")
    with pytest.raises(ValueError, match="only batches of one space"):
        first.sample(1, 0).concatenate(second.sample(1, 0))


def test_every_block_is_in_some_network(each: SearchSpace) -> None:
    if each.block_space != each.name:
        pytest.skip("a subspace does not have all blocks of the table")
    has_resolution = each.genes[-1].name == "r"
    restrict = {"r": each.genes[-1].choices[:1]} if has_resolution else None
    used = np.unique(each.block_ids(each.sample(4_000, 6, restrict=restrict)))
    rows = len(each.block_table) // (len(each.genes[-1].choices) if has_resolution else 1)
    assert (used < len(each.block_table)).sum() == rows


@pytest.mark.slow
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


def test_zero_is_no_choice_of_an_active_gene(each: SearchSpace) -> None:
    for column, gene in enumerate(each.genes):
        depths = {
            g.name: g.choices[-1:] for g in each.genes if g.name in {f"d{i}" for i in range(1, 6)}
        }
        genes = each.sample(1, 0, restrict=depths).genes.copy()
        genes[0, column] = 0
        with pytest.raises(ValueError, match=f"{gene.name} must be one of .*; got 0"):
            Archs(each, genes)


def test_a_space_of_ones_own_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="a name of its own; 'nasbench201' is latcast's"):
        register_space(space("nasbench201"))
    with pytest.raises(TypeError, match="must be a SearchSpace; got str"):
        register_space("nasbench201")  # type: ignore[arg-type]


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


STORED_SPACES = sorted(set(np.load(STORED).files) - {"names"})


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if "resnet" in n else ()) for n in STORED_SPACES],
)
def test_stored_facts_are_those_of_the_blocks(name: str) -> None:
    table = space(name).block_table
    made = BlockTable.build(table.blocks, table.keys, table.groups)
    for fact in FACTS:
        assert np.array_equal(table.facts[fact], made.facts[fact]), (
            f"{fact} of {name} is stored otherwise: run scripts/make_block_facts.py"
        )


def test_facts_make_no_block_and_another_list_of_facts_makes_them_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    groups = np.zeros(1, dtype=np.int32)

    def rows() -> tuple[list[Graph], list[str]]:
        calls.append(1)
        return [one], ["key"]

    builder = GraphBuilder(name="a")
    builder.conv(builder.input(3, 8, 8), 4, 3)
    one, calls = builder.build(), list[int]()
    stored = tmp_path / "facts.npz"
    monkeypatch.setattr(_block_table, "STORED", stored)
    for names, count in ((FACTS, 0), (FACTS[:-1], 1)):
        facts = np.full((len(names), 1), 7)
        np.savez(stored, names=np.array(names), mine=facts)
        table = BlockTable.stored("mine", rows, groups)
        assert (len(table), len(calls)) == (1, count)
        assert (table.facts["macs"][0] == 7) == (count == 0)
    assert [block.name for block in table.blocks] == ["a"]
