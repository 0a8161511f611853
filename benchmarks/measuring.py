"""Print how well measuring works on this machine: repeatability, rate, load, predictors.

    python benchmarks/measuring.py repeatability --runtime onnxruntime
    python benchmarks/measuring.py load
    python benchmarks/measuring.py predictor datasets/DEVICE_onnxruntime_b1_t1.parquet

Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

import latcast
from latcast import measure
from latcast.bench.tables import machine
from latcast.data import Dataset, read_latencies
from latcast.devices import Target
from latcast.measure import Plan, Protocol, Results
from latcast.models.evaluation import evaluate

SPACE = "ofa-mobilenet-v3"
NETWORKS = 40
SEEDS = 10

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["repeatability", "load", "predictor"])
    parser.add_argument("data", type=Path, nargs="?", help="dataset, for predictor")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--runs", type=int, default=Protocol().runs)
    arguments = parser.parse_args()
    print(machine())
    if arguments.what == "repeatability":
        repeatability(arguments.runtime, arguments.runs)
    elif arguments.what == "load":
        load(arguments.runtime, arguments.runs)
    else:
        predictor(read_latencies(arguments.data))


def campaign(
    runtime: str, runs: int, seed: int, like_ms: float | None = None
) -> tuple[Results, float]:
    """A campaign of its own over the same networks, and the seconds that it took."""
    space = latcast.space(SPACE)
    archs = space.sample(NETWORKS, seed=0)
    target = Target("this-machine", runtime, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(target, archs, Protocol(runs=runs), seed)
        started = time.monotonic()
        results = measure.measured(Path(folder) / "a.campaign", plan, like_ms=like_ms)
        return results, time.monotonic() - started


def repeatability(runtime: str, runs: int) -> None:
    first, seconds = campaign(runtime, runs, 1)
    second, more = campaign(runtime, runs, 2)
    like, yet_more = campaign(runtime, runs, 3, like_ms=first.reference_ms)
    print(f"{runtime}, 1 thread, batch 1: {NETWORKS} networks, {runs} runs each, two runs")
    rows = (
        ("uncorrected", first, second, "uncorrected"),
        ("drift corrected", first, second, "latency_ms"),
        ("corrected, --like the first", first, like, "latency_ms"),
    )
    for name, a, b, column in rows:
        gap = np.abs(in_order(b.dataset, column) / in_order(a.dataset, column) - 1)
        print(
            f"  {name:28} within 2 %: {np.mean(gap <= 0.02):.0%}  3 %: {np.mean(gap <= 0.03):.0%}  "
            f"95th percentile {np.quantile(gap, 0.95):.2%}  largest {gap.max():.2%}"
        )
    for name, found, took in (
        ("first", first, seconds), ("second", second, more), ("third", like, yet_more)
    ):  # fmt: skip
        print(
            f"  {name} run: {60 * NETWORKS / took:.0f} networks a minute, "
            f"{found.inference_share:.0%} of the time in inference, noise of a run "
            f"{found.drift.noise:.2%}, drift {found.drift.range:.2%}, "
            f"{int(found.unstable.sum())} unstable"
        )


def in_order(data: Dataset, column: str) -> Floats:
    values: Floats = getattr(data, column)
    return values[np.lexsort(data.archs.genes.T)]


def load(runtime: str, runs: int) -> None:
    quiet, _ = campaign(runtime, runs, 1)
    burner = multiprocessing.Process(target=burn, daemon=True)
    burner.start()
    try:
        loaded, _ = campaign(runtime, runs, 2, like_ms=quiet.reference_ms)
    finally:
        burner.kill()
    ratio = in_order(loaded.dataset, "latency_ms") / in_order(quiet.dataset, "latency_ms") - 1
    raw = in_order(loaded.dataset, "uncorrected") / in_order(quiet.dataset, "latency_ms") - 1
    print(f"{runtime}, {NETWORKS} networks, with a load generator on the other core:")
    print(f"  median change {np.median(raw):+.1%} uncorrected, {np.median(ratio):+.1%} corrected")
    print(f"  within 3 %: {np.mean(np.abs(ratio) <= 0.03):.0%}")
    print(f"  marked unstable: {int(loaded.unstable.sum())} of {len(loaded.dataset)}")
    for warning in loaded.warnings:
        print(f"  warning: {warning}")


def burn() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    while True:
        np.linalg.svd(np.ones((200, 200)))


def predictor(data: Dataset) -> None:
    """The default predictor on 300 and on 50 of the networks, 200 others to test."""
    print(f"{data.target}: roofline, 200 test networks, {SEEDS} seeds")
    for count in (50, 100, 300):
        scores = []
        for seed in range(SEEDS):
            order = np.random.default_rng(seed).permutation(len(data))
            model = latcast.predictors.Roofline().fit(data[order[200 : 200 + count]], seed=seed)
            scores.append(evaluate(model, data[order[:200]]))
        print(f"  {count} networks:", *(
            f"{label} {np.mean([s[key] for s in scores]):.2f} ± "
            f"{np.std([s[key] for s in scores]):.2f} %"
            for key, label in (("mape", "MAPE"), ("within_5", "within 5 %:"))
        ))  # fmt: skip


if __name__ == "__main__":
    main()
