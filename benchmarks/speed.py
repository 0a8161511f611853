"""Print how fast latcast is: imports, prediction, the whole search command.

Run with OPENBLAS_NUM_THREADS=1 for figures of one core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import latcast
from latcast.bench.paper import archs_per_second
from latcast.bench.tables import machine
from latcast.data import paper_split, read_latencies
from latcast.data.audit import audit
from latcast.search import accuracy_model

RUNS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the paper's folder, to time audit and fit")
    arguments = parser.parse_args()
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    print(f"{machine()}; OPENBLAS_NUM_THREADS={threads}; median of {RUNS} (min – max)\n")
    budgets = [x for b in (15, 20, 25, 30, 35) for x in ("--max-latency", str(b))]
    command = [sys.executable, "-m", "latcast"]
    search = [*command, "search", "--device", "samsung-note10", *budgets]
    for name, line in (
        ("python -c pass (whole process)", [sys.executable, "-c", "pass"]),
        ("import latcast (whole process)", [sys.executable, "-c", "import latcast"]),
        ("latcast --help (whole process)", [*command, "--help"]),
        ("latcast search, five budgets (whole process)", search),
    ):
        report(name, partial(subprocess.run, line, check=True, capture_output=True))
    if arguments.data is not None:
        data = read_latencies(arguments.data / "datasets" / "RTX_2080_Ti_GPU_ofa.csv")
        report("audit, 10,000 rows", lambda: audit(data))
        train, calibration, _ = paper_split(data)
        for kind in (latcast.predictors.Roofline, latcast.predictors.LookupTable):
            fit = partial(kind().fit, train, calibration=calibration)
            report(f"fit {kind.kind}, 7,000 rows", fit)
    print()
    for name in ("samsung-note10", "rtx-2080-ti", "tesla-p40"):
        p = latcast.load(name)
        archs = p.space.sample(100_000, 0, restrict={"r": p.fitted.seen["r"]})
        rate = archs_per_second(p, archs)
        print(f"{f'predict, {name} (roofline)':48} {rate:12,.0f} architectures/s")
    model = accuracy_model()
    archs = latcast.space("ofa-mobilenet-v3").sample(100_000, 0)
    start = time.perf_counter()
    model.predict(archs)
    rate = len(archs) / (time.perf_counter() - start)
    print(f"{'predict accuracy, ofa-mobilenet-v3':48} {rate:12,.0f} architectures/s")


def report(name: str, run: Callable[[], object]) -> None:
    """Time ``run`` several times, after once for the caches."""
    run()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(
        f"{name:48} {statistics.median(seconds):6.3f} s ({min(seconds):.3f} – {max(seconds):.3f})"
    )


if __name__ == "__main__":
    main()
