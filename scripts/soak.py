"""Campaigns, adaptations, searches and forecasts with accidents, and what is left afterwards.

    python scripts/soak.py --seconds 3600 [--seed 0] [--work FOLDER]
    python scripts/soak.py --episodes 12

Every episode runs a job in a process of its own and lets something happen to it: it is killed or
signalled at a random moment, its disk is full (no file may grow beyond a random size), its clock
jumps by hours, or nobody reads what it prints. Then the job is run again, without accident, as a
user would. What must hold is in :meth:`Soak.episode`; the report counts it.

How large a file may grow is what the system can limit without being root; SQLite and Python are
told of it as of a full disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

ACCIDENTS = ("none", "kill", "interrupt", "terminate", "full disk", "clock", "no reader")
EVALUATIONS = 6_000
NETWORKS, RUNS = 3, 2
# A process hangs when it has used so much CPU time, some ten times what jobs need; or less than a
# second of it for so long. A machine with much else to do gives it little, but gives it that.
PATIENCE_CPU_S, IDLE_S = 120.0, 300.0
# In which orphans must be gone.
ORPHANS_S = 300.0


# --- jobs -------------------------------------------------------------------------------------


# A job is a command line of latcast; files that all read are one folder above its own.
JOBS: dict[str, tuple[object, ...]] = {
    "campaign": ("measure", "--models", "..", "--runs", RUNS, "--out", "a.parquet"),
    "search": (
        "search", "--device", "samsung-note10", "--max-latency", 20, "--evaluations", EVALUATIONS,
        "--checkpoint", "a.checkpoint", "--out", "a.json", "--json",
    ),
    "adapt": ("adapt", "samsung-note10", "../rows.parquet", "--out", "a.latcast"),
    "predict": ("predict", "../archs.json", "--device", "tesla-p40", "--json"),
}  # fmt: skip
# What a job goes on from after an interruption.
KEPT = ("a.checkpoint", "a.campaign")
# Job -> the file that it leaves.
LEFT = {"campaign": "a.parquet", "search": "a.json", "adapt": "a.latcast"}


def child(job: str, folder: Path, accident: str, size: int) -> None:
    """Do a job in this process, with what happens inside of it."""
    if accident == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if accident == "clock":
        rng, real = np.random.default_rng(size), time.time
        time.time = lambda: real() + rng.choice([-3e7, -7_200.0, 0.0, 0.0, 7_200.0, 3e7])
    from latcast import measure
    from latcast.cli import main

    # Runs as short as they can be: what they tell does not matter here.
    measure.Protocol = partial(  # type: ignore[misc,assignment]
        measure.Protocol, warm_up_s=0.0, run_s=0.02, min_samples=5, reference_s=0.0,
        other_cpus=1e9, cpu_share=0.0, halves_disagree=1e9, reference_disagrees=1e9, redo=0,
    )  # fmt: skip
    os.chdir(folder)
    resume = ["--resume"] if any(Path(name).exists() for name in KEPT) else []
    sys.argv = ["latcast", *map(str, JOBS[job]), *resume]
    main()


# --- episodes ---------------------------------------------------------------------------------


@dataclass
class Ended:
    """How a process ended: its exit code, what it said, its workers."""

    code: int
    out: bytes
    error: str
    orphans: int


class Soak:
    """Episodes in a folder, and what was found.

    Args:
        work: an empty folder.
        seed: of the jobs, their accidents, and when these happen.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.rng = work, np.random.default_rng(seed)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.failures: list[str] = []
        self.leftovers = 0
        self._prepare()
        self.seconds: dict[str, float] = {}
        self.reference: dict[str, bytes] = {}
        for job in JOBS:
            folder = self._folder(f"reference-{job}")
            start = time.monotonic()
            ended = self._run(job, folder)
            self.seconds[job] = time.monotonic() - start
            if ended.code:
                raise RuntimeError(f"{job} must work without accidents: {ended.error}")
            self.reference[job] = self._result(job, folder, ended)

    def _prepare(self) -> None:
        """Write the files that the jobs read."""
        from latcast import space
        from latcast.data import Dataset
        from latcast.devices import Target
        from latcast.families import population

        for n, variant in enumerate(population(NETWORKS, 0, ["squeezenet", "mobilenet-v1"])):
            (self.work / f"{n}.onnx").write_bytes(variant.to_onnx(1))
        archs = space("ofa-mobilenet-v3").sample(60, 0, restrict={"r": [160, 192, 224]})
        (self.work / "archs.json").write_text(json.dumps(archs.to_dicts()))
        ms = archs.space.costs(archs)["macs"].to_numpy() / 1e7
        Dataset(archs, ms, Target("imaginary", "simulator")).save(self.work / "rows.parquet")

    def _folder(self, name: str) -> Path:
        (folder := self.work / name).mkdir()
        return folder

    def episode(self, number: int) -> None:
        """One job with one accident, then without.

        A process ends with 0, 1 and a line of error, 130 when it was interrupted, or by the signal
        that it was sent, and leaves no worker behind. What it writes is whole or not there. Run
        again it ends with 0, and what it leaves is what the job leaves without accident; a campaign
        has kept its runs.
        """
        job = str(self.rng.choice(list(JOBS)))
        accident = str(self.rng.choice(ACCIDENTS))
        after_s = float(self.rng.uniform(0, 1.1)) * self.seconds[job]
        size = int(10 ** self.rng.uniform(0, 5.5))
        folder = self._folder(f"{number}-{job}")
        where = f"episode {number}: {job}, {accident} ({after_s:.2f} s, {size} bytes)"
        ended = self._run(job, folder, accident, after_s, size)
        fine = {0, 130, -2} if accident == "interrupt" else {0}
        fine |= {"kill": {-9}, "terminate": {-15}, "full disk": {1}}.get(accident, set())
        self._check(ended.code in fine, f"{where} ended with {ended.code}: {ended.error[-900:]}")
        said = ended.error.splitlines()
        last = said[-1] if said else ""
        no_line = ended.code == 1 and "error: " not in last and '"error": ' not in last
        # Python itself tells of an interruption before our code minds it, as modules are loaded,
        # and of one in a callback of its own, which ignores it.
        of_python = accident == "interrupt" and (
            ended.code == -2 or "Exception ignored in" in ended.error
        )
        is_clear = (of_python or "Traceback" not in ended.error) and not no_line
        self._check(is_clear, f"{where}: {ended.error[-900:]}")
        self._check("unexpected" not in ended.error, f"{where}: {ended.error[-900:]}")
        self._check(not ended.orphans, f"{where} left {ended.orphans} processes behind")
        how = {0: "went on", 1: "told", 130: "interrupted"}.get(ended.code, "ended")
        self.counts[job, accident, how] += 1
        if ended.code == 0 and accident != "no reader":
            self._compare(job, folder, ended, f"{where}, which went on")
        before = self._runs(folder)
        again = self._run(job, folder) if ended.code or accident == "no reader" else ended
        self._check(again.code == 0, f"{where}, again: {again.code} {again.error[-900:]}")
        if again.code == 0:
            self._compare(job, folder, again, f"{where}, again")
        self._check(before <= self._runs(folder), f"{where}: runs of before are gone")
        self.leftovers += len([f for f in folder.iterdir() if f.name.startswith(".")])
        shutil.rmtree(folder)

    def _check(self, holds: bool, message: str) -> None:
        if not holds:
            self.failures.append(message)
            print(f"FAILED {message}", file=sys.stderr, flush=True)

    def _runs(self, folder: Path) -> set[tuple[int, int, float]]:
        """Runs that a campaign has: network, round and time."""
        from latcast.measure import CampaignFile

        if not (path := folder / "a.campaign").exists():
            return set()
        try:
            with CampaignFile.open(path) as found:
                return {(r.network, r.round, r.time_s) for r in found.runs()}
        except ValueError:  # of one that was ended before its plan was written
            return set()

    def _result(self, job: str, folder: Path, ended: Ended) -> bytes:
        """Read the output of a job, without what differs from one measurement to the next."""
        if job not in LEFT:
            return ended.out
        if job == "campaign":
            import latcast

            # In the order of their first runs that count, which a run that is lost is not.
            return "\n".join(sorted(latcast.read(folder / LEFT[job]).names)).encode()
        return (folder / LEFT[job]).read_bytes()

    def _compare(self, job: str, folder: Path, ended: Ended, where: str) -> None:
        try:
            found = self._result(job, folder, ended)
        except (OSError, ValueError) as error:
            self._check(False, f"{where}: {error}")
        else:
            same = found == self.reference[job]
            self._check(
                same, f"{where}: the result differs from that without accident: {found[:300]!r}"
            )

    def _run(
        self, job: str, folder: Path, accident: str = "none", after_s: float = 0.0, size: int = 0
    ) -> Ended:
        """A job in a process of its own, and what happens to it from outside."""
        line = [sys.executable, __file__, "--child", job, str(folder), accident, str(size)]
        # Pipes, which no limit of files concerns.
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
        assert process.stdout is not None
        workers: list[psutil.Process] = []
        out = b""
        if accident == "no reader":
            process.stdout.close()
            process.stdout = None
        sent = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT,
                "terminate": signal.SIGTERM}.get(accident)  # fmt: skip
        try:
            out, told = process.communicate(timeout=after_s) if sent else _output(process)
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(sent or signal.SIGKILL)
            out, told = _output(process)
        _, alive = psutil.wait_procs(workers, timeout=ORPHANS_S)
        for worker in alive:
            worker.kill()
        return Ended(process.returncode, out, told.decode(errors="replace"), len(alive))

    def report(self) -> str:
        """Counts of what happened, and all that did not hold."""
        lines = [f"{'job':12}{'accident':14}{'then':14}episodes"]
        lines += [f"{j:12}{a:14}{h:14}{n:>8}" for (j, a, h), n in sorted(self.counts.items())]
        # An episode may break several rules.
        failed = {message.partition(":")[0] for message in self.failures}
        lines.append(
            f"{self.counts.total()} episodes, {len(failed)} that did not hold; "
            f"{self.leftovers} temporary files left by processes that were killed"
        )
        return "\n".join([*lines, *self.failures])


def _output(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a process that ends by itself writes, however long that takes on a busy machine.

    Raises:
        subprocess.TimeoutExpired: it hangs, by the CPU time that it uses.
    """
    last_s, last_time = 0.0, time.monotonic()
    while True:
        try:
            return process.communicate(timeout=5.0)
        except subprocess.TimeoutExpired:
            used_s, now = _cpu_seconds(process.pid), time.monotonic()
            if used_s > last_s + 1.0:
                last_s, last_time = used_s, now
            if used_s > PATIENCE_CPU_S or now - last_time > IDLE_S:
                raise


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process, of its children, and of those that it has had."""
    try:
        process = psutil.Process(pid)
        return sum(sum(p.cpu_times()[:4]) for p in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:  # one that ends meanwhile
        return 0.0


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        job, folder, accident, size = sys.argv[2:]
        child(job, Path(folder), accident, int(size))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="no episode begins after so many")
    parser.add_argument("--episodes", type=int, help="so many, however long they take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=arguments.work) as folder:
        # Campaigns keep each other out by a lock in the temporary folder: this one is our own.
        os.environ["TMPDIR"] = folder
        soak = Soak(Path(folder), arguments.seed)
        start, number = time.monotonic(), 0
        while number < arguments.episodes if arguments.episodes else (
            time.monotonic() - start < (arguments.seconds or 60.0)
        ):  # fmt: skip
            soak.episode(number)
            number += 1
        print(soak.report())
    sys.exit(bool(soak.failures))


if __name__ == "__main__":
    main()
