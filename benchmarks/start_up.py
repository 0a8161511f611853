"""What the command line adds to what it does: CPU seconds of processes, in turns.

    python benchmarks/start_up.py [--repeats 10] > docs/results/start_up.txt

The least of the runs counts. Python may have written its bytecode: where it has not, as with
PYTHONDONTWRITEBYTECODE, every process compiles all modules anew (``make test`` compiles them).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from latcast.bench.tables import machine

SEARCH = ("search", "--device", "samsung-note10", "--max-latency", "20")
LATCAST = (sys.executable, "-P", "-c", "from latcast.cli import main; main()")
PROGRAMS = {
    "import typer": "import typer",
    "a command of typer's with one option, --help": (
        "import typer\ndef main(name: str = 'a'): pass\ntyper.run(main)"
    ),
}
# What the command's search takes in a process: of the first, and of the third.
ALONE = """
import time, latcast
latency = latcast.load("samsung-note10")
for _ in range(3):
    begin = time.process_time()
    latcast.search(latency.space, latency=latency, max_latency_ms=20, seed=0)
    print(time.process_time() - begin)
"""
TYPER, OF_TYPER = PROGRAMS
HELP, SEARCH_HELP, WHOLE = "latcast --help", "latcast search --help", f"latcast {' '.join(SEARCH)}"
FIRST, AGAIN = "its search, the first of a process", "its search, the third of a process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    typer, of_typer = ((sys.executable, "-P", "-c", text) for text in PROGRAMS.values())
    commands: dict[str, Sequence[str]] = {
        TYPER: typer, OF_TYPER: (*of_typer, "--help"), HELP: (*LATCAST, "--help"),
        SEARCH_HELP: (*LATCAST, "search", "--help"), WHOLE: (*LATCAST, *SEARCH),
    }  # fmt: skip
    runs: dict[str, list[float]] = {name: [] for name in (*commands, FIRST, AGAIN)}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(cpu_seconds(command))
        told = subprocess.run(
            [sys.executable, "-P", "-c", ALONE], capture_output=True, text=True, check=True
        ).stdout.split()
        runs[FIRST].append(float(told[0]))
        runs[AGAIN].append(float(told[-1]))
    least = {name: min(seconds) for name, seconds in runs.items()}
    print(f"{machine()}; CPU seconds, the least of {repeats} runs in turns")
    for name, seconds in least.items():
        print(f"{name:<55}{seconds:>8.3f}")
    print()
    for name, by in ((HELP, TYPER), (SEARCH_HELP, OF_TYPER), (WHOLE, FIRST), (WHOLE, AGAIN)):
        print(f"{name} / {by}: {least[name] / least[by]:.2f}")


def cpu_seconds(command: Sequence[str]) -> float:
    """CPU seconds of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
