"""Print how often intervals hold and budgets are kept where no random row is asked for.

    python benchmarks/confidence.py --data ../shared/data

That is rows that were measured after a machine had drifted, devices that are known by their
specification, and the whole space, of which a search picks what is at an end.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.paper import split_of
from latcast.bench.tables import machine
from latcast.data import Dataset, read_latencies
from latcast.devices import devices
from latcast.models import BaseModel, BlockPredictor, LookupTable, Predictor, Roofline
from latcast.models._model import State
from latcast.models.kernels._fit import refit, select
from latcast.models.kernels._predictor import observe
from latcast.models.training import parts
from latcast.search import AccuracyModel, Memetic, accuracy_model, search
from latcast.search.confidence import ConfidentBound
from latcast.spaces import Archs, SearchSpace

NOTE10_BUDGETS_MS = (15, 20, 25, 30, 35)
NOTE10_SEEDS = 100
RANDOM = 100
"""Networks that are not searched for, of every draw of the Note10's rows."""
RESTRICT = {"r": [160, 176, 192, 208, 224]}
POOL = 2_000
METHOD = Memetic(evaluations=6_000)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of ofanas/ and help/")
    folder = parser.parse_args().data
    print(machine())
    print(
        "\nIntervals of 90 % and budgets at a confidence of 0.9 where no random row is asked for\n"
    )
    print(f"  {'':72}{'cases':>7}{'groups':>8}{'held %':>9}{'width %':>10}")
    for situation in situations(folder, Path("datasets")):
        print(situation.line(), flush=True)


@dataclass(frozen=True)
class Situation:
    """Cases of one kind.

    Attributes:
        name: what is forecast.
        held: whether the interval, or the budget, held, shape (cases,).
        width: relative widths of intervals, or margins below a bound, shape (cases,).
        groups: targets, or draws of the measurements, that cases belong to.
        weight: of cases, shape (cases,); None where all count alike.
    """

    name: str
    held: npt.NDArray[np.bool_]
    width: Floats
    groups: int
    weight: Floats | None = None

    @classmethod
    def joined(cls, name: str, parts: Sequence[tuple[npt.NDArray[np.bool_], Floats]]) -> Situation:
        held, width = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return cls(name, held, width, len(parts))

    def by_device(self, devices: Sequence[str]) -> Situation:
        """The same, every device counting as one: its targets are off together.

        Args:
            devices: of the groups, whose cases are as many.
        """
        share = [1 / devices.count(name) for name in devices]
        weight = np.repeat(share, len(self.held) // len(devices))
        name = f"{self.name}, each device as one"
        return replace(self, name=name, groups=len(set(devices)), weight=weight)

    def line(self) -> str:
        kept, width = 100 * np.average(self.held, weights=self.weight), 100 * np.median(self.width)
        return f"  {self.name:72}{len(self.held):>7,}{self.groups:>8}{kept:>9.1f}{width:>10.1f}"


def situations(folder: Path, measured: Path) -> Iterator[Situation]:
    """Where held-out rows of the same campaign do not tell what errors are."""
    yield from known_kinds(measured)
    yield from drifting(folder / "ofanas")
    yield from specified(folder / "help" / "nasbench201")
    yield from picked(folder / "ofanas")


def interval_of(predictor: Predictor, test: Dataset) -> tuple[npt.NDArray[np.bool_], Floats]:
    lower, upper = predictor.predict_interval(test.networks, 0.9)
    inside = (lower <= test.values) & (test.values <= upper)
    return inside, (upper - lower) / predictor.predict(test.networks)


def known_kinds(measured: Path) -> Iterator[Situation]:
    """Networks of families that the layer model knows: random fifths at the shipped settings.

    And those that were kept aside when the shipped model was fitted and calibrated.
    """
    kept_aside = []
    for runtime in ("onnxruntime", "openvino"):
        name = f"epyc-genoa-2c-{runtime}-b1-t1"
        shipped = latcast.load(Path(latcast.__file__).parent / "zoo" / f"{name}.layers.latcast")
        path = measured / f"epyc-genoa-2c_{runtime}_b1_t1.networks.parquet"
        data = latcast.read(path).valid()
        observed, groups = observe((data,))
        reach, found = shipped.calibration.quantile(0.9), []
        for rows in np.array_split(np.random.default_rng(0).permutation(len(groups)), 5):
            others = select(observed, np.setdiff1d(np.arange(len(groups)), rows))
            own = select(observed, np.sort(rows))
            model, near = refit(others, shipped._model), shipped._model.familiarity
            cells = model.familiarity_of(others.kernels)
            near = replace(near, cells=cells.cells, kinds=cells.kinds)
            forecast = replace(model, familiarity=near).forecast(own.kernels)
            log = np.log(own.total_ms / forecast.ms)
            far = reach * forecast.deviation
            found.append((np.abs(log) <= far, 2 * np.sinh(far)))
        yield Situation.joined(f"known kinds of networks on our host, {runtime}, 90 %", found)
        kept_aside += [interval_of(shipped, d) for d in parts(data).test]
    yield Situation.joined("those that the models were not fitted to, 90 %", kept_aside)


def drifting(folder: Path) -> Iterator[Situation]:
    """The paper's split: the last rows, after those that were trained on."""
    for name in ("RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa"):
        train, _, test = split_of(folder, name)
        p = Roofline().fit(train)
        how = "drifted" if "drift" in p.card else "steady"
        yield Situation.joined(f"later rows of {test.target.device} ({how}), 90 %",
                               [interval_of(p, test)])  # fmt: skip


def specified(folder: Path) -> Iterator[Situation]:
    """Targets of the shipped base models whose device is left out; as truth, their own functions.

    Every target counts alike; a search is for 20 budgets among 2,000 networks.
    """
    for name in ("nasbench201", "fbnet", "ofa-mobilenet-v3"):
        base = latcast.load_base(name)
        space = base.space
        accuracy: AccuracyModel | None = None
        if name == "nasbench201":
            accuracy = EdgeRidge.of(folder / "arch_generated_by_metad2a.txt")
        elif name == "ofa-mobilenet-v3":
            accuracy = accuracy_model()
        parts, kept = [], []
        for target in base.targets:
            p = without(base, target.device).predictor(target, devices().get(target.device))
            archs = space.sample(POOL, 0, restrict=restricted(space, p.fitted.seen, name))
            truth = Dataset(archs, base.trained(target).predict(archs), target)
            parts.append(interval_of(p, truth[:300]))
            if accuracy is not None:
                kept.append(budgets_of(p, truth, accuracy))
        situation = Situation.joined(f"{name}: devices by specification, 90 %", parts)
        yield situation
        yield situation.by_device([target.device for target in base.targets])
        if kept:
            yield Situation.joined(f"{name}: search by specification, confidence 0.9", kept)


def without(base: BaseModel, device: str) -> BaseModel:
    """A base model that does not know the targets of a device."""
    kept = [n for n, t in enumerate(base.targets) if t.device != device]
    other = copy.copy(base)
    other._sources = [base._sources[n] for n in kept]
    other._functions = base._functions.combined(np.eye(len(base.targets))[kept])
    other._values, other._optima, other._errors = base._values[:, kept], base._optima[kept], None
    return other


def restricted(space: SearchSpace, known: Mapping[str, list[int]], name: str) -> dict[str, Any]:
    if name == "ofa-mobilenet-v3":
        return RESTRICT
    return {g.name: sorted(set(g.choices) & set(known[g.name])) for g in space.genes}


def most_accurate(top1: Floats, bound_ms: Floats, pool: Rows, budget: float) -> int | None:
    within = pool[bound_ms[pool] <= budget]
    return int(within[np.argmax(top1[within])]) if within.size else None


def budgets_of(
    p: Predictor, truth: Dataset, accuracy: AccuracyModel
) -> tuple[npt.NDArray[np.bool_], Floats]:
    bound = ConfidentBound.of(truth.archs.space, p, accuracy, 0.9, candidates=truth.archs)
    top1, bound_ms = accuracy.predict(truth.archs), bound.bound_ms(truth.archs)
    pool, held, margin = np.arange(len(truth)), [], []
    for budget in np.quantile(bound_ms, np.linspace(0.05, 0.95, 20)):
        row = most_accurate(top1, bound_ms, pool, float(budget))
        if row is not None:
            held.append(truth.values[row] <= budget)
            margin.append(bound_ms[row] / p.predict(truth.archs[[row]])[0] - 1)
    return np.array(held), np.array(margin)


def picked(folder: Path) -> Iterator[Situation]:
    """Searches of the whole space on the Note10, whose published table tells every latency."""
    space, accuracy = latcast.space("ofa-mobilenet-v3"), accuracy_model()
    data = read_latencies(folder / "datasets" / "note10_lookuptable_ofa.csv", space=space.name)
    truth = LookupTable.from_ofa(folder / "lookup_tables", space, data.target)
    gpus = [latcast.load(name) for name in ("tesla-p40", "rtx-2080-ti")]

    def fit(few: Dataset, _: int) -> Predictor:
        return Roofline().fit(few)

    def adapt(few: Dataset, seed: int) -> Predictor:
        gpu: Predictor = gpus[seed % 2]
        return gpu.adapt(few)

    makers: list[tuple[str, Callable[[Dataset, int], Predictor], int]] = [
        *(("fitted to", fit, rows) for rows in (100, 300)),
        *(("adapted from GPUs to", adapt, rows) for rows in (20, 50)),
    ]
    for how, make, rows in makers:
        kept, bounded, random = [], [], []
        for seed in range(NOTE10_SEEDS):
            few = data[np.random.default_rng(seed).permutation(len(data))[:rows]]
            p = make(few, seed)
            bound = ConfidentBound.of(space, p, accuracy, 0.9, RESTRICT, seed)
            found = search(
                space, latency=Counted(p, bound.bound_ms), accuracy=accuracy,
                max_latency_ms=NOTE10_BUDGETS_MS, restrict=RESTRICT, seed=seed, method=METHOD,
            )  # fmt: skip
            true_ms = truth.predict(found.archs)
            margin = found.latency_ms / p.predict(found.archs) - 1
            kept.append((true_ms <= found.max_latency_ms, margin))
            bounded.append((true_ms <= found.latency_ms, margin))
            archs = space.sample(RANDOM, seed, restrict=RESTRICT)
            random.append(interval_of(p, Dataset(archs, truth.predict(archs), data.target)))
        name = f"search of the Note10, {how} {rows} rows, confidence 0.9"
        yield Situation.joined(name, kept)
        yield Situation.joined("  its picks under their own bounds, 0.9", bounded)
        yield Situation.joined("  random networks by the same predictors, 90 %", random)


class Counted(BlockPredictor):
    """What counts against a budget, in the place of a predictor."""

    kind = "counted"
    description = "a bound"

    def __init__(self, predictor: Predictor, count: Callable[[Archs], Floats]) -> None:
        super().__init__()
        self._count = count
        self.become(replace(predictor.fitted, calibration=None))

    def _predict(self, archs: Archs) -> Floats:
        return self._count(archs)

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        raise NotImplementedError

    def _explain(self, archs: Archs) -> Floats:
        raise NotImplementedError

    def _state(self) -> State:
        raise NotImplementedError

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        raise NotImplementedError


class EdgeRidge(AccuracyModel):
    """NAS-Bench-201: ridge regression on the edges' operations and on pairs of them."""

    PENALTY = 0.3
    PAIR_SCALE = 0.3
    TRAINED = 2.0

    def __init__(self, archs: Archs, top1: Floats) -> None:
        super().__init__("edge-ridge")
        self.given(archs.space)
        x = self._features(archs)
        self._mean = float(top1.mean())
        gram = x @ x.T + self.PENALTY * np.eye(len(x))
        self._weights = x.T @ np.linalg.solve(gram, top1 - self._mean)

    @classmethod
    def of(cls, path: Path) -> EdgeRidge:
        """Of the CIFAR-100 accuracies in HELP's file; networks that did not train left out."""
        rows = [line.rsplit(", ", 2) for line in path.read_text().splitlines()[1:] if line]
        top1 = np.array([float(row[1]) for row in rows])
        archs = latcast.space("nasbench201").parse([row[0] for row in rows])
        trained = np.flatnonzero(top1 > cls.TRAINED)
        return cls(archs[trained], top1[trained])

    def supports(self, space: SearchSpace) -> bool:
        return space.name == "nasbench201"

    def _values(self, own: Archs) -> Floats:
        return np.concatenate(
            [self._features(own[n : n + 2_000]) @ self._weights
             for n in range(0, len(own), 2_000)]
        ) + self._mean  # fmt: skip

    def _features(self, archs: Archs) -> Floats:
        choices = max(max(g.choices) for g in archs.space.genes) + 1
        one = np.eye(choices)[archs.genes].reshape(len(archs), -1)
        left, right = np.triu_indices(one.shape[1], 1)
        return np.hstack([one, self.PAIR_SCALE * one[:, left] * one[:, right]])


if __name__ == "__main__":
    main()
