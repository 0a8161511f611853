"""Peak memory of a network, in a process of its own that loads it and runs a few passes.

A worker that has run other networks holds memory that they left behind, which a later one takes
without a trace: each network gets a fresh process. Its **floor** is what is resident once the
runtime has run a network of one layer; what is resident beyond it, at most, is the network's: its
weights as the runtime keeps them, and what passes need. Linux tells the peak (``VmHWM``) and
forgets it (``/proc/self/clear_refs``), so that the peak while the network is loaded, when a file
and what is made of it are held together, is told apart from that of passes.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.onnx import to_onnx

from ._sources import parse_source
from .runtimes import Runtime

# A fresh process imports its runtime, which takes a small board half a minute.
PATIENCE_S = 120.0
_PASSES = 3  # the first allocates, and later ones may be planned otherwise
_SELF = Path("/proc/self")
# -P: nothing is imported from the current folder.
_START = ("-P", "-c", "from latcast.measure._memory import main; main()")
# glibc keeps what is freed for later, more of it the larger the blocks: given back at once, what is
# resident is what is needed.
_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536",
               "MALLOC_ARENA_MAX": "1"}  # fmt: skip


def peak_memory(setup: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the memory of a network in a fresh process.

    Args:
        setup: of :func:`latcast.measure._worker.worker_setup`.
        request: ``network``, a source's text, and ``seed``.

    Returns:
        ``peak_memory_mb`` of passes, and ``memory``: ``floor_mb`` and, beyond it, ``load_mb`` (the
        peak while it is loaded) and ``loaded_mb`` (before the first pass); 1 MB is a million
        bytes. Where the system does not forget a peak, the first is the larger of both peaks, and
        ``load_mb`` is missing.

    Raises:
        RuntimeError: the network cannot be run, or the system does not tell.
    """
    command = [sys.executable, *_START]
    text = json.dumps({**setup, **request})
    try:
        run = subprocess.run(  # noqa: S603  # our own interpreter and module
            command, input=text, env={**os.environ, **_GIVES_BACK}, capture_output=True, text=True,
            encoding="utf-8", check=False, timeout=PATIENCE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"its memory was not known within {PATIENCE_S:.0f} s") from None
    last = (run.stdout.strip().splitlines() or [""])[-1]
    with suppress(ValueError):
        found: dict[str, Any] = json.loads(last)
        if "error" not in found:
            return {"peak_memory_mb": found.pop("peak_mb"), "memory": found}
        raise RuntimeError(str(found["error"]))
    raise RuntimeError(f"the process that measures memory ended with code {run.returncode}")


def main() -> None:
    """Answer one request on standard input."""
    request = json.loads(sys.stdin.read())
    # Runtimes print what they like.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            found: dict[str, Any] = _measured(request)
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is the answer
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        answers.write(json.dumps(found) + "\n")


def _measured(request: Mapping[str, Any]) -> dict[str, Any]:
    sys.path += [folder for folder in request["path"] if folder not in sys.path]
    module, _, name = request["runtime"].partition(":")
    kind: type[Runtime] = getattr(importlib.import_module(module), name)
    runtime = kind(**request["options"])
    source, seed = parse_source(request["network"]), request["seed"]
    # What is made once, and imported, belongs to the floor: the model is made, and a network of one
    # layer in its form is run, before both are dropped.
    smallest, model = _smallest().with_batch(runtime.batch), source.model(runtime.batch, seed)
    runtime.load(smallest if isinstance(model, Graph) else to_onnx(smallest)).run()
    del model
    _give_back()
    floor = resident_bytes()
    forgets = forget_peak()
    loaded = runtime.load(source.model(runtime.batch, seed), seed, asked=source.asked)
    _give_back()
    load_peak, before = peak_bytes(), resident_bytes()
    forgets = forgets and forget_peak()
    for _ in range(_PASSES):
        loaded.run()
    found = {"floor_mb": floor, "loaded_mb": before - floor, "peak_mb": peak_bytes() - floor}
    if forgets:
        found["load_mb"] = load_peak - floor
    note = {} if forgets else {"note": "; loading included: the system does not forget a peak"}
    return {name: value / 1e6 for name, value in found.items()} | note


def _smallest() -> Graph:
    """A network of one layer."""
    b = GraphBuilder(name="one layer")
    b.conv(b.input(3, 8, 8), 4, 3)
    return b.build()


def _give_back() -> None:
    """Give freed memory back to the system, where glibc keeps it."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


# --- what the system tells ----------------------------------------------------------------------


def resident_bytes() -> int:
    """Memory of this process that is resident."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most that was resident, since it was forgotten last.

    Raises:
        RuntimeError: the system does not tell.
    """
    for line in _status().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("peak memory is told by Linux alone (VmHWM in /proc/self/status)")


def forget_peak() -> bool:
    """Let the peak begin anew; False where the system does not."""
    try:
        (_SELF / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status() -> str:
    try:
        return (_SELF / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
