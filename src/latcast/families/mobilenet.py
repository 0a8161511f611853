"""MobileNet 1, 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from latcast.graph import GraphBuilder, Tensor
from latcast.spaces._mobile import make_divisible

from ._family import RESOLUTIONS, Family

# Width multipliers of all channels, in percent.
WIDTHS = (25, 35, 50, 75, 100, 140)


class MobileNetV1(Family):
    """Depthwise separable convolutions; ``depth`` counts the equal ones in the middle."""

    name = "mobilenet-v1"
    title = "MobileNet"
    source = "Howard et al., arXiv:1704.04861"
    parameters: Mapping[str, Sequence[int]] = {
        "width": WIDTHS,
        "depth": (1, 2, 3, 5, 7),
        "kernel": (3, 3, 5, 7),
        "relu6": (0, 1),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "mobilenet-v1": {
            "width": 100,
            "depth": 5,
            "kernel": 3,
            "relu6": 1,
            "resolution": 224,
            "classes": 1000,
        }
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        kind = "relu6" if p["relu6"] else "relu"
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.conv_norm(x, wide(32, p), 3, kind, stride=2)
        middle = [(512, 1)] * p["depth"]
        ends = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        for channels, stride in [*ends, *middle, (1024, 2), (1024, 1)]:
            x = b.depthwise(x, p["kernel"], stride, kind)
            x = b.conv_norm(x, wide(channels, p), 1, kind)
        return b.classifier(x, p["classes"])


# Channels and stride of the stages whose depth is free.
_STAGES = ((24, 2), (32, 2), (64, 2), (96, 1), (160, 2))


class MobileNetV2(Family):
    """Inverted residual blocks; ``depth1`` … are those of the second to sixth stage."""

    name = "mobilenet-v2"
    title = "MobileNet 2"
    source = "Sandler et al., arXiv:1801.04381"
    parameters: Mapping[str, Sequence[int]] = {
        "width": WIDTHS,
        "expand": (2, 3, 4, 6, 8),
        "depth1": (1, 2, 3),
        "depth2": (1, 2, 3, 4),
        "depth3": (1, 2, 3, 4, 5),
        "depth4": (1, 2, 3, 4),
        "depth5": (1, 2, 3, 4),
        "kernel": (3, 3, 5, 7),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "mobilenet-v2": {
            "width": 100,
            "expand": 6,
            **{f"depth{i}": d for i, d in enumerate((2, 3, 4, 3, 3), 1)},
            "kernel": 3,
            "resolution": 224,
            "classes": 1000,
        }
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.conv_norm(x, wide(32, p), 3, "relu6", stride=2)
        x = _residual(b, x, wide(16, p), 1, p["kernel"], 1)
        for i, (channels, first) in enumerate(_STAGES, 1):
            for n in range(p[f"depth{i}"]):
                stride = first if n == 0 else 1
                x = _residual(b, x, wide(channels, p), stride, p["kernel"], p["expand"])
        x = _residual(b, x, wide(320, p), 1, p["kernel"], p["expand"])
        x = b.conv_norm(x, wide(1280, {"width": max(100, p["width"])}), 1, "relu6")
        return b.classifier(x, p["classes"])


def _residual(
    b: GraphBuilder, x: Tensor, channels: int, stride: int, kernel_size: int, expand: int
) -> Tensor:
    y = x if expand == 1 else b.conv_norm(x, x.shape[1] * expand, 1, "relu6")
    y = b.conv_norm(b.depthwise(y, kernel_size, stride, "relu6"), channels, 1)
    return b.add(x, y) if x.shape == y.shape else y


def wide(channels: int, parameters: Mapping[str, int]) -> int:
    """Channels at the ``width`` of a network, in percent."""
    return make_divisible(channels * parameters["width"] / 100)


# --- MobileNetV3 --------------------------------------------------------------------------------


class _Block(NamedTuple):
    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    activation: str
    stride: int = 1


_RE, _HS = "relu", "h_swish"
_LARGE = (
    _Block(3, 16, 16, False, _RE),
    _Block(3, 64, 24, False, _RE, 2),
    _Block(3, 72, 24, False, _RE),
    _Block(5, 72, 40, True, _RE, 2),
    *[_Block(5, 120, 40, True, _RE)] * 2,
    _Block(3, 240, 80, False, _HS, 2),
    _Block(3, 200, 80, False, _HS),
    *[_Block(3, 184, 80, False, _HS)] * 2,
    _Block(3, 480, 112, True, _HS),
    _Block(3, 672, 112, True, _HS),
    _Block(5, 672, 160, True, _HS, 2),
    *[_Block(5, 960, 160, True, _HS)] * 2,
)
_SMALL = (
    _Block(3, 16, 16, True, _RE, 2),
    _Block(3, 72, 24, False, _RE, 2),
    _Block(3, 88, 24, False, _RE),
    _Block(5, 96, 40, True, _HS, 2),
    *[_Block(5, 240, 40, True, _HS)] * 2,
    _Block(5, 120, 48, True, _HS),
    _Block(5, 144, 48, True, _HS),
    _Block(5, 288, 96, True, _HS, 2),
    *[_Block(5, 576, 96, True, _HS)] * 2,
)
_PUBLISHED = {
    "width": 100,
    "depth": 6,
    "kernel": 0,
    "squeeze": 1,
    "native": 1,
    "resolution": 224,
    "classes": 1000,
}


class MobileNetV3(Family):
    """The paper's two networks, narrower, wider and shallower.

    ``depth`` is the most blocks that a stage keeps, ``kernel`` that of all blocks (0: the
    paper's), ``squeeze`` 0 leaves squeeze-excitations out, ``native`` 0 writes hard swishes and
    hard sigmoids as formulas.
    """

    name = "mobilenet-v3"
    title = "MobileNet 3"
    source = "Howard et al., arXiv:1905.02244"
    parameters: Mapping[str, Sequence[int]] = {
        "large": (0, 1),
        "width": WIDTHS,
        "depth": (1, 2, 3, 4, 6),
        "kernel": (0, 3, 5, 7),
        "squeeze": (0, 1, 1),
        "native": (0, 1),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "mobilenet-v3-large": {"large": 1, **_PUBLISHED},
        "mobilenet-v3-small": {"large": 0, **_PUBLISHED},
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        native = bool(p["native"])
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.conv_norm(x, wide(16, p), 3, _HS, stride=2, native=native)
        in_stage = 0
        for block in _LARGE if p["large"] else _SMALL:
            in_stage = 1 if block.stride > 1 else in_stage + 1
            if in_stage <= p["depth"]:
                x = _v3_residual(b, x, block, p)
        x = b.conv_norm(x, 6 * x.shape[1], 1, _HS, native=native)
        x = b.flatten(b.global_pool(x))
        hidden = b.linear(x, wide(1280 if p["large"] else 1024, p))
        return b.linear(b.activation(hidden, _HS, native=native), p["classes"])


def _v3_residual(b: GraphBuilder, x: Tensor, block: _Block, p: Mapping[str, int]) -> Tensor:
    native = bool(p["native"])
    expanded = wide(block.expanded, p)
    y = x
    if expanded != x.shape[1]:
        y = b.conv_norm(y, expanded, 1, block.activation, native=native)
    kernel_size = p["kernel"] or block.kernel
    y = b.depthwise(y, kernel_size, block.stride, block.activation, native=native)
    if block.squeeze and p["squeeze"]:
        squeezed = make_divisible(expanded // 4)
        y = b.squeeze_excitation(y, squeezed, "relu", "h_sigmoid", native=native)
    y = b.conv_norm(y, wide(block.channels, p), 1)
    return b.add(x, y) if x.shape == y.shape else y
