"""Node data and the extension, through Google's Model Explorer itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from latcast.families import Variant
from latcast.graph.write.tflite import to_tflite

pytest.importorskip("model_explorer", reason="needs: pip install 'latcast[explorer]'")
pytestmark = [pytest.mark.slow, pytest.mark.worker]

DEVICE = "epyc-genoa-2c-onnxruntime-b1-t1"
ADAPTERS = {"onnx": "onnx_adapter", "tflite": "builtin_tflite_flatbuffer"}

# In a process of its own: the package imports much, and registers extensions for good.
ASK = """
import json, sys
from model_explorer.extension_manager import ExtensionManager

commands = json.load(sys.stdin)
extensions = ["latcast.search.interop.model_explorer", "model_explorer_onnx"]
manager = ExtensionManager(extensions)
manager.load_extensions()
answers = [manager.get_extensions_metadata()]
for command in commands:
    if command["cmdId"] == "run" and command["graph"] is True:
        command["graph"] = answers[-1]
    answer = manager.run_cmd(command)
    if command["cmdId"] == "convert":
        answer = (answer.get("graphs") or answer["graphCollections"][0]["graphs"])[0]
    answers.append(answer)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network in two formats; some of the ONNX file's nodes have no name."""
    folder = tmp_path_factory.mktemp("files")
    variant = Variant.parse("mobilenet-v1")
    (folder / "net.tflite").write_bytes(to_tflite(variant.graph().folded))
    model = onnx.load_from_string(variant.to_onnx())
    for node in model.graph.node[::3]:
        node.name = ""
    onnx.save(model, folder / "net.onnx")
    return {suffix: folder / f"net.{suffix}" for suffix in ADAPTERS}


@pytest.fixture(scope="module")
def answers(files: dict[str, Path]) -> list[Any]:
    """What the package says: its extensions, then of each command."""
    commands: list[dict[str, Any]] = []

    def ask(path: Path, adapter: str, device: str) -> None:
        common = {"modelPath": str(path), "graphId": "main"}
        commands.append(
            common | {"cmdId": "convert", "extensionId": adapter, "settings": {},
                      "deleteAfterConversion": False}
        )  # fmt: skip
        values = {"device": device, "runtime": "", "precision": "", "batch": ""}
        commands.append(
            common | {"cmdId": "run", "extensionId": "latcast_forecast", "configValues": values,
                      "graph": True}
        )  # fmt: skip

    for suffix, adapter in ADAPTERS.items():
        ask(files[suffix], adapter, DEVICE)
    ask(files["onnx"], "latcast", f"{DEVICE}, no-such-device")
    ask(files["onnx"], "latcast", "no-such-device")
    commands.append({"cmdId": "get_config_editors", "extensionId": "latcast_forecast"})
    run = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(commands), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return list(json.loads(run.stdout.splitlines()[-1]))


def test_the_package_knows_the_extension(answers: list[Any]) -> None:
    found = {extension["id"]: extension for extension in answers[0]}
    assert found["latcast"]["type"] == "adapter"
    assert {"onnx", "tflite", "param", "xml", "pt2"} <= set(found["latcast"]["fileExts"])
    assert found["latcast_forecast"]["type"] == "node_data_provider"
    editors = answers[-1]["configEditors"]
    assert [editor["id"] for editor in editors] == ["device", "runtime", "precision", "batch"]


@pytest.mark.parametrize("place", [1, 3, 5], ids=[*ADAPTERS, "latcast"])
def test_its_node_data_are_of_the_nodes_that_are_shown(answers: list[Any], place: int) -> None:
    graph, told = answers[place : place + 2]
    ms, lower, upper, bound = told["result"]
    ids = {node["id"] for node in graph["nodes"]}
    assert 26 <= len(ms["results"]) < len(bound["results"])
    for column in (ms, lower, upper, bound):
        assert set(column["results"]) <= ids
    for node, entry in ms["results"].items():
        assert lower["results"][node]["value"] < entry["value"] < upper["results"][node]["value"]
    fused = set(bound["results"]) - set(ms["results"])
    assert all(bound["results"][node]["value"].startswith("fused into ") for node in fused)
    assert ("no-such-device" in told["error"]) == (place == 5)


def test_errors_are_shown(answers: list[Any]) -> None:
    assert answers[8]["result"] is None
    assert "no-such-device" in answers[8]["error"]


def _shown(graph: dict[str, Any], results: dict[str, Any]) -> dict[str, float]:
    """What Model Explorer's page shows of a file of node data: nodes by a tensor's name, or id."""
    nodes = {node["id"]: node["id"] for node in graph["nodes"]}
    for node in graph["nodes"]:
        for output in node["outputsMetadata"]:
            told = {a["key"]: a["value"] for a in output["attrs"]}
            nodes |= {told["tensor_name"]: node["id"]} if "tensor_name" in told else {}
    return {nodes[key]: entry["value"] for key, entry in results.items() if key in nodes}


@pytest.mark.parametrize("suffix", ADAPTERS)
def test_files_of_node_data(
    suffix: str, files: dict[str, Path], answers: list[Any], latcast: Any, tmp_path: Path
) -> None:
    from model_explorer import node_data_builder

    out = tmp_path / "ms.json"
    found = latcast.json("predict", files[suffix], "--device", DEVICE, "--node-data", out)
    latency_ms = found["devices"][0]["latency_ms"]
    graph = answers[1 + 2 * list(ADAPTERS).index(suffix)]
    data = json.loads(out.read_text())
    assert sum(_shown(graph, data["results"]).values()) == pytest.approx(latency_ms, rel=1e-9)
    assert {path.name for path in tmp_path.iterdir()} == {
        "ms.json", "ms.lower.json", "ms.upper.json", "ms.bound.json",
    }  # fmt: skip
    for path in tmp_path.iterdir():
        read = json.loads(path.read_text())
        assert set(read) <= set(node_data_builder.GraphNodeData.__dataclass_fields__)
        for entry in read["results"].values():
            node_data_builder.NodeDataResult(**entry)
