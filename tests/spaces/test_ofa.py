"""What is particular to the Once-For-All spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.data import ofa_lookup_table, read
from latcast.spaces import space
from latcast.spaces._mobile import InvertedResidual, make_divisible

SMALLEST = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": [160]}


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("ofa-mobilenet-v3", {24, 32, 48, 96, 136, 192, 1152, 1536, 1000}),
        ("ofa-mobilenet-v3-w1.0", {16, 24, 40, 80, 112, 160, 960, 1280, 1000}),
        ("ofa-proxyless", {40, 24, 32, 56, 104, 128, 248, 416, 1664, 1000}),
    ],
)
def test_channels(name: str, channels: set[int]) -> None:
    keys = [k for k in space(name).block_table.keys if k.startswith("224/")]
    assert {int(k.split("output:")[1].split("-")[0].split("x")[-1]) for k in keys} == channels


def test_block_order_of_the_smallest_network() -> None:
    the_space = space("ofa-mobilenet-v3")
    ids = the_space.block_ids(the_space.parse([SMALLEST]))[0]
    names = [the_space.block_table.blocks[i].name for i in ids if i < len(the_space.block_table)]
    assert names[:3] == ["first conv", "first block", "stage 1: kernel 3, expand 3"]
    assert names[-4:] == ["final expand", "pool", "feature mix", "classifier"]
    assert len(names) == 6 + 2 * 5


def test_odd_sides_round_up() -> None:
    # 172 -> 86 -> 43 -> 22 -> 11 -> 11 -> 6, as the keys of the published table for 172 say.
    the_space = space("ofa-mobilenet-v3")
    ids = the_space.block_ids(the_space.parse([SMALLEST | {"r": [172]}]))[0]
    sides = [int(the_space.block_table.facts["out_side"][i]) for i in ids if i < 2784]
    assert sides[:-3] == [86, 86, 43, 43, 22, 22, 11, 11, 11, 11, 6, 6, 6]


def test_fixed_kernel_has_243_networks_a_resolution() -> None:
    the_space = space("compofa-fixed-kernel")
    archs = the_space.enumerate({"r": [192]})
    assert len(archs) == len(archs.unique()) == 243
    genes = the_space.expand(archs).genes
    assert (np.repeat([3, 5, 3, 3, 5], 4) == genes[:, :20]).all()
    expand_of = {2: 3, 3: 4, 4: 6}
    for stage in range(5):
        assert [expand_of[d] for d in genes[:, 40 + stage]] == genes[:, 20 + 4 * stage].tolist()


def test_compofa_refuses_a_network_outside() -> None:
    with pytest.raises(ValueError, match="not in compofa-elastic-kernel, where depth 2, 3, 4"):
        space("compofa-elastic-kernel").parse([SMALLEST | {"e": [4] * 20}])
    with pytest.raises(ValueError, match="stages have kernel sizes"):
        space("compofa-fixed-kernel").parse([SMALLEST])
    assert len(space("compofa-elastic-kernel").parse([SMALLEST])) == 1


def test_other_ways_to_write_a_network() -> None:
    the_space = space("ofa-mobilenet-v3")
    smallest = the_space.parse([SMALLEST])
    assert the_space.parse([SMALLEST | {"r": 160}]) == smallest
    assert the_space.parse([{"wid": None, **SMALLEST}]) == smallest
    with pytest.raises(ValueError, match="'wid' must be None"):
        the_space.parse([{"wid": 1.0, **SMALLEST}])
    assert smallest != space("ofa-mobilenet-v3-w1.0").parse([SMALLEST])
    # Inactive positions may hold anything valid.
    item = SMALLEST | {"e": [3, 3, 6, 4] * 5, "ks": [3, 3, 7, 5] * 5}
    part = space("compofa-elastic-kernel")
    assert part.parse([item]) == part.parse([SMALLEST])


def test_one_hot_is_the_paper_s_for_multiples_of_16() -> None:
    the_space = space("ofa-mobilenet-v3")
    x = the_space.one_hot(the_space.parse([SMALLEST, SMALLEST | {"r": [168]}]))
    assert x.shape == (2, 128)
    assert x[0].sum() == 10 + 10 + 1
    assert x[0, 120:].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert x[1, 120:].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["ofa", "elastickernelcompofa", "fixedkernelcompofa"])
def test_published_table_reproduces_the_note10_rows(shared: Path, kind: str) -> None:
    data = read(shared / "ofanas" / "datasets" / f"note10_lookuptable_{kind}.csv")
    table = ofa_lookup_table.read(shared / "ofanas" / "lookup_tables")
    the_space = data.archs.space
    values = np.array([table.get(key, np.nan) for key in the_space.block_table.keys])
    assert len(data) == 10_000
    assert np.abs(the_space.block_sums(data.archs, values) - data.latency_ms).max() < 1e-6


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(16 * 1.2, 24), (24 * 1.2, 32), (112 * 1.2, 136), (8, 8), (3, 8), (17, 16), (18, 24)],
)
def test_make_divisible(value: float, rounded: int) -> None:
    # 19.2 would round to 16, which is more than 10 % below it.
    assert make_divisible(value) == rounded


def test_squeeze_excitation_block_in_closed_form() -> None:
    spec = InvertedResidual(40, 120, 40, 5, 1, "relu", squeeze_excitation=True)
    block = spec.block(14, "b")
    side = 14 * 14
    macs = 40 * 120 * side + 25 * 120 * side + 2 * 120 * 32 + 120 * 40 * side
    params = 40 * 120 + 240 + 25 * 120 + 240 + 2 * 120 * 32 + 32 + 120 + 120 * 40 + 80
    assert (block.macs, block.params, block.name) == (macs, params, "b")
    assert block.layers[-1].op == "add"
