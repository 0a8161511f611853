"""What machine a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

import latcast


def describe() -> str:
    """One line: processor, cores, Python, numpy and latcast versions."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}, latcast {latcast.__version__}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
