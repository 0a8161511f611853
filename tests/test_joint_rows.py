"""Rows of search spaces and of our own campaigns, as the shipped joint model learns from them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.families import population
from latcast.graph.read.onnx import read_onnx
from latcast.models.joint import Observations
from latcast.networks import Networks

SPACE = latcast.space("nasbench201")


@pytest.fixture
def rows() -> Any:
    return importlib.import_module("_joint_rows")


def _archs(target: str, count: int = 8, seed: int = 0, **columns: Any) -> Dataset:
    archs = SPACE.sample(count, seed=seed)
    return Dataset(archs, np.arange(1.0, 1.0 + count), Target.parse(target), **columns)


def test_targets_share_the_networks_that_they_run_alike(rows: Any) -> None:
    error = np.full(8, 0.04)
    datasets = [
        _archs("pixel-3/help/b1"),
        _archs("titan-x/pytorch-help/b32"),
        _archs("titan-xp/pytorch-help/b32", seed=1, standard_error=error),
        _archs("titan-x/pytorch-help/b32", seed=1),
        _archs("raspberry-pi-4/help/b1"),
    ]
    found = rows.observations(datasets)
    distinct = [len(SPACE.sample(8, seed=s).unique()) for s in (0, 1)]
    both = len(SPACE.sample(8, seed=0).concatenate(SPACE.sample(8, seed=1)).unique())
    assert len(found.names) == distinct[0] + both  # as phones run them, and GPUs
    assert len(found) == 40
    assert [t.name for t in found.targets] == [
        "pixel-3/help/b1", "titan-x/pytorch-help/b32", "titan-xp/pytorch-help/b32",
        "raspberry-pi-4/help/b1",
    ]  # fmt: skip
    assert [t.domain for t in found.targets] == ["help-cpu", *["pytorch-help-gpu"] * 2, "help-cpu"]
    assert set(found.families) == {"nasbench201"}
    np.testing.assert_array_equal(found.scatter[16:24], error)
    np.testing.assert_allclose(np.exp(found.log_ms[:8]), np.arange(1, 9))
    # Every row is of its network, all that PyTorch calls.
    macs = found.networks.counts @ found.networks.fact("macs")
    own = Networks.of(SPACE.sample(8, seed=1), replace(datasets[2].target, runtime="eager"))
    wanted = own.counts @ own.fact("macs")
    np.testing.assert_allclose(macs[found.network[16:24]], wanted, rtol=1e-9)


def test_rows_are_drawn_and_domains_are_those_of_other_tables(rows: Any) -> None:
    graphs = tuple(read_onnx(v.to_onnx(1)) for v in population(4, 0, ["vgg", "resnet"]))
    data = Dataset(
        graphs, np.ones(4), Target("epyc-genoa-2c", "litert", threads=1), names=tuple("abcd"),
        families=("v", "v", "r", ""),
    )  # fmt: skip
    found = rows.observations([data, data], ["tflite-cpu"], 3)
    assert len(found) == 6
    assert len(found.names) == 3
    assert found.targets[0].domain == "tflite-cpu"
    assert rows.observations([data]).targets[0].domain == "litert-cpu"


def test_observations_are_joined(rows: Any) -> None:
    one, two = (rows.observations([_archs(t)]) for t in ("pixel-3/help/b1", "pixel-2/help/b1"))
    both = Observations.joined([one, two])
    assert len(both) == len(one) + len(two)
    assert [t.name for t in both.targets] == ["pixel-3/help/b1", "pixel-2/help/b1"]
    macs = both.networks.counts @ both.networks.fact("macs")
    np.testing.assert_array_equal(macs[both.network[:8]], macs[both.network[8:]])


def test_ablation_tells_what_tables_do_for_each_other(rows: Any) -> None:
    ablation = importlib.import_module("make_joint").ablation
    targets = ("pixel-3/help/b1", "raspberry-pi-4/help/b1", "samsung-s7/help/b1")
    parts = {
        name: rows.observations([_archs(t, 8, s) for t in targets])
        for s, name in enumerate(("first", "second"))
    }
    lines = list(ablation(parts))
    assert lines[0].startswith("48 rows")
    told = [line.split("  ")[0] for line in lines[2:8]]
    assert told[:4] == ["learnt from", "all tables", "without first", "without second"]
