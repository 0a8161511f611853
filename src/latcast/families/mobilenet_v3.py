"""MobileNet 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from latcast.graph import GraphBuilder, Tensor
from latcast.spaces._mobile import make_divisible

from ._family import RESOLUTIONS, Family
from .mobilenet import WIDTHS, wide


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
                x = _residual(b, x, block, p)
        x = b.conv_norm(x, 6 * x.shape[1], 1, _HS, native=native)
        x = b.flatten(b.global_pool(x))
        hidden = b.linear(x, wide(1280 if p["large"] else 1024, p))
        return b.linear(b.activation(hidden, _HS, native=native), p["classes"])


def _residual(b: GraphBuilder, x: Tensor, block: _Block, p: Mapping[str, int]) -> Tensor:
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
