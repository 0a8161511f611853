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

from latcast.spaces._mobile import MobileNet
from latcast.spaces._resnet import ResNet

from ._names import matched

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
