"""The same networks in every format: what is counted, and what is computed, is the same."""

from __future__ import annotations

import io
import sys
from contextlib import suppress

import numpy as np
import onnxruntime as ort
import pytest

from latcast.graph import Graph, GraphBuilder, fuse, kernel_label
from latcast.graph.read import ReadOptions, as_onnx, read_graph
from latcast.graph.read.ncnn import read_ncnn, translate_ncnn
from latcast.graph.read.openvino import read_openvino, translate_openvino
from latcast.graph.read.tflite import read_tflite
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
    import latcast.graph.read as door

    content = io.BytesIO(to_onnx(network))
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": content}))
    door._from_stdin.cache_clear()
    assert read_graph("-").macs == read_graph("-", batch=2).macs // 2 == network.macs
    door._from_stdin.cache_clear()


# --- OpenVINO ---------------------------------------------------------------------------------


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


# --- ncnn -------------------------------------------------------------------------------------


def param(*lines: str, given="Input in0 0 1 in0 0=6 1=5 2=4") -> bytes:
    return "\n".join(["7767517", f"{len(lines) + 1} 9", given, *lines, ""]).encode()


NCNN = {
    "Convolution": ("c 1 1 in0 a 0=8 1=3 11=1 4=1 14=0 5=1 6=96 9=1", (1, 8, 5, 6), 2880, 104),
    "ConvolutionDepthWise": ("c 1 1 in0 a 0=4 1=3 3=2 4=1 5=0 6=36 7=4", (1, 4, 3, 3), 324, 36),
    "Deconvolution": ("c 1 1 in0 a 0=2 1=2 3=2 5=1 6=32", (1, 2, 10, 12), 960, 34),
    "InnerProduct": ("l 1 1 in0 a 0=3 1=1 2=360", (1, 3), 360, 363),
    "Pooling": ("p 1 1 in0 a 0=0 1=3 2=2", (1, 4, 2, 3), 0, 0),
    "Padding": ("p 1 1 in0 a 0=1 1=2 2=3 3=4 4=0", (1, 4, 8, 13), 0, 0),
    "Permute": ("p 1 1 in0 a 0=3", (1, 5, 6, 4), 0, 0),
    "Reshape": ("r 1 1 in0 a 0=10 1=-1", (1, 12, 10), 0, 0),
    "Crop": ("c 1 1 in0 a -23309=1,1 -23310=1,-233 -23311=1,2", (1, 4, 5, 5), 0, 0),
    "Reduction": ("r 1 1 in0 a 0=3 1=0 -23303=2,1,2 4=0", (1, 4), 0, 0),
    "Interp": ("i 1 1 in0 a 0=2 1=2.0 2=2.0", (1, 4, 10, 12), 0, 0),
    "LayerNorm": ("n 1 1 in0 a 0=6 1=0.001 2=1", (1, 4, 5, 6), 0, 12),
    "Gemm": ("g 1 1 in0 a 10=4 3=1 5=1 6=1 8=7 9=6", (1, 4, 5, 7), 840, 49),
    "PixelShuffle": ("p 1 1 in0 a 0=2", (1, 1, 10, 12), 0, 0),
    "Squeeze": ("s 1 1 in0 a -23303=1,0", (1, 4, 5, 6), 0, 0),
}


@pytest.mark.parametrize("kind", NCNN)
def test_ncnn_layers_have_shapes_and_costs(kind):
    line, shape, macs, params = NCNN[kind]
    # A sum with itself shows the shape even of what is no layer.
    graph = read_ncnn(param(f"{kind} {line}", "BinaryOp end 2 1 a a b 0=0"))
    assert graph.unsupported == {}
    assert (graph.out_shape, graph.macs, graph.params) == (shape, macs, params)


def test_an_annotation_of_ncnn_tells_what_is_unknown():
    lines = ("MyOp m 1 1 in0 a -23330=4,1,32,0,0", "InnerProduct l 1 1 a b 0=3 1=1 2=96")
    graph = read_ncnn(param(*lines))
    assert graph.unsupported == {"ncnn::MyOp": 1}
    assert graph.macs == 96
    without = read_ncnn(param(lines[0].partition(" -")[0], lines[1]))
    assert without.unsupported == {"ncnn::MyOp": 1, "Gemm": 1}


def test_blobs_of_fewer_axes_are_stretched_along_the_channels():
    pooled = ("Split s 1 2 in0 a b", "Pooling p 1 1 a c 0=1 4=1", "BinaryOp m 2 1 b c d 0=2")
    assert [x.op for x in read_ncnn(param(*pooled)).layers] == ["global_pool", "scale"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (param(given="Input in0 0 1 in0"), "all sides of input 'in0' must be known"),
        (param("ReLU r 1 1 x y"), "must read blobs given before"),
        (param("ReLU r 1 1 in0 in0"), "must be given once"),
        (param("ReLU r 9 9 in0"), "must name all its blobs"),
        (param("Convolution c 1 1 in0 a 0=8 1=3 6=99"), "its weights are for 1 channels"),
        (param("ReLU r one 1 in0 a"), "invalid literal"),
    ],
)
def test_broken_ncnn_files_are_refused(content, match):
    with pytest.raises(ValueError, match=match):
        read_ncnn(content)


def test_weights_of_8_bits_and_of_half_precision_are_told_by_the_bin_file(tmp_path):
    lines = param("InnerProduct l 1 1 in0 a 0=3 1=0 2=360 8=1", "InnerProduct k 1 1 a b 0=2 2=6")
    (tmp_path / "net.param").write_bytes(lines)
    whole = np.random.default_rng(0).integers(-127, 128, 360, np.int8)
    scales = np.full(3, 127, np.float32), np.full(1, 42.0, np.float32)
    half = np.arange(6, dtype=np.float16)
    (tmp_path / "net.bin").write_bytes(
        b"".join((b"\x38\x4b\x0d\x00", whole.tobytes(), *(x.tobytes() for x in scales),
                  b"\x47\x6b\x30\x01", half.tobytes()))
    )  # fmt: skip
    session = ort.InferenceSession(as_onnx(tmp_path / "net.param"))
    x = np.random.default_rng(1).standard_normal((1, 4, 5, 6)).astype(np.float32)
    real = x.reshape(1, 120) @ (whole.reshape(3, 120) / 127).T @ half.reshape(2, 3).T
    (got,) = session.run(None, {"in0": x})
    assert np.abs(got - real).max() <= 0.1 * np.abs(real).max()
    assert {"quantize", "linear"} <= {x.op for x in read_ncnn(tmp_path / "net.param").layers}
    (tmp_path / "net.bin").write_bytes(b"\x38\x4b\x0d\x00")
    with pytest.raises(ValueError, match="it ends before them"):
        translate_ncnn(tmp_path / "net.param")


# --- TensorFlow Lite --------------------------------------------------------------------------


def rewritten(network: Graph, change) -> bytes:
    """The network's flatbuffer after ``change`` of its object."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    from flatbuffers import Builder

    from latcast.graph.write.tflite import to_tflite

    model = schema.ModelT.InitFromPackedBuf(to_tflite(network))
    change(schema, model)
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def quantize(schema, model):
    """Give all tensors 8 bits and one scale, biases 32 bits."""
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data if tensor.buffer else None
        is_bias = tensor.name.startswith(b"bias")
        scale = 0.01 * 0.05 if is_bias else 0.01 if data is not None else 0.05
        tensor.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[0])
        tensor.type = schema.TensorType.INT32 if is_bias else schema.TensorType.INT8
        if data is not None:
            real = np.asarray(data, np.uint8).view(np.float32) / scale
            kind = np.int32 if is_bias else np.int8
            limits = np.iinfo(kind)
            whole = np.clip(np.round(real), limits.min, limits.max).astype(kind)
            model.buffers[tensor.buffer].data = whole.view(np.uint8)


def small() -> Graph:
    b = GraphBuilder()
    x = b.conv_norm(b.input(3, 8, 8), 8, 3, "relu")
    return b.build(b.conv(x, 4, 1))


def test_quantized_tensors_are_pairs_of_a_quantization_and_its_inverse(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(rewritten(small(), quantize))
    graph = read_tflite(path)
    assert graph.macs == small().macs
    assert graph.params == small().params
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(str(path))
    runtime.allocate_tensors()
    x = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 3), np.int8)
    runtime.set_tensor(runtime.get_input_details()[0]["index"], x)
    runtime.invoke()
    want = runtime.get_tensor(runtime.get_output_details()[0]["index"])
    options = ort.SessionOptions()  # its optimizer gives zero points of another type than ours
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(as_onnx(path), options)
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    assert got.dtype == want.dtype == np.int8
    assert np.abs(got.astype(int) - want).max() <= 2


# Operator -> the constant that it reads after a map of 1 x 6 x 4 x 8, the shape that it gives, and
# its options.
TFLITE = {
    "MEAN": ([1, 2], (1, 8), ("ReducerOptions", {"keepDims": False})),
    "SUM": ([2], (1, 6, 8), ("ReducerOptions", {"keepDims": False})),
    "REDUCE_MAX": ([3], (1, 6, 4, 1), ("ReducerOptions", {"keepDims": True})),
    "PAD": ([[0, 0], [1, 0], [0, 2], [0, 1]], (1, 7, 6, 9), ("PadOptions", {})),
    "MIRROR_PAD": ([[0, 0], [1, 0], [0, 2], [0, 0]], (1, 7, 6, 8), ("MirrorPadOptions", {})),
    "SOFTMAX": (None, (1, 6, 4, 8), ("SoftmaxOptions", {"beta": 1.0})),
    "L2_NORMALIZATION": (None, (1, 6, 4, 8), ("L2NormOptions", {})),
    "LEAKY_RELU": (None, (1, 6, 4, 8), ("LeakyReluOptions", {"alpha": 0.3})),
    "RSQRT": (None, (1, 6, 4, 8), None),
    "RELU_N1_TO_1": (None, (1, 6, 4, 8), None),
    "DEPTH_TO_SPACE": (None, (1, 12, 8, 2), ("DepthToSpaceOptions", {"blockSize": 2})),
    "SPACE_TO_DEPTH": (None, (1, 3, 2, 32), ("SpaceToDepthOptions", {"blockSize": 2})),
    "RESIZE_BILINEAR": (
        [12, 6],
        (1, 12, 6, 8),
        ("ResizeBilinearOptions", {"halfPixelCenters": True}),
    ),
    "RESIZE_NEAREST_NEIGHBOR": ([12, 8], (1, 12, 8, 8), ("ResizeNearestNeighborOptions", {})),
    "TRANSPOSE": ([0, 3, 1, 2], (1, 8, 6, 4), ("TransposeOptions", {})),
    "RESHAPE": ([1, -1, 16], (1, 12, 16), ("ReshapeOptions", {"newShape": [1, -1, 16]})),
    "REVERSE_V2": ([1], (1, 6, 4, 8), ("ReverseV2Options", {})),
    "TILE": ([1, 2, 1, 1], (1, 12, 4, 8), ("TileOptions", {})),
    "ADD": (np.arange(8, dtype=np.float32), (1, 6, 4, 8), ("AddOptions", {})),
    "SQUARED_DIFFERENCE": (np.float32([[[[2.0]]]]), (1, 6, 4, 8), None),
    "PRELU": (np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 1, 8), (1, 6, 4, 8), None),
    "GATHER": ([2, 0], (1, 6, 4, 2), ("GatherOptions", {"axis": 3})),
    "SQUEEZE": (None, (6, 4, 8), ("SqueezeOptions", {"squeezeDims": [0]})),
}


@pytest.mark.parametrize("code", TFLITE)
def test_tflite_operators_compute_the_same_on_maps(code, tmp_path):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    from ai_edge_litert.interpreter import Interpreter

    from latcast.graph.write.tflite import _Model

    given, shape, options = TFLITE[code]
    model = _Model(schema)
    entry = model.tensor("input", (1, 6, 4, 8))
    window = {"filterHeight": 1, "filterWidth": 1, "strideH": 1, "strideW": 1}
    mapped = model.tensor("map", (1, 6, 4, 8))
    model.operator("AVERAGE_POOL_2D", [entry], mapped, "Pool2DOptions", **window)
    inputs = [mapped]
    if given is not None:
        array = given if isinstance(given, np.ndarray) else np.array(given, np.int32)
        inputs.append(model.constant("given", array))
    kind, values = options or (None, {})
    end = model.operator(code, inputs, model.tensor("output", shape), kind, **values)
    path = tmp_path / "net.tflite"
    path.write_bytes(model.pack(entry, end))
    runtime = Interpreter(str(path))
    runtime.allocate_tensors()
    x = np.random.default_rng(0).random((1, 6, 4, 8), np.float32) - (code != "RSQRT") / 2
    runtime.set_tensor(runtime.get_input_details()[0]["index"], x.astype(np.float32))
    runtime.invoke()
    want = runtime.get_tensor(runtime.get_output_details()[0]["index"])
    assert read_tflite(path).unsupported == {}
    session = ort.InferenceSession(as_onnx(path))
    (got,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_other_formats_are_measured_as_onnx(network, file):
    from latcast.measure import OnnxFile

    content = OnnxFile.of(file).model(1, 0)
    assert read_graph(content).macs == network.macs


def test_unknown_operators_of_tflite_have_the_shapes_of_the_file():
    def custom(schema, model):
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = b"Mine"

    b = GraphBuilder()
    x = b.conv(b.input(3, 8, 8), 8, 3)
    network = b.build(b.max_pool(x, 2, stride=2))
    graph = read_tflite(rewritten(network, custom))
    assert graph.unsupported == {"tflite::Mine": 1}
    assert graph.out_shape == (1, 8, 4, 4)


def test_parts_of_a_flatbuffer_that_overlap_are_refused():
    """A thousand operators that share one list of tensors would be a thousand times its size."""
    pytest.importorskip("ai_edge_litert")
    from latcast.graph.read.tflite._file import Budget

    budget = Budget(400)
    assert budget.numbers(np.arange(90)) == list(range(90))
    with pytest.raises(ValueError, match="must not overlap"):
        budget.numbers(np.arange(90))


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"\0\0\0\0TFL3", "must have a graph"), (b"\x1c\0\0\0TFL3" + b"\xff" * 64, "malformed")],
)
def test_broken_tflite_files_are_refused(content, match):
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ValueError, match=match):
        read_graph(content)


@pytest.mark.parametrize("format_", OTHERS)
def test_damaged_files_end_in_an_error_that_says_so(format_, tmp_path):
    """Every byte may be wrong: what is read then is a graph or a ValueError."""
    if format_ == "ncnn":
        content = to_ncnn(small())[0].encode()
    elif format_ == "tflite":
        content = rewritten(small(), lambda *_: None)
    else:
        content = saved(tmp_path, *chain(OPENVINO["grouped"][0]))[0].read_bytes()
    rng = np.random.default_rng(0)
    for n in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 1 + n % 4):
            damaged[at] = rng.integers(0, 256)
        if n % 5 == 0:
            del damaged[rng.integers(1, len(content)) :]
        with suppress(ValueError):
            READERS[format_](bytes(damaged))


READERS = {"tflite": read_tflite, "ncnn": read_ncnn, "openvino": read_openvino}
