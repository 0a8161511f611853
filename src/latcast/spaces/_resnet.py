"""The blocks of ResNet-D, as Once-For-All publishes them.

*Bag of Tricks for Image Classification with Convolutional Neural Networks* (arXiv:1812.01187,
section 4): a stem of 3 x 3 convolutions, and average pools in the shortcuts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from latcast import graph

from ._mobile import Shape, conv_bn

if TYPE_CHECKING:
    from latcast.graph import Graph


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Sizes of a bottleneck block: 1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut.

    The stride is the second convolution's. Where the shape changes, the shortcut is a 1 x 1
    convolution, after an average pool if there is a stride.
    """

    in_channels: int
    mid_channels: int
    out_channels: int
    stride: int

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution."""
        return self.stride > 1 or self.in_channels != self.out_channels

    def block(self, side: int, name: str) -> Graph:
        """The block's layers on a square map of ``side`` pixels."""
        return _bottleneck(self, side).named(name)


@cache
def _bottleneck(of: Bottleneck, side: int) -> Graph:
    b = graph.GraphBuilder()
    x = b.input(of.in_channels, side, side)
    y = conv_bn(b, x, of.mid_channels, 1, "relu")
    y = conv_bn(b, y, of.mid_channels, 3, "relu", of.stride)
    y = conv_bn(b, y, of.out_channels)
    if of.projects:
        if of.stride > 1:
            padding = (of.stride - 1) // 2
            x = b.avg_pool(x, of.stride, stride=of.stride, padding=padding, ceil=True)
        x = conv_bn(b, x, of.out_channels)
    return b.build(b.activation(b.add(x, y) if of.projects else b.add(y, x), "relu"))


@dataclass(frozen=True, slots=True)
class ResNet:
    """Sizes of a network of Once-For-All's ResNet space: widths, and blocks.

    Attributes:
        stem_channels: width of the stem's convolutions but the last one.
        stem_convs: 3, or 2 without the one that adds its input.
        channels: width of the stem's last convolution.
        blocks: in the order in which they run.
        positions: of every block its number in the supernet, which has those that are left out.
        classes: outputs of the classifier.
    """

    norm_epsilon: ClassVar[float] = 1e-5
    """Epsilon of batch norms."""

    stem_channels: int
    stem_convs: int
    channels: int
    blocks: tuple[Bottleneck, ...]
    positions: tuple[int, ...]
    classes: int

    @property
    def numbers(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of parts in the supernet, for every list of modules."""
        stem = (0, 1, 2) if self.stem_convs > 2 else (0, 2)
        return {"input_stem": stem, "blocks": self.positions}


def stem_residual_block(shape: Shape, name: str) -> Graph:
    """A 3 x 3 convolution with batch norm and ReLU, which adds its input."""
    b = graph.GraphBuilder(name=name)
    x = b.input(*shape)
    return b.build(b.add(conv_bn(b, x, shape[0], 3, "relu"), x))


def max_pool_block(shape: Shape, name: str) -> Graph:
    """A max pool of 3 x 3 pixels that halves the side."""
    b = graph.GraphBuilder(name=name)
    return b.build(b.max_pool(b.input(*shape), 3, stride=2, padding=1))
