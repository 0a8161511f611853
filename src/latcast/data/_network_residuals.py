"""What no simple model of a network's layers explains: cross-fitted relative residuals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse

from latcast.graph import KINDS, UNKNOWN, Graph

from ._network_dataset import NetworkDataset
from ._residuals import cross_fitted, is_enough
from .additive import Floats

_KINDS = (*KINDS, UNKNOWN)
_COSTS = 3
_PENALTY = 1e-3
_ROWS_A_COLUMN = 3


def network_residuals(data: NetworkDataset) -> Floats | None:
    """``latency / prediction - 1`` of every row, predicted from other networks only.

    Args:
        data: whose latencies are finite and positive.

    Returns:
        Shape (n,), with a median of 0; None where there are too few networks to tell.
    """
    groups = data.unique_index()
    if not len(groups) or not is_enough(groups):
        return None
    return cross_fitted(_designs(data.graphs), groups, data.latency_ms)


def _designs(graphs: Sequence[Graph]) -> Iterator[tuple[scipy.sparse.csr_matrix, float]]:
    """Costs of all layers together; and of each kind, if rows can carry as many columns."""
    by_kind = np.array([_costs(graph) for graph in graphs])
    yield _scaled(by_kind.sum(axis=1)), _PENALTY
    spread = by_kind.reshape(len(graphs), -1)
    spread = spread[:, spread.any(axis=0)]
    if _ROWS_A_COLUMN * spread.shape[1] < len(graphs):
        yield _scaled(spread), _PENALTY


def _costs(graph: Graph) -> Floats:
    """MACs, bytes moved and number of the layers of each kind, shape (kinds, 3)."""
    costs = np.zeros((len(_KINDS), _COSTS))
    for layer in graph.layers:
        moved = layer.read_bytes + layer.write_bytes + layer.param_bytes
        costs[_KINDS.index(layer.kind)] += (layer.macs if layer.is_costed else 0, moved, 1)
    return costs


def _scaled(columns: Floats) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(columns / np.maximum(columns.mean(axis=0), 1e-300))
