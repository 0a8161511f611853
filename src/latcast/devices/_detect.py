"""Describing this host as a device."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from typing import Any

from ._device import Device, Target, figure_range
from ._host import Host, this_host

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_FIGURES = ("bandwidth_gb_s", "peak_fp32_flops", "cpu_share")
_MIB = 2**20
_UNKNOWN_CACHE_BYTES = 32 * _MIB
_PATIENCE_S = 600.0  # some virtual machines take minutes to give out the memory
_BUSY_SHARE = 0.9


def detect(name: str | None = None, *, seconds: float = 2.0) -> Device:
    """Describe this host; its bandwidth and peak FLOP/s are measured.

    The system tells cores, memory, caches, clock and CPU features. Bandwidth and peak FLOP/s are
    what numpy reaches on all cores in a short run (:mod:`latcast.devices._micro_benchmark`), not
    a data sheet's figures. A busy machine lowers them; ``source`` says so then.

    Runs on Linux; the code for macOS (``sysctl``, psutil) and Windows (psutil) is written from
    their documentation and has not been run there.

    Args:
        name: name of the device; :func:`host_name` by default.
        seconds: how long to measure.

    Raises:
        ValueError: the name cannot be a device's, or ``seconds`` is not a positive number.
        OSError: the micro-benchmark failed, or the system does not tell its memory.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a positive number; got {seconds}")
    host = this_host()
    name = host.name if name is None else name
    Target(name, "any")  # what a target takes, a device can be called
    if host.memory_bytes is None:
        raise OSError(f"{platform.system()} must tell how much memory there is; it does not")
    measured = _measure(host, host.memory_bytes, seconds)
    return Device(
        name=name,
        title=host.model,
        kind="cpu",
        cores=host.cores,
        memory_gb=round(host.memory_bytes / 1e9, 2),
        bandwidth_gb_s=_rounded(measured["bandwidth_gb_s"]),
        peak_fp32_flops=_rounded(measured["peak_fp32_flops"]),
        clock_ghz=_plausible(host, "clock_ghz"),
        l1d_kb=_plausible(host, "l1d_kb"),
        l2_kb=_plausible(host, "l2_kb"),
        l3_kb=_plausible(host, "l3_kb"),
        features=host.features,
        source=_source(measured, host.cores, seconds),
    )


def _plausible(host: Host, figure: str) -> float | None:
    """Return a figure that the system states; None if it is impossible, as on some VMs."""
    value: float | None = getattr(host, figure)
    return value if value in figure_range("cpu", figure) else None


def _source(measured: dict[str, Any], threads: int, seconds: float) -> str:
    """Return the origin of the figures, with a warning if the machine was busy."""
    text = (
        f"latcast devices --detect on {platform.system()}; bandwidth and FLOP/s measured for "
        f"{seconds:g} s with numpy {measured['numpy']} ({measured['blas']}), threads: {threads}"
    )
    if measured["cpu_share"] < _BUSY_SHARE:
        text += (
            f"; may be too low, as other work left {measured['cpu_share']:.0%} of the CPU time; "
            "detect again when the machine is idle"
        )
    return text


def _measure(host: Host, memory_bytes: int, seconds: float) -> dict[str, Any]:
    """Run the micro-benchmark and check its answer."""
    command = [
        # -P: nothing is imported from the current folder.
        sys.executable, "-P", "-m", "latcast.devices._micro_benchmark",
        str(host.cores), str(_array_bytes(host.last_level_kb, memory_bytes)), str(seconds),
    ]  # fmt: skip
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1")}
    timeout = 10 * seconds + _PATIENCE_S
    try:
        run = subprocess.run(  # noqa: S603  # our own interpreter and module
            command, env=environment, capture_output=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"the micro-benchmark must end within {timeout:.0f} s; it was stopped: "
            "is the machine busy?"
        ) from None
    if run.returncode:
        raise ChildProcessError(f"the micro-benchmark failed: {_last_words(run)}")
    return _answer(run.stdout)


def _array_bytes(last_level_kb: int | None, memory_bytes: int) -> int:
    """Bytes of each of the three arrays: STREAM's rule is four times the last-level caches.

    Never more than 1 GiB or a sixteenth of the memory, so that measuring stays short and safe.
    """
    cache = last_level_kb * 1024 if last_level_kb else _UNKNOWN_CACHE_BYTES
    return min(max(4 * cache, 64 * _MIB), 1024 * _MIB, memory_bytes // 16)


def _last_words(run: subprocess.CompletedProcess[bytes]) -> str:
    lines = run.stderr.decode(errors="replace").strip().splitlines()
    how = f"ended by signal {-run.returncode}" if run.returncode < 0 else f"code {run.returncode}"
    return f"{how}: {lines[-1][-300:]}" if lines else how


def _answer(text: bytes) -> dict[str, Any]:
    """The micro-benchmark's figures.

    Raises:
        ChildProcessError: they are no positive numbers, or were cut short.
    """
    try:
        answer = json.loads(text)
        good = all(0 < answer[k] < math.inf for k in _FIGURES) and {"numpy", "blas"} <= set(answer)
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ChildProcessError(
            f"the micro-benchmark must print positive figures; got {text[:200]!r}"
        )
    return dict(answer)


def _rounded(value: float) -> float:
    """To three digits: runs differ by more."""
    return float(f"{value:.3g}")
