"""How time grows with the input: the exponents of whatever takes more of it.

    python benchmarks/scaling.py [--runs 3] [--only NAME]

Seconds of the CPU that this process takes, the least of some runs in turns, at four sizes, each
twice the one before. What a call takes whatever the size (0 rows would) is fitted beside the
exponent p of seconds = fixed + n^p x each: 1 is linear, n log n is 1.1 to 1.2 at these sizes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import latcast
from latcast import measure
from latcast.bench.tables import machine
from latcast.data import Dataset
from latcast.data.audit import audit
from latcast.devices import Target
from latcast.graph import Graph, GraphBuilder
from latcast.models import Roofline
from latcast.models.adaptation import suggest
from latcast.models.forecast_records import NetworkForecast
from latcast.report.record import text_pieces
from latcast.search import search
from latcast.spaces.reading import read_archs

SPACE, DEVICE, LAYERS = "ofa-mobilenet-v3", "samsung-note10", "epyc-genoa-2c-onnxruntime-b1-t1"
DOUBLINGS = 4
LINEAR = 1.25
"""The largest exponent that passes for n log n at these sizes, with the noise of the clock."""

Floats = npt.NDArray[np.float64]
Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One operation whose time is measured at several sizes of its input.

    Attributes:
        name: of the table's row.
        smallest: size of the first of the four inputs.
        unit: what the size counts.
        work: makes the input of a size, and gives what is timed.
    """

    name: str
    smallest: int
    unit: str
    work: Callable[[int, Path], Work]


def rows(n: int) -> Dataset:
    """Architectures with latencies of their physics, and 1 % of noise."""
    archs = latcast.space(SPACE).sample(n, 0, restrict={"r": [160, 192, 224]})
    ms = 1 + archs.space.costs(archs)["macs"].to_numpy() / 1e7
    noisy = ms * np.random.default_rng(0).normal(1, 0.01, n)
    return Dataset(archs, noisy, Target("imaginary", "simulator"))


def written_archs(n: int, folder: Path) -> Path:
    file = folder / f"{n}.json"
    file.write_text(json.dumps(rows(n).archs.to_dicts()))
    return file


def read_json(n: int, folder: Path) -> Work:
    file, space = written_archs(n, folder), latcast.space(SPACE)
    return lambda: read_archs(file, space)


def read_csv(n: int, folder: Path) -> Work:
    file = folder / f"{n}.csv"
    data = rows(n)
    cells = (json.dumps(a).replace('"', '""') for a in data.archs.to_dicts())
    lines = [f'"{a}",{ms}' for a, ms in zip(cells, data.values, strict=True)]
    file.write_text("\n".join(["arch,latency_ms", *lines]))
    return lambda: latcast.read(file, space=SPACE, target="mine/x/b1")


def predict(n: int, _: Path) -> Work:
    model, archs = latcast.load(DEVICE), rows(n).archs
    return lambda: model.predict(archs)


def forecast(n: int, _: Path, *, as_json: bool) -> Work:
    archs = rows(n).archs

    def work() -> None:
        found = latcast.forecast(archs, DEVICE)
        for _piece in found.json_pieces() if as_json else text_pieces(found.parts()):
            pass

    return work


def train(n: int, _: Path) -> Work:
    data = rows(n)
    return lambda: Roofline().fit(data)


def adapt(n: int, _: Path) -> Work:
    model, data = latcast.load(DEVICE), rows(n)
    return lambda: model.adapt(data)


def suggested(n: int, _: Path) -> Work:
    space = latcast.space(SPACE)
    return lambda: suggest(space, n)


def searched(n: int, _: Path) -> Work:
    model = latcast.load(DEVICE)
    return lambda: search(SPACE, latency=model, max_latency_ms=[20, 30], evaluations=n)


def audited(n: int, _: Path) -> Work:
    data = rows(n)
    return lambda: audit(data)


def chain(layers: int) -> Graph:
    """Convolutions one after the other."""
    builder = GraphBuilder(name="chain")
    x = builder.input(16, 28, 28)
    for _ in range(layers):
        x = builder.conv(x, 16, 3)
    return builder.build(x)


def page(n: int, _: Path) -> Work:
    graph = chain(n)

    def work() -> str:
        found = latcast.forecast(graph, LAYERS)
        assert isinstance(found, NetworkForecast)
        return found.to_html()

    return work


def campaign(n: int, folder: Path) -> Work:
    """Going on with a campaign that has made all n runs but one, and concluding it."""
    path, archs = folder / f"{n}.campaign", rows(n // 2).archs
    plan = measure.Plan(
        Target("here", "onnxruntime", threads=1), archs, measure.Protocol(runs=2), 0, options={}
    )
    with measure.open_or_resume(path, plan) as opened:
        opened.extend(len(archs))
        processes = [opened.add_process({"runtime": {}, "machine": {}}) for _ in range(2)]
        details = {"repeats": 1, "inference_s": 0.1, "doubts": [], "machine": {}}
        for number in range(n):
            round_, arch = divmod(number, len(archs))
            samples = np.full(9, 5 + arch / len(archs))
            opened.add_run(
                measure.Run(
                    arch, round_, 0, processes[round_], float(number), True, samples,
                    (np.ones(3), np.ones(3)), details,
                )
            )  # fmt: skip

    def work() -> None:
        with measure.resume_as(path, {}) as resumed:
            for round_ in range(2):
                resumed.pending(round_, 0, len(archs))
            measure.results(resumed)

    return work


CASES = (
    Case("read JSON", 4_000, "architectures", read_json),
    Case("read CSV", 2_000, "rows", read_csv),
    Case("predict", 40_000, "architectures", predict),
    Case("forecast, as --json", 1_000, "architectures", lambda n, f: forecast(n, f, as_json=True)),
    Case(
        "forecast, as a table", 5_000, "architectures", lambda n, f: forecast(n, f, as_json=False)
    ),
    # Below, five folds choose the penalties instead of one, and more time is taken for less rows.
    Case("train roofline", 4_000, "rows", train),
    # Up to some 900 rows a system of all rows is solved, whose cube is 1.3 s at most; beyond it is
    # one of features.
    Case("adapt", 1_600, "rows", adapt),
    Case("suggest", 10, "samples", suggested),
    Case("search", 5_000, "evaluations", searched),
    Case("audit", 1_000, "rows", audited),
    Case("page of a network", 640, "layers", page),
    Case("resume a campaign", 250, "runs", campaign),
)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The p of seconds = fixed + n^p x each, both at least 0, of least relative squares."""
    n, s = np.asarray(sizes, dtype=np.float64), np.asarray(seconds)
    best, found = np.inf, 0.0
    for p in np.arange(0.0, 3.01, 0.01):
        powers = (n / n[0]) ** p
        for columns in ((np.ones_like(n), powers), (powers,)):
            design = np.stack(columns, axis=1) / s[:, None]
            solution, *_ = np.linalg.lstsq(design, np.ones_like(s), rcond=None)
            error = float(((design @ solution - 1) ** 2).sum())
            # Of equals the smaller: a time that does not grow is fixed, not a power of 0.
            if (solution >= 0).all() and error < best * (1 - 1e-9) - 1e-15:
                best, found = error, float(p)
    return found


def timed(case: Case, runs: int, folder: Path) -> tuple[list[int], list[float]]:
    """Sizes, and the least seconds of the CPU at each."""
    sizes = [case.smallest * 2**k for k in range(DOUBLINGS)]
    works = [case.work(size, folder) for size in sizes]
    works[0]()  # what is loaded and made once
    seconds = np.full(len(sizes), np.inf)
    for _ in range(runs):
        for k, work in enumerate(works):
            start = time.process_time()
            work()
            seconds[k] = min(seconds[k], time.process_time() - start)
    return sizes, seconds.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each size, in turns")
    parser.add_argument("--only", action="append", help="a row of the table; repeatable")
    arguments = parser.parse_args()
    print(f"{machine()}; CPU seconds, least of {arguments.runs}")
    print(f"{'':22}{'sizes':34}{'seconds':34}{'exponent':>9}")
    over = []
    for case in CASES:
        if arguments.only and case.name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            sizes, seconds = timed(case, arguments.runs, Path(folder))
        p = exponent(sizes, seconds)
        if p > LINEAR:
            over.append(case.name)
        told = f"{sizes[0]:,} – {sizes[-1]:,} {case.unit}"
        print(
            f"{case.name:22}{told:34}{' '.join(f'{s:.3f}' for s in seconds):34}{p:>9.2f}",
            flush=True,
        )
    print(f"above {LINEAR:g}: {', '.join(over) or 'none'}")


if __name__ == "__main__":
    main()
