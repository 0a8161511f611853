"""What is particular to Once-For-All's ProxylessNAS space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latcast.spaces import space

SPACE = space("ofa-proxyless")
SMALLEST = {"ks": [3] * 21, "e": [3] * 21, "d": [2] * 5 + [1], "r": [160]}


def names(arch: dict[str, Any]) -> list[str]:
    ids = SPACE.block_ids(SPACE.parse([arch]))[0]
    return [SPACE.block_table.blocks[i].name for i in ids if i < len(SPACE.block_table)]


def test_keys_are_those_of_once_for_all_s_tables() -> None:
    keys = set(SPACE.block_table.keys)
    for key in (
        "Conv-input:224x224x3-output:112x112x40",
        "expanded_conv-input:112x112x40-output:112x112x24-expand:1-kernel:3-stride:1-idskip:0",
        "expanded_conv-input:56x56x32-output:56x56x32-expand:6-kernel:7-stride:1-idskip:1",
        "expanded_conv-input:7x7x248-output:7x7x416-expand:4-kernel:5-stride:1-idskip:0",
        "Conv_1-input:7x7x416-output:7x7x1664",
    ):
        assert f"224/{key}" in keys


def test_the_last_block_is_always_there() -> None:
    found = names(SMALLEST | {"ks": [3] * 20 + [7], "e": [3] * 20 + [6]})
    assert found[:3] == ["first conv", "first block", "stage 1: kernel 3, expand 3"]
    assert found[-4:] == ["stage 6: kernel 7, expand 6", "feature mix", "pool", "classifier"]
    assert len(found) == 2 + 2 * 5 + 1 + 3
    assert len(names(SMALLEST | {"d": [4] * 5 + [1]})) == 2 + 4 * 5 + 1 + 3


def test_activations_are_relu6_and_nothing_is_squeezed() -> None:
    operators = {layer.op for block in SPACE.block_table.blocks for layer in block.layers}
    assert operators == {
        "conv", "depthwise_conv", "batch_norm", "relu6", "add", "global_pool", "reshape", "linear"
    }  # fmt: skip


def test_the_sixth_depth_is_one() -> None:
    for depth in (1, 2, 3, 4):
        archs = SPACE.parse([SMALLEST | {"d": [2] * 5 + [depth]}])
        assert archs.to_dicts() == [SMALLEST]
    for depths, message in (
        ([2] * 5 + [0], "the sixth of 'd' must be 1, the depth of the last stage; got 0"),
        ([2] * 5, "'d' must be 6 integers"),
    ):
        with pytest.raises(ValueError, match=f"architecture 1: {message}"):
            SPACE.parse([SMALLEST, SMALLEST | {"d": depths}])


def test_one_hot() -> None:
    x = SPACE.one_hot(SPACE.parse([SMALLEST]))
    assert x.shape == (1, 63 + 63 + 8)
    assert x.sum() == 11 + 11 + 1
    assert x[0, 60:63].tolist() == [1, 0, 0]
    blocks = SPACE.one_hot_to_blocks(x.astype(np.float64))[0]
    assert blocks[22] == 2  # the last block's kernel size and expand ratio
    assert blocks.sum() == 22
