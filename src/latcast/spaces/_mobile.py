"""The blocks of the MobileNet family, as Once-For-All publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from latcast.graph._layer import BLOCK_INPUT, Block, BlockBuilder, Shape

CHANNEL_DIVISOR = 8
SE_REDUCTION = 4


def make_divisible(value: float, divisor: int = CHANNEL_DIVISOR) -> int:
    """Round channels to a multiple of ``divisor``, never below 90 % of ``value``.

    The rule of the MobileNet reference code, which Once-For-All keeps.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class InvertedResidual:
    """What defines an inverted residual block (MBConv).

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

    def block(self, side: int, name: str) -> Block:
        """The block's layers on a square map of ``side`` pixels."""
        b = BlockBuilder(name, (self.in_channels, side, side))
        if self.expands:
            conv_bn(b, self.mid_channels, 1, self.activation)
        conv_bn(
            b, self.mid_channels, self.kernel_size, self.activation, self.stride, self.mid_channels
        )
        if self.squeeze_excitation:
            _squeeze_excitation(b)
        conv_bn(b, self.out_channels, 1)
        if self.residual:
            b.elementwise("add", BLOCK_INPUT)
        return b.build()


@dataclass(frozen=True, slots=True)
class MobileNet:
    """What Once-For-All's networks of inverted residual blocks have in common.

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
    """Of batch norms."""

    @property
    def numbers(self) -> Mapping[str, tuple[int, ...]]:
        """Of every list of modules, what its parts' numbers are in the supernet."""
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
    activation: str | None = None,
    batch_norm: bool = True,
) -> Block:
    """A convolution with its batch norm and activation."""
    b = BlockBuilder(name, in_shape)
    conv_bn(b, channels, kernel_size, activation, stride, batch_norm=batch_norm)
    return b.build()


def pool_block(in_shape: Shape, name: str) -> Block:
    """A global average pool."""
    b = BlockBuilder(name, in_shape)
    b.pool()
    return b.build()


def linear_block(in_features: int, features: int, name: str) -> Block:
    """A fully connected layer with bias."""
    b = BlockBuilder(name, (in_features, 1, 1))
    b.linear(features)
    return b.build()


def conv_bn(
    b: BlockBuilder,
    channels: int,
    kernel_size: int,
    activation: str | None = None,
    stride: int = 1,
    groups: int = 1,
    *,
    batch_norm: bool = True,
) -> None:
    """Add a convolution with its batch norm and activation."""
    b.conv(channels, kernel_size, stride=stride, groups=groups)
    if batch_norm:
        b.elementwise("batch_norm")
    if activation is not None:
        b.elementwise(activation)


def _squeeze_excitation(b: BlockBuilder) -> None:
    """Pool, reduce by 4, relu, expand, hard sigmoid, and scale the map by the result."""
    features = b.last
    channels = b.shape(features)[0]
    b.pool()
    b.conv(make_divisible(channels // SE_REDUCTION), 1, bias=True)
    b.elementwise("relu")
    b.conv(channels, 1, bias=True)
    b.elementwise("h_sigmoid")
    b.elementwise("scale", features)
