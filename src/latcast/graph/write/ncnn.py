"""Graphs in ncnn's own format, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from latcast.graph import GRAPH_INPUT, Graph, Layer, Weights

from ._patterns import channel_shuffles, fused_activations, parts_of
from .onnx import INPUT, OUTPUT

MAGIC = "7767517"
# Stands before weights that are kept as they are, not quantized or halved.
_RAW_FLOATS = bytes(4)

_SIXTH = "0.16666667"
# Our operator without parameters -> ncnn's, and its arguments.
_OPERATORS = {
    "relu": ("ReLU", ""),
    "relu6": ("Clip", "0=0.0 1=6.0"),
    "h_swish": ("HardSwish", f"0={_SIXTH} 1=0.5"),
    "h_sigmoid": ("HardSigmoid", f"0={_SIXTH} 1=0.5"),
    "global_pool": ("Pooling", "0=1 4=1"),
    "identity": ("Noop", ""),
    "add": ("BinaryOp", "0=0"),
    "scale": ("BinaryOp", "0=2"),
}
# Activation -> arguments of the layer that it becomes part of.
_ACTIVATIONS = {
    "relu": " 9=1",
    "relu6": " 9=3 -23310=2,0.0,6.0",
    "h_swish": f" 9=6 -23310=2,{_SIXTH},0.5",
}
_WEIGHTED = ("conv", "depthwise_conv", "linear")
# Pool -> ncnn's number of it.
_POOLS = {"max_pool": 0, "avg_pool": 1}
# A reshape is a flatten before a linear layer, or, with a transpose, a channel shuffle.
NCNN_OPERATORS = frozenset({*_OPERATORS, *_WEIGHTED, *_POOLS, "mul", "reshape", "transpose"})


def to_ncnn(graph: Graph, weights: Weights | None = None) -> tuple[str, bytes]:
    """The graph as ncnn's two files, ``.param`` (text) and ``.bin`` (weights), for one sample.

    It is the one that ncnn's optimizer leaves: an activation that is a convolution's only reader
    is part of it, and a 1 x 1 convolution of a pooled vector is an InnerProduct. Layers go by
    their names; the blobs to feed and to read are ``input`` and ``output``, shape (channels,
    height, width), or (channels,) after a pool or linear layer.

    Args:
        graph: that a :class:`latcast.graph.GraphBuilder` has built.
        weights: values of its constants; by default those of ``graph.weights()``.

    Raises:
        ValueError: a layer's operator is not in :data:`NCNN_OPERATORS`.
    """
    written = _Written(graph, graph.weights() if weights is None else weights)
    for n in range(len(graph)):
        written.add(n)
    nodes = _split(written.nodes)
    blobs = sum(len(x.outputs) for x in nodes)
    lines = [MAGIC, f"{len(nodes)} {blobs}", *(x.line() for x in nodes)]
    return "\n".join(lines) + "\n", b"".join(written.weights)


@dataclass(frozen=True, slots=True)
class _Node:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: str

    def line(self) -> str:
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        return " ".join((self.kind, self.name, counts, *self.inputs, *self.outputs, self.arguments))


class _Written:
    """The lines and weights that are written so far.

    ncnn keeps a pooled tensor as a vector, which convolutions and pools do not take as an image
    of one pixel, so that the blobs that are vectors are known.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        _, channels, height, width = graph.in_shape
        shape = f"0={width} 1={height} 2={channels}"
        self.nodes = [_Node("Input", INPUT, (), (INPUT,), shape)]
        self.weights: list[bytes] = []
        self._graph = graph
        self._values = weights
        self._fused = fused_activations(graph, _WEIGHTED, _ACTIVATIONS)
        self._shuffles = channel_shuffles(graph)
        self._passed = {a: n for n, a in self._fused.items()} | parts_of(graph, self._shuffles)
        self._blobs = {GRAPH_INPUT: INPUT}
        self._vectors: set[str] = set()

    def add(self, n: int) -> None:
        layer = self._graph.layers[n]
        is_last = n in self._graph.outputs
        source = self._passed.get(n, layer.inputs[0])
        is_flatten = layer.op == "reshape" and layer.operator == "Flatten"
        if n in self._passed or (not is_last and (is_flatten or layer.op == "identity")):
            self._blobs[n] = self._blobs[source]
            return
        end = self._fused.get(n, n)
        blob = OUTPUT if end in self._graph.outputs else f"t{end}"
        inputs = tuple(self._blobs[i] for i in layer.inputs)
        if self._vectors.issuperset(inputs) and self._needs_image(n):
            inputs = (self._image(inputs[0], layer, n),)
        is_vector = self._vectors.issuperset(inputs)
        if layer.op in _WEIGHTED:
            values = _padded(self._values[n])
            dense = is_vector or layer.op == "linear"
            kind, arguments = _weighted(layer, values[0], dense=dense)
            if n in self._fused:
                arguments += _ACTIVATIONS[self._graph.layers[end].op]
            self.weights += (_RAW_FLOATS, *(x.tobytes() for x in values))
        else:
            kind, arguments = self._operator(n)
        self.nodes.append(_Node(kind, layer.name, inputs, (blob,), arguments))
        self._blobs[n] = blob
        if is_vector or kind == "InnerProduct" or layer.op == "global_pool":
            self._vectors.add(blob)

    def _image(self, vector: str, layer: Layer, n: int) -> str:
        blob = f"image{n}"
        channels = (layer.out_shape if n in self._shuffles else layer.in_shape)[1]
        shape = f"0=1 1=1 2={channels}"
        self.nodes.append(_Node("Reshape", f"reshape_{n}", (vector,), (blob,), shape))
        return blob

    def _needs_image(self, n: int) -> bool:
        layer = self._graph.layers[n]
        if layer.op == "conv":
            return layer.window != (1, 1) or layer.groups > 1
        return n in self._shuffles or layer.op in ("depthwise_conv", "global_pool", *_POOLS)

    def _operator(self, n: int) -> tuple[str, str]:
        layer = self._graph.layers[n]
        if n in self._shuffles:
            return "ShuffleChannel", f"0={self._shuffles[n]}"
        if layer.op in _POOLS:
            (side, _), pad = layer.window, layer.attribute("pads")[0]
            # 5=1: windows that end beyond the padding are left out; 6=0: padding does not count.
            mode = 0 if layer.attribute("ceil_mode") else 1
            window = f"1={side} 2={layer.stride[0]} 3={pad} 5={mode} 6=0"
            return "Pooling", f"0={_POOLS[layer.op]} {window}"
        if layer.op == "mul":
            constants = self._values[n]
            return "BinaryOp", f"0=2 1=1 2={float(constants[0])}" if constants else "0=2"
        try:
            return _OPERATORS[layer.op]
        except KeyError:
            raise ValueError(
                f"layer {n}: operator {layer.op!r} cannot be written for ncnn; "
                f"known: {', '.join(sorted(NCNN_OPERATORS))}"
            ) from None


def _padded(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Weights and a bias, of zeros where there is none."""
    weight, *bias = values
    return (weight, bias[0] if bias else 0 * weight.reshape(len(weight), -1)[:, 0])


def _weighted(layer: Layer, weight: Any, *, dense: bool) -> tuple[str, str]:
    out, size = len(weight), weight.size
    if dense:
        return "InnerProduct", f"0={out} 1=1 2={size}"
    (side, _), pad = layer.window, layer.attribute("pads")[0]
    arguments = f"0={out} 1={side} 3={layer.stride[0]} 4={pad} 5=1 6={size}"
    if layer.groups == 1:
        return "Convolution", arguments
    return "ConvolutionDepthWise", f"{arguments} 7={layer.groups}"


def _split(nodes: Sequence[_Node]) -> list[_Node]:
    """Give every reader of a blob that has several its own copy, as ncnn demands."""
    readers = Counter(blob for x in nodes for blob in x.inputs)
    copies: dict[str, list[str]] = {}
    result = []
    for node in nodes:
        inputs = tuple(copies[x].pop(0) if x in copies else x for x in node.inputs)
        result.append(replace(node, inputs=inputs))
        (blob,) = node.outputs
        if readers[blob] > 1:
            copies[blob] = [f"{blob}_{i}" for i in range(readers[blob])]
            outputs = tuple(copies[blob])
            result.append(_Node("Split", f"split_{blob}", (blob,), outputs, ""))
    return result
