"""The OFANAS paper's architecture search (arXiv:2101.00732), by every latency source.

A search on the Note10 takes its latencies from a source and looks for the most accurate network
within budgets; what it finds is held against the published lookup table, which is the truth here,
and scored by the teacher of the accuracy model. Regret is what a network that keeps its budget
lacks in accuracy, by the accuracy model, to the best one known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._files import check_file
from latcast._names import unknown_name
from latcast.models import Predictor
from latcast.search import Memetic, Method
from latcast.spaces import SearchSpace
from latcast.spaces import space as find_space

from . import few_shot_search, left_out_search
from .conditioned import EPOCHS
from .latency_sources import BASE_SAMPLES, NOTE10, QUICK, SOURCES, TRUTH, Material, Teacher
from .protocol import Budgeted, Report, deviation, mean, search_within
from .published import BUDGETS_MS, published_search
from .tables import Scores

SPACES = ("compofa-fixed-kernel", "compofa-elastic-kernel", "ofa-mobilenet-v3")
# The search on the table that, beside all others, shows the best network known.
LONG_RUN = Memetic(evaluations=400_000, elite=8, patience=100)
# Where searches are given their evaluations, the long one gets as many times more.
LONG_RUN_FACTOR = 3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """The budgets, sources and seeds of a search benchmark.

    Attributes:
        spaces: some of :data:`SPACES`.
        sources: some of :data:`SOURCES`.
        budgets_ms: ascending.
        seeds: how often rows are drawn and searches run.
        confidence: with which budgets are to be kept, beside searches by the prediction alone;
            None for these only.
        evaluations: networks that a search evaluates at most; None for its own setting.
    """

    spaces: tuple[str, ...] = SPACES
    sources: tuple[str, ...] = QUICK
    budgets_ms: tuple[float, ...] = BUDGETS_MS
    seeds: int = 3
    confidence: float | None = None
    evaluations: int | None = None


@dataclass(frozen=True)
class Searched:
    """One search by one source, budget by budget: arrays of shape (budgets,), NaN for no network.

    Attributes:
        seed: of the rows and of the search.
        learn_seconds: wall time of making the source's predictor.
        found: by the search.
        true_ms: latency by the published table.
        teacher: accuracy by the accuracy model's teacher, from 0 to 1.
    """

    seed: int
    learn_seconds: float
    found: Budgeted
    true_ms: Floats
    teacher: Floats

    @property
    def accuracy(self) -> Floats:
        """The accuracies by the accuracy model, from 0 to 1, shape (n,)."""
        result = self.found.result
        return self.found.spread([] if result is None else result.accuracy)

    @property
    def predicted_ms(self) -> Floats:
        """The latencies in ms by the source, shape (n,)."""
        result = self.found.result
        return self.found.spread([] if result is None else result.latency_ms)


class Study:
    """The searches of one run."""

    def __init__(self, the_plan: Plan, material: Material, teacher: Teacher, report: Report):
        self._plan, self.material, self._teacher = the_plan, material, teacher
        self._report = report
        self._made: dict[tuple[str, int], tuple[Predictor, float]] = {}

    def learnt(self, name: str, seed: int) -> tuple[Predictor, float]:
        """A source's predictor, and the seconds of making it without its base."""
        source = SOURCES[name]
        key = (name, seed if source.is_seeded else 0)
        if key not in self._made:
            source.base(self.material)
            start = time.perf_counter()
            self._made[key] = source.learn(self.material, seed), time.perf_counter() - start
        return self._made[key]

    def levels(self, name: str) -> list[float | None]:
        """Return the confidences that a source is asked for; None stands for plain predictions."""
        level = self._plan.confidence
        if level is None or name == TRUTH:
            return [None]
        if self.learnt(name, 0)[0].covers(level):
            return [None, level]
        self._report(f"note: {name} has no bound of confidence {level}: its prediction counts only")
        return [None]

    def of(self, space: SearchSpace) -> dict[tuple[str, float | None], list[Searched]]:
        """Source and confidence -> one search for every seed."""
        found = {}
        for name in self._plan.sources:
            self._report(f"{space.name}: {name}")
            for level in self.levels(name):
                found[name, level] = self._searches(space, name, level)
        return found

    def best_known(
        self, space: SearchSpace, found: Mapping[tuple[str, float | None], Sequence[Searched]]
    ) -> Floats:
        """The best accuracy of a network that keeps the budget; NaN if there is none.

        Of all that were found, and of searches on the truth, among them a long one.
        """
        self._report(f"{space.name}: the best known")
        truth = list(found.get((TRUTH, None)) or self._searches(space, TRUTH, None))
        result = truth[0].found.result
        if result is not None and not result.is_exact:
            truth.append(self._searched(space, TRUTH, self._plan.seeds, None, self._long()))
        best = np.full(len(self._plan.budgets_ms), np.nan)
        for run in (*truth, *(run for runs in found.values() for run in runs)):
            kept = run.true_ms <= self._plan.budgets_ms
            best = np.fmax(best, np.where(kept, run.accuracy, np.nan))
        return best

    def _searches(self, space: SearchSpace, name: str, level: float | None) -> list[Searched]:
        return [self._searched(space, name, seed, level) for seed in range(self._plan.seeds)]

    def _long(self) -> Method:
        if self._plan.evaluations is None:
            return replace(LONG_RUN)
        return replace(LONG_RUN, evaluations=LONG_RUN_FACTOR * self._plan.evaluations)

    def _searched(
        self,
        space: SearchSpace,
        name: str,
        seed: int,
        confidence: float | None,
        method: str | Method = "auto",
    ) -> Searched:
        predictor, seconds = self.learnt(name, seed)
        found = search_within(
            space, predictor, self._plan.budgets_ms, method=method, seed=seed,
            confidence=confidence,
            evaluations=self._plan.evaluations if method == "auto" else None,
        )  # fmt: skip
        none = np.full(len(self._plan.budgets_ms), np.nan)
        if found.result is None:
            return Searched(seed, seconds, found, none, none)
        archs = found.result.archs
        true_ms = found.spread(self.material.table.predict(archs))
        return Searched(seed, seconds, found, true_ms, found.spread(self._teacher.predict(archs)))


def plan(
    spaces: Sequence[str] = (),
    sources: Sequence[str] = (),
    budgets_ms: Sequence[float] = (),
    *,
    seeds: int = 3,
    confidence: float | None = None,
    evaluations: int | None = None,
) -> Plan:
    """Decide what is searched; what is left empty takes :class:`Plan`'s default.

    Raises:
        ValueError: a space or source that does not exist, or a number that makes no sense.
    """
    for kind, asked, known in (("space", spaces, SPACES), ("source", sources, list(SOURCES))):
        for name in asked:
            if name not in known:
                raise ValueError(unknown_name(kind, name, known))
    if any(not 0 < budget < np.inf for budget in budgets_ms):
        raise ValueError(f"budgets must be positive numbers of ms; got {list(budgets_ms)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    if confidence is not None and not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.9; got {confidence}")
    return Plan(
        tuple(dict.fromkeys(spaces)) or SPACES,
        tuple(name for name in SOURCES if name in (sources or QUICK)),
        tuple(sorted(set(map(float, budgets_ms)))) or BUDGETS_MS,
        seeds, confidence, evaluations,
    )  # fmt: skip


def run(
    data: Path | None,
    the_plan: Plan | None = None,
    *,
    help_data: Path | None = None,
    base_samples: int = BASE_SAMPLES,
    epochs: int = EPOCHS,
    material: Material | None = None,
    report: Report = lambda _: None,
) -> Scores:
    """Search by every source on the Note10, and with few measurements on NAS-Bench-201.

    Args:
        data: the paper's data, with ``datasets``, ``lookup_tables`` and ``acc_predictor.pth``;
            None: no search on the Note10.
        the_plan: what is searched; :class:`Plan`'s defaults if it is left out.
        help_data: folder of HELP's folders; None: no search on NAS-Bench-201.
        base_samples: rows of every target of a base model.
        epochs: of the paper's conditioned network.
        material: what sources are made of; by default that of ``data`` and ``help_data``.
        report: called with what is being done, and with what is left out and why.

    Returns:
        One row for each study, space, source, confidence and budget.

    Raises:
        FileNotFoundError: a file is not in a folder.
        ValueError: a file is damaged, or there is no folder.
        ModuleNotFoundError: PyTorch, which reads the teacher, is not installed.
    """
    the_plan = the_plan or plan()
    _check_folders(data, help_data)
    rows: list[dict[str, Any]] = []
    if data is not None:
        material = material or Material(
            data, help_data, base_samples=base_samples, epochs=epochs, report=report
        )
        teacher = Teacher(data / "acc_predictor.pth")
        rows += _note10(Study(the_plan, material, teacher, report), the_plan)
    if help_data is not None:
        rows += few_shot_search.run(
            help_data, seeds=the_plan.seeds,
            confidence=the_plan.confidence or few_shot_search.CONFIDENCE,
            base_samples=base_samples, report=report,
        )  # fmt: skip
    return Scores("search", rows)


def run_left_out(help_data: Path, *, confidence: float | None = None, **options: Any) -> Scores:
    """Search on HELP's test targets by a joint model that has not seen their chips.

    Options and errors are those of :func:`latcast.bench.left_out_search.run`; the confidence is
    0.9 by default.
    """
    confidence = confidence or few_shot_search.CONFIDENCE
    return Scores("search", left_out_search.run(help_data, confidence=confidence, **options))


def _check_folders(data: Path | None, help_data: Path | None) -> None:
    """Make sure that nothing is missing before the first of two long studies is run."""
    if data is None and help_data is None:
        raise ValueError("a search needs the paper's folder, that of HELP, or both; got neither")
    if data is not None:
        check_file(data / "acc_predictor.pth")
        check_file(data / "datasets" / f"{NOTE10}.csv")
        if not (data / "lookup_tables").is_dir():
            raise FileNotFoundError(f"{data} must hold a folder lookup_tables; got none")
    if help_data is not None:
        few_shot_search.find(help_data)


def _note10(study: Study, the_plan: Plan) -> Iterator[dict[str, Any]]:
    """The rows of the searches on the Note10."""
    for space in map(find_space, the_plan.spaces):
        found = study.of(space)
        best = study.best_known(space, found)
        for (name, level), runs in found.items():
            trained_on = list(SOURCES[name].trained_on(study.material))
            for n, budget in enumerate(the_plan.budgets_ms):
                yield {
                    "study": "samsung-note10",
                    "space": space.name,
                    "source": name,
                    "samples": SOURCES[name].samples,
                    "trained_on": trained_on,
                    "confidence": level,
                    **_scores(runs, n, budget, float(best[n])),
                    "published": published_search(space.name, name, budget),
                }


def _scores(runs: Sequence[Searched], n: int, budget: float, best: float) -> dict[str, Any]:
    """Score searches within the n-th budget; networks over it are left out of the regret."""
    accuracy = np.array([r.accuracy[n] for r in runs])
    true_ms = np.array([r.true_ms[n] for r in runs])
    teacher = np.array([r.teacher[n] for r in runs])
    is_over = true_ms > budget
    results = [r.found.result for r in runs if r.found.result is not None]
    return {
        "max_latency_ms": budget,
        "seeds": len(runs),
        "found": int(np.isfinite(true_ms).sum()),
        "accuracy_mean": mean(accuracy),
        "accuracy_std": deviation(accuracy),
        "teacher_mean": mean(teacher),
        "teacher_std": deviation(teacher),
        "predicted_ms": mean(np.array([r.predicted_ms[n] for r in runs])),
        "true_ms": mean(true_ms),
        "over": int(is_over.sum()),
        "excess_ms": mean((true_ms - budget)[is_over]),
        "best_known": best,
        "regret_mean": mean((best - accuracy)[true_ms <= budget]),
        "learn_seconds": mean(np.array([r.learn_seconds for r in runs])),
        "search_seconds": mean(np.array([r.seconds for r in results])),
        "evaluations": mean(np.array([r.evaluations for r in results])),
        "is_exact": bool(results) and all(r.is_exact for r in results),
        "runs": [_single(run, n) for run in runs],
    }


def _single(run: Searched, n: int) -> dict[str, Any]:
    result, arch = run.found.result, None
    if result is not None and run.found.is_found[n]:
        arch = result.archs[int(run.found.is_found[:n].sum())].to_dicts()[0]
    return {
        "seed": run.seed,
        "accuracy": float(run.accuracy[n]),
        "teacher": float(run.teacher[n]),
        "predicted_ms": float(run.predicted_ms[n]),
        "true_ms": float(run.true_ms[n]),
        "arch": arch,
    }
