"""A dataset under audit: findings, and what several checks of it need.

Among that is what no simple model of the networks explains: cross-fitted relative residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.least_squares import sparse_ridge
from latcast.math.robust import robust_deviation

from ._dataset import Dataset
from ._quantity import Quantity
from .additive import Floats, incidence

if TYPE_CHECKING:
    from latcast.graph import Graph
    from latcast.spaces import Archs

# Ten columns of a design, with three rows each.
MIN_ROWS = 30
_FOLDS = 5
# Costs of networks of one space are nearly collinear: without it their weights run away.
_PENALTY = 1e-3
# Rows that a column needs at least, or a design would fit the noise.
_ROWS_A_COLUMN = 3
_COSTS = ("conv_macs", "depthwise_macs", "read_bytes", "write_bytes", "param_bytes", "launches")


def relative_residuals(data: Dataset) -> Floats | None:
    """``value / prediction - 1`` of every row, predicted from other networks only.

    Of a few linear models of the networks' costs the one with the least median error predicts,
    after a smooth function of its prediction; a second fit leaves out what the first finds
    outlying.

    Args:
        data: n rows whose values are finite and positive.

    Returns:
        Shape (n,), with a median of 0; None where there are too few networks to tell.
    """
    groups, y = data.unique_index(), data.values
    if len(groups) < MIN_ROWS or int(groups.max()) + 1 < MIN_ROWS:
        return None
    designs = _of_archs(data.archs) if data.space is not None else _of_graphs(data.graphs)
    # By network: a row whose repeat the fit has seen would have next to no residual.
    folds = np.random.default_rng(0).integers(0, _FOLDS, groups.max() + 1)[groups]
    # Relative errors count; but a value far too small must not pull the fit with its weight.
    weights = 1 / np.maximum(y, np.quantile(y, 0.05)) ** 2
    fits = []
    for design in designs:
        residuals = _smoothed(y, _predict_held_out(design, y, weights, folds))
        fits.append((float(np.median(np.abs(residuals))), residuals, design))
    # The median: outliers, which are looked for, must not choose the model.
    _, best, design = min(fits, key=lambda fit: fit[0])
    outlying = np.abs(best) > max(0.05, 6 * robust_deviation(best))
    # Where the model fits so badly that much seems outlying, leaving that out proves nothing.
    if outlying.any() and outlying.mean() <= 0.1:
        without = np.where(outlying, 1e-9, 1.0) * weights
        best = _smoothed(y, _predict_held_out(design, y, without, folds))
    return best - float(np.median(best))


def _of_archs(archs: Archs) -> Iterator[scipy.sparse.csr_matrix]:
    """Costs of all blocks together; blocks by group; and every block, if rows carry as many."""
    counts = incidence(archs)
    table = archs.space.block_table
    costs = np.stack([table.facts[name] for name in _COSTS], axis=1)
    yield _scaled(counts @ costs)
    for design in (counts @ _group_basis(archs), counts):
        used = design[:, np.asarray(design.sum(axis=0)).ravel() > 0]
        if _ROWS_A_COLUMN * used.shape[1] < len(archs):
            yield used


def _of_graphs(graphs: Sequence[Graph]) -> Iterator[scipy.sparse.csr_matrix]:
    """Costs of all layers together; and of each kind, if rows carry as many columns."""
    by_kind = np.array([_costs_by_kind(graph) for graph in graphs])
    yield _scaled(by_kind.sum(axis=1))
    spread = by_kind.reshape(len(graphs), -1)
    spread = spread[:, spread.any(axis=0)]
    if _ROWS_A_COLUMN * spread.shape[1] < len(graphs):
        yield _scaled(spread)


def _costs_by_kind(graph: Graph) -> Floats:
    """MACs, memory traffic and number of the layers of each kind, shape (kinds, 3)."""
    from latcast.graph import KINDS, UNKNOWN

    kinds = (*KINDS, UNKNOWN)
    costs = np.zeros((len(kinds), 3))
    for layer in graph.layers:
        traffic = layer.read_bytes + layer.write_bytes + layer.param_bytes
        costs[kinds.index(layer.kind)] += (layer.macs if layer.is_supported else 0, traffic, 1)
    return costs


def _scaled(columns: Floats) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(columns / np.maximum(columns.mean(axis=0), 1e-300))


def _group_basis(archs: Archs) -> scipy.sparse.csr_matrix:
    """Block rows -> per group: how many, and how large in proportion to the group's largest."""
    table = archs.space.block_table
    size = table.facts["macs"] + table.facts["write_bytes"]
    largest = np.zeros(int(table.groups.max()) + 1)
    np.maximum.at(largest, table.groups, size)
    relative = size / np.maximum(largest, 1)[table.groups]
    rows = np.tile(np.arange(len(table)), 2)
    columns = np.concatenate([table.groups, table.groups + len(largest)])
    values = np.concatenate([np.ones(len(table)), relative])
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(len(table), 2 * len(largest)))


def _predict_held_out(
    design: scipy.sparse.csr_matrix, y: Floats, weights: Floats, folds: npt.NDArray[np.integer]
) -> Floats:
    predicted = np.empty(len(y))
    for fold in np.unique(folds):
        out = folds == fold
        values, intercept = sparse_ridge(design[~out], y[~out], weights[~out], _PENALTY)
        predicted[out] = design[out] @ values + intercept
    return predicted


def _smoothed(y: Floats, predicted: Floats) -> Floats:
    """Relative residuals after a polynomial of the prediction (6 numbers from all rows)."""
    # A linear model may predict next to nothing, or less: a relative residual would be without
    # bounds.
    predicted = np.maximum(predicted, y.min() / 2)
    residuals = y / predicted - 1
    spread = predicted.std()
    if not spread > 0:
        return residuals
    # A polynomial of degree 5 explodes where single networks lie far out.
    z = np.clip((predicted - predicted.mean()) / spread, -3, 3)
    limit = max(6 * robust_deviation(residuals), 1e-12)
    basis = np.vander(z, 6)
    target = np.clip(residuals, -limit, limit)
    curve = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    return np.asarray((1 + residuals) / np.maximum(1 + curve, 0.1) - 1)


SEVERITIES = ("error", "warning", "note")

# Fraction of the median below which no latency of a search space is believed.
NEAR_ZERO = 0.01

# So many of the cheapest that what they typically take is no single faulty row.
CHEAPEST = 0.05
# Of what the cheapest networks take: a network that takes less cannot have been run. In public data
# that is measured soundly, 54 files, no network takes less than 0.36 of it.
CHEAPEST_SHARE = 0.25
MIN_CHEAPEST = 20
# Share of the rows up to which taking less is an exception.
MAX_TOO_FAST = 0.03

# One or two pairs with equal latencies may be a coincidence of rounding.
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
        """The quantity of the values."""
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
        # Failed runs stand apart; the smallest networks of a space go over into the next ones.
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
    # A hash that is a sum: leaving one gene out is a subtraction, not another pass over all genes.
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
