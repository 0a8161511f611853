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
from latcast._registry import Registry
from latcast.math.one_thread import in_one_blas_thread
from latcast.models import Predictor
from latcast.spaces import Archs, SearchSpace

from . import checkpoint as checkpoints
from .confidence import ConfidentBound
from .exhaustive import Exhaustive, Random
from .feasibility import check_feasible
from .front import Floats
from .memetic import Memetic
from .nsga2 import NSGA2
from .problem import MAX_NETWORKS, Method, Problem, StopSearch, find_goals
from .request import AnyAccuracy, Budgets, Latency, Request
from .result import Front, SearchResult, by_target, intervals_of

METHODS: Registry[Any] = Registry(
    "method", "latcast.methods", type, {m.name: m for m in (Exhaustive, Memetic, NSGA2, Random)}
)
"""Classes of :class:`Method` by name. A user adds to them by ``METHODS.register(name, cls)``, or by
an entry point of the group ``latcast.methods``."""

# A search that is killed loses at most so much; a checkpoint of 100,000 evaluations is written in
# a small part of it.
SECONDS_BETWEEN_CHECKPOINTS = 5.0
# Networks whose latencies and accuracies tell whether models have changed since a checkpoint.
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


@in_one_blas_thread
def search(
    space: str | SearchSpace,
    *,
    latency: Latency | Sequence[Latency],
    max_latency_ms: Budgets | None = None,
    accuracy: AnyAccuracy | None = None,
    confidence: float | None = None,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_activation_bytes: float | None = None,
    energy: Latency | None = None,
    max_energy_mj: float | None = None,
    memory: Latency | None = None,
    max_memory_mb: float | None = None,
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
        latency: predictor, model file, or name of a shipped model; one for each target.
        max_latency_ms: one budget or several, in ms. On several targets a budget has a number for
            each, in their order: ``(20, 5)``, or ``[(20, 5), (30, 8)]``. Without budgets the
            result holds the networks of the front.
        accuracy: accuracy model, its name or file, a CSV of architectures with accuracies (only
            these are searched), or a function of a batch of architectures; several of them are an
            ensemble; by default the shipped one for the space.
        confidence: meet budgets with this probability, on all targets at once, instead of by the
            prediction alone. The accuracy model is asked for some 2,000 networks more.
        max_macs: of one sample.
        max_params: in the whole network.
        max_activation_bytes: of the activations of one sample that are alive at the same time.
        energy: predictor of energies or its file, of a target; what is found tells its energy.
        max_energy_mj: of a pass of the whole batch, by that model; with ``confidence``, as budgets.
        memory: predictor of peak memories or its file, likewise.
        max_memory_mb: peak memory of passes beyond the runtime's own, millions of bytes, likewise.
        restrict: gene -> values to search among; in any case only those that all predictors were
            trained on, and the accuracy model's resolutions.
        candidates: the only networks to choose from; by default all of the space.
        method: a name in :data:`METHODS`, a :class:`Method` with settings of your own, or
            ``auto``: exhaustive where the space is small, memetic elsewhere.
        evaluations: networks that are evaluated at most, instead of the method's setting; of a
            method that is named, on several targets, instead of as many for each of them.
        seed: the same seed gives the same result, unless time ends the search.
        coverage: of the intervals in the result.
        time_limit_s: end the search then; the clock is looked at every 512 networks.
        checkpoint: file that keeps the search every few seconds, and at its end.
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
    _check_numbers(coverage, time_limit_s)
    asked = Request.of(
        space, latency, accuracy, max_latency_ms, confidence=confidence, restrict=restrict,
        candidates=candidates, max_macs=max_macs, max_params=max_params,
        max_activation_bytes=max_activation_bytes, energy=energy, max_energy_mj=max_energy_mj,
        memory=memory, max_memory_mb=max_memory_mb,
    )  # fmt: skip
    run = _Run(asked, confidence, method, evaluations, seed, start)
    run.keep(checkpoint, resume=resume)
    return run.result(run.run(time_limit_s, progress), coverage)


def _check_numbers(coverage: float, time_limit_s: float | None) -> None:
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, such as 0.9; got {coverage}")
    if time_limit_s is not None and not time_limit_s > 0:
        raise ValueError(f"time_limit_s must be positive; got {time_limit_s}")


class _Run:
    """One search: steps of a method, until it ends or is stopped."""

    def __init__(
        self,
        asked: Request,
        confidence: float | None,
        method: str | Method,
        evaluations: int | None,
        seed: int,
        start: float,
    ) -> None:
        self._asked, self._confidence, self._seed = asked, confidence, seed
        self._begun = self._start = start
        self._problem = problem = asked.problem
        verb = "takes" if confidence is None else f"stays, with a confidence of {confidence}, below"
        known = check_feasible(problem, asked.budgets_ms, verb)
        self._method = find_method(method, problem, evaluations)
        problem.max_evaluations = self._method.evaluations or None
        problem.admit(known)
        self._rng = np.random.default_rng(seed)
        goals = find_goals(problem, asked.budgets_ms, known, seed)
        self._method.begin(problem, goals, known, self._rng)
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

    def keep(self, checkpoint: str | Path | None, *, resume: bool) -> None:
        """Keep the search in a file from now on, and go on from it if asked."""
        if checkpoint is None:
            if resume:
                raise ValueError("to resume a search, name its checkpoint")
            return
        self._path = path = Path(checkpoint)
        self._question = self._asks()
        if not resume:
            if path.exists():
                raise ValueError(
                    f"{path} exists already: go on from it with resume, or name another file"
                )
            checkpoints.write(path, self._question, self._snapshot)  # if it cannot be, say so now
            return
        snapshot = checkpoints.read(path, self._question, self._problem.archive)
        checkpoints.resume(snapshot, self._method, self._problem, self._rng)
        self._start -= snapshot.seconds
        self._steps, self._is_done = snapshot.steps, snapshot.is_done
        self._snapshot = snapshot

    def run(
        self, time_limit_s: float | None, progress: Callable[[Progress], None] | None
    ) -> str | None:
        """Search; returns why it ended early, if it did."""
        stopped = None
        if time_limit_s is not None:
            self._problem.deadline_s = self._begun + time_limit_s
        if progress is not None:
            self._problem.after_chunk = lambda: progress(self._progress())
        try:
            while not self._is_done:
                self._is_done = not self._method.step()
                self._steps += 1
                # Taken between steps only: what breaks off a step leaves the method's state half
                # changed.
                self._snapshot = self._now()
                self._write_sometimes()
        except StopSearch as stop:
            stopped = "time" if str(stop) == "time" else None
        except KeyboardInterrupt:
            stopped = "interrupted"
        if self._path is not None:
            checkpoints.write(self._path, self._question, self._snapshot)
        return stopped

    def result(self, stopped: str | None, coverage: float) -> SearchResult:
        """Return the results so far, with intervals of a coverage.

        Args:
            stopped: what :meth:`run` returned.
            coverage: between 0 and 1.
        """
        problem, archive, predictors = self._problem, self._problem.archive, self._asked.predictors
        front = Front(
            archive.archs,
            archive.accuracy,
            problem.accuracy.uncertainty(archive.archs),
            by_target([p.predict(archive.archs) for p in predictors]),
            by_target(list(archive.ms.T)),
            {p.fitted.quantity.name: p.predict(archive.archs) for p in self._asked.others},
        )
        budgets = self._asked.budgets_ms
        if len(budgets):
            picked = [archive.best_within(b) for b in budgets]
            rows = np.array([r for r in picked if r is not None], dtype=np.intp)
        else:
            rows = np.arange(len(archive))
            budgets = np.full((len(rows), len(predictors)), np.inf)
        archs = archive.archs[rows]
        lower, upper = intervals_of(predictors, archs, coverage)
        p_within = None
        if lower is not None and np.isfinite(budgets).all():
            both = zip(predictors, budgets.T, strict=True)
            p_within = by_target([self._p_within(p, archs, ms) for p, ms in both])
        return SearchResult(
            archs=archs,
            max_latency_ms=by_target(list(budgets.T)),
            accuracy=front.accuracy[rows],
            accuracy_std=None if front.accuracy_std is None else front.accuracy_std[rows],
            latency_ms=front.latency_ms[rows],
            lower_ms=lower,
            upper_ms=upper,
            coverage=coverage,
            p_within_budget=p_within,
            confidence=self._confidence,
            front=front,
            predictors=predictors,
            method=self._method.name,
            is_exact=self._method.is_exact and self._is_done,
            stopped=stopped,
            evaluations=problem.evaluations,
            seconds=self.seconds,
            others={name: values[rows] for name, values in front.others.items()},
            limits={
                bound.predictor.fitted.quantity.name: bound.limit for bound in problem.quantities
            },
            doubts=tuple(problem.accuracy.doubts(archs)),
        )

    def _p_within(self, predictor: Predictor, archs: Archs, budget_ms: Floats) -> Floats:
        """P(within budget) of networks that were picked, shape (n,)."""
        problem = self._problem
        bound = ConfidentBound.of(
            problem.space, predictor, problem.accuracy, 0.5, problem.restrict,
            candidates=problem.candidates,
        )  # fmt: skip
        return bound.p_within(archs, budget_ms)

    def _now(self) -> checkpoints.Snapshot:
        return checkpoints.Snapshot(
            self._method.state(), self._rng.bit_generator.state, self._problem.archive,
            self._problem.evaluations, self._steps, self.seconds, self._is_done,
        )  # fmt: skip

    def _write_sometimes(self) -> None:
        if self._path is None or time.monotonic() < self._written + SECONDS_BETWEEN_CHECKPOINTS:
            return
        checkpoints.write(self._path, self._question, self._snapshot)
        self._written = time.monotonic()

    def _progress(self) -> Progress:
        archive, problem, budgets = self._problem.archive, self._problem, self._asked.budgets_ms
        rows = [archive.best_within(b) for b in (budgets if len(budgets) else [archive.ceiling_ms])]
        best = np.array([np.nan if r is None else archive.accuracy[r] for r in rows])
        total = problem.max_evaluations or problem.count
        return Progress(problem.evaluations, total, best, len(archive), self.seconds)

    def _asks(self) -> dict[str, Any]:
        """Return the key that two equal searches share, whatever their evaluations (JSON-able)."""
        problem, method = self._problem, self._method
        settings = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in method.settings().items()
            # More evaluations than before are a reason to go on, not another search.
            if name != "evaluations"
        }
        sample = problem.candidates
        if sample is None:
            sample = problem.space.sample(_FINGERPRINTED, 0, restrict=problem.restrict)
        sample = sample[:_FINGERPRINTED]
        accuracy = problem.accuracy.predict(sample)
        among = problem.candidates
        return {
            "space": problem.space.name,
            "targets": [latency.name for latency in problem.latencies],
            "max_latency_ms": self._asked.budgets_ms.tolist(),
            "confidence": self._confidence,
            "limits": problem.limits,
            "restrict": {k: list(map(int, v)) for k, v in problem.restrict.items()},
            "candidates": None if among is None else _digest(among.genes),
            "accuracy_model": problem.accuracy.name,
            "models": _digest(problem.ms(sample, accuracy), accuracy),
            **(
                {
                    "quantities": [
                        [bound.text, _digest(bound.counted.counted_ms(sample, accuracy))]
                        for bound in problem.quantities
                    ]
                }
                if problem.quantities
                else {}
            ),
            "method": method.name,
            "settings": settings,
            "seed": self._seed,
        }


def _digest(*arrays: npt.NDArray[Any]) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def find_method(method: str | Method, problem: Problem, evaluations: int | None) -> Method:
    """The method that is asked for, with its number of evaluations.

    Raises:
        ValueError: an unknown name, a method that cannot search the problem's candidates, or less
            than one evaluation.
    """
    if isinstance(method, str):
        most = MAX_NETWORKS if evaluations is None else min(evaluations, MAX_NETWORKS)
        is_small = problem.candidates is not None or problem.count <= most
        name = ("exhaustive" if is_small else "memetic") if method == "auto" else method
        method = _named(name)
        # With as many as on one target, a network of either's own front was better in two of four
        # pairs of budgets, by up to .0009 of accuracy (one seed). Over three seeds the mean is
        # .7955, .8131, .8224 and .8321 so, .7967, .8131, .8224 and .8336 with twice as many; the
        # fronts have .7948, .8132, .8208 and .8318. More children of a budget, more or less alike
        # local optima (six settings) moved it within its deviation over seeds.
        if evaluations is None and method.evaluations and len(problem.latencies) > 1:
            evaluations = method.evaluations * len(problem.latencies)
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


def _named(name: str) -> Method:
    if name not in METHODS:
        raise ValueError(unknown_name("method", name, [*METHODS.names(), "auto"]))
    made = METHODS.get(name)()
    if not isinstance(made, Method):
        raise TypeError(f"the method {name!r} must be a latcast.search.Method; got {made!r}")
    return made
