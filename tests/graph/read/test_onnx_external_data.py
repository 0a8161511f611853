"""Weights of ONNX models that lie in files beside them: where they may, and where they may not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import model

from latcast.graph.read.onnx import read_onnx

node = helper.make_node


def product() -> onnx.ModelProto:
    """A product with a matrix of 4 x 2."""
    held = {"w": np.ones((4, 2), np.float32)}
    return model([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, held)


@pytest.fixture
def with_data_outside(tmp_path: Path) -> Path:
    made = model(
        [node("Reshape", ["x", "t"], ["r"]), node("MatMul", ["r", "w"], ["y"])],
        {"x": [2, 3, 4]},
        {"t": np.array([0, -1]), "w": np.ones((12, 5_000), np.float32)},
    )
    path = tmp_path / "net.onnx"
    onnx.save(made, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_external_data(with_data_outside: Path) -> None:
    graph = read_onnx(with_data_outside)
    assert graph.layers[-1].out_shapes == ((2, 5_000),)
    assert graph.params == 60_000


def test_external_data_must_be_there_and_whole(with_data_outside: Path) -> None:
    data = with_data_outside.with_name("net.data")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="constant 'w' must be 240000 bytes inside of"):
        read_onnx(with_data_outside)
    data.unlink()
    with pytest.raises(ValueError, match=r"there is no 'net\.data'"):
        read_onnx(with_data_outside)


def test_external_data_of_bytes_are_asked_for_only_where_they_matter(
    with_data_outside: Path,
) -> None:
    with pytest.raises(ValueError, match="must be read from its file"):
        read_onnx(with_data_outside.read_bytes())


def test_external_data_are_read_through_the_links_of_a_cache(tmp_path: Path) -> None:
    made = product()
    blobs, snapshot, elsewhere = (tmp_path / n for n in ("blobs", "snapshots/1/onnx", "elsewhere"))
    for folder in (blobs, snapshot, elsewhere):
        folder.mkdir(parents=True)
    onnx.save(made, blobs / "c6ed", save_as_external_data=True, location="m.data", size_threshold=0)
    (blobs / "m.data").rename(blobs / "b879")
    up = "../../../blobs"
    (snapshot / "m.onnx").symlink_to(f"{up}/c6ed")
    (snapshot / "m.data").symlink_to(f"{up}/b879")
    assert read_onnx(snapshot / "m.onnx").params == 8
    # A link to a model alone: its data lie beside what it is a link to.
    (blobs / "b879").rename(blobs / "m.data")
    (elsewhere / "m.onnx").symlink_to(blobs / "c6ed")
    assert read_onnx(elsewhere / "m.onnx").params == 8
    # A link to a link: they lie beside what the first one is a link to.
    (blobs / "m.data").rename(blobs / "b879")
    (elsewhere / "n.onnx").symlink_to(snapshot / "m.onnx")
    assert read_onnx(elsewhere / "n.onnx").params == 8


@pytest.mark.parametrize(
    ("location", "link", "to"),
    [
        pytest.param("../secret/m.data", None, None, id="a path up"),
        pytest.param("{secret}/m.data", None, None, id="an absolute path"),
        pytest.param("/dev/zero", None, None, id="a device"),
        pytest.param("", None, None, id="no name"),
        pytest.param("m.data", "m.data", "../secret/m.data", id="a link"),
        pytest.param("m.data", "m.data", "m.data", id="a circle"),
        pytest.param("sub/m.data", "sub", "../secret", id="a link of a folder"),
        pytest.param("m.data", "m.data", "/dev/zero", id="a link to a device"),
    ],
)
def test_external_data_elsewhere_are_refused(
    tmp_path: Path, location: str, link: str | None, to: str | None
) -> None:
    home, secret = tmp_path / "home", tmp_path / "secret"
    home.mkdir()
    secret.mkdir()
    (secret / "m.data").write_bytes(b"\0" * 32)
    path = home / "m.onnx"
    onnx.save(product(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    (home / "m.data").unlink()
    if link is not None:
        (home / link).symlink_to(to)
    stored = onnx.load(path, load_external_data=False)
    for entry in stored.graph.initializer[0].external_data:
        entry.value = location.format(secret=secret) if entry.key == "location" else entry.value
    path.write_bytes(stored.SerializeToString())
    with pytest.raises(ValueError, match="must lie in a file in the folder of the model"):
        read_onnx(path)


@pytest.mark.parametrize("place", ["pipe", "."])
def test_external_data_are_in_a_file(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path, "location", place)


@pytest.mark.parametrize("offset", ["3\r6", "-1", "9" * 5_000])
def test_external_data_have_an_offset_in_their_file(tmp_path: Path, offset: str) -> None:
    _refused(tmp_path, "offset", offset)


def _refused(folder: Path, key: str, value: str) -> None:
    path = folder / "m.onnx"
    onnx.save(product(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    stored = onnx.load(path, load_external_data=False)
    for entry in stored.graph.initializer[0].external_data:
        entry.value = value if entry.key == key else entry.value
    path.write_bytes(stored.SerializeToString())
    with pytest.raises(ValueError, match=r"constant|must lie in a file") as caught:
        read_onnx(path)
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()
