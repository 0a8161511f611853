"""What every writer must do: the file computes what the graph says, as ONNX's reference has it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.onnx import to_onnx
from latcast.measure.runtimes import runtime as runtime_named

WRITERS = {
    "onnxruntime": "onnx",
    "pytorch": "pytorch",
    "litert": "tflite",
    "ncnn": "ncnn",
}
"""Runtime -> the writer whose files it runs."""


@pytest.fixture(params=WRITERS, scope="module")
def runtime(request):
    kind = runtime_named(request.param)
    pytest.importorskip(kind.package)
    return kind


def build(shape, *steps, batch=1) -> Graph:
    """A chain of layers: ``(method of the builder, *arguments, options)``."""
    b = GraphBuilder()
    x = b.input(*shape)
    for method, *arguments, options in steps:
        x = getattr(b, method)(x, *arguments, **options)
    return b.build(x).with_batch(batch)


def written(runtime, graph: Graph, seed=2) -> np.ndarray:
    """The output of the written graph for ``graph.inputs()``."""
    batch = min(graph.batch or 1, runtime.max_batch or 99)
    loaded = runtime(batch=batch).load(graph.with_batch(1), seed)
    loaded.run()
    return np.array(loaded.output())


def expected(graph: Graph, batch: int, seed=2) -> np.ndarray:
    """The output of ONNX's reference implementation."""
    graph = graph.with_batch(batch)
    evaluator = ReferenceEvaluator(to_onnx(graph, graph.weights(seed)))
    return evaluator.run(None, {"input": graph.inputs()})[0]


def check(runtime, graph: Graph) -> None:
    got = written(runtime, graph)
    want = expected(graph, len(got))
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


@settings(max_examples=30)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    batch=st.integers(1, 2),
    bias=st.booleans(),
    channels=st.sampled_from([(3, 5, 1), (4, 4, 1), (16, 16, 1), (4, 4, 4), (16, 16, 16),
                              (1, 2, 1), (6, 4, 2), (4, 8, 4)]),
)  # fmt: skip
def test_convolutions(runtime, kernel_size, stride, height, width, batch, bias, channels):
    inputs, outputs, groups = channels
    options = {"stride": stride, "groups": groups, "bias": bias}
    check(runtime, build((inputs, height, width), ("conv", outputs, kernel_size, options),
                         batch=batch))  # fmt: skip


@pytest.mark.parametrize("op", ["relu", "relu6", "h_swish", "h_sigmoid"])
@pytest.mark.parametrize("groups", [0, 1, 8])
@pytest.mark.parametrize("side", [1, 6])
def test_activations_alone_or_fused(runtime, op, groups, side):
    before = [("conv", 8, 3, {"groups": groups})] if groups else []
    check(runtime, build((8, side, side), *before, ("activation", op, {})))


def test_elementwise_operators(runtime):
    for factor in (0.0, 2.5, None):
        b = GraphBuilder()
        x = b.input(5, 3, 4)
        check(runtime, b.build(b.unary("Identity", x) if factor is None else b.mul(x, factor)))
    for method in ("add", "mul"):
        b = GraphBuilder()
        x = b.input(5, 3, 4)
        check(runtime, b.build(getattr(b, method)(b.activation(x, "relu"), x)))
        b = GraphBuilder()  # an input that is read again
        check(runtime, b.build(getattr(b, method)(x, x)))


@pytest.mark.parametrize("channels", [1, 4, 5, 16])
def test_products_by_channel_also_where_the_width_is_the_same_number(runtime, channels):
    for shape in ((channels, 3, 4), (channels, channels, channels)):
        b = GraphBuilder()
        x = b.input(*shape)
        check(runtime, b.build(b.mul(b.global_pool(x), x)))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("before", [[], [("global_pool", {})]])
@pytest.mark.parametrize("after", [[], [("conv", 6, 3, {"groups": 6})]])
def test_channels_are_shuffled(runtime, groups, before, after):
    check(runtime, build((6, 3, 4), *before, ("channel_shuffle", groups, {}), *after))


@settings(max_examples=30)
@given(
    st.integers(2, 17), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.booleans(),
    st.sampled_from([3, 16]),
)  # fmt: skip
def test_pools_do_not_count_padding(runtime, side, kernel_size, stride, is_max, ceil, channels):
    stride = min(stride, kernel_size)  # else windows may lie outside of the image
    side = max(side, kernel_size)
    options = {"stride": stride, "padding": (kernel_size - 1) // 2, "ceil": ceil}
    method = "max_pool" if is_max else "avg_pool"
    graph = build((channels, side, side), (method, kernel_size, options))
    if runtime.name == "litert" and not is_max and (pads := (kernel_size - 1) // 2):
        same = -(-side // stride)
        total = max((same - 1) * stride + kernel_size - side, 0)
        if graph.out_shape[2] != same or total // 2 != pads:  # no such pool: see test_tflite
            return
    got = written(runtime, graph)
    x, pad = graph.inputs(), (kernel_size - 1) // 2
    want = np.empty(graph.out_shape)
    for row, column in np.ndindex(graph.out_shape[2:]):
        top, left = row * stride - pad, column * stride - pad
        window = x[:, :, max(top, 0) : top + kernel_size, max(left, 0) : left + kernel_size]
        want[:, :, row, column] = (np.max if is_max else np.mean)(window, axis=(2, 3))
    assert np.abs(got - want).max() <= 1e-5


def test_linear_layers_read_images_in_our_order(runtime):
    check(runtime, build((5, 3, 4), ("flatten", {}), ("linear", 7, {})))
    check(runtime, build((5, 3, 4), ("flatten", {}), ("linear", 7, {}), ("activation", "relu", {}),
                         ("linear", 4, {"bias": False})))  # fmt: skip


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_maps_of_one_pixel(runtime, groups):
    conv = ("conv", 8, 3, {"groups": groups})
    check(runtime, build((8, 3, 4), ("global_pool", {}), conv, ("global_pool", {})))
    check(runtime, build((8, 3, 4), ("global_pool", {}), ("conv", 6, {}), ("conv", 5, {})))


def test_what_an_activation_must_not_destroy(runtime):
    b = GraphBuilder()
    first = b.conv(b.input(3, 8, 8), 4, 3)
    same = b.activation(b.unary("Identity", first), "relu")
    other = b.activation(first, "relu6")
    check(runtime, b.build(b.add(b.add(same, first), other)))
    b = GraphBuilder()
    x = b.input(4, 8, 8)
    check(runtime, b.build(b.add(b.activation(x, "relu"), x)))


@pytest.mark.parametrize("runtime_name", WRITERS)
def test_unknown_operators_are_named(runtime_name):
    pytest.importorskip(runtime_named(runtime_name).package)
    name = WRITERS[runtime_name]
    if name == "onnx":  # it writes whatever the builder builds
        return
    write = getattr(importlib.import_module(f"latcast.graph.write.{name}"), f"to_{name}")
    b = GraphBuilder()
    b.unary("Erf", b.input(3, 8, 8))
    with pytest.raises(ValueError, match="layer 0: operator 'erf' cannot be"):
        write(b.build())
