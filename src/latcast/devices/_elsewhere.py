"""The host according to macOS, Windows and other systems.

Of this file, only the reading of sample texts has been run: its authors had Linux. What cannot
be read is None there, not an error.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from contextlib import suppress

from ._host import Host, known_features, positive, positive_int

_SYSCTL_FEATURES = {
    "sse4.2": "sse4_2", "avx1.0": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c",
    "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512vnni": "avx512_vnni",
}  # fmt: skip
_SYSCTL_FLAGS = {
    "hw.optional.AdvSIMD": "asimd", "hw.optional.neon": "asimd",
    "hw.optional.arm.FEAT_FP16": "asimdhp", "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
}  # fmt: skip
"""Apple's names ("Determining instruction set characteristics") to Linux's."""


def macos() -> Host:
    """Read the host with ``sysctl``."""
    try:
        run = subprocess.run(
            ["/usr/sbin/sysctl", "hw", "machdep.cpu"],
            capture_output=True, check=False, timeout=10,
        )  # fmt: skip
        text = run.stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        text = ""
    return parse_sysctl(text)


def parse_sysctl(text: str) -> Host:
    """The host from the output of ``sysctl hw machdep.cpu``.

    Caches are those of the fast cores where cores differ (``perflevel0``).
    """
    pairs = (line.partition(":") for line in text.split("\n"))
    facts = {key.strip(): value.strip() for key, colon, value in pairs if colon}

    def kb(name: str) -> int | None:
        size = positive_int(facts.get(f"hw.perflevel0.{name}") or facts.get(f"hw.{name}"))
        return size // 1024 or None if size else None

    words = " ".join(facts.get(f"machdep.cpu.{k}", "") for k in ("features", "leaf7_features"))
    found = [_SYSCTL_FEATURES.get(w, "") for w in words.lower().split()]
    found += [name for key, name in _SYSCTL_FLAGS.items() if facts.get(key) == "1"]
    hertz = positive(facts.get("hw.cpufrequency_max"))
    return Host(
        model=facts.get("machdep.cpu.brand_string") or platform.machine(),
        cores=positive_int(facts.get("hw.physicalcpu")) or os.cpu_count() or 1,
        memory_bytes=positive_int(facts.get("hw.memsize")),
        clock_ghz=round(hertz / 1e9, 3) or None if hertz else None,
        l1d_kb=kb("l1dcachesize"),
        l2_kb=kb("l2cachesize"),
        l3_kb=kb("l3cachesize"),
        last_level_kb=kb("l3cachesize") or kb("l2cachesize"),
        features=known_features(found),
    )


def windows() -> Host:
    """Read the host from Windows: model, logical CPUs and memory."""
    return Host(_windows_model(), os.cpu_count() or 1, memory_bytes=_windows_memory_bytes())


def _windows_model() -> str:
    if sys.platform == "win32":
        import winreg

        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return platform.processor() or platform.machine()


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        *((name, ctypes.c_uint64) for name in ("a", "tp", "ap", "tv", "av", "aev")),
    )


def _windows_memory_bytes() -> int | None:
    if sys.platform == "win32":
        status = _MemoryStatus()
        status.length = ctypes.sizeof(status)
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return int(status.total)
    return None


def other() -> Host:
    """Read the host from what POSIX tells."""
    memory = 0
    if sys.platform != "win32":
        with suppress(OSError, ValueError):  # a name that this system has not
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    model = platform.processor() or platform.machine()
    return Host(model, os.cpu_count() or 1, memory_bytes=memory if memory > 0 else None)
