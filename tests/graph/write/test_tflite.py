"""TensorFlow Lite files: what they contain, and what they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latcast
from latcast.graph._layer import BlockBuilder
from latcast.graph._network import Network
from latcast.graph.write.tflite import to_tflite

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

CODES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if k[0] != "_"}


def network(shape, *steps) -> Network:
    """A chain of layers: ``(method of the builder, *arguments, options)``."""
    b = BlockBuilder("test", shape)
    for method, *arguments, options in steps:
        getattr(b, method)(*arguments, **options)
    return Network.from_blocks([b.build()], seed=2)


def contents(content: bytes):
    """Of every operator: its code, its fused activation and the name of the tensor it writes."""
    graph = schema.ModelT.InitFromPackedBuf(content)
    sub = graph.subgraphs[0]
    return [
        (
            CODES[graph.operatorCodes[x.opcodeIndex].builtinCode],
            ACTIVATIONS[getattr(x.builtinOptions, "fusedActivationFunction", 0)],
            sub.tensors[x.outputs[0]].name.decode(),
        )
        for x in sub.operators
    ]


def interpreter(net: Network, batch: int) -> Interpreter:
    made = Interpreter(model_content=to_tflite(net, batch), num_threads=1)
    made.allocate_tensors()
    return made


def run(net: Network, batch: int = 1) -> np.ndarray:
    """The output for ``net.inputs(batch)``, channels before height and width."""
    made = interpreter(net, batch)
    source, target = made.get_input_details()[0], made.get_output_details()[0]
    made.set_tensor(source["index"], np.ascontiguousarray(np.moveaxis(net.inputs(batch), 1, -1)))
    made.invoke()
    result = made.get_tensor(target["index"])
    return np.moveaxis(result, -1, 1) if result.ndim == 4 else result


def convolved(net: Network, batch: int) -> np.ndarray:
    """The only layer of ``net``, a convolution, as a sum over the taps of its kernel."""
    layer, parameters = net.layers[0], net.parameters[0]
    k, stride, (out, height, width) = layer.kernel_size, layer.stride, layer.out_shape
    p = k // 2
    x = np.pad(net.inputs(batch).astype(float), ((0, 0), (0, 0), (p, p), (p, p)))
    y = np.zeros((batch, out, height, width))
    inputs, outputs = layer.in_shape[0] // layer.groups, out // layer.groups
    for o in range(out):
        first = o // outputs * inputs
        for i, row, column in np.ndindex(inputs, k, k):
            seen = x[:, first + i, row:, column:][:, ::stride, ::stride][:, :height, :width]
            y[:, o] += parameters.weight[o, i, row, column] * seen
        y[:, o] += parameters.bias[o]
    return y


def windows(net: Network, batch: int, reduce: Callable) -> np.ndarray:
    """The only layer of ``net``, a pool: ``reduce`` of what its windows see of the image."""
    layer, x = net.layers[0], net.inputs(batch)
    k, pad = layer.kernel_size, (layer.kernel_size - 1) // 2
    want = np.empty((batch, *net.out_shape))
    for row, column in np.ndindex(net.out_shape[1:]):
        top, left = row * layer.stride - pad, column * layer.stride - pad
        window = x[:, :, max(top, 0) : top + k, max(left, 0) : left + k]
        want[:, :, row, column] = reduce(window, axis=(2, 3))
    return want


@settings(max_examples=120)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    batch=st.integers(1, 2),
    channels=st.sampled_from([(3, 5, 1), (4, 4, 1), (4, 4, 4), (1, 2, 1), (6, 4, 2), (4, 8, 4)]),
)
def test_convolutions_pad_like_ours(kernel_size, stride, height, width, batch, channels):
    inputs, outputs, groups = channels
    options = {"stride": stride, "groups": groups, "bias": True}
    net = network((inputs, height, width), ("conv", outputs, kernel_size, options))
    want = convolved(net, batch)
    got = run(net, batch)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "padded"),
    [(3, 1, 8, False), (3, 2, 9, False), (1, 2, 8, False), (3, 2, 8, True), (7, 2, 2, True)],
)
def test_padding_is_explicit_only_where_same_is_another(kernel_size, stride, side, padded):
    net = network((4, side, side), ("conv", 4, kernel_size, {"stride": stride}))
    assert [x[0] for x in contents(to_tflite(net))] == ["PAD"] * padded + ["CONV_2D"]


@pytest.mark.parametrize(
    ("op", "closed_form"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("h_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("h_sigmoid", lambda x: np.clip(x + 3, 0, 6) / 6),
        ("add", lambda x: x + x),
        ("scale", lambda x: x * x),
    ],
)
def test_elementwise_operators(op, closed_form):
    others = (-1,) if op in ("add", "scale") else ()
    net = network((5, 3, 4), ("elementwise", op, *others, {}))
    assert np.allclose(run(net, 2), closed_form(net.inputs(2)), atol=1e-6)


def test_pools_and_broadcast_products():
    net = network((5, 3, 4), ("pool", {}), ("elementwise", "scale", -1, {}))
    x = net.inputs(2)
    assert net.out_shape == (5, 3, 4)
    assert np.allclose(run(net, 2), x * x.mean(axis=(2, 3), keepdims=True), atol=1e-6)


def test_zeros_and_identities():
    assert not run(network((5, 3, 4), ("elementwise", "zero", {})), 2).any()
    net = network((5, 3, 4), ("elementwise", "identity", {}))
    assert np.array_equal(run(net, 2), net.inputs(2))
    assert [x[0] for x in contents(to_tflite(net))] == ["RESHAPE"]  # a network is no wire
    inside = network((5, 3, 4), ("elementwise", "identity", {}), ("elementwise", "relu", {}))
    assert [x[0] for x in contents(to_tflite(inside))] == ["RELU"]


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_channels_are_shuffled(groups):
    net = network((6, 3, 4), ("channel_shuffle", groups, {}))
    order = np.arange(6).reshape(groups, -1).T.ravel()
    assert np.array_equal(run(net, 2), net.inputs(2)[:, order])


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side"), [(3, 1, 5), (3, 2, 5), (2, 2, 6), (2, 2, 7), (5, 1, 4)]
)
@pytest.mark.parametrize("ceil", [False, True])
def test_average_pools_do_not_count_padding(kernel_size, stride, side, ceil):
    net = network((3, side, side), ("avg_pool", kernel_size, {"stride": stride, "ceil": ceil}))
    assert np.allclose(run(net, 2), windows(net, 2, np.mean), atol=1e-6)


@pytest.mark.parametrize(("kernel_size", "stride", "side"), [(3, 2, 6), (4, 1, 6)])
def test_average_pools_that_do_not_exist_are_named(kernel_size, stride, side):
    net = network((3, side, side), ("avg_pool", kernel_size, {"stride": stride}))
    with pytest.raises(ValueError, match="layer 0: TensorFlow Lite has no average pool"):
        to_tflite(net)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side", "padded"),
    [(3, 2, 5, 0), (3, 2, 6, 1), (3, 1, 4, 0), (2, 2, 6, 0), (2, 2, 7, 1), (5, 2, 8, 1)],
)
def test_max_pools_see_no_padding(kernel_size, stride, side, padded):
    net = network((3, side, side), ("max_pool", kernel_size, {"stride": stride}))
    assert np.array_equal(run(net, 2), windows(net, 2, np.max))
    assert [x[0] for x in contents(to_tflite(net))] == ["PADV2"] * padded + ["MAX_POOL_2D"]


def test_linear_layers_read_images_in_our_order():
    net = network((5, 3, 4), ("linear", 7, {}))
    weight, bias = net.parameters[0].weight, net.parameters[0].bias
    assert np.allclose(run(net, 2), net.inputs(2).reshape(2, -1) @ weight.T + bias, atol=1e-5)


def test_a_linear_layer_may_stand_inside_a_network():
    net = network((5, 3, 4), ("linear", 7, {}), ("conv", 6, 1, {}))
    (first, second) = net.parameters
    hidden = net.inputs(2).reshape(2, -1) @ first.weight.T + first.bias
    want = hidden @ second.weight[:, :, 0, 0].T + second.bias
    assert np.allclose(run(net, 2), want[:, :, None, None], atol=1e-5)


def test_activations_are_fused_where_nothing_else_reads_the_layer():
    b = BlockBuilder("fused", (4, 8, 8))
    b.conv(4, 3)
    first = b.elementwise("relu")  # fused: the only reader
    b.conv(4, 3, groups=4)
    b.elementwise("h_swish")  # no fused form
    shared = b.conv(4, 1)
    b.elementwise("relu6")  # not fused: the sum reads the convolution, too
    b.elementwise("add", shared)
    b.elementwise("relu6")  # fused
    b.elementwise("relu")  # not fused: an activation has one already
    b.elementwise("add", first)
    net = Network.from_blocks([b.build()])
    assert contents(to_tflite(net)) == [
        ("CONV_2D", "RELU", "conv_0"),
        ("DEPTHWISE_CONV_2D", "NONE", "depthwise_conv_2"),
        ("HARD_SWISH", "NONE", "h_swish_3"),
        ("CONV_2D", "NONE", "conv_4"),
        ("RELU6", "NONE", "relu6_5"),
        ("ADD", "RELU6", "add_6"),
        ("RELU", "NONE", "relu_8"),
        ("ADD", "NONE", "add_9"),
    ]


def test_an_activation_of_the_input_is_not_fused():
    net = network((4, 8, 8), ("elementwise", "relu", {}), ("conv", 4, 1, {}))
    assert [x[0] for x in contents(to_tflite(net))] == ["RELU", "CONV_2D"]


def test_values_are_aligned_and_equal():
    net = network((3, 9, 9), ("conv", 5, 3, {"bias": True}), ("linear", 7, {}))
    content = to_tflite(net)
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    values = {}
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        buffer = model.Buffers(tensor.Buffer())
        if not buffer.DataIsNone():
            data = buffer.DataAsNumpy()
            start = data.__array_interface__["data"][0]
            base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            assert (start - base) % 16 == 0
            assert data.size == 4 * np.prod(tensor.ShapeAsNumpy())
            values[tensor.Name()] = data.view(np.float32).reshape(tensor.ShapeAsNumpy())
    assert np.array_equal(values[b"weight_0"], net.parameters[0].weight.transpose(0, 2, 3, 1))
    assert np.array_equal(values[b"bias_1"], net.parameters[1].bias)


def test_xnnpack_takes_the_whole_of_a_sampled_network():
    space = latcast.space("ofa-mobilenet-v3-w1.0")
    made = interpreter(space.network(space.sample(1, seed=0, restrict={"r": [128]})), 1)
    delegates = [x for x in made._get_ops_details() if x["op_name"] == "DELEGATE"]
    assert len(delegates) == 1
    assert list(delegates[0]["outputs"]) == [made.get_output_details()[0]["index"]]
    constants = ("input", "weight_", "bias_", "pads_", "axes_", "three_", "sixth_")
    names = {x["index"]: x["name"] for x in made.get_tensor_details()}
    assert all(names[i].startswith(constants) for i in delegates[0]["inputs"])


def test_an_unknown_operator_is_named():
    net = network((3, 8, 8), ("elementwise", "erf", {}))
    with pytest.raises(ValueError, match="layer 0: operator 'erf' cannot be written"):
        to_tflite(net)
