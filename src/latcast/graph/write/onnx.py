"""Networks as ONNX, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latcast.graph._layer import BLOCK_INPUT, Layer
from latcast.graph._network import Floats, Network

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""Every operator used here, HardSwish among them, exists since opset 14."""
IR_VERSION = 8
"""The first that opset 17 goes with: old runtimes refuse newer ones than they know."""
INPUT, OUTPUT = "input", "output"
OPEN_BATCH = "batch"
"""Name of the dimension of a batch of any size."""


def to_onnx(network: Network, batch: int | None = 1) -> bytes:
    """The network as a serialized ONNX model of a fixed batch size; None leaves it open.

    Nodes are named ``OPERATOR_POSITION`` after the layers' positions in the network, so that a
    runtime's profile can be read back.

    Raises:
        ValueError: a layer's operator is not in :data:`ONNX_OPERATORS`.
    """
    model = onnx_model(network, batch)
    content: bytes = model.SerializeToString()
    return content


def onnx_model(network: Network, batch: int | None = 1) -> onnx.ModelProto:
    """The network as an ONNX model (see :func:`to_onnx`)."""
    from onnx import ModelProto, TensorProto, helper

    # Filled in place: the helpers that make a graph and a model copy all weights each time.
    model = ModelProto(ir_version=IR_VERSION, opset_import=[helper.make_opsetid("", OPSET)])
    graph = model.graph
    graph.name = "latcast"
    for values, name, shape in (
        (graph.input, INPUT, network.in_shape),
        (graph.output, OUTPUT, out_shape(network)),
    ):
        dims = [OPEN_BATCH if batch is None else batch, *shape]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    last = len(network.layers) - 1
    for n, layer in enumerate(network.layers):
        inputs = [_tensor(i, last) for i in layer.inputs]
        if (parameters := network.parameters[n]) is not None:
            for name, array in ((f"w{n}", parameters.weight), (f"b{n}", parameters.bias)):
                _fill(graph.initializer.add(), name, array)
                inputs.append(name)
        graph.node.extend(_nodes(layer, n, inputs, _tensor(n, last)))
    return model


def out_shape(network: Network) -> tuple[int, ...]:
    """Shape of one output: features after a linear layer, else with height and width."""
    shape = network.out_shape
    return shape[:1] if network.layers[-1].op == "linear" else shape


def _window(layer: Layer) -> dict[str, Any]:
    return {
        "kernel_shape": [layer.kernel_size] * 2,
        "strides": [layer.stride] * 2,
        "pads": [(layer.kernel_size - 1) // 2] * 4,
    }


def _conv(layer: Layer) -> dict[str, Any]:
    return _window(layer) | {"group": layer.groups}


def _pool(layer: Layer) -> dict[str, Any]:
    return _window(layer) | ({"ceil_mode": 1} if layer.hangs_over else {})


ONNX_OPERATORS: dict[str, tuple[str, Callable[[Layer], dict[str, Any]]]] = {
    "conv": ("Conv", _conv),
    "depthwise_conv": ("Conv", _conv),
    "linear": ("Gemm", lambda _: {"transB": 1}),
    "relu": ("Relu", lambda _: {}),
    "relu6": ("Clip", lambda _: {}),
    "h_swish": ("HardSwish", lambda _: {}),
    "h_sigmoid": ("HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5}),
    "global_pool": ("GlobalAveragePool", lambda _: {}),
    "avg_pool": ("AveragePool", lambda x: _pool(x) | {"count_include_pad": 0}),
    "max_pool": ("MaxPool", _pool),
    "channel_shuffle": ("Reshape", lambda _: {}),
    "zero": ("Mul", lambda _: {}),
    "identity": ("Identity", lambda _: {}),
    "add": ("Add", lambda _: {}),
    "scale": ("Mul", lambda _: {}),
}
"""Our operator -> ONNX's, and the attributes of a layer."""


def _nodes(layer: Layer, n: int, inputs: list[str], output: str) -> list[onnx.NodeProto]:
    from onnx import helper

    try:
        op, attributes = ONNX_OPERATORS[layer.op]
    except KeyError:
        raise ValueError(
            f"layer {n}: operator {layer.op!r} cannot be written as ONNX; "
            f"known: {', '.join(ONNX_OPERATORS)}"
        ) from None
    before = []
    name = f"{layer.op}_{n}"
    if layer.op == "channel_shuffle":
        return _channel_shuffle(layer, n, inputs[0], output)
    if layer.op == "linear":
        before = [helper.make_node("Flatten", [inputs[0]], [f"flat{n}"], name=f"flatten_{n}")]
        inputs = [f"flat{n}", *inputs[1:]]
    elif layer.op == "relu6":
        before = [
            helper.make_node("Constant", [], [f"{which}{n}"], value_float=value)
            for which, value in (("least", 0.0), ("most", 6.0))
        ]
        inputs = [*inputs, f"least{n}", f"most{n}"]
    elif layer.op == "zero":
        before = [helper.make_node("Constant", [], [f"nought{n}"], value_float=0.0)]
        inputs = [*inputs, f"nought{n}"]
    return [*before, helper.make_node(op, inputs, [output], name=name, **attributes(layer))]


def _channel_shuffle(layer: Layer, n: int, source: str, output: str) -> list[onnx.NodeProto]:
    """Channels as a matrix of groups, transposed; a side of 0 is kept, as is the batch."""
    from onnx import helper

    channels, height, width = layer.out_shape
    matrix = [0, layer.groups, channels // layer.groups, height, width]
    return [
        helper.make_node("Constant", [], [f"matrix{n}"], value_ints=matrix),
        helper.make_node("Constant", [], [f"shape{n}"], value_ints=[0, channels, height, width]),
        helper.make_node("Reshape", [source, f"matrix{n}"], [f"grouped{n}"]),
        helper.make_node("Transpose", [f"grouped{n}"], [f"dealt{n}"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", [f"dealt{n}", f"shape{n}"], [output], name=f"{layer.op}_{n}"),
    ]


def _tensor(position: int, last: int) -> str:
    if position == BLOCK_INPUT:
        return INPUT
    return OUTPUT if position == last else f"t{position}"


def _fill(tensor: onnx.TensorProto, name: str, values: Floats) -> None:
    tensor.name = name
    tensor.data_type = tensor.FLOAT
    tensor.dims.extend(values.shape)
    tensor.raw_data = values.tobytes()
