"""Whole networks: layers with parameters, ready to be written for a runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from ._layer import BLOCK_INPUT, Block, Layer, Shape

Floats = npt.NDArray[np.float32]

_WEIGHTED = ("conv", "depthwise_conv", "linear")
_BIAS_LIMIT = 0.1


@dataclass(frozen=True, slots=True)
class Parameters:
    """Weights and biases of a convolution or linear layer.

    Attributes:
        weight: shape (out, in / groups, kernel, kernel), or (out, in) of a linear layer.
        bias: shape (out,).
    """

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in the order in which they run, batch norms folded into the convolutions.

    Attributes:
        layers: as in a :class:`Block`; ``BLOCK_INPUT`` is the network's input, and the last
            layer's output is the network's.
        parameters: of every layer, None where it has none.
    """

    layers: tuple[Layer, ...]
    parameters: tuple[Parameters | None, ...]

    @classmethod
    def from_blocks(cls, blocks: Iterable[Block], seed: int = 0) -> Network:
        """Join ``blocks`` in a chain and draw parameters.

        Weights are uniform with the variance of He initialization (arXiv:1502.01852), without
        its factor 2 where no activation follows, so that activations neither vanish (denormal
        numbers are slow) nor overflow. Latency does not depend on them otherwise.

        Raises:
            ValueError: there is no block, or neighbours do not fit.
        """
        layers = _fold_batch_norms(_chain(blocks))
        return cls(layers, _draw_parameters(layers, np.random.default_rng(seed)))

    @property
    def in_shape(self) -> Shape:
        """Channels, height and width of one input sample."""
        return self.layers[0].in_shape

    @property
    def out_shape(self) -> Shape:
        """Channels, height and width of one output sample."""
        return self.layers[-1].out_shape

    def inputs(self, batch: int, seed: int = 0) -> Floats:
        """Standard normal input, shape (batch, channels, height, width)."""
        rng = np.random.default_rng(seed)
        return rng.standard_normal((batch, *self.in_shape), dtype=np.float32)


def fused_activations(
    layers: Sequence[Layer], absorbing: Collection[str], activations: Collection[str | None]
) -> dict[int, int]:
    """Activations that a runtime makes part of the layer before them.

    Args:
        layers: of a network.
        absorbing: operators that can take an activation in.
        activations: operators that can be taken in.

    Returns:
        Position of a layer -> position of its activation, which is the only one to read it.
    """
    readers = Counter(i for x in layers for i in x.inputs)
    return {
        source: n
        for n, layer in enumerate(layers)
        if layer.op in activations
        and (source := layer.inputs[0]) != BLOCK_INPUT
        and layers[source].op in absorbing
        and readers[source] == 1
    }


def _chain(blocks: Iterable[Block]) -> list[Layer]:
    layers: list[Layer] = []
    for block in blocks:
        start, entry = len(layers), len(layers) - 1  # entry: BLOCK_INPUT before the first block
        if layers and layers[-1].out_shape != block.layers[0].in_shape:
            raise ValueError(
                f"block {block.name!r} must read what the one before it writes, "
                f"{layers[-1].out_shape}; it reads {block.layers[0].in_shape}"
            )
        layers += [
            replace(x, inputs=tuple(entry if i == BLOCK_INPUT else start + i for i in x.inputs))
            for x in block.layers
        ]
    if not layers:
        raise ValueError("a network must have at least one block; got none")
    return layers


def _fold_batch_norms(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Leave out batch norms that follow a convolution, which gets a bias instead.

    Raises:
        ValueError: a batch norm has no convolution of its own to be folded into.
    """
    kept: list[Layer] = []
    position: dict[int, int] = {BLOCK_INPUT: BLOCK_INPUT}
    for n, layer in enumerate(layers):
        inputs = tuple(position[i] for i in layer.inputs)
        if layer.op == "batch_norm":
            if not kept or inputs[0] != len(kept) - 1 or kept[-1].op not in _WEIGHTED:
                raise ValueError(f"layer {n}: a batch norm must follow a convolution")
            if sum(layer.inputs[0] in x.inputs for x in layers) > 1:
                raise ValueError(f"layer {n}: a batch norm must be its convolution's only reader")
            kept[-1] = replace(kept[-1], bias=True)
        else:
            kept.append(replace(layer, inputs=inputs))
        position[n] = len(kept) - 1
    return tuple(kept)


def _draw_parameters(
    layers: Sequence[Layer], rng: np.random.Generator
) -> tuple[Parameters | None, ...]:
    shapes = [_weight_shape(x) if x.op in _WEIGHTED else None for x in layers]
    # One draw for all: a call per layer would cost more than the numbers.
    pool = rng.random(sum(prod(s) + s[0] for s in shapes if s), dtype=np.float32)
    pool *= 2
    pool -= 1
    result: list[Parameters | None] = []
    start = 0
    for n, shape in enumerate(shapes):
        if shape is None:
            result.append(None)
            continue
        split, end = start + prod(shape), start + prod(shape) + shape[0]
        weight = pool[start:split].reshape(shape)
        weight *= np.float32(np.sqrt(3 * _gain(layers, n) / prod(shape[1:])))
        bias = pool[split:end]
        bias *= np.float32(_BIAS_LIMIT if layers[n].bias else 0.0)
        result.append(Parameters(weight, bias))
        start = end
    return tuple(result)


def _weight_shape(layer: Layer) -> tuple[int, ...]:
    if layer.op == "linear":
        return (layer.out_shape[0], prod(layer.in_shape))
    side = layer.kernel_size
    return (layer.out_shape[0], layer.in_shape[0] // layer.groups, side, side)


def _gain(layers: Sequence[Layer], n: int) -> float:
    """2 where an activation follows, which halves the second moment; else 1."""
    activations = ("relu", "relu6", "h_swish")
    return 2.0 if n + 1 < len(layers) and layers[n + 1].op in activations else 1.0
