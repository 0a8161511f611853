"""Files that the shipped models are trained on: the public data and our own, by a model's name."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from latcast.data import Dataset, read

SEED = 0
# Of each target of models of networks of any kind, and of spaces in the joint model.
ROWS = 1_000

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


def sources(data: Path, measured: Path) -> dict[str, list[Path]]:
    """Name of a model -> files of its target."""
    named = [
        *ofanas_files(data).items(),
        *(x for space in ("ofa", "nasbench201", "fbnet") for x in help_files(data, space).items()),
        *measured_files(measured).items(),
        *measured_network_files(measured).items(),
    ]
    names: dict[str, str] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    for name, path in named:
        target = str(read(path).target)
        found[names.setdefault(target, name)].append(path)
    return dict(found)


def chosen(paths: list[Path]) -> list[Dataset]:
    """What a model of a target learns from: networks of any kind, where there are some."""
    datasets = [part(read(path).valid(), ROWS) for path in paths]
    # What was measured in another state of the machine would blur what it says of this one.
    return [data for data in datasets if data.space is None] or datasets


def part(data: Dataset, rows: int) -> Dataset:
    """At most so many rows, at random."""
    if len(data) <= rows:
        return data
    return data[np.sort(np.random.default_rng(SEED).choice(len(data), rows, replace=False))]
