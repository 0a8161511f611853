"""What a search asks: accuracy to maximize, latencies and costs to keep within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from latcast.models.accuracy import AccuracyModel, checked_accuracies
from latcast.spaces import Archs, SearchSpace

from .front import Archive, Evaluated, Floats

# Spaces of up to so many networks are enumerated: the exact front then costs no more than five
# searches by the default method do.
MAX_NETWORKS = 500_000
# Networks that are evaluated between two looks at the clock: always as many, for results depend on
# it by rounding.
CHUNK = 512
# Log odds of a gene's last choice against its first, at most (20 to 1): a few hundred networks then
# reach from nearly the smallest to nearly the largest, and the middle is not left out.
MAX_TILT = 3.0

# Limit of latcast.search.search -> fact of the block table that it bounds.
LIMITS: Mapping[str, str] = {
    "max_macs": "macs",
    "max_params": "params",
    "max_activation_bytes": "peak_activation_bytes",
}


class InfeasibleError(ValueError):
    """No network of the space keeps the limits; the message names the nearest one."""


class StopSearch(Exception):  # noqa: N818  # no error: the search ends with what it has
    """A search is out of time or evaluations; what was evaluated before is in the archive."""


class Counted(Protocol):
    """The milliseconds of networks that count against a budget on one target.

    Attributes:
        name: of the target, for messages.
    """

    name: str

    def counted_ms(self, archs: Archs, accuracy: Floats | None = None) -> Floats:
        """Milliseconds, shape (n,).

        Args:
            archs: n networks.
            accuracy: of them, where it is known already, shape (n,).
        """

    def least_ms(self, archs: Archs) -> Floats:
        """What :meth:`counted_ms` is not below, told without any accuracy, shape (n,)."""


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

    Attributes:
        archive: the front of all networks that were evaluated.
        evaluations: how many were.
        max_evaluations: at most so many networks are evaluated; None: no such limit.
        deadline_s: on :func:`time.monotonic`'s clock; None: no such limit.
        after_chunk: called whenever some networks have been evaluated.
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
    ) -> None:
        self.space = space
        self.latencies = tuple(latencies)
        self.accuracy = accuracy
        self.limits = dict(limits or {})
        self.restrict = dict(restrict or {})
        self.choices = space.choices(self.restrict)
        self.candidates = candidates
        self.max_evaluations: int | None = None
        self.deadline_s: float | None = None
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
            start += len(part)
            parts.append(self._look_at(part))
            self.evaluations += len(part)
            self.archive = self.archive.with_best_of(parts[-1])
            self.after_chunk()
        return parts[0].join(*parts[1:]) if parts else self._look_at(archs)

    def front(self) -> Evaluated:
        """The archive's networks."""
        archive = self.archive
        return Evaluated(archive.archs, archive.accuracy, archive.ms, np.zeros(len(archive)))

    def admit(self, archs: Archs) -> None:
        """Let networks enter the archive that are not to be counted among the evaluations."""
        self.archive = self.archive.with_best_of(self._look_at(archs))

    def _allowed(self) -> int:
        """Networks of the next chunk."""
        if self.deadline_s is not None and self.evaluations and time.monotonic() > self.deadline_s:
            raise StopSearch("time")
        if self.max_evaluations is None:
            return CHUNK
        left = self.max_evaluations - self.evaluations
        if left <= 0:
            raise StopSearch("evaluations")
        return min(CHUNK, left)

    def _look_at(self, archs: Archs) -> Evaluated:
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

    def least_ms(self, archs: Archs) -> Floats:
        """What :meth:`ms` is not below, told without any accuracy, shape (n, targets)."""
        return np.stack([x.least_ms(archs) for x in self.latencies], axis=1)

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

    def between(self, small: Archs, n: int, rng: np.random.Generator) -> Archs:
        """Random networks, each with another share of its genes taken from a small one.

        Random networks alone hardly ever keep a tight budget.

        Args:
            small: networks of which the first is the small one.
            n: how many to draw.
            rng: of everything that chance decides.
        """
        random = self.space.sample(n, rng, restrict=self.restrict).genes
        taken = rng.random(random.shape) < rng.random((n, 1))
        return Archs._trusted(self.space, np.where(taken, small.genes[0], random))


def small_to_large(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    restrict: Mapping[str, Sequence[int]] | None = None,
) -> Archs:
    """Random networks from small to large: drawn uniformly they would all be middle-sized.

    Every network has a tilt of its own, by which the later choices of all its genes are favoured.
    """
    tilts = rng.uniform(-MAX_TILT, MAX_TILT, n)
    columns = [choices[_tilted(len(choices), tilts, rng)] for choices in space.choices(restrict)]
    return Archs(space, np.stack(columns, axis=1))


def _tilted(choices: int, tilts: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Positions drawn with odds of exp(tilt) between last and first choice, shape (n,)."""
    place = np.linspace(0.0, 1.0, choices)
    # The largest of log odds plus Gumbel noise is a draw with these odds.
    drawn = tilts[:, None] * place + rng.gumbel(size=(len(tilts), choices))
    return np.asarray(drawn.argmax(axis=1), dtype=np.intp)
