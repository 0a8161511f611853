"""Campaigns of networks of any kind: variants of families, ONNX files, and all together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import latcast
from latcast import measure
from latcast.data import read
from latcast.devices import Target
from latcast.families import Variant
from latcast.graph import Graph, Layer
from latcast.graph.read import ReadOptions, read_graph
from latcast.measure import (
    ArchSource,
    BlockSource,
    OnnxFile,
    VariantSource,
    results,
)
from latcast.measure._results import ATTRIBUTED_SHARE, layer_times
from latcast.measure._sources import as_sources, parse_source
from latcast.networks import Networks


def variant(resolution, width=25):
    return Variant.parse(
        f"mobilenet-v1(width={width},depth=1,kernel=3,relu6=0,resolution={resolution},classes=10)"
    )


@pytest.fixture
def make_graph_plan(make_plan):
    return lambda networks: replace(make_plan([224], runs=2), networks=tuple(networks))


def test_members_and_files_become_a_dataset(tmp_path, make_graph_plan, fake, monkeypatch):
    path = tmp_path / "mine.onnx"
    path.write_bytes(variant(112).to_onnx())
    networks = as_sources([variant(96), variant(96, 50), OnnxFile.of(path)])
    with measure.open_or_resume(tmp_path / "a", make_graph_plan(networks)) as campaign:
        measure.run(campaign)
        assert campaign.networks() == list(networks)
        profiled = [(v.network, v.round) for v in campaign.runs() if "profile_ms" in v.details]
        # Once; and who knows what the nodes of files are called after?
        assert sorted(profiled) == [(0, 0), (1, 0)]
        found = results(campaign, {"licence": "CC0"})
        with monkeypatch.context() as patch:
            patch.setattr(Variant, "to_onnx", lambda *_: b"built by another rule")
            with pytest.raises(ValueError, match=r"must be what was measured.* makes 21 of it now"):
                results(campaign)
    data = found.dataset
    rows = [data.names.index(network.name) for network in networks]
    data = data[np.array(rows)]
    assert data.families == ("mobilenet-v1", "mobilenet-v1", "")
    assert data.names[2] == "mine"
    truth = [fake.graph_ms(graph) for graph in data.graphs]
    assert data.latency_ms == pytest.approx([sum(ms) for ms in truth], rel=0.02)
    for graph, network in zip(data.graphs, networks, strict=True):
        assert graph.layers == read_graph(network.model(1, 0), batch=1).layers
    assert np.array_equal(data.layers[1], truth[1])
    assert np.isnan(data.layers[2]).all()
    assert data.provenance[ATTRIBUTED_SHARE] == "100.00%"
    assert data.provenance["licence"] == "CC0"
    data.save(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").graphs == data.graphs


@pytest.mark.worker
def test_datasets_in_int8_are_of_the_networks_that_ran(tmp_path):
    target = Target("here", "onnxruntime", precision="int8", threads=1)
    hasty = measure.Protocol(runs=2, warm_up_s=0.0, run_s=0.0, reference_s=0.0, redo=0)
    plan = measure.Plan(target, [variant(96)], hasty)
    data = measure.measured(tmp_path / "a", plan).dataset
    (graph,) = data.graphs
    assert graph.precision == "int8"
    floats = read_graph(variant(96).to_onnx(1, 0), batch=1)
    assert kernels(floats, target) == kernels(graph, target)
    assert [x.name for x in floats.layers if x.op == "conv"] == [
        x.name for x in graph.layers if x.op == "conv"
    ]
    # The profiler's times are of the layers that it names.
    timed = [x for x, ms in zip(graph.layers, data.layers[0], strict=True) if ms > 0]
    assert {"conv", "linear"} <= {x.op for x in timed}
    assert "onnxruntime.quantization" in data.provenance["runtime quantization"]
    data.save(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").graphs == data.graphs


def kernels(graph, target):
    """How often the target's runtime runs which kernel."""
    found = Networks.of(graph, target)
    rows = zip(found.ops.tolist(), found.labels, found.facts.tolist(), strict=True)
    counts = found.counts.toarray()[0]
    return {(op, label, *facts): n for (op, label, facts), n in zip(rows, counts, strict=True)}


def test_a_network_that_fails_costs_itself_only(tmp_path, make_graph_plan, fake):
    path = tmp_path / "changes.onnx"
    path.write_bytes(variant(96).to_onnx())
    networks = [variant(fake.RAISES), variant(96), OnnxFile.of(path), variant(fake.CRASHES)]
    with measure.open_or_resume(tmp_path / "a", make_graph_plan(networks)) as campaign:
        path.write_bytes(variant(112).to_onnx())
        measure.run(campaign)
        found = results(campaign)
    assert found.failures[0] == "RuntimeError: no kernel for this"
    assert "must stay as it was when the campaign began" in found.failures[2]
    assert "SIGSEGV" in found.failures[3]
    assert found.dataset.names == (networks[1].text,)


def test_a_profile_that_fails_is_no_reason_to_lose_the_run(tmp_path, make_graph_plan, fake):
    plan = replace(make_graph_plan([variant(96)]), runtime=fake.NoProfiler)
    with measure.open_or_resume(tmp_path / "a", plan) as campaign:
        measure.run(campaign)
        assert campaign.runs()[0].details["profile_failed"] == "OSError: disk full"
        data = results(campaign).dataset
    assert data.layers is None
    assert data.provenance[ATTRIBUTED_SHARE] == "no profiles"


def test_a_campaign_may_mix_networks_of_all_kinds(tmp_path, make_graph_plan, make_plan):
    (arch,) = make_plan([224]).sources
    block = BlockSource(arch.space, 7)
    with measure.open_or_resume(
        tmp_path / "a", make_graph_plan([arch, variant(96), block])
    ) as file:
        measure.run(file)
        data = results(file).dataset
    assert set(data.names) == {arch.name, variant(96).text, f"block 7 of {arch.space}"}
    rows = [data.names.index(name) for name in (arch.name, block.name)]
    space = latcast.space(arch.space)
    macs = [space.costs(make_plan([224]).networks)["macs"][0], space.block_table.facts["macs"][7]]
    assert data.latency_ms[rows] == pytest.approx(np.array(macs) / 1e8, rel=0.02)


def test_networks_survive_the_campaign_file(tmp_path):
    path = tmp_path / 'quoted "name".onnx'
    path.write_bytes(b"anything")
    for network in (
        VariantSource(variant(96)), OnnxFile.of(path), OnnxFile.of(path, "called so"),
        OnnxFile.of(path, None, ReadOptions(shapes={"x": (1, 4)}, batch_axis=1)),
        ArchSource("nasbench201", (0, 1, 2, 3, 4, 0)), BlockSource("nasbench201", 3),
    ):  # fmt: skip
        assert parse_source(network.text) == network
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        OnnxFile.of(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"path": "a"}', '{"variant": 3}', "nul"])
def test_texts_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="a variant or a file, as JSON"):
        parse_source(text)


def test_profiles_are_laid_on_layers_by_number():
    names = ("conv_0", "relu_3", "flatten_7", "linear_7", "Nameless")
    layers = [Layer(n, "relu", "Relu", (-1,), ((1,),), ((1,),)) for n in names]
    times = layer_times(Graph(tuple(layers)), {0: 1.5, 7: 0.5, 9: 3.0})
    assert np.array_equal(times, [1.5, np.nan, np.nan, 0.5, np.nan], equal_nan=True)
