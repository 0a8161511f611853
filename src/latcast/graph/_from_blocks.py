"""The layers of search spaces as a graph: what a reader makes of the ONNX written for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ._graph import GRAPH_INPUT, Graph, Layer
from ._layer import BLOCK_INPUT
from ._layer import Layer as BlockLayer
from .shapes import TensorShape

_OPERATORS = {
    "conv": "Conv",
    "depthwise_conv": "Conv",
    "linear": "Gemm",
    "batch_norm": "BatchNormalization",
    "relu": "Relu",
    "relu6": "Clip",
    "h_swish": "HardSwish",
    "h_sigmoid": "HardSigmoid",
    "global_pool": "GlobalAveragePool",
    "avg_pool": "AveragePool",
    "max_pool": "MaxPool",
    "identity": "Identity",
    "add": "Add",
    "scale": "Mul",
    "zero": "Mul",
}
_WINDOWED = ("conv", "depthwise_conv", "linear", "avg_pool", "max_pool", "global_pool")
"""What gives another shape than the largest of those that it reads."""

_FLOAT_BYTES = 4
_CONSTANT_BYTES = {"relu6": 2 * _FLOAT_BYTES, "zero": _FLOAT_BYTES}


def graph_of_layers(layers: Sequence[BlockLayer], batch: int = 1, name: str = "network") -> Graph:
    """Layers of a block or of a network as a graph.

    It has what :func:`latcast.graph.write.onnx.to_onnx` writes for them: the names of the nodes, a
    flatten before a linear layer, three layers for a channel shuffle, and a bias of every
    convolution, unless a batch norm is the one layer that reads it.

    Args:
        layers: of ``block.layers`` or ``network.layers``; inputs of a block are inputs of the
            graph, and the last layer gives its output.
        batch: samples of one forward pass.
        name: of the graph.

    Raises:
        ValueError: a layer's operator is not known, there is no layer, or the batch is not
            positive.
    """
    if batch < 1:
        raise ValueError(f"a batch must have at least one sample; got {batch}")
    growing = _Growing(layers, batch)
    for n in range(len(layers)):
        growing.add(n)
    return Graph(tuple(growing.grown), name, (len(growing.grown) - 1,))


class _Growing:
    """A graph while its layers are added; ``ends[n]`` is where layer ``n`` ended up."""

    def __init__(self, layers: Sequence[BlockLayer], batch: int) -> None:
        self.grown: list[Layer] = []
        self._layers = layers
        self._batch = batch
        self._ends: list[int] = []
        self._biased = _biased(layers)

    def add(self, n: int) -> None:
        layer = self._layers[n]
        if layer.op == "channel_shuffle":
            self._channel_shuffle(n)
        elif layer.op == "linear":
            self._linear(n)
        elif layer.op in _OPERATORS:
            self._plain(n)
        else:
            known = ", ".join((*_OPERATORS, "channel_shuffle"))
            raise ValueError(f"operator {layer.op!r} is not one of a space; known: {known}")
        self._ends.append(len(self.grown) - 1)

    def _plain(self, n: int) -> None:
        layer = self._layers[n]
        read = [self._source(n, i) for i in layer.inputs]
        shapes = [shape for _, shape in read]
        out = max(shapes, key=prod)
        if layer.op in _WINDOWED:
            out = (self._batch, *layer.out_shape)
        params = _params(layer, n in self._biased)
        constants = 4 * layer.in_shape[0] if layer.op == "batch_norm" else params
        self.grown.append(
            Layer(
                name=f"{layer.op}_{n}",
                op="mul" if layer.op == "zero" else layer.op,
                operator=_OPERATORS[layer.op],
                inputs=tuple(i for i, _ in read),
                in_shapes=tuple(shapes),
                out_shapes=(out,),
                params=params,
                param_bytes=_FLOAT_BYTES * constants + _CONSTANT_BYTES.get(layer.op, 0),
                window=(layer.kernel_size,) * 2,
                stride=(layer.stride,) * 2,
                groups=layer.groups,
            )
        )

    def _linear(self, n: int) -> None:
        layer = self._layers[n]
        source, shape = self._source(n, layer.inputs[0])
        flat = (self._batch, prod(shape[1:]))
        params = _params(layer, biased=True)
        end = len(self.grown)
        out = (self._batch, layer.out_shape[0])
        self.grown += [
            Layer(f"flatten_{n}", "reshape", "Flatten", (source,), (shape,), (flat,)),
            Layer(
                f"linear_{n}", "linear", "Gemm", (end,), (flat,), (out,), params,
                _FLOAT_BYTES * params,
            ),
        ]  # fmt: skip

    def _channel_shuffle(self, n: int) -> None:
        layer = self._layers[n]
        source, shape = self._source(n, layer.inputs[0])
        channels, *sides = layer.out_shape
        rows, columns = layer.groups, channels // layer.groups
        grouped = (self._batch, rows, columns, *sides)
        dealt = (self._batch, columns, rows, *sides)
        end = len(self.grown)
        self.grown += [
            Layer(f"grouped{n}", "reshape", "Reshape", (source,), (shape,), (grouped,)),
            Layer(f"dealt{n}", "transpose", "Transpose", (end,), (grouped,), (dealt,)),
            Layer(f"channel_shuffle_{n}", "reshape", "Reshape", (end + 1,), (dealt,), (shape,)),
        ]

    def _source(self, n: int, source: int) -> tuple[int, TensorShape]:
        """Position and shape of what layer ``n`` reads; a negative source is an input."""
        if source > BLOCK_INPUT:
            end = self._ends[source]
            shape = self.grown[end].out_shapes[0]
            assert shape is not None  # every layer that is added here has its shape
            return end, shape
        return GRAPH_INPUT, (self._batch, *self._layers[n].in_shape)


def _biased(layers: Sequence[BlockLayer]) -> set[int]:
    """Convolutions that have a bias as they are written: all but those of a batch norm."""
    reads: list[list[str]] = [[] for _ in layers]
    for layer in layers:
        for source in set(layer.inputs):
            if source > BLOCK_INPUT:
                reads[source].append(layer.op)
    return {n for n, x in enumerate(layers) if x.bias or reads[n] != ["batch_norm"]}


def _params(layer: BlockLayer, biased: bool) -> int:
    channels = layer.out_shape[0]
    if layer.op == "batch_norm":
        return 2 * channels
    if layer.op == "linear":
        weights = prod(layer.in_shape) * channels
    elif layer.op in ("conv", "depthwise_conv"):
        weights = layer.kernel_size**2 * layer.in_shape[0] // layer.groups * channels
    else:
        return 0
    return weights + (channels if biased else 0)
