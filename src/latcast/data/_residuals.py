"""What no model of the architecture explains: cross-fitted relative residuals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import scipy.sparse

from latcast.math.least_squares import sparse_ridge
from latcast.math.robust import robust_deviation
from latcast.spaces import Archs

from .additive import Floats, incidence

MIN_ROWS = 30
_FOLDS = 5
_COSTS = ("conv_macs", "depthwise_macs", "read_bytes", "write_bytes", "param_bytes", "launches")


def relative_residuals(archs: Archs, latency_ms: Floats) -> Floats | None:
    """``latency / prediction - 1`` of every row, predicted from other architectures only.

    Of a few linear models of the blocks the one with the least median error predicts, after a
    smooth function of its prediction; a second fit leaves out what the first finds outlying.

    Args:
        archs: n architectures.
        latency_ms: shape (n,), finite and positive.

    Returns:
        Shape (n,), with a median of 0; None where there are too few architectures to tell.
    """
    groups = archs.unique_index()
    if not is_enough(groups):
        return None
    return cross_fitted(_designs(archs), groups, latency_ms)


def is_enough(groups: npt.NDArray[np.intp]) -> bool:
    """Whether there are enough rows, and networks, to tell residuals."""
    return len(groups) >= MIN_ROWS and int(groups.max()) + 1 >= MIN_ROWS


def cross_fitted(
    designs: Iterable[tuple[scipy.sparse.csr_matrix, float]],
    groups: npt.NDArray[np.intp],
    latency_ms: Floats,
) -> Floats:
    """Relative residuals of the best of a few linear models, shape (n,), with a median of 0.

    Args:
        designs: a row for each network, each with its penalty.
        groups: number of every row's network.
        latency_ms: shape (n,), finite and positive.
    """
    folds = np.random.default_rng(0).integers(0, _FOLDS, groups.max() + 1)[groups]
    # Relative errors count; but a latency far too small must not pull the fit with its weight.
    weights = 1 / np.maximum(latency_ms, np.quantile(latency_ms, 0.05)) ** 2
    fits = []
    for design, penalty in designs:
        predicted = _predict_held_out(design, latency_ms, weights, folds, penalty)
        residuals = _smoothed(latency_ms, predicted)
        fits.append((float(np.median(np.abs(residuals))), residuals, design, penalty))
    _, best, design, penalty = min(fits, key=lambda fit: fit[0])
    outlying = np.abs(best) > max(0.05, 6 * robust_deviation(best))
    # Where the model fits so badly that much seems outlying, leaving that out proves nothing.
    if outlying.any() and outlying.mean() <= 0.1:
        kept = np.where(outlying, 1e-9, 1.0) * weights
        predicted = _predict_held_out(design, latency_ms, kept, folds, penalty)
        best = _smoothed(latency_ms, predicted)
    return best - float(np.median(best))


def _designs(archs: Archs) -> Iterator[tuple[scipy.sparse.csr_matrix, float]]:
    """Designs with fewer columns than rows can carry, each with its penalty."""
    counts = incidence(archs)
    table = archs.space.block_table
    costs = np.stack([table.facts[name] for name in _COSTS], axis=1)
    totals = counts @ costs
    yield scipy.sparse.csr_matrix(totals / np.maximum(totals.mean(axis=0), 1e-300)), 1e-3
    for design in (counts @ _group_basis(archs), counts):
        used = design[:, np.asarray(design.sum(axis=0)).ravel() > 0]
        if 3 * used.shape[1] < len(archs):
            yield used, 1e-3


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
    design: scipy.sparse.csr_matrix,
    y: Floats,
    weights: Floats,
    folds: npt.NDArray[np.integer],
    penalty: float,
) -> Floats:
    predicted = np.empty(len(y))
    for fold in np.unique(folds):
        out = folds == fold
        values, intercept = sparse_ridge(design[~out], y[~out], weights[~out], penalty)
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
