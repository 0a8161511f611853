"""Effects of networks on the targets of one domain, beside their work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._posterior import Posterior

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Standard deviations before anything was learnt: of a network's mean over targets, and of one
# target's deviation from it.
MEAN_DEVIATION, DEVIATION = 0.1, 0.1
# Networks whose covariance is learnt at most, targets that it takes at least, and how many
# targets independence is worth.
MOST_RELATED, FEWEST_TARGETS, WORTH = 250, 20, 20.0


class Told(NamedTuple):
    """The effects that a target told of networks, in expectation.

    Attributes:
        names: of its networks, k texts.
        after: of its weights, after their measurements.
    """

    names: Sequence[str]
    after: Posterior

    @property
    def root(self) -> Floats:
        """Factor of each row's deviation from what effects and scatter have it, shape (k,)."""
        return self.after.root

    @property
    def pull(self) -> Floats:
        """The pull of :class:`Posterior`, with deviations of one."""
        return self.after.pull * self.root

    def covariance_of(self, gain: Floats) -> Floats:
        """Return the reduction of the rows' covariance by a gain (m, k), shape (m, m)."""
        scaled = gain * self.root
        return np.asarray(scaled @ self.after.solve(scaled.T))

    def variance_of(self, gain: Floats) -> Floats:
        """The diagonal of :meth:`covariance_of`, shape (m,)."""
        scaled = gain * self.root
        return np.asarray(np.einsum("ij,ji->i", scaled, self.after.solve(scaled.T)))


@dataclass(frozen=True, eq=False)
class Effects:
    """Logarithms of factors on networks: a mean over targets, and deviations of each target.

    Attributes:
        names: of the networks that are known, n texts.
        mean: shape (n,).
        certainty: variance of the mean, shape (n,).
        covariance: of one target's deviations, shape (n, n); a diagonal where few targets tell.
        mean_variance: of the mean of a network that is not known.
        variance: of the deviation of one that is not known.
    """

    names: tuple[str, ...]
    mean: Floats
    certainty: Floats
    covariance: Floats
    mean_variance: float
    variance: float

    @classmethod
    def start(cls, names: Sequence[str]) -> Effects:
        """Before anything was learnt."""
        n = len(names)
        return cls(
            tuple(names),
            np.zeros(n),
            np.full(n, MEAN_DEVIATION**2),
            DEVIATION**2 * np.eye(n),
            MEAN_DEVIATION**2,
            DEVIATION**2,
        )

    @classmethod
    def unknown(cls) -> Effects:
        """Return the effects without any network."""
        return cls.start(())

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: n for n, name in enumerate(self.names)}

    @property
    def unknown_variance(self) -> float:
        """The variance of the effect of a network that is not known."""
        return self.mean_variance + self.variance

    def places(self, names: Sequence[str]) -> Numbers:
        """Return the positions of networks among the known, −1 for unknown; shape (k,)."""
        return np.array([self._places.get(name, -1) for name in names], dtype=np.intp)

    def mean_of(self, names: Sequence[str]) -> Floats:
        """Means of networks, 0 where unknown, shape (k,)."""
        return np.append(self.mean, 0.0)[self.places(names)]

    def covariance_between(self, left: Sequence[str], right: Sequence[str]) -> Floats:
        """Covariance of the deviations from :meth:`mean_of` on one target, shape (k, m)."""
        number = {name: n for n, name in enumerate(dict.fromkeys((*left, *right)))}
        rows, columns = (np.array([number[x] for x in some], dtype=int) for some in (left, right))
        same = rows[:, None] == columns
        if self._is_diagonal:
            return np.asarray(same * self.variances(left)[:, None])
        a, b = self.places(left), self.places(right)
        values = self.covariance[np.ix_(a, b)] * ((a >= 0)[:, None] & (b >= 0))
        return np.asarray(values + same * self._beyond(left)[:, None])

    @cached_property
    def _is_diagonal(self) -> bool:
        """Whether no two networks are related."""
        return bool(np.count_nonzero(self.covariance) <= len(self.names))

    def variances(self, names: Sequence[str]) -> Floats:
        """The diagonal of :meth:`covariance_between`, shape (k,)."""
        own = np.append(self.covariance.diagonal(), 0.0)[self.places(names)]
        return np.asarray(own + self._beyond(names))

    def _beyond(self, names: Sequence[str]) -> Floats:
        """Variance of networks beside the covariance of those that are known, shape (k,)."""
        return np.append(self.certainty, self.unknown_variance)[self.places(names)]

    def updated(self, seen: Sequence[Told]) -> Effects:
        """After an expectation over targets.

        Args:
            seen: what every target of the domain told.
        """
        if len(seen) >= FEWEST_TARGETS and len(self.names) <= MOST_RELATED:
            return self._related(seen)
        n = len(self.names)
        # Of every network over its targets: how many, the sum and the squares of its effects.
        times, total, square = np.zeros(n), np.zeros(n), np.zeros(n)
        for told in seen:
            # A network at several batches has one effect: each is told of once.
            first = np.unique(self.places(told.names), return_index=True)[1]
            some = [told.names[n] for n in first]
            at, own = self.places(some), self.variances(some)
            if len(some) == len(told.names):
                effect = self.mean[at] + own * told.pull[first]
                left = own - (own * told.root[first]) ** 2 * told.after.inverse_diagonal[first]
            else:
                gain = self.covariance_between(some, told.names)
                effect = self.mean[at] + gain @ told.pull
                left = own - told.variance_of(gain)
            times[at] += 1
            total[at] += effect
            square[at] += effect**2 + left
        ratio = self.variance / self.mean_variance
        mean = total / (times + ratio)
        certainty = self.variance / (times + ratio)
        squares = square - 2 * mean * total + times * (mean**2 + certainty)
        variance = float(squares.sum() / times.sum())
        return replace(
            self,
            mean=mean,
            certainty=certainty,
            covariance=variance * np.eye(n),
            mean_variance=float((mean**2 + certainty).mean()),
            variance=variance,
        )

    def _related(self, seen: Sequence[Told]) -> Effects:
        """Return effects with covariances of networks, which many targets told."""
        n = len(self.names)
        total, moment, times = np.zeros(n), np.zeros((n, n)), np.zeros(n)
        for told in seen:
            at = self.places(told.names)
            gain = self.covariance[:, at]
            moved = gain @ told.pull
            total += moved
            times[at] += 1
            moment += np.outer(moved, moved) + self.covariance - told.covariance_of(gain)
        # Networks that a target lacks follow from its others: the mean moves by all targets.
        step = total / len(seen)
        own = moment.diagonal() / len(seen) - step**2
        ratio = np.maximum(own, 1e-6) / self.mean_variance
        mean = (self.mean + step) * times / (times + ratio)
        variance = float(np.maximum(own, 1e-6).mean())
        covariance = moment - len(seen) * np.outer(step, step) + WORTH * variance * np.eye(n)
        covariance /= len(seen) + WORTH
        certainty = covariance.diagonal() / np.maximum(times, 1)
        return replace(
            self,
            mean=mean,
            certainty=certainty,
            covariance=covariance,
            mean_variance=float((mean**2 + certainty).mean()),
            variance=variance,
        )
