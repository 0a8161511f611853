"""Forecasts of int8 and fp32 on this machine, and whether int8 is faster, on networks left out.

    python scripts/measure_precisions.py --device xeon-167 --out build/precisions
    python benchmarks/precisions.py build/precisions/*.parquet --device benchmarks/xeon_167.toml \
      > docs/results/precisions.txt

The networks, the same in every dataset, are dealt to folds, by themselves or whole families
(``--by family``). The shipped joint model forecasts each target as its specification says it
(*as is*), and adapted to ten networks and to all that are not in the fold; all others of the fold
are scored. *fitted* is a joint model of these targets alone, fitted to what is not in the fold,
with intervals by the errors of the other folds; ``--layers`` puts layer models beside it, fitted to
the same. All other intervals are those that are told. Whether int8 is faster than fp32 is answered
from the factor of two forecasts: by a rule learnt of the other folds' factors, beside the share of
faster ones in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from latcast.bench.devices.scoring import balanced_accuracy
from latcast.bench.tables import machine
from latcast.data import Dataset, read
from latcast.devices import Target, device_files
from latcast.models import Kernels, Predictor
from latcast.models.by_device import by_joint
from latcast.models.joint import Faster, JointModel, Observations, Question
from latcast.models.query import TargetQuery
from latcast.networks import Networks

FOLDS, FEW, COVERAGE = 5, 10, 0.9
WAYS = ("as is", f"after {FEW}", "all others")
FITTED = "fitted"
LAYERS = "layer model"
SECOND, FIRST = "int8", "fp32"

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass
class Told:
    """Forecasts of the networks of one target when they were left out, by way, each (n,).

    Attributes:
        data: what was measured.
        fold: of each network.
        log_ms: logarithms of the forecasts.
        inside: whether the latency lies in the 90 % interval.
    """

    data: Dataset
    fold: Rows
    log_ms: dict[str, Floats] = field(default_factory=dict)
    inside: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, way: str, model: Predictor, rows: Rows) -> None:
        """Forecast some rows."""
        n, of = len(self.data), self.data[rows]
        ms, low, high, _ = model.within(of.networks, of.values)
        self.log_ms.setdefault(way, np.full(n, np.nan))[rows] = np.log(ms)
        inside = (low <= of.values) & (of.values <= high)
        self.inside.setdefault(way, np.zeros(n, dtype=np.bool_))[rows] = inside

    def errors(self, way: str) -> Floats:
        """Relative, shape (n,)."""
        return np.asarray(np.abs(np.exp(self.log_ms[way]) / self.data.values - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--device", type=Path, help="what describes the datasets' CPU, a TOML file")
    parser.add_argument("--by", choices=("network", "family"), default="network")
    parser.add_argument("--layers", action="store_true", help="with layer models: some minutes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    datasets = [read(path) for path in options.datasets]
    folds = dealt(datasets, options.by, options.seed)
    print(f"{machine()}; {FOLDS} folds by {options.by}, seed {options.seed}\n")
    with device_files([options.device] if options.device else []):
        told = [forecast(data, folds, options.seed, options.layers) for data in datasets]
        add_fitted(told)
    print("\n".join([*errors(told), "", *answers(told)]))


def dealt(datasets: Sequence[Dataset], by: str, seed: int) -> dict[str, int]:
    """Fold of every network by its name: the same in all datasets."""
    groups = {
        name: name if by == "network" else family
        for data in datasets
        for name, family in zip(data.names, data.families, strict=True)
    }
    order = np.random.default_rng(seed).permutation(sorted({*groups.values()})).tolist()
    place = {group: n % FOLDS for n, group in enumerate(order)}
    return {name: place[group] for name, group in groups.items()}


def forecast(data: Dataset, folds: dict[str, int], seed: int, has_layers: bool) -> Told:
    """All networks of a target, each when its fold was left out."""
    target = data.target
    query = TargetQuery(target.runtime, target.batch, target.precision, target.threads)
    base = by_joint(str(target), target.device, query, None, None, None).predictor
    told = Told(data, np.array([folds[name] for name in data.names]))
    rng = np.random.default_rng(seed)
    for fold in np.unique(told.fold):
        out, others = np.flatnonzero(told.fold == fold), np.flatnonzero(told.fold != fold)
        few = np.sort(rng.permutation(others)[:FEW])
        for way, rows in zip(WAYS, (None, few, others), strict=True):
            told.add(way, base if rows is None else base.adapt(data[rows]), out)
        if has_layers:
            told.add(LAYERS, Kernels().fit(data[others]), out)
    return told


def add_fitted(told: Sequence[Told]) -> None:
    """Forecast every fold by a joint model of all targets that was fitted to the others."""
    rows = [observed(each.data) for each in told]
    found = [np.full((2, len(each.data)), np.nan) for each in told]
    for fold in range(FOLDS):
        parts = [part.select(each.fold != fold) for part, each in zip(rows, told, strict=True)]
        model = JointModel.fit(Observations.joined(parts), calibrate=False)
        for each, part, whole, log in zip(told, parts, rows, found, strict=True):
            out = np.flatnonzero(each.fold == fold)
            if len(out):
                networks = whole.networks.select(out)
                told_ms = model.forecast(whole.targets[0], networks, measured=part)
                log[:, out] = np.log(told_ms.ms), told_ms.deviation
    for each, (log_ms, deviation) in zip(told, found, strict=True):
        off = np.abs(log_ms - np.log(each.data.values)) / deviation
        others = [off[each.fold != fold] for fold in each.fold]
        each.log_ms[FITTED] = log_ms
        each.inside[FITTED] = off <= [np.quantile(x, COVERAGE) for x in others]


def observed(data: Dataset) -> Observations:
    """What was measured on one target, as a joint model takes it."""
    known, n = data.standard_error, np.arange(len(data))
    scatter = np.zeros(len(data)) if known is None else np.nan_to_num(known)
    return Observations(
        Networks.of(data.networks, data.target), tuple(data.names), tuple(data.families),
        (Question.of_target(data.target, {}).facts,), n, np.zeros_like(n), np.log(data.values),
        scatter,
    )  # fmt: skip


def errors(told: Sequence[Told]) -> Iterator[str]:
    """A line for every target, and for all of a precision."""
    heads = "".join(f"{way:>22}" for way in told[0].log_ms)
    yield f"median error %, within 10 %, 90 % interval covers %\n{'':34}{'networks':>9}{heads}"
    for each in told:
        yield _line(str(each.data.target), [each])
    for precision in (FIRST, SECOND):
        own = [each for each in told if each.data.target.precision == precision]
        if own:
            yield _line(f"all in {precision}", own)


def _line(name: str, of: Sequence[Told]) -> str:
    cells = []
    for way in of[0].log_ms:
        off = np.concatenate([each.errors(way) for each in of])
        inside = np.concatenate([each.inside[way] for each in of])
        cells.append(
            f"{100 * np.median(off):12.1f}{100 * (off <= 0.1).mean():5.0f}"
            f"{100 * inside.mean():5.0f}"
        )
    return f"{name:34}{sum(len(each.data) for each in of):9}{''.join(cells)}"


@dataclass(frozen=True)
class Pairs:
    """Networks of two targets that differ in their precision alone, each array (n,).

    Attributes:
        name: of both targets.
        fold: of the network.
        true: logarithm of the latency in int8 over that in fp32.
        told: its forecast, by way.
    """

    name: str
    fold: Rows
    true: Floats
    told: dict[str, Floats]


def pairs(told: Sequence[Told]) -> Iterator[Pairs]:
    """The pairs of every two targets."""
    by_target = {each.data.target: each for each in told}
    for target, second in by_target.items():
        first = by_target.get(replace(target, precision=FIRST))
        if target.precision != SECOND or first is None:
            continue
        place = {name: n for n, name in enumerate(first.data.names)}
        both = [(n, place[x]) for n, x in enumerate(second.data.names) if x in place]
        a, b = np.array(both, dtype=np.int64).reshape(-1, 2).T
        yield Pairs(
            _without_precision(target),
            second.fold[a],
            np.log(second.data.values[a] / first.data.values[b]),
            {way: log_ms[a] - first.log_ms[way][b] for way, log_ms in second.log_ms.items()},
        )


def _without_precision(target: Target) -> str:
    return str(replace(target, precision=FIRST))


def answers(told: Sequence[Told]) -> Iterator[str]:
    """Whether int8 is faster: a line for every pair of targets, and for all."""
    found = list(pairs(told))
    if not found:
        return
    heads = "".join(f"{way:>32}" for way in found[0].told)
    yield (
        f"is {SECOND} faster than {FIRST}: balanced accuracy %, Brier score, and of the base rate; "
        "the factor's median error %\n"
        f"{'':34}{'pairs':>6}{'faster %':>9}{'factor':>8}{heads}"
    )
    for each in found:
        yield _answer(each.name, [each])
    if len(found) > 1:
        yield _answer("all", found)


def _answer(name: str, of: Sequence[Pairs]) -> str:
    fold, true = (np.concatenate([getattr(p, x) for p in of]) for x in ("fold", "true"))
    cells = []
    for way in of[0].told:
        own = np.concatenate([p.told[way] for p in of])
        cells.append(_cell(fold, true, own))
    share, factor = 100 * (true < 0).mean(), np.exp(np.median(true))
    return f"{name:34}{len(true):6}{share:9.0f}{factor:8.2f}{''.join(cells)}"


def _cell(fold: Rows, true: Floats, told: Floats) -> str:
    is_faster = true < 0
    probability, base = (np.empty(len(true)) for _ in range(2))
    for each in np.unique(fold):
        own, others = fold == each, fold != each
        base[own] = is_faster[others].mean()
        rule = Faster.fit(told[others], is_faster[others])
        # Too few to learn one from: errors are taken as normal.
        deviation = np.sqrt(np.mean((true - told)[others] ** 2)) + 1e-6
        chance = ndtr(-told[own] / deviation)
        probability[own] = chance if rule is None else rule.probability(told[own])
    right = balanced_accuracy(is_faster, probability >= base)
    brier, of_base = (np.mean((p - is_faster) ** 2) for p in (probability, base))
    off = 100 * np.median(np.abs(np.expm1(told - true)))
    accuracy = "–" if right is None else f"{right:.1f}"
    return f"{accuracy:>11}{brier:8.3f}{of_base:7.3f}{off:6.1f}"


if __name__ == "__main__":
    main()
