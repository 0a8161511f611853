"""Forecasts for Perfetto and Netron; those for Model Explorer are tested through it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from latcast.data import Dataset
from latcast.families import Variant
from latcast.graph.read.onnx import read_onnx
from latcast.models import Kernels
from latcast.models.forecast import forecast
from latcast.models.forecast_records import NetworkForecast
from latcast.report.node_data import whole_operators

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, layer_model: Kernels) -> tuple[Path, Path]:
    """A network's file, and a model of layers."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "net.onnx").write_bytes(Variant.parse("mobilenet-v1").to_onnx())
    layer_model.save(folder / "cpu.latcast")
    return folder / "net.onnx", folder / "cpu.latcast"


@pytest.fixture(scope="module")
def found(model: tuple[Path, Path]) -> NetworkForecast:
    network, predictor = model
    other = predictor.with_name("other.latcast")
    other.write_bytes(predictor.read_bytes())
    forecasted = forecast(network, [predictor, other])
    assert isinstance(forecasted, NetworkForecast)
    return forecasted


def _slices(trace: dict[str, Any], process: int, thread: int) -> list[dict[str, Any]]:
    events = [e for e in trace["traceEvents"] if (e["pid"], e["tid"]) == (process, thread)]
    return [e for e in events if e["ph"] == "X"]


def check_trace(trace: dict[str, Any]) -> None:
    """The trace-event format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU"""
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    tracks = set()
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
            tracks.add((event["pid"], event["tid"]))
        else:
            assert event["ph"] == "X"
            assert event["ts"] >= 0
            assert event["dur"] > 0
            assert "moved_bytes" not in event["args"]  # in the field's words: traffic
            assert (event["pid"], event["tid"]) in tracks
    for track in tracks:  # of one track, none begins before the one before has ended
        slices = _slices(trace, *track)
        for one, next_one in pairwise(slices):
            assert next_one["ts"] >= one["ts"] + one["dur"] - 1e-6


def test_a_trace_has_a_track_for_every_device(found: NetworkForecast) -> None:
    trace = json.loads(json.dumps(found.to_trace(), allow_nan=False))
    check_trace(trace)
    for thread, device in enumerate(found.devices, 1):
        slices = _slices(trace, 1, thread)
        assert [e["name"] for e in slices] == [k.name for k in device.kernels]
        assert slices[-1]["ts"] + slices[-1]["dur"] == pytest.approx(1e3 * device.latency_ms)


def test_a_profile_of_onnx_runtime_is_beside_it(
    found: NetworkForecast, model: tuple[Path, Path], tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model[0], options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 224, 224), np.float32)})
    profile = Path(session.end_profiling())
    trace = found.to_trace(profile)
    check_trace(trace)
    events = json.loads(profile.read_text())
    runs = sorted(e["dur"] for e in events if e["name"] == "model_run")
    slices = _slices(trace, 2, 1)
    in_all = sum(e["cat"] == "Node" and e["name"].endswith("_kernel_time") for e in events)
    assert 3 * len(slices) == in_all
    assert slices[0]["ts"] == 0
    assert sum(e["dur"] for e in slices) <= runs[1]


def test_a_dataset_with_times_of_layers_is_beside_it(
    found: NetworkForecast, model: tuple[Path, Path], tmp_path: Path
) -> None:
    graph = read_onnx(model[0].read_bytes())
    layers = np.where(np.arange(len(graph)) % 2, np.nan, 0.1)
    data = Dataset((graph, graph), np.array([3.0, 4.0]), "board/fake/b1",  # type: ignore[arg-type]
                   names=("net.onnx", "other"), layers=(layers, layers))  # fmt: skip
    data.save(tmp_path / "data.parquet")
    trace = found.to_trace(tmp_path / "data.parquet")
    check_trace(trace)
    slices = _slices(trace, 2, 1)
    assert [e["name"] for e in slices] == [layer.name for layer in graph.layers[::2]]
    assert all(e["dur"] == pytest.approx(100) for e in slices)
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"]
    assert names[-1] == "board/fake/b1, data.parquet"

    data[1:].concatenate(data[1:]).save(tmp_path / "others.parquet")
    with pytest.raises(ValueError, match=r"one row of net\.onnx; it has 0 among other, other"):
        found.to_trace(tmp_path / "others.parquet")
    Dataset((graph,), np.ones(1), "board/fake/b1").save(tmp_path / "bare.parquet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must hold the times of layers"):
        found.to_trace(tmp_path / "bare.parquet")


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"cat": "Node"}]', "[[[", "3"])
def test_what_is_no_profile(found: NetworkForecast, tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(ValueError, match="a profile must be ONNX Runtime's"):
        found.to_trace(tmp_path / "profile.json")


def test_an_annotated_file_is_the_same_but_for_its_metadata(
    found: NetworkForecast, model: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "annotated.onnx"
    assert found.annotate(out) == len({x for k in found.devices[0].kernels for x in k.layers})
    before, after = onnx.load(model[0]), onnx.load(out)
    onnx.checker.check_model(after)
    labels = [f"latcast {d.target} ({Path(d.device).name}): " for d in found.devices]
    told = {entry.key: entry.value for entry in after.metadata_props}
    assert {*told} == {f"{x}{y}" for x in labels for y in ("latency", "90 % interval", "bound by")}
    kernel = found.devices[0].kernels[0]
    first, fused = (node.metadata_props for node in after.graph.node[:2])
    facts = ("latency", "interval", "bound by")
    assert {e.key for e in first} == {f"{x}{fact}" for x in labels for fact in facts}
    # Netron cuts the keys before the fact.
    told_by_itself = (
        r"\S+ ms, \S+ % of the network's",
        r"\S+ to \S+ ms",
        "bound by (compute|memory|launch)",
    )
    for entry, pattern in zip(first, len(labels) * told_by_itself, strict=True):
        assert re.fullmatch(pattern, entry.value)
    into = f"fused into {kernel.name}"
    assert {(e.key, e.value) for e in fused} == {(f"{x}fused into", into) for x in labels}
    for holder in (after, *after.graph.node):
        holder.ClearField("metadata_props")
    assert after == before

    inputs = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    one, other = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": inputs})
        for path in (model[0], out)
    )
    assert np.array_equal(one[0], other[0])
    assert found.annotate(out) == found.annotate(tmp_path / "again.onnx")  # replaces, adds nothing
    assert out.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def _two_convolutions(folder: Path) -> Path:
    """Nodes of one name, a branch, and weights in a file of their own."""
    weights = np.zeros((4, 4, 3, 3), np.float32)
    (folder / "weights.bin").write_bytes(weights.tobytes())
    tensor = numpy_helper.from_array(weights, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")

    def conv(source: str, out: str, name: str) -> Any:
        return helper.make_node("Conv", [source, "w"], [out], name=name, pads=[1, 1, 1, 1])

    def value(name: str, kind: int = TensorProto.FLOAT, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape or (1, 4, 8, 8))

    branches = [
        helper.make_graph([conv("b", f"o{n}", "inner")], f"branch{n}", [], [value(f"o{n}")])
        for n in range(2)
    ]
    choice = helper.make_node("If", ["c"], ["y"], name="choice",
                              then_branch=branches[0], else_branch=branches[1])  # fmt: skip
    graph = helper.make_graph(
        [conv("x", "a", "same"), conv("a", "b", "same"), choice], "net",
        [value("x"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])], [value("y")],
        [tensor],
    )  # fmt: skip
    path = folder / "net.onnx"
    opset = helper.make_opsetid("", 17)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    )
    return path


def test_every_node_of_a_name_and_of_branches_is_told(
    model: tuple[Path, Path], tmp_path: Path
) -> None:
    path = _two_convolutions(tmp_path)
    found = forecast(path, [model[1]])
    assert isinstance(found, NetworkForecast)
    out = tmp_path / "out.onnx"
    assert found.annotate(out) >= 3
    after = onnx.load(out)  # with its weights
    texts = [[e.value for e in node.metadata_props] for node in after.graph.node]
    kernels = found.devices[0].kernels[:2]
    assert [text[0].split()[0] for text in texts[:2]] == [f"{k.ms:.3g}" for k in kernels]
    then_branch = after.graph.node[2].attribute[0].g
    assert then_branch.node[0].metadata_props
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(ValueError, match=r"must be in the folder of .*weights\.bin"):
        found.annotate(elsewhere / "out.onnx")


def test_parts_of_an_operator_are_one_node() -> None:
    node = whole_operators(["a", "a/inverse", "b/bias", "a/inverse/more"])
    assert [node(x) for x in ("a", "a/inverse", "b/bias", "a/inverse/more")] == [
        "a",
        "a",
        "b/bias",
        "a",
    ]


def test_the_command_line_writes_them(
    model: tuple[Path, Path], latcast: Any, tmp_path: Path
) -> None:
    network, predictor = model
    outs = [tmp_path / name for name in ("a.json", "t.json", "a.onnx")]
    options = ("--node-data", outs[0], "--trace", outs[1], "--annotate", outs[2])
    told = latcast("predict", network, "--device", predictor, *options)
    assert told.stderr.splitlines()[-1].startswith(f"wrote {outs[0]}, {tmp_path / 'a.lower.json'}")
    assert all(path.is_file() for path in outs)
    check_trace(json.loads(outs[1].read_text()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--profile", "p.json"), "--profile is shown in a trace"),
        (("--trace", "p.txt"), "--trace must end in .json"),
        (("--annotate", "net.txt"), "--annotate must end in .onnx"),
        (("--trace", "t.json", "--sweep", "batch=1,2"), "--trace is for one forecast"),
        (("--trace", "t.json", "--profile", "none.json"), "no such file: none.json"),
    ],
)
def test_options_that_make_no_sense(
    model: tuple[Path, Path], latcast: Any, options: tuple[str, ...], message: str
) -> None:
    network, predictor = model
    error = latcast.error("predict", network, "--device", predictor, *options, code=2)
    assert message in error


def test_only_onnx_files_are_annotated(layer_model: Kernels, model: tuple[Path, Path]) -> None:
    graph = forecast(read_onnx(model[0].read_bytes()), [model[1]])
    assert isinstance(graph, NetworkForecast)
    with pytest.raises(ValueError, match="only an ONNX file can be annotated; got a graph"):
        graph.annotate("out.onnx")


def test_energies_are_no_trace(
    network_data: Dataset, model: tuple[Path, Path], latcast: Any, tmp_path: Path
) -> None:
    energies = replace(network_data[:30], quantity="energy_mj")  # type: ignore[arg-type]
    Kernels().fit(energies).save(tmp_path / "energy.latcast")
    error = latcast.error("predict", model[0], "--device", tmp_path / "energy.latcast",
                          "--trace", tmp_path / "t.json", code=2)  # fmt: skip
    assert "--trace is for forecasts of latency" in error
