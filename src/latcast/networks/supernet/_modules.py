"""PyTorch modules whose state dicts are those that Once-For-All publishes.

Names and shapes follow the files of its model zoo (github.com/mit-han-lab/once-for-all), where a
block's body is called ``mobile_inverted_conv``; the later code's ``conv`` is read as well.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from latcast.networks._mobile import SE_REDUCTION, InvertedResidual, MobileNetV3, make_divisible

from ._names import matched

KERNEL_SIZES = (3, 5, 7)
"""Of elastic depthwise convolutions, whose weights have the last one's size."""

_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "h_swish": nn.Hardswish}


class OFANetwork(nn.Module):
    """One architecture, in evaluation mode after construction.

    Args:
        of: its widths and blocks.
        elastic: with the names of the supernet's convolutions and batch norms, which are one level
            deeper, and its kernel transform matrices (the identity, until they are loaded).

    Attributes:
        calibrated: whether batch norms have statistics of this network, not of the supernet that
            it was cut out of; None where that is not known, as of a file of its own.
    """

    def __init__(self, of: MobileNetV3, *, elastic: bool = False) -> None:
        super().__init__()
        self.of = of
        self.calibrated: bool | None = True
        last = of.blocks[-1].out_channels
        # Layers draw weights, which will be replaced: the user's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            self.first_conv = _conv_layer(3, of.first_channels, 3, stride=2)
            self.blocks = nn.ModuleList(ResidualBlock(b, elastic=elastic) for b in of.blocks)
            self.final_expand_layer = _conv_layer(last, of.expand_channels, 1)
            self.feature_mix_layer = _conv_layer(of.expand_channels, of.mix_channels, 1, norm=False)
            self.classifier = _sequence(linear=nn.Linear(of.mix_channels, of.classes))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        x = self.final_expand_layer(x).mean((2, 3), keepdim=True)
        scores: Tensor = self.classifier(self.feature_mix_layer(x).flatten(1))
        return scores

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As any module's; the names of published files and of later code are both known."""
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
        self.fc = _sequence(
            reduce=nn.Conv2d(channels, reduced, 1),
            relu=nn.ReLU(),
            expand=nn.Conv2d(reduced, channels, 1),
            h_sigmoid=nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """A map of the shape of ``x``."""
        scaled: Tensor = x * self.fc(x.mean((2, 3), keepdim=True))
        return scaled


def _inverted_residual(of: InvertedResidual, *, elastic: bool) -> nn.Sequential:
    activation = _ACTIVATIONS[of.activation]
    parts: dict[str, nn.Module] = {}
    if of.expands:
        expand = nn.Conv2d(of.in_channels, of.mid_channels, 1, bias=False)
        parts["inverted_bottleneck"] = _conv_norm(expand, activation(), elastic=elastic)
    depthwise = _conv(
        of.mid_channels, of.mid_channels, of.kernel_size, of.stride, groups=of.mid_channels
    )
    parts["depth_conv"] = _conv_norm(depthwise, activation(), elastic=elastic)
    if elastic:
        _add_transforms(parts["depth_conv"].get_submodule("conv"))
    if of.squeeze_excitation:
        parts["depth_conv"].add_module("se", SqueezeExcitation(of.mid_channels))
    linear = nn.Conv2d(of.mid_channels, of.out_channels, 1, bias=False)
    parts["point_linear"] = _conv_norm(linear, None, elastic=elastic)
    return _sequence(**parts)


def _conv_layer(
    channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, norm: bool = True
) -> nn.Sequential:
    conv = _conv(channels, out_channels, kernel_size, stride)
    return _conv_norm(conv, nn.Hardswish(), norm=norm)


def _conv(
    channels: int, out_channels: int, kernel_size: int, stride: int, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )


def _conv_norm(
    conv: nn.Conv2d, activation: nn.Module | None, *, elastic: bool = False, norm: bool = True
) -> nn.Sequential:
    """A convolution, its batch norm and activation; elastic ones lie one level deeper."""
    parts: dict[str, nn.Module] = {"conv": _sequence(conv=conv) if elastic else conv}
    if norm:
        bn = nn.BatchNorm2d(conv.out_channels)
        parts["bn"] = _sequence(bn=bn) if elastic else bn
    if activation is not None:
        parts["act"] = activation
    return _sequence(**parts)


def _add_transforms(conv: nn.Module) -> None:
    """The matrices that make a smaller kernel of the centre of the next larger one."""
    for small, large in pairwise(KERNEL_SIZES):
        matrix = nn.Parameter(torch.eye(small * small))
        conv.register_parameter(f"{large}to{small}_matrix", matrix)


def _sequence(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))
