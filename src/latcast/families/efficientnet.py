"""EfficientNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family
from .mobilenet import wide

# Kernel, stride, channels and depth of the stages between the first and the last.
_STAGES = ((3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3), (5, 1, 112, 3), (5, 2, 192, 4))


def _published(width: int, depth: int, resolution: int) -> dict[str, int]:
    return {
        "width": width,
        "depth": depth,
        "expand": 6,
        "kernel": 0,
        "squeeze": 1,
        "silu": 1,
        "resolution": resolution,
        "classes": 1000,
    }


class EfficientNet(Family):
    """Inverted residual blocks with squeeze-excitation and SiLU, scaled in width and depth.

    ``width`` and ``depth`` are percents of B0's, ``kernel`` 0 stands for the paper's,
    ``squeeze`` 0 leaves squeeze-excitations out and ``silu`` 0 takes ReLU6 instead: both
    together are EfficientNet-Lite.
    """

    name = "efficientnet"
    title = "EfficientNet"
    source = "Tan and Le, arXiv:1905.11946"
    parameters: Mapping[str, Sequence[int]] = {
        "width": (30, 40, 50, 65, 80, 100, 110, 120),
        "depth": (25, 50, 75, 100, 110, 120, 140),
        "expand": (2, 3, 4, 6),
        "kernel": (0, 0, 3, 5, 7),
        "squeeze": (0, 1, 1),
        "silu": (0, 1, 1),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "efficientnet-b0": _published(100, 100, 224),
        "efficientnet-b1": _published(100, 110, 240),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        kind = "silu" if p["silu"] else "relu6"
        x = b.input(3, p["resolution"], p["resolution"])
        x = b.conv_norm(x, wide(32, p), 3, kind, stride=2)
        for _ in range(_deep(1, p)):
            x = _residual(b, x, 3, 1, 16, {**p, "expand": 1})
        for kernel_size, first, channels, depth in _STAGES:
            for n in range(_deep(depth, p)):
                x = _residual(b, x, kernel_size, first if n == 0 else 1, channels, p)
        for _ in range(_deep(1, p)):
            x = _residual(b, x, 3, 1, 320, p)
        return b.classifier(b.conv_norm(x, 4 * x.shape[1], 1, kind), p["classes"])


def _residual(
    b: GraphBuilder,
    x: Tensor,
    kernel_size: int,
    stride: int,
    channels: int,
    p: Mapping[str, int],
) -> Tensor:
    kind = "silu" if p["silu"] else "relu6"
    y = x if p["expand"] == 1 else b.conv_norm(x, x.shape[1] * p["expand"], 1, kind)
    y = b.depthwise(y, p["kernel"] or kernel_size, stride, kind)
    if p["squeeze"]:
        y = b.squeeze_excitation(y, x.shape[1] // 4, kind)
    y = b.conv_norm(y, wide(channels, p), 1)
    return b.add(x, y) if x.shape == y.shape else y


def _deep(depth: int, parameters: Mapping[str, int]) -> int:
    return -(-depth * parameters["depth"] // 100)
