"""Our own datasets: complete, the same networks everywhere, small, and as their card says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data.audit import audit
from latcast.families import Variant, family_names
from latcast.graph import as_run
from latcast.models import zoo

FOLDER = Path(__file__).parents[1] / "datasets"
FILES = sorted(FOLDER.glob("*_t[0-9].parquet"))


def test_together_they_are_small():
    assert FILES
    assert sum(f.stat().st_size for f in FILES) <= 10e6


@pytest.mark.slow
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


NETWORK_FILES = sorted(FOLDER.glob("*.networks.parquet"))
NETWORKS = {"epyc-genoa-2c": 730, "epyc-turin-2c": 104}
WITHOUT_DENSENETS = ("epyc-turin-2c_openvino_b1_int8_t1", "epyc-turin-2c_openvino_b8_int8_t1")
# Shipped models are small together (scripts/make_zoo.py).
WITHOUT_A_MODEL = ("epyc-turin-2c_openvino_b1_t1",)


@pytest.mark.slow
@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda p: p.stem)
def test_dataset_of_networks(path):
    data = latcast.read(path)
    stem = str(data.target).replace("/", "_")
    assert path.name == f"{stem}.networks.parquet"
    # OpenVINO runs no quantized DenseNet.
    left = {"densenet"} if stem in WITHOUT_DENSENETS else set()
    assert len(data) == NETWORKS[data.target.device] - 7 * len(left) == len(set(data.names))
    assert {Variant.parse(name).family for name in data.names} == set(family_names()) - left
    assert data.provenance["licence"] == "CC-BY-4.0"
    assert not [f for f in audit(data) if f.severity == "error"]
    error, unstable = np.nanmedian(data.standard_error), (~(data.standard_error <= 0.03)).sum()
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = next(line for line in card.splitlines() if path.name in line)
    assert f" {100 * error:.1f} % | {unstable} |" in row
    if stem not in WITHOUT_A_MODEL and data.target.batch == 1:
        header = zoo.header(stem.replace("_", "-"), "networks")
        assert header["target"] == str(data.target)
        limit = 8 if data.target.precision == "fp32" else 12
        assert header["card"]["metrics"]["median_error"] < limit


@pytest.mark.slow
@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda p: p.stem)
def test_graphs_are_those_of_the_members(path):
    data = latcast.read(path)
    for n in range(0, len(data), 97):
        graph = latcast.read_graph(Variant.parse(data.names[n]).to_onnx(data.target.batch))
        graph = as_run(graph, data.target.runtime, data.target.precision)
        # Files keep no ports, and some are older than the share of dilated windows' taps.
        ours, kept = (
            [x._replace(inside=1.0, ports=()) for x in g.layers] for g in (graph, data.graphs[n])
        )
        assert ours == kept
        assert len(data.layers[n]) == len(graph)


@pytest.mark.slow
def test_all_targets_have_the_same_networks():
    names = {path.name: set(latcast.read(path).names) for path in NETWORK_FILES}
    for device, targets in (("epyc-genoa-2c", 2), ("epyc-turin-2c", 8)):
        first, *others = sorted((n for name, n in names.items() if device in name), key=len)[::-1]
        assert len(others) == targets - 1
        for other in others:
            assert all(name.startswith("densenet") for name in first - other)
            assert other <= first
