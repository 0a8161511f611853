"""Networks that Once-For-All publishes, counted by hand from their ``net.config``."""

from __future__ import annotations

import json
from collections import Counter
from math import ceil
from typing import Any

from latcast.spaces import space


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
        names = {24: "ofa-mobilenet-v3", 16: "ofa-mobilenet-v3-w1.0", 40: "ofa-proxyless"}
        the_space = space(names[config["first_conv"]["out_channels"]])
        found[the_space.name] += 1
        costs = the_space.costs(the_space.parse([_arch(config, resolution)]))
        assert (costs["macs"][0], costs["params"][0]) == expected
    assert found == {"ofa-mobilenet-v3": 3, "ofa-mobilenet-v3-w1.0": 5, "ofa-proxyless": 3}
