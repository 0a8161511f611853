"""Layers: one operator with shapes; and blocks, which are small graphs of them."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int]
"""Channels, height, width of one sample; a vector is ``(features, 1, 1)``."""

BLOCK_INPUT = -1
"""Index by which a layer names the input of its block."""

SECOND_INPUT = -2
"""The same of a block's second input; alone, such a block reads its one input twice."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator with the shapes it works on.

    Args:
        op: a key of :data:`latcast.graph._costs.OPERATORS`.
        in_shape: shape of the (first) input of one sample.
        out_shape: shape of the output of one sample.
        inputs: positions in the block of the layers whose outputs this one reads;
            :data:`BLOCK_INPUT` and :data:`SECOND_INPUT` are the block's own inputs.
        kernel_size: side of the square window, 1 where there is none.
        stride: step of the window.
        groups: convolution groups.
        bias: whether a convolution or linear layer adds a bias.
    """

    op: str
    in_shape: Shape
    out_shape: Shape
    inputs: tuple[int, ...]
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False

    @property
    def hangs_over(self) -> bool:
        """Whether the last windows of a pool end beyond the padding."""
        k = self.kernel_size
        pairs = zip(self.in_shape[1:], self.out_shape[1:], strict=True)
        return any((out - 1) * self.stride + k > side + 2 * ((k - 1) // 2) for side, out in pairs)


@dataclass(frozen=True, slots=True)
class Block:
    """Layers in the order in which they run; the last one's output is the block's."""

    name: str
    layers: tuple[Layer, ...]


class BlockBuilder:
    """Builds a :class:`Block` layer by layer, following the shapes by itself."""

    def __init__(self, name: str, in_shape: Shape) -> None:
        self._name = name
        self._in_shape = in_shape
        self._layers: list[Layer] = []

    @property
    def last(self) -> int:
        """Position of the layer added last (:data:`BLOCK_INPUT` before the first)."""
        return len(self._layers) - 1

    def shape(self, position: int) -> Shape:
        """Output shape of the layer at ``position``, or the shape of the block's inputs."""
        return self._in_shape if position < 0 else self._layers[position].out_shape

    def conv(
        self,
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        source: int | None = None,
    ) -> int:
        """Add a convolution of the last layer, or of the one at ``source``.

        Its padding is "same": an output side of ceil(side / stride).
        """
        source = self.last if source is None else source
        in_channels, height, width = self.shape(source)
        out = (channels, -(-height // stride), -(-width // stride))
        op = "depthwise_conv" if groups == in_channels == channels and groups > 1 else "conv"
        return self._add(op, out, (source,), kernel_size, stride, groups, bias)

    def linear(self, features: int, *, bias: bool = True) -> int:
        """Add a fully connected layer on a vector."""
        return self._add("linear", (features, 1, 1), (self.last,), bias=bias)

    def pool(self) -> int:
        """Add a global average pool."""
        return self._add("global_pool", (self.shape(self.last)[0], 1, 1), (self.last,))

    def avg_pool(
        self,
        kernel_size: int,
        *,
        stride: int = 1,
        source: int | None = None,
        ceil: bool = False,
    ) -> int:
        """Add an average pool of the last layer, or of the one at ``source``.

        It is padded by ``(kernel_size - 1) // 2``; a mean counts no padding. Windows that would
        end beyond it are left out, or, with ``ceil``, are means of what is there.
        """
        return self._pool("avg_pool", kernel_size, stride, source, ceil=ceil)

    def max_pool(self, kernel_size: int, *, stride: int = 1) -> int:
        """Add a max pool of the last layer, padded by ``(kernel_size - 1) // 2``.

        Windows that would end beyond the padding are left out.
        """
        return self._pool("max_pool", kernel_size, stride, None, ceil=False)

    def channel_shuffle(self, groups: int) -> int:
        """Add a channel shuffle: channel ``i`` of group ``g`` becomes channel ``i * groups + g``.

        From *ShuffleNet* (arXiv:1707.01083).
        """
        shape = self.shape(self.last)
        return self._add("channel_shuffle", shape, (self.last,), groups=groups)

    def elementwise(self, op: str, *others: int) -> int:
        """Add an operator that keeps the shape, reading the last layer and ``others``.

        The output has the shape of the largest input (a squeeze-excitation's product
        broadcasts its scale).
        """
        inputs = (self.last, *others)
        out = max((self.shape(i) for i in inputs), key=lambda s: s[0] * s[1] * s[2])
        return self._add(op, out, inputs)

    def build(self) -> Block:
        """The finished block."""
        return Block(self._name, tuple(self._layers))

    def _pool(
        self, op: str, kernel_size: int, stride: int, source: int | None, *, ceil: bool
    ) -> int:
        source = self.last if source is None else source
        channels, height, width = self.shape(source)
        pad = (kernel_size - 1) // 2

        def windows(side: int) -> int:
            whole = (side + 2 * pad - kernel_size) // stride + 1
            # One more hangs over, unless it would begin in the padding after the image.
            is_rest = (side + 2 * pad - kernel_size) % stride > 0 and whole * stride < side + pad
            return whole + (ceil and is_rest)

        out = (channels, windows(height), windows(width))
        return self._add(op, out, (source,), kernel_size, stride)

    def _add(
        self,
        op: str,
        out: Shape,
        inputs: tuple[int, ...],
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> int:
        in_shape = self.shape(inputs[0])
        self._layers.append(Layer(op, in_shape, out, inputs, kernel_size, stride, groups, bias))
        return self.last
