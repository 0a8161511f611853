"""What a notebook or a debugger shows of the things that people hold: one telling line."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import polars as pl
import pytest

import latcast
from latcast.graph import GraphBuilder
from latcast.models import Bayes, Roofline
from latcast.search import search
from latcast.search.budgets import BudgetCheck, CheckedBudget


def test_devices_and_targets() -> None:
    assert repr(latcast.device("rtx-4090")) == (
        "<Device rtx-4090: NVIDIA GeForce RTX 4090, gpu, 24 GB at 1008 GB/s, "
        "82,600 GFLOP/s in fp32>"
    )
    target = latcast.Target("pixel-3", "ncnn", threads=4)
    assert repr(target) == "Target.parse('pixel-3/ncnn/b1/t4')"
    assert eval(repr(target), {"Target": latcast.Target}) == target


def test_predictors() -> None:
    assert repr(Bayes()) == "<Bayes, not fitted>"
    assert repr(latcast.load("tesla-p40")) == (
        "<Roofline: latency_ms of ofa-mobilenet-v3 on tesla-p40/pytorch/b64>"
    )
    assert repr(latcast.load_base("nasbench201")) == "<BaseModel: latency_ms of nasbench201>"
    assert "of any network on raspberry-pi-4/" in repr(latcast.load_layers("raspberry-pi-4"))
    assert isinstance(latcast.load("tesla-p40"), Roofline)


def test_graphs() -> None:
    b = GraphBuilder(1)
    graph = b.build(b.linear(b.global_pool(b.conv(b.input(3, 8, 8), 4, 3)), 10)).named("net")
    assert repr(graph) == f"<Graph of {len(graph)} layers: net>"
    found = latcast.forecast(graph, ["raspberry-pi-4", "raspberry-pi-9"])
    assert repr(found).endswith(" on raspberry-pi-4. No answer for raspberry-pi-9.>")
    with pytest.raises(TypeError, match=r"latcast.forecast takes files\); got 'net.onnx'"):
        latcast.load_layers("raspberry-pi-4").predict("net.onnx")
    with pytest.raises(ValueError, match=r"or a device \(latcast.load\(DEVICE, networks=graph"):
        latcast.load("tesla-p40").predict(graph)


def test_fronts() -> None:
    model = latcast.load("tesla-p40")
    found = search("ofa-mobilenet-v3", latency=model, max_latency_ms=[30.0], evaluations=200)
    front = found.front
    assert repr(front).startswith(f"<Front of {len(front)} networks of ofa-mobilenet-v3: ")
    assert repr(front).endswith(" ms>")
    assert "\n" not in repr(front)
    assert len(repr(found)) < 200
    shown = front._repr_html_()
    assert 2 < shown.count("<tr>") <= 21
    assert "<svg" in shown
    assert repr(found.record()).startswith("<SearchRecord: Within 30 ms the most accurate network")


def test_the_names_of_the_package_are_what_people_use() -> None:
    assert dir(latcast) == sorted(latcast.__all__)
    assert not [name for name in dir(latcast) if name.startswith("_")]
    # Of classes only those that are made by hand, or named in a signature.
    assert {name for name in dir(latcast) if name[0].isupper()} == {
        "Archs", "Client", "Dataset", "Device", "Graph", "InfeasibleError", "LatencyDataset",
        "NetworkDataset", "Quantity", "Target",
    }  # fmt: skip


def test_one_thing_is_in_the_singular() -> None:
    archs = latcast.space("ofa-mobilenet-v3").sample(1, seed=0)
    assert repr(archs) == "<1 architecture of ofa-mobilenet-v3>"
    b = GraphBuilder(1)
    assert repr(b.build(b.global_pool(b.input(8, 4, 4))).named("net")) == "<Graph of 1 layer: net>"
    budget = CheckedBudget("net", "net.onnx", "pixel-7", 5.0, "likely")
    assert BudgetCheck("b.toml", False, 0.9, (budget,)).answer() == "0 of 1 latency budget is met."


def test_percentages_are_written_alike() -> None:
    # A space before the sign everywhere, as SI has it; conditions of a campaign are as in old ones.
    for path in Path(latcast.__file__).parent.rglob("*.py"):
        found = re.findall(r"\{[^{}]*:[^{}]*%\}", path.read_text())
        assert not found or path.name == "_results.py", (path, found)


def test_a_predictor_takes_architectures_as_people_have_them() -> None:
    model, archs = (
        latcast.load("samsung-note10"),
        latcast.space("ofa-mobilenet-v3").sample(2, seed=0),
    )
    ms = model.predict(archs).tolist()
    assert model.predict(archs.to_dicts()).tolist() == ms
    assert model.predict(archs.to_dicts()[0]).tolist() == ms[:1]
    assert model.predict_interval(archs.to_dicts(), 0.9)[0].shape == (2,)


def test_what_is_no_input_is_told_how_to_become_one() -> None:
    arch = latcast.space("ofa-mobilenet-v3").sample(1, seed=0)
    with pytest.raises(ValueError, match=r"got dict: an architecture is one as space.network"):
        latcast.inspect(arch.to_dicts()[0])
    assert latcast.inspect(arch.space.network(arch)).total.macs > 0
    frame = pl.DataFrame({"latency_ms": [1.0]})
    with pytest.raises(ValueError, match=r"got DataFrame: a frame is read first, by latcast.read"):
        latcast.compare(frame, "pixel-7")


def test_what_is_suggested_for_is_asked_alike() -> None:
    for call in (latcast.suggest, latcast.suggest_for, latcast.suggest_on):
        samples = inspect.signature(call).parameters["samples"]
        assert samples.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
