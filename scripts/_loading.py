"""What a checkout loads when a room is imported, and what it executes for a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Run in a process of its own: the modules of latcast that a room loads by itself, and once each
# of its public names was touched.
MODULES = """
import importlib, json, sys
def loaded():
    return sum(name.partition(".")[0] == "latcast" for name in sys.modules)
room = importlib.import_module(sys.argv[1])
counts = [loaded()]
for name in room.__all__:
    getattr(room, name)
print(json.dumps([*counts, loaded()]))
"""

# Run before the commands: a small network, and ten rows of a measured dataset.
MATERIAL = """
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import latcast
shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (8, 10)}
weights = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in shapes.items()]
nodes = [
    helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1], group=8),
    helper.make_node("Clip", ["d"], ["e"]),
    helper.make_node("Conv", ["e", "w3"], ["f"]),
    helper.make_node("Add", ["c", "f"], ["g"]),
    helper.make_node("GlobalAveragePool", ["g"], ["h"]),
    helper.make_node("Flatten", ["h"], ["i"]),
    helper.make_node("MatMul", ["i", "w4"], ["j"]),
    helper.make_node("Softmax", ["j"], ["y"]),
]
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
graph = helper.make_graph(nodes, "small", [x], [y], weights)
opset = helper.make_opsetid("", 17)
onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), "small.onnx")
latcast.read(sys.argv[1])[:10].save("ten.parquet")
"""

# Run with a command's arguments: the files of the package in which a function was called, on any
# thread of this process. What runs while a module is imported (its body, its class bodies, what
# they call) is not counted: that is the cost of loading, which has a figure of its own.
EXECUTED = """
import inspect, json, sys, threading
source = sys.argv.pop(1)
called = {}
def importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return True
        frame = frame.f_back
    return False
def hook(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(source) and not called.get(code):
        called[code] = bool(code.co_flags & inspect.CO_OPTIMIZED) and not importing(frame)
threading.setprofile(hook)
sys.setprofile(hook)
from latcast.cli import main
try:
    main()
    code = 0
except SystemExit as end:
    code = end.code or 0
sys.setprofile(None)
if code:
    sys.exit(code)
print(json.dumps(len({code.co_filename for code, counts in called.items() if counts})))
"""
COMMANDS = {
    "predict ONNX": "predict small.onnx --device raspberry-pi-4",
    "adapt": "adapt samsung-note10 ten.parquet --out adapted.latcast --json",
    "search": "search --device samsung-note10 --max-latency 20 --json",
    "measure": "measure --samples 2 --resolutions 128 --visits 2 --out measured.parquet --json",
}
DATASET = "datasets/epyc-genoa-2c_mnn_b1_t1.parquet"


def loaded_modules(checkout: Path) -> Iterator[tuple[str, int | None]]:
    """Modules of latcast that two rooms load by themselves, and with each of their names."""
    with tempfile.TemporaryDirectory() as folder:
        for room in ("latcast.data", "latcast.search"):
            answer = _answer(checkout, folder, MODULES, room)
            alone, all_names = (None, None) if answer is None else json.loads(answer)
            yield f"modules loaded by {room}", alone
            yield f"modules loaded by every name of {room}", all_names


def executed_files(checkout: Path) -> Iterator[tuple[str, int | None]]:
    """Source files in which a command calls a function, for each of :data:`COMMANDS`."""
    with tempfile.TemporaryDirectory() as folder:
        _answer(checkout, folder, MATERIAL, str(checkout / DATASET))
        package = str(checkout / "src" / "latcast") + os.sep
        for what, arguments in COMMANDS.items():
            answer = _answer(checkout, folder, EXECUTED, package, *arguments.split())
            yield f"files executed by {what}", None if answer is None else int(answer)


def _answer(checkout: Path, folder: str, program: str, *arguments: str) -> str | None:
    """The last line that a program prints, run with the sources of a checkout; None: it failed."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "TMPDIR": folder}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-P", "-c", program, *arguments]
    run = subprocess.run(  # noqa: S603 - programs of this file
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if run.returncode:
        print(f"{' '.join(arguments)} failed:\n{run.stderr[-2000:]}", file=sys.stderr)
        return None
    return run.stdout.strip().rpartition("\n")[2]
