"""Errors after measuring suggested networks, beside as many random ones.

    python benchmarks/suggest.py --data ../shared/data

Of HELP's targets base models of other devices are adapted; of the public tables' devices left out,
the joint model is told of networks that nobody measured elsewhere. Targets that the ways to suggest
were compared on stand apart from those that only confirm (docs/bench.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latcast.bench.devices.assembly import Assembled, assemble
from latcast.bench.devices.held_out import CHOOSING, CONFIRMING, part_of
from latcast.bench.help_folder import HelpFolder
from latcast.bench.protocol import Pool, base_model
from latcast.bench.tables import machine
from latcast.data import Dataset
from latcast.math.design import narrow
from latcast.math.folds import folds_of
from latcast.models import BaseModel
from latcast.models.adaptation import suggest
from latcast.models.joint import JointModel
from latcast.models.narrowing import own_variance
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Errors = tuple[float, float]
"""Mean of the errors of log ms, and median of the relative errors, both in percent."""

SAMPLES = (5, 10, 20)
RANDOM, SUGGESTED = WAYS = ("random", "suggested")
# Of HELP's targets: draws of random networks, draws of the candidates of suggested ones.
HELP_SEEDS = {RANDOM: 8, SUGGESTED: 3}
CANDIDATES, SCORED = 800, 600
# HELP's targets that only confirm, by folder; the others are for choosing, their devices in halves.
CONFIRMS = {
    "nasbench201": ("titan_rtx", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss", "essential"),
    "fbnet": ("essential", "samsung_s7"),
    "ofa": ("titan_rtx",),
}
BASE_ROWS = {"nasbench201": 150, "fbnet": 150, "ofa": 300}

TABLES = ("ncnn", "timm", "ai_hub")
FOLDS, SEEDS = 3, 3
# Networks of a target that take part at most, and the third of them that is scored.
MOST, LEAST, SCORED_SHARE = 150, 15, 3
# Networks whose own forecast is narrowed, of each target, and by how many others.
ASKED, OTHERS = 3, (1, 3, 5)


@dataclass(frozen=True)
class Found:
    """Errors on one target, from every draw.

    Attributes:
        group: what is averaged together.
        target: its name.
        samples: networks that were measured.
        errors: way -> (draws, 2), as :data:`Errors`.
    """

    group: str
    target: str
    samples: int
    errors: Mapping[str, Floats]


def errors_of(told_ms: Floats, true_ms: Floats) -> Errors:
    """Of n forecasts."""
    log = np.log(told_ms / true_ms)
    return 100 * float(np.abs(log).mean()), 100 * float(np.median(np.abs(np.expm1(log))))


# --- HELP: predictors of search spaces -----------------------------------------------------------


def help_targets(data: Path) -> Iterator[Found]:
    """Every target, adapted from base models that know no target of its device."""
    for name, confirms in CONFIRMS.items():
        folder = HelpFolder.find(data, name)
        sets = {n: folder.read(n) for n in folder.names}
        last = {n for n in sets if n.startswith(confirms)}
        devices = sorted({sets[n].target.device for n in sets if n not in last})
        for part, own in (
            (CHOOSING, set(devices[::2])), (CHOOSING, set(devices[1::2])), (CONFIRMING, set())
        ):  # fmt: skip
            scored = last or set()
            if part == CHOOSING:
                scored = {n for n in sets if n not in last and sets[n].target.device in own}
            train = {n: d for n, d in sets.items() if n not in last | scored}
            base, *_ = base_model(train, BASE_ROWS[name], lambda _: None)
            yield from adapted(f"{part} {name}", base, {n: sets[n] for n in sorted(scored)})


def adapted(group: str, base: BaseModel, targets: Mapping[str, Dataset]) -> Iterator[Found]:
    """A base, adapted to either way's networks of each target."""
    picked: dict[bytes, Archs] = {}
    for name, data in targets.items():
        pool = Pool.of(name, data)
        scored = np.random.default_rng(99).permutation(len(pool.data))[:SCORED]
        found: dict[int, dict[str, list[Errors]]] = {k: {w: [] for w in WAYS} for k in SAMPLES}
        for way in WAYS:
            for seed in range(HELP_SEEDS[way]):
                rng = np.random.default_rng(seed)
                some = np.sort(rng.permutation(pool.first)[:CANDIDATES])
                archs = pool.data.archs[some]
                if way == RANDOM:
                    rows = rng.permutation(some)[: max(SAMPLES)]
                else:
                    key = archs.genes.tobytes()
                    if key not in picked:  # of all targets alike
                        picked[key] = suggest(
                            archs.space, max(SAMPLES), base=base, candidates=archs
                        )
                    rows = some[places(picked[key], archs)]
                for k in SAMPLES:
                    rest = pool.data[np.setdiff1d(scored, rows[:k])]
                    told = base.adapt(pool.data[rows[:k]]).predict(rest.archs)
                    found[k][way].append(errors_of(told, rest.latency_ms))
        for k, own in found.items():
            yield Found(group, name, k, {way: np.array(v) for way, v in own.items()})


def places(some: Archs, archs: Archs) -> Numbers:
    """Where some of different networks stand among them, shape (some,)."""
    where = {genes.tobytes(): n for n, genes in enumerate(archs.genes)}
    return np.array([where[genes.tobytes()] for genes in some.genes], dtype=np.intp)


# --- public tables: the joint model --------------------------------------------------------------


def left_out(data: Path, table: str) -> Iterator[tuple[str, JointModel, Assembled, Numbers]]:
    """Models that lack some chips, and the targets of these."""
    case = assemble(data, None, (table,))
    for part in (CHOOSING, CONFIRMING):
        own = part_of(case, part)
        chips = own.data.chips
        outs = [own.is_test]
        if part == CHOOSING:
            fold = folds_of({table: chips.tolist()}, FOLDS, 0)
            places = np.array([fold[c] for c in chips.tolist()])
            outs = [places == n for n in range(FOLDS)]
        for out in outs:
            model = JointModel.fit(own.data.select(~out), calibrate=False)
            yield part, model, own, np.unique(own.data.target[out])


def joint_targets(data: Path, table: str) -> Iterator[Found]:
    """Every target of chips left out: of all its networks, and of single ones."""
    for part, model, case, targets in left_out(data, table):
        for number in targets.tolist():
            rows = np.flatnonzero(case.data.target == number)
            rows = rows[np.unique(case.data.network[rows], return_index=True)[1]]
            if len(rows) >= LEAST:
                rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
                yield from on_target(f"{part} {table}", model, case, number, rows)


def on_target(
    group: str, model: JointModel, case: Assembled, number: int, rows: Numbers
) -> Iterator[Found]:
    """One target with rows of n different networks.

    The scored third is the same for both ways, which choose among the others.
    """
    data, target = case.data, case.data.targets[number]
    networks = data.networks.select(data.network[rows])
    # Names that are not known elsewhere: what a user measures are networks of his own.
    own_rows = replace(data.select(rows), names=tuple(f"new {name}" for name in data.names))
    true_ms = np.exp(own_rows.log_ms)
    prior, effects = model.learnt.prior(target), model.learnt.effects_of(target)
    slopes = prior.log_ms(prior.work(networks, target.facts), networks.counts, prior.mean)[1]
    noise = np.full(len(rows), own_variance(effects))

    def errors(measured: Numbers, scored: Numbers) -> tuple[Errors, float]:
        found = model.forecast(target, networks.select(scored), None, own_rows.select(measured))
        return errors_of(found.ms, true_ms[scored]), 100 * float(found.deviation.mean())

    def telling(of: Floats, among: Numbers, steps: int) -> Numbers:
        return among[narrow(prior.covariance, of, slopes[among], noise[among], steps)[0]]

    whole: dict[int, dict[str, list[Errors]]] = {}
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(rows))
        scored, among = np.split(order, [len(rows) // SCORED_SHARE])
        sizes = [k for k in SAMPLES if len(among) >= 1.4 * k]
        picks = {
            RANDOM: [among, rng.permutation(among)], SUGGESTED: [telling(slopes, among, max(sizes))]
        }  # fmt: skip
        for way, several in picks.items():
            for chosen in several:
                for k in sizes:
                    of = whole.setdefault(k, {w: [] for w in WAYS})
                    of[way].append(errors(chosen[:k], scored)[0])
    for k, found in whole.items():
        yield Found(group, target.name, k, {way: np.array(v) for way, v in found.items()})
    rng = np.random.default_rng(SEEDS)
    for place in rng.permutation(len(rows))[:ASKED].tolist():
        others, asked = np.delete(np.arange(len(rows)), place), np.array([place])
        picks = {
            RANDOM: [rng.permutation(others) for _ in range(SEEDS)],
            SUGGESTED: [telling(slopes[place], others, max(OTHERS))],
        }
        for k in OTHERS:
            told = {
                way: np.array(
                    [(e[0], width) for e, width in (errors(c[:k], asked) for c in several)]
                )
                for way, several in picks.items()
            }
            yield Found(f"{group}, one forecast", f"{target.name} {place}", k, told)


# --- the text -----------------------------------------------------------------------------------


def summary(found: Sequence[Found], second: str) -> Iterator[str]:
    """A line for each group and number of samples: means over targets ± deviation over draws."""
    heads = "".join(f"{name:>30}{'ratio':>8}" for name in ("error of log ms, %", second))
    yield f"{'':32}{'measured':>9}{'targets':>8}{heads}{'worst':>8}"
    ways = "".join(f"{way:>15}" for way in WAYS)
    yield f"{'':49}{ways}{'':8}{ways}"
    for group, k in sorted({(f.group, f.samples) for f in found}):
        own = [f for f in found if (f.group, f.samples) == (group, k)]
        means = {w: np.array([f.errors[w].mean(axis=0) for f in own]) for w in WAYS}
        draws = {w: np.mean([f.errors[w] for f in own], axis=0) for w in WAYS}
        logs = np.log(means[SUGGESTED] / means[RANDOM])
        ratio, worst = np.exp(logs.mean(axis=0)), f"{np.exp(logs[:, 0].max()):8.2f}"
        if second == WIDTH:  # the error of one network may be next to nothing: no ratio of each
            ratio[0], worst = means[SUGGESTED][:, 0].mean() / means[RANDOM][:, 0].mean(), ""
        cells = [
            "".join(
                f"{f'{draws[w][:, n].mean():.2f} ± {draws[w][:, n].std():.2f}':>15}" for w in WAYS
            )
            + f"{ratio[n]:8.3f}"
            for n in (0, 1)
        ]
        yield f"{group:32}{k:9}{len(own):8}{cells[0]}{cells[1]}{worst}"


MEDIAN, WIDTH = "median error, %", "stated deviation, %"


def target_rows(found: Sequence[Found]) -> Iterator[str]:
    """A line for each target: mean ± standard deviation over the draws."""
    for f in found:
        cells = [
            f"{f.errors[w][:, n].mean():.2f} ± {f.errors[w][:, n].std():.2f}"
            for n in (0, 1) for w in WAYS
        ]  # fmt: skip
        yield f"{f.group:24}{f.target:20}{f.samples:4}" + "".join(f"{c:>16}" for c in cells)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of help and public")
    parser.add_argument("--table", action="append", choices=("help", *TABLES))
    arguments = parser.parse_args()
    tables = arguments.table or ("help", *TABLES)
    print(
        f"{machine()}\nratio: suggested over random, geometric mean of the targets; worst: of one"
    )
    joint = [
        f for t in TABLES if t in tables for f in joint_targets(arguments.data / "public", t)
    ]  # fmt: skip
    own = list(help_targets(arguments.data / "help")) if "help" in tables else []
    if own:
        print(f"\nHELP: base models of other devices; draws {HELP_SEEDS}")
        print(*summary(own, MEDIAN), sep="\n", flush=True)
    if joint:
        whole = [f for f in joint if "one" not in f.group]
        print(f"\nPublic tables: devices left out; seeds 0 to {SEEDS - 1}")
        print(*summary(whole, MEDIAN), sep="\n")
        print(f"\nThe forecast of one network: {ASKED} of each target (latcast suggest --for)")
        print(*summary([f for f in joint if "one" in f.group], WIDTH), sep="\n")
    if own:
        print("\nHELP by target: error of log ms, random and suggested; median error, likewise")
        print(*target_rows(own), sep="\n")


if __name__ == "__main__":
    main()
