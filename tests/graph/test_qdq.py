"""Graphs as the quantizer writes them, against the files that it writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

import latcast
from latcast.devices import Target
from latcast.families import Variant
from latcast.graph import Graph, GraphBuilder, as_run, dequantized
from latcast.graph.qdq import quantized as integers
from latcast.graph.read import ReadOptions, read_as_run, read_graph
from latcast.graph.write.onnx import to_onnx
from latcast.measure.runtimes._onnx_models import parse, random_inputs
from latcast.measure.runtimes._quantized import quantized
from latcast.networks import Networks
from latcast.testing.runtimes import small_network

INT8 = Target("here", "onnxruntime", precision="int8", threads=1)
VARIANTS = """
resnet-cifar(depth=1,width=20,preactivation=1,resolution=32,classes=100)
vit(patch=32,width=64,depth=1,head=32,expand=2,native_gelu=0,native_norm=1,resolution=96,classes=10)
nb201(arch=262034,classes=10)
squeezenet(stem=3,width=16,depth1=1,depth2=1,depth3=1,squeeze=250,large=50,first=48,resolution=96,classes=100)
mobilenet-v3(large=0,width=35,depth=2,kernel=3,squeeze=1,native=0,resolution=96,classes=100)
densenet(growth=6,depth1=2,depth2=3,depth3=4,depth4=2,bottleneck=2,resolution=96,classes=10)
convnext(width=16,depth1=1,depth2=1,depth3=1,depth4=1,expand=2,kernel=3,native_gelu=1,native_norm=0,resolution=96,classes=10)
""".split()  # noqa: SIM905
SLOW = pytest.mark.slow  # the quantizer takes a second or more of a network


def kernels(graph: Graph, target: Target = INT8) -> Counter[tuple[object, ...]]:
    """How often the target's runtime runs which kernel."""
    found = Networks.of(graph, target)
    rows = zip(found.ops.tolist(), found.labels, found.facts.tolist(), strict=True)
    return Counter(
        {
            (op, label, *facts): times
            for (op, label, facts), times in zip(rows, found.counts.toarray()[0], strict=True)
        }
    )


def of_file(model: bytes, batch: int = 1) -> Graph:
    return read_as_run(model, ReadOptions(), batch)


def both(model: bytes, batch: int = 1) -> tuple[Graph, Graph]:
    """A model as it is read in floats, and as the quantizer's file of it is read."""
    written = quantized(model, random_inputs(parse(model), batch))
    return of_file(model, batch), of_file(written, batch)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_operator_of_spaces_has_the_kernels_of_the_quantizer_s_file(runtime):
    floats, integers = both(to_onnx(small_network().with_batch(2)), 2)
    target = replace(INT8, runtime=runtime, batch=2)
    assert kernels(floats, target) == kernels(integers, target)
    # One that was built is the same network.
    assert kernels(small_network().with_batch(2), target) == kernels(integers, target)
    assert floats.precision == "fp32"
    assert as_run(floats, runtime, "int8").precision == integers.precision == "int8"


@SLOW
@pytest.mark.parametrize("text", VARIANTS)
def test_families_have_the_kernels_of_the_quantizer_s_file(text):
    floats, integers = both(Variant.parse(text).to_onnx(1, 0))
    assert kernels(floats) == kernels(integers)
    openvino = replace(INT8, runtime="openvino")
    assert kernels(floats, openvino) == kernels(integers, openvino)
    assert integers.precision == "int8"
    if "mobilenet" not in text:  # whose clips come back as other activations
        assert kernels(dequantized(integers), FLOATS) == kernels(floats, FLOATS)


def test_only_networks_in_floats_change_and_only_where_campaigns_quantize():
    graph = small_network()
    for runtime, precision in (("onnxruntime", "fp32"), ("ncnn", "int8"), ("onnx", "int8")):
        assert as_run(graph, runtime, precision) is graph
    once = as_run(graph, "onnxruntime", "int8")
    assert once is not graph
    assert as_run(once, "openvino", "int8") is once


# --- and back ---------------------------------------------------------------------------------

FLOATS = Target("here", "onnxruntime", threads=1)


@pytest.mark.parametrize("text", [v for v in VARIANTS if "mobilenet" not in v])
@pytest.mark.parametrize("runtime", ["onnxruntime", "ncnn"])
def test_what_is_dequantized_is_the_network_that_was_quantized(text, runtime):
    graph = Variant.parse(text).graph()
    again = dequantized(as_run(graph, "onnxruntime", "int8"))
    target = replace(FLOATS, runtime=runtime)
    assert kernels(again, target) == kernels(graph, target)
    assert (again.precision, again.macs, again.params) == ("fp32", graph.macs, graph.params)


def test_of_a_clip_that_was_quantized_away_a_relu_comes_back():
    b = GraphBuilder()
    x = b.activation(b.conv(b.input(3, 9, 9), 8), "relu6")
    x = b.add(x, b.activation(b.conv(x, 8), "relu"))
    graph = b.build(b.conv(x, 8))
    again = dequantized(as_run(graph, "onnxruntime", "int8"))
    # Neither the sum of what is not negative, nor the last convolution, was cut off at zero.
    assert [x.op for x in again.layers] == ["conv", "relu", "conv", "relu", "add", "conv"]


def test_networks_in_floats_stay_as_they_are():
    graph = small_network()
    assert dequantized(graph) is graph


@pytest.mark.parametrize("before", [False, True])
def test_layers_whose_shapes_nobody_knows_stay_in_floats(before: bool) -> None:
    """Whether the shapes are lost before the quantizer comes or in its file."""
    graph = small_network()
    for n, layer in enumerate(graph.layers if before else integers(graph).layers):
        whole = graph if before else integers(graph)
        unknown = layer._replace(out_shapes=(None,) * len(layer.out_shapes))
        lost = whole.of((*whole.layers[:n], unknown, *whole.layers[n + 1 :]))
        found = dequantized(integers(lost) if before else lost)
        assert len(found) == len(dequantized(integers(graph)))
        assert found.params == graph.params


def test_equal_networks_keep_their_own_inputs_and_notes():
    model = to_onnx(small_network())
    floats = read_graph(model)
    for turn in (lambda g: as_run(g, "onnxruntime", "int8"), dequantized):
        first = turn(floats.noted(floats.sources, ("first",)))
        again = turn(floats)
        assert (first.notes, again.notes) == (("first",), floats.notes)
        assert again.sources == floats.sources
        floats = again


def test_a_quantized_network_is_dequantized_where_int8_was_learnt_in_floats():
    graph = small_network()
    integers = as_run(graph, "onnxruntime", "int8")
    for runtime in ("ncnn", "tensorrt", "onnx"):
        assert as_run(integers, runtime, "int8").precision == "fp32"
    assert as_run(integers, "onnxruntime", "fp32") is integers


def test_an_activation_that_others_read_around_stays():
    b = GraphBuilder()
    x = b.conv(b.input(3, 9, 9), 8)
    b.add(b.activation(x, "relu"), x)
    floats, integers = both(to_onnx(b.build()))
    assert kernels(floats) == kernels(integers)
    assert "relu" in {x.op for x in as_run(floats, "onnxruntime", "int8").layers}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_forecasts_of_a_file_and_of_what_is_quantized_of_it_agree(runtime):
    """It was 1.04 and .70 ms of a MobileNetV3: the file's bytes, and four times as many."""
    floats, integers = both(to_onnx(small_network()))
    ask = {"precision": "int8", "runtime": runtime, "threads": 2}
    forecasts = [latcast.forecast(g, ["epyc-9654"], **ask).devices[0] for g in (floats, integers)]
    assert forecasts[0].latency_ms == pytest.approx(forecasts[1].latency_ms, rel=1e-9)
    assert forecasts[0].upper_ms == pytest.approx(forecasts[1].upper_ms, rel=1e-9)
    assert len(forecasts[0].kernels) == len(forecasts[1].kernels)
