from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from latcast import models
from latcast.data import Dataset
from latcast.models import Flops, Roofline


@pytest.fixture(scope="module")
def model(synthetic: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.latcast"
    Roofline().fit(synthetic).save(path)
    return path


def _with_header(path: Path, tmp_path: Path, **changes: object) -> Path:
    from latcast._model_file import read_model

    content = read_model(path)
    header = {**content.header, **changes}
    out = tmp_path / "changed.latcast"
    save_file(content.tensors, out, metadata={"latcast": json.dumps(header)})
    return out


def test_newer_version_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    path = _with_header(model, tmp_path, schema_version=99)
    with pytest.raises(ValueError, match="schema version 99, this latcast reads up to 1: upgrade"):
        models.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "oracle"},
        {"kind": ["roofline"]},
        {"options": {"no_such": 1}},
        {"options": None},
        {"space": "nowhere"},
        {"target": "x"},
        {"seen": 3},
        {"card": 7},
        {"calibration_exponent": "much"},
        {"calibration_exponent": float("nan")},
        {"seen": {"r": [float("inf")]}},
    ],
)
def test_lying_headers_are_refused(model: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be a latcast model of a kind known here"):
        models.load(_with_header(model, tmp_path, **changes))


def test_arrays_of_the_wrong_shape_are_refused(model: Path, tmp_path: Path) -> None:
    from latcast._model_file import ModelFile, read_model, write_model

    content = read_model(model)
    tensors = {**content.tensors, "state.rows": np.zeros(3)}
    write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="'rows' must have shape"):
        models.load(tmp_path / "x.latcast")
    tensors = {**content.tensors, "state.rows": content.tensors["state.rows"] * np.inf}
    with np.errstate(invalid="ignore"):
        write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="must hold finite numbers"):
        models.load(tmp_path / "x.latcast")
    tensors["state.rows"] = content.tensors["state.rows"] * np.nan
    write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="must hold finite numbers"):
        models.load(tmp_path / "x.latcast")
    tensors = dict(content.tensors)
    tensors["calibration.scores"] = tensors["calibration.scores"][::-1]
    write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="scores must be ascending"):
        models.load(tmp_path / "x.latcast")
    tensors = dict(content.tensors)
    del tensors["state.rows"]
    write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="rows"):
        models.load(tmp_path / "x.latcast")


def test_element_types_that_numpy_lacks(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "x.latcast"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    # Some packages teach numpy the type; it is no model of ours then all the same.
    with pytest.raises(ValueError, match=r"must be a (whole )?latcast model file"):
        models.load(path)


def test_header_that_lies_about_its_length(model: Path, tmp_path: Path) -> None:
    raw = model.read_bytes()
    for length in (0, 2**40, len(raw) * 2):
        (tmp_path / "x.latcast").write_bytes(struct.pack("<Q", length) + raw[8:])
        with pytest.raises(ValueError, match="must be a whole latcast model file"):
            models.load(tmp_path / "x.latcast")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.latcast"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="whole latcast model file"):
        models.load(path)
    save_file({"a": np.ones(2)}, path)
    with pytest.raises(ValueError, match="no schema version"):
        models.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        models.load(tmp_path / "absent.latcast")


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_a_clear_error_or_load(
    model: Path, tmp_path: Path, data: st.DataObject
) -> None:
    raw = bytearray(model.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, 2_000))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.latcast"
    path.write_bytes(raw)
    try:
        models.load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017  # loading is fine as well


def test_a_failed_save_keeps_the_old_file(
    synthetic: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.latcast"
    p = Flops().fit(synthetic)
    p.save(path)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        p.save(path)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["m.latcast"]
