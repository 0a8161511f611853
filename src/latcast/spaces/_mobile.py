"""The blocks of the MobileNet family, as Once-For-All publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from latcast import graph

if TYPE_CHECKING:
    from latcast.graph import Graph, GraphBuilder, Tensor

# Channels, height and width of a map.
Shape = tuple[int, int, int]

SE_REDUCTION = 4


def make_divisible(value: float) -> int:
    """Round channels to a multiple of 8, never below 90 % of ``value``.

    The rule of the MobileNet reference code, which Once-For-All keeps.
    """
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class InvertedResidual:
    """Sizes of an inverted residual block (MBConv).

    Without ``expands`` the first convolution is left out; ``mid_channels`` is the width of the
    depthwise convolution. The block adds its input when stride is 1 and widths agree.
    """

    in_channels: int
    mid_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    activation: str
    squeeze_excitation: bool
    expands: bool = True

    @property
    def residual(self) -> bool:
        """Whether the block adds its input to its output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def block(self, side: int, name: str) -> Graph:
        """The block's layers on a square map of ``side`` pixels."""
        return _inverted_residual(self, side).named(name)


@cache
def _inverted_residual(of: InvertedResidual, side: int) -> Graph:
    b = graph.GraphBuilder()
    x = y = b.input(of.in_channels, side, side)
    mid = of.mid_channels
    if of.expands:
        y = conv_bn(b, y, mid, 1, of.activation)
    y = conv_bn(b, y, mid, of.kernel_size, of.activation, of.stride, groups=mid)
    if of.squeeze_excitation:
        squeezed = make_divisible(mid // SE_REDUCTION)
        y = b.squeeze_excitation(y, squeezed, "relu", "h_sigmoid")
    y = conv_bn(b, y, of.out_channels)
    return b.build(b.add(y, x) if of.residual else y)


@dataclass(frozen=True, slots=True)
class MobileNet:
    """Sizes that all of Once-For-All's networks of inverted residual blocks have.

    Attributes:
        first_channels: width of the first convolution.
        blocks: in the order in which they run, the first one, which is never elastic, included.
        positions: of every block its number in the supernet, which has those that are left out.
        mix_channels: width of the feature mix layer.
        classes: outputs of the classifier.
    """

    first_channels: int
    blocks: tuple[InvertedResidual, ...]
    positions: tuple[int, ...]
    mix_channels: int
    classes: int

    norm_epsilon: ClassVar[float]
    """Epsilon of batch norms."""

    @property
    def numbers(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of parts in the supernet, for every list of modules."""
        return {"blocks": self.positions}


@dataclass(frozen=True, slots=True)
class MobileNetV3(MobileNet):
    """A network of the MobileNetV3 space; its features are mixed after the pool.

    Attributes:
        expand_channels: width of the final expand layer, before the pool.
    """

    norm_epsilon: ClassVar[float] = 1e-5

    expand_channels: int


@dataclass(frozen=True, slots=True)
class ProxylessNAS(MobileNet):
    """A network of the ProxylessNAS space; its features are mixed before the pool."""

    norm_epsilon: ClassVar[float] = 1e-3


def conv_block(
    in_shape: Shape,
    channels: int,
    name: str,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    activation: str = "",
    batch_norm: bool = True,
) -> Graph:
    """A convolution with its batch norm and activation."""
    b = graph.GraphBuilder(name=name)
    x = b.input(*in_shape)
    conv_bn(b, x, channels, kernel_size, activation, stride, batch_norm=batch_norm)
    return b.build()


def pool_block(in_shape: Shape, name: str) -> Graph:
    """A global average pool."""
    b = graph.GraphBuilder(name=name)
    b.global_pool(b.input(*in_shape))
    return b.build()


def linear_block(in_features: int, features: int, name: str) -> Graph:
    """A fully connected layer with bias, of a pooled map."""
    b = graph.GraphBuilder(name=name)
    b.linear(b.flatten(b.input(in_features, 1, 1)), features)
    return b.build()


def conv_bn(
    b: GraphBuilder,
    x: Tensor,
    channels: int,
    kernel_size: int = 1,
    activation: str = "",
    stride: int = 1,
    groups: int = 1,
    *,
    batch_norm: bool = True,
) -> Tensor:
    """A convolution without a bias, its batch norm and activation, each a layer."""
    y = b.conv(
        x, channels, kernel_size, stride=stride, groups=groups, bias=False,
        zero_bias=not batch_norm,
    )  # fmt: skip
    if batch_norm:
        y = b.batch_norm(y)
    return b.activation(y, activation) if activation else y
