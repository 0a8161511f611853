"""Print how often budgets are kept by what a search picks, on labels that nothing was fitted to.

    python benchmarks/confidence.py --data ../shared/data

For every target a predictor is made of few or many measurements, and the most accurate of the
networks that it was not made of is picked, so that a budget is kept by the prediction, by the upper
bound of a random network, or by the bound corrected for the search. Kept is what was *measured*
within the budget. Candidates leave gaps below a budget; what is under its own bound is therefore
given as well: that share were kept if every budget were used up.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

import latcast
from latcast.bench.help_folder import HelpFolder
from latcast.bench.protocol import base_model
from latcast.bench.published import SPLITS
from latcast.bench.tables import machine
from latcast.data import Dataset, read_latencies
from latcast.models import BlockPredictor, LookupTable, Predictor, Roofline
from latcast.models._model import State
from latcast.search import AccuracyModel, Memetic, accuracy_model, search
from latcast.search.confidence import ConfidentBound
from latcast.spaces import Archs, SearchSpace

CONFIDENCES = (0.8, 0.9, 0.95)
POOL_WAYS = ("plain", *(f"{w} {c}" for c in CONFIDENCES for w in ("uncorrected", "corrected")))
SPACE_WAYS = ("plain", "uncorrected 0.9", "corrected 0.9")
SEEDS = 6
BUDGETS = 10
SHARE = 0.5
"""Of the candidates, for one search: otherwise all would pick from the same few networks."""
FITTED_ROWS = (200, 1_000, 7_000)
ADAPTED_ROWS = (10, 20, 50)
NOTE10_BUDGETS_MS = (15, 20, 25, 30, 35)
NOTE10_SEEDS = 6
METHOD = Memetic(evaluations=30_000)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of ofanas/ and help/")
    folder = parser.parse_args().data
    print(machine())
    pools = chain(fitted(folder / "ofanas"), adapted(folder / "help"))
    table("Candidates: measured networks that the predictor was not made of", pools, POOL_WAYS)
    whole = whole_space(folder / "ofanas")
    table(
        "Candidates: all of ofa-mobilenet-v3; the truth is the Note10's lookup table",
        whole, SPACE_WAYS,
    )  # fmt: skip


# -- what is scored ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Picks:
    """What searches picked by one way of counting; arrays of shape (searches,).

    Attributes:
        budget_ms, bound_ms, true_ms: the budget, what was counted against it, what is true.
        accuracy: of the picked networks; NaN where no network kept the budget.
    """

    budget_ms: Floats
    bound_ms: Floats
    true_ms: Floats
    accuracy: Floats

    @classmethod
    def joined(cls, parts: Iterable[Picks]) -> Picks:
        columns = zip(*((p.budget_ms, p.bound_ms, p.true_ms, p.accuracy) for p in parts),
                      strict=True)  # fmt: skip
        return cls(*(np.concatenate(c) for c in columns))

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.accuracy)

    def kept(self) -> float:
        return float((self.true_ms <= self.budget_ms)[self.found].mean())

    def under_bound(self) -> float:
        return float((self.true_ms <= self.bound_ms)[self.found].mean())


Ways = dict[str, Picks]
"""``plain``, and ``uncorrected 0.9``, ``corrected 0.9`` … -> picks of the same searches."""


@dataclass(frozen=True)
class Score:
    """The picks of one setting; accuracies are in points of top-1."""

    group: str
    name: str
    ways: Ways


def ways_of(bound: ConfidentBound, predicted: Floats, accuracy: Floats) -> dict[str, Floats]:
    """What counts against a budget, way by way, each of shape (n,)."""
    result = {"plain": predicted}
    for confidence in CONFIDENCES:
        one = replace(bound, confidence=confidence)
        result[f"uncorrected {confidence}"] = one.uncorrected(predicted)
        result[f"corrected {confidence}"] = one.bound_of(predicted, accuracy)
    return result


def picks_from_pool(
    predictor: Predictor, accuracy: AccuracyModel, rest: Dataset, seed: int, points: float
) -> Ways:
    """Searches for budgets that are quantiles of the predictions, among known networks."""
    rest = seen(predictor, rest)
    bound = ConfidentBound.of(
        rest.archs.space, predictor, accuracy, CONFIDENCES[0], predictor.fitted.seen, seed
    )
    rng = np.random.default_rng(seed)
    top1, predicted = accuracy.predict(rest.archs), predictor.predict(rest.archs)
    counted = ways_of(bound, predicted, top1)
    result: dict[str, list[Picks]] = {way: [] for way in counted}
    for quantile in rng.uniform(0.05, 0.95, BUDGETS):
        pool = rng.permutation(len(rest))[: int(SHARE * len(rest))]
        budget = float(np.quantile(predicted[pool], quantile))
        for way, bound_ms in counted.items():
            row = most_accurate(top1, bound_ms, pool, budget)
            found = [points * top1[row]] if row is not None else [np.nan]
            at = 0 if row is None else row
            one = ([budget], [bound_ms[at]], [rest.latency_ms[at]], found)
            result[way].append(Picks(*(np.array(x, dtype=np.float64) for x in one)))
    return {way: Picks.joined(parts) for way, parts in result.items()}


def most_accurate(top1: Floats, bound_ms: Floats, pool: Rows, budget: float) -> int | None:
    within = pool[bound_ms[pool] <= budget]
    return int(within[np.argmax(top1[within])]) if within.size else None


def seen(predictor: Predictor, rest: Dataset) -> Dataset:
    """The networks of gene values that were trained on; a search looks at no others."""
    columns = zip(rest.archs.space.genes, rest.archs.genes.T, strict=True)
    known = [np.isin(column, predictor.fitted.seen[gene.name]) for gene, column in columns]
    return rest[np.flatnonzero(np.all(known, axis=0))]


# -- settings ---------------------------------------------------------------------------------


def fitted(folder: Path) -> Iterator[Score]:
    """Predictors of the paper's two GPUs, fitted on random rows; in their order at the end."""
    accuracy = accuracy_model()
    for name in ("RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa"):
        data = read_latencies(folder / "datasets" / f"{name}.csv", space=accuracy.name)
        device = data.target.device
        for rows in FITTED_ROWS:
            runs = []
            for seed in range(SEEDS if rows < 5_000 else SEEDS // 2):
                train, rest = parted(
                    data, np.random.default_rng(seed).permutation(len(data))[:rows]
                )
                runs.append(
                    picks_from_pool(Roofline().fit(train, seed=seed), accuracy, rest, seed, 100)
                )
            yield Score(f"{device}, random splits", f"{device}, {rows} rows", joined(runs))
        train, rest = parted(data, np.arange(7_000))
        predictor = Roofline().fit(train, seed=0)
        test = rest[len(rest) // 2 :]
        runs = [picks_from_pool(predictor, accuracy, test, seed, 100) for seed in range(SEEDS)]
        yield Score(f"{device}, paper's split", f"{device}, paper's split", joined(runs))


def adapted(folder: Path) -> Iterator[Score]:
    """HELP's validation and test targets, adapted from a base model of its train targets."""
    for space in ("nasbench201", "ofa-mobilenet-v3"):
        found, split = HelpFolder.find(folder, space), SPLITS["help"][space]
        base, _, _ = base_model({n: found.read(n) for n in split.train}, None, lambda _: None)
        accuracy, points = (
            (EdgeRidge.of(found.path / "arch_generated_by_metad2a.txt"), 1.0)
            if space == "nasbench201"
            else (accuracy_model(), 100.0)
        )
        for name in (*split.validation, *split.test):
            data = found.read(name).valid()
            for rows in ADAPTED_ROWS:
                runs = []
                for seed in range(SEEDS):
                    drawn = np.random.default_rng(seed).permutation(len(data))[:rows]
                    few, rest = parted(data, drawn)
                    runs.append(picks_from_pool(base.adapt(few), accuracy, rest, seed, points))
                yield Score(f"{space}, {rows} rows", f"{name}, {rows} rows", joined(runs))


def whole_space(folder: Path) -> Iterator[Score]:
    """Searches of the whole space on the Note10, whose published table tells every latency."""
    space, accuracy = latcast.space("ofa-mobilenet-v3"), accuracy_model()
    data = read_latencies(folder / "datasets" / "note10_lookuptable_ofa.csv", space=space.name)
    truth = LookupTable.from_ofa(folder / "lookup_tables", space, data.target)
    other = latcast.load("tesla-p40")

    def fit(few: Dataset) -> Predictor:
        return Roofline().fit(few)

    makers: list[tuple[str, Callable[[Dataset], Predictor], int]] = [
        *(("adapted", other.adapt, rows) for rows in (20, 50)),
        *(("fitted", fit, rows) for rows in (100, 300, 1_000)),
    ]
    for how, make, rows in makers:
        name = f"{how}, {rows} rows"
        runs = []
        for seed in range(NOTE10_SEEDS):
            few = data[np.random.default_rng(seed).permutation(len(data))[:rows]]
            runs.append(picks_from_space(make(few), accuracy, truth, seed))
        yield Score(name, name, joined(runs))


def picks_from_space(
    predictor: Predictor, accuracy: AccuracyModel, truth: LookupTable, seed: int
) -> Ways:
    """Searches for the five budgets that Once-For-All's search is quoted for."""
    space, restrict = predictor.space, {"r": [160, 176, 192, 208, 224]}
    bound = ConfidentBound.of(space, predictor, accuracy, 0.9, restrict, seed)
    counts: tuple[Callable[[Archs], Floats], ...] = (
        predictor.predict,
        lambda archs: bound.uncorrected(predictor.predict(archs)),
        bound.bound_ms,
    )
    result = {}
    for way, count in zip(SPACE_WAYS, counts, strict=True):
        found = search(
            space,
            latency=Counted(predictor, count),
            accuracy=accuracy,
            max_latency_ms=NOTE10_BUDGETS_MS,
            restrict=restrict,
            seed=seed,
            method=METHOD,
        )
        result[way] = Picks(
            found.max_latency_ms, found.latency_ms, truth.predict(found.archs), 100 * found.accuracy
        )
    return result


def parted(data: Dataset, rows: Rows) -> tuple[Dataset, Dataset]:
    """The rows, and those of all other networks."""
    groups = data.archs.unique_index()
    return data[rows], data[np.flatnonzero(~np.isin(groups, groups[rows]))]


def joined(runs: list[Ways]) -> Ways:
    return {way: Picks.joined([run[way] for run in runs]) for way in runs[0]}


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


# -- tables -----------------------------------------------------------------------------------


def table(title: str, scores: Iterable[Score], ways: Sequence[str]) -> None:
    """One line a setting, as they come, then one a group, then all."""
    print(f"\n{title}\nwithin budget % (under its own bound %), points of top-1 against plain\n")
    print(f"{'':34}{'searches':>8}" + "".join(f"{way:>19}" for way in ways))
    groups: dict[str, list[Ways]] = {}
    for score in scores:
        groups.setdefault(score.group, []).append(score.ways)
        line(f"  {score.name}", score.ways)
    print()
    if max(map(len, groups.values())) > 1:
        for name, members in groups.items():
            line(name, joined(members))
    line("all", joined([ways for members in groups.values() for ways in members]))


def line(name: str, ways: Mapping[str, Picks]) -> None:
    plain = ways["plain"]
    cells = []
    for way, picks in ways.items():
        cell = f"{100 * picks.kept():.0f} ({100 * picks.under_bound():.0f})"
        if way != "plain":
            both = picks.found & plain.found
            cell += f" {(picks.accuracy - plain.accuracy)[both].mean():+.2f}"
        cells.append(f"{cell:>19}")
    print(f"{name:34}{len(plain.accuracy):>8}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
