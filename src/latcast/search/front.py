"""Evaluated networks, and the front of all that a search has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Networks compared with all others at once: bounds the memory of a comparison, changes no result.
_BLOCK = 256


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

    @classmethod
    def of_state(
        cls, prefix: str, state: Mapping[str, Any], space: SearchSpace, targets: int
    ) -> Evaluated:
        """The inverse of :meth:`state`, which is of at least one network.

        Raises:
            KeyError, ValueError: an array is missing, or not of the space and its targets.
        """
        genes, accuracy, ms, excess = (
            state[f"{prefix}.{name}"] for name in ("genes", "accuracy", "ms", "excess")
        )
        found, n = cls(Archs(space, genes), accuracy, ms, excess), len(genes)
        if not n or (accuracy.shape, ms.shape, excess.shape) != ((n,), (n, targets), (n,)):
            raise ValueError(f"{n} networks of {prefix} with arrays of other sizes")
        return found

    def state(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Arrays to keep in a checkpoint, by names that begin with the prefix."""
        return {
            f"{prefix}.genes": self.archs.genes,
            f"{prefix}.accuracy": self.accuracy,
            f"{prefix}.ms": self.ms,
            f"{prefix}.excess": self.excess,
        }

    def __len__(self) -> int:
        return len(self.archs)

    def __getitem__(self, rows: Rows | slice) -> Evaluated:
        return Evaluated(self.archs[rows], self.accuracy[rows], self.ms[rows], self.excess[rows])

    def join(self, *others: Evaluated) -> Evaluated:
        """Return these networks followed by others."""
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


@dataclass(frozen=True)
class Archive:
    """Networks within all limits that no other beats in accuracy and in ms on every target.

    Of networks that are equal in both, the first one evaluated stays. Immutable.

    Attributes:
        archs: n networks; on one target from the fastest to the most accurate, on several from
            the most accurate to the least.
        accuracy: shape (n,).
        ms: shape (n, targets).
        ceiling_ms: above which a network is of no interest, shape (targets,).
    """

    archs: Archs
    accuracy: Floats
    ms: Floats
    ceiling_ms: Floats

    @classmethod
    def empty(cls, space: SearchSpace, targets: int, ceiling_ms: Floats) -> Archive:
        """An archive without networks."""
        none = Archs(space, np.empty((0, len(space.genes)), dtype=np.uint8))
        return cls(none, np.empty(0), np.empty((0, targets)), ceiling_ms)

    def __len__(self) -> int:
        return len(self.archs)

    def with_best_of(self, found: Evaluated) -> Archive:
        """The archive with those of n evaluated networks that belong to it."""
        allowed = np.flatnonzero((found.excess <= 0) & (found.ms <= self.ceiling_ms).all(axis=1))
        allowed = allowed[nondominated(found.accuracy[allowed], found.ms[allowed])]
        fresh = found[allowed[~self._beats(found.accuracy[allowed], found.ms[allowed])]]
        if not len(fresh):
            return self
        archs = self.archs.concatenate(fresh.archs)
        accuracy = np.concatenate([self.accuracy, fresh.accuracy])
        ms = np.concatenate([self.ms, fresh.ms])
        left = nondominated(accuracy, ms)
        return Archive(archs[left], accuracy[left], ms[left], self.ceiling_ms)

    def best_within(self, budget_ms: Floats) -> int | None:
        """:func:`best_within`, among the archive's networks."""
        return best_within(self.accuracy, self.ms, budget_ms)

    def _beats(self, accuracy: Floats, ms: Floats) -> npt.NDArray[np.bool_]:
        """Whether a network of the archive is as good as each of n, shape (n,)."""
        # On one target the archive is sorted, and a front's accuracy rises with its latency: one
        # look-up a network instead of a comparison with all.
        if ms.shape[1] == 1 and len(self):
            at = np.searchsorted(self.ms[:, 0], ms[:, 0], side="right")
            best = np.append(-np.inf, self.accuracy)
            return np.asarray(best[at] >= accuracy)
        return _as_good(self.accuracy, self.ms, accuracy, ms)


def best_within(accuracy: Floats, ms: Floats, budget_ms: Floats) -> int | None:
    """Position of the most accurate network within a budget, of equal ones the fastest; or None.

    Args:
        accuracy: shape (n,).
        ms: shape (n, targets).
        budget_ms: shape (targets,).
    """
    within = np.flatnonzero((ms <= budget_ms).all(axis=1))
    order = np.lexsort(((ms[within] / budget_ms).sum(axis=1), -accuracy[within]))
    return int(within[order[0]]) if len(order) else None


def nondominated(accuracy: Floats, ms: Floats) -> Rows:
    """Positions of networks that no other beats, of equal ones the first.

    On one target in ascending order of ms, on several in descending order of accuracy.

    Args:
        accuracy: shape (n,).
        ms: shape (n, targets).
    """
    if not len(accuracy):
        return np.empty(0, dtype=np.intp)
    if ms.shape[1] == 1:
        order = np.lexsort((-accuracy, ms[:, 0]))
        best = np.maximum.accumulate(accuracy[order])
        front: Rows = order[np.append(True, accuracy[order][1:] > best[:-1])]
        return front
    # Whoever beats a network comes before it in this order.
    order = np.lexsort((*ms.T, -accuracy))
    front = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        block = block[~_as_good(accuracy[front], ms[front], accuracy[block], ms[block])]
        inside = _as_good_before(accuracy[block], ms[block])
        front = np.concatenate([front, block[~inside]])
    return front


def _as_good(
    accuracy: Floats, ms: Floats, other_accuracy: Floats, other_ms: Floats
) -> npt.NDArray[np.bool_]:
    """Whether one of the first networks is as good as each of n others, shape (n,)."""
    result = np.zeros(len(other_accuracy), dtype=np.bool_)
    for start in range(0, len(other_accuracy), _BLOCK):
        part = slice(start, start + _BLOCK)
        good = accuracy >= other_accuracy[part, None]
        for target in range(ms.shape[1]):
            good &= ms[:, target] <= other_ms[part, target, None]
        result[part] = good.any(axis=1)
    return result


def _as_good_before(accuracy: Floats, ms: Floats) -> npt.NDArray[np.bool_]:
    """Whether an earlier one of n networks is as good as each, shape (n,)."""
    good = accuracy >= accuracy[:, None]
    for target in range(ms.shape[1]):
        good &= ms[:, target] <= ms[:, target, None]
    return np.asarray(np.tril(good, -1).any(axis=1))
