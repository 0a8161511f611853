"""Make what the golden records are of: networks, datasets and tables that never change.

They were made once, by ``python tests/golden/make_inputs.py`` at commit 734258d, and are not to
be made again: what is asked must stay the same, whatever becomes of samplers and writers.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import latcast
from latcast.data import NetworkDataset
from latcast.devices import Target
from latcast.families import Member, family_names, population
from latcast.graph import fuse, kernel_facts
from latcast.graph.read.onnx import read_onnx
from latcast.spaces import space_names

DATA = Path(__file__).parent / "data"
ONNX_OF = {
    "mobile": "mobilenet-v3(large=0,width=25,depth=4,kernel=5,squeeze=1,native=0,resolution=208,"
    "classes=1000)",
    "fire": "squeezenet(stem=7,width=96,depth1=1,depth2=2,depth3=1,squeeze=125,large=25,first=64,"
    "resolution=112,classes=100)",
    "tokens": "vit(patch=8,width=320,depth=1,head=32,expand=2,native_gelu=1,native_norm=0,"
    "resolution=192,classes=10)",
}
PRICES = {
    "2080ti_1": (4e-9, 1e-9, 0.02),
    "2080ti_32": (9e-8, 4e-8, 0.02),
    "titan_rtx_1": (4e-9, 1e-9, 0.015),
    "titan_rtx_32": (8e-8, 4e-8, 0.015),
    "v100_32": (7e-8, 3e-8, 0.03),
    "gold_6226": (2e-7, 1e-7, 0.001),
}


def main() -> None:
    DATA.mkdir(exist_ok=True)
    for name, text in ONNX_OF.items():
        write(f"{name}.onnx.gz", blank(Member.parse(text).to_onnx()))
    write("odd.onnx.gz", odd())
    record = {
        "archs": {name: latcast.space(name).sample(5, 11).to_dicts() for name in space_names()},
        "members": [m.text for m in population(2 * len(family_names()), 3)],
        "tables": {name: table(name, n) for name, n in (
            ("ofa-mobilenet-v3", 160), ("nasbench201", 130), ("ofa-resnet50", 60), ("fbnet", 60),
        )},
        "help": {name: help_folder(name) for name in ("nasbench201", "ofa-mobilenet-v3")},
        "lookup_table": lookup_table(),
    }  # fmt: skip
    write("inputs.json.gz", json.dumps(record, separators=(",", ":")).encode())
    networks().save(DATA / "networks.parquet")


def write(name: str, content: bytes) -> None:
    (DATA / name).write_bytes(gzip.compress(content, mtime=0))


def blank(content: bytes) -> bytes:
    """Without a batch, and with weights of zeros, which cost the same and take no room."""
    model = onnx.load_model_from_string(content)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(values), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    return model.SerializeToString()


def odd() -> bytes:
    """Parallel branches, broadcasts, a transposed product, and an operator that nobody knows."""

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], "stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"], "norm"),
        node("Relu", ["b"], ["c"], "relu"),
        node("Conv", ["c", "w2"], ["d"], "depthwise", pads=[2, 2, 2, 2], group=16),
        node("Sigmoid", ["d"], ["e"], "sigmoid"),
        node("Mul", ["d", "e"], ["f"], "swish"),
        node("MaxPool", ["c"], ["g"], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Concat", ["f", "g"], ["h"], "concat", axis=1),
        node("Shrivel", ["h"], ["i"], "shrivel", domain="nobody"),
        node("Conv", ["h", "w3"], ["j"], "point"),
        node("Add", ["j", "c"], ["k"], "residual"),
        node("GlobalAveragePool", ["k"], ["l"], "mean"),
        node("Flatten", ["l"], ["m"], "flatten"),
        node("Gemm", ["m", "w4", "bias"], ["n"], "linear", transB=1),
        node("Softmax", ["n"], ["y"], "softmax"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "odd",
        [value("x", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [value("y", TensorProto.FLOAT, ["N", 10]), value("i", TensorProto.FLOAT, None)],
        [weight("w1", 16, 3, 3, 3), weight("s", 16), weight("w2", 16, 1, 5, 5),
         weight("w3", 16, 32, 1, 1), weight("w4", 10, 16), weight("bias", 10)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def table(name: str, n: int) -> dict[str, Any]:
    """Architectures with latencies by their physics, and accuracies that saturate."""
    the_space, rng = latcast.space(name), np.random.default_rng(7)
    resolutions = {"r": [160, 192, 224]} if any(g.name == "r" for g in the_space.genes) else None
    restrict = resolutions if name == "ofa-mobilenet-v3" else None
    archs = the_space.sample(n + 20, 5, restrict=restrict).unique()[:n]
    facts = the_space.block_table.facts
    ms = facts["macs"] * 2e-8 + facts["elementwise_bytes"] * 5e-8 + facts["launches"] * 0.01
    latency = (1 + the_space.block_sums(archs, ms)) * rng.normal(1, 0.01, len(archs))
    macs = the_space.costs(archs)["macs"].to_numpy()
    accuracy = 0.7 + 0.05 * np.tanh(np.log(macs / 1e8)) + rng.normal(0, 0.003, len(archs))
    return {
        "archs": archs.to_dicts(),
        "latency_ms": latency.round(6).tolist(),
        "accuracy": accuracy.round(6).tolist(),
    }


def help_folder(name: str) -> dict[str, Any]:
    """What HELP's files hold."""
    the_space, rng = latcast.space(name), np.random.default_rng(1)
    archs = the_space.sample(200, 0).unique()[:100]
    facts = the_space.block_table.facts
    latency = {}
    for target, (macs, moved, launch) in PRICES.items():
        ms = macs * facts["macs"] + moved * facts["elementwise_bytes"] + launch * facts["launches"]
        noise = rng.normal(1.0, 0.005, len(archs))
        latency[target] = ((0.5 + the_space.block_sums(archs, ms)) * noise).round(6).tolist()
    return {"archs": archs.to_dicts(), "latency": latency}


def lookup_table() -> dict[str, float]:
    """Milliseconds by Once-For-All's names of blocks, of two resolutions."""
    blocks = latcast.space("ofa-mobilenet-v3").block_table
    facts = blocks.facts
    ms = facts["macs"] * 2e-8 + facts["launches"] * 0.01
    keys = [k for k in blocks.keys if k.startswith(("160/", "224/"))]
    values = dict(zip(blocks.keys, ms.round(6).tolist(), strict=True))
    return {key: values[key] for key in keys}


def networks() -> NetworkDataset:
    """Members of three families whose latency follows their physics."""
    members = population(27, 1, ["vgg", "squeezenet", "mobilenet-v1"])
    graphs = tuple(read_onnx(member.to_onnx()) for member in members)
    ms = []
    for graph in graphs:
        macs, *moved = kernel_facts(graph, fuse(graph))[:, :4].sum(axis=0).tolist()
        ms.append(2e-8 * macs + 1e-7 * sum(moved) + 0.004 * len(fuse(graph)))
    return NetworkDataset(
        graphs,
        tuple(member.text for member in members),
        tuple(member.family for member in members),
        np.array(ms) * np.random.default_rng(0).normal(1, 0.01, len(graphs)),
        Target("imaginary", "simulator"),
        provenance={"source": "closed form", "licence": "CC0-1.0"},
    )


if __name__ == "__main__":
    main()
