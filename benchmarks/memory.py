"""Peak memory of activations: ours beside what a fresh process of ONNX Runtime grows by.

    python benchmarks/memory.py [--models build/memory] > docs/results/memory.txt

Networks of ``real_models.py`` are exported for larger images, so that their activations take more
than 20 MB. A process of its own loads each (optimization, arena and memory pattern off, one
thread), and tells by how much its resident memory grows at most from there during its first pass:
the peak that Linux keeps, after it was reset (``/proc/self/clear_refs``). ONNX Runtime's session
option ``enable_mem_reuse`` is off first, and on, as it is by default. glibc gives back what is
freed at once (``MALLOC_MMAP_THRESHOLD_``). Needs what ``real_models.py`` needs, and Linux.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from statistics import median

import real_models

from latcast.bench.tables import machine
from latcast.graph.read import read_graph

MIN_BYTES = 20_000_000
NAMES = """
    torchvision:resnet18@448 torchvision:resnet50@448 torchvision:mobilenet_v2@512
    torchvision:mobilenet_v3_large@512 torchvision:efficientnet_b0@512
    torchvision:regnet_y_800mf@640 torchvision:shufflenet_v2_x1_0@768 torchvision:convnext_tiny@384
    torchvision:densenet121@512 torchvision:squeezenet1_1@512 torchvision:mnasnet1_0@512
    torchvision:googlenet@512 torchvision:inception_v3@512 torchvision:resnext50_32x4d@448
    torchvision:maxvit_t torchvision:segmentation.deeplabv3_mobilenet_v3_large@512
    torchvision:segmentation.lraspp_mobilenet_v3_large@512 torchvision:segmentation.fcn_resnet50@320
    torchvision:video.r3d_18@128x8 torchvision:swin_t@448
    timm:mobilenetv1_100@512 timm:fbnetc_100@512 timm:ghostnet_100@768 timm:rexnet_100@512
    timm:hgnetv2_b0@640 timm:dla34@512 timm:darknet53@320 timm:cspdarknet53@320 timm:repvgg_a0@512
    timm:poolformer_s12@512 timm:mobilevitv2_050@512 timm:edgenext_xx_small@768
    timm:resnest14d@448 timm:coat_lite_tiny timm:regnetx_008@640 timm:hrnet_w18_small@448
"""

# Prints by how many bytes a process grows at most while it runs a model.
_PROCESS = """
import sys
import numpy, onnxruntime
def resident(word):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(word))
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
options.enable_cpu_mem_arena = options.enable_mem_pattern = False
options.enable_mem_reuse = sys.argv[2] == "on"
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
values = {x.name: onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ones(x.shape, numpy.float32))
          for x in session.get_inputs()}
names = [x.name for x in session.get_outputs()]
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
outputs = session.run_with_ort_values(names, values)
print(resident("VmHWM") - before)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("build/memory"))
    parser.add_argument("--cache", type=Path, default=Path("build/memory.jsonl"))
    options = parser.parse_args()
    options.models.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    lines = options.cache.read_text().splitlines() if options.cache.exists() else []
    rows = {row["name"]: row for row in map(json.loads, lines)}
    for name in NAMES.split():
        if name in rows:
            continue
        path = options.models / f"{name.replace(':', '_').replace('@', '_')}.onnx"
        try:
            real_models.export(*real_models.build(name), path)
            rows[name] = {"name": name, **measured(path)}
        except (RuntimeError, ValueError, subprocess.CalledProcessError) as error:
            rows[name] = {"name": name, "error": f"{error}".splitlines()[0][:80]}
        path.unlink(missing_ok=True)
        with options.cache.open("a") as file:
            file.write(json.dumps(rows[name]) + "\n")
    print(report([rows[name] for name in NAMES.split()]))


def measured(path: Path) -> dict[str, float | str]:
    """What we find, and what ONNX Runtime takes beside the input, bytes."""
    graph = read_graph(path)
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    found: dict[str, float | str] = {}
    for reuse in ("none", "in-place", "onnxruntime"):
        memory = graph.activation_memory(reuse)
        # The input is its caller's, and was there before.
        held = [n - sum(b.bytes for b in memory.buffers if b.layer < 0 and b.last >= at)
                for at, n in enumerate(memory.held_bytes)]  # fmt: skip
        found[reuse] = max(held)
        found[f"{reuse} at"] = graph.layers[held.index(max(held))].operator
        found[f"{reuse} with input"] = memory.peak_bytes
    for word in ("off", "on"):
        command = [sys.executable, "-c", _PROCESS, str(path), word]
        run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found[word] = int(run.stdout)
    return found


def report(rows: list[dict[str, float | str]]) -> str:
    """A line for each network of more than :data:`MIN_BYTES`."""
    lines = [
        "$ python benchmarks/memory.py", machine(), "",
        "peak memory of activations beside the input, MB; ONNX Runtime with enable_mem_reuse off:",
        "ours with in-place reuse; on: ours as it plans; difference in %", "",
        (f"{'network':52}{'no reuse':>9}{'in place':>9}{'off':>8}{'%':>7}{'planned':>9}{'on':>8}"
        f"{'%':>7}  at"),
    ]  # fmt: skip
    errors: dict[str, list[float]] = {"off": [], "on": []}
    for row in rows:
        if "error" in row or float(row["in-place"]) < MIN_BYTES:
            continue
        cells = f"{row['name']:52}{float(row['none']) / 1e6:9.1f}"
        for ours, word in (("in-place", "off"), ("onnxruntime", "on")):
            mine, theirs = float(row[ours]), float(row[word])
            errors[word].append(100 * (mine / theirs - 1))
            cells += f"{mine / 1e6:9.1f}{theirs / 1e6:8.1f}{errors[word][-1]:+7.1f}"
        lines.append(f"{cells}  {row['in-place at']}")
    for word, found in errors.items():
        within = sum(abs(x) <= 10 for x in found)
        lines.append(
            f"enable_mem_reuse {word}: {len(found)} networks, {within} within 10 %, "
            f"median {median(map(abs, found)):.1f} %, most {max(map(abs, found)):.1f} %"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
