"""What it takes to keep a fleet busy: time of a decision, memory, and time to go on.

    python benchmarks/fleet.py [--hosts 1000] [--networks 4000] [--runs 3]

Hosts are simulated: a run of theirs takes no time, so that all the time is what this machine takes
to decide who runs what, to record it, and to tell how far it is. A campaign is stopped half way
and gone on with.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

import latcast
from latcast import measure
from latcast.bench.tables import machine
from latcast.devices import Device, Target
from latcast.measure import Plan, Protocol
from latcast.measure.hosts import HOSTS, Host


class Simulated(Host):
    """Answers at once."""

    kind = "simulated"
    title = "a simulated host"

    def facts(self) -> Mapping[str, Any]:
        return {"name": "board"}

    def check(self, target: Target, own: object = None) -> None:
        pass

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        yield

    def start(self, target: Target, protocol: Mapping[str, Any], own: object = None) -> Worker:
        return Worker()

    def detect(self, name: str | None = None, *, seconds: float = 2.0) -> Device:
        raise NotImplementedError


class Worker:
    """Has the median of every run at 1 ms."""

    pid = 1

    def __init__(self) -> None:
        self.facts = {"runtime": {"version": "1"}, "machine": {}, "timer_s": 1e-7, "clock": "wall"}

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        samples = list(np.random.default_rng(len(request["network"])).normal(1, 0.01, 30))
        return {
            "samples_ms": samples, "reference_ms": [samples[:3], samples[3:6]], "repeats": 1,
            "inference_s": 0.03, "load_s": 0.01, "doubts": [], "machine": {},
        }  # fmt: skip

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--networks", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    HOSTS._things["simulated"] = Simulated
    archs = latcast.space("ofa-mobilenet-v3").sample(asked.networks, 0).unique()
    hosts = tuple(f"simulated:{n}" for n in range(asked.hosts))
    plan = Plan(Target("board", "onnxruntime"), archs, Protocol(runs=asked.runs), hosts=hosts)
    total = len(plan.sources) * asked.runs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.campaign"
        measure.open_or_resume(path, plan).close()
        first = _sitting(path, until=total // 2)
        again = _sitting(path, until=total)
    print(f"{asked.hosts} simulated hosts, {len(plan.sources)} networks, {asked.runs} runs of each")
    print(machine())
    print(f"first run after {first[0]:.2f} s, of the campaign gone on with after {again[0]:.2f} s")
    each = [1000 * first[1] / (total // 2), 1000 * again[1] / (total - total // 2)]
    print(f"a decision and its record: {each[0]:.2f} ms, {each[1]:.2f} ms")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _sitting(path: Path, until: int) -> tuple[float, float]:
    """Seconds from opening the file to the first run, and from then to the last."""
    stop, times = Event(), []

    def tell(progress: measure.Progress) -> None:
        times.append(time.perf_counter())
        if progress.done >= until:
            stop.set()

    began = time.perf_counter()
    with measure.CampaignFile.open(path) as campaign:
        measure.run(campaign, on_progress=tell, stop=stop)
    return times[0] - began, times[-1] - times[0]


if __name__ == "__main__":
    main()
