"""What no simple model of the networks explains: cross-fitted relative residuals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse

from latcast.math.least_squares import sparse_ridge
from latcast.math.robust import robust_deviation

from ._dataset import Dataset
from .additive import Floats, incidence

if TYPE_CHECKING:
    from latcast.graph import Graph
    from latcast.spaces import Archs

MIN_ROWS = 30
_FOLDS = 5
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
    folds = np.random.default_rng(0).integers(0, _FOLDS, groups.max() + 1)[groups]
    # Relative errors count; but a value far too small must not pull the fit with its weight.
    weights = 1 / np.maximum(y, np.quantile(y, 0.05)) ** 2
    fits = []
    for design in designs:
        residuals = _smoothed(y, _predict_held_out(design, y, weights, folds))
        fits.append((float(np.median(np.abs(residuals))), residuals, design))
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
        costs[kinds.index(layer.kind)] += (layer.macs if layer.is_costed else 0, traffic, 1)
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
    predicted = np.maximum(predicted, y.min() / 2)
    residuals = y / predicted - 1
    spread = predicted.std()
    if not spread > 0:
        return residuals
    z = np.clip((predicted - predicted.mean()) / spread, -3, 3)
    limit = max(6 * robust_deviation(residuals), 1e-12)
    basis = np.vander(z, 6)
    target = np.clip(residuals, -limit, limit)
    curve = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    return np.asarray((1 + residuals) / np.maximum(1 + curve, 0.1) - 1)
