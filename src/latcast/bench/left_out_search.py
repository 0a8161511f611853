"""Searches on HELP's test targets, of which and of whose chips a joint model has seen nothing.

A joint model learns from the train targets of HELP's split and from the public tables, all chips of
test targets left out of both. It forecasts a test target from its device's specification, or with
a few measurements, and a search chooses among networks whose latencies are known. Beside it stand
a base model of the same rows of HELP, and the target's own model. What is found is held against
the target's own latencies: how many budgets it keeps, and how much accuracy it loses to the choice
by the target's own model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.devices import devices
from latcast.models import BaseModel, Predictor, Roofline
from latcast.models.accuracy import TableAccuracy, accuracy_model
from latcast.models.joint import (
    FUSES_AS,
    Joint,
    JointModel,
    JointSpacePredictor,
    Observations,
    Question,
)
from latcast.networks import Networks
from latcast.report.markup import counted

from .devices.assembly import assemble
from .few_shot_search import ACCURACIES, HeldOutTarget
from .help_folder import HelpFolder
from .protocol import Report, draw, mean, random_rows
from .published import SPLITS

OFA = "ofa-mobilenet-v3"
SPACES = ("nasbench201", OFA)
# As many as HELP adapts to a device with.
SAMPLES = 10
# Rows of every train target, and of every target of public tables.
ROWS, PUBLIC_ROWS = 300, 60
OWN, MEAN = "own-model", "mean"

Floats = npt.NDArray[np.float64]


class Known:
    """The measurements on chips other than those of the test targets.

    Args:
        train: rows of HELP's train targets by their names, by space.
        public: those of public tables, if any.
    """

    def __init__(self, train: Mapping[str, Mapping[str, Dataset]], public: Observations | None):
        self.train, self._public = train, public
        self._bases: dict[str, BaseModel] = {}
        self._joint: Joint | None = None

    def base(self, space: str) -> BaseModel:
        """A base model of the train targets of a space."""
        if space not in self._bases:
            self._bases[space] = BaseModel().fit(list(self.train[space].values()))
        return self._bases[space]

    def joint(self, target: Dataset) -> JointSpacePredictor:
        """The joint model's forecasts of a target by its specification."""
        if self._joint is None:
            parts = [] if self._public is None else [self._public]
            domains = sorted({t.domain for p in parts for t in p.targets})
            parts += [observed(own, domains) for own in self.train.values()]
            data = Observations.joined(parts)
            self._joint = Joint.of(JointModel.fit(data, calibrate=False), data, {})
        question = Question.of_target(target.target, self._joint.domains)
        return JointSpacePredictor.of(self._joint.predictor(question), target.archs.space)


def _base(known: Known, target: HeldOutTarget) -> BaseModel:
    return known.base(target.candidates.archs.space.name)


def _specified(known: Known, target: HeldOutTarget, _: int) -> Predictor:
    asked = target.candidates.target
    return _base(known, target).predictor(asked, devices()[asked.device])


def _few(target: HeldOutTarget, seed: int) -> Dataset:
    """A few measurements of the target, of networks that are not chosen from."""
    return random_rows(target.others, SAMPLES, seed)


Learn = Callable[[Known, HeldOutTarget, int], Predictor]
# Name -> rows of the target that it takes (None for all), and the predictor of a seed.
SOURCES: Mapping[str, tuple[int | None, Learn]] = {
    OWN: (None, lambda _, t, seed: Roofline().fit(t.others, seed=seed)),
    "joint": (0, lambda known, t, _: known.joint(t.candidates)),
    "base-model": (0, _specified),
    f"joint-{SAMPLES}": (
        SAMPLES, lambda known, t, seed: known.joint(t.candidates).adapt(_few(t, seed))
    ),
    f"base-model-{SAMPLES}": (
        SAMPLES, lambda known, t, seed: _base(known, t).adapt(_few(t, seed))
    ),
}  # fmt: skip


def observed(train: Mapping[str, Dataset], domains: Sequence[str] = ()) -> Observations:
    """Rows of architectures on several targets, as the joint model learns from them.

    Args:
        train: the rows by target.
        domains: that other tables have.
    """
    parts, names, facts = [], [], []
    for data in train.values():
        runtime = FUSES_AS.get(data.target.runtime, data.target.runtime)
        parts.append(Networks.of(data.archs, replace(data.target, runtime=runtime)))
        names += [bytes(genes).hex() for genes in data.archs.canonical().genes]
        facts.append(Question.of_target(data.target, dict.fromkeys(domains, ())).facts)
    log_ms = np.log(np.concatenate([data.values for data in train.values()]))
    return Observations(
        Networks.joined(parts),
        tuple(names),
        tuple(data.archs.space.name for data in train.values() for _ in range(len(data))),
        tuple(facts),
        np.arange(len(log_ms)),
        np.repeat(np.arange(len(train)), [len(data) for data in train.values()]),
        log_ms,
        np.zeros(len(log_ms)),
    )


def run(
    data: Path,
    *,
    tables: Path | None = None,
    seeds: int = 3,
    confidence: float = 0.9,
    report: Report = lambda _: None,
) -> list[dict[str, Any]]:
    """Search on HELP's test targets of NAS-Bench-201 and OFA, all left out.

    Args:
        data: folder of HELP's folders.
        tables: folder of public tables, from which the joint model learns as well.
        seeds: draws of the measurements, where a source takes any.
        confidence: with which budgets are to be kept, beside the search by the prediction alone.
        report: called with what is being done, and with what is left out besides the targets.

    Returns:
        One row for each target, source and confidence, then their means, as the target ``"mean"``.

    Raises:
        FileNotFoundError: there are no accuracies of NAS-Bench-201 in the folder.
        ValueError: a folder lacks a target of HELP's split, or a file is damaged.
        ModuleNotFoundError: PyTorch, which reads HELP's files, is not installed.
    """
    folders = {space: HelpFolder.find(data, space) for space in SPACES}
    targets = [_target(f, name) for s, f in folders.items() for name in SPLITS["help"][s].test]
    chips = {_chip(t.candidates) for t in targets}
    known = Known(
        {space: _train(f, space, chips, report) for space, f in folders.items()},
        None if tables is None else _public(tables, chips, report),
    )
    rows = []
    for space in SPACES:
        of_space = [t for t in targets if t.candidates.archs.space.name == space]
        own = []
        for target in of_space:
            report(f"{space}: {target.name}, {counted(len(target.candidates), 'candidate')}")
            own += list(_records(known, target, seeds, confidence))
        rows += [*own, *_means(own)]
    return rows


def _target(folder: HelpFolder, name: str) -> HeldOutTarget:
    folder.check([name])
    rows = folder.read(name)
    return HeldOutTarget.of(name, rows, _accuracy(folder, rows))


def _train(folder: HelpFolder, space: str, chips: Set[str], report: Report) -> dict[str, Dataset]:
    """Rows of the train targets whose chips are not left out."""
    names = SPLITS["help"][space].train
    folder.check(names)
    drawn = {n: draw(folder.read(n), ROWS, seed) for seed, n in enumerate(names)}
    kept = {n: data for n, data in drawn.items() if _chip(data) not in chips}
    left = ", ".join(n for n in names if n not in kept)
    report(f"{space}: learns from {', '.join(kept)}" + (f"; without {left}" if left else ""))
    return kept


def _public(tables: Path, chips: Set[str], report: Report) -> Observations:
    """Some rows of every target of public tables whose chip is not left out."""
    data = assemble(tables).data
    rng = np.random.default_rng(0)
    kept = [
        rng.permutation(np.flatnonzero(data.target == target))[:PUBLIC_ROWS]
        for target in np.unique(data.target)
        if data.targets[target].chip not in chips
    ]
    left = sorted(chips & {t.chip for t in data.targets})
    report(
        f"public tables: {counted(sum(map(len, kept)), 'row')}; without "
        f"{', '.join(left) or 'no chip'}"
    )
    return data.select(np.concatenate(kept))


def _chip(data: Dataset) -> str:
    return Question.of_target(data.target, {}).facts.chip


def _accuracy(folder: HelpFolder, rows: Dataset) -> TableAccuracy:
    """Accuracies of some of the networks: HELP's, or of every second by the shipped model."""
    if rows.archs.space.name != OFA:
        return TableAccuracy.read(folder.path / ACCURACIES, rows.archs.space.name)
    archs = rows.valid().archs[::2]
    return TableAccuracy(archs, accuracy_model(OFA).predict(archs))


def _records(
    known: Known, target: HeldOutTarget, seeds: int, confidence: float
) -> Iterator[dict[str, Any]]:
    budgets, oracle = target.budgets_ms(), target.oracle()
    own: dict[float | None, Floats] = {}
    for source, (samples, learn) in SOURCES.items():
        made = [learn(known, target, seed) for seed in range(seeds if samples else 1)]
        for level in (None, confidence):
            found = np.array([target.search(predictor, level) for predictor in made])
            accuracy, true_ms, _ = np.moveaxis(found, 1, 0)  # each (seeds, budgets)
            own.setdefault(level, accuracy[0])
            kept = true_ms <= budgets
            over = true_ms > budgets
            yield {
                "study": "left-out",
                "space": target.candidates.archs.space.name,
                "target": target.name,
                "source": source,
                "samples": samples,
                "confidence": level,
                "seeds": len(made),
                "candidates": len(target.candidates),
                "budgets": kept.size,
                "found": int(np.isfinite(true_ms).sum()),
                "kept": int(kept.sum()),
                "regret_mean": mean((oracle - accuracy)[kept]),
                "lost_mean": mean((own[level] - accuracy)[kept]),
                "excess_percent": mean(100 * ((true_ms / budgets) - 1)[over]),
            }


def _means(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Over the targets of a space; searches are added up."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["confidence"]), []).append(row)
    for own in groups.values():
        sums = {key: sum(r[key] for r in own) for key in ("budgets", "found", "kept")}
        means = ("regret_mean", "lost_mean", "excess_percent")
        yield {
            **own[0],
            "target": MEAN,
            **sums,
            **{key: mean(np.array([r[key] for r in own])) for key in means},
        }
