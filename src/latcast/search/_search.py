"""The most accurate networks within latency budgets, and the front that they lie on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast._names import unknown_name
from latcast.models import Predictor
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from . import _checkpoint
from ._archive import Archive
from ._budgets import parse_budgets, parse_limits
from ._confidence import ConfidentBound
from ._counting import counted
from ._evolution import Evolution
from ._exhaustive import Exhaustive, Random, count
from ._feasible import check_feasible
from ._goals import find_goals
from ._memetic import Memetic
from ._method import Method
from ._models import AnyAccuracy, Latency, find_accuracy, find_candidates, find_predictors
from ._nsga2 import NSGA2
from ._problem import MAX_NETWORKS, Floats, Problem, StopSearch
from ._restriction import restriction
from ._result import Front, SearchResult, by_target

METHODS: Mapping[str, type[Method]] = {
    m.name: m for m in (Exhaustive, Memetic, Evolution, NSGA2, Random)
}
"""Name -> how to search."""

SECONDS_BETWEEN_CHECKPOINTS = 5.0
_FINGERPRINTED = 64


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        evaluations: networks evaluated so far.
        total: the most there will be.
        best: accuracy within every budget, shape (budgets,), NaN where there is none yet; without
            budgets the best there is, shape (1,).
        front: networks of the front.
        seconds: since the search began.
    """

    evaluations: int
    total: int
    best: Floats
    front: int
    seconds: float


def search(
    space: str | SearchSpace,
    *,
    latency: Latency | Sequence[Latency],
    max_latency_ms: float | Sequence[float] | Sequence[Sequence[float]] | None = None,
    accuracy: AnyAccuracy | None = None,
    confidence: float | None = None,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_activation_bytes: float | None = None,
    restrict: Mapping[str, Sequence[int]] | None = None,
    candidates: Archs | None = None,
    method: str | Method = "auto",
    evaluations: int | None = None,
    seed: int = 0,
    coverage: float = 0.9,
    time_limit_s: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """Find the most accurate network within every budget, and the whole front.

    An interruption (ctrl-C) ends the search early: the result is what it had found by then.

    Args:
        space: search space or its name.
        latency: predictor, a model file, or the name of a shipped model; several of them for
            several targets at once.
        max_latency_ms: one budget or several, in ms. On several targets a budget has a number for
            each, in their order: ``(20, 5)``, or ``[(20, 5), (30, 8)]``. Without budgets the
            result holds the networks of the front.
        accuracy: accuracy model, its name or file, a CSV of architectures with accuracies, or a
            function of a batch of architectures; several of them are an ensemble; by default the
            shipped one for the space. Of a CSV only its architectures are searched.
        confidence: keep budgets with this probability, on all targets at once, instead of by the
            prediction alone. The accuracy model is asked for some 2,000 networks more, to know
            what is usual.
        max_macs: most multiply-accumulates of one sample.
        max_params: most parameters.
        max_activation_bytes: most memory of the activations of one sample that are alive at the
            same time.
        restrict: gene -> values to search among; in any case the search keeps to those that all
            predictors were trained on, and to the accuracy model's resolutions.
        candidates: the only networks to choose from; by default all of the space.
        method: a name in :data:`METHODS`, a :class:`Method` with settings of your own, or
            ``auto``: exhaustive where the space is small, memetic elsewhere.
        evaluations: networks that are evaluated at most, instead of the method's setting.
        seed: the same seed gives the same result, unless time ends the search.
        coverage: of the intervals in the result.
        time_limit_s: end the search after so many seconds; it looks at the clock whenever 512
            networks have been evaluated.
        checkpoint: file in which the search is kept between two steps every few seconds, and as of
            its last whole step at its end.
        resume: go on from the checkpoint.
        progress: called whenever some networks have been evaluated.

    Raises:
        InfeasibleError: limits that contradict each other, or a budget that no network keeps; the
            message names the nearest network. Raised before the search begins.
        ValueError: a budget or limit that is not positive and finite, unknown names, models that
            do not fit the space, a checkpoint of another search.
        FileNotFoundError: there is no checkpoint to resume.
    """
    start = time.monotonic()
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, such as 0.9; got {coverage}")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"time_limit_s must be positive; got {time_limit_s}")
    the_space = find_space(space) if isinstance(space, str) else space
    predictors = find_predictors(the_space, latency)
    model = find_accuracy(the_space, accuracy)
    budgets = parse_budgets(max_latency_ms, len(predictors))
    limits = parse_limits(
        max_macs=max_macs, max_params=max_params, max_activation_bytes=max_activation_bytes
    )
    allowed = restriction(the_space, predictors, model, restrict or {})
    among = find_candidates(the_space, model, candidates, allowed)
    problem = Problem(
        the_space,
        counted(the_space, predictors, model, confidence, allowed, among),
        model,
        limits=limits,
        restrict=allowed,
        ceiling_ms=budgets.max(axis=0) if len(budgets) else None,
        candidates=among,
        deadline_s=None if time_limit_s is None else start + time_limit_s,
    )
    known = check_feasible(problem, budgets, _verb(confidence))
    chosen = find_method(method, problem, evaluations)
    problem.most_evaluations = chosen.evaluations or None
    run = _Run(problem, chosen, budgets, known, seed, start)
    if checkpoint is not None:
        question = _question(problem, budgets, confidence, chosen, seed)
        run.keep(Path(checkpoint), question, resume=resume)
    elif resume:
        raise ValueError("to resume a search, name its checkpoint")
    stopped = run.run(progress)
    return _result(run, predictors, confidence, coverage, stopped)


class _Run:
    """One search: steps of a method, until it ends or is stopped."""

    def __init__(
        self,
        problem: Problem,
        method: Method,
        budgets: Floats,
        known: Archs,
        seed: int,
        start: float,
    ) -> None:
        self.problem, self.method, self.budgets = problem, method, budgets
        self._start = start
        problem.admit(known)
        self._rng = np.random.default_rng(seed)
        method.begin(problem, find_goals(problem, budgets, known, seed), known, self._rng)
        self._steps = 0
        self._is_done = False
        self._path: Path | None = None
        self._question: Mapping[str, Any] = {}
        self._written = start
        self._snapshot = self._now()

    @property
    def seconds(self) -> float:
        """Wall clock so far, that of earlier runs of a resumed search included."""
        return time.monotonic() - self._start

    def keep(self, path: Path, question: Mapping[str, Any], *, resume: bool) -> None:
        """Keep the search in a file from now on, and go on from it if asked."""
        self._path, self._question = path, question
        if not resume:
            if path.exists():
                raise ValueError(
                    f"{path} exists already: go on from it with resume, or name another file"
                )
            _checkpoint.write(path, question, self._snapshot)  # if it cannot be, say so now
            return
        snapshot = _checkpoint.read(path, question, self.problem.archive)
        _checkpoint.resume(snapshot, self.method, self.problem, self._rng)
        self._start -= snapshot.seconds
        self._steps, self._is_done = snapshot.steps, snapshot.is_done
        self._snapshot = snapshot

    def run(self, progress: Callable[[Progress], None] | None) -> str | None:
        """Search; returns why it ended early, if it did."""
        stopped = None
        if progress is not None:
            self.problem.after_chunk = lambda: progress(self._progress())
        try:
            while not self._is_done:
                self._is_done = not self.method.step()
                self._steps += 1
                self._snapshot = self._now()
                self._write_sometimes()
        except StopSearch as stop:
            stopped = "time" if str(stop) == "time" else None
        except KeyboardInterrupt:
            stopped = "interrupted"
        if self._path is not None:
            _checkpoint.write(self._path, self._question, self._snapshot)
        return stopped

    @property
    def is_done(self) -> bool:
        """Whether the method had nothing more to do."""
        return self._is_done

    def _now(self) -> _checkpoint.Snapshot:
        return _checkpoint.Snapshot.of(
            self.method, self.problem, self._rng, self._steps, self.seconds, is_done=self._is_done
        )

    def _write_sometimes(self) -> None:
        if self._path is None or time.monotonic() < self._written + SECONDS_BETWEEN_CHECKPOINTS:
            return
        _checkpoint.write(self._path, self._question, self._snapshot)
        self._written = time.monotonic()

    def _progress(self) -> Progress:
        archive, problem = self.problem.archive, self.problem
        budgets = self.budgets if len(self.budgets) else archive.ceiling_ms[None]
        rows = [archive.best_within(b) for b in budgets]
        best = np.array([np.nan if r is None else archive.accuracy[r] for r in rows])
        total = problem.most_evaluations or count(problem)
        return Progress(problem.evaluations, total, best, len(archive), self.seconds)


def _verb(confidence: float | None) -> str:
    return "takes" if confidence is None else f"stays, with a confidence of {confidence}, below"


def find_method(method: str | Method, problem: Problem, evaluations: int | None) -> Method:
    """The method that is asked for, with its number of evaluations.

    Raises:
        ValueError: an unknown name, a method that cannot search the problem's candidates, or less
            than one evaluation.
    """
    if isinstance(method, str):
        if method not in (*METHODS, "auto"):
            raise ValueError(unknown_name("method", method, [*METHODS, "auto"]))
        most = MAX_NETWORKS if evaluations is None else min(evaluations, MAX_NETWORKS)
        is_small = problem.candidates is not None or count(problem) <= most
        name = ("exhaustive" if is_small else "memetic") if method == "auto" else method
        method = METHODS[name]()
    if problem.candidates is not None and not method.is_exact:
        raise ValueError(
            f"the method {method.name} makes networks of its own; among candidates only "
            "exhaustive search can choose"
        )
    if evaluations is None:
        return method
    if evaluations < 1:
        raise ValueError(f"evaluations must be at least 1; got {evaluations}")
    return replace(method, evaluations=evaluations)  # type: ignore[type-var]


def _question(
    problem: Problem, budgets: Floats, confidence: float | None, method: Method, seed: int
) -> dict[str, Any]:
    """What makes two searches the same, whatever their evaluations."""
    settings = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in method.settings().items()
        if name != "evaluations"
    }
    sample = problem.candidates
    if sample is None:
        sample = problem.space.sample(_FINGERPRINTED, 0, restrict=problem.restrict)
    sample = sample[:_FINGERPRINTED]
    accuracy = problem.accuracy.predict(sample)
    return {
        "space": problem.space.name,
        "targets": [latency.name for latency in problem.latencies],
        "max_latency_ms": budgets.tolist(),
        "confidence": confidence,
        "limits": problem.limits,
        "restrict": {k: list(map(int, v)) for k, v in problem.restrict.items()},
        "candidates": None if problem.candidates is None else _digest(problem.candidates.genes),
        "accuracy_model": problem.accuracy.name,
        "models": _digest(problem.ms(sample, accuracy), accuracy),
        "method": method.name,
        "settings": settings,
        "seed": seed,
    }


def _digest(*arrays: npt.NDArray[Any]) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def _result(
    run: _Run,
    predictors: Sequence[Predictor],
    confidence: float | None,
    coverage: float,
    stopped: str | None,
) -> SearchResult:
    problem, archive = run.problem, run.problem.archive
    front = _front(problem, archive, predictors)
    budgets = run.budgets
    if len(budgets):
        picked = [archive.best_within(b) for b in budgets]
        rows = np.array([r for r in picked if r is not None], dtype=np.intp)
    else:
        rows = np.arange(len(archive))
        budgets = np.full((len(rows), len(predictors)), np.inf)
    archs = archive.archs[rows]
    lower = upper = kept = None
    if all(p.covers(coverage) for p in predictors):
        intervals = [p.predict_interval(archs, coverage) for p in predictors]
        lower, upper = by_target([i[0] for i in intervals]), by_target([i[1] for i in intervals])
        if np.isfinite(budgets).all():
            kept = by_target(
                [_kept(problem, p, archs, b) for p, b in zip(predictors, budgets.T, strict=True)]
            )
    return SearchResult(
        archs,
        by_target(list(budgets.T)),
        front.accuracy[rows],
        None if front.accuracy_std is None else front.accuracy_std[rows],
        front.latency_ms[rows],
        lower,
        upper,
        coverage,
        kept,
        confidence,
        front,
        tuple(predictors),
        run.method.name,
        run.method.is_exact and run.is_done,
        stopped,
        problem.evaluations,
        run.seconds,
    )


def _kept(problem: Problem, predictor: Predictor, archs: Archs, budget_ms: Floats) -> Floats:
    """Probability that what was picked keeps its budget, shape (n,)."""
    bound = ConfidentBound.of(
        problem.space, predictor, problem.accuracy, 0.5, problem.restrict,
        candidates=problem.candidates,
    )  # fmt: skip
    return bound.kept(archs, budget_ms)


def _front(problem: Problem, archive: Archive, predictors: Sequence[Predictor]) -> Front:
    archs = archive.archs
    return Front(
        archs,
        archive.accuracy,
        problem.accuracy.uncertainty(archs),
        by_target([p.predict(archs) for p in predictors]),
        by_target(list(archive.ms.T)),
    )
