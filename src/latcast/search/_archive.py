"""The front of all networks that a search has evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_BLOCK = 256


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

    def with_best_of(self, archs: Archs, accuracy: Floats, ms: Floats, excess: Floats) -> Archive:
        """The archive with those of n networks that belong to it."""
        allowed = np.flatnonzero((excess <= 0) & (ms <= self.ceiling_ms).all(axis=1))
        allowed = allowed[nondominated(accuracy[allowed], ms[allowed])]
        fresh = allowed[~self._beats(accuracy[allowed], ms[allowed])]
        if not fresh.size:
            return self
        archs = self.archs.concatenate(archs[fresh])
        accuracy = np.concatenate([self.accuracy, accuracy[fresh]])
        ms = np.concatenate([self.ms, ms[fresh]])
        kept = nondominated(accuracy, ms)
        return Archive(archs[kept], accuracy[kept], ms[kept], self.ceiling_ms)

    def best_within(self, budget_ms: Floats) -> int | None:
        """Position of the most accurate network within a budget (targets,), if there is one.

        Of equally accurate ones the fastest.
        """
        within = np.flatnonzero((self.ms <= budget_ms).all(axis=1))
        if not within.size:
            return None
        order = np.lexsort(((self.ms[within] / budget_ms).sum(axis=1), -self.accuracy[within]))
        return int(within[order[0]])

    def _beats(self, accuracy: Floats, ms: Floats) -> npt.NDArray[np.bool_]:
        """Whether a network of the archive is as good as each of n, shape (n,)."""
        if ms.shape[1] == 1 and len(self):
            at = np.searchsorted(self.ms[:, 0], ms[:, 0], side="right")
            best = np.append(-np.inf, self.accuracy)
            return np.asarray(best[at] >= accuracy)
        return _as_good(self.accuracy, self.ms, accuracy, ms)


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
        kept: Rows = order[np.append(True, accuracy[order][1:] > best[:-1])]
        return kept
    # Whoever beats a network comes before it in this order.
    order = np.lexsort((*ms.T, -accuracy))
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        block = block[~_as_good(accuracy[kept], ms[kept], accuracy[block], ms[block])]
        inside = _as_good_before(accuracy[block], ms[block])
        kept = np.concatenate([kept, block[~inside]])
    return kept


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
