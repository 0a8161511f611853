"""What a check of the audit hands back, and what the checks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ._copies import Memoized, first_rows, memoized
from ._dataset import LatencyDataset
from ._network_dataset import NetworkDataset
from ._network_residuals import network_residuals
from ._residuals import relative_residuals
from .additive import Floats

SEVERITIES = ("error", "warning", "note")

NEAR_ZERO = 0.01
"""Fraction of the median below which no latency of a search space is believed."""

CHEAPEST = 0.05
CHEAPEST_SHARE = 0.25
"""Of what the cheapest networks take: a network that takes less cannot have been run. In public
data that is measured soundly, 54 files, no network takes less than 0.36 of it."""
LEAST_CHEAPEST = 20
MOST_TOO_FAST = 0.03
"""Share of the rows up to which taking less is an exception."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a dataset that whoever uses it should know.

    Attributes:
        kind: name of the check's result, such as ``drift``.
        severity: ``error`` (scores from this data are wrong unless something is done),
            ``warning`` (they are worse or less certain) or ``note``.
        message: what was found, with the numbers.
        evidence: the numbers, JSON-able.
        consequence: what it does to whoever does nothing.
        advice: what to do.
    """

    kind: str
    severity: str
    message: str
    evidence: dict[str, Any]
    consequence: str
    advice: str


@dataclass(frozen=True)
class Subject(ABC):
    """A dataset under audit, with what several checks need, worked out once."""

    data: LatencyDataset | NetworkDataset

    @abstractmethod
    def macs(self) -> Floats:
        """Multiply-accumulates of every row's network, shape (n,)."""

    @abstractmethod
    def dead(self, rows: npt.NDArray[np.intp]) -> int:
        """How many of the rows are networks that make nothing of their input."""

    @property
    @abstractmethod
    def fresh(self) -> npt.NDArray[np.intp]:
        """Usable rows in order, without those that copy an earlier row's label."""

    @property
    @abstractmethod
    def residuals(self) -> Floats | None:
        """Cross-fitted relative residuals of the fresh rows, in order; None if too few."""

    @property
    def distinct(self) -> int:
        """Number of distinct networks."""
        return len(np.unique(self.data.unique_index()))

    @cached_property
    def possible(self) -> npt.NDArray[np.bool_]:
        """Rows whose latency is one at all, shape (n,)."""
        return self.data.possible

    @cached_property
    def near_zero(self) -> npt.NDArray[np.bool_]:
        """Rows whose latency is possible but too small to be one, shape (n,).

        Below 1 % of the median, among at most 2 % of the rows that a gap of a factor of 3
        separates from all others, or below a quarter of what the cheapest networks take.
        """
        y = self.data.latency_ms
        result = np.zeros(len(y), dtype=np.bool_)
        if not self.possible.any():
            return result
        values = np.sort(y[self.possible])
        limit = NEAR_ZERO * float(np.median(values))
        lowest = values[: max(1, len(values) // 50) + 1]
        gaps = np.flatnonzero(lowest[1:] > 3 * lowest[:-1])
        if gaps.size and len(values) >= 20:
            limit = max(limit, float(lowest[gaps[-1] + 1]))
        limit = max(limit, self._least_of_the_cheapest())
        result[self.possible] = y[self.possible] < limit
        return result

    def _least_of_the_cheapest(self) -> float:
        """A quarter of the median latency of the 5 % of networks with the fewest MACs.

        0 where there are too few to tell, or where so many rows are below that MACs say nothing.
        """
        macs, latency_ms = self.macs()[self.possible], self.data.latency_ms[self.possible]
        cheap = macs <= np.quantile(macs, CHEAPEST)
        if cheap.sum() < LEAST_CHEAPEST:
            return 0.0
        limit = CHEAPEST_SHARE * float(np.median(latency_ms[cheap]))
        too_fast = float((latency_ms < limit).mean())
        return limit if too_fast <= MOST_TOO_FAST else 0.0

    @cached_property
    def usable(self) -> npt.NDArray[np.intp]:
        """Rows with a latency to believe, in the order of the campaign."""
        order = np.argsort(self.data.order, kind="stable")
        return order[(self.possible & ~self.near_zero)[order]]

    @cached_property
    def is_constant(self) -> bool:
        """Whether all usable rows, two at least, have one latency."""
        y = self.data.latency_ms[self.usable]
        return len(y) > 1 and bool((y == y[0]).all())


@dataclass(frozen=True)
class ArchSubject(Subject):
    """Architectures of a space under audit."""

    data: LatencyDataset

    def macs(self) -> Floats:
        archs = self.data.archs
        return archs.space.block_sums(archs, archs.space.block_table.facts["macs"])

    def dead(self, rows: npt.NDArray[np.intp]) -> int:
        archs = self.data.archs[rows]
        return int((~archs.space.live_blocks(archs)[:, 0]).sum())

    @cached_property
    def memoized(self) -> Memoized | None:
        """The gene that the labels ignore, where there is one."""
        return None if self.is_constant else memoized(self.data, self.usable)

    @cached_property
    def fresh(self) -> npt.NDArray[np.intp]:
        groups = self.data.unique_index()[self.usable]
        if self.memoized is not None:
            groups = self.memoized.groups
        return self.usable[first_rows(groups, self.data.latency_ms[self.usable])]

    @cached_property
    def residuals(self) -> Floats | None:
        if self.is_constant:
            return None
        return relative_residuals(self.data.archs[self.fresh], self.data.latency_ms[self.fresh])


@dataclass(frozen=True)
class NetworkSubject(Subject):
    """Networks of any kind under audit."""

    data: NetworkDataset

    def macs(self) -> Floats:
        return np.array([graph.macs for graph in self.data.graphs], dtype=np.float64)

    def dead(self, rows: npt.NDArray[np.intp]) -> int:
        return 0  # a reader drops layers that nothing reads; what is left computes something

    @cached_property
    def fresh(self) -> npt.NDArray[np.intp]:
        groups = self.data.unique_index()[self.usable]
        return self.usable[first_rows(groups, self.data.latency_ms[self.usable])]

    @cached_property
    def residuals(self) -> Floats | None:
        return None if self.is_constant else network_residuals(self.data[self.fresh])
