"""Model files of layer predictors: what is saved is loaded, and what is hostile is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import latcast
from latcast import models
from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import Dataset
from latcast.models import Kernels, Roofline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(layer_model: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layers") / "m.latcast"
    layer_model.save(path)
    return path


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-3, 0.1, 1.0]))
def test_what_is_saved_is_loaded(
    layer_model: Kernels,
    network_data: Dataset,
    path: Path,
    tmp_path: Path,
    seed: int,
    size: float,
) -> None:
    """Weights of any kind come back, and with them every forecast."""
    rng = np.random.default_rng(seed)
    changed = latcast.load_layers(path)
    model = layer_model._model
    weights = replace(model.weights, mean=rng.normal(0.0, size, len(model.weights.mean)))
    changed._model = replace(model, weights=weights)
    changed.save(tmp_path / "m.latcast")
    loaded = latcast.load_layers(tmp_path / "m.latcast")
    graphs = network_data.graphs[30:]
    assert (loaded.predict(graphs) == changed.predict(graphs)).all()
    for ours, theirs in zip(
        loaded.predict_interval(graphs, 0.5), changed.predict_interval(graphs, 0.5), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # scores are single precision
    assert loaded.card == changed.card
    again = loaded.explain(graphs[0])
    assert [str(k.doubt) for k in again.kernels] == [
        str(k.doubt) for k in changed.explain(graphs[0]).kernels
    ]
    before = (tmp_path / "m.latcast").read_bytes()
    loaded.save(tmp_path / "m.latcast")
    assert (tmp_path / "m.latcast").read_bytes() == before


def test_each_kind_of_file_says_how_it_is_loaded(
    path: Path, tmp_path: Path, synthetic: Dataset
) -> None:
    assert isinstance(latcast.load(path), Kernels)
    Roofline().fit(synthetic[:200]).save(tmp_path / "space.latcast")
    with pytest.raises(ValueError, match="needs a layer model"):
        latcast.load_layers(tmp_path / "space.latcast")
    with pytest.raises(ValueError, match="layer model"):
        latcast.load_layers("no-such-model")
    with pytest.raises(FileNotFoundError, match="no such file"):
        latcast.load_layers(tmp_path / "absent.latcast")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": ["layers"]},
        {"target": "x"},
        {"target": None},
        {"kinds": ["conv"]},
        {"checked": []},
        {"labels": 3},
        {"labels": ["conv"]},
        {"scales": []},
        {"scales": [[1, 1, 1]]},
        {"scales": [[-1, 1, 1], [1, 1, 1]]},
        {"scales": [["a", 1, 1], [1, 1, 1]]},
        {"noise": [0.1, float("nan"), 1]},
        {"noise": [0.1, 0.2, float("inf")]},
        {"noise": None},
        {"card": 7},
    ],
)
def test_lying_headers_are_refused(path: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    content = read_model(path)
    header = {**content.header, **changes}
    out = tmp_path / "changed.latcast"
    save_file(content.tensors, out, metadata={"latcast": json.dumps(header)})
    with pytest.raises(ValueError, match="must be a latcast model of a kind"):
        latcast.load_layers(out)


@pytest.mark.parametrize("name", sorted(["prices", "points", "mean", "prior", "gained", "low",
                                         "high", "centres", "scores", "point_kinds"]))  # fmt: skip
def test_arrays_of_another_shape_are_refused(path: Path, tmp_path: Path, name: str) -> None:
    content = read_model(path)
    out = tmp_path / "changed.latcast"
    array = content.tensors[name]
    for wrong in (array[:-1], array[None], np.zeros((0,))):
        if name == "scores" and wrong.ndim == 1 and len(wrong):
            continue  # fewer scores are scores
        write_model(out, ModelFile(content.header, {**content.tensors, name: wrong}))
        with pytest.raises(ValueError, match="must be a latcast model of a kind"):
            latcast.load_layers(out)
    missing = {k: v for k, v in content.tensors.items() if k != name}
    write_model(out, ModelFile(content.header, missing))
    with pytest.raises(ValueError, match="must be a latcast model of a kind"):
        latcast.load_layers(out)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prices", lambda a: -a - 1),
        ("prior", lambda a: 0 * a),
        ("point_kinds", lambda a: a[::-1]),
        ("point_kinds", lambda a: a + 1000),
        ("scores", lambda a: a[::-1]),
        ("scores", lambda a: a - 100),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    path: Path, tmp_path: Path, name: str, change: Any
) -> None:
    content = read_model(path)
    tensors = {**content.tensors, name: change(content.tensors[name])}
    write_model(tmp_path / "x.latcast", ModelFile(content.header, tensors))
    with pytest.raises(ValueError, match="must be a latcast model of a kind"):
        latcast.load_layers(tmp_path / "x.latcast")


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_a_clear_error_or_load(
    path: Path, tmp_path: Path, data: st.DataObject
) -> None:
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, 3_000))] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.latcast"
    damaged.write_bytes(raw)
    try:
        models.load_layers(damaged)
    except ValueError as error:
        assert str(damaged) in str(error)  # noqa: PT017  # loading is fine as well
