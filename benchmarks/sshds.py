"""Throughput of a fleet of four boards by sshds of their own, against that of each board alone.

    python benchmarks/sshds.py [--networks 24] [--runs 2] [--pause 0.1]

The third board is half as fast, and the fourth dies when a third of all runs are made. Boards run
the fake runtime of the tests, whose passes sleep, so that four of them are four on two cores; all
else is what a campaign by SSH does. Ideal is what the boards make alone, one after the other, each
as long as it is alive. Needs OpenSSH's server, and the tests beside this folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import latcast
from latcast import measure
from latcast.bench.tables import machine
from latcast.devices import Target
from latcast.measure import Plan, Progress
from latcast.measure.hosts import _remote, ssh
from latcast.measure.runtimes import register_runtime
from latcast.testing.hosts import QUICK

TESTS = Path(__file__).parents[1] / "tests"
BOARDS, SLOW, DYING = 4, 2, 3
# Of a board alone: enough that the start of its workers takes the share that it has in a fleet.
ALONE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a pass sleeps")
    asked = parser.parse_args()
    sys.path += [str(TESTS / "makers"), str(TESTS / "measure")]
    sshd = import_module("sshd")
    register_runtime(import_module("fake_runtime").Own)
    _remote._PATIENCE_S = 1.0  # the board that dies stays away
    with tempfile.TemporaryDirectory(prefix="sshds-") as folder:
        servers = [_server(sshd, Path(folder), n, asked.pause) for n in range(BOARDS)]
        try:
            config = Path(folder) / "ssh_config"
            config.write_text("".join(server.config.read_text() for server in servers))
            os.environ[ssh.CONFIG_VARIABLE] = str(config)
            _compare(Path(folder), servers, asked.networks, asked.runs)
        finally:
            for server in servers:
                server.stop()


def _compare(folder: Path, servers: Sequence[Any], networks: int, runs: int) -> None:
    names = [f"ssh:board-{n}" for n in range(BOARDS)]
    rates = {}
    for n, name in enumerate(names):
        seconds, _ = _measured(folder / f"alone-{n}", (name,), ALONE, runs)
        rates[name] = ALONE * runs / seconds
    died: list[float] = []
    began = time.perf_counter()

    def tell(progress: Progress) -> None:
        if not died and progress.done >= progress.total / 3:
            servers[DYING].stop()
            died.append(time.perf_counter() - began)

    seconds, last = _measured(folder / "fleet", tuple(names), networks, runs, tell)
    lived = {name: died[0] if name == names[DYING] else seconds for name in names}
    ideal = sum(rates[name] * lived[name] for name in names)
    print(f"{len(names)} sshds, {networks} networks, {runs} runs of each; {machine()}")
    for name in names:
        gone = f", died after {lived[name]:.1f} s" if name in last.left_out else ""
        made = last.by_host.get(name, 0)
        print(f"{name}: {60 * rates[name]:.1f} runs a minute alone; {made} runs{gone}")
    total = sum(last.by_host.values())
    print(f"{total} runs in {seconds:.1f} s: {100 * total / ideal:.0f} % of the ideal")


def _measured(
    path: Path,
    hosts: tuple[str, ...],
    networks: int,
    runs: int,
    tell: Callable[[Progress], None] = lambda _: None,
) -> tuple[float, Progress]:
    """Seconds of a campaign, and how far it was in the end."""
    space = latcast.space("ofa-mobilenet-v3-w1.0")
    archs = space.sample(networks, 0, restrict={"r": [224]})
    last: list[Progress] = []

    def both(progress: Progress) -> None:
        last.append(progress)
        tell(progress)

    plan = Plan(Target("board", "my-own", threads=1), archs, replace(QUICK, runs=runs), hosts=hosts)
    with measure.open_or_resume(path, plan) as campaign:
        began = time.perf_counter()
        measure.run(campaign, on_progress=both)
        return time.perf_counter() - began, last[-1]


def _server(sshd: ModuleType, folder: Path, n: int, pause: float) -> Any:
    """An sshd with a home, a temporary folder (and so a lock) of its own."""
    (own := folder / f"sshd-{n}" / "tmp").mkdir(parents=True)
    made = sshd.Server(own.parent, sshd.free_port(), f"board-{n}")
    slowness = "2" if n == SLOW else "1"
    return made.start(TMPDIR=str(own), FAKE_SLOWNESS=slowness, FAKE_PAUSE=str(pause))


if __name__ == "__main__":
    main()
