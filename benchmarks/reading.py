"""Reading of files: processor time and memory of whole commands, beside onnx-tool, and of size.

    python benchmarks/reading.py [--model build/models/torchvision_resnet50.onnx]
        [--peer PYTHON] [--nodes 1000 10000 ...] > docs/results/reading.txt

The commands on one large file are run in turns with onnx-tool's count of the same file, by the
Python of ``--peer``, which has it; the least of several runs counts. Networks of any size are
blocks of two convolutions, a ReLU and a sum, written by our writers, and here for OpenVINO.
A format's growth is seconds a node from the smallest to the largest, by those to the second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

from latcast.bench.tables import machine
from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.ncnn import to_ncnn
from latcast.graph.write.onnx import to_onnx
from latcast.graph.write.tflite import to_tflite

_COMMAND = (sys.executable, "-c", "from latcast.cli import main; main()")
DEVICE = "epyc-genoa-2c"
# Channels and side of all maps.
_CHANNELS, _SIDE = 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=Path("build/models/torchvision_resnet50.onnx")
    )
    parser.add_argument("--peer", default=sys.executable, help="the Python that has onnx-tool")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1_000, 10_000, 30_000, 100_000])
    options = parser.parse_args()
    print(f"CPU seconds of whole commands, and the most memory that they hold; {machine()}")
    if options.model.is_file():
        print(beside(options.model, options.peer, options.repeats), flush=True)
    print("\nlatcast inspect FILE --layers 5, CPU seconds and MB by number of nodes")
    print(f"{'format':<10}" + "".join(f"{n:>16,}" for n in options.nodes) + "   growth", flush=True)
    for name, write in WRITERS.items():
        print(scaled(name, write, options.nodes), flush=True)


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and megabytes of a process."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    wall = time.perf_counter() - begin
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def beside(model: Path, peer: str, repeats: int) -> str:
    """Whole commands and onnx-tool, in turns."""
    commands = {
        "onnx-tool": (peer, "-m", "onnx_tool", "-i", str(model)),
        "latcast inspect": (*_COMMAND, "inspect", str(model)),
        "latcast predict, one target": (
            *_COMMAND, "predict", str(model), "--device", f"{DEVICE}/onnxruntime/b1/t1",
        ),
        "latcast predict, eight targets": (*_COMMAND, "predict", str(model), "--device", DEVICE),
    }  # fmt: skip
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(measured(command))
    least = {name: [min(x) for x in zip(*rows, strict=True)] for name, rows in runs.items()}
    size = model.stat().st_size / 2**20
    lines = [f"\n{model.name}, {size:.0f} MiB, the least of {repeats} runs in turns"]
    lines.append(f"{'command':<32}{'CPU s':>8}{'x peer':>8}{'wall s':>8}{'MB':>6}")
    for name, (cpu, wall, megabytes) in least.items():
        times = cpu / least["onnx-tool"][0]
        lines.append(f"{name:<32}{cpu:>8.2f}{times:>8.2f}{wall:>8.2f}{megabytes:>6.0f}")
    return "\n".join(lines)


def scaled(name: str, write: Callable[[int, Path], Path], nodes: Sequence[int]) -> str:
    """A line of the table of sizes."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for n in nodes:
            # In a process of its own: the memory of the one that starts a command counts as its.
            with get_context("spawn").Pool(1) as pool:
                file = pool.apply(write, (n, Path(folder, "net")))
            found.append(measured((*_COMMAND, "inspect", str(file), "--layers", "5")))
    cells = "".join(f"{cpu:>9.1f}{mb:>7.0f}" for cpu, _, mb in found)
    base, *rest = found
    if len(rest) < 2:
        return f"{name:<10}{cells}"
    few, many = ((x[0] - base[0]) / (n - nodes[0]) for x, n in
                 ((rest[0], nodes[1]), (rest[-1], nodes[-1])))  # fmt: skip
    return f"{name:<10}{cells}{many / few:>9.2f}"


# -- networks of any size, in every format ---------------------------------------------------------


def network(nodes: int) -> Graph:
    b = GraphBuilder()
    x = b.input(_CHANNELS, _SIDE, _SIDE)
    for _ in range(nodes // 4):
        y = b.activation(b.conv(x, _CHANNELS, 3), "relu")
        x = b.add(b.conv(y, _CHANNELS, 3), x)
    return b.build(x)


def _onnx(nodes: int, file: Path) -> Path:
    file = file.with_suffix(".onnx")
    file.write_bytes(to_onnx(network(nodes)))
    return file


def _tflite(nodes: int, file: Path) -> Path:
    file = file.with_suffix(".tflite")
    file.write_bytes(to_tflite(network(nodes)))
    return file


def _ncnn(nodes: int, file: Path) -> Path:
    text, weights = to_ncnn(network(nodes))
    file.with_suffix(".bin").write_bytes(weights)
    file = file.with_suffix(".param")
    file.write_text(text)
    return file


def _openvino(nodes: int, file: Path) -> Path:
    """The XML that OpenVINO writes, with one constant for all convolutions."""
    sides = f"<dim>1</dim><dim>{_CHANNELS}</dim><dim>{_SIDE}</dim><dim>{_SIDE}</dim>"
    weights = f"<dim>{_CHANNELS}</dim><dim>{_CHANNELS}</dim><dim>3</dim><dim>3</dim>"
    layers: list[str] = []
    edges: list[str] = []
    outs: dict[int, int] = {}

    def layer(kind: str, opset: str, data: str, reads: Sequence[tuple[int, str]] = ()) -> int:
        at = len(layers)
        ports = "".join(f'<port id="{n}" precision="FP32">{s}</port>'
                        for n, (_, s) in enumerate(reads))  # fmt: skip
        shape = weights if kind == "Const" else sides
        layers.append(
            f'<layer id="{at}" name="{kind}_{at}" type="{kind}" version="{opset}">{data}'
            f'<input>{ports}</input><output><port id="{len(reads)}" precision="FP32">{shape}'
            "</port></output></layer>"
        )
        for n, (source, _) in enumerate(reads):
            port = outs[source]
            edges.append(
                f'<edge from-layer="{source}" from-port="{port}" to-layer="{at}" to-port="{n}"/>'
            )
        outs[at] = len(reads)
        return at

    shape = f"1,{_CHANNELS},{_SIDE},{_SIDE}"
    x = layer("Parameter", "opset1", f'<data shape="{shape}" element_type="f32"/>')
    count = _CHANNELS**2 * 9 * 4
    w = layer(
        "Const", "opset1",
        f'<data element_type="f32" shape="{_CHANNELS},{_CHANNELS},3,3" offset="0" size="{count}"/>',
    )  # fmt: skip
    data = (
        '<data strides="1,1" dilations="1,1" pads_begin="1,1" pads_end="1,1" auto_pad="explicit"/>'
    )
    for _ in range(nodes // 4):
        y = layer("Convolution", "opset1", data, [(x, sides), (w, weights)])
        y = layer("ReLU", "opset1", "", [(y, sides)])
        y = layer("Convolution", "opset1", data, [(y, sides), (w, weights)])
        x = layer("Add", "opset1", '<data auto_broadcast="numpy"/>', [(y, sides), (x, sides)])
    edges.append(f'<edge from-layer="{x}" from-port="2" to-layer="{len(layers)}" to-port="0"/>')
    layers.append(
        f'<layer id="{len(layers)}" name="out" type="Result" version="opset1"><input>'
        f'<port id="0" precision="FP32">{sides}</port></input></layer>'
    )
    file.with_suffix(".bin").write_bytes(bytes(count))
    file = file.with_suffix(".xml")
    file.write_text(
        f'<?xml version="1.0"?><net name="net" version="11"><layers>{"".join(layers)}</layers>'
        f"<edges>{''.join(edges)}</edges></net>"
    )
    return file


WRITERS: dict[str, Callable[[int, Path], Path]] = {
    "ONNX": _onnx,
    "TFLite": _tflite,
    "ncnn": _ncnn,
    "OpenVINO": _openvino,
}

if __name__ == "__main__":
    main()
