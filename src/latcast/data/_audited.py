"""A dataset under audit: findings, and what several checks of it need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._dataset import Dataset
from ._quantity import Quantity
from ._residuals import relative_residuals
from .additive import Floats

if TYPE_CHECKING:
    from latcast.spaces import Archs

SEVERITIES = ("error", "warning", "note")

# Fraction of the median below which no latency of a search space is believed.
NEAR_ZERO = 0.01

CHEAPEST = 0.05
# Of what the cheapest networks take: a network that takes less cannot have been run. In public data
# that is measured soundly, 54 files, no network takes less than 0.36 of it.
CHEAPEST_SHARE = 0.25
MIN_CHEAPEST = 20
# Share of the rows up to which taking less is an exception.
MAX_TOO_FAST = 0.03

MIN_GROUPS = 3
# Of groups whose architectures differ in one gene alone, those with one latency each: where there
# are as many, labels ignore the gene.
MIN_SHARE = 0.95

Ints = npt.NDArray[np.intp]


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


@dataclass(frozen=True, eq=False)
class Memoized:
    """A gene that the labels ignore.

    Attributes:
        gene: its name.
        groups: group number of every usable row: equal in all other genes, shape (usable,).
        compared: groups that hold several architectures.
        equal: those of them with one latency throughout.
    """

    gene: str
    groups: Ints
    compared: int
    equal: int


@dataclass(frozen=True)
class Audited:
    """A dataset under audit, with what several checks need, worked out once."""

    data: Dataset

    @property
    def of(self) -> Quantity:
        """What the values are of."""
        return self.data.quantity

    def macs(self) -> Floats:
        """Multiply-accumulates of every row's network, shape (n,)."""
        if self.data.space is None:
            return np.array([graph.macs for graph in self.data.graphs], dtype=np.float64)
        archs = self.data.archs
        return archs.space.block_sums(archs, archs.space.block_table.facts["macs"])

    def dead(self, rows: Ints) -> int:
        """How many of the rows are networks that make nothing of their input."""
        if self.data.space is None:
            return 0  # a reader drops layers that nothing reads; what is left computes something
        archs = self.data.archs[rows]
        return int((~archs.space.live_blocks(archs)[:, 0]).sum())

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
        y = self.data.values
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
        macs, latency_ms = self.macs()[self.possible], self.data.values[self.possible]
        cheap = macs <= np.quantile(macs, CHEAPEST)
        if cheap.sum() < MIN_CHEAPEST:
            return 0.0
        limit = CHEAPEST_SHARE * float(np.median(latency_ms[cheap]))
        too_fast = float((latency_ms < limit).mean())
        return limit if too_fast <= MAX_TOO_FAST else 0.0

    @cached_property
    def usable(self) -> npt.NDArray[np.intp]:
        """Rows with a latency to believe, in the order of the campaign."""
        order = np.argsort(self.data.order, kind="stable")
        return order[(self.possible & ~self.near_zero)[order]]

    @cached_property
    def is_constant(self) -> bool:
        """Whether all usable rows, two at least, have one latency."""
        y = self.data.values[self.usable]
        return len(y) > 1 and bool((y == y[0]).all())

    @cached_property
    def memoized(self) -> Memoized | None:
        """The gene that the labels ignore, where there is one; None of graphs."""
        if self.data.space is None or self.is_constant:
            return None
        return memoized(self.data, self.usable)

    @cached_property
    def fresh(self) -> Ints:
        """Usable rows in order, without those that copy an earlier row's label."""
        groups = self.data.unique_index()[self.usable]
        if self.memoized is not None:
            groups = self.memoized.groups
        return self.usable[first_rows(groups, self.data.values[self.usable])]

    @cached_property
    def residuals(self) -> Floats | None:
        """Cross-fitted relative residuals of the fresh rows, in order; None if too few."""
        return None if self.is_constant else relative_residuals(self.data[self.fresh])


def memoized(data: Dataset, rows: Ints) -> Memoized | None:
    """The gene that most clearly changes architectures but not their latencies.

    Args:
        data: the dataset.
        rows: the rows to look at.
    """
    archs = data.archs[rows]
    latencies = data.values[rows]
    networks = archs.unique_index()
    distinct = len(np.unique(latencies))
    best: Memoized | None = None
    for gene, keys in _keys_without(archs):
        groups = np.unique(keys, return_inverse=True)[1].ravel()
        several = _values_per_group(groups, networks) > 1
        compared = int(several.sum())
        equal = int((_values_per_group(groups, latencies)[several] == 1).sum())
        if compared < MIN_GROUPS or equal < MIN_SHARE * compared:
            continue
        # Latencies in whole milliseconds are equal by chance too, then in many groups at once.
        if distinct < (groups.max() + 1) / 2:
            continue
        if best is None or equal > best.equal:
            best = Memoized(gene, groups, compared, equal)
    return best


def first_rows(groups: Ints, latencies: Floats) -> Ints:
    """Positions without those that repeat an earlier position's group and latency, ascending."""
    order = np.lexsort((latencies, groups))
    new = np.ones(len(order), dtype=np.bool_)
    sorted_groups, sorted_latencies = groups[order], latencies[order]
    new[1:] = (np.diff(sorted_groups) != 0) | (np.diff(sorted_latencies) != 0)
    return np.sort(order[new])


def _keys_without(archs: Archs) -> Iterator[tuple[str, npt.NDArray[np.uint64]]]:
    """Per gene, a hash of all the other genes of every architecture.

    Once with the genes of inactive blocks as 0 and once as given: the first finds more, but
    where the gene is a depth only the second leaves equal what the gene does not name.
    """
    rng = np.random.default_rng(0)
    names = [gene.name for gene in archs.space.genes]
    factors = rng.integers(1, 2**63, len(names), dtype=np.uint64) | np.uint64(1)
    for genes in (archs.canonical().genes, archs.genes):
        parts = genes.astype(np.uint64) * factors  # wraps around, as a hash may
        whole = parts.sum(axis=1, dtype=np.uint64)
        for i, name in enumerate(names):
            yield name, whole - parts[:, i]


def _values_per_group(groups: Ints, values: npt.NDArray[np.generic]) -> Ints:
    """Number of distinct values in every group."""
    codes = np.unique(values, return_inverse=True)[1].ravel()
    order = np.lexsort((codes, groups))
    g, c = groups[order], codes[order]
    new = np.ones(len(g), dtype=np.bool_)
    new[1:] = (np.diff(g) != 0) | (np.diff(c) != 0)
    return np.bincount(g[new])
