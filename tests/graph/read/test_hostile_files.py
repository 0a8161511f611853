"""Files that lie about their sizes end in short errors, before memory is taken."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from latcast.graph.read import as_onnx, read_graph
from latcast.graph.read.ncnn import read_ncnn


def archive(graph: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive as ``torch.export.save`` lays it out, with this text as its graph."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        file.writestr("net/archive_format", "pt2")
        file.writestr("net/models/model.json", graph)
    return content.getvalue()


def test_a_small_archive_of_a_large_graph_is_refused():
    with pytest.raises(ValueError, match="a graph must be plain, and have at most"):
        read_graph(archive(b"[" * 10**6))


@pytest.mark.parametrize("start", range(0, 200, 5))
def test_a_damaged_archive_is_refused(start):
    whole = bytearray(archive(b'{"a": 1}'))
    whole[start % len(whole)] ^= 0xFF
    with pytest.raises(ValueError, match=r"\S"):
        read_graph(b"PK\3\4" + bytes(whole[4:]))


def test_weights_that_are_counted_below_0_are_refused():
    text = b"7767517\n2 2\nInput in0 0 1 in0 0=6 1=5 2=4\nConvolution c 1 1 in0 a 0=8 1=3 6=-96\n"
    with pytest.raises(ValueError, match="weights must be counted from 0; got -144"):
        read_ncnn(text)


def test_a_constant_beyond_the_file_of_weights_is_refused(tmp_path):
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x = ops.parameter([1, 64], np.float32, name="x")
    product = ops.matmul(x, ops.constant(np.ones((64, 64), np.float32)), False, False)
    ov.save_model(ov.Model([product], [x], "net"), tmp_path / "net.xml", compress_to_fp16=False)
    weights = tmp_path / "net.bin"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"constants must lie inside of net\.bin; one does not"):
        as_onnx(tmp_path / "net.xml")


def test_errors_are_short_whatever_a_file_names():
    name = "x" * 5000
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3])
    node = helper.make_node("Relu", [name], ["y"])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])
    model = helper.make_model(helper.make_graph([node], "g", [value], [end]))
    with pytest.raises(ValueError, match="side 1 of input") as error:
        read_graph(onnx.ModelProto.SerializeToString(model), shapes={name: (2, 4)})
    assert len(str(error.value)) <= 601
