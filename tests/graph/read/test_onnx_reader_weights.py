"""Files are read without their large weights."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_models import model

from latcast.graph.read.onnx import read_onnx
from latcast.graph.read.onnx._file import without_weights

LARGE = 200_000


def _model(**constants: np.ndarray) -> onnx.ModelProto:
    """A sum of the input and all constants."""
    return model([helper.make_node("Sum", ["x", *constants], ["y"])], {"x": [1]}, constants)


def _floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


def test_only_large_weights_are_left_out() -> None:
    made = _model(small=_floats(1), large=_floats(LARGE), one=_floats(1), other=_floats(LARGE))
    content = made.SerializeToString()
    light = without_weights(BytesIO(content), len(content))
    assert light.raw_bytes == {1: 4 * LARGE, 3: 4 * LARGE}
    assert len(light.content) < 1_000
    read = onnx.ModelProto.FromString(light.content)
    for n in light.raw_bytes:
        assert not read.graph.initializer[n].HasField("raw_data")
        read.graph.initializer[n].raw_data = made.graph.initializer[n].raw_data
    assert read == made


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(_model(w=_floats(5_000_000)).SerializeToString())
    read_onnx(path)  # imports what it needs
    tracemalloc.start()
    try:
        graph = read_onnx(path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert graph.params == 5_000_000
    assert most_bytes < 1_000_000


@pytest.mark.parametrize("raw", [True, False])
def test_weights_must_be_as_many_as_their_shape_says(raw: bool) -> None:
    made = _model(w=_floats(LARGE))
    if not raw:
        made.graph.initializer[0].ClearField("raw_data")
        made.graph.initializer[0].float_data.extend([1.0] * LARGE)
    assert read_onnx(made.SerializeToString()).params == LARGE
    made.graph.initializer[0].dims[0] += 1
    with pytest.raises(ValueError, match="constant 'w' must hold"):
        read_onnx(made.SerializeToString())


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_onnx(path)
    for content in (b"", b"some text\n" * 20, b"\0" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="must"):
            read_onnx(path)


def test_a_file_that_is_cut_off_anywhere_is_an_error() -> None:
    content = _model(w=_floats(LARGE), b=_floats(1)).SerializeToString()
    for end in (*range(60), *range(61, len(content), 50_021), len(content) - 1):
        with pytest.raises(ValueError, match="must be an ONNX model"):
            read_onnx(content[:end])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_an_error(content: bytes) -> None:
    try:
        light = without_weights(BytesIO(content), len(content))
    except ValueError:
        return
    # Small ones stay as they are, but for the shortest way to write numbers.
    assert light.raw_bytes == {}
    assert len(light.content) <= len(content)
