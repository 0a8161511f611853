"""Regularized least squares of whole-network latencies on the block table.

``latency = intercept + sum of the values of the network's blocks``: what a lookup table assumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.least_squares import sparse_ridge

if TYPE_CHECKING:
    from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AdditiveFit:
    """A table of block values.

    Blocks that every fitted network has in the same number cannot be told apart from the
    intercept, which holds them: their value is 0, and ``constant`` marks them.

    Attributes:
        space_name: search space whose block table was fitted.
        intercept: ms of every network.
        values_ms: ms of every row of the block table, shape (rows,); NaN where it never occurred.
        constant: rows that are part of the intercept, shape (rows,).
    """

    space_name: str
    intercept: float
    values_ms: Floats
    constant: npt.NDArray[np.bool_]

    def predict(self, archs: Archs) -> Floats:
        """Latencies in ms, shape (n,).

        Raises:
            ValueError: naming the first block (``RESOLUTION/KEY``) that was in no fitted network;
                the block table is another space's.
        """
        if archs.space.block_space != self.space_name:
            raise ValueError(
                f"architectures must share the block table of {self.space_name}; "
                f"got {archs.space.name}"
            )
        result = self.intercept + archs.space.block_sums(archs, self.values_ms)
        if np.isnan(result).any():
            _raise_unseen(archs, self.values_ms, int(np.argmax(np.isnan(result))))
        return np.asarray(result, dtype=np.float64)


def fit_additive(
    archs: Archs,
    latency_ms: npt.ArrayLike,
    penalty: float = 1e-3,
) -> AdditiveFit:
    """Fit block values that add up to latencies.

    Minimizes ``sum((latency - intercept - sum of values)**2) + penalty * sum(values**2)``.

    Args:
        archs: n architectures.
        latency_ms: their latencies, shape (n,), finite; they may be noisy.
        penalty: weight of the shrinkage, in networks; positive, since blocks of one resolution
            only ever occur together.

    Raises:
        ValueError: the shapes differ, a number is not finite, there is no architecture, or
            ``penalty`` is not positive.
    """
    y = _checked(archs, latency_ms, penalty)
    counts = incidence(archs)
    used = np.asarray(counts.sum(axis=0)).ravel() > 0
    # Their columns are multiples of the intercept's: a penalty would share one number between them
    # at will.
    constant = used & _is_constant(counts)
    free = np.flatnonzero(used & ~constant)
    values = np.where(used, 0.0, np.nan)
    if not free.size:
        return AdditiveFit(archs.space.block_space, float(y.mean()), values, constant)
    values[free], intercept = sparse_ridge(counts[:, free], y, np.ones(len(y)), penalty)
    return AdditiveFit(archs.space.block_space, intercept, values, constant)


def incidence(archs: Archs) -> scipy.sparse.csr_matrix:
    """How often every architecture has every block, shape (n, rows)."""
    ids = archs.space.block_ids(archs)
    rows = len(archs.space.block_table)
    # Built as rows, without sorting: absent blocks are the last column, which is cut off after the
    # sum of duplicates.
    pointers = np.arange(0, ids.size + 1, ids.shape[1])
    matrix = scipy.sparse.csr_matrix(
        (np.ones(ids.size), ids.ravel(), pointers), shape=(len(archs), rows + 1)
    )
    matrix.sum_duplicates()
    return matrix[:, :rows]


def _checked(archs: Archs, latency_ms: npt.ArrayLike, penalty: float) -> Floats:
    y = np.asarray(latency_ms, dtype=np.float64)
    if not len(archs):
        raise ValueError("an additive fit needs at least one architecture; got none")
    if not penalty > 0 or not np.isfinite(penalty):
        raise ValueError(f"the penalty must be positive and finite; got {penalty}")
    if y.shape != (len(archs),):
        raise ValueError(
            f"latency_ms must have one value per architecture, shape ({len(archs)},); got {y.shape}"
        )
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ValueError(
            f"latency_ms must be finite; got {y[row]} in row {row}: leave such rows out"
        )
    return y


def _is_constant(counts: scipy.sparse.csr_matrix) -> npt.NDArray[np.bool_]:
    """Columns with the same number throughout."""
    least, most = counts.min(axis=0).toarray().ravel(), counts.max(axis=0).toarray().ravel()
    return np.asarray(least == most, dtype=np.bool_)


def _raise_unseen(archs: Archs, values: Floats, row: int) -> None:
    table = archs.space.block_table
    ids = archs.space.block_ids(archs[row])[0]
    ids = ids[ids < len(table)]
    unseen = int(ids[np.isnan(values[ids])][0])
    raise ValueError(
        f"architecture {row} needs the block {table.blocks[unseen].name!r} "
        f"({table.keys[unseen]}), which was in no fitted network: fit more networks, "
        "at this resolution too"
    )
