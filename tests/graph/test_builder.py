"""What the builder builds: written as ONNX, run and compared with formulas, and read again."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from latcast.graph import Graph, GraphBuilder, chained
from latcast.graph.read.onnx import read_onnx
from latcast.graph.write.onnx import LATEST_OPSET, to_onnx

RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 6, 9, 7), dtype=np.float32)
TOKENS = RNG.standard_normal((2, 5, 12), dtype=np.float32)


def run(graph: Graph, x):
    """The output, which must be as the graph says, and so must be what a reader makes of it."""
    content = to_onnx(graph, graph.weights(), opset=LATEST_OPSET)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    y = session.run(None, {"input": x})[0]
    assert y.shape == graph.out_shape
    again = read_onnx(content)
    for ours, theirs in zip(graph.layers, again.layers, strict=True):
        for name in ("name", "op", "operator", "inputs", "in_shapes", "out_shapes", "params",
                     "window", "stride", "dilation", "groups", "order"):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), (ours.name, name)
        if ours.op not in ("relu6", "expand"):  # bounds and folded shapes are no work to a reader
            assert ours.param_bytes == theirs.param_bytes, ours.name
    assert again.macs == graph.macs
    return y


def build(write, x=IMAGE):
    """The output of what is written, and the values of its constants."""
    builder = GraphBuilder(batch=x.shape[0])
    graph = builder.build(write(builder, builder.input(*x.shape[1:])))
    return run(graph, x), [w for values in graph.weights() for w in values]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "h_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "h_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", FORMULAS)
def test_activations(kind, native):
    x = IMAGE * 4
    y, _ = build(lambda b, t: b.activation(t, kind, native=native), x)
    np.testing.assert_allclose(y, FORMULAS[kind](x), atol=1e-5, rtol=1e-4)


OTHERS = ("selu", "celu", "softsign", "exp", "reciprocal", "neg", "erf", "abs")


@pytest.mark.parametrize("kind", OTHERS)
def test_any_activation_of_the_table_can_be_built(kind):
    y, _ = build(lambda b, t: b.activation(t, kind))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("native", [True, False])
def test_layer_norm(native):
    y, weights = build(lambda b, t: b.layer_norm(t, native=native), TOKENS)
    scale, shift = (w for w in weights if w.shape == (12,))
    centered = TOKENS - TOKENS.mean(axis=-1, keepdims=True)
    normal = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, normal * scale + shift, atol=1e-5)


def test_attention():
    y, weights = build(lambda b, t: b.attention(t, 3), TOKENS)
    joint, joint_bias, last, last_bias = (w for w in weights if w.dtype == np.float32 and w.ndim)
    q, k, v = np.split(TOKENS @ joint + joint_bias, 3, axis=-1)
    heads = []
    for i in range(3):
        part = np.s_[..., 4 * i : 4 * i + 4]
        heads.append(softmax(q[part] @ k[part].swapaxes(1, 2) / 2) @ v[part])
    np.testing.assert_allclose(y, np.concatenate(heads, axis=-1) @ last + last_bias, atol=1e-5)


def test_channel_shuffle():
    y, _ = build(lambda b, t: b.channel_shuffle(t, 3))
    np.testing.assert_array_equal(y, IMAGE[:, [0, 2, 4, 1, 3, 5]])


def test_squeeze_excitation():
    y, weights = build(lambda b, t: b.squeeze_excitation(t, 2))
    w1, b1, w2, b2 = (w.squeeze() for w in weights)
    hidden = np.maximum(IMAGE.mean(axis=(2, 3)) @ w1.T + b1, 0)
    np.testing.assert_allclose(y, IMAGE * sigmoid(hidden @ w2.T + b2)[..., None, None], atol=1e-5)


def test_batch_norm():
    y, weights = build(lambda b, t: b.batch_norm(t))
    scale, shift, mean, variance = (w[:, None, None] for w in weights)
    assert variance.min() > 0
    np.testing.assert_allclose(
        y, (IMAGE - mean) / np.sqrt(variance + 1e-5) * scale + shift, atol=1e-5
    )


def test_batch_norm_counts_what_is_trained():
    b = GraphBuilder()
    b.batch_norm(b.input(6, 4, 4))
    assert (b.build().params, b.folded_params, b.build().macs) == (12, 0, 0)
    b = GraphBuilder()
    b.conv(b.input(6, 4, 4), 8, 3, norm=True)
    assert (b.build().params, b.folded_params) == (8 * 6 * 9 + 8, 8)


@pytest.mark.parametrize(
    ("options", "macs", "params"),
    [
        ({"kernel_size": 3}, 2 * 63 * 12 * 6 * 9, 12 * 6 * 9 + 12),
        ({"kernel_size": (1, 5)}, 2 * 63 * 12 * 6 * 5, 12 * 6 * 5 + 12),
        ({"kernel_size": 3, "stride": 2}, 2 * 20 * 12 * 6 * 9, 12 * 6 * 9 + 12),
        ({"kernel_size": 3, "groups": 3, "bias": False}, 2 * 63 * 12 * 2 * 9, 12 * 2 * 9),
        ({"kernel_size": 3, "dilation": 2}, 2 * 63 * 12 * 6 * 9, 12 * 6 * 9 + 12),
        ({"kernel_size": 4, "stride": 4, "padding": 0}, 2 * 2 * 12 * 6 * 16, 12 * 6 * 16 + 12),
        ({"kernel_size": 2}, 2 * 48 * 12 * 6 * 4, 12 * 6 * 4 + 12),
    ],
)
def test_convolutions(options, macs, params):
    b = GraphBuilder(batch=2)
    b.conv(b.input(6, 9, 7), 12, **options)
    run(b.build(), IMAGE)
    assert (b.build().macs, b.build().params) == (macs, params)


SHAPES = {
    "transposed convolution": lambda b, x: b.conv_transpose(x, 5, 2),
    "max pool, ceil": lambda b, x: b.max_pool(x, 2, stride=2, ceil=True),
    "max pool, ceil with padding": lambda b, x: b.max_pool(x, 3, stride=3, padding=1, ceil=True),
    "average pool": lambda b, x: b.avg_pool(x, 3, stride=2, padding=1),
    "mean": lambda b, x: b.mean(x, -1),
    "mean, kept": lambda b, x: b.mean(x, 2, keep=True),
    "pad": lambda b, x: b.pad(x, 2),
    "resize": lambda b, x: b.resize(x, 2),
    "resize, linear": lambda b, x: b.resize(x, 3, linear=True),
    "gather": lambda b, x: b.gather(x, 3, 1),
    "parts of a split, turned": lambda b, x: b.concat(b.split(x, [1, 2, 3])[::-1]),
    "concatenation": lambda b, x: b.concat([x, b.mean(x, 1, keep=True)]),
    "softmax": lambda b, x: b.softmax(x, axis=1),
    "instance norm": lambda b, x: b.instance_norm(x),
    "linear layer of a vector": lambda b, x: b.linear(b.flatten(x), 4, bias=False),
    "linear layer of rows": lambda b, x: b.linear(x, 4, bias=False),
    "broadcast": lambda b, x: b.add(b.mean(x, 1, keep=True), x),
    "expand": lambda b, x: b.expand(b.mean(x, 1, keep=True), *x.shape),
    "first node": lambda b, x: b.activation(x, "relu"),
}


@pytest.mark.parametrize("what", SHAPES)
def test_shapes_are_those_of_the_runtime(what):
    y, _ = build(SHAPES[what])
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda b, x: b.activation(x, "gelo"), "no activation is called 'gelo'; .* 'gelu'"),
        (lambda b, x: b.conv(x, 9, groups=4), "of the groups; got 6 in, 9 out and 4 groups"),
        (lambda b, x: b.conv(x, 9, 5, padding=0), "window of 5 must fit into a side of 4"),
        (lambda b, x: b.reshape(x, 1, 7), "as many elements"),
    ],
)
def test_what_cannot_be_is_told(write, message):
    b = GraphBuilder()
    with pytest.raises(ValueError, match=message):
        write(b, b.input(6, 4, 4))


def test_output_may_be_read_by_other_nodes():
    b = GraphBuilder(batch=2)
    x = b.activation(b.input(6, 9, 7), "relu")
    b.activation(x, "tanh")
    content = to_onnx(b.build(x))
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"input": IMAGE})
    np.testing.assert_array_equal(y, np.maximum(IMAGE, 0))


def test_what_is_no_network_is_told():
    b = GraphBuilder()
    with pytest.raises(ValueError, match="at least one layer"):
        b.build()
    parts = b.split(b.input(6, 4, 4), [2, 4])
    with pytest.raises(ValueError, match="must be the first one of a layer"):
        b.build(parts[1])
    with pytest.raises(ValueError, match="batch must be at least 1; got 0"):
        GraphBuilder(0)
    read = Graph.from_json(b.build(parts[0]).to_json())
    assert to_onnx(read)  # a split has no constants that count
    b.conv(parts[0], 3)
    with pytest.raises(ValueError, match="layer 1, 'conv_1', must have its constants"):
        to_onnx(Graph.from_json(b.build().to_json()))


def test_weights_are_he_uniform():
    def write(b, x):
        return b.linear(b.activation(b.linear(x, 3000), "relu"), 5)

    _, weights = build(write, RNG.standard_normal((1, 500), dtype=np.float32))
    first, second = (w for w in weights if w.ndim == 2)
    assert first.std() == pytest.approx(math.sqrt(2 / 500), rel=0.01)
    assert np.abs(first).max() == pytest.approx(math.sqrt(6 / 500), rel=0.01)
    assert second.std() == pytest.approx(math.sqrt(1 / 3000), rel=0.03)
    # Numbers are taken from one pool, but no row is another's.
    assert len(np.unique(first[:, 0])) > 2990


def test_activations_neither_vanish_nor_grow():
    def write(b, x):
        for _ in range(40):
            x = b.activation(b.conv(x, 32, 3), "relu")
        return x

    y, _ = build(write, RNG.standard_normal((1, 3, 16, 16), dtype=np.float32))
    assert 1e-2 < y.std() < 1e2


def test_blocks_are_joined():
    shapes = GraphBuilder(name="sum")
    addition = shapes.build(shapes.add(shapes.input(6, 9, 7), shapes.input(6, 9, 7)))
    b = GraphBuilder(batch=2)
    x = b.input(6, 9, 7)
    y = b.activation(x, "relu")
    both = b.extend(addition.with_batch(2), x, y)
    b.extend(addition.with_batch(2), both)
    graph = b.build()
    assert [layer.inputs for layer in graph.layers] == [(-1,), (-1, 0), (1, 1)]
    assert [layer.name for layer in graph.layers] == ["relu_0", "add_1", "add_2"]
    np.testing.assert_allclose(run(graph, IMAGE), 2 * (IMAGE + np.maximum(IMAGE, 0)))
    with pytest.raises(ValueError, match=r"block 'sum' must read .* \(2, 6, 9, 7\); it reads \(1"):
        b.extend(addition, x)


def test_folding_leaves_out_batch_norms_of_convolutions():
    b = GraphBuilder()
    x = b.input(6, 9, 7)
    y = b.batch_norm(b.conv(x, 6, 3, bias=False))
    shared = b.conv(b.activation(y, "relu"), 6, bias=False)
    b.add(b.batch_norm(shared), shared)  # reads the convolution before the norm, too
    graph = b.build().folded
    assert [layer.name for layer in graph.layers] == [
        "conv_0", "relu_1", "conv_2", "depthwise_conv_3", "add_4"
    ]  # fmt: skip
    assert [layer.inputs for layer in graph.layers] == [(-1,), (0,), (1,), (2,), (3, 2)]
    assert [len(layer.constants) for layer in graph.layers] == [2, 0, 1, 2, 0]
    assert graph.params == 6 * 6 * 9 + 6 + 6 * 6 + 6 + 6
    run(graph, IMAGE[:1])


def test_seeds_decide_the_weights():
    b = GraphBuilder()
    b.conv(b.input(3, 8, 8), 4, 3)
    graph = b.build()
    one, again, other = (to_onnx(graph, graph.weights(seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_an_open_batch_takes_any():
    b = GraphBuilder()
    b.linear(b.flatten(b.channel_shuffle(b.input(6, 9, 7), 3)), 4)
    content = to_onnx(b.build(), open_batch=True)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.run(None, {"input": IMAGE})[0].shape == (2, 4)


def test_what_cannot_be_chained_is_told():
    b = GraphBuilder(name="first")
    b.conv(b.input(3, 8, 8), 4)
    with pytest.raises(ValueError, match=r"block 'first' must read .*, \(1, 4, 8, 8\); it reads"):
        chained([b.build(), b.build()])
    with pytest.raises(ValueError, match="at least one block"):
        chained([])
