"""Networks in ncnn's own format, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from latcast.graph._layer import BLOCK_INPUT, Layer
from latcast.graph._network import Network, Parameters, fused_activations

from .onnx import INPUT, OUTPUT

MAGIC = "7767517"
_RAW_FLOATS = bytes(4)
"""Stands before weights that are kept as they are, not quantized or halved."""

_SIXTH = "0.16666667"
_OPERATORS = {
    "relu": ("ReLU", ""),
    "relu6": ("Clip", "0=0.0 1=6.0"),
    "h_swish": ("HardSwish", f"0={_SIXTH} 1=0.5"),
    "h_sigmoid": ("HardSigmoid", f"0={_SIXTH} 1=0.5"),
    "global_pool": ("Pooling", "0=1 4=1"),
    "zero": ("BinaryOp", "0=2 1=1 2=0.0"),
    "identity": ("Noop", ""),
    "add": ("BinaryOp", "0=0"),
    "scale": ("BinaryOp", "0=2"),
}
"""Our operator without parameters -> ncnn's, and its arguments."""
_ACTIVATIONS = {
    "relu": " 9=1",
    "relu6": " 9=3 -23310=2,0.0,6.0",
    "h_swish": f" 9=6 -23310=2,{_SIXTH},0.5",
}
"""Activation -> arguments of the layer that it becomes part of."""
_WEIGHTED = ("conv", "depthwise_conv", "linear")
_POOLS = {"max_pool": 0, "avg_pool": 1}
"""Pool -> ncnn's number of it."""
_WITH_SETTINGS = (*_POOLS, "channel_shuffle")

NCNN_OPERATORS = frozenset({*_OPERATORS, *_WEIGHTED, *_WITH_SETTINGS})


def to_ncnn(network: Network) -> tuple[str, bytes]:
    """The network as ncnn's two files, ``.param`` (text) and ``.bin`` (weights), for one sample.

    The graph is the one that ncnn's optimizer leaves: an activation that is a convolution's only
    reader is part of it, and a 1 x 1 convolution of a pooled vector is an InnerProduct. Layers
    are named ``OPERATOR_POSITION``; the blobs to feed and to read are ``input`` and ``output``,
    shape (channels, height, width), or (channels,) after a pool or linear layer.

    Raises:
        ValueError: a layer's operator is not in :data:`NCNN_OPERATORS`.
    """
    graph = _Graph(network)
    for n in range(len(network.layers)):
        graph.add(n)
    nodes = _split(graph.nodes)
    blobs = sum(len(x.outputs) for x in nodes)
    lines = [MAGIC, f"{len(nodes)} {blobs}", *(x.line() for x in nodes)]
    return "\n".join(lines) + "\n", b"".join(graph.weights)


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


class _Graph:
    """What is written so far.

    ncnn keeps a pooled tensor as a vector, which convolutions and pools do not take as an image
    of one pixel, so that the blobs that are vectors are known.
    """

    def __init__(self, network: Network) -> None:
        channels, height, width = network.in_shape
        shape = f"0={width} 1={height} 2={channels}"
        self.nodes = [_Node("Input", INPUT, (), (INPUT,), shape)]
        self.weights: list[bytes] = []
        self._network = network
        self._fused = fused_activations(network.layers, _WEIGHTED, _ACTIVATIONS)
        self._blobs = {BLOCK_INPUT: INPUT}
        self._vectors: set[str] = set()

    def add(self, n: int) -> None:
        layer = self._network.layers[n]
        is_last = n == len(self._network.layers) - 1
        if n in self._fused.values() or (layer.op == "identity" and not is_last):
            self._blobs[n] = self._blobs[layer.inputs[0]]
            return
        end = self._fused.get(n, n)
        blob = OUTPUT if end == len(self._network.layers) - 1 else f"t{end}"
        inputs = tuple(self._blobs[i] for i in layer.inputs)
        if self._vectors.issuperset(inputs) and _needs_image(layer):
            inputs = (self._image(inputs[0], layer, n),)
        is_vector = self._vectors.issuperset(inputs)
        if (parameters := self._network.parameters[n]) is not None:
            kind, arguments = _weighted(layer, parameters, dense=is_vector or layer.op == "linear")
            if n in self._fused:
                arguments += _ACTIVATIONS[self._network.layers[end].op]
            self.weights += (_RAW_FLOATS, parameters.weight.tobytes(), parameters.bias.tobytes())
        else:
            kind, arguments = _operator(layer, n)
        self.nodes.append(_Node(kind, f"{layer.op}_{n}", inputs, (blob,), arguments))
        self._blobs[n] = blob
        if is_vector or kind == "InnerProduct" or layer.op == "global_pool":
            self._vectors.add(blob)

    def _image(self, vector: str, layer: Layer, n: int) -> str:
        blob = f"image{n}"
        shape = f"0=1 1=1 2={layer.in_shape[0]}"
        self.nodes.append(_Node("Reshape", f"reshape_{n}", (vector,), (blob,), shape))
        return blob


def _needs_image(layer: Layer) -> bool:
    if layer.op == "conv":
        return layer.kernel_size > 1 or layer.groups > 1
    return layer.op in ("depthwise_conv", "global_pool", *_WITH_SETTINGS)


def _weighted(layer: Layer, parameters: Parameters, *, dense: bool) -> tuple[str, str]:
    out, size = layer.out_shape[0], prod(parameters.weight.shape)
    if dense:
        return "InnerProduct", f"0={out} 1=1 2={size}"
    side, pad = layer.kernel_size, layer.kernel_size // 2
    arguments = f"0={out} 1={side} 3={layer.stride} 4={pad} 5=1 6={size}"
    if layer.groups == 1:
        return "Convolution", arguments
    return "ConvolutionDepthWise", f"{arguments} 7={layer.groups}"


def _operator(layer: Layer, n: int) -> tuple[str, str]:
    if layer.op in _POOLS:
        side, pad = layer.kernel_size, (layer.kernel_size - 1) // 2
        # 5=1: windows that end beyond the padding are left out; 6=0: padding does not count.
        mode = 0 if layer.hangs_over else 1
        window = f"1={side} 2={layer.stride} 3={pad} 5={mode} 6=0"
        return "Pooling", f"0={_POOLS[layer.op]} {window}"
    if layer.op == "channel_shuffle":
        return "ShuffleChannel", f"0={layer.groups}"
    try:
        return _OPERATORS[layer.op]
    except KeyError:
        raise ValueError(
            f"layer {n}: operator {layer.op!r} cannot be written for ncnn; "
            f"known: {', '.join(sorted(NCNN_OPERATORS))}"
        ) from None


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
