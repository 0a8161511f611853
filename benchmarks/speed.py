"""Print how fast latcast is and how much memory it takes, beside another checkout in turns.

    python benchmarks/speed.py [--data ../shared/data/ofanas] [--against ../older]

Everything is timed in processes of its own, this checkout's and the other's by turns in one run, so
that a machine whose speed wanders slows both alike; commands by the clock, calls of the library in
seconds of the CPU. Run it with OPENBLAS_NUM_THREADS=1 for figures of one core.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from latcast.bench.tables import machine

ROOT = Path(__file__).parents[1]
RUNS = 9
# Of the checkout that is timed: an earlier one cannot read what is saved today.
DATASET = "{checkout}/datasets/epyc-genoa-2c_onnxruntime_b1_t1.parquet"
ONNX = ROOT / "tests" / "golden" / "data" / "mobile.onnx.gz"

_TIMED = """
import time
{setup}
{statement}
start, runs = time.process_time(), 0
while time.process_time() - start < {seconds}:
    {statement}
    runs += 1
print((time.process_time() - start) / runs)
"""
"""A program that prints the mean seconds of the CPU of a statement, which has run once before."""

_ARCHS = "import latcast; p = latcast.load({name!r}); a = p.space.sample(100_000, 0, restrict={r})"
_FIT = "latcast.predictors.Roofline().fit({rows})"


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        name: what is measured.
        unit: ``s`` and ``MB`` are better when they are less, ``/s`` when it is more.
        arguments: of Python; a whole process is timed or weighed, a program prints its own figure.
        scale: for ``/s``, how many are done in the seconds that the program prints.
        prints: whether the program prints its figure.
    """

    name: str
    unit: str
    arguments: tuple[str, ...]
    scale: float = 1.0
    prints: bool = True

    def once(self, checkout: Path) -> float:
        """The figure of one process of a checkout."""
        # Modules are looked for there first, and what the folder holds is not imported.
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        arguments = [a.replace("{checkout}", str(checkout)) for a in self.arguments]
        command = [sys.executable, *arguments]
        if not self.prints:
            command = [sys.executable, "-c", _PROCESS, self.unit, *arguments]
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment, cwd=folder
            )
        value = float(run.stdout.split()[-1])
        return self.scale / value if self.unit == "/s" else value


_PROCESS = """
import resource, subprocess, sys, time
unit, *command = sys.argv[1:]
start = time.perf_counter()
subprocess.run([sys.executable, *command], check=True, capture_output=True)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(seconds if unit == "s" else peak)
"""
"""Runs Python with arguments and prints the seconds or the peak memory of that process."""


def measures(data: Path | None, onnx: Path) -> list[Measure]:
    """All figures."""
    budgets = [x for b in (15, 20, 25, 30, 35) for x in ("--max-latency", str(b))]
    search = ("-m", "latcast", "search", "--device", "samsung-note10", *budgets)
    layers = "epyc-genoa-2c-onnxruntime-b1-t1"
    predict = ("-m", "latcast", "predict", str(onnx), "--device", layers)
    found = [
        Measure("python -c pass", "s", ("-c", "pass"), prints=False),
        Measure("import latcast", "s", ("-c", "import latcast"), prints=False),
        Measure("latcast --help", "s", ("-m", "latcast", "--help"), prints=False),
        Measure("latcast predict, ONNX", "s", predict, prints=False),
        Measure("latcast predict, ONNX: memory", "MB", predict, prints=False),
        Measure("latcast search, five budgets", "s", search, prints=False),
        Measure("latcast search, five budgets: memory", "MB", search, prints=False),
    ]
    for name in ("samsung-note10", "tesla-p40"):
        setup = _ARCHS.format(name=name, r={"r": [160, 192, 224]})
        found.append(_timed(f"predict, {name}", setup, "p.predict(a)", scale=100_000))
    read = f"import latcast; data = latcast.read({DATASET!r})"
    found += [
        _timed(
            "fit roofline, 850 rows", f"{read}[:850]", "latcast.predictors.Roofline().fit(data)"
        ),
        _timed(
            "adapt to 100 rows",
            f"{read}[:100]; p = latcast.load('samsung-note10')",
            "p.adapt(data)",
        ),
        _timed(
            "search, five budgets",
            "import latcast; p = latcast.load('samsung-note10'); from latcast.search import search",
            "search('ofa-mobilenet-v3', latency=p, max_latency_ms=[15, 20, 25, 30, 35], seed=0)",
        ),
    ]
    if data is not None:
        file = data.resolve() / "datasets" / "RTX_2080_Ti_GPU_ofa.csv"
        read = f"import latcast; data = latcast.read({str(file)!r})"
        found += [
            _timed(
                "audit, 10,000 rows", f"{read}; from latcast.data.audit import audit", "audit(data)"
            ),
            _timed("fit roofline, 7,000 rows", read, _FIT.format(rows="data[:7_000]")),
        ]
    return found


def _timed(name: str, setup: str, statement: str, scale: float = 1.0) -> Measure:
    program = _TIMED.format(setup=setup, statement=statement, seconds=1)
    return Measure(name, "/s" if scale > 1 else "s", ("-c", program), scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the paper's folder, to time audit and fit")
    parser.add_argument("--against", type=Path, help="another checkout, whose figures stand beside")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes for each figure")
    arguments = parser.parse_args()
    checkouts = [ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    print(
        f"{machine()}; OPENBLAS_NUM_THREADS={threads}; median of {arguments.runs} (min – max)"
        + "".join(f"; beside {commit(c)}, and the ratio of ours to it" for c in checkouts[1:])
    )
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "mobile.onnx"
        onnx.write_bytes(gzip.decompress(ONNX.read_bytes()))
        for measure in measures(arguments.data, onnx):
            values: list[list[float]] = [[] for _ in checkouts]
            for run in range(arguments.runs + 1):
                for own, checkout in zip(values, checkouts, strict=True):
                    value = measure.once(checkout)
                    if run:  # the first one fills the caches
                        own.append(value)
            print(line(measure, values), flush=True)


def commit(checkout: Path) -> str:
    """Short name of the commit that a checkout is at."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def line(measure: Measure, values: list[list[float]]) -> str:
    """A row of the table."""
    form = {"s": ".3f", "MB": ".0f", "/s": ",.0f"}[measure.unit]
    cells = [
        f"{statistics.median(own):{form}} {measure.unit} ({min(own):{form}} – {max(own):{form}})"
        for own in values
    ]
    if len(values) > 1:
        cells.append(f"{statistics.median(values[0]) / statistics.median(values[1]):.2f}")
    return f"{measure.name:40}" + "".join(f"{cell:>40}" for cell in cells)


if __name__ == "__main__":
    main()
