"""The blocks of cell networks, whose convolutions come after their activation."""

from __future__ import annotations

from latcast.graph._layer import BLOCK_INPUT, SECOND_INPUT, Block, BlockBuilder, Shape


def cell_operation(operation: str, shape: Shape, name: str) -> Block:
    """What NAS-Bench-201 puts on an edge, by its name there; the shape stays."""
    b = BlockBuilder(name, shape)
    match operation:
        case "none":
            b.elementwise("zero")
        case "skip_connect":
            b.elementwise("identity")
        case "avg_pool_3x3":
            b.avg_pool(3)
        case _:
            _relu_conv_bn(b, shape[0], kernel_size=int(operation[-1]))
    return b.build()


def _relu_conv_bn(b: BlockBuilder, channels: int, *, kernel_size: int = 3, stride: int = 1) -> None:
    b.elementwise("relu")
    b.conv(channels, kernel_size, stride=stride)
    b.elementwise("batch_norm")


def addition_block(shape: Shape, name: str) -> Block:
    """The sum of two maps."""
    b = BlockBuilder(name, shape)
    b.elementwise("add", SECOND_INPUT)
    return b.build()


def reduction_block(shape: Shape, channels: int, name: str) -> Block:
    """A residual block that halves the side; its shortcut has no batch norm."""
    b = BlockBuilder(name, shape)
    _relu_conv_bn(b, channels, stride=2)
    _relu_conv_bn(b, channels)
    main = b.last
    b.avg_pool(2, stride=2, source=BLOCK_INPUT)
    b.conv(channels, 1)
    b.elementwise("add", main)
    return b.build()


def batch_norm_relu_block(shape: Shape, name: str) -> Block:
    """A batch norm with ReLU, after a sum."""
    b = BlockBuilder(name, shape)
    b.elementwise("batch_norm")
    b.elementwise("relu")
    return b.build()
