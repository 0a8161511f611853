"""Memory of activations: which tensors are held while each layer of a graph runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import NamedTuple

from ._operators import GRAPH_INPUT, Layer
from .shapes import TensorShape

# Operators whose output is their input's memory under another shape.
VIEWS = frozenset({"reshape", "identity", "dropout"})

# Operators that can write over their first input where nobody reads it later.
#
# Those of ONNX Runtime's kernels for CPUs: found by the memory that a chain of each takes there,
# which a sum, a product, a square root or a GELU doubles.
IN_PLACE = frozenset({
    "relu", "relu6", "clip", "leaky_relu", "elu", "selu", "celu", "sigmoid", "h_sigmoid", "tanh",
    "softplus", "softsign", "cast", "softmax", "log_softmax",
})  # fmt: skip


class Buffer(NamedTuple):
    """Memory that one tensor is in, or several one after the other.

    Attributes:
        layer: position of the layer that writes it first; :data:`GRAPH_INPUT` for an input.
        port: which of that layer's outputs, or of the graph's inputs, it is.
        bytes: its size.
        first: position of the first layer that runs while it is held.
        last: position of the last one; the number of layers where it is kept to the end.
    """

    layer: int
    port: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class ActivationMemory:
    """Memory that activations take while a graph runs, layer by layer.

    Attributes:
        buffers: all of them, by the layers that write them; the inputs first.
        layers: how many layers the graph has.
    """

    buffers: tuple[Buffer, ...]
    layers: int

    @cached_property
    def held_bytes(self) -> tuple[int, ...]:
        """Bytes of the buffers that are held while each layer runs."""
        change = [0] * (self.layers + 2)
        for buffer in self.buffers:
            change[buffer.first] += buffer.bytes
            change[buffer.last + 1] -= buffer.bytes
        held, now = [], 0
        for n in range(self.layers):
            now += change[n]
            held.append(now)
        return tuple(held)

    @property
    def peak_bytes(self) -> int:
        """The most that is held at once."""
        return max(self.held_bytes)

    @property
    def peak_layer(self) -> int:
        """Position of the first layer that runs while the most is held."""
        return self.held_bytes.index(self.peak_bytes)

    def held(self, layer: int) -> list[Buffer]:
        """Return the buffers that are held while a layer runs, the largest first."""
        held = (b for b in self.buffers if b.first <= layer <= b.last)
        return sorted(held, key=lambda b: b.bytes, reverse=True)


# Which memory a layer can write to beside new one (see :func:`activation_memory`).
REUSE = ("none", "in-place", "onnxruntime")


def activation_memory(
    layers: Sequence[Layer], outputs: Sequence[int], reuse: str = "none"
) -> ActivationMemory:
    """Liveness of every tensor over layers in order.

    A tensor is held from the layer that writes it to the last one that reads it; an input from the
    start, an output to the end. A layer's outputs are there before its inputs are let go. A view
    (see :data:`VIEWS`) is memory of its input. Shapes that are not known count nothing.

    Args:
        layers: of a graph.
        outputs: positions of those that give its outputs.
        reuse: ``none`` gives every tensor but a view memory of its own. By ``in-place`` operators
            of :data:`IN_PLACE` write over an input of the same size that is read by no later layer,
            and is neither an input nor an output of the graph. ``onnxruntime`` does so too, and
            plans as ONNX Runtime does unless ``enable_mem_reuse`` is off: a tensor takes the memory
            of one of the same shape that nobody reads any more, which is held in between; both
            shapes must be known as the file is loaded (:attr:`Layer.inferred`).

    Raises:
        ValueError: ``reuse`` is none of them.
    """
    if reuse not in REUSE:
        raise ValueError(f"reuse must be one of {', '.join(REUSE)}; got {reuse!r}")
    last_reads = _last_reads(layers, outputs)
    owners: dict[_Tensor, _Tensor] = {}  # tensor -> the one whose buffer it is in
    sizes: dict[_Tensor, int] = {}
    last: dict[_Tensor, int] = {}
    free: dict[_Form, list[_Tensor]] = defaultdict(list)
    for n, layer in enumerate(layers):
        reads = tensors_read(layer)
        for slot, tensor in enumerate(reads):
            if tensor[0] == GRAPH_INPUT:
                owners[tensor], last[tensor] = tensor, last_reads[tensor]
                # A branch that is not taken needs none.
                size = layer.in_bytes(slot) if layer.runs else 0
                sizes[tensor] = max(sizes.get(tensor, 0), size)
        for port, shape in enumerate(layer.out_shapes):
            tensor, size = (n, port), layer.out_bytes(port) if layer.runs else 0
            until = last_reads.get(tensor, n)
            owner = owners[reads[0]] if reads and port == 0 else tensor
            is_written_over = (
                reuse != "none" and layer.op in IN_PLACE
                and owner[0] != GRAPH_INPUT and sizes.get(owner) == size and last[owner] == n
            )  # fmt: skip
            if not (layer.op in VIEWS or is_written_over):
                is_planned = until < len(layers) and layer.inferred
                known = free[shape, layer.out_bits(port)] if is_planned else ()
                owner = known.pop() if known else tensor
            owners[tensor] = owner
            sizes.setdefault(owner, size)
            last[owner] = max(last.get(owner, n), until)
        if reuse == "onnxruntime":
            written = ((n, port) for port in range(len(layer.out_shapes)))
            for owner in dict.fromkeys(owners[tensor] for tensor in (*reads, *written)):
                writer = layers[owner[0]]
                if owner[0] != GRAPH_INPUT and last[owner] == n and writer.inferred:
                    free[writer.out_shapes[owner[1]], writer.out_bits(owner[1])].append(owner)
    buffers = (Buffer(n, p, sizes[n, p], max(n, 0), last[n, p]) for n, p in sorted(sizes))
    return ActivationMemory(tuple(buffers), len(layers))


# Shape of a tensor, and bits of an element.
_Form = tuple[TensorShape | None, int]
# Position of a layer, or GRAPH_INPUT, and which of its outputs it is.
_Tensor = tuple[int, int]


def tensors_read(layer: Layer) -> list[_Tensor]:
    """The tensors that a layer reads: positions of layers, and which of their outputs."""
    if layer.ports:
        return list(zip(layer.inputs, layer.ports, strict=True))
    inputs = count()  # a layer that names the graph's input several times reads as many, in order
    return [(n, next(inputs) if n == GRAPH_INPUT else 0) for n in layer.inputs]


def _last_reads(layers: Sequence[Layer], outputs: Sequence[int]) -> dict[_Tensor, int]:
    """Tensor -> position of the last layer that reads it, the number of layers for an output."""
    last = {tensor: n for n, layer in enumerate(layers) for tensor in tensors_read(layer)}
    for n in set(outputs):
        if n == GRAPH_INPUT:
            kept = [tensor for tensor in last if tensor[0] == GRAPH_INPUT]
        else:
            # Which one of several is the output is not told: one that nobody reads, or else any.
            ports = [(n, port) for port in range(len(layers[n].out_shapes))]
            kept = [tensor for tensor in ports if tensor not in last] or ports
        last.update(dict.fromkeys(kept, len(layers)))
    return last
