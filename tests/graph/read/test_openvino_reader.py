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


def repeated(kind, gates, *, states=1, reverse=False, **more):
    """Cells (hidden 5) in a TensorIterator over 24 positions of 6, and their states by position."""

    def make(ops, x):
        ov = pytest.importorskip("openvino")
        sequence = ops.relu(ops.reshape(x, [1, 24, 6], False))
        part, *old = (ops.parameter(s, np.float32) for s in ([1, 1, 6], *[[1, 5]] * states))
        learned = [weights(gates * 5, 6), weights(gates * 5, 5)]
        learned += [weights(5 * (gates + bool(more.get("linear_before_reset"))))]
        cell = getattr(ops, kind)(ops.squeeze(part, [1]), *old, *learned, 5, **more)
        new = [ops.result(cell.output(n)) for n in range(states)]
        slices = ops.result(ops.unsqueeze(cell.output(0), [1]))
        loop = ops.tensor_iterator()
        loop.set_body(ov.Model([*new, slices], [part, *old], "body"))
        order = (-1, -1, 1, 0, 1) if reverse else (0, 1, 1, -1, 1)  # start, stride, part, end, axis
        loop.set_sliced_input(part, sequence.output(0), *order)
        for before, after in zip(old, new, strict=True):
            loop.set_merged_input(before, ops.constant(weights(1, 5)).output(0), after.output(0))
        every = loop.get_concatenated_slices(slices.output(0), *order)
        return ops.multiply(every, loop.get_iter_value(new[0].output(0), -1))

    return make


def looped(ops, x):
    """A Loop over rows from the last one, whose body counts and reads what is outside of it."""
    ov = pytest.importorskip("openvino")
    row, more, step, state = (
        ops.parameter(s, t)
        for s, t in (([1, 4, 1, 6], np.float32), ([1, 4, 6, 6], np.float32), ([1], np.int64),
                     ([1, 4, 1, 6], np.float32))
    )  # fmt: skip
    product = ops.matmul(ops.add(row, state), ops.constant(weights(6, 6)), False, False)
    new = ops.result(ops.multiply(product, ops.convert(step, np.float32)))
    slices = ops.result(ops.add(new.input_value(0), ops.reduce_mean(more, [2], True)))
    goes_on = ops.result(ops.constant(np.array([True])))
    loop = ops.loop(ops.constant(np.array(6)), ops.constant(np.array(True)))
    loop.set_function(ov.Model([goes_on, new, slices], [step, row, more, state], "body"))
    loop.set_special_body_ports([0, 0])
    loop.set_sliced_input(row, x.output(0), -1, -1, 1, 0, 2)
    loop.set_invariant_input(more, ops.sigmoid(x).output(0))
    loop.set_merged_input(state, ops.constant(weights(1, 4, 1, 6)).output(0), new.output(0))
    every = loop.get_concatenated_slices(slices.output(0), 0, 1, 1, -1, 2)
    return ops.multiply(every, loop.get_iter_value(new.output(0), -1))


def either(ops, x):
    """A branch of a product with a bias, and one of none."""
    ov = pytest.importorskip("openvino")
    a, b = (ops.parameter([1, 4, 6, 6], np.float32) for _ in range(2))
    biased = ops.add(ops.matmul(a, ops.constant(weights(6, 7)), False, False), weights(7))
    given = [ops.result(v) for v in (biased, ops.concat([b, ops.reduce_max(b, [3], True)], 3))]
    is_large = ops.greater(ops.reduce_sum(x, [0, 1, 2, 3], False), np.float32(-1e3))
    choice = ops.if_op(is_large.output(0))
    choice.set_then_body(ov.Model([given[0]], [a], "then"))
    choice.set_else_body(ov.Model([given[1]], [b], "else"))
    choice.set_input(ops.relu(x).output(0), a, b)
    return choice.set_output(*given)


OPENVINO = {
    "cells": (repeated("lstm_cell", 4, states=2), 24 * 20 * 11, 20 * 12),
    "cells backwards": (
        repeated("gru_cell", 3, reverse=True, linear_before_reset=True), 24 * 15 * 11, 15 * 11 + 20,
    ),
    "simple cells": (repeated(
        "rnn_cell", 1, activations=["tanh"], activations_alpha=[], activations_beta=[]
    ), 24 * 5 * 11, 5 * 12),
    "loop": (looped, 6 * 4 * 6 * 6, 36),
    "branches": (either, 4 * 6 * 6 * 7, 6 * 7 + 7),
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


def test_trips_that_openvino_files_leave_open_are_asked_for(tmp_path):
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x, state = (ops.parameter([1, 6], np.float32) for _ in range(2))
    new = ops.result(ops.matmul(state, ops.constant(weights(6, 6)), False, False))
    goes_on = ops.result(ops.less(ops.reduce_max(state, [0, 1], False), np.float32(9)))
    loop = ops.loop(ops.constant(np.array(-1)), ops.constant(np.array(True)))
    loop.set_function(ov.Model([goes_on, new], [state], "body"))
    loop.set_special_body_ports([-1, 0])
    loop.set_merged_input(state, x.output(0), new.output(0))
    ov.save_model(ov.Model([loop.get_iter_value(new.output(0), -1)], [x]), tmp_path / "net.xml")
    assert read_openvino(tmp_path / "net.xml").unsupported == {"Loop": 1}
    graph = read_openvino(tmp_path / "net.xml", ReadOptions(trip_count=3))
    assert (graph.macs, graph.unsupported) == (3 * 36, {})


@pytest.mark.parametrize(
    ("old", "new"),
    [("part_size='1'", "part_size='2'"), ("body>", "other>"), ("to-layer='1'", "to-layer='99'")],
)
def test_bodies_that_are_not_as_expected_are_told(old, new, tmp_path):
    pytest.importorskip("openvino")
    path, *_ = saved(tmp_path, *chain(repeated("lstm_cell", 4, states=2)))
    path.write_text(path.read_text().replace(old.replace("'", '"'), new.replace("'", '"')))
    assert read_openvino(path).unsupported == {"openvino::TensorIterator": 1}


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
        (b"<net>" + b"<a>" * 100 + b"</a>" * 100 + b"</net>", "deep in each other"),
    ],
)  # fmt: skip
def test_broken_openvino_files_are_refused(content, match):
    with pytest.raises(ValueError, match=match):
        read_graph(content)
