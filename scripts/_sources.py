"""Files that the shipped models are trained on: the public data and our own, by a model's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latcast.data import Dataset

OFANAS = {
    "samsung-note10": "note10_lookuptable_ofa",
    "rtx-2080-ti": "RTX_2080_Ti_GPU_ofa",
    "tesla-p40": "Tesla_P40_GPU_ofa",
}
NETWORKS = ".networks.parquet"
"""Ending of our datasets of networks of any kind."""


def ofanas_files(data: Path) -> dict[str, Path]:
    return {n: data / "ofanas" / "datasets" / f"{f}.csv" for n, f in OFANAS.items()}


def help_files(data: Path, space: str) -> dict[str, Path]:
    """HELP's latencies in a space: ``ofa``, ``nasbench201`` or ``fbnet``."""
    paths = sorted((data / "help" / space / "latency").glob("*.pt"))
    return {"help-" + path.stem.replace("_", "-"): path for path in paths}


def measured_files(measured: Path) -> dict[str, Path]:
    """Our datasets of OFA-MobileNetV3."""
    paths = sorted(p for p in measured.glob("*.parquet") if not p.name.endswith(NETWORKS))
    return {path.stem.replace("_", "-"): path for path in paths}


def measured_network_files(measured: Path) -> dict[str, Path]:
    """Our datasets of networks of any kind."""
    paths = sorted(measured.glob("*" + NETWORKS))
    return {path.name.removesuffix(NETWORKS).replace("_", "-"): path for path in paths}


def part(data: Dataset, rows: int, seed: int) -> Dataset:
    """At most so many rows, at random."""
    if len(data) <= rows:
        return data
    return data[np.sort(np.random.default_rng(seed).choice(len(data), rows, replace=False))]
