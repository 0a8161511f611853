"""What is particular to FBNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latcast.spaces import space
from latcast.spaces.fbnet import CHOICES

CIFAR, IMAGENET = space("fbnet"), space("fbnet-imagenet")


def facts(key: str, name: str = "fbnet") -> dict[str, float]:
    table = space(name).block_table
    row = table.keys.index(key)
    return {fact: float(values[row]) for fact, values in table.facts.items()}


def test_blocks_in_closed_form() -> None:
    # Stage 2 of the CIFAR networks: 24 channels at 32 x 32.
    plain = facts("stage 2/k3_e6")
    assert plain["macs"] == 32**2 * (24 * 144 + 9 * 144 + 144 * 24)
    assert plain["params"] == 24 * 144 + 9 * 144 + 144 * 24 + 2 * (144 + 144 + 24)
    assert plain["launches"] == 3 + 3 + 2 + 1  # convolutions, batch norms, ReLUs, the residual
    grouped = facts("stage 2/k5_e1_g2")
    assert grouped["macs"] == 32**2 * (24 * 12 + 25 * 24 + 24 * 12)
    assert grouped["launches"] == 3 + 3 + 2 + 1 + 1  # and the shuffle
    # Stage 6 starts with a stride of 2, from 112 channels at 8 x 8 to 184 at 4 x 4.
    start = facts("stage 6 start/k5_e3")
    assert start["macs"] == 8**2 * 112 * 336 + 4**2 * (25 * 336 + 336 * 184)
    assert (start["stride"], start["in_side"], start["out_side"]) == (2, 8, 4)
    assert start["launches"] == 3 + 3 + 2  # no residual
    skip = facts("stage 6 start/skip")
    assert skip["macs"] == 4**2 * 112 * 184
    assert skip["launches"] == 3


def test_imagenet_has_other_sides_strides_and_head() -> None:
    assert facts("stem", "fbnet-imagenet")["macs"] == 112**2 * 27 * 16
    assert facts("stem")["macs"] == 32**2 * 27 * 16
    assert facts("stage 2 start/k3_e1", "fbnet-imagenet")["out_side"] == 56
    assert facts("last conv", "fbnet-imagenet")["macs"] == 7**2 * 352 * 1984
    assert facts("last conv")["macs"] == 4**2 * 352 * 1504
    assert facts("classifier")["params"] == 1505 * 100
    assert facts("classifier", "fbnet-imagenet")["params"] == 1985 * 1000


def test_a_skip_is_no_block_where_the_shape_stays() -> None:
    ids = CIFAR.block_ids(CIFAR.parse([["skip"] * 22]))[0]
    names = [CIFAR.block_table.keys[i] for i in ids if i < len(CIFAR.block_table)]
    starts = [f"stage {stage} start/skip" for stage in range(2, 8)]
    assert names == ["stem", *starts, "last conv", "pool", "classifier"]
    network = CIFAR.network(CIFAR.parse([["skip"] * 22]))
    assert [x.op for x in network.layers] == [
        *["conv", "relu"] * 8,
        "global_pool",
        "reshape",
        "linear",
    ]


def test_rows_are_where_the_layers_are() -> None:
    ids = CIFAR.block_ids(CIFAR.parse([["k3_e1"] * 22]))[0]
    names = [CIFAR.block_table.keys[i].split("/")[0] for i in ids]
    expected = ["stage 1 start"]
    for stage in range(2, 7):
        expected += [f"stage {stage} start", *[f"stage {stage}"] * 3]
    assert names == ["stem", *expected, "stage 7 start", "last conv", "pool", "classifier"]


def test_rows_of_one_group_are_one_choice() -> None:
    table = CIFAR.block_table
    pairs = {
        (group, key.split("/")[-1]) for group, key in zip(table.groups, table.keys, strict=True)
    }
    assert len(pairs) == len(set(table.groups)) == 9 + 4


def test_shares_of_a_skip_that_is_no_block_are_left_out() -> None:
    shares = np.zeros((1, 22, 9))
    shares[0, :, CHOICES.index("skip")] = 1
    blocks = CIFAR.one_hot_to_blocks(shares.reshape(1, -1))[0]
    starts = [2, 6, 10, 14, 18, 22]  # after the stem, and stage 1, where a skip is nothing
    assert np.flatnonzero(blocks).tolist() == starts


def test_the_two_forms_of_an_architecture() -> None:
    items: list[Any] = [{"op_idx_list": [*range(9), *range(9), 0, 1, 2, 3]}]
    (item,) = CIFAR.parse(items).to_dicts()
    assert item["op_idx_list"] == items[0]["op_idx_list"]
    assert item["arch_str"][:9] == list(CHOICES)
    same = [{"arch_str": item["arch_str"]}, item["arch_str"], item["op_idx_list"]]
    assert all(CIFAR.parse([x]) == CIFAR.parse(items) for x in same)
    item["arch_str"][4] = "skip"
    with pytest.raises(ValueError, match="must agree; layer 5 differs"):
        CIFAR.parse([item])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "architecture 1 must be a dict with 'op_idx_list' or 'arch_str'"),
        ({"ks": []}, "architecture 1 must be a dict"),
        (["skip"] * 21, "architecture 1: the list must hold 22 blocks"),
        ({"op_idx_list": "0" * 22}, "'op_idx_list' must hold 22 blocks"),
        ([9] * 22, "a name or a number from 0 to 8; got 9"),
        ([True] * 22, "a name or a number from 0 to 8; got True"),
        ([1.0] * 22, "a name or a number from 0 to 8; got 1.0"),
        (["k3_e2"] * 22, "'k3_e2'; did you mean 'k3_e"),
    ],
)
def test_malformed_architectures_are_named(item: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR.parse([["skip"] * 22, item])
