"""OpenVINO models: operators beside the runtime, open sides, and files that are broken."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from latcast.graph.read import ReadOptions, as_onnx, read_graph
from latcast.graph.read.openvino import read_openvino, translate_openvino


def saved(tmp_path, inputs, output, **options):
    """A model of OpenVINO's own operators as a file, and its output for random inputs."""
    ov = pytest.importorskip("openvino")
    model = ov.Model([output], inputs, "net")
    ov.save_model(model, tmp_path / "net.xml", **{"compress_to_fp16": False, **options})
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(list(x.shape)).astype(np.float32) for x in inputs]
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(tmp_path / "net.xml", "CPU", config)
    return tmp_path / "net.xml", xs, compiled(xs)[0]


def chain(make):
    """A model of one input (1, 4, 6, 6), which ``make`` continues."""
    from openvino import opset13 as ops

    x = ops.parameter([1, 4, 6, 6], np.float32, name="x")
    return [x], make(ops, x)


def weights(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def compressed(ops, x):
    """A product with 8-bit weights of a zero point and a scale a row."""
    whole = np.random.default_rng(1).integers(0, 255, (8, 144), np.uint8)
    real = ops.convert(ops.constant(whole), np.float32)
    real = ops.subtract(real, ops.convert(ops.constant(np.uint8([[128]] * 8)), np.float32))
    real = ops.multiply(real, np.linspace(0.01, 0.1, 8, dtype=np.float32).reshape(8, 1))
    return ops.matmul(ops.reshape(x, [1, 144], False), real, False, True)


def grouped(ops, x):
    """The same with weights of 4 bits, a scale and a zero point for every 36 of a row."""
    from openvino import Tensor, Type

    packed = np.random.default_rng(1).integers(0, 255, 8 * 72, np.uint8)
    zeros = np.full(16, 0x88, np.uint8)
    u4 = [
        ops.constant(Tensor(d, s, Type.u4)) for d, s in ((packed, [8, 4, 36]), (zeros, [8, 4, 1]))
    ]
    real, zero = (ops.convert(c, np.float32) for c in u4)
    scales = np.linspace(0.01, 0.1, 32, dtype=np.float32).reshape(8, 4, 1)
    real = ops.reshape(ops.multiply(ops.subtract(real, zero), scales), [8, 144], False)
    return ops.matmul(ops.reshape(x, [1, 144], False), real, False, True)


OPENVINO = {
    "normalization": (lambda o, x: o.mvn(x, [2, 3], True, 1e-3, "INSIDE_SQRT"), 0, 0),
    "strided slice": (lambda o, x: o.strided_slice(
        x, [0, 2, 1, 0], [0, 0, -1, 0], [1, 1, 2, 1], [1, 0, 0, 1], [1, 0, 0, 1], [0] * 4,
        [0, 1, 0, 0], [0] * 4
    ), 0, 0),
    "split": (lambda o, x: o.concat(o.variadic_split(x, 1, [1, -1]).outputs()[::-1], 1), 0, 0),
    "pad": (lambda o, x: o.pad(x, [0, 0, 1, 2], [0, 0, 0, 1], "constant", np.float32(2)), 0, 0),
    "top k": (lambda o, x: o.topk(x, 2, 3, "max", "value").output(0), 0, 0),
    "grouped": (lambda o, x: o.group_convolution(
        x, weights(2, 3, 2, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]
    ), 6 * 36 * 2 * 9, 108),
    "transposed": (lambda o, x: o.convolution_backprop_data(
        x, weights(4, 5, 2, 2), [2, 2], pads_begin=[0, 0], pads_end=[0, 0]
    ), 36 * 4 * 5 * 4, 80),
    "quantized": (lambda o, x: o.fake_quantize(
        x, *map(np.float32, (-2.0, 2.0, -2.0, 2.0)), 256
    ), 0, 0),
    "quantized by channels": (lambda o, x: o.fake_quantize(
        x, *(np.float32([[[[s]], [[2 * s]], [[s]], [[3 * s]]]]) for s in (-1, 1, -1, 1)), 256
    ), 0, 0),
    "not equal": (lambda o, x: o.convert(o.not_equal(x, o.relu(x)), np.float32), 0, 0),
    "compressed": (compressed, 8 * 144, None),
    "compressed in groups": (grouped, 8 * 144, None),
    "attention": (lambda o, x: o.scaled_dot_product_attention(x, x, x), 2 * 4 * 6 * 6 * 6, 0),
    "shuffle": (lambda o, x: o.shuffle_channels(x, 1, 2), 0, 0),
    "swish": (lambda o, x: o.swish(x), 0, 0),
    "resize": (lambda o, x: o.interpolate(x, [12, 9], "linear", "sizes", axes=[2, 3]), 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", OPENVINO)
def test_openvino_operators_compute_the_same(case, tmp_path):
    pytest.importorskip("openvino")
    make, macs, params = OPENVINO[case]
    path, xs, want = saved(tmp_path, *chain(make))
    graph = read_openvino(path)
    assert graph.unsupported == {}
    assert graph.macs == macs
    assert params is None or graph.params == params
    session = ort.InferenceSession(as_onnx(path))
    got = session.run(None, dict(zip((x.name for x in session.get_inputs()), xs, strict=True)))[0]
    assert got.shape == want.shape
    # The runtime quantizes what meets compressed weights, too.
    tolerance = 0.03 if "quantized" in case else 0.1 if "compressed" in case else 1e-4
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def test_open_sides_of_openvino_are_asked_for(tmp_path):
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x = ops.parameter(ov.PartialShape("?,3,?,?"), np.float32, name="x")
    out = ops.convolution(x, weights(4, 3, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    ov.save_model(ov.Model([out], [x], "net"), tmp_path / "net.xml")
    with pytest.raises(ValueError, match="all sides of input 'x' must be known"):
        read_openvino(tmp_path / "net.xml")
    graph = read_openvino(tmp_path / "net.xml", ReadOptions(2, {"x": (2, 3, 8, 8)}))
    assert graph.macs == 2 * 4 * 64 * 27
    (tmp_path / "net.bin").unlink()  # large weights are not read, small ones decide no shape
    with pytest.raises(ValueError, match=r"\.bin file must be beside"):
        translate_openvino(tmp_path / "net.xml", with_weights=True)


def net(layers: str, *edges: tuple[str, str]) -> bytes:
    ports = "from-port='0' to-port='0'"
    joined = "".join(f"<edge from-layer='{a}' to-layer='{b}' {ports}/>" for a, b in edges)
    return f"<net><layers>{layers}</layers><edges>{joined}</edges></net>".encode()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><net>&b;</net>", "no document type"),
        (b"<net><layers>", "must be XML"),
        (b"<?xml version='1.0'?><html/>", "must be a <net>"),
        (net("<layer id='0' type='Result'/>", ("1", "0")), "must read layers"),
        (net("<layer id='0' type='A'/><layer id='1' type='B'/>", ("1", "0"), ("0", "1")),
         "must not wait for each other"),
        (b"<net>" + b"<a>" * 100 + b"</a>" * 100 + b"</net>", "less deeply nested"),
    ],
)  # fmt: skip
def test_broken_openvino_files_are_refused(content, match):
    with pytest.raises(ValueError, match=match):
        read_graph(content)
