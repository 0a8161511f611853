"""What a search finds, how fast, and in how many evaluations, beside Once-For-All's and pymoo's.

    python benchmarks/search.py --data ../shared/data/ofanas [--once-for-all FOLDER]

On the Note10 what is found is scored by the teacher of the accuracy model, Once-For-All's own
accuracy predictor, and held against the published lookup table. FOLDER is a checkout of
mit-han-lab/once-for-all, whose EvolutionFinder is then run beside ours, budget by budget.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.evolution import Evolution
from latcast.bench.latency_sources import Teacher
from latcast.bench.tables import machine
from latcast.models import LookupTable, Predictor
from latcast.search import METHODS, InfeasibleError, accuracy_model, search

SPACE, SMALL, DEVICE = "ofa-mobilenet-v3", "compofa-fixed-kernel", "samsung-note10"
BUDGETS = (15, 20, 25, 30, 35)
SEEDS = 10
# mit-han-lab/once-for-all, EvolutionFinder with population 100 and 500 generations, one core.
OFA_TOP1 = (0.7854, 0.8065, 0.8181, 0.8244, 0.8313)
OFA_SECONDS = 62.2
OFA_SEEDS, OFA_BESIDE = 2, (100_000, 50_000)
METHODS.register("evolution", Evolution)
COMPARED = ("memetic", "evolution", "nsga2", "random")
EVALUATIONS = (2_000, 10_000, 50_000, 100_000)
PYMOO_UP_TO = 50_000
REFERENCE = (0.70, 60.0)
"""Top-1 and ms at which the hypervolume ends."""
PAIRS, PAIR_SEEDS = ((18, 9), (22, 13), (26, 15), (32, 19)), 3
"""Budgets on the Note10 and the RTX 2080 Ti, ms."""
LARGE_POPULATION = 10_000

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the paper's folder")
    parser.add_argument("--once-for-all", type=Path, help="checkout of mit-han-lab/once-for-all")
    parser.add_argument("--finder-only", action="store_true", help="beside --once-for-all's only")
    parser.add_argument("--two-devices", action="store_true", help="of two devices at once only")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = latcast.load(DEVICE)
    if arguments.memory_of:
        print_memory(model, arguments.memory_of)
        return
    if arguments.two_devices:
        print(machine())
        two_devices(model, latcast.load("rtx-2080-ti"))
        return
    if arguments.finder_only:
        print(machine())
        teacher = Teacher(arguments.data / "acc_predictor.pth")
        once_for_all(arguments.once_for_all, arguments.data, model, teacher)
        return
    space = latcast.space(SPACE)
    table = LookupTable.from_ofa(arguments.data / "lookup_tables", space, model.target)
    teacher = Teacher(arguments.data / "acc_predictor.pth")
    print(f"{machine()}\n{DEVICE}, {SPACE}, {SEEDS} seeds; top-1 by the teacher")
    budgets(model, table, teacher)
    if arguments.once_for_all is not None:
        once_for_all(arguments.once_for_all, arguments.data, model, teacher)
    exact(model, table)
    hypervolumes(model)
    two_devices(model, latcast.load("rtx-2080-ti"))
    infeasible(model)
    print(f"\nPeak memory of a search with a population of {LARGE_POPULATION:,}, MB")
    for method in ("evolution", "nsga2"):
        command = [sys.executable, __file__, "--data", str(arguments.data), "--memory-of", method]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def budgets(model: Predictor, table: LookupTable, teacher: Teacher) -> None:
    """Five budgets in one run, seed by seed."""
    scores, over, seconds, evaluations, fronts = [], 0, [], [], []
    for seed in range(SEEDS):
        r = search(SPACE, latency=model, max_latency_ms=BUDGETS, seed=seed)
        scores.append(teacher.predict(r.archs))
        over += int((table.predict(r.front.archs) > max(BUDGETS)).sum())
        over += int((table.predict(r.archs) > r.max_latency_ms).sum())
        seconds.append(r.seconds)
        evaluations.append(r.evaluations)
        fronts.append(len(r.front))
    print()
    row("budget ms", [f"{b}" for b in BUDGETS])
    row("latcast, mean", [f"{x:.4f}" for x in np.mean(scores, axis=0)])
    row("latcast, std", [f"{x:.4f}" for x in np.std(scores, axis=0)])
    row("latcast, worst", [f"{x:.4f}" for x in np.min(scores, axis=0)])
    row("latcast, best", [f"{x:.4f}" for x in np.max(scores, axis=0)])
    row("Once-For-All (quoted)", [f"{x:.4f}" for x in OFA_TOP1])
    print(
        f"\nover budget by the published table: {over} of {SEEDS * len(BUDGETS)}, and of the "
        f"{np.sum(fronts)} networks of all fronts\n"
        f"seconds for all five and the front: {np.mean(seconds):.2f} ± {np.std(seconds):.2f}, "
        f"least {np.min(seconds):.2f} (Once-For-All, quoted: {OFA_SECONDS} for five networks)\n"
        f"networks evaluated: {np.mean(evaluations):,.0f}; in the front: {np.mean(fronts):.0f}"
    )


def once_for_all(folder: Path, data: Path, model: Predictor, teacher: Teacher) -> None:
    """Once-For-All's own search with its own predictor and table, and ours, in turns."""
    theirs = OnceForAll(folder, data)
    space = latcast.space(SPACE)
    top1, seconds = [], []
    ours: dict[int, list[tuple[Floats, float]]] = {n: [] for n in OFA_BESIDE}
    for seed in range(OFA_SEEDS):
        start = time.process_time()
        found = [theirs.search(budget, seed) for budget in BUDGETS]
        seconds.append(time.process_time() - start)
        top1.append(teacher.predict(space.parse(found)))
        for evaluations, results in ours.items():
            start = time.process_time()
            r = search(
                SPACE, latency=model, max_latency_ms=BUDGETS, seed=seed, evaluations=evaluations
            )
            took = time.process_time() - start
            results.append((teacher.predict(r.archs), took))
    print(f"\nOnce-For-All's EvolutionFinder, run here in turns with ours, {OFA_SEEDS} seeds")
    row("Once-For-All, mean", [f"{x:.4f}" for x in np.mean(top1, axis=0)])
    print(f"CPU seconds for all five: {np.mean(seconds):.1f}; of latcast with the front:")
    for evaluations, results in ours.items():
        row(
            f"{evaluations:,} evaluations",
            [f"{x:.4f}" for x in np.mean([r[0] for r in results], 0)],
        )
        took = float(np.mean([r[1] for r in results]))
        print(f"CPU seconds: {took:.2f}, {np.mean(seconds) / took:.0f} times as fast")


class OnceForAll:
    """The search of a checkout of mit-han-lab/once-for-all, on local files."""

    def __init__(self, folder: Path, data: Path) -> None:
        import torch
        import yaml

        tutorial = folder / "ofa" / "tutorial"
        local = ModuleType("ofa.utils")
        local.download_url = lambda url, *_, **__: str(_local(url, data))  # type: ignore[attr-defined]
        sys.modules |= {"ofa": ModuleType("ofa"), "ofa.utils": local}
        tables, accuracy, finder = (
            _module(tutorial / f"{name}.py")
            for name in ("latency_table", "accuracy_predictor", "evolution_finder")
        )
        finder.tqdm = lambda steps, **_: steps
        # Its yaml.load without a loader is of a time before PyYAML 6.
        tables.yaml = ModuleType("yaml")
        tables.yaml.load = yaml.safe_load
        torch.set_num_threads(1)
        with redirect_stdout(sys.stderr):  # it tells of every table
            self._table = tables.LatencyTable()
        self._accuracy = accuracy.AccuracyPredictor(device="cpu")
        self._finder: Callable[..., Any] = finder.EvolutionFinder

    def search(self, budget: int, seed: int) -> dict[str, Any]:
        """The network found, as a dict."""
        import random

        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # what it draws from
        finder = self._finder("note10", budget, self._table, self._accuracy)
        _, (_, found, _) = finder.run_evolution_search()
        return {k: found[k] for k in ("ks", "e", "d", "r")}


def _local(url: str, data: Path) -> Path:
    name = url.rpartition("/")[2]
    return data / name if name.endswith(".pth") else data / "lookup_tables" / name


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exact(model: Predictor, table: LookupTable) -> None:
    """CompOFA with fixed kernels: every method against enumeration."""
    best = search(SMALL, latency=model, max_latency_ms=BUDGETS)
    over = int((table.predict(best.archs) > best.max_latency_ms).sum())
    print(
        f"\n{SMALL}: enumeration of {best.evaluations} networks, the default, is exact; over "
        f"budget by the published table: {over}\n"
        f"searches of {SEEDS * len(BUDGETS)} in which others find the optimum, with 40,000 "
        "evaluations:"
    )
    for method in COMPARED:
        hits = sum(
            int(np.isclose(found, optimum, atol=1e-6))
            for seed in range(SEEDS)
            for found, optimum in zip(
                search(SMALL, latency=model, max_latency_ms=BUDGETS, method=method, seed=seed,
                       evaluations=40_000).accuracy,
                best.accuracy, strict=True,
            )
        )  # fmt: skip
        print(f"  {method:12}{hits:>4}")


def hypervolumes(model: Predictor) -> None:
    """Of whole fronts without budgets, after as many evaluations."""
    print(
        f"\nHypervolume of the front, top-1 above {REFERENCE[0]:g} x ms below {REFERENCE[1]:g}, "
        f"{SEEDS} seeds"
    )
    row("evaluations", [f"{n:,}" for n in EVALUATIONS], 18)
    for method in COMPARED:
        row(f"latcast, {method}", [_volumes(model, method, n) for n in EVALUATIONS], 18)
    if importlib.util.find_spec("pymoo") is None:
        print("pymoo is not installed: pip install 'latcast[pymoo]'")
        return
    for kind in ("as documented", "default rates"):
        cells = [_pymoo_volumes(model, kind, n) for n in EVALUATIONS if n <= PYMOO_UP_TO]
        row(f"pymoo NSGA-II, {kind}", cells, 18)


def _volumes(model: Predictor, method: str, evaluations: int) -> str:
    volumes = []
    for seed in range(SEEDS):
        front = search(
            SPACE, latency=model, method=method, evaluations=evaluations, seed=seed
        ).front
        volumes.append(hypervolume(front.accuracy, front.latency_ms))
    return f"{np.mean(volumes):.4f} ± {np.std(volumes):.3f}"


def _pymoo_volumes(model: Predictor, kind: str, evaluations: int) -> str:
    """NSGA-II of pymoo with its operators for integers, and the front of all it evaluated."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    from latcast.search import as_pymoo_problem

    # Those of its page on discrete variables; and those of its NSGA-II, for real ones.
    rates: dict[str, tuple[dict[str, float], dict[str, float]]] = {
        "as documented": ({"prob": 1.0, "eta": 3.0}, {"prob": 1.0, "eta": 3.0}),
        "default rates": ({"prob": 0.9, "eta": 15}, {"eta": 20}),
    }
    crossover, mutation = rates[kind]
    volumes = []
    for seed in range(SEEDS):
        seen: list[Floats] = []

        def keep(running: Any, seen: list[Floats] = seen) -> None:
            seen.append(running.pop.get("F"))
            if running.off is not None:
                seen.append(running.off.get("F"))

        algorithm = NSGA2(
            pop_size=100,
            sampling=IntegerRandomSampling(),
            crossover=SBX(**crossover, vtype=float, repair=RoundingRepair()),
            mutation=PM(**mutation, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        problem = as_pymoo_problem(SPACE, latency=model)
        minimize(problem, algorithm, ("n_eval", evaluations), seed=seed, callback=keep)
        values = np.concatenate(seen)
        volumes.append(hypervolume(-values[:, 0], values[:, 1]))
    return f"{np.mean(volumes):.4f} ± {np.std(volumes):.3f}"


def hypervolume(accuracy: Floats, ms: Floats) -> float:
    """Area that n networks dominate up to the reference, in accuracy x ms."""
    least, most = REFERENCE
    inside = (accuracy > least) & (ms < most)
    order = np.argsort(ms[inside], kind="stable")
    best = np.maximum.accumulate(accuracy[inside][order])
    ends = np.append(ms[inside][order], most)
    return float(((best - least) * np.diff(ends)).sum())


def two_devices(phone: Predictor, gpu: Predictor) -> None:
    """Networks that keep budgets on both, against those of fronts for one."""
    print(
        f"\nTwo devices at once, samsung-note10 and rtx-2080-ti, {PAIR_SEEDS} seeds: top-1 by the "
        "accuracy model,\nbeside the best of fronts for either that keeps both budgets; mean ± std"
    )
    models = phone, gpu
    for space in (SMALL, SPACE):
        fronts = [
            [search(space, latency=p, seed=seed).front.archs for p in models]
            for seed in range(PAIR_SEEDS)
        ]
        for budget in PAIRS:
            both = [
                search(space, latency=models, max_latency_ms=budget, seed=seed).accuracy[0]
                for seed in range(PAIR_SEEDS)
            ]
            singles = [max(_best_keeping(f, models, budget) for f in own) for own in fronts]
            cells = [f"{np.mean(x):.4f} ± {np.std(x):.4f}" for x in (both, singles)]
            row(f"{space}, {budget[0]} and {budget[1]} ms", cells, size=20, width=40)


def _best_keeping(
    archs: latcast.Archs, models: tuple[Predictor, ...], budget: tuple[int, int]
) -> float:
    inside = np.all([m.predict(archs) <= b for m, b in zip(models, budget, strict=True)], axis=0)
    accuracy = accuracy_model().predict(archs[np.flatnonzero(inside)])
    return float(accuracy.max()) if len(accuracy) else float("nan")


def infeasible(model: Predictor) -> None:
    """Seconds until the error."""
    print("\nSeconds until the error of what cannot be kept")
    questions: dict[str, dict[str, Any]] = {
        "5 ms": {"max_latency_ms": [20, 5]},
        "5 ms, small space": {"max_latency_ms": [20, 5], "space": SMALL},
        "1 million MACs": {"max_macs": 1e6},
        "20 and 3 ms on two devices": {
            "max_latency_ms": (20, 3), "latency": [DEVICE, "rtx-2080-ti"],
        },
        "tesla-p40, 9.9 ms, confidence 0.9": {
            "max_latency_ms": 9.9, "confidence": 0.9, "latency": "tesla-p40",
        },
    }  # fmt: skip
    for name, question in questions.items():
        arguments: dict[str, Any] = {"space": SPACE, "latency": model} | question
        start = time.perf_counter()
        try:
            search(**arguments)
        except InfeasibleError:
            row(name, [f"{time.perf_counter() - start:.2f}"], width=40)


def print_memory(model: Predictor, method: str) -> None:
    """Peak memory of this process after a search with a large population."""
    settings = METHODS.get(method)(population=LARGE_POPULATION, evaluations=200_000)
    search(SPACE, latency=model, max_latency_ms=[20, 30], method=settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row(method, [f"{peak:.0f}"], width=40)


def row(name: str, cells: list[str], size: int = 9, width: int = 28) -> None:
    print(f"{name:{width}}" + "".join(f"{c:>{size}}" for c in cells), flush=True)


if __name__ == "__main__":
    main()
