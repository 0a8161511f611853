"""What is particular to Once-For-All's ResNet50 space."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from latcast.spaces import space

SPACE = space("ofa-resnet50")
SMALLEST = {"e": [0.2] * 18, "w": [0] * 6, "d": [0] * 5, "r": [160]}
LARGEST = {"e": [0.35] * 18, "w": [2] * 6, "d": [2] * 5, "r": [224]}


def names(arch: dict[str, Any]) -> list[str]:
    ids = SPACE.block_ids(SPACE.parse([arch]))[0]
    return [SPACE.block_table.blocks[i].name for i in ids if i < len(SPACE.block_table)]


def divisible(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def hand_count(arch: dict[str, Any]) -> tuple[int, int]:
    """MACs and parameters by the published rule."""
    multipliers = [(0.65, 0.8, 1.0)[w] for w in arch["w"]]
    stem = divisible(divisible(64 * multipliers[0]) // 2)
    channels = divisible(64 * multipliers[1])
    macs = params = 0

    def conv(c_in: int, c_out: int, k: int, side: int) -> None:
        nonlocal macs, params
        macs += c_in * c_out * k * k * side * side
        params += c_in * c_out * k * k + 2 * c_out

    side = -(-arch["r"][0] // 2)
    conv(3, stem, 3, side)
    if arch["d"][0] == 2:
        conv(stem, stem, 3, side)
    conv(stem, channels, 3, side)
    side = -(-side // 2)
    start = 0
    for stage, base in enumerate((2, 2, 4, 2)):
        out = divisible((256, 512, 1024, 2048)[stage] * multipliers[2 + stage])
        for position in range(base + arch["d"][1 + stage]):
            mid = divisible(round(out * arch["e"][start + position]))
            conv(channels, mid, 1, side)
            side = -(-side // 2) if stage and position == 0 else side
            conv(mid, mid, 3, side)
            conv(mid, out, 1, side)
            if position == 0:
                conv(channels, out, 1, side)
            channels = out
        start += base + 2
    return macs + channels * 1000, params + channels * 1000 + 1000


def test_costs_equal_the_hand_count() -> None:
    archs = [SMALLEST, LARGEST, *SPACE.sample(100, 0).to_dicts()]
    costs = SPACE.costs(SPACE.parse(archs))
    found = list(zip(costs["macs"], costs["params"], strict=True))
    assert found == [hand_count(arch) for arch in archs]


def test_an_ordinary_resnet_50d_is_a_member() -> None:
    """Depths 3, 4, 6, 3 at expand ratio 1/4.

    ``resnet50d`` of *PyTorch Image Models* has 25.576 M parameters and 4.35 GMACs; the stem's
    shortcut has none.
    """
    arch = {"e": [0.25] * 18, "w": [2] * 6, "d": [2, 1, 2, 2, 1], "r": [224]}
    costs = SPACE.costs(SPACE.parse([arch]))
    assert costs["params"][0] == pytest.approx(25.576e6, abs=1e3)
    assert costs["macs"][0] == pytest.approx(4.35e9, rel=0.01)


def test_blocks_of_the_smallest_and_the_largest_network() -> None:
    small = names(SMALLEST)
    assert small == [
        "first conv: 24 channels", "stem conv: 24 to 40 channels", "max pool: 40 channels",
        "stage 1 start: 40 to 168 channels, expand 0.2", "stage 1: 168 channels, expand 0.2",
        "stage 2 start: 168 to 336 channels, expand 0.2", "stage 2: 336 channels, expand 0.2",
        "stage 3 start: 336 to 664 channels, expand 0.2",
        *["stage 3: 664 channels, expand 0.2"] * 3,
        "stage 4 start: 664 to 1328 channels, expand 0.2", "stage 4: 1328 channels, expand 0.2",
        "pool: 1328 channels", "classifier: 1328 features",
    ]  # fmt: skip
    large = names(LARGEST)
    assert large[1] == "stem residual: 32 channels"
    assert len(large) == 4 + 18 + 2


def test_a_block_s_input_is_what_comes_before() -> None:
    archs = SPACE.sample(300, 1)
    table, ids = SPACE.block_table, SPACE.block_ids(archs)
    for row in ids:
        blocks = [table.blocks[i] for i in row if i < len(table)]
        for before, after in pairwise(blocks):
            assert before.out_shape == after.in_shape


def test_widths_of_the_stem_that_round_alike_are_one() -> None:
    a, b, c = (SPACE.parse([SMALLEST | {"w": [w, 0, 0, 0, 0, 0]}]) for w in range(3))
    assert a == b
    assert a != c
    assert b.to_dicts() == [SMALLEST]


def test_the_resolution_s_other_name() -> None:
    item = {key: SMALLEST[key] for key in ("e", "w", "d")}
    assert SPACE.parse([item | {"image_size": 160}]) == SPACE.parse([SMALLEST])
    with pytest.raises(ValueError, match="unknown key 'image_size'"):
        SPACE.parse([SMALLEST | {"image_size": 160}])


def test_ratios_of_blocks_that_are_not_there_may_be_zero() -> None:
    there = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]
    archs = SPACE.parse([SMALLEST | {"e": [0.2 * t for t in there]}])
    assert archs == SPACE.parse([SMALLEST])
    single = [np.float32(0.35)] * 18
    assert SPACE.parse([LARGEST | {"e": single}]) == SPACE.parse([LARGEST])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e": [0.3] * 18}, "e1 must be one of 20, 25, 35; got 30"),
        ({"e": [0.2] * 17 + [0]}, "e18 must be one of 20, 25, 35; got 0"),
        ({"e": [0.2] * 17 + [True]}, "'e' must be 18 expand ratios, 0.2, 0.25 or 0.35; got"),
        ({"e": [0.2] * 17 + [float("nan")]}, "'e' must be 18 expand ratios"),
        ({"e": [0.2] * 17 + [1e300]}, "'e' must be 18 expand ratios"),
        ({"e": [0.2] * 17}, "'e' must be 18 expand ratios"),
        ({"w": [3] * 6}, "'w' must be 6 indices from 0 to 2 of a width; got"),
        ({"w": [0.65] * 6}, "'w' must be 6 indices"),
        ({"w": [-1] * 6}, "'w' must be 6 indices"),
        ({"d": [1, 0, 0, 0, 0]}, "'d' must be 5 depths from 0 to 2, the stem's 0 or 2; got"),
        ({"d": [0, 0, 3, 0, 0]}, "'d' must be 5 depths"),
        ({"d": [0, 0, 0, 0, "2"]}, "'d' must be 5 depths"),
        ({"r": [256]}, r"'r' must be 1 integers from 0 to 255; got \[256\]"),
        ({"r": [130]}, "r must be one of 128, 132, .*; got 130"),
        ({"ks": [3] * 18}, "unknown key 'ks'"),
    ],
)
def test_what_is_not_in_the_space(change: dict[str, Any], message: str) -> None:
    there = {"d": [0, 0, 0, 0, 2]} if message.startswith("e18") else {}
    with pytest.raises(ValueError, match=f"architecture 0.*{message}"):
        SPACE.parse([SMALLEST | there | change])


def test_one_hot() -> None:
    archs = SPACE.parse([SMALLEST, LARGEST])
    x = SPACE.one_hot(archs)
    assert x.shape == (2, 54 + 17 + 2 + 8)
    assert x.sum(axis=1).tolist() == [10 + 6 + 1 + 1, 18 + 6 + 1 + 1]
    blocks = SPACE.one_hot_to_blocks(x.astype(np.float64))
    # First conv and stem conv: their width; the residual: that it is there; then expand ratio and
    # a part of the stage's width.
    assert blocks[0].tolist() == [
        1, 0, 1, 0, *[1.5, 1.5, 0, 0] * 2, *[1.25] * 4, 0, 0, 1.5, 1.5, 0, 0, 0, 0
    ]  # fmt: skip
    assert blocks[1, :4].tolist() == [1, 1, 1, 0]
    assert blocks.sum(axis=1).tolist() == [10 + 6, 18 + 6 + 1]


def test_every_row_is_a_block_of_its_own() -> None:
    rows = [b.layers for b in SPACE.block_table.blocks[:163]]
    assert len(set(rows)) == 163
