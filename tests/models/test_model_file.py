"""Model files of all kinds: what is saved is loaded, and what is hostile is refused."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import latcast
from latcast import models
from latcast._model_file import ModelFile, read_model
from latcast.data import Dataset
from latcast.models import BaseModel, Bayes, Flops, Kernels, LookupTable, Roofline

Header = dict[str, Any]
KINDS = ("roofline", "bayes", "lookup-table", "layers", "base")
REFUSED = r"must be a latcast model of a kind known here; got: "


@pytest.fixture(scope="module")
def files(
    synthetic: Dataset,
    layer_model: Kernels,
    source_data: list[Dataset],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "roofline": Roofline().fit(synthetic),
        "bayes": Roofline().fit(synthetic[:100]).adapt(synthetic[100:110]),
        "lookup-table": LookupTable().fit(synthetic),
        "layers": layer_model,
        "base": BaseModel().fit(source_data[:2]),
    }
    assert isinstance(made["bayes"], Bayes)
    for name, model in made.items():
        model.save(folder / f"{name}.latcast")
    return {name: folder / f"{name}.latcast" for name in made}


@pytest.fixture(scope="module")
def model(files: dict[str, Path]) -> Path:
    return files["roofline"]


def refused(content: ModelFile, tmp_path: Path, why: str = "") -> None:
    """A file of this content is refused."""
    path = tmp_path / "x.latcast"
    metadata = {"latcast": json.dumps(content.header)}  # as it is, NaN among it
    save_file({k: np.ascontiguousarray(v) for k, v in content.tensors.items()}, path, metadata)
    with pytest.raises(ValueError, match=rf"x\.latcast.*({why or REFUSED})"):
        models.load(path)


def test_newer_version_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    content = read_model(model)
    header = {**content.header, "schema_version": 99}
    why = "schema version 99, this latcast reads up to 1: upgrade"
    refused(ModelFile(header, content.tensors), tmp_path, why)


def _sources(change: Header) -> Callable[[Header], None]:
    return lambda header: header["sources"][0].update(change)


def _set(**changes: object) -> Callable[[Header], None]:
    return lambda header: header.update(changes)


LIES: dict[str, list[Callable[[Header], Any]]] = {
    "roofline": [
        _set(kind="oracle"), _set(kind=["roofline"]), _set(options={"no_such": 1}),
        _set(options=None), _set(space="nowhere"), _set(target="x"), _set(target=None),
        _set(seen=3), _set(seen={"r": [float("inf")]}), _set(card=7),
        _set(calibration_exponent="much"), _set(calibration_exponent=float("nan")),
        _set(quantity="wishes"),
    ],
    "layers": [
        _set(kind=["layers"]), _set(target="x"), _set(kinds=["conv"]), _set(kinds=None),
        _set(checked=[]), _set(ops=["conv"]), _set(features=["macs"]), _set(labels=3),
        _set(labels=["conv"]), _set(scales=[]), _set(scales=[[1, 1, 1]]),
        _set(scales=[[-1, 1, 1], [1, 1, 1]]), _set(scales=[["a", 1, 1], [1, 1, 1]]),
        _set(noise=[0.1, float("nan"), 1]), _set(noise=[0.1, 0.2, float("inf")]),
        _set(noise=None), _set(card=7),
        lambda h: h["features"].__setitem__(0, "wishes"),
    ],
    "base": [
        _set(kind="roofline"), _set(space="nowhere"), _set(space="fbnet"), _set(seen=7),
        _set(seen={"r": ["much"]}), _set(card=3), _set(sources=[]), _set(sources={}),
        lambda h: h["sources"].pop(), lambda h: h["sources"].append(h["sources"][0]),
        lambda h: h.pop("sources"), _sources({"mean_ms": -1.0}), _sources({"mean_ms": None}),
        _sources({"mean_ms": float("nan")}), _sources({"rows": "many"}), _sources({"spec": 3}),
        _sources({"spec": {"target": "a/b/b1"}}),
        _sources({"spec": {"target": "a/b/b1", "kind": "cpu", "peak_flops": -1,
                           "bandwidth_gb_s": 1}}),
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "lie"), [(kind, n) for kind, lies in LIES.items() for n in range(len(lies))]
)
def test_lying_headers_are_refused(
    files: dict[str, Path], tmp_path: Path, kind: str, lie: int
) -> None:
    content = read_model(files[kind])
    header = json.loads(json.dumps(content.header))
    LIES[kind][lie](header)
    refused(ModelFile(header, content.tensors), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_another_shape_are_refused(
    files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Every array of every kind: absent, shorter, deeper, a number alone, or not finite."""
    content = read_model(files[kind])
    for name, array in content.tensors.items():
        others = {k: v for k, v in content.tensors.items() if k != name}
        if not name.endswith(".live"):
            refused(ModelFile(content.header, others), tmp_path)
        wrong = [array[None]]
        if not name.endswith(("scores", "gained")):  # whose number is free
            wrong.append(array[..., :-1] if array.shape[-1] else np.ones((*array.shape[:-1], 1)))
        for values in wrong:
            refused(ModelFile(content.header, {**others, name: values}), tmp_path)
        if array.dtype.kind == "f" and array.size:
            odd = np.array(array)
            odd.flat[0] = np.nan
            why = "must hold finite numbers"
            refused(ModelFile(content.header, {**others, name: odd}), tmp_path, why)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("roofline", "calibration.scores", lambda a: a[::-1]),
        ("layers", "prices", lambda a: -a - 1),
        ("layers", "prior", lambda a: 0 * a),
        ("layers", "point_kinds", lambda a: a[::-1]),
        ("layers", "point_kinds", lambda a: a + 1000),
        ("layers", "classes", lambda a: a + 1000),
        ("layers", "scores", lambda a: a[::-1]),
        ("layers", "scores", lambda a: a - 100),
        ("base", "optima", lambda a: a + 1e3),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    files: dict[str, Path], tmp_path: Path, kind: str, name: str, change: Any
) -> None:
    content = read_model(files[kind])
    tensors = {**content.tensors, name: change(content.tensors[name])}
    refused(ModelFile(content.header, tensors), tmp_path)


@pytest.mark.slow
def test_each_kind_of_file_says_what_it_is(files: dict[str, Path], tmp_path: Path) -> None:
    assert isinstance(latcast.load(files["layers"]), Kernels)
    assert isinstance(latcast.load(files["base"]), BaseModel)
    with pytest.raises(ValueError, match="needs a layer model"):
        latcast.load_layers(files["roofline"])
    with pytest.raises(ValueError, match="must be a base model of many targets"):
        latcast.load_base(files["roofline"])
    with pytest.raises(ValueError, match="must be a latcast BaseModel; got: a model of the kind"):
        BaseModel.load(files["layers"])
    for load in (latcast.load, latcast.load_base, latcast.load_layers, BaseModel.load):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load(tmp_path / "absent.latcast")


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_damaged_files_are_a_clear_error_or_load(
    files: dict[str, Path], tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    raw = bytearray(files[kind].read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, 3_000))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.latcast"
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers may have become huge
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

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="could not be written: no space left on device"):
        p.save(path)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["m.latcast"]
