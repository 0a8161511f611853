"""Labels that were copied instead of measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from ._dataset import LatencyDataset
from .additive import Floats

MIN_GROUPS = 3
MIN_SHARE = 0.95

Ints = npt.NDArray[np.intp]


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


def memoized(data: LatencyDataset, rows: Ints) -> Memoized | None:
    """The gene that most clearly changes architectures but not their latencies.

    Args:
        data: the dataset.
        rows: the rows to look at.
    """
    archs = data.archs[rows]
    latencies = data.latency_ms[rows]
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
