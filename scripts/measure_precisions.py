"""Measure networks of all families on this machine in fp32 and int8, side by side.

    python scripts/measure_precisions.py --device NAME --out build/precisions [--minutes 20]

Every runtime, batch and number of threads has a campaign in either precision, which take turns:
``TARGET.campaign`` and, when it is complete, ``TARGET.parquet``. Each goes on where it was
interrupted. ``benchmarks/precisions.py`` scores forecasts on the datasets.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from latcast import measure
from latcast.devices import Target
from latcast.families import population
from latcast.measure import CampaignsRecord, Plan, Progress, Protocol
from latcast.report.record import text_pieces

# Several threads are measured last: other programs disturb them most.
RUNTIMES, BATCHES, THREADS = ("onnxruntime", "openvino"), (1, 8), (1, 2)
PRECISIONS = ("fp32", "int8")
# As in make_datasets.py, but for the number of runs.
PROTOCOL = Protocol(runs=3, other_cpus=2.0, halves_disagree=0.06, reference_disagrees=0.1, redo=1)
_NOTED_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True, help="what targets call this machine")
    parser.add_argument("--out", type=Path, required=True, help="folder of campaigns and datasets")
    parser.add_argument("--networks", type=int, default=120)
    parser.add_argument("--minutes", type=float, help="for each pair of campaigns; all by default")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--threads", nargs="+", type=int, default=list(THREADS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    networks = population(options.networks, seed=0)
    # Of all runtimes, rounds and threads.
    kept = options.out / "quantized"
    kept.mkdir(exist_ok=True)
    os.environ["LATCAST_QUANTIZED"] = str(kept.resolve())
    of = product(options.threads, options.batches, options.runtimes)
    for threads, batch, runtime in of:
        plans = [
            Plan(Target(options.device, runtime, batch, precision, threads), networks, PROTOCOL)
            for precision in PRECISIONS
        ]
        try:
            record = measured(plans, options.out, options.minutes)
        except measure.NoLatencyError as error:  # too little time, or too busy a machine
            print(error, file=sys.stderr, flush=True)
            continue
        print("".join(text_pieces(record.parts())), flush=True)


def measured(plans: list[Plan], out: Path, minutes: float | None) -> CampaignsRecord:
    """Make the runs that are missing, write the datasets, and give their record."""
    paths = [out / f"{str(plan.target).replace('/', '_')}.campaign" for plan in plans]
    with ExitStack() as stack:
        campaigns = [
            stack.enter_context(measure.open_or_resume(path, plan, resume=True))
            for path, plan in zip(paths, plans, strict=True)
        ]
        measure.run_in_turns(
            campaigns,
            time_budget_s=None if minutes is None else 60 * minutes,
            on_progress=_Notes(" and ".join(path.stem for path in paths)),
        )
        found = []
        for campaign, path in zip(campaigns, paths, strict=True):
            dataset, record = measure.conclude(campaign, str(path.with_suffix(".parquet")))
            dataset.save(path.with_suffix(".parquet"))
            found.append((dataset, record))
    return CampaignsRecord.of(found)


class _Notes:
    """Says once a minute how far a pair of campaigns is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() > self._last + _NOTED_S:
            self._last = time.monotonic()
            left = progress.seconds_left / 60
            print(f"{self._name}: {progress.done} of {progress.total}, {left:.0f} min", flush=True)


if __name__ == "__main__":
    main()
