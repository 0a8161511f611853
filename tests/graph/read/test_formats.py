"""The same networks in every format: what is counted, and what is computed, is the same."""

from __future__ import annotations

import io
import sys

import numpy as np
import onnxruntime as ort
import pytest

from latcast.graph import Graph, GraphBuilder, fuse, kernel_label
from latcast.graph.read import as_onnx, read_graph
from latcast.graph.write.ncnn import to_ncnn
from latcast.graph.write.onnx import to_onnx

OTHERS = ("tflite", "ncnn", "openvino")


def mobile() -> Graph:
    b = GraphBuilder()
    x = b.conv_norm(b.input(3, 17, 15), 16, 3, "h_swish", stride=2)
    y = b.depthwise(x, 5, 1, "relu6")
    y = b.squeeze_excitation(y, 8, gate="h_sigmoid")
    x = b.add(x, b.conv_norm(y, 16, 1))
    return b.build(b.classifier(b.max_pool(x, 3, stride=2, padding=1), 5))


def shuffled() -> Graph:
    b = GraphBuilder()
    x = b.conv_norm(b.input(4, 8, 8), 8, 3, "relu", groups=2)
    x = b.channel_shuffle(b.avg_pool(x, 2, stride=2), 2)
    return b.build(b.classifier(b.activation(b.conv(x, 12), "relu"), 3))


NETWORKS = {"mobile": mobile, "shuffled": shuffled}


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    return NETWORKS[request.param]()


@pytest.fixture(params=OTHERS, scope="module")
def file(request, network, tmp_path_factory):
    """The network as a file of another format, by its converter or our writer."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tflite":
        pytest.importorskip("ai_edge_litert")
        from latcast.graph.write.tflite import to_tflite

        path = folder / "net.tflite"
        path.write_bytes(to_tflite(network))
    elif request.param == "ncnn":
        path, (text, weights) = folder / "net.param", to_ncnn(network)
        path.write_text(text)
        path.with_suffix(".bin").write_bytes(weights)
    else:
        ov, path = pytest.importorskip("openvino"), folder / "net.xml"
        source = folder / "net.onnx"
        source.write_bytes(to_onnx(network))
        ov.save_model(ov.convert_model(source), path, compress_to_fp16=False)
    return path


def counted(graph: Graph):
    """What does not depend on how a format lays its tensors out."""
    sides = []
    for x in graph.layers:
        if x.macs or x.kind == "pool":
            shape = sorted(s for s in x.out_shape if s > 1)
            # ncnn has a convolution of one pixel as a product.
            kind = "linear" if x.kind == "conv" and len(shape) == 1 else x.kind
            sides.append((kind, x.window, x.stride, x.groups, shape))
    kernels = [k for k in (kernel_label(graph, k) for k in fuse(graph)) if k != "reshape"]
    return graph.macs, graph.params, sides, sorted(x.split("+")[0] for x in kernels)


@pytest.mark.slow
def test_every_format_counts_the_same(network, file):
    graph = read_graph(file)
    assert graph.unsupported == {}
    macs, params, heavy, _ = counted(graph)
    expected = counted(read_graph(to_onnx(network)))
    assert (macs, heavy) == (expected[0], expected[2])
    # A writer may add biases of zeros where the network has none.
    assert 0 <= params - expected[1] <= 0.05 * expected[1]
    if file.suffix == ".xml":  # what shapes depend on is in the other file
        with pytest.raises(ValueError, match=r"\.bin file must be beside"):
            read_graph(file.read_bytes())
    else:
        assert read_graph(file.read_bytes()).macs == macs


def test_a_graph_that_was_read_computes_what_it_was_written_from(network, file):
    session = ort.InferenceSession(as_onnx(file))
    (given,) = session.get_inputs()
    image = network.inputs()
    x = image.transpose(0, 2, 3, 1) if file.suffix == ".tflite" else image
    (got,) = session.run(None, {given.name: x})
    (want,) = ort.InferenceSession(to_onnx(network)).run(None, {"input": image})
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_maps_have_their_channels_second_in_every_format(network, file):
    (first, *_) = (x for x in read_graph(file).layers if x.kind == "conv")
    assert first.in_shape[1] == network.in_shape[1]


def test_a_file_may_come_from_standard_input(network, monkeypatch):
    content = io.BytesIO(to_onnx(network))
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": content}))
    assert read_graph("-").macs == read_graph("-", batch=2).macs // 2 == network.macs


def test_other_formats_are_measured_as_onnx(network, file):
    from latcast.measure import OnnxFile

    content = OnnxFile.of(file).model(1, 0)
    assert read_graph(content).macs == network.macs
