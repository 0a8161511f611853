"""Our own datasets: complete, the same networks everywhere, small, and as their card says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data.audit import audit
from latcast.predict import zoo

FOLDER = Path(__file__).parents[1] / "datasets"
FILES = sorted(FOLDER.glob("*.parquet"))


def test_together_they_are_small():
    assert FILES
    assert sum(f.stat().st_size for f in FILES) <= 10e6


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_dataset(path):
    data = latcast.read(path)
    assert path.stem == str(data.target).replace("/", "_")
    wanted = latcast.space("ofa-mobilenet-v3").sample(
        1000, seed=0, restrict={"r": range(128, 241, 16)}
    )
    assert np.array_equal(
        np.unique(data.archs.canonical().genes, axis=0),
        np.unique(wanted.canonical().genes, axis=0),
    )
    assert data.provenance["licence"] == "CC-BY-4.0"
    assert data.provenance["runtime version"]
    known = np.isfinite(data.standard_error)
    assert known.mean() > 0.95
    assert np.median(data.standard_error[known]) < 0.025
    assert (data.standard_error <= 0.03).mean() > 0.8
    assert not [f for f in audit(data) if f.severity == "error"]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| `{path.name}` | {data.target} | {data.provenance['noise of a visit']} | " in card


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_model_of_every_dataset_is_shipped(path):
    header = zoo.header(path.stem.replace("_", "-"))
    assert header["target"] == path.stem.replace("_", "/")
    assert header["card"]["metrics"]["mape"] < 3
