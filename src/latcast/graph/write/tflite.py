"""Graphs as TensorFlow Lite flatbuffers, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._imports import require
from latcast.graph import GRAPH_INPUT, Graph, Layer, TensorShape, Weights

from ._patterns import channel_shuffles, fused_activations, parts_of

Floats = npt.NDArray[np.float32]

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
# Bytes; the schema demands it of buffers.
BUFFER_ALIGNMENT = 16
# Around an image of which the largest values are wanted.
_LOWEST = float(np.finfo(np.float32).min)
# More than one takes without values, so that the file does not outgrow its first allocation.
BYTES_PER_OPERATOR = 2048


def to_tflite(
    graph: Graph, weights: Weights | None = None, *, signature: str | None = None
) -> bytes:
    """The graph as a TensorFlow Lite model of its batch.

    Maps have the shape (batch, height, width, channels). A ReLU or ReLU6 that is a layer's only
    reader becomes its fused activation, as converters do. The tensor that an operator writes is
    named after the layer.

    Args:
        graph: that a :class:`latcast.graph.GraphBuilder` has built.
        weights: values of its constants; by default those of ``graph.weights()``.
        signature: key of a signature with the tensors ``input`` and ``output``, which quantizers
            want; none by default.

    Raises:
        ModuleNotFoundError: ai_edge_litert, which has the schema, is not installed.
        ValueError: a layer's operator is not in :data:`TFLITE_OPERATORS`.
    """
    schema = require("ai_edge_litert.schema_py_generated", "litert", "writing TensorFlow Lite")
    values = graph.weights() if weights is None else weights
    model = _Model(schema)
    entry = model.tensor("input", nhwc(graph.in_shape))
    outputs = {GRAPH_INPUT: entry}
    fused = fused_activations(graph, _ABSORBING, _ACTIVATIONS)
    shuffles = channel_shuffles(graph)
    passed = {a: n for n, a in fused.items()} | parts_of(graph, shuffles)
    for n, layer in enumerate(graph.layers):
        # What was fused or folded reads through: its readers take the tensor before it.
        source = passed.get(n, layer.inputs[0])
        is_flatten = layer.op == "reshape" and layer.operator == "Flatten"
        if n in passed or (n not in graph.outputs and (is_flatten or layer.op == "identity")):
            outputs[n] = outputs[source]
            continue
        before = graph.layers[source] if source >= 0 else layer
        step = _Step(
            model,
            layer,
            n,
            inputs=[outputs[i] for i in layer.inputs],
            in_shape=(before if before.operator == "Flatten" else layer).in_shape,
            values=values[n],
            activation=graph.layers[fused[n]].op if n in fused else None,
            groups=shuffles.get(n, 0),
        )
        outputs[n] = _write(step)
    return model.pack(entry, outputs[graph.outputs[0]], signature)


def nhwc(shape: TensorShape) -> TensorShape:
    """A shape in the order in which TensorFlow Lite keeps images; vectors stay as they are."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


_ACTIVATIONS: dict[str | None, str] = {None: "NONE", "relu": "RELU", "relu6": "RELU6"}
_ABSORBING = ("conv", "depthwise_conv", "linear", "add", "scale", "mul")


@dataclass(slots=True)
class _Model:
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

    def pack(self, entry: int, output: int, signature: str | None = None) -> bytes:
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
            signatureDefs=None
            if signature is None
            else [self._signature(signature, entry, output)],
        )
        builder = Builder(self.constants_bytes + BYTES_PER_OPERATOR * (len(self.operators) + 1))
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _signature(self, key: str, entry: int, output: int) -> Any:
        s = self.schema
        return s.SignatureDefT(
            inputs=[s.TensorMapT(name="input", tensorIndex=entry)],
            outputs=[s.TensorMapT(name="output", tensorIndex=output)],
            signatureKey=key,
            subgraphIndex=0,
        )


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
    """A layer to write, with the tensors that it reads; ``in_shape`` is that before a flatten."""

    model: _Model
    layer: Layer
    n: int
    inputs: list[int]
    in_shape: TensorShape
    values: tuple[Floats, ...]
    activation: str | None
    groups: int

    @property
    def fused(self) -> int:
        """Code of the activation that the operator applies to its output."""
        types = self.model.schema.ActivationFunctionType
        code: int = getattr(types, _ACTIVATIONS[self.activation])
        return code

    @property
    def out_shape(self) -> TensorShape:
        """Shape of what it writes, channels before sides."""
        return self.layer.out_shape

    def output(self) -> int:
        """The tensor that the layer's last operator writes."""
        return self.model.tensor(self.layer.name, nhwc(self.out_shape))

    def constants(self, weight: Floats) -> list[int]:
        """The tensors of the layer's ``weight``, in the order of the runtime, and bias."""
        bias = self.values[1] if len(self.values) > 1 else np.zeros(self.out_shape[1], np.float32)
        return [
            self.model.constant(f"weight_{self.n}", weight),
            self.model.constant(f"bias_{self.n}", bias),
        ]


def _conv(step: _Step) -> int:
    values = step.constants(step.values[0].transpose(0, 2, 3, 1))
    return _convolve(step, "CONV_2D", values, "Conv2DOptions")


def _depthwise(step: _Step) -> int:
    values = step.constants(step.values[0].transpose(1, 2, 3, 0))
    return _convolve(step, "DEPTHWISE_CONV_2D", values, "DepthwiseConv2DOptions", depthMultiplier=1)


def _convolve(step: _Step, code: str, values: list[int], options: str, **more: int) -> int:
    model, layer, source = step.model, step.layer, step.inputs[0]
    # TensorFlow's SAME puts the odd pixel at the end, ONNX's pads where the layer says: only where
    # both agree may the operator pad by itself.
    padding = model.schema.Padding.SAME
    if not _same_padding_is_ours(step):
        padding = model.schema.Padding.VALID
        source = _padded(step)
    return model.operator(
        code,
        [source, *values],
        step.output(),
        options,
        padding=padding,
        strideH=layer.stride[0],
        strideW=layer.stride[1],
        fusedActivationFunction=step.fused,
        **more,
    )


def _padded(step: _Step, value: float | None = None) -> int:
    """The layer's input with its padding around it, of 0 or of ``value``."""
    model, (batch, channels, height, width) = step.model, step.in_shape
    layer, pad = step.layer, step.layer.attribute("pads")[0]
    # Windows of a pool may end beyond the padding.
    below, right = (
        max(pad, (out - 1) * layer.stride[n] + layer.window[n] - side - pad)
        for n, (side, out) in enumerate(zip((height, width), step.out_shape[2:], strict=True))
    )
    amounts = np.array([[0, 0], [pad, below], [pad, right], [0, 0]], np.int32)
    inputs = [step.inputs[0], model.constant(f"pads_{step.n}", amounts)]
    if value is not None:
        inputs.append(model.constant(f"around_{step.n}", np.array([value], np.float32)))
    shape = nhwc((batch, channels, height + pad + below, width + pad + right))
    output = model.tensor(f"pad_{step.n}", shape)
    if value is None:
        return model.operator("PAD", inputs, output, "PadOptions")
    return model.operator("PADV2", inputs, output, "PadV2Options")


def _same_padding_is_ours(step: _Step) -> bool:
    """Whether TensorFlow's SAME starts as far outside the image as the layer's padding does.

    It pads (ceil(side / stride) - 1) · stride + kernel - side in all, the smaller half before.
    """
    (k, _), (stride, _), pad = step.layer.window, step.layer.stride, step.layer.attribute("pads")[0]
    sides = step.in_shape[2:]
    counts = tuple(-(-side // stride) for side in sides)
    totals = [
        max((count - 1) * stride + k - side, 0) for count, side in zip(counts, sides, strict=True)
    ]
    return counts == step.out_shape[2:] and all(total // 2 == pad for total in totals)


def _linear(step: _Step) -> int:
    """Fully connected; the operator flattens its input, whose channels come last."""
    features, weight = step.out_shape[1], step.values[0]
    if len(step.in_shape) == 4:
        weight = weight.reshape(features, *step.in_shape[1:]).transpose(0, 2, 3, 1)
    return step.model.operator(
        "FULLY_CONNECTED",
        [step.inputs[0], *step.constants(weight.reshape(features, -1))],
        step.output(),
        "FullyConnectedOptions",
        fusedActivationFunction=step.fused,
    )


def _global_pool(step: _Step) -> int:
    axes = step.model.constant(f"axes_{step.n}", np.array([1, 2], np.int32))
    inputs = [step.inputs[0], axes]
    return step.model.operator("MEAN", inputs, step.output(), "ReducerOptions", keepDims=True)


def _avg_pool(step: _Step) -> int:
    layer, padding = step.layer, step.model.schema.Padding
    if not any(layer.attribute("pads")) and not layer.attribute("ceil_mode"):
        return _pool(step, "AVERAGE_POOL_2D", step.inputs[0], padding.VALID)
    if _same_padding_is_ours(step):
        return _pool(step, "AVERAGE_POOL_2D", step.inputs[0], padding.SAME)
    raise ValueError(
        f"layer {step.n}: TensorFlow Lite has no average pool of {layer.window[0]} x "
        f"{layer.window[1]} with stride {layer.stride[0]} that pads an input of "
        f"{step.in_shape[2]} x {step.in_shape[3]} as ours does"
    )


def _max_pool(step: _Step) -> int:
    padding = step.model.schema.Padding
    if _same_padding_is_ours(step):
        return _pool(step, "MAX_POOL_2D", step.inputs[0], padding.SAME)
    source = _padded(step, _LOWEST)
    return _pool(step, "MAX_POOL_2D", source, padding.VALID)


def _pool(step: _Step, code: str, source: int, padding: int) -> int:
    layer = step.layer
    return step.model.operator(
        code,
        [source],
        step.output(),
        "Pool2DOptions",
        padding=padding,
        strideH=layer.stride[0],
        strideW=layer.stride[1],
        filterHeight=layer.window[0],
        filterWidth=layer.window[1],
        fusedActivationFunction=step.fused,
    )


def _reshaped(step: _Step) -> int:
    """A channel shuffle, channels as a matrix of groups, transposed.

    A flatten or an identity is written at the end of a network only, as a copy; elsewhere readers
    get its input.
    """
    model, n, groups = step.model, step.n, step.groups
    if not groups:
        if step.layer.operator == "Flatten" and step.in_shape[2:] not in ((), (1, 1)):
            raise ValueError(f"layer {n}: only a linear layer may read a flattened map")
        return _reshape(step, step.inputs[0], step.output(), nhwc(step.out_shape))
    *image, channels = nhwc(step.out_shape)
    order = model.constant(f"order_{n}", np.array([0, 1, 2, 4, 3], np.int32))
    matrix = (*image, groups, channels // groups)
    grouped = _reshape(step, step.inputs[0], model.tensor(f"grouped_{n}", matrix), matrix)
    dealt = model.tensor(f"dealt_{n}", (*image, channels // groups, groups))
    model.operator("TRANSPOSE", [grouped, order], dealt, "TransposeOptions")
    return _reshape(step, dealt, step.output(), (*image, channels))


def _reshape(step: _Step, source: int, output: int, shape: tuple[int, ...]) -> int:
    target = step.model.constant(f"shape_{output}", np.array(shape, np.int32))
    inputs = [source, target]
    return step.model.operator("RESHAPE", inputs, output, "ReshapeOptions", newShape=list(shape))


def _hard_sigmoid(step: _Step) -> int:
    """ReLU6(x + 3) / 6: there is no operator of that name."""
    model, n = step.model, step.n
    three = model.constant(f"three_{n}", np.array([3], np.float32))
    sixth = model.constant(f"sixth_{n}", np.array([1 / 6], np.float32))
    clipped = model.operator(
        "ADD",
        [step.inputs[0], three],
        model.tensor(f"clipped_{n}", nhwc(step.out_shape)),
        "AddOptions",
        fusedActivationFunction=model.schema.ActivationFunctionType.RELU6,
    )
    return model.operator("MUL", [clipped, sixth], step.output(), "MulOptions")


def _binary(code: str, options: str) -> Callable[[_Step], int]:
    """An operator of two inputs, or of one and a constant."""

    def write(step: _Step) -> int:
        inputs = [*step.inputs, *(step.model.constant(f"by_{step.n}", x) for x in step.values)]
        return step.model.operator(
            code, inputs, step.output(), options, fusedActivationFunction=step.fused
        )

    return write


def _unary(code: str, options: str | None = None) -> Callable[[_Step], int]:
    return lambda s: s.model.operator(code, s.inputs, s.output(), options)


# Our operator -> what writes a layer of it and returns the tensor with its output.
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
    "reshape": _reshaped,
    "identity": _reshaped,
    "add": _binary("ADD", "AddOptions"),
    "scale": _binary("MUL", "MulOptions"),
    "mul": _binary("MUL", "MulOptions"),
}


def _write(step: _Step) -> int:
    try:
        write = TFLITE_OPERATORS[step.layer.op]
    except KeyError:
        raise ValueError(
            f"layer {step.n}: operator {step.layer.op!r} cannot be written as TensorFlow Lite; "
            f"known: {', '.join(TFLITE_OPERATORS)}"
        ) from None
    return write(step)
