"""Residual networks, for large and for small images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

from latcast.graph import GraphBuilder, Tensor

from ._family import RESOLUTIONS, Family

BASIC, BOTTLENECK = 0, 1


def _published(block: int, depths: str, groups: int = 1, inner: int = 100) -> dict[str, int]:
    numbers = [int(d) for d in depths.split()]
    return {
        "bottleneck": block,
        **{f"depth{i}": d for i, d in enumerate(numbers, 1)},
        "width": 64,
        "groups": groups,
        "inner": inner,
        "stem": 7,
        "resolution": 224,
        "classes": 1000,
    }


class ResNet(Family):
    """Basic or bottleneck blocks, also grouped (ResNeXt) and wide.

    ``inner`` is the width inside a block in percent, ``stem`` the first kernel: 7, or 3 for the
    three small ones of ResNet-D.
    """

    name = "resnet"
    title = "ResNet, ResNeXt and wide ResNet"
    source = "He et al., arXiv:1512.03385; Xie et al., arXiv:1611.05431"
    parameters: Mapping[str, Sequence[int]] = {
        "bottleneck": (BASIC, BOTTLENECK),
        "depth1": (1, 2, 3),
        "depth2": (1, 2, 3, 4, 8),
        "depth3": (1, 2, 3, 4, 6, 23, 36),
        "depth4": (1, 2, 3),
        "width": (12, 16, 20, 24, 32, 40, 48, 64, 80),
        "groups": (1, 1, 1, 2, 4, 8, 32),
        "inner": (50, 100, 100, 150, 200),
        "stem": (3, 7),
        "resolution": RESOLUTIONS,
        "classes": (10, 100, 1000),
    }
    published: Mapping[str, Mapping[str, int]] = {
        "resnet-18": _published(BASIC, "2 2 2 2"),
        "resnet-34": _published(BASIC, "3 4 6 3"),
        "resnet-50": _published(BOTTLENECK, "3 4 6 3"),
        "resnet-101": _published(BOTTLENECK, "3 4 23 3"),
        "resnet-152": _published(BOTTLENECK, "3 8 36 3"),
        "resnext-50-32x4d": _published(BOTTLENECK, "3 4 6 3", groups=32, inner=200),
        "wide-resnet-50-2": _published(BOTTLENECK, "3 4 6 3", inner=200),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        x = b.input(3, p["resolution"], p["resolution"])
        x = _stem(b, x, p["width"], p["stem"])
        x = b.max_pool(x, 3, stride=2, padding=1)
        for stage in range(4):
            width = p["width"] * 2**stage
            for i in range(p[f"depth{stage + 1}"]):
                stride = 2 if stage and i == 0 else 1
                x = _block(b, x, width, stride, p)
        return b.classifier(x, p["classes"])


def _stem(b: GraphBuilder, x: Tensor, width: int, kernel_size: int) -> Tensor:
    if kernel_size == 3:
        for stride in (2, 1):
            x = b.activation(b.conv(x, width // 2, 3, stride=stride, norm=True), "relu")
        return b.activation(b.conv(x, width, 3, norm=True), "relu")
    return b.activation(b.conv(x, width, kernel_size, stride=2, norm=True), "relu")


def _block(b: GraphBuilder, x: Tensor, width: int, stride: int, p: Mapping[str, int]) -> Tensor:
    out = width * (4 if p["bottleneck"] else 1)
    groups = gcd(p["groups"], width)
    inner = max(groups, width * p["inner"] // 100 // groups * groups)
    if p["bottleneck"]:
        y = b.activation(b.conv(x, inner, 1, norm=True), "relu")
        y = b.conv(y, inner, 3, stride=stride, groups=groups, norm=True)
        y = b.conv(b.activation(y, "relu"), out, 1, norm=True)
    else:
        y = b.conv(x, inner, 3, stride=stride, groups=gcd(groups, x.shape[1]), norm=True)
        y = b.conv(b.activation(y, "relu"), out, 3, groups=groups, norm=True)
    if stride > 1 or x.shape[1] != out:
        x = b.conv(x, out, 1, stride=stride, norm=True)
    return b.activation(b.add(y, x), "relu")


# --- small images -------------------------------------------------------------------------------


STAGES = 3


class ResNetCIFAR(Family):
    """Three stages at full, half and a quarter of a small image's resolution.

    ``depth`` are the blocks of a stage, ``width`` the channels of the first; shortcuts that change
    the width are convolutions. With ``preactivation``, batch norms and activations come before
    convolutions, as in wide ResNets.
    """

    name = "resnet-cifar"
    title = "ResNet and wide ResNet for small images"
    source = "He et al., arXiv:1512.03385, section 4.2; Zagoruyko, Komodakis, arXiv:1605.07146"
    parameters: Mapping[str, Sequence[int]] = {
        "depth": (1, 2, 3, 4, 5, 7, 9),
        "width": (8, 12, 16, 16, 20, 24, 32, 48, 64, 96),
        "preactivation": (0, 1),
        "resolution": (32, 32, 48, 64),
        "classes": (10, 100),
    }

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        b, p = builder, parameters
        early = bool(p["preactivation"])
        x = b.conv(b.input(3, p["resolution"], p["resolution"]), p["width"], 3, norm=not early)
        if not early:
            x = b.activation(x, "relu")
        for stage in range(STAGES):
            for i in range(p["depth"]):
                stride = 2 if stage and i == 0 else 1
                block = _preactivated if early else _small_block
                x = block(b, x, p["width"] * 2**stage, stride)
        if early:
            x = b.activation(b.batch_norm(x), "relu")
        return b.classifier(x, p["classes"])


def _small_block(b: GraphBuilder, x: Tensor, width: int, stride: int) -> Tensor:
    y = b.activation(b.conv(x, width, 3, stride=stride, norm=True), "relu")
    y = b.conv(y, width, 3, norm=True)
    if x.shape[1] != width:
        x = b.conv(x, width, 1, stride=stride, norm=True)
    return b.activation(b.add(y, x), "relu")


def _preactivated(b: GraphBuilder, x: Tensor, width: int, stride: int) -> Tensor:
    y = b.activation(b.batch_norm(x), "relu")
    if x.shape[1] != width:
        x = b.conv(y, width, 1, stride=stride)
    y = b.activation(b.conv(y, width, 3, stride=stride, norm=True), "relu")
    return b.add(b.conv(y, width, 3), x)
