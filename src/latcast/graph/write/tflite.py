"""Networks as TensorFlow Lite flatbuffers, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._optional import require
from latcast.graph._layer import BLOCK_INPUT, Layer, Shape
from latcast.graph._network import Floats, Network, Parameters, fused_activations

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
"""Bytes; the schema demands it of buffers."""
_LOWEST = float(np.finfo(np.float32).min)
"""Around an image of which the largest values are wanted."""
BYTES_PER_OPERATOR = 2048
"""More than one takes without values, so that the file does not outgrow its first allocation."""


def to_tflite(network: Network, batch: int = 1) -> bytes:
    """The network as a TensorFlow Lite model of a fixed batch size.

    Input and output have the shape (batch, height, width, channels), but the output of a linear
    layer (batch, features). A ReLU or ReLU6 that is a layer's only reader becomes its fused
    activation, as converters do. The tensor that an operator writes is named
    ``OPERATOR_POSITION`` after the layer's position in the network.

    Raises:
        ModuleNotFoundError: ai_edge_litert, which has the schema, is not installed.
        ValueError: a layer's operator is not in :data:`TFLITE_OPERATORS`.
    """
    schema = require("ai_edge_litert.schema_py_generated", "litert", "writing TensorFlow Lite")
    graph = _Graph(schema)
    entry = graph.tensor("input", nhwc(network.in_shape, batch))
    outputs = {BLOCK_INPUT: entry}
    fused = fused_activations(network.layers, _ABSORBING, _ACTIVATIONS)
    for n, layer in enumerate(network.layers):
        is_last = n == len(network.layers) - 1
        if n in fused.values() or (layer.op == "identity" and not is_last):
            outputs[n] = outputs[layer.inputs[0]]
            continue
        step = _Step(
            graph,
            layer,
            n,
            inputs=[outputs[i] for i in layer.inputs],
            batch=batch,
            parameters=network.parameters[n],
            activation=network.layers[fused[n]].op if n in fused else None,
            is_last=is_last,
        )
        outputs[n] = _write(step)
    return graph.pack(entry, outputs[len(network.layers) - 1])


def nhwc(shape: Shape, batch: int) -> tuple[int, int, int, int]:
    """Shape of a tensor in the order in which TensorFlow Lite keeps images."""
    channels, height, width = shape
    return (batch, height, width, channels)


_ACTIVATIONS: dict[str | None, str] = {None: "NONE", "relu": "RELU", "relu6": "RELU6"}
_ABSORBING = ("conv", "depthwise_conv", "linear", "add", "scale")


@dataclass(slots=True)
class _Graph:
    """The tensors, buffers and operators of a model that is being written."""

    schema: Any
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    constants_bytes: int = 0

    def __post_init__(self) -> None:
        self.buffers.append(self.schema.BufferT())  # number 0: tensors without values

    def tensor(self, name: str, shape: Sequence[int]) -> int:
        """Add a float tensor that an operator or the caller fills; its number."""
        return self._add(name, shape, 0, self.schema.TensorType.FLOAT32)

    def constant(self, name: str, values: npt.NDArray[Any]) -> int:
        """Add a tensor of fixed values, float32 or int32; its number."""
        types = self.schema.TensorType
        kind = types.INT32 if values.dtype == np.int32 else types.FLOAT32
        self.buffers.append(_Buffer(self.schema, values))
        self.constants_bytes += values.nbytes + BUFFER_ALIGNMENT
        return self._add(name, values.shape, len(self.buffers) - 1, kind)

    def _add(self, name: str, shape: Sequence[int], buffer: int, kind: int) -> int:
        self.tensors.append(
            self.schema.TensorT(shape=list(shape), type=kind, buffer=buffer, name=name)
        )
        return len(self.tensors) - 1

    def operator(
        self, code: str, inputs: Sequence[int], output: int, options: str | None, **values: Any
    ) -> int:
        """Add an operator whose ``options`` have ``values``; the number of its output."""
        self.operators.append(
            self.schema.OperatorT(
                opcodeIndex=self.codes.setdefault(code, len(self.codes)),
                inputs=list(inputs),
                outputs=[output],
                builtinOptionsType=getattr(self.schema.BuiltinOptions, options or "NONE"),
                builtinOptions=getattr(self.schema, f"{options}T")(**values) if options else None,
            )
        )
        return output

    def pack(self, entry: int, output: int) -> bytes:
        """The file of the graph from tensor ``entry`` to tensor ``output``."""
        from flatbuffers import Builder

        s = self.schema
        codes = [getattr(s.BuiltinOperator, x) for x in self.codes]
        model = s.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[
                s.OperatorCodeT(deprecatedBuiltinCode=x, builtinCode=x, version=1) for x in codes
            ],
            subgraphs=[
                s.SubGraphT(
                    tensors=self.tensors,
                    inputs=[entry],
                    outputs=[output],
                    operators=self.operators,
                    name="latcast",
                )
            ],
            description="latcast",
            buffers=self.buffers,
        )
        builder = Builder(self.constants_bytes + BYTES_PER_OPERATOR * (len(self.operators) + 1))
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Stands for the schema's ``BufferT``, which packs the data without their alignment."""

    schema: Any
    values: npt.NDArray[Any]

    def Pack(self, builder: Any) -> int:  # noqa: N802  # the schema's name
        flat = np.ascontiguousarray(self.values).reshape(-1).view(np.uint8)
        builder.Prep(BUFFER_ALIGNMENT, flat.size)
        data = builder.CreateNumpyVector(flat)
        self.schema.BufferStart(builder)
        self.schema.BufferAddData(builder, data)
        position: int = self.schema.BufferEnd(builder)
        return position


@dataclass(frozen=True, slots=True)
class _Step:
    """A layer to write, with the tensors that it reads."""

    graph: _Graph
    layer: Layer
    n: int
    inputs: list[int]
    batch: int
    parameters: Parameters | None
    activation: str | None
    is_last: bool

    @property
    def fused(self) -> int:
        """Code of the activation that the operator applies to its output."""
        types = self.graph.schema.ActivationFunctionType
        code: int = getattr(types, _ACTIVATIONS[self.activation])
        return code

    def output(self) -> int:
        """The tensor that the layer's last operator writes."""
        shape = nhwc(self.layer.out_shape, self.batch)
        return self.graph.tensor(f"{self.layer.op}_{self.n}", shape)

    @property
    def weight(self) -> Floats:
        assert self.parameters is not None
        return self.parameters.weight

    def constants(self, weight: Floats) -> list[int]:
        """The tensors of the layer's ``weight``, in the order of the runtime, and bias."""
        assert self.parameters is not None
        return [
            self.graph.constant(f"weight_{self.n}", weight),
            self.graph.constant(f"bias_{self.n}", self.parameters.bias),
        ]


def _conv(step: _Step) -> int:
    values = step.constants(step.weight.transpose(0, 2, 3, 1))
    return _convolve(step, "CONV_2D", values, "Conv2DOptions")


def _depthwise(step: _Step) -> int:
    values = step.constants(step.weight.transpose(1, 2, 3, 0))
    return _convolve(step, "DEPTHWISE_CONV_2D", values, "DepthwiseConv2DOptions", depthMultiplier=1)


def _convolve(step: _Step, code: str, values: list[int], options: str, **more: int) -> int:
    graph, layer, source = step.graph, step.layer, step.inputs[0]
    padding = graph.schema.Padding.SAME
    if not _same_padding_is_ours(layer, layer.kernel_size // 2):
        padding = graph.schema.Padding.VALID
        source = _padded(step, layer.kernel_size // 2)
    return graph.operator(
        code,
        [source, *values],
        step.output(),
        options,
        padding=padding,
        strideH=layer.stride,
        strideW=layer.stride,
        fusedActivationFunction=step.fused,
        **more,
    )


def _padded(step: _Step, pad: int, value: float | None = None) -> int:
    """The layer's input with ``pad`` pixels around it, of 0 or of ``value``."""
    graph, (channels, height, width) = step.graph, step.layer.in_shape
    amounts = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
    inputs = [step.inputs[0], graph.constant(f"pads_{step.n}", amounts)]
    if value is not None:
        inputs.append(graph.constant(f"around_{step.n}", np.array([value], np.float32)))
    shape = nhwc((channels, height + 2 * pad, width + 2 * pad), step.batch)
    output = graph.tensor(f"pad_{step.n}", shape)
    if value is None:
        return graph.operator("PAD", inputs, output, "PadOptions")
    return graph.operator("PADV2", inputs, output, "PadV2Options")


def _same_padding_is_ours(layer: Layer, pad: int) -> bool:
    """Whether TensorFlow's SAME starts as far outside the image as our padding by ``pad`` does.

    It pads (ceil(side / stride) - 1) · stride + kernel - side in all, the smaller half before.
    """
    k, stride = layer.kernel_size, layer.stride
    counts = [-(-side // stride) for side in layer.in_shape[1:]]
    totals = [
        max((count - 1) * stride + k - side, 0)
        for count, side in zip(counts, layer.in_shape[1:], strict=True)
    ]
    return (*counts,) == layer.out_shape[1:] and all(total // 2 == pad for total in totals)


def _linear(step: _Step) -> int:
    """Fully connected; unless it ends the network, its vectors become images of one pixel."""
    graph, layer = step.graph, step.layer
    features = layer.out_shape[0]
    # The operator flattens its input, whose channels come last.
    weight = step.weight.reshape(features, *layer.in_shape).transpose(0, 2, 3, 1)
    values = step.constants(weight.reshape(features, -1))
    flat = graph.operator(
        "FULLY_CONNECTED",
        [step.inputs[0], *values],
        graph.tensor(f"linear_{step.n}", (step.batch, features)),
        "FullyConnectedOptions",
        fusedActivationFunction=step.fused,
    )
    if step.is_last:
        return flat
    shape = nhwc(layer.out_shape, step.batch)
    return _reshape(step, flat, graph.tensor(f"image_{step.n}", shape), shape)


def _global_pool(step: _Step) -> int:
    axes = step.graph.constant(f"axes_{step.n}", np.array([1, 2], np.int32))
    inputs = [step.inputs[0], axes]
    return step.graph.operator("MEAN", inputs, step.output(), "ReducerOptions", keepDims=True)


def _avg_pool(step: _Step) -> int:
    layer, padding = step.layer, step.graph.schema.Padding
    if layer.kernel_size <= 2 and not layer.hangs_over:
        return _pool(step, "AVERAGE_POOL_2D", step.inputs[0], padding.VALID)
    if _same_padding_is_ours(layer, (layer.kernel_size - 1) // 2):
        return _pool(step, "AVERAGE_POOL_2D", step.inputs[0], padding.SAME)
    raise ValueError(
        f"layer {step.n}: TensorFlow Lite has no average pool of {layer.kernel_size} x "
        f"{layer.kernel_size} with stride {layer.stride} that pads an input of "
        f"{layer.in_shape[1]} x {layer.in_shape[2]} as ours does"
    )


def _max_pool(step: _Step) -> int:
    layer, padding = step.layer, step.graph.schema.Padding
    if _same_padding_is_ours(layer, (layer.kernel_size - 1) // 2):
        return _pool(step, "MAX_POOL_2D", step.inputs[0], padding.SAME)
    source = _padded(step, (layer.kernel_size - 1) // 2, _LOWEST)
    return _pool(step, "MAX_POOL_2D", source, padding.VALID)


def _pool(step: _Step, code: str, source: int, padding: int) -> int:
    layer = step.layer
    return step.graph.operator(
        code,
        [source],
        step.output(),
        "Pool2DOptions",
        padding=padding,
        strideH=layer.stride,
        strideW=layer.stride,
        filterHeight=layer.kernel_size,
        filterWidth=layer.kernel_size,
        fusedActivationFunction=step.fused,
    )


def _channel_shuffle(step: _Step) -> int:
    """Channels as a matrix of groups, transposed."""
    graph, n, groups = step.graph, step.n, step.layer.groups
    *image, channels = nhwc(step.layer.out_shape, step.batch)
    order = graph.constant(f"order_{n}", np.array([0, 1, 2, 4, 3], np.int32))
    matrix = (*image, groups, channels // groups)
    grouped = _reshape(step, step.inputs[0], graph.tensor(f"grouped_{n}", matrix), matrix)
    dealt = graph.tensor(f"dealt_{n}", (*image, channels // groups, groups))
    graph.operator("TRANSPOSE", [grouped, order], dealt, "TransposeOptions")
    return _reshape(step, dealt, step.output(), (*image, channels))


def _zero(step: _Step) -> int:
    nought = step.graph.constant(f"nought_{step.n}", np.zeros(1, np.float32))
    return step.graph.operator("MUL", [step.inputs[0], nought], step.output(), "MulOptions")


def _identity(step: _Step) -> int:
    """A copy, for a network that ends with one; elsewhere readers get its input."""
    shape = nhwc(step.layer.out_shape, step.batch)
    return _reshape(step, step.inputs[0], step.output(), shape)


def _reshape(step: _Step, source: int, output: int, shape: tuple[int, ...]) -> int:
    target = step.graph.constant(f"shape_{output}", np.array(shape, np.int32))
    inputs = [source, target]
    return step.graph.operator("RESHAPE", inputs, output, "ReshapeOptions", newShape=list(shape))


def _hard_sigmoid(step: _Step) -> int:
    """ReLU6(x + 3) / 6: there is no operator of that name."""
    graph, n = step.graph, step.n
    three = graph.constant(f"three_{n}", np.array([3], np.float32))
    sixth = graph.constant(f"sixth_{n}", np.array([1 / 6], np.float32))
    clipped = graph.operator(
        "ADD",
        [step.inputs[0], three],
        graph.tensor(f"clipped_{n}", nhwc(step.layer.out_shape, step.batch)),
        "AddOptions",
        fusedActivationFunction=graph.schema.ActivationFunctionType.RELU6,
    )
    return graph.operator("MUL", [clipped, sixth], step.output(), "MulOptions")


def _binary(code: str, options: str) -> Callable[[_Step], int]:
    return lambda s: s.graph.operator(
        code, s.inputs, s.output(), options, fusedActivationFunction=s.fused
    )


def _unary(code: str, options: str | None = None) -> Callable[[_Step], int]:
    return lambda s: s.graph.operator(code, s.inputs, s.output(), options)


TFLITE_OPERATORS: dict[str, Callable[[_Step], int]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "linear": _linear,
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "h_swish": _unary("HARD_SWISH", "HardSwishOptions"),
    "h_sigmoid": _hard_sigmoid,
    "global_pool": _global_pool,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "channel_shuffle": _channel_shuffle,
    "zero": _zero,
    "identity": _identity,
    "add": _binary("ADD", "AddOptions"),
    "scale": _binary("MUL", "MulOptions"),
}
"""Our operator -> what writes a layer of it and returns the tensor with its output."""


def _write(step: _Step) -> int:
    try:
        write = TFLITE_OPERATORS[step.layer.op]
    except KeyError:
        raise ValueError(
            f"layer {step.n}: operator {step.layer.op!r} cannot be written as TensorFlow Lite; "
            f"known: {', '.join(TFLITE_OPERATORS)}"
        ) from None
    return write(step)
