"""How likely one precision is faster than another, by what is forecast for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ._observations import TargetFacts

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]

# Pairs of networks that it takes at least, and of either answer.
FEWEST, FEWEST_OF_EITHER = 100, 5
# Scales of the logarithm of the factor between two forecasts: far off, and near to none.
FAR, NEAR = 0.1, 0.05
_PENALTY, _STEPS = 0.05, 50


@dataclass(frozen=True)
class Faster:
    """A logistic regression of the answer on the forecast factor.

    A normal error of the factor is no model of it: precisions that fall back on one another tie
    within a percent, while others are told apart by far more than the usual error.

    Attributes:
        weights: of one, and of the logarithm of the factor far off and near none.
        share: of the pairs in which the first precision is faster.
    """

    weights: tuple[float, float, float]
    share: float

    @classmethod
    def fit(cls, told: Floats, is_faster: Bools) -> Faster | None:
        """Fit by log ratios of the first forecast to the second, (n,), and the answers, (n,).

        None where there are too few of either answer.
        """
        of_either = min(is_faster.sum(), (~is_faster).sum())
        if len(told) < FEWEST or of_either < FEWEST_OF_EITHER:
            return None
        design, weights = _design(told), np.zeros(3)
        for _ in range(_STEPS):
            chance = _logistic(design @ weights)
            slope = design.T @ (chance - is_faster) + _PENALTY * weights
            bend = (design.T * (chance * (1 - chance))) @ design + _PENALTY * np.eye(3)
            weights = weights - np.linalg.solve(bend, slope)
        a, b, c = weights.tolist()
        return cls((a, b, c), float(is_faster.mean()))

    def probability(self, told: npt.ArrayLike) -> Floats:
        """Return P(first precision is faster) by the log factor: a number or (n,)."""
        return _logistic(_design(told) @ np.array(self.weights))

    @property
    def inverse(self) -> Faster:
        """The rule of the second precision against the first."""
        a, b, c = self.weights
        return Faster((-a, b, c), 1 - self.share)


def _design(told: npt.ArrayLike) -> Floats:
    log = np.asarray(told, dtype=np.float64)
    return np.stack([np.ones_like(log), log / FAR, np.tanh(log / NEAR)], axis=-1)


def _logistic(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))))


@dataclass
class Pairs:
    """Networks that were forecast in several precisions on one chip, and measured."""

    _rows: dict[tuple[str, int], dict[str, tuple[float, float]]] = field(default_factory=dict)

    def add(self, target: TargetFacts, networks: Numbers, told: Floats, true: Floats) -> None:
        """Logarithms that were forecast and measured of networks by number, each (n,)."""
        for n, *logs in zip(networks.tolist(), told.tolist(), true.tolist(), strict=True):
            self._rows.setdefault((target.chip, n), {})[target.precision] = logs[0], logs[1]

    def rules(self) -> Mapping[tuple[str, str], Faster]:
        """Return the rule of every two precisions, in either order."""
        precisions = sorted({p for row in self._rows.values() for p in row})
        found: dict[tuple[str, str], Faster] = {}
        for a, b in combinations(precisions, 2):
            both = [np.subtract(r[a], r[b]) for r in self._rows.values() if a in r and b in r]
            told, true = np.array(both).reshape(-1, 2).T
            if (rule := Faster.fit(told, true < 0)) is not None:
                found |= {(a, b): rule, (b, a): rule.inverse}
        return found
