"""Physical facts of kernels: what a latency can depend on."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from ._graph import Graph
from ._operators import GRAPH_INPUT, RECURRENT, UNKNOWN, Layer
from .fusion import Kernel, is_parting
from .quantization import dequantized_bits, dequantizes_weights
from .shapes import TensorShape

KERNEL_FACTS = (
    "macs",
    "param_bytes",
    "read_bytes",
    "write_bytes",
    "positions",
    "outputs",
    "inputs",
    "window",
    "stride",
    "groups",
    "layers",
    "batch",
    "blocked",
)
"""Names of the facts, one number each per kernel, for the whole batch.

A convolution is a product of matrices: ``positions`` (batch x output pixels) by ``outputs``
channels, each a sum over ``inputs`` channels and a ``window`` of so many pixels; a linear layer is
one without a window. Of any other kernel, ``positions`` x ``outputs`` are the elements that its
main layer writes, ``outputs`` those along its channels (the last axis of tokens), and ``inputs``
the channels it reads. ``read_bytes`` and ``write_bytes`` are activations that cross the kernel's
border, ``param_bytes`` constants, of a table that rows are looked up in those alone; ``layers``
are those that do something; ``blocked`` is 1 where channels are kept in blocks
(see :class:`Kernel`), else 0. Of a recurrent operator all facts are those of one step; of a dilated
window the taps in the padding are left out.
"""

Floats = npt.NDArray[np.float64]

# Steps of a recurrent operator that read its weights for what one read from memory costs: they
# come out of a cache after the first one. With 4, LSTMs of 64, 256 and 512 features in 100, 100
# and 20 steps are forecast 2.2, 1.8 and 0.6 times as long as ONNX Runtime 1.32 takes (one thread
# of an Intel Xeon (model 167)); 5, 5.7 and 1.7 times with 1.
CACHED = 4

# Kinds and operators that work along the last axis, whatever the others are.
_ALONG_LAST = ("linear", "matmul", "attention", "softmax", "layer_norm", "rms_norm")
# Kinds and operators whose channels are the second axis, however many sides follow.
_ALONG_SECOND = frozenset(
    ("conv", "depthwise_conv", "conv_transpose", "pool", "batch_norm", "instance_norm",
     "group_norm", "lrn", "prelu", "global_pool", "global_max_pool", "adaptive_pool")
)  # fmt: skip


def kernel_facts(graph: Graph, kernels: Sequence[Kernel]) -> Floats:
    """Facts of every kernel, shape (kernels, facts), columns as in :data:`KERNEL_FACTS`.

    What a layer of unknown cost does is counted as far as its shapes are known.
    """
    facts = np.zeros((len(kernels), len(KERNEL_FACTS)))
    for row, kernel in zip(facts, kernels, strict=True):
        row[:] = _facts(graph, kernel)
    return facts


def kernel_label(graph: Graph, kernel: Kernel) -> str:
    """The operators of a kernel in running order, such as ``conv+add+relu``.

    Layers that do nothing are left out; an operator that nobody knows goes by its own name.
    """
    layers = _running(graph, kernel)
    ops = [x.op if x.op != UNKNOWN else x.operator for x in layers if _works(x)]
    # Weights that the kernel cannot read as they are held are dequantized in every pass.
    if not kernel.quantized and any(dequantizes_weights(graph, x) for x in layers):
        ops.insert(0, "dequantize")
    return "+".join(ops) or graph.layers[kernel.main].op


def kernel_reads(graph: Graph, kernels: Sequence[Kernel]) -> list[tuple[int, ...]]:
    """Positions of the kernels whose outputs each kernel reads, each once, in order.

    Kernels that are left out, such as views, hand on what they read themselves.
    """
    owner = {n: place for place, kernel in enumerate(kernels) for n in kernel.layers}
    # Of each layer in no kernel, what it hands on: layers only read earlier ones.
    handed: dict[int, tuple[int, ...]] = {GRAPH_INPUT: ()}
    for n, layer in enumerate(graph.layers):
        if n not in owner:
            found = ((owner[i],) if i in owner else handed[i] for i in layer.inputs)
            handed[n] = tuple(dict.fromkeys(x for places in found for x in places))
    reads = []
    for place, kernel in enumerate(kernels):
        sources = (i for n in kernel.layers for i in graph.layers[n].inputs)
        places = (x for i in sources for x in ((owner[i],) if i in owner else handed[i]))
        reads.append(tuple(dict.fromkeys(x for x in places if x != place)))
    return reads


def written_shape(graph: Graph, kernel: Kernel) -> TensorShape | None:
    """Shape of what the kernel's last layer writes; None where it is not known."""
    shapes = graph.layers[kernel.layers[-1]].out_shapes
    return shapes[0] if shapes else None


def _running(graph: Graph, kernel: Kernel) -> list[Layer]:
    return [graph.layers[n] for n in kernel.layers if n not in kernel.idle]


def _works(layer: Layer) -> bool:
    return layer.kind != "view"


def _facts(graph: Graph, kernel: Kernel) -> tuple[float, ...]:
    layers = _running(graph, kernel)
    main = graph.layers[kernel.main]
    read, written = crossing_bytes(graph, kernel)
    positions, outputs, inputs = _matrix(main)
    constants = sum(x.read_param_bytes for x in layers)
    if not kernel.quantized:  # floats are written, and read again
        again = (x for x in layers if dequantizes_weights(graph, x))
        constants += 2 * sum(x.dequantized_bytes for x in again)
    return (
        sum(x.macs * x.inside for x in layers if x.is_supported) / main.steps,
        constants / min(main.steps, CACHED),
        read / main.steps,
        written / main.steps,
        positions,
        outputs,
        inputs,
        max(1.0, prod(main.window) * main.inside),
        prod(main.stride),
        main.groups,
        sum(_works(x) for x in layers),
        _batch(main),
        kernel.blocked,
    )


def crossing_bytes(graph: Graph, kernel: Kernel) -> tuple[int, int]:
    """Bytes of activations that the kernel reads from others, and that others read of it."""
    inside = set(kernel.layers)
    read: dict[int | tuple[int, int], int] = {}
    for n in kernel.layers:
        layer = graph.layers[n]
        for slot, (source, shape) in enumerate(zip(layer.inputs, layer.in_shapes, strict=True)):
            if source not in inside and shape is not None:
                # A tensor that two layers of the kernel read is read once.
                key = (n, slot) if source == GRAPH_INPUT else source
                bits = dequantized_bits(graph, source) if kernel.quantized else 0
                read[key] = max(read.get(key, 0), layer.in_bytes(slot, bits))
    # What does not run passes on what the kernel writes, or repeats it.
    written = sum(
        _written_bytes(graph, n, quantized=kernel.quantized)
        for n in kernel.layers
        if n not in kernel.idle or not inside.isdisjoint(graph.layers[n].inputs)
        if not graph.readers[n] or any(r not in inside for r in graph.readers[n])
    )
    return sum(read.values()), written


def _written_bytes(graph: Graph, n: int, *, quantized: bool) -> int:
    """Bytes of a layer's outputs; those of integers that a kernel only moves stay as they are."""
    layer = graph.layers[n]
    source = layer.inputs[0] if is_parting(layer) else n
    bits = dequantized_bits(graph, source) if quantized else 0
    return sum(layer.out_bytes(port, bits) for port in range(len(layer.out_shapes)))


def _matrix(main: Layer) -> tuple[int, int, int]:
    """Positions, outputs and inputs of the kernel's main layer."""
    out, read = _first(main.out_shapes), _first(main.in_shapes)
    if main.op in RECURRENT and main.is_supported:
        inputs = read[-1] + out[-1]
        return prod(read[:-1]) // main.steps, main.sum_length // inputs, inputs
    if main.kind in _ALONG_SECOND or main.op in _ALONG_SECOND:
        outputs, inputs = (s[1] if len(s) > 1 else prod(s) for s in (out, read))
    elif main.kind in _ALONG_LAST or main.op in _ALONG_LAST:
        outputs, inputs = (out or (1,))[-1], (read or (1,))[-1]
    else:
        outputs, inputs = _channels(out), _channels(read)
    return max(prod(out), 1) // max(outputs, 1), outputs, max(inputs // main.groups, 1)


def _first(shapes: Sequence[TensorShape | None]) -> TensorShape:
    return next((s for s in shapes if s is not None), ())


def _channels(shape: TensorShape) -> int:
    """Channels of a shape: the second axis of maps, the last one of tokens."""
    if len(shape) in (0, 1):
        return 1 if not shape else shape[0]
    return shape[1] if len(shape) in (2, 4, 5) else shape[-1]


def _batch(layer: Layer) -> int:
    shape = _first(layer.out_shapes)
    return shape[0] if shape else 1
