"""ncnn models: layers with shapes and costs, weights of few bits, and files that are broken."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from latcast.graph.read import as_onnx
from latcast.graph.read.ncnn import read_ncnn, translate_ncnn


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
        (param("ReLU r one 1 in0 a"), "a layer must be a type"),
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
