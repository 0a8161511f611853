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

    A batch norm that no convolution of its own precedes is a depthwise convolution of 1 x 1:
    a scale and a shift a channel.

    Attributes:
        layers: as in a :class:`Block`; ``BLOCK_INPUT`` is the network's input, and the last
            layer's output is the network's.
        parameters: of every layer, None where it has none.
    """

    layers: tuple[Layer, ...]
    parameters: tuple[Parameters | None, ...]

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[Block],
        seed: int = 0,
        reads: Sequence[tuple[int, ...]] | None = None,
    ) -> Network:
        """Join ``blocks`` and draw parameters.

        Weights are uniform with the variance of He initialization (arXiv:1502.01852), without
        its factor 2 where no activation follows, so that activations neither vanish (denormal
        numbers are slow) nor overflow. Latency does not depend on them otherwise.

        Args:
            blocks: in the order in which they run.
            seed: of the parameters.
            reads: of every block the positions of the blocks that it reads, in the order of its
                inputs; ``BLOCK_INPUT`` is the network's input. By default blocks are a chain.

        Raises:
            ValueError: there is no block, or blocks do not fit.
        """
        layers = folded_layers(blocks, reads)
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


def folded_layers(
    blocks: Iterable[Block], reads: Sequence[tuple[int, ...]] | None = None
) -> tuple[Layer, ...]:
    """The layers of a network (see :meth:`Network.from_blocks`), without parameters."""
    return _fold_batch_norms(_join(list(blocks), reads))


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


def _join(blocks: Sequence[Block], reads: Sequence[tuple[int, ...]] | None) -> list[Layer]:
    if not blocks:
        raise ValueError("a network must have at least one block; got none")
    if reads is None:
        reads = [(n - 1,) for n in range(len(blocks))]
    layers: list[Layer] = []
    ends = {BLOCK_INPUT: BLOCK_INPUT}
    for n, (block, sources) in enumerate(zip(blocks, reads, strict=True)):
        for source in sources:
            _check_fit(block, blocks[source] if source >= 0 else None)
        start, entries = len(layers), [ends[source] for source in sources]
        layers += [
            replace(x, inputs=tuple(start + i if i >= 0 else _entry(entries, i) for i in x.inputs))
            for x in block.layers
        ]
        ends[n] = len(layers) - 1
    return layers


def _entry(entries: Sequence[int], position: int) -> int:
    """What the block's input ``BLOCK_INPUT``, ``SECOND_INPUT`` … is; too few are read again."""
    return entries[min(BLOCK_INPUT - position, len(entries) - 1)]


def _check_fit(block: Block, source: Block | None) -> None:
    if source is not None and source.layers[-1].out_shape != block.layers[0].in_shape:
        raise ValueError(
            f"block {block.name!r} must read what the one before it writes, "
            f"{source.layers[-1].out_shape}; it reads {block.layers[0].in_shape}"
        )


def _fold_batch_norms(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Leave out batch norms that follow a convolution, which gets a bias instead."""
    readers = Counter(i for x in layers for i in x.inputs)
    kept: list[Layer] = []
    position: dict[int, int] = {BLOCK_INPUT: BLOCK_INPUT}
    for n, layer in enumerate(layers):
        source = layer.inputs[0]
        inputs = tuple(position[i] for i in layer.inputs)
        if layer.op != "batch_norm":
            kept.append(replace(layer, inputs=inputs))
        elif source >= 0 and layers[source].op in _WEIGHTED and readers[source] == 1:
            kept[inputs[0]] = replace(kept[inputs[0]], bias=True)
            position[n] = inputs[0]
            continue
        else:
            channels = layer.in_shape[0]
            scale = replace(layer, op="depthwise_conv", inputs=inputs, groups=channels, bias=True)
            kept.append(scale)
        position[n] = len(kept) - 1
    return tuple(kept)


def _draw_parameters(
    layers: Sequence[Layer], rng: np.random.Generator
) -> tuple[Parameters | None, ...]:
    shapes = [_weight_shape(x) if x.op in _WEIGHTED else None for x in layers]
    activated = {x.inputs[0] for x in layers if x.op in ("relu", "relu6", "h_swish")}
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
        # An activation halves the second moment of what it reads.
        gain = 2.0 if n in activated else 1.0
        weight *= np.float32(np.sqrt(3 * gain / prod(shape[1:])))
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
