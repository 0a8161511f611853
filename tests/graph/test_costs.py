from __future__ import annotations

import json
from collections import Counter
from math import ceil
from typing import Any

import numpy as np
import pytest

from latcast.graph._costs import OPERATORS, Cost, cost, peak_activation_bytes
from latcast.graph._layer import BLOCK_INPUT, SECOND_INPUT, Block, BlockBuilder, Layer
from latcast.ofa._config import blocks_from_ofa_config
from latcast.spaces import space
from latcast.spaces._mobile import InvertedResidual, make_divisible


def test_convolution_in_closed_form() -> None:
    layer = Layer(
        "conv", (3, 10, 10), (8, 5, 5), (BLOCK_INPUT,), kernel_size=3, stride=2, bias=True
    )
    c = cost(layer)
    assert c.macs == 3 * 3 * 3 * 8 * 5 * 5
    assert c.params == 3 * 3 * 3 * 8 + 8
    assert (c.read_bytes, c.write_bytes) == (4 * 3 * 100, 4 * 8 * 25)
    assert c.param_bytes == 4 * c.params


def test_depthwise_convolution_in_closed_form() -> None:
    b = BlockBuilder("b", (16, 7, 7))
    b.conv(16, 5, stride=2, groups=16)
    layer = b.build().layers[0]
    assert layer.op == "depthwise_conv"
    assert layer.out_shape == (16, 4, 4)
    assert cost(layer).macs == 25 * 16 * 16
    assert cost(layer).params == 25 * 16


def test_linear_batch_norm_and_elementwise_in_closed_form() -> None:
    linear = Layer("linear", (10, 1, 1), (4, 1, 1), (BLOCK_INPUT,), bias=True)
    assert (cost(linear).macs, cost(linear).params) == (40, 44)
    norm = Layer("batch_norm", (6, 2, 2), (6, 2, 2), (BLOCK_INPUT,))
    assert (cost(norm).macs, cost(norm).params) == (0, 12)
    add = Layer("add", (6, 2, 2), (6, 2, 2), (0, BLOCK_INPUT))
    assert (cost(add).read_bytes, cost(add).write_bytes) == (2 * 96, 96)
    scale = Layer("scale", (6, 1, 1), (6, 2, 2), (1, 0))
    assert cost(scale).read_bytes == 96 + 24


def test_unknown_operator_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match=r"'einsum' has no cost; known: conv"):
        cost(Layer("einsum", (1, 1, 1), (1, 1, 1), (BLOCK_INPUT,)))


@pytest.mark.parametrize("op", OPERATORS)
def test_every_operator_moves_bytes(op: str) -> None:
    c = cost(Layer(op, (4, 3, 3), (4, 3, 3), (BLOCK_INPUT,), groups=4 if "depth" in op else 1))
    if op == "identity":
        assert c == Cost(0, 0, 0, 0, launches=0)
        return
    assert c.read_bytes > 0
    assert c.write_bytes > 0
    assert c.launches == 1


def test_peak_memory_keeps_the_residual_alive() -> None:
    b = BlockBuilder("b", (2, 4, 4))
    b.conv(8, 1)
    b.conv(2, 1)
    b.elementwise("add", BLOCK_INPUT)
    one = 4 * 4 * 4  # bytes of one channel
    # While the second convolution runs: the block's input (for the add), 8 and 2 channels.
    assert peak_activation_bytes(b.build()) == (2 + 8 + 2) * one
    chain = Block("b", b.build().layers[:2])
    assert peak_activation_bytes(chain) == (8 + 2) * one


def test_peak_memory_counts_both_inputs() -> None:
    b = BlockBuilder("b", (2, 4, 4))
    b.elementwise("add", SECOND_INPUT)
    assert peak_activation_bytes(b.build()) == 3 * 2 * 4 * 4 * 4


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "out", "ceil"),
    [
        (3, 1, 8, 8, 8), (2, 2, 8, 4, 4), (2, 2, 9, 4, 5), (3, 2, 9, 5, 5), (3, 2, 8, 4, 5),
        (4, 2, 8, 4, 4), (4, 3, 9, 3, 4),
    ],
)  # fmt: skip
def test_pools_keep_whole_windows_or_all(
    kernel_size: int, stride: int, side: int, out: int, ceil: int
) -> None:
    b = BlockBuilder("b", (4, side, side))
    b.max_pool(kernel_size, stride=stride)
    b.avg_pool(kernel_size, stride=stride, source=BLOCK_INPUT)
    b.avg_pool(kernel_size, stride=stride, source=BLOCK_INPUT, ceil=True)
    *whole, last = b.build().layers
    for layer, shape in ((whole[0], out), (whole[1], out), (last, ceil)):
        assert layer.in_shape == (4, side, side)
        assert layer.out_shape == (4, shape, shape)
        assert cost(layer) == Cost(0, 0, 4 * 4 * side**2, 4 * 4 * shape**2)
        assert layer.hangs_over == (shape > out)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(16 * 1.2, 24), (24 * 1.2, 32), (112 * 1.2, 136), (8, 8), (3, 8), (17, 16), (18, 24)],
)
def test_make_divisible(value: float, rounded: int) -> None:
    # 19.2 would round to 16, which is more than 10 % below it.
    assert make_divisible(value) == rounded


def test_squeeze_excitation_block_in_closed_form() -> None:
    spec = InvertedResidual(40, 120, 40, 5, 1, "relu", squeeze_excitation=True)
    layers = spec.block(14, "b").layers
    side = 14 * 14
    macs = 40 * 120 * side + 25 * 120 * side + 2 * 120 * 32 + 120 * 40 * side
    params = 40 * 120 + 240 + 25 * 120 + 240 + 2 * 120 * 32 + 32 + 120 + 120 * 40 + 80
    assert sum(cost(x).macs for x in layers) == macs
    assert sum(cost(x).params for x in layers) == params
    assert layers[-1].op == "add"


# -- the published specialized networks, counted by hand from their net.config ------------------


def _hand_count(config: dict[str, Any], side: int) -> tuple[int, int]:
    """MACs and parameters from nothing but the numbers in net.config."""
    macs = params = 0

    def conv(c_in: int, c_out: int, k: int, side: int, groups: int = 1, bn: bool = True) -> None:
        nonlocal macs, params
        weights = k * k * c_in // groups * c_out
        macs += weights * side * side
        params += weights + (2 * c_out if bn else 0)

    first = config["first_conv"]
    side = ceil(side / 2)
    conv(3, first["out_channels"], 3, side)
    for block in config["blocks"]:
        c = block["mobile_inverted_conv"]
        mid = c["mid_channels"] or c["in_channels"]
        if c["expand_ratio"] != 1:
            conv(c["in_channels"], mid, 1, side)
        side = ceil(side / c["stride"])
        conv(mid, mid, c["kernel_size"], side, groups=mid)
        if c["use_se"]:
            squeezed = max(8, int(mid // 4 + 4) // 8 * 8)
            if squeezed < 0.9 * (mid // 4):
                squeezed += 8
            macs += 2 * mid * squeezed
            params += 2 * mid * squeezed + squeezed + mid
        conv(mid, c["out_channels"], 1, side)
    if "final_expand_layer" in config:
        last = config["final_expand_layer"]
        conv(last["in_channels"], last["out_channels"], 1, side)
        side = 1
    mix = config["feature_mix_layer"]
    conv(mix["in_channels"], mix["out_channels"], 1, side, bn=mix["use_bn"])
    end = config["classifier"]
    macs += end["in_features"] * end["out_features"]
    params += end["in_features"] * end["out_features"] + end["out_features"]
    return macs, params


def _arch(config: dict[str, Any], resolution: int) -> dict[str, Any]:
    """The OFA dict of a specialized network; ProxylessNAS has a sixth stage, of one block."""
    stages: list[list[dict[str, Any]]] = []
    for block in config["blocks"][1:]:
        if block["shortcut"] is None:
            stages.append([])
        stages[-1].append(block["mobile_inverted_conv"])
    pad = [{"kernel_size": 3, "expand_ratio": 3}] * 4
    flat = [c for n, stage in enumerate(stages) for c in (stage + pad)[: 4 if n < 5 else 1]]
    return {
        "ks": [c["kernel_size"] for c in flat],
        "e": [c["expand_ratio"] for c in flat],
        "d": [len(stage) for stage in stages],
        "r": [resolution],
    }


def test_specialized_networks_equal_the_hand_count(shared: Any) -> None:
    folders = sorted((shared / "ofa_specialized").iterdir())
    assert len(folders) == 11
    found: Counter[str] = Counter()
    for folder in folders:
        config = json.loads((folder / "net.config").read_text())
        resolution = json.loads((folder / "run.config").read_text())["image_size"]
        expected = _hand_count(config, resolution)
        layers = [x for b in blocks_from_ofa_config(config, resolution) for x in b.layers]
        assert (sum(cost(x).macs for x in layers), sum(cost(x).params for x in layers)) == expected
        names = {24: "ofa-mobilenet-v3", 16: "ofa-mobilenet-v3-w1.0", 40: "ofa-proxyless"}
        the_space = space(names[config["first_conv"]["out_channels"]])
        found[the_space.name] += 1
        costs = the_space.costs(the_space.parse([_arch(config, resolution)]))
        assert (costs["macs"][0], costs["params"][0]) == expected
    assert found == {"ofa-mobilenet-v3": 3, "ofa-mobilenet-v3-w1.0": 5, "ofa-proxyless": 3}


def test_ofa_config_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="must describe a MobileNetV3"):
        blocks_from_ofa_config({"name": "ResNets"}, 224)
    with pytest.raises(ValueError, match="lacks the key 'first_conv'"):
        blocks_from_ofa_config({"name": "MobileNetV3"}, 224)


def test_costs_equal_the_sum_over_blocks() -> None:
    the_space = space("compofa-elastic-kernel")
    archs = the_space.sample(20, 3)
    costs = the_space.costs(archs)
    table, ids = the_space.block_table, the_space.block_ids(archs)
    for n in range(len(archs)):
        blocks = [table.blocks[i] for i in ids[n] if i < len(table)]
        layers = [x for b in blocks for x in b.layers]
        assert costs["macs"][n] == sum(cost(x).macs for x in layers)
        assert costs["params"][n] == sum(cost(x).params for x in layers)
        assert costs["launches"][n] == len(layers)
        assert costs["blocks"][n] == len(blocks)
        assert costs["activation_bytes"][n] == max(peak_activation_bytes(b) for b in blocks)
        moved = sum(cost(x).read_bytes + cost(x).write_bytes + cost(x).param_bytes for x in layers)
        assert costs["bytes"][n] == moved
    assert np.all(costs["macs"].to_numpy() > 1e7)
