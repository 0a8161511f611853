"""Networks that Once-For-All publishes as a ``net.config`` (JSON)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latcast.graph import Graph
from latcast.spaces._mobile import InvertedResidual, Shape, conv_block, linear_block, pool_block


def blocks_from_ofa_config(config: Mapping[str, Any], resolution: int) -> list[Graph]:
    """Blocks of a specialized network (``MobileNetV3`` or ``ProxylessNASNets``).

    Args:
        config: the parsed ``net.config``.
        resolution: side of the square input in pixels.

    Raises:
        ValueError: the network's ``name`` is neither of the two, or a key is missing.
    """
    if config.get("name") not in ("MobileNetV3", "ProxylessNASNets"):
        raise ValueError(
            "net.config must describe a MobileNetV3 or ProxylessNASNets; "
            f"got name {config.get('name')!r}"
        )
    try:
        return _build(config, resolution)
    except KeyError as error:
        raise ValueError(f"net.config lacks the key {error}") from None


def _build(config: Mapping[str, Any], resolution: int) -> list[Graph]:
    blocks = [_conv(config["first_conv"], resolution, "first conv")]
    side = -(-resolution // 2)
    for n, item in enumerate(config["blocks"]):
        spec = _inverted_residual(item["mobile_inverted_conv"])
        blocks.append(spec.block(side, f"block {n}"))
        side = -(-side // spec.stride)
    pool_first = "final_expand_layer" in config
    if pool_first:
        blocks.append(_conv(config["final_expand_layer"], side, "final expand"))
        blocks.append(pool_block(_map(blocks[-1]), "pool"))
        blocks.append(_conv(config["feature_mix_layer"], 1, "feature mix"))
    else:
        blocks.append(_conv(config["feature_mix_layer"], side, "feature mix"))
        blocks.append(pool_block(_map(blocks[-1]), "pool"))
    last = config["classifier"]
    blocks.append(linear_block(last["in_features"], last["out_features"], "classifier"))
    return blocks


def _map(block: Graph) -> Shape:
    """Channels, height and width of what a block writes."""
    _, channels, height, width = block.out_shape
    return channels, height, width


def _conv(layer: Mapping[str, Any], side: int, name: str) -> Graph:
    return conv_block(
        (layer["in_channels"], side, side),
        layer["out_channels"],
        name,
        kernel_size=layer["kernel_size"],
        stride=layer["stride"],
        activation=layer["act_func"],
        batch_norm=layer["use_bn"],
    )


def _inverted_residual(conv: Mapping[str, Any]) -> InvertedResidual:
    mid = conv["mid_channels"] or round(conv["in_channels"] * conv["expand_ratio"])
    return InvertedResidual(
        conv["in_channels"],
        mid,
        conv["out_channels"],
        conv["kernel_size"],
        conv["stride"],
        conv["act_func"],
        conv["use_se"],
        expands=conv["expand_ratio"] != 1,
    )
