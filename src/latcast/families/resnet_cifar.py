"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import GraphBuilder, Tensor

from ._family import Family

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
                block = _preactivated if early else _block
                x = block(b, x, p["width"] * 2**stage, stride)
        if early:
            x = b.activation(b.batch_norm(x), "relu")
        return b.classifier(x, p["classes"])


def _block(b: GraphBuilder, x: Tensor, width: int, stride: int) -> Tensor:
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
