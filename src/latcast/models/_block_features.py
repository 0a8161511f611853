"""What blocks are to a regression: physics, identity, row of the block table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.data.additive import incidence
from latcast.math.least_squares import non_negative
from latcast.math.robust import huber_weights, reweighted
from latcast.spaces import Archs, BlockTable

Floats = npt.NDArray[np.float64]

PHYSICS = (
    "conv_macs",
    "depthwise_macs",
    "linear_macs",
    "conv_bytes",
    "depthwise_bytes",
    "elementwise_bytes",
    "pool_bytes",
    "param_bytes",
    "launches",
)
"""Facts that each cost time by themselves: a price cannot be negative."""

ROBUST_ROUNDS = 6


class BlockFeatures:
    """Design matrix of block sums, standardized, and the way back to values per row.

    Attributes:
        matrix: shape (n, features).
        kinds: kind of every feature: 0 physics, 1 block, 2 row of the block table.
    """

    def __init__(self, archs: Archs) -> None:
        table = archs.space.block_table
        counts = incidence(archs)
        used = np.flatnonzero(counts.sum(axis=0))
        maps = [_physics(table), *_groups(table), _rows(table, used)]
        sums = np.hstack([(counts @ m).toarray() for m in maps])
        spread = sums.std(axis=0)
        varies = spread > 1e-9 * (np.abs(sums).max(axis=0) + 1e-300)
        self._map = sp.hstack(maps, format="csr")[:, np.flatnonzero(varies)]
        self._spread = spread[varies]
        self._centre = sums[:, varies].mean(axis=0)
        self.matrix: Floats = (sums[:, varies] - self._centre) / self._spread
        kinds = np.repeat([0, 1, 1, 2], [m.shape[1] for m in maps])
        self.kinds: npt.NDArray[np.int64] = kinds[varies]

    def row_values(self, coefficients: Floats) -> Floats:
        """Value of every row of the block table for coefficients of the features, shape (rows,)."""
        values: Floats = self._map @ (coefficients / self._spread)
        return values

    def offset(self, coefficients: Floats) -> float:
        """What the row values sum to over an average network: the matrix is centred."""
        return float(self._centre @ (coefficients / self._spread))


def _physics(table: BlockTable) -> sp.csr_matrix:
    return sp.csr_matrix(np.stack([table.facts[name] for name in PHYSICS], axis=1))


def _groups(table: BlockTable) -> Iterator[sp.csr_matrix]:
    """Which block it is, as a constant and in proportion to the bytes it moves."""
    rows = np.arange(len(table))
    moved = table.facts["read_bytes"] + table.facts["write_bytes"]
    for values in (np.ones(len(table)), moved):
        yield sp.csr_matrix((values, (rows, table.groups)))


def _rows(table: BlockTable, used: npt.NDArray[np.int64]) -> sp.csr_matrix:
    columns = np.arange(len(used))
    return sp.csr_matrix((np.ones(len(used)), (used, columns)), shape=(len(table), len(used)))


def physics_prior(archs: Archs, latency_ms: Floats, *, robust: bool) -> Floats:
    """Value of every row of the block table by physics alone, shape (rows,).

    Latencies (n,) are fitted by what the networks do of each of :data:`PHYSICS`, at prices that
    are not negative (non-negative least squares, Lawson and Hanson 1974), and a constant.
    Whole networks cannot tell how the time divides among blocks that always come together;
    physics can.
    """
    table = archs.space.block_table
    facts = np.stack([table.facts[name] for name in PHYSICS], axis=1)
    totals = np.hstack([incidence(archs) @ facts, np.ones((len(archs), 1))])

    def fit(weights: Floats) -> tuple[Floats, Floats]:
        prices = non_negative(totals, latency_ms, weights)
        return prices, latency_ms - totals @ prices

    rounds = ROBUST_ROUNDS if robust else 1
    prices, _ = reweighted(fit, huber_weights, len(archs), rounds)
    prior: Floats = facts @ prices[:-1]
    return prior
