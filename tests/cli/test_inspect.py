"""``latcast inspect``: the layers of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import model

from latcast.graph.read import read_graph
from latcast.graph.write.onnx import to_onnx
from latcast.spaces import space


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    the_space = space("ofa-mobilenet-v3")
    arch = the_space.sample(1, seed=2, restrict={"r": [128]})
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(to_onnx(the_space.network(arch), open_batch=True))
    return path


def _save(path: Path, nodes: list[onnx.NodeProto], sides: list[Any]) -> Path:
    made = model(nodes, {"x": sides}, {"w": np.ones((4, 4), np.float32)})
    onnx.save(made, path)
    return path


@pytest.fixture
def with_unknown(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Magic", ["a"], ["b"], domain="com.example", name="evil\x1b[31m"),
        helper.make_node("Relu", ["b"], ["y"], name="last"),
    ]
    return _save(tmp_path / "odd.onnx", nodes, ["N", 4])


def test_layers_and_sums(latcast: Any, network: Path) -> None:
    graph = read_graph(network, batch=2)
    record = latcast.json("inspect", network, "--batch", 2)
    assert len(record["layers"]) == len(graph)
    assert record["total"]["macs"] == graph.macs
    for fact in ("macs", "params", "read_bytes", "moved_bytes"):
        assert sum(kind[fact] for kind in record["kinds"]) == record["total"][fact]
    views = [x for x in record["layers"] if x["kind"] == "view"]
    assert 0 < len(views) == len(graph) - record["total"]["layers"]
    assert all(x["moved_bytes"] == 0 < x["read_bytes"] for x in views)
    text = latcast("inspect", network).stdout
    assert len(views) == 1
    assert f"net: {len(graph) - 1} layers, and 1 view" in text
    assert "1x24x64x64" in text


def test_predict_counts_the_same_layers_and_kernels(latcast: Any, network: Path) -> None:
    inspected = latcast.json("inspect", network)
    device = "epyc-genoa-2c-onnxruntime-b1-t1"
    costs = latcast.json("predict", network, "--device", device)["network"]
    counts = inspected["total"]["layers"], inspected["fused"]["kernels"]
    assert counts == (costs["layers"], costs["kernels"])


def test_the_busiest_layers_in_running_order(latcast: Any, network: Path) -> None:
    everything = latcast.json("inspect", network)
    shown = latcast.json("inspect", network, "--layers", 5)
    macs = sorted((x["macs"] for x in everything["layers"]), reverse=True)
    assert sorted((x["macs"] for x in shown["layers"]), reverse=True) == macs[:5]
    names = [x["name"] for x in everything["layers"]]
    positions = [names.index(x["name"]) for x in shown["layers"]]
    assert positions == sorted(positions)
    assert shown["total"] == everything["total"]
    assert "1x24x64x64" not in latcast("inspect", network, "--layers", 0).stdout


def test_what_is_not_known_is_told_and_strict_fails(latcast: Any, with_unknown: Path) -> None:
    run = latcast("inspect", with_unknown)
    assert "com.example::Magic x 1 (33.3 % of layers), Relu x 1" in run.stderr
    assert "\x1b" not in run.stdout
    assert "evil\N{REPLACEMENT CHARACTER}[31m" in run.stdout
    record = latcast.json("inspect", with_unknown, "--quiet")
    assert record["uncosted"][0] == {
        "operator": "com.example::Magic",
        "layers": 1,
        "share": pytest.approx(1 / 3),
    }
    assert [x["macs"] for x in record["layers"]] == [16, None, None]
    assert latcast("inspect", with_unknown, "--quiet").stderr == ""
    message = latcast.error("inspect", with_unknown, "--strict", code=1)
    assert "every operator must be supported" in message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--shape", "x"], 2, "--shape must be like input=1x3x224x224; got 'x'"),
        (["--shape", "x=1xx2"], 2, "--shape must be like"),
        (["--shape", "z=1x2"], 1, "inputs of the model: x"),
        ([], 1, "--shape x=1x3x224x224"),
    ],
)
def test_shapes_that_are_asked_for(
    latcast: Any, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = _save(tmp_path / "open.onnx", nodes, ["N", 3, "h", "w"])
    assert message in latcast.error("inspect", path, *options, code=code)
    shown = latcast.json("inspect", path, "--shape", "x=2x3x5x7")
    assert shown["layers"][0]["out_shapes"] == [[2, 3, 5, 7]]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("none.onnx", 2, "no such file"),
        ("net.pth", 1, "must be a file of torch.export.save"),
        ("net.h5", 2, "must end in .onnx, .pt2, .tflite, .param, .xml, be - for standard input"),
        ("net.onnx", 1, "must be an ONNX model"),
        ("net.pt2", 1, "net.pt2"),
    ],
)
def test_files_that_hold_no_model(
    latcast: Any, tmp_path: Path, name: str, code: int, message: str
) -> None:
    if name != "none.onnx":
        (tmp_path / name).write_bytes(b"nothing of the kind")
    assert message in latcast.error("inspect", tmp_path / name, code=code)


def test_memory_and_kernels_are_sorted_and_drawn(latcast: Any, network: Path) -> None:
    graph, page = read_graph(network), network.with_suffix(".html")
    record = latcast.json("inspect", network, "--sort", "memory", "--html", page)
    held = [x["held_bytes"] for x in record["layers"]]
    assert held == sorted(graph.activation_memory().held_bytes, reverse=True)
    assert record["peak"]["bytes"] == held[0] == sum(x["bytes"] for x in record["peak"]["tensors"])
    assert record["peak"]["in_place_bytes"] <= record["peak"]["onnxruntime_bytes"]
    assert record["total"]["intensity"] == 2 * graph.macs / record["total"]["moved_bytes"]
    kernels, fused = record["kernels"], record["fused"]
    assert sum(x["layers"] for x in kernels) == len(graph)
    assert sum(x["macs"] for x in kernels) == graph.macs
    assert sum(x["moved_bytes"] for x in kernels) == fused["moved_bytes"]
    assert fused["moved_bytes"] + fused["saved_bytes"] == record["total"]["moved_bytes"]
    assert sum(x["saved_bytes"] for x in fused["savings"]) == fused["saved_bytes"]
    html = page.read_text(encoding="utf-8")
    assert "Why fused memory traffic differs" in html
    text = latcast("inspect", network, "--kernels", "--layers", 1, "--in-place").stdout
    assert "fused kernels" in text
    assert "peak memory of activations" in text
    message = latcast.error("inspect", network, "--sort", "size", code=1)
    assert "--sort must be one of macs, params" in message
