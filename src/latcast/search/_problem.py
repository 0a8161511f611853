"""What a search asks: accuracy to maximize, latencies and costs to keep within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.models.accuracy import AccuracyModel, checked_accuracies
from latcast.spaces import Archs, SearchSpace

from ._archive import Archive
from ._counting import Counted

Floats = npt.NDArray[np.float64]

MAX_NETWORKS = 500_000
"""Spaces of up to so many networks are enumerated."""
CHUNK = 512
"""Networks that are evaluated between two looks at the clock: always as many, for results depend
on it by rounding."""

LIMITS: Mapping[str, str] = {
    "max_macs": "macs",
    "max_params": "params",
    "max_activation_bytes": "peak_activation_bytes",
}
"""Limit of :func:`latcast.search.search` -> fact of the block table that it bounds."""


class InfeasibleError(ValueError):
    """No network of the space keeps the limits; the message names the nearest one."""


class StopSearch(Exception):  # noqa: N818  # no error: the search ends with what it has
    """A search is out of time or evaluations; what was evaluated before is in the archive."""


@dataclass(frozen=True)
class Evaluated:
    """Networks with what a search knows of them.

    Attributes:
        archs: n networks.
        accuracy: shape (n,).
        ms: what counts against the budgets of every target, shape (n, targets).
        excess: how far limits on costs are exceeded, in shares of the limits, summed; 0 within
            all of them; shape (n,).
    """

    archs: Archs
    accuracy: Floats
    ms: Floats
    excess: Floats

    def __len__(self) -> int:
        return len(self.archs)

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> Evaluated:
        return Evaluated(self.archs[rows], self.accuracy[rows], self.ms[rows], self.excess[rows])

    def join(self, *others: Evaluated) -> Evaluated:
        """These networks followed by others."""
        parts = [self, *(o for o in others if len(o))]
        return Evaluated(
            self.archs.concatenate(*(p.archs for p in parts[1:])),
            np.concatenate([p.accuracy for p in parts]),
            np.concatenate([p.ms for p in parts]),
            np.concatenate([p.excess for p in parts]),
        )

    def violation(self, goal_ms: Floats) -> Floats:
        """How far limits and a goal are exceeded, in shares of them, summed; shape (n,).

        Args:
            goal_ms: ms of every target, shape (targets,) or (n, targets); infinite without one.
        """
        over: Floats = np.maximum(self.ms / goal_ms - 1.0, 0.0).sum(axis=1)
        return over + self.excess


class Problem:
    """Evaluates networks, and keeps the front of all that it has evaluated.

    Args:
        space: where to search.
        latencies: what counts as latency, one a target.
        accuracy: accuracy model.
        limits: name in :data:`LIMITS` -> the most of it that a network may have.
        restrict: gene -> values to which the search is confined.
        ceiling_ms: of every target, above which a network is of no interest, shape (targets,).
        candidates: the only networks there are; None for all of the space.
        evaluations: at most so many networks are evaluated; None: no such limit.
        deadline_s: on :func:`time.monotonic`'s clock; None: no such limit.

    Attributes:
        archive: the front of all networks that were evaluated.
        evaluations: how many were.
        after_chunk: called whenever some have been.
    """

    def __init__(
        self,
        space: SearchSpace,
        latencies: Sequence[Counted],
        accuracy: AccuracyModel,
        *,
        limits: Mapping[str, float] | None = None,
        restrict: Mapping[str, Sequence[int]] | None = None,
        ceiling_ms: Floats | None = None,
        candidates: Archs | None = None,
        evaluations: int | None = None,
        deadline_s: float | None = None,
    ) -> None:
        self.space = space
        self.latencies = tuple(latencies)
        self.accuracy = accuracy
        self.limits = dict(limits or {})
        self.restrict = dict(restrict or {})
        self.choices = space.choices(self.restrict)
        self.candidates = candidates
        self.most_evaluations = evaluations
        self.deadline_s = deadline_s
        self.evaluations = 0
        self.after_chunk: Callable[[], None] = lambda: None
        if ceiling_ms is None:
            ceiling_ms = np.full(len(self.latencies), np.inf)
        self.archive = Archive.empty(space, len(self.latencies), ceiling_ms)

    def evaluate(self, archs: Archs) -> Evaluated:
        """Accuracy, ms and excess of n networks; the best of them enter the archive.

        Raises:
            StopSearch: time or evaluations are used up; those that were left have been used.
        """
        parts = []
        start = 0
        while start < len(archs):
            part = archs[start : start + self._allowed()]
            parts.append(self._evaluate_chunk(part))
            start += len(part)
        return parts[0].join(*parts[1:]) if parts else self._chunk(archs)

    def front(self) -> Evaluated:
        """The archive's networks."""
        archive = self.archive
        return Evaluated(archive.archs, archive.accuracy, archive.ms, np.zeros(len(archive)))

    def admit(self, archs: Archs) -> None:
        """Let networks enter the archive that are not to be counted among the evaluations."""
        found = self._chunk(archs)
        self.archive = self.archive.with_best_of(archs, found.accuracy, found.ms, found.excess)

    def _allowed(self) -> int:
        """Networks of the next chunk."""
        if self.deadline_s is not None and self.evaluations and time.monotonic() > self.deadline_s:
            raise StopSearch("time")
        if self.most_evaluations is None:
            return CHUNK
        left = self.most_evaluations - self.evaluations
        if left <= 0:
            raise StopSearch("evaluations")
        return min(CHUNK, left)

    def _evaluate_chunk(self, archs: Archs) -> Evaluated:
        found = self._chunk(archs)
        self.evaluations += len(archs)
        self.archive = self.archive.with_best_of(archs, found.accuracy, found.ms, found.excess)
        self.after_chunk()
        return found

    def _chunk(self, archs: Archs) -> Evaluated:
        whose = f"accuracies of the model {self.accuracy.name!r}"
        accuracy = checked_accuracies(self.accuracy.predict(archs), len(archs), whose)
        return Evaluated(archs, accuracy, self.ms(archs, accuracy), self.excess(archs))

    def ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """What counts against the budgets, shape (n, targets).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """
        return np.stack([x.counted_ms(archs, accuracy) for x in self.latencies], axis=1)

    def excess(self, archs: Archs) -> Floats:
        """How far limits on costs are exceeded, in shares of the limits, summed; shape (n,)."""
        total = np.zeros(len(archs))
        for name, limit in self.limits.items():
            total += np.maximum(self.cost(archs, name) / limit - 1.0, 0.0)
        return total

    def cost(self, archs: Archs, limit: str) -> Floats:
        """What a limit (a key of :data:`LIMITS`) bounds, shape (n,)."""
        values = self.space.block_table.facts[LIMITS[limit]]
        if limit == "max_activation_bytes":
            peak: Floats = self.space.gather(archs, values).max(axis=1, initial=0.0)
            return peak
        return self.space.block_sums(archs, values)
