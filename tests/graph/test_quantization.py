"""Quantized networks: kernels as ONNX Runtime makes them, widths, and a file's precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from latcast import load
from latcast.graph import KERNEL_FACTS, Graph, dequantized, kernel_facts, kernel_label
from latcast.graph.read.onnx import read_onnx
from latcast.networks import working_kernels

MAP, TOKENS = (1, 16, 14, 14), (1, 8, 64)


class Net:
    """An ONNX model of one input ``x``, written node by node; methods give names of values."""

    def __init__(self, zero: int = 0, kind: Any = np.uint8) -> None:
        self._zero, self._kind = zero, kind
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def packed(self, kind: int, *shape: int) -> str:
        """A constant of a type that numpy lacks, of zeros."""
        bits = 4 if kind in (TensorProto.INT4, TensorProto.UINT4) else 16
        content = bytes(int(np.prod(shape)) * bits // 8)
        name = f"c{len(self._constants)}"
        self._constants.append(helper.make_tensor(name, kind, shape, content, raw=True))
        return name

    def op(self, kind: str, *reads: str, outputs: int = 1, **attributes: Any) -> str:
        out = f"{kind}_{len(self._nodes)}"
        names = [out, *(f"{out}_{n}" for n in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, reads, names, out, **attributes))
        return out

    def _grid(self, scale: float) -> tuple[str, str]:
        return self.constant(np.float32(scale)), self.constant(np.array(self._zero, self._kind))

    def q(self, x: str, scale: float = 0.02) -> str:
        return self.op("QuantizeLinear", x, *self._grid(scale))

    def dq(self, x: str, scale: float = 0.02) -> str:
        return self.op("DequantizeLinear", x, *self._grid(scale))

    def qdq(self, x: str, scale: float = 0.02) -> str:
        return self.dq(self.q(x, scale), scale)

    def weights(self, *shape: int, axis: int | None = None, kind: Any = np.int8) -> str:
        """Dequantized weights of ones, with a scale for each channel of ``axis`` or one for all."""
        of = () if axis is None else (shape[axis],)
        grid = self.constant(np.full(of, 0.01, np.float32)), self.constant(np.zeros(of, kind))
        more = {} if axis is None else {"axis": axis}
        return self.op("DequantizeLinear", self.constant(np.ones(shape, kind)), *grid, **more)

    def conv(self, x: str, *bias: str, kernel: int = 3, axis: int | None = None) -> str:
        weights = self.weights(16, 16, kernel, kernel, axis=axis)
        return self.op("Conv", x, weights, *bias, pads=[kernel // 2] * 4)

    def dynamic(self, x: str, out: int = 32, *, by: str = "", kind: str = "MatMulInteger") -> str:
        """A product with weights, or with ``by``, of integers by their own ranges, scaled."""
        whole = self.op("DynamicQuantizeLinear", x, outputs=3)
        if by:
            right = self.op("DynamicQuantizeLinear", by, outputs=3)
            reads, scale = (right, f"{right}_2"), f"{right}_1"
        else:
            shape = (16, 16, 3, 3) if kind == "ConvInteger" else (64, out)
            zero = self.constant(np.zeros((), np.uint8))
            reads = self.constant(np.ones(shape, np.uint8)), zero
            scale = self.constant(np.float32(0.01))
        return self.scaled(whole, reads, scale, kind)

    def scaled(self, whole: str, reads: tuple[str, str], scale: str, kind: str) -> str:
        product = self.op(kind, whole, reads[0], f"{whole}_2", reads[1])
        scales = self.op("Mul", f"{whole}_1", scale)
        return self.op("Mul", self.op("Cast", product, to=TensorProto.FLOAT), scales)

    def model(self, shape: tuple[int, ...], *outputs: str, kind: int = 1) -> bytes:
        infos = [helper.make_tensor_value_info("x", kind, shape)]
        outs = [helper.make_tensor_value_info(x, kind, None) for x in outputs]
        graph = helper.make_graph(self._nodes, "g", infos, outs, self._constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


Pattern = Callable[[Net], str]


def _add(b: Net) -> str:
    x = b.qdq("x")
    return b.qdq(b.op("Relu", b.op("Add", x, b.qdq(b.conv(x)))))


def _bias(b: Net) -> str:
    grid = b.constant(np.float32(0.0002)), b.constant(np.int32(0))
    return b.op("DequantizeLinear", b.constant(np.ones(16, np.int32)), *grid)


def _norm(b: Net) -> str:
    ones = [b.constant(np.ones(16, np.float32)) for _ in range(4)]
    return b.qdq(b.op("BatchNormalization", b.conv(b.qdq("x")), *ones))


def _halves(b: Net) -> str:
    x = b.op("Split", b.qdq("x"), outputs=2, axis=1, num_outputs=2)
    return b.qdq(b.op("Mul", b.qdq(x), b.qdq(f"{x}_1")))


def _pools(b: Net) -> str:
    x = b.qdq(b.op("MaxPool", b.qdq("x"), kernel_shape=[2, 2]))
    x = b.qdq(b.op("AveragePool", x, kernel_shape=[2, 2]))
    return b.qdq(b.op("Flatten", b.qdq(b.op("GlobalAveragePool", x))))


def _where(b: Net) -> str:
    x = b.qdq("x")
    return b.qdq(b.op("Where", b.op("Greater", x, b.constant(np.float32(0))), x, x))


def _vector(b: Net, length: int) -> str:
    return b.constant(np.ones(length, np.float32))


def _shared(b: Net) -> str:
    whole, zero = b.op("DynamicQuantizeLinear", "x", outputs=3), b.constant(np.zeros((), np.int8))
    weights = [(b.constant(np.full((64, 32), n, np.int8)), zero) for n in (1, 2)]
    scales = [b.constant(np.float32(0.01 * n)) for n in (1, 2)]
    products = [b.scaled(whole, *x, "MatMulInteger") for x in zip(weights, scales, strict=True)]
    return b.op("Sub", *(b.op("Add", x, _vector(b, 32)) for x in products))


def _lstm(b: Net) -> str:
    weights = [b.constant(np.ones((1, 64 if n == 0 else 16, 64), np.int8)) for n in range(2)]
    grids = [
        b.constant(x) for _ in range(2) for x in (np.ones(1, np.float32), np.zeros(1, np.int8))
    ]
    return b.op("DynamicQuantizeLSTM", "x", *weights, "", "", "", "", "", *grids, hidden_size=16,
                domain="com.microsoft")  # fmt: skip


def _on_integers(b: Net, kind: str, *reads: str, **attributes: Any) -> str:
    """A node that reads integers, a scale and a zero point for each, and those of its output."""
    grid = b.constant(np.float32(0.02)), b.constant(np.zeros((), np.uint8))
    given = [x for read in reads for x in (read, *grid)]
    return b.op(kind, *given, *grid, **attributes)


def _operators(b: Net) -> str:
    weights = b.constant(np.ones((16, 16, 3, 3), np.uint8))
    x = _on_integers(b, "QLinearConv", b.q("x"), weights, pads=[1] * 4)
    y = _on_integers(b, "QLinearSigmoid", x, domain="com.microsoft")
    x = _on_integers(b, "QLinearMul", x, y, domain="com.microsoft")
    x = _on_integers(b, "QLinearGlobalAveragePool", x, domain="com.microsoft")
    return b.dq(b.op("Reshape", x, b.constant(np.array([1, 16]))))


def _products(b: Net) -> str:
    weights = b.constant(np.ones((64, 64), np.uint8))
    x = _on_integers(b, "QLinearMatMul", b.q("x"), weights)
    x = b.op("Reshape", x, b.constant(np.array([8, 64])))
    grid = b.constant(np.float32(0.02)), b.constant(np.zeros((), np.uint8))
    out = b.op("QGemm", x, *grid, weights, *grid, "", *grid, domain="com.microsoft")
    return b.op("Softmax", b.dq(out))


def _enlarged(b: Net, mode: str) -> str:
    sizes = b.constant(np.array([1, 1, 2, 2], np.float32))
    return b.qdq(b.op("Resize", b.qdq("x"), "", sizes, mode=mode))


def _gelu(b: Net) -> str:
    x, one = b.qdq("x"), b.constant(np.float32(1))
    part = b.op("Add", b.op("Erf", b.op("Div", x, b.constant(np.float32(1.4142)))), one)
    return b.op("Mul", b.op("Mul", x, part), b.constant(np.float32(0.5)))


def _half(b: Net) -> str:
    """A product and a sum of half precision, between casts."""
    half = TensorProto.FLOAT16
    x = b.op("MatMul", b.op("Cast", "x", to=half), b.packed(half, 64, 32))
    x = b.op("Add", b.op("Erf", x), b.constant(np.ones(32, np.float16)))
    return b.op("Cast", x, to=TensorProto.FLOAT)


def _squeezed(b: Net) -> str:
    few = b.qdq(b.op("Conv", b.qdq(b.op("GlobalAveragePool", b.qdq("x"))), b.weights(4, 16, 1, 1)))
    return b.qdq(b.op("Conv", few, b.weights(16, 4, 1, 1), _bias(b)))


def _sliced(b: Net) -> str:
    x, axis = b.qdq("x"), b.constant(np.array([1]))
    at = [b.constant(np.array([n])) for n in (0, 8, 16)]
    parts = [b.op("Slice", x, *at[n : n + 2], axis) for n in range(2)]
    return b.qdq(b.op("Mul", *map(b.qdq, parts)))


def _packed(b: Net) -> str:
    scales = b.constant(np.ones((2, 32), np.float32))
    w = b.packed(TensorProto.INT4, 64, 32)
    bias = b.constant(np.ones(32, np.float32))
    product = b.op("MatMul", "x", b.op("DequantizeLinear", w, scales, block_size=32, axis=0))
    return b.op("Add", product, bias)


# What it is -> how it is written, the shape of its input, our kernels (a star is one on integers),
# and how many nodes ONNX Runtime runs: layouts and views apart, each dequantization of constants
# counted, which we count with what reads them.
PATTERNS: dict[str, tuple[Pattern, tuple[int, ...], str, int]] = {
    "a convolution": (lambda b: b.qdq(b.conv(b.qdq("x"), _bias(b))), MAP, "q conv* dq", 3),
    "scales a channel": (lambda b: b.qdq(b.conv(b.qdq("x"), axis=0)), MAP, "q conv* dq", 3),
    "its ReLU is done by the zero point": (
        lambda b: b.qdq(b.op("Relu", b.conv(b.qdq("x")))), MAP, "q conv* dq", 3),
    "its ReLU6 likewise": (
        lambda b: b.qdq(b.op("Clip", b.conv(b.qdq("x")), b.constant(np.float32(0)),
                             b.constant(np.float32(6))), 6 / 255), MAP, "q conv* dq", 3),
    "nothing quantizes its output": (lambda b: b.conv(b.qdq("x")), MAP, "q dq dq+conv", 4),
    "weights alone": (lambda b: b.conv("x"), MAP, "dq+conv", 2),
    "a norm cannot go into quantized weights": (_norm, MAP, "q dq dq+conv batch_norm q dq", 7),
    "a residual": (_add, MAP, "q conv* add* dq", 4),
    "several read one quantization": (
        lambda b: b.op("Add", b.op("Erf", (x := b.qdq("x"))), b.qdq(b.conv(x))), MAP,
        "q dq conv* dq erf add", 6),
    "pools and views": (_pools, MAP, "q max_pool* avg_pool* global_pool* dq", 5),
    "a pool of another scale": (
        lambda b: b.qdq(b.op("MaxPool", b.qdq("x"), kernel_shape=[2, 2]), 0.03), MAP,
        "q dq max_pool q dq", 5),
    "parts": (_halves, MAP, "q split* mul* dq", 4),
    "a choice": (_where, MAP, "q dq compare where* dq", 5),
    "activations with and without a kernel": (
        lambda b: b.qdq(b.op("Tanh", b.qdq(b.op("Sigmoid", b.qdq("x"))))), MAP,
        "q sigmoid* dq tanh q dq", 6),
    "a transpose before a product": (
        lambda b: b.qdq(b.op("MatMul", b.op("Transpose", b.qdq("x"), perm=[0, 2, 1]),
                             b.weights(8, 8))), TOKENS, "q transpose* linear* dq", 4),
    "a product": (lambda b: b.qdq(b.op("MatMul", b.qdq("x"), b.weights(64, 32))), TOKENS,
                  "q linear* dq", 3),
    "a product that gives floats": (
        lambda b: b.op("Gelu", b.op("MatMul", b.qdq("x"), b.weights(64, 32))), TOKENS,
        "q linear* gelu", 3),
    "a product of two activations": (
        lambda b: b.qdq(b.op("MatMul", (x := b.qdq("x")), b.op("Transpose", x, perm=[0, 2, 1]))),
        TOKENS, "q transpose* matmul* dq", 4),
    "quantized twice": (lambda b: b.qdq(b.conv(b.qdq(b.qdq("x", 0.03)))), MAP, "q conv* dq", 3),
    "weights of 4 bits in blocks": (_packed, TOKENS, "linear+add", 1),
    "a product by its own range": (lambda b: b.dynamic("x"), TOKENS, "q+linear*", 1),
    "with a bias": (
        lambda b: b.op("Relu", b.op("Add", b.dynamic("x"), _vector(b, 32))), TOKENS,
        "q+linear+add* relu", 2),
    "a sum with one number is no bias": (
        lambda b: b.op("Add", b.dynamic("x"), _vector(b, 1)), TOKENS, "q+linear* add", 2),
    "several products of one quantization": (
        _shared, TOKENS, "q linear+add* linear+add* sub", 4),
    "a product of two activations by their own ranges": (
        lambda b: b.dynamic("x", by=b.op("Transpose", "x", perm=[0, 2, 1])), TOKENS,
        "transpose q q+matmul*", 3),
    "a convolution by its own range": (
        lambda b: b.op("Relu", b.dynamic("x", kind="ConvInteger")), MAP,
        "q mul conv* cast mul relu", 6),
    "an LSTM by its own range": (_lstm, TOKENS, "lstm", 1),
    "operators on integers": (_operators, MAP, "q conv* sigmoid* mul* global_pool* dq", 6),
    "products on integers": (_products, TOKENS, "q linear* linear* dq softmax", 5),
    "a resize that repeats": (lambda b: _enlarged(b, "nearest"), MAP, "q resize* dq", 3),
    "a resize that interpolates": (lambda b: _enlarged(b, "linear"), MAP, "q dq resize q dq", 5),
    "a constant of another type": (
        lambda b: b.qdq(b.op("Add", b.qdq("x"), b.weights(14))), MAP, "q dq dq+add q dq", 6),
    "a constant of the same type": (
        lambda b: b.qdq(b.op("Add", b.qdq("x"), b.weights(14, kind=np.uint8))), MAP,
        "q add* dq", 3),
    "each reads a dequantization of its own": (
        lambda b: b.op("Sub", b.op("Erf", (x := b.qdq("x"))), b.op("Tanh", x)), MAP,
        "q dq dq erf tanh sub", 6),
    "which a GELU does not": (_gelu, MAP, "q dq dq div erf add mul mul", 8),
    "integers are moved first": (
        lambda b: b.op("Erf", b.op("Transpose", b.qdq("x"), perm=[0, 2, 1])), TOKENS,
        "q transpose* dq erf", 4),
    "half precision in single": (
        _half, TOKENS, "linear erf add cast", 4),
    "slices that make up a tensor": (_sliced, MAP, "q slice+slice* mul* dq", 4),
    "a bias of more bytes than the weights": (
        _squeezed, MAP, "q global_pool* conv* conv* dq", 5),
    "a bias of floats": (
        lambda b: b.qdq(b.op("Add", b.op("MatMul", b.qdq("x"), b.weights(64, 32)),
                             _vector(b, 32))), TOKENS, "q linear+add* dq", 3),
    "a sum behind weights alone": (
        lambda b: b.op("Add", b.conv("x"), b.op("Erf", "x")), MAP, "dq+conv erf add", 4),
    "weights that are not turned": (
        lambda b: b.op("Relu", b.op("Gemm", "x", b.weights(64, 32), _vector(b, 32))), (8, 64),
        "linear relu", 2),
    "weights that are turned": (
        lambda b: b.op("Gemm", "x", b.weights(32, 64), transB=1), (8, 64), "dq+linear", 2),
    "weights of 8 bits": (lambda b: b.op("MatMul", "x", b.weights(64, 32)), TOKENS, "linear", 1),
}  # fmt: skip


def _kernels(graph: Graph) -> list[str]:
    short = {"quantize": "q", "dequantize": "dq"}
    return [
        "+".join(short.get(op, op) for op in kernel_label(graph, k).split("+")) + "*" * k.quantized
        for k in working_kernels(graph)
        for _ in range(k.times)
    ]


@pytest.mark.parametrize("name", PATTERNS)
def test_pairs_join_their_kernel_as_onnx_runtime_joins_them(name: str, tmp_path: Path) -> None:
    write, shape, expected, nodes = PATTERNS[name]
    net = Net()
    model = net.model(shape, write(net))
    assert sorted(_kernels(read_onnx(model))) == sorted(expected.split())
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = [x.op_type for x in onnx.load(options.optimized_model_filepath).graph.node]
    layouts = {"Transpose", "ReorderInput", "ReorderOutput", "Reshape", "Flatten"}
    kept = [x for x in found if x not in layouts or (x == "Transpose" and "transpose" in expected)]
    assert len(kept) == nodes, found


def test_signed_activations_with_a_zero_of_0_rectify_nothing() -> None:
    net = Net(0, np.int8)
    model = net.model(MAP, net.qdq(net.op("Relu", net.conv(net.qdq("x")))))
    assert _kernels(read_onnx(model)) == ["q", "dq", "dq+conv+relu", "q", "dq"]


def test_what_reads_signed_and_writes_unsigned_integers_is_not_joined() -> None:
    # ONNX Runtime makes those unsigned on x86 that one kernel reads.
    net = Net(0, np.int8)
    x = net.qdq("x")
    model = net.model(MAP, net.op("Tanh", x), net.op("Erf", net.qdq(net.conv(x))))
    assert "dq+conv" in _kernels(read_onnx(model))


def _facts(graph: Graph, kernel: str) -> dict[str, float]:
    kernels = working_kernels(graph)
    at = _kernels(graph).index(kernel)
    return dict(zip(KERNEL_FACTS, kernel_facts(graph, kernels)[at], strict=True))


@pytest.mark.parametrize(
    ("name", "kernel", "read", "written", "constants"),
    [
        # Weights with a scale and a zero point a channel; a bias of 32 bits with its own.
        ("scales a channel", "conv*", 3136, 3136, 16 * 16 * 9 + 16 * 5),
        ("a convolution", "conv*", 3136, 3136, 16 * 16 * 9 + 5 + 16 * 4 + 8),
        ("a residual", "add*", 2 * 3136, 3136, 0),
        ("a product that gives floats", "linear*", 512, 4 * 256, 64 * 32 + 5),
        # Dequantized in every pass: written and read again as floats.
        ("weights alone", "dq+conv", 4 * 3136, 4 * 3136, (16 * 16 * 9 + 5) * (1 + 2 * 4)),
        ("weights of 4 bits in blocks", "linear+add", 2048, 1024, 64 * 32 // 2 + 256 + 128),
        ("a residual", "q", 4 * 3136, 3136, 5),
        ("a residual", "dq", 3136, 4 * 3136, 5),
        ("parts", "split*", 3136, 3136, 0),
    ],
)
def test_kernels_move_what_is_held(
    name: str, kernel: str, read: int, written: int, constants: int
) -> None:
    write, shape, _, _ = PATTERNS[name]
    net = Net()
    facts = _facts(read_onnx(net.model(shape, write(net))), kernel)
    assert (facts["read_bytes"], facts["write_bytes"]) == (read, written)
    assert facts["param_bytes"] == constants


@pytest.mark.parametrize(
    ("kind", "precision"), [(TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")]
)
def test_half_precision_is_two_bytes(kind: int, precision: str) -> None:
    net = Net()
    out = net.op("MatMul", "x", net.packed(kind, 64, 32))
    graph = read_onnx(net.model(TOKENS, out, kind=kind))
    (layer,) = graph.layers
    assert (layer.param_bytes, layer.read_bytes, layer.write_bytes) == (4096, 1024, 512)
    assert graph.precision == precision


def test_casts_at_the_borders_read_and_write_what_they_say() -> None:
    net = Net()
    half = net.op("Cast", "x", to=TensorProto.FLOAT16)
    out = net.op("Cast", net.op("MatMul", half, net.packed(TensorProto.FLOAT16, 64, 32)), to=1)
    graph = read_onnx(net.model(TOKENS, out))
    assert [(x.read_bytes, x.write_bytes) for x in graph.layers] == [
        (2048, 1024), (1024, 512), (512, 1024),
    ]  # fmt: skip
    assert graph.precision == "fp16"


def test_operators_on_integers_are_dequantized() -> None:
    net = Net()
    integers = read_onnx(net.model(MAP, _operators(net)))
    floats = dequantized(integers)
    conv = floats.layers[0]
    assert (conv.op, conv.param_bytes, conv.precision) == ("conv", 4 * 16 * 16 * 9, "fp32")
    assert conv.read_bytes == conv.write_bytes == 4 * 16 * 14 * 14
    assert not {"quantize", "dequantize"}.intersection(x.op for x in floats.layers)
    assert {x.out_bits(0) for x in floats.layers} == {32}
    assert floats.macs == integers.macs


def test_a_network_that_is_quantized_in_part_is_mixed() -> None:
    net = Net()
    x = net.qdq(net.conv(net.qdq("x")))
    out = net.op("Conv", x, net.constant(np.ones((16, 16, 3, 3), np.float32)), pads=[1] * 4)
    graph = read_onnx(net.model(MAP, out))
    assert graph.precisions == {"int8": 0.5, "fp32": 0.5}
    assert graph.precision == "mixed"


def test_a_graph_of_quantized_layers_is_the_same_from_json() -> None:
    net = Net()
    graph = read_onnx(net.model(MAP, _add(net)))
    again = Graph.from_json(graph.to_json())
    assert again.layers == tuple(x._replace(ports=()) for x in graph.layers)
    assert _kernels(again) == _kernels(graph)
    with pytest.raises(ValueError, match="precisions"):
        Graph.from_json(graph.to_json().replace('"int8"', '"int9"'))


# A network -> the precision that is told of it.
FILES: dict[str, tuple[Pattern, tuple[int, ...], int]] = {
    "int8": (lambda b: b.qdq(b.conv(b.qdq("x"))), MAP, 1),
    "int4": (_packed, TOKENS, 1),
    "fp16": (lambda b: b.op("MatMul", "x", b.packed(TensorProto.FLOAT16, 64, 32)), TOKENS, 10),
    "bf16": (lambda b: b.op("MatMul", "x", b.packed(TensorProto.BFLOAT16, 64, 32)), TOKENS, 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", FILES)
def test_another_precision_than_the_target_s_is_said_and_widens_the_interval(
    precision: str, tmp_path: Path, latcast: Any
) -> None:
    write, shape, kind = FILES[precision]
    net = Net()
    path = tmp_path / "model.onnx"
    path.write_bytes(net.model(shape, write(net), kind=kind))
    found = latcast.json("predict", path, "--device", "epyc-genoa-2c-onnxruntime-b1-t1")
    (row,) = found["devices"]
    assert (row["precision"], row["precisions"]) == (precision, {precision: 1.0})
    assert any(f"the network is of precision {precision} and" in x for x in row["notes"])
    assert row["doubtful_share"] > 0
    # What runtimes make of it: integers 2 to 4 times as fast, half precision up to 3 times as slow.
    share = sum(k["share"] for k in row["kernels"] if k["macs"])
    reach = 3 if precision in ("fp16", "bf16") else 4
    assert row["upper_ms"] > (1 + share * (reach - 1)) * row["latency_ms"]
    assert row["lower_ms"] < row["latency_ms"] / (1 + share * (reach - 1))
    run = latcast("predict", path, "--device", "epyc-genoa-2c-onnxruntime-b1-t1")
    assert precision in run.stdout
    assert f"precision {precision}" in run.stderr
    seen = latcast.json("inspect", path)
    assert (seen["precision"], seen["precisions"]) == (precision, {precision: 1.0})
    assert f"precision: {precision}" in latcast("inspect", path).stdout


def test_the_interval_is_as_wide_in_python(tmp_path: Path) -> None:
    model = load("epyc-genoa-2c-onnxruntime-b1-t1", networks=[])
    graphs = []
    for conv in ("int8", "fp32"):
        net = Net()
        weights = net.constant(np.ones((16, 16, 3, 3), np.float32))
        x = net.conv("x") if conv == "int8" else net.op("Conv", "x", weights, pads=[1] * 4)
        graphs.append(read_onnx(net.model(MAP, x)))
    lower, upper = model.predict_interval(graphs, coverage=0.9)
    assert upper[0] / lower[0] > 4**2 > upper[1] / lower[1]
