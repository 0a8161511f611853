"""Once-For-All's MobileNetV3 and ProxylessNAS networks.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from latcast.spaces._mobile import (
    SE_REDUCTION,
    InvertedResidual,
    MobileNet,
    MobileNetV3,
    ProxylessNAS,
    make_divisible,
)

from ._modules import (
    ACTIVATIONS,
    OFANetwork,
    classifier,
    conv_layer,
    conv_norm,
    mean_pool,
    same_conv,
    sequence,
)

KERNEL_SIZES = (3, 5, 7)
"""Of elastic depthwise convolutions, whose weights have the last one's size."""


class MobileNetV3Network(OFANetwork):
    """A network of the MobileNetV3 space."""

    of: MobileNetV3

    def _build(self, *, elastic: bool) -> None:
        of = self.of
        last = of.blocks[-1].out_channels
        self.first_conv = conv_layer(3, of.first_channels, 3, "h_swish", stride=2)
        self.blocks = _blocks(of, elastic=elastic)
        self.final_expand_layer = conv_layer(last, of.expand_channels, 1, "h_swish")
        self.feature_mix_layer = conv_layer(
            of.expand_channels, of.mix_channels, 1, "h_swish", norm=False
        )
        self.classifier = classifier(of.mix_channels, of.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        x = self.blocks(self.first_conv(x))
        x = mean_pool(self.final_expand_layer(x))
        scores: Tensor = self.classifier(self.feature_mix_layer(x).flatten(1))
        return scores


class ProxylessNetwork(OFANetwork):
    """A network of the ProxylessNAS space."""

    of: ProxylessNAS

    def _build(self, *, elastic: bool) -> None:
        of = self.of
        self.first_conv = conv_layer(3, of.first_channels, 3, "relu6", stride=2)
        self.blocks = _blocks(of, elastic=elastic)
        self.feature_mix_layer = conv_layer(of.blocks[-1].out_channels, of.mix_channels, 1, "relu6")
        self.classifier = classifier(of.mix_channels, of.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        x = self.feature_mix_layer(self.blocks(self.first_conv(x)))
        scores: Tensor = self.classifier(mean_pool(x).flatten(1))
        return scores


class ResidualBlock(nn.Module):
    """An inverted residual block, which adds its input where it can."""

    def __init__(self, of: InvertedResidual, *, elastic: bool) -> None:
        super().__init__()
        self.mobile_inverted_conv = _inverted_residual(of, elastic=elastic and of.expands)
        self.residual = of.residual

    def forward(self, x: Tensor) -> Tensor:
        """A map of the block's output shape."""
        y: Tensor = self.mobile_inverted_conv(x)
        return x + y if self.residual else y


class SqueezeExcitation(nn.Module):
    """Channels scaled by a function of their means (arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = make_divisible(channels // SE_REDUCTION)
        self.fc = sequence(
            reduce=nn.Conv2d(channels, reduced, 1),
            relu=nn.ReLU(),
            expand=nn.Conv2d(reduced, channels, 1),
            h_sigmoid=nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """A map of the shape of ``x``."""
        scaled: Tensor = x * self.fc(mean_pool(x))
        return scaled


def _blocks(of: MobileNet, *, elastic: bool) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(b, elastic=elastic) for b in of.blocks))


def _inverted_residual(of: InvertedResidual, *, elastic: bool) -> nn.Sequential:
    activation = ACTIVATIONS[of.activation]
    parts: dict[str, nn.Module] = {}
    if of.expands:
        expand = same_conv(of.in_channels, of.mid_channels, 1)
        parts["inverted_bottleneck"] = conv_norm(expand, activation(), elastic=elastic)
    depthwise = same_conv(
        of.mid_channels, of.mid_channels, of.kernel_size, of.stride, groups=of.mid_channels
    )
    parts["depth_conv"] = conv_norm(depthwise, activation(), elastic=elastic)
    if elastic:
        _add_transforms(parts["depth_conv"].get_submodule("conv"))
    if of.squeeze_excitation:
        parts["depth_conv"].add_module("se", SqueezeExcitation(of.mid_channels))
    linear = same_conv(of.mid_channels, of.out_channels, 1)
    parts["point_linear"] = conv_norm(linear, None, elastic=elastic)
    return sequence(**parts)


def _add_transforms(conv: nn.Module) -> None:
    """The matrices that make a smaller kernel of the centre of the next larger one."""
    for small, large in pairwise(KERNEL_SIZES):
        matrix = nn.Parameter(torch.eye(small * small))
        conv.register_parameter(f"{large}to{small}_matrix", matrix)
