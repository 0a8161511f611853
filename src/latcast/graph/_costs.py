"""What a layer costs: one table, operator -> cost, and the sums over a block.

Conventions (stated once, used everywhere):

* a MAC is one multiply-accumulate of a convolution or a linear layer; biases, batch norm,
  activations, pools and additions count none (as in fvcore's conv and linear handles);
* an identity costs nothing: every runtime passes its input on. A ``zero`` reads and writes its
  map, as a product with 0 does; what a compiler leaves out is told by a space's ``live_blocks``;
* parameters are the trainable ones: weights, biases, and batch norm's scale and shift;
* bytes moved assume no fusion: every layer reads its inputs and parameters and writes its
  output once, 4 bytes an element;
* peak activation memory is the largest sum, over the layers in order, of all tensors that are
  alive while the layer runs (its inputs, its output, and what a later layer still reads).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ._layer import BLOCK_INPUT, SECOND_INPUT, Block, Layer

BYTES_PER_ELEMENT = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one layer for one sample.

    ``read_bytes`` are activations; parameters are read besides, once a batch.
    """

    macs: int
    params: int
    read_bytes: int
    write_bytes: int
    launches: int = 1

    @property
    def param_bytes(self) -> int:
        """Bytes of the parameters."""
        return self.params * BYTES_PER_ELEMENT


def _moved(layer: Layer, n_in: int = 1) -> tuple[int, int]:
    read = prod(layer.in_shape) * n_in * BYTES_PER_ELEMENT
    return read, prod(layer.out_shape) * BYTES_PER_ELEMENT


def _conv(layer: Layer) -> Cost:
    out_channels, height, width = layer.out_shape
    weights = layer.kernel_size**2 * layer.in_shape[0] // layer.groups * out_channels
    params = weights + (out_channels if layer.bias else 0)
    return Cost(weights * height * width, params, *_moved(layer))


def _linear(layer: Layer) -> Cost:
    weights = prod(layer.in_shape) * layer.out_shape[0]
    return Cost(weights, weights + (layer.out_shape[0] if layer.bias else 0), *_moved(layer))


def _batch_norm(layer: Layer) -> Cost:
    return Cost(0, 2 * layer.in_shape[0], *_moved(layer))


def _elementwise(layer: Layer) -> Cost:
    return Cost(0, 0, *_moved(layer))


def _add(layer: Layer) -> Cost:
    return Cost(0, 0, *_moved(layer, n_in=2))


def _scale(layer: Layer) -> Cost:
    channels = layer.out_shape[0]
    read = (prod(layer.out_shape) + channels) * BYTES_PER_ELEMENT
    return Cost(0, 0, read, prod(layer.out_shape) * BYTES_PER_ELEMENT)


def _identity(_: Layer) -> Cost:
    return Cost(0, 0, 0, 0, launches=0)


OPERATORS: dict[str, Callable[[Layer], Cost]] = {
    "conv": _conv,
    "depthwise_conv": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "relu": _elementwise,
    "relu6": _elementwise,
    "h_swish": _elementwise,
    "h_sigmoid": _elementwise,
    "global_pool": _elementwise,
    "avg_pool": _elementwise,
    "max_pool": _elementwise,
    "channel_shuffle": _elementwise,
    "zero": _elementwise,
    "identity": _identity,
    "add": _add,
    "scale": _scale,
}
"""Operator -> cost.

``scale`` multiplies a map by one factor a channel, ``zero`` by 0; ``channel_shuffle`` deals the
channels of the layer's ``groups`` out in turn.
"""


def cost(layer: Layer) -> Cost:
    """Cost of one layer.

    Raises:
        ValueError: the operator is not in :data:`OPERATORS` (nothing is counted as zero).
    """
    try:
        return OPERATORS[layer.op](layer)
    except KeyError:
        known = ", ".join(OPERATORS)
        raise ValueError(f"operator {layer.op!r} has no cost; known: {known}") from None


def peak_activation_bytes(block: Block) -> int:
    """Peak activation memory of a block for one sample (see the module's conventions)."""
    last_use = {i: n for n, layer in enumerate(block.layers) for i in layer.inputs}
    inputs = {BLOCK_INPUT} | ({SECOND_INPUT} & set(last_use))
    sizes = dict.fromkeys(inputs, prod(block.layers[0].in_shape) * BYTES_PER_ELEMENT)
    peak = 0
    for n, layer in enumerate(block.layers):
        sizes[n] = prod(layer.out_shape) * BYTES_PER_ELEMENT
        peak = max(peak, sum(sizes.values()))
        sizes = {i: size for i, size in sizes.items() if last_use.get(i, n) > n or i == n}
    return peak
