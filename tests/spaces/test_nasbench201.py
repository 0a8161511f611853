"""What is particular to NAS-Bench-201."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.spaces import space
from latcast.spaces.nasbench201 import OPERATIONS

SPACE = space("nasbench201")
CONV = "nor_conv_3x3"


def cell(*operations: str) -> str:
    """The benchmark's string for the six edges' operations."""
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def live_steps(*operations: str) -> tuple[list[bool], list[bool]]:
    """Which of the nine blocks of the first and of the last cell live."""
    live = SPACE.live_blocks(SPACE.parse([cell(*operations)]))[0]
    assert live[-3:].all()  # the head
    return live[1:10].tolist(), live[-12:-3].tolist()


@pytest.mark.parametrize(
    ("operations", "macs", "params"),
    [
        # The benchmark's API says 220.12 M and 1.532 M, 184.73 M and 1.289 M, 7.78 M and 0.073 M.
        ([CONV] * 6, 220_119_680, 1_531_546),
        ([CONV, CONV, CONV, "skip_connect", CONV, CONV], 184_730_240, 1_288_506),
        (["none"] * 6, 7_783_040, 73_306),
        (["avg_pool_3x3"] * 6, 7_783_040, 73_306),
    ],
)
def test_published_costs(operations: list[str], macs: int, params: int) -> None:
    costs = SPACE.costs(SPACE.parse([cell(*operations)])).row(0, named=True)
    assert (costs["macs"], costs["params"]) == (macs, params)


def test_a_convolution_more_costs_what_it_must() -> None:
    conv1, none = cell("nor_conv_1x1", *["none"] * 5), cell(*["none"] * 6)
    costs = SPACE.costs(SPACE.parse([conv1, none]))
    pixels = {16: 32**2, 32: 16**2, 64: 8**2}
    assert costs["macs"][0] - costs["macs"][1] == sum(5 * c * c * p for c, p in pixels.items())
    assert costs["params"][0] - costs["params"][1] == sum(5 * (c * c + 2 * c) for c in pixels)


def test_size_and_order_of_the_genes() -> None:
    assert SPACE.size == len(SPACE.enumerate().unique()) == 15_625
    assert [g.name for g in SPACE.genes] == ["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"]
    operations = ("none", "skip_connect", "nor_conv_1x1", CONV, "avg_pool_3x3", "none")
    assert SPACE.parse([cell(*operations)]).genes.tolist() == [[1, 2, 3, 4, 5, 1]]


def test_rows_of_a_network() -> None:
    ids = SPACE.block_ids(SPACE.parse([cell(*OPERATIONS, CONV)]))[0]
    keys = [SPACE.block_table.keys[i] for i in ids]
    assert len(keys) == 1 + 15 * 9 + 2 + 3
    assert keys[:10] == ["stem"] + [f"stage 1/{x}" for x in (
        "none", "skip_connect", "nor_conv_1x1", "addition", CONV, "avg_pool_3x3", "addition",
        CONV, "addition",
    )]  # fmt: skip
    assert keys[46] == "reduction 1"
    assert keys[92] == "reduction 2"
    assert keys[-3:] == ["batch norm", "pool", "classifier"]
    groups = SPACE.block_table.groups
    assert np.array_equal(groups[:6], groups[6:12])
    assert len(set(groups)) == 6 + 6


def test_edges_read_nodes() -> None:
    assert SPACE.reads is not None
    # Stem is block 0. 0->1, 0->2, 1->2, node 2, 0->3, 1->3, sum, 2->3, node 3; then the next cell.
    assert SPACE.reads[1:12] == (
        (0,), (0,), (1,), (2, 3), (0,), (1,), (5, 6), (4,), (7, 8), (9,), (9,)
    )  # fmt: skip
    assert SPACE.reads[46] == (45,)  # the reduction reads the fifth cell
    assert SPACE.reads[-3:] == ((137,), (138,), (139,))


def test_all_blocks_live_without_none() -> None:
    archs = SPACE.sample(200, 0, restrict={g.name: range(2, 6) for g in SPACE.genes})
    assert SPACE.live_blocks(archs).all()


@pytest.mark.parametrize(
    ("operations", "live"),
    [
        # In order: 0->1, 0->2, 1->2, addition, 0->3, 1->3, addition, 2->3, addition.
        ((CONV, CONV, CONV, CONV, CONV, "none"), (1, 0, 0, 0, 1, 1, 1, 0, 0)),
        ((CONV, "none", CONV, "none", "none", CONV), (1, 0, 1, 0, 0, 0, 0, 1, 0)),
        (("skip_connect", CONV, "none", CONV, "none", CONV), (0, 1, 0, 0, 1, 0, 0, 1, 1)),
        # 1->2 computes on zeros, and lives all the same.
        (("none", "none", CONV, CONV, "none", CONV), (0, 0, 1, 0, 1, 0, 0, 1, 1)),
    ],
)
def test_what_does_not_reach_the_output_is_dead(
    operations: tuple[str, ...], live: tuple[int, ...]
) -> None:
    first, last = live_steps(*operations)
    assert first == last == [bool(x) for x in live]


def test_only_the_last_cell_lives_where_cells_let_nothing_through() -> None:
    first, last = live_steps("none", "none", "none", "none", CONV, CONV)
    assert not any(first)
    assert last == [False, False, False, False, False, True, False, True, True]
    arch = SPACE.parse([cell("none", "none", "none", "none", CONV, CONV)])
    assert SPACE.live_blocks(arch)[0].sum() == 3 + 3  # and the head; neither stem nor reductions


def test_dead_blocks_do_not_change_the_output() -> None:
    torch = pytest.importorskip("torch")
    from latcast.graph.write.pytorch import to_pytorch

    for operations in (
        (CONV, "nor_conv_1x1", CONV, "avg_pool_3x3", CONV, "none"),
        ("none", "skip_connect", "none", "none", CONV, "none"),
    ):
        arch = SPACE.parse([cell(*operations)])
        network = SPACE.network(arch)
        weights = list(network.weights())
        x = torch.from_numpy(network.inputs())
        with torch.no_grad():
            want = to_pytorch(network, weights)(x)
        dead, position = set(), 0
        for row, live in zip(SPACE.block_ids(arch)[0], SPACE.live_blocks(arch)[0], strict=True):
            layers = len(SPACE.assemble([row]))
            if not live:
                dead |= set(range(position, position + layers))
            position += layers
        changed = [n for n in dead if network.layers[n].params]
        assert changed
        for n in changed:
            weights[n] = tuple(values + 1 for values in weights[n])
        with torch.no_grad():
            assert torch.equal(to_pytorch(network, weights)(x), want)


ARCH = st.lists(st.sampled_from(OPERATIONS), min_size=6, max_size=6).map(lambda x: cell(*x))


@given(ARCH, st.data())
def test_a_damaged_string_is_a_clear_error(text: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:n] + data.draw(st.sampled_from(["", "+", "|", "~", "9", "é"])) + text[n + 1 :]
    if damaged != text:
        with pytest.raises(ValueError, match="architecture 1"):
            SPACE.parse([text, damaged])


@pytest.mark.parametrize("item", [None, 3, [1] * 6, {}, {"arch": 3}, {"arch": cell(*[CONV] * 6),
                                  "x": 1}, ""])  # fmt: skip
def test_anything_else_is_a_clear_error(item: object) -> None:
    with pytest.raises(ValueError, match=r"architecture 0 must be a string like \|op~0"):
        SPACE.parse([item])


def test_unknown_operations_are_named() -> None:
    with pytest.raises(ValueError, match=r"one of none, .*; got 'max_pool_3x3'"):
        SPACE.parse([cell("max_pool_3x3", *["none"] * 5)])
