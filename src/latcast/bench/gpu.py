"""GPUs that were never measured: leave one out, and predict it from its specification.

A base model is trained on all other GPUs of a space, at all their batch sizes. It predicts every
batch size of the one that was left out from its specification alone (no samples), and from a few
measurements. The OFANAS paper's network (arXiv:2101.00732), conditioned on the specification, is
trained on rows of the same targets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latcast._names import unknown_name
from latcast.data import Dataset
from latcast.data.help import target_from_name
from latcast.devices import devices

from .conditioned import EPOCHS, RECIPES, ConditionedMLP
from .help_folder import HelpFolder, folders_below
from .protocol import (
    NONE,
    SCORES,
    Pool,
    Report,
    Runs,
    base_model,
    check_options,
    describe,
    draw,
    few_shot,
    scores,
)
from .tables import Scores

MIN_GPUS = 3
OURS = "base-model"
METHODS = (OURS, *RECIPES)
MEAN = "mean"


@dataclass(frozen=True)
class Plan:
    """The groups that are left out, and the way of predicting them.

    Attributes:
        folders: of spaces with at least three GPUs, and names of their targets by GPU.
        left_out: GPUs to leave out, by the catalogue's names.
        methods: some of :data:`METHODS`.
        samples: numbers of measurements of a target of the GPU that is left out.
        seeds: choices of the samples.
        base_samples: rows of every target; None for what suits the space.
        epochs: of the paper's network.
    """

    folders: tuple[tuple[HelpFolder, Mapping[str, tuple[str, ...]]], ...]
    left_out: tuple[str, ...]
    methods: tuple[str, ...]
    samples: tuple[int, ...]
    seeds: int
    base_samples: int | None
    epochs: int


def plan(
    data: Path,
    spaces: Sequence[str] = (),
    *,
    gpus: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    samples: Sequence[int] = (0, 1, 3, 10, 20),
    seeds: int = 20,
    base_samples: int | None = None,
    epochs: int = EPOCHS,
) -> Plan:
    """Decide what is left out.

    Args:
        data: folder of HELP's format, or one that holds such folders.
        spaces: which of them; by default all with three GPUs that the catalogue holds.
        gpus: GPUs to leave out, by the catalogue's names; all by default.
        methods: some of :data:`METHODS`.
        samples: numbers of measurements of a target.
        seeds: choices of the samples.
        base_samples: rows of every target, as far as it has them.
        epochs: of the paper's network.

    Raises:
        ValueError: a folder, GPU or method that does not exist, or fewer than three GPUs.
    """
    check_options(samples, (), seeds)
    for method in methods:
        if method not in METHODS:
            raise ValueError(unknown_name("method", method, METHODS))
    asked = spaces or ((None,) if (data / "latency").is_dir() else folders_below(data)) or (None,)
    folders = [HelpFolder.find(data, name) for name in asked]
    usable = [(f, found) for f in folders if len(found := gpus_of(f)) >= MIN_GPUS]
    if len(usable) < (len(folders) if spaces else 1):
        counts = ", ".join(f"{f.path.name}: {', '.join(gpus_of(f)) or 'none'}" for f in folders)
        raise ValueError(f"at least {MIN_GPUS} GPUs of the catalogue are needed; got {counts}")
    known = sorted({gpu for _, found in usable for gpu in found})
    for gpu in gpus:
        if gpu not in known:
            raise ValueError(unknown_name("GPU with latencies here", gpu, known))
    return Plan(
        tuple(usable), tuple(gpus or known), tuple(dict.fromkeys(methods)),
        tuple(dict.fromkeys(samples)), seeds, base_samples, epochs,
    )  # fmt: skip


def gpus_of(folder: HelpFolder) -> dict[str, tuple[str, ...]]:
    """The catalogue's GPUs that a folder has latencies of -> names of their targets."""
    known = devices()
    result: dict[str, tuple[str, ...]] = {}
    for name in folder.names:
        device = target_from_name(name).device
        if device in known and known[device].kind == "gpu":
            result[device] = (*result.get(device, ()), name)
    return result


def run(the_plan: Plan, *, report: Report = lambda _: None) -> Scores:
    """Train on all GPUs but one, predict that one, and go on with the next.

    Returns:
        One row for each target, method and number of samples, and one for each space, method and
        number of samples that is the mean over the targets.

    Raises:
        ValueError: a damaged file, or more samples than a target has networks.
        ModuleNotFoundError: PyTorch is not installed.
    """
    rows: list[dict[str, Any]] = []
    for name, data, left_out in [_read(the_plan, *item) for item in the_plan.folders]:
        found: list[tuple[dict[str, Any], Runs]] = []
        for gpu, pools in left_out.items():
            own = {pool.name for pool in pools}
            train = {n: d for n, d in data.items() if n not in own}
            for method in the_plan.methods:
                report(f"{name}: {method} without {gpu}")
                if method == OURS:
                    found += _ours(the_plan, gpu, train, pools, report)
                else:
                    found += _papers(the_plan, gpu, method, train, pools)
        rows += [row for row, _ in found] + _means(found)
    return Scores("gpu", rows)


def _read(
    the_plan: Plan, folder: HelpFolder, gpus: Mapping[str, tuple[str, ...]]
) -> tuple[str, Mapping[str, Dataset], Mapping[str, Sequence[Pool]]]:
    """Name of a space, its targets, and pools of GPUs that are left out; checked before a fit."""
    data = {name: folder.read(name) for names in gpus.values() for name in names}
    pools = {
        gpu: [Pool.of(name, data[name]) for name in names]
        for gpu, names in gpus.items()
        if gpu in the_plan.left_out
    }
    if OURS in the_plan.methods:
        for pool in (p for some in pools.values() for p in some):
            pool.check(the_plan.samples)
    return folder.path.name, data, pools


def _ours(
    the_plan: Plan,
    gpu: str,
    train: Mapping[str, Dataset],
    pools: Sequence[Pool],
    report: Report,
) -> list[tuple[dict[str, Any], Runs]]:
    base, seconds, rows = base_model(train, the_plan.base_samples, report)
    result = []
    for pool in pools:
        for samples in the_plan.samples:
            runs = few_shot(base, pool, samples, "random", the_plan.seeds)
            row = _row(gpu, OURS, pool, samples, runs)
            row |= {"base_samples": rows, "fit_seconds": seconds, "train": list(train)}
            result.append((row, runs))
    return result


def _papers(
    the_plan: Plan,
    gpu: str,
    method: str,
    train: Mapping[str, Dataset],
    pools: Sequence[Pool],
) -> list[tuple[dict[str, Any], Runs]]:
    """The paper's network; it predicts without samples only, and has no interval."""
    drawn = [draw(data, the_plan.base_samples, n) for n, data in enumerate(train.values())]
    start = time.perf_counter()
    mlp = ConditionedMLP(RECIPES[method], the_plan.epochs).fit(drawn)
    seconds = time.perf_counter() - start
    result = []
    for pool in pools:
        predicted = mlp.predict(pool.data)
        found = np.full(len(SCORES), np.nan)
        if np.isfinite(predicted).all():
            found[:-1] = scores(pool.data.latency_ms, predicted)
        runs = Runs(found[None], 0.0, len(pool.data))
        row = _row(gpu, method, pool, 0, runs)
        row |= {"base_samples": max(map(len, drawn)), "fit_seconds": seconds, "train": list(train)}
        result.append((row, runs))
    return result


def _row(gpu: str, method: str, pool: Pool, samples: int, runs: Runs) -> dict[str, Any]:
    return {
        "space": pool.data.archs.space.name,
        "gpu": gpu,
        "target": pool.name,
        "batch": pool.data.target.batch,
        "method": method,
        "samples": samples,
        "selection": "random" if samples else NONE,
        **describe(pool, runs),
    }


def _means(found: Sequence[tuple[dict[str, Any], Runs]]) -> list[dict[str, Any]]:
    """Means over the targets; the standard deviation is that of the mean over the seeds."""
    groups: dict[tuple[str, int], list[tuple[dict[str, Any], Runs]]] = {}
    for row, runs in found:
        groups.setdefault((row["method"], row["samples"]), []).append((row, runs))
    result = []
    for (method, samples), members in groups.items():
        first = members[0][0]
        result.append({
            "space": first["space"],
            "gpu": MEAN,
            "target": MEAN,
            "batch": None,
            "method": method,
            "samples": samples,
            "selection": first["selection"],
            **Runs.mean([runs for _, runs in members]).summary(),
            "seeds": first["seeds"],
            "targets": [row["target"] for row, _ in members],
            "impossible": sum(row["impossible"] for row, _ in members),
            "near_zero": sum(row["near_zero"] for row, _ in members),
            "base_samples": first["base_samples"],
            "fit_seconds": float(np.mean([row["fit_seconds"] for row, _ in members])),
        })  # fmt: skip
    return result
