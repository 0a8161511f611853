"""PyTorch modules whose state dicts are those that Once-For-All publishes.

Names and shapes follow the files of its model zoo (github.com/mit-han-lab/once-for-all), where an
inverted residual block's body is called ``mobile_inverted_conv``; the later code's ``conv`` is read
as well.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

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
from latcast.spaces._resnet import Bottleneck, ResNet

from ._checkpoint import matched

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "h_swish": nn.Hardswish,
}


class OFANetwork(nn.Module):
    """One architecture, in evaluation mode after construction.

    Args:
        of: its widths and blocks.
        elastic: with the names of the supernet, whose elastic convolutions and batch norms are one
            level deeper, and its kernel transform matrices (the identity, until they are loaded).

    Attributes:
        calibrated: whether batch norms have statistics of this network, not of the supernet that
            it was cut out of; None where that is not known, as of a file of its own.
    """

    of: MobileNet | ResNet

    def __init__(self, of: MobileNet | ResNet, *, elastic: bool = False) -> None:
        super().__init__()
        self.of = of
        self.calibrated: bool | None = True
        # Layers draw weights, which will be replaced: the user's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            self._build(elastic=elastic)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = of.norm_epsilon
        self.eval()

    @abstractmethod
    def _build(self, *, elastic: bool) -> None:
        """Make the parts, in the order in which they run."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict under the names of published files or of later code."""
        return super().load_state_dict(matched(state_dict, self.state_dict()), strict, assign)

    def operators(self) -> list[tuple[nn.Conv2d | nn.Linear, nn.BatchNorm2d | None]]:
        """Convolutions and linear layers in the order in which they run, each with its norm."""
        kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
        steps: Iterable[nn.Module] = [m for m in self.modules() if isinstance(m, kinds)]
        return [
            (step, after if isinstance(after, nn.BatchNorm2d) else None)
            for step, after in pairwise([*steps, None])
            if isinstance(step, nn.Conv2d | nn.Linear)
        ]


def conv_layer(
    channels: int,
    out_channels: int,
    kernel_size: int,
    activation: str,
    *,
    stride: int = 1,
    norm: bool = True,
    elastic: bool = False,
) -> nn.Sequential:
    """A convolution with "same" padding, its batch norm and activation, as a layer."""
    conv = same_conv(channels, out_channels, kernel_size, stride)
    return conv_norm(conv, ACTIVATIONS[activation](), norm=norm, elastic=elastic)


def same_conv(
    channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution with "same" padding and without bias."""
    return nn.Conv2d(
        channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )


def conv_norm(
    conv: nn.Conv2d, activation: nn.Module | None, *, elastic: bool = False, norm: bool = True
) -> nn.Sequential:
    """A convolution, its batch norm and activation; elastic ones lie one level deeper."""
    parts: dict[str, nn.Module] = {"conv": sequence(conv=conv) if elastic else conv}
    if norm:
        bn = nn.BatchNorm2d(conv.out_channels)
        parts["bn"] = sequence(bn=bn) if elastic else bn
    if activation is not None:
        parts["act"] = activation
    return sequence(**parts)


def classifier(features: int, classes: int, *, elastic: bool = False) -> nn.Sequential:
    """A linear layer, one level deeper where it is elastic."""
    linear = nn.Linear(features, classes)
    return sequence(linear=sequence(linear=linear) if elastic else linear)


def sequence(**parts: nn.Module) -> nn.Sequential:
    """Modules by name, run one after the other."""
    return nn.Sequential(OrderedDict(parts))


def mean_pool(x: Tensor) -> Tensor:
    """Means of a map's channels, shape (batch, channels, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


# -- MobileNetV3 and ProxylessNAS ----------------------------------------------------------------

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


# -- ResNet --------------------------------------------------------------------------------------


class ResNetNetwork(OFANetwork):
    """A network of the ResNet space; all of its supernet's layers are elastic."""

    of: ResNet

    def _build(self, *, elastic: bool) -> None:
        of = self.of
        stem = of.stem_channels
        parts: list[nn.Module] = [conv_layer(3, stem, 3, "relu", stride=2, elastic=elastic)]
        if of.stem_convs > 2:
            parts.append(StemResidual(stem, elastic=elastic))
        parts.append(conv_layer(stem, of.channels, 3, "relu", elastic=elastic))
        self.input_stem = nn.Sequential(*parts)
        self.max_pooling = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(BottleneckBlock(b, elastic=elastic) for b in of.blocks))
        self.classifier = classifier(of.blocks[-1].out_channels, of.classes, elastic=elastic)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        x = self.blocks(self.max_pooling(self.input_stem(x)))
        scores: Tensor = self.classifier(mean_pool(x).flatten(1))
        return scores


class StemResidual(nn.Module):
    """A convolution layer of the stem that adds its input."""

    def __init__(self, channels: int, *, elastic: bool) -> None:
        super().__init__()
        self.conv = conv_layer(channels, channels, 3, "relu", elastic=elastic)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the shape of ``x``."""
        added: Tensor = self.conv(x) + x
        return added


class BottleneckBlock(nn.Module):
    """A bottleneck block; its shortcut is a convolution where the shape changes."""

    def __init__(self, of: Bottleneck, *, elastic: bool) -> None:
        super().__init__()
        mid = of.mid_channels
        self.conv1 = conv_layer(of.in_channels, mid, 1, "relu", elastic=elastic)
        self.conv2 = conv_layer(mid, mid, 3, "relu", stride=of.stride, elastic=elastic)
        self.conv3 = conv_norm(same_conv(mid, of.out_channels, 1), None, elastic=elastic)
        self.downsample = _projection(of, elastic=elastic) if of.projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """A map of the block's output shape."""
        y = self.conv3(self.conv2(self.conv1(x)))
        return torch.relu(y + self.downsample(x))


def _projection(of: Bottleneck, *, elastic: bool) -> nn.Sequential:
    conv = same_conv(of.in_channels, of.out_channels, 1)
    layers = conv_norm(conv, None, elastic=elastic)
    # Of a stride of 1 it does nothing.
    pool = nn.AvgPool2d(of.stride, ceil_mode=True)
    return sequence(avg_pool=pool, **dict(layers.named_children()))
