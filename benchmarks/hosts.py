"""A campaign by a host against the same here: do the medians agree, and what does the link take?

    python benchmarks/hosts.py --host user@board [--networks 20] [--runs 4] [--runtime onnxruntime]

The host is this very machine by another way (an sshd on the loopback, prepared by ``latcast host
prepare``), or one like it. Three campaigns take turns, a round each: here, by the host, and here
once more, which tells how repeatable the machine is by itself. As of every campaign, one connection
serves all rounds of the host's; logging in counts as its time. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt

from latcast import measure
from latcast.bench.tables import machine
from latcast.devices import Target
from latcast.families import population
from latcast.measure import CampaignFile, Host, Plan, Progress, Protocol

CLOSE = 0.02
"""Medians that agree are no further apart than this share."""

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", required=True)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--runtime", default="onnxruntime")
    asked = parser.parse_args()
    networks = population(asked.networks, 0)
    target = Target("here", asked.runtime, threads=1)
    hosts = {"here": "", "by the host": asked.host, "here again": ""}
    seconds = dict.fromkeys(hosts, 0.0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        campaigns = {
            name: measure.open_or_resume(
                Path(folder) / f"{n}.campaign",
                Plan(target, networks, Protocol(runs=asked.runs), host=host),
            )
            for n, (name, host) in enumerate(hosts.items())
        }
        boards = {name: stack.enter_context(measure.host(host)) for name, host in hosts.items()}
        began = time.perf_counter()
        boards["by the host"].facts()
        login = seconds["by the host"] = time.perf_counter() - began
        for _ in range(asked.runs):
            for name, campaign in campaigns.items():
                seconds[name] += _turn(campaign, boards[name], len(networks))
        runs = {name: c.counts()[1] for name, c in campaigns.items()}
        for name, campaign in campaigns.items():
            measure.run(campaign, on=boards[name])  # runs that were made again, and are left
        medians = {name: measure.corrected_medians(c) for name, c in campaigns.items()}
    print(f"{len(networks)} networks, {asked.runs} runs each, {target}; {machine()}")
    for name in list(hosts)[1:]:
        print(f"{name}: {_agreement(medians['here'], medians[name])}")
    each = {name: seconds[name] / runs[name] for name in hosts}
    own = (each["here"] + each["here again"]) / 2
    print(
        f"seconds a run: {each['here']:.3f} here, {each['here again']:.3f} here again, "
        f"{each['by the host']:.3f} by the host: {100 * (each['by the host'] / own - 1):+.1f} %, "
        f"of which {100 * login / runs['by the host'] / own:.1f} % to log in ({login:.2f} s)"
    )


def _turn(campaign: CampaignFile, board: Host, runs: int) -> float:
    """Make so many runs, lock and fresh worker included; returns the seconds."""
    stop = Event()

    def tell(progress: Progress) -> None:
        if sum(progress.by_host.values()) >= runs:
            stop.set()

    began = time.perf_counter()
    measure.run(campaign, on=board, on_progress=tell, stop=stop)
    return time.perf_counter() - began


def _agreement(one: Floats, other: Floats) -> str:
    gaps = np.abs(other / one - 1)
    return (
        f"{(gaps <= CLOSE).mean():.0%} of {len(gaps)} medians within {CLOSE:.0%} of those here, "
        f"median difference {np.median(gaps):.2%}, largest {gaps.max():.2%}"
    )


if __name__ == "__main__":
    main()
