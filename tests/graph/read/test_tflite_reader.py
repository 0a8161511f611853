"""TensorFlow Lite models: operators beside the runtime, quantized tensors, and hostile files."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from latcast.graph import Graph, GraphBuilder
from latcast.graph.read import as_onnx, read_graph
from latcast.graph.read.tflite import read_tflite


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
