"""ncnn's files: what they contain, and what they compute."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.graph._layer import BlockBuilder
from latcast.graph._network import Network
from latcast.graph.write.ncnn import to_ncnn

ncnn = pytest.importorskip("ncnn")


def network(shape, *steps) -> Network:
    """A chain of layers: ``(method of the builder, *arguments, options)``."""
    b = BlockBuilder("test", shape)
    for method, *arguments, options in steps:
        getattr(b, method)(*arguments, **options)
    return Network.from_blocks([b.build()], seed=2)


def contents(net: Network) -> list[str]:
    """The graph's lines: kind, name, numbers of inputs and outputs, blobs, arguments."""
    magic, counts, *lines = to_ncnn(net)[0].splitlines()
    assert magic == "7767517"
    outputs = sum(int(x.split()[3]) for x in lines)
    assert counts == f"{len(lines)} {outputs}"
    return [x.strip() for x in lines]


def run(net: Network) -> np.ndarray:
    """The output for ``net.inputs(1)``, without the batch; a vector where ncnn has one."""
    graph, weights = to_ncnn(net)
    made = ncnn.Net()
    made.opt.num_threads = 1
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(made.opt, option, False)
    assert made.load_param_mem(graph) == 0
    made.load_model_mem(weights)
    extractor = made.create_extractor()
    x = net.inputs(1)[0]
    extractor.input("input", ncnn.Mat(x).clone())  # a Mat does not keep its array alive
    code, result = extractor.extract("output")
    assert code == 0
    return np.array(result)


def convolved(net: Network) -> np.ndarray:
    """The only layer of ``net``, a convolution, as a sum over the taps of its kernel."""
    layer, parameters = net.layers[0], net.parameters[0]
    k, stride, (out, height, width) = layer.kernel_size, layer.stride, layer.out_shape
    p = k // 2
    x = np.pad(net.inputs(1)[0].astype(float), ((0, 0), (p, p), (p, p)))
    y = np.zeros((out, height, width))
    inputs, outputs = layer.in_shape[0] // layer.groups, out // layer.groups
    for o in range(out):
        first = o // outputs * inputs
        for i, row, column in np.ndindex(inputs, k, k):
            seen = x[first + i, row:, column:][::stride, ::stride][:height, :width]
            y[o] += parameters.weight[o, i, row, column] * seen
        y[o] += parameters.bias[o]
    return y


@settings(max_examples=200)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.sampled_from(
        [(3, 5, 1), (4, 4, 1), (16, 16, 1), (4, 4, 4), (16, 16, 16), (6, 4, 2), (16, 32, 4)]
    ),
)
def test_convolutions_pad_like_ours(kernel_size, stride, height, width, channels):
    inputs, outputs, groups = channels
    options = {"stride": stride, "groups": groups, "bias": True}
    net = network((inputs, height, width), ("conv", outputs, kernel_size, options))
    want = convolved(net)
    got = run(net)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


ELEMENTWISE = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "h_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "h_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "add": lambda x: x + x,
    "scale": lambda x: x * x,
    "zero": lambda x: 0 * x,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_elementwise_operators(op):
    others = (-1,) if op in ("add", "scale") else ()
    net = network((5, 3, 4), ("elementwise", op, *others, {}))
    assert np.allclose(run(net), ELEMENTWISE[op](net.inputs(1)[0]), atol=1e-6)


def test_an_identity_inside_a_network_is_no_layer():
    net = network((5, 3, 4), ("elementwise", "identity", {}), ("elementwise", "relu", {}))
    assert [x.split()[0] for x in contents(net)] == ["Input", "ReLU"]


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("before", [[], [("pool", {})]])
def test_channels_are_shuffled(groups, before):
    net = network((6, 3, 4), *before, ("channel_shuffle", groups, {}))
    x = net.inputs(1)[0]
    x = x.mean(axis=(1, 2), keepdims=True) if before else x
    order = np.arange(6).reshape(groups, -1).T.ravel()
    assert np.allclose(run(net).reshape(x.shape), x[order], atol=1e-6)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "side"),
    [(3, 1, 5), (3, 2, 5), (3, 2, 6), (2, 2, 6), (2, 2, 7), (4, 1, 6), (5, 1, 4)],
)
@pytest.mark.parametrize(
    ("method", "options", "reduce"),
    [
        ("avg_pool", {}, np.mean), ("avg_pool", {"ceil": True}, np.mean), ("max_pool", {}, np.max)
    ],
)  # fmt: skip
def test_pools_do_not_count_padding(kernel_size, stride, side, method, options, reduce):
    net = network((16, side, side), (method, kernel_size, {"stride": stride, **options}))
    x, pad = net.inputs(1)[0], (kernel_size - 1) // 2
    want = np.empty(net.out_shape)
    for row, column in np.ndindex(net.out_shape[1:]):
        top, left = row * stride - pad, column * stride - pad
        window = x[:, max(top, 0) : top + kernel_size, max(left, 0) : left + kernel_size]
        want[:, row, column] = reduce(window, axis=(1, 2))
    assert np.allclose(run(net), want, atol=1e-6)


@pytest.mark.parametrize("op", ["relu", "relu6", "h_swish"])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("side", [1, 6])
def test_fused_activations_are_the_same_functions(op, groups, side):
    conv = ("conv", 8, 3, {"groups": groups, "bias": True})
    net = network((8, side, side), conv, ("elementwise", op, {}))
    assert np.allclose(run(net), ELEMENTWISE[op](convolved(net)), atol=1e-5)
    assert len(contents(net)) == 2


@pytest.mark.parametrize("channels", [1, 4, 5, 16])
def test_pools_and_broadcast_products(channels):
    net = network((channels, 3, 4), ("pool", {}), ("elementwise", "scale", -1, {}))
    x = net.inputs(1)[0]
    assert np.allclose(run(net), x * x.mean(axis=(1, 2), keepdims=True), atol=1e-6)


def test_a_product_is_by_channel_also_where_the_width_is_the_same_number():
    net = network((4, 4, 4), ("pool", {}), ("elementwise", "scale", -1, {}))
    x = net.inputs(1)[0]
    assert np.allclose(run(net), x * x.mean(axis=(1, 2), keepdims=True), atol=1e-6)


def test_linear_layers_read_images_in_our_order():
    net = network((5, 3, 4), ("linear", 7, {}))
    weight, bias = net.parameters[0].weight, net.parameters[0].bias
    assert np.allclose(run(net), weight @ net.inputs(1).ravel() + bias, atol=1e-5)


def test_convolutions_of_a_vector_are_products_with_a_matrix():
    net = network((8, 3, 4), ("pool", {}), ("conv", 6, 1, {"bias": True}), ("conv", 5, 1, {}))
    first, second = net.parameters[1:]
    hidden = first.weight[:, :, 0, 0] @ net.inputs(1)[0].mean(axis=(1, 2)) + first.bias
    assert np.allclose(run(net), second.weight[:, :, 0, 0] @ hidden, atol=1e-5)
    kinds = [x.split()[0] for x in contents(net)]
    assert kinds == ["Input", "Pooling", "InnerProduct", "InnerProduct"]


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_other_convolutions_and_pools_of_a_vector_get_an_image(groups):
    conv = ("conv", 8, 3, {"groups": groups})
    net = network((8, 3, 4), ("pool", {}), conv, ("pool", {}), ("pool", {}))
    middle = net.parameters[1].weight[:, :, 1, 1]  # all that one pixel meets
    mean = net.inputs(1)[0].mean(axis=(1, 2)).reshape(groups, -1)
    want = np.einsum("goi,gi->go", middle.reshape(groups, -1, middle.shape[1]), mean)
    assert np.allclose(run(net), want.ravel(), atol=1e-5)


def test_the_graph_is_that_of_the_optimizer():
    b = BlockBuilder("fused", (4, 9, 8))
    b.conv(4, 3, stride=2, bias=True)
    first = b.elementwise("relu")  # fused: the only reader
    b.conv(4, 5, groups=4)
    b.elementwise("h_swish")  # fused
    shared = b.conv(4, 1)
    b.elementwise("relu6")  # not fused: the sum reads the convolution, too
    b.elementwise("add", shared)
    b.elementwise("relu6")  # not fused: sums have no activation in ncnn
    b.elementwise("add", first)
    b.pool()
    b.linear(3)
    b.elementwise("relu6")  # fused; the output
    depthwise, h_swish = "0=4 1=5 3=1 4=2 5=1 6=100 7=4", "9=6 -23310=2,0.16666667,0.5"
    assert contents(Network.from_blocks([b.build()])) == [
        "Input input 0 1 input 0=8 1=9 2=4",
        "Convolution conv_0 1 1 input t1 0=4 1=3 3=2 4=1 5=1 6=144 9=1",
        "Split split_t1 1 2 t1 t1_0 t1_1",
        f"ConvolutionDepthWise depthwise_conv_2 1 1 t1_0 t3 {depthwise} {h_swish}",
        "Convolution conv_4 1 1 t3 t4 0=4 1=1 3=1 4=0 5=1 6=16",
        "Split split_t4 1 2 t4 t4_0 t4_1",
        "Clip relu6_5 1 1 t4_0 t5 0=0.0 1=6.0",
        "BinaryOp add_6 2 1 t5 t4_1 t6 0=0",
        "Clip relu6_7 1 1 t6 t7 0=0.0 1=6.0",
        "BinaryOp add_8 2 1 t7 t1_1 t8 0=0",
        "Pooling global_pool_9 1 1 t8 t9 0=1 4=1",
        "InnerProduct linear_10 1 1 t9 output 0=3 1=1 2=12 9=3 -23310=2,0.0,6.0",
    ]


def test_an_activation_of_the_input_is_not_fused_and_leaves_the_input_alone():
    b = BlockBuilder("input", (4, 8, 8))
    b.elementwise("relu")
    b.elementwise("add", -1)
    net = Network.from_blocks([b.build()])
    x = net.inputs(1)[0]
    assert np.allclose(run(net), np.maximum(x, 0) + x)


def test_weights_follow_each_other_in_the_order_of_the_graph():
    net = network((3, 9, 9), ("conv", 5, 3, {"bias": True}), ("linear", 7, {}))
    want = b"".join(bytes(4) + p.weight.tobytes() + p.bias.tobytes() for p in net.parameters)
    assert to_ncnn(net)[1] == want


def test_an_unknown_operator_is_named():
    net = network((3, 8, 8), ("elementwise", "erf", {}))
    with pytest.raises(ValueError, match="layer 0: operator 'erf' cannot be written"):
        to_ncnn(net)
