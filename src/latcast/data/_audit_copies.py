"""Checks for rows that are not measurements of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ._copies import Ints, Memoized, first_rows
from ._finding import ArchSubject, Finding, Subject
from ._residuals import relative_residuals
from ._splits import paper_split
from .additive import Floats


def check_memoized(subject: ArchSubject) -> Iterator[Finding]:
    """Architectures that differ in one gene and nevertheless have one latency."""
    found = subject.memoized
    if found is None:
        return
    data = subject.data
    evidence: dict[str, Any] = {
        "gene": found.gene,
        "groups": found.compared,
        "equal_groups": found.equal,
        "distinct_architectures": len(data.archs[subject.usable].unique()),
        "distinct_latencies": len(np.unique(data.latency_ms[subject.usable])),
        "rows": len(subject.usable),
        **_genuine(subject, found),
    }
    genuine = evidence["first_rows_are_genuine"]
    yield Finding(
        "memoized",
        "error",
        f"the labels ignore {found.gene}: in {found.equal} of {found.compared} groups "
        f"architectures that differ in {found.gene} alone have exactly one latency; "
        f"{evidence['rows']} rows hold {evidence['distinct_architectures']} distinct "
        f"architectures and {evidence['distinct_latencies']} distinct latencies",
        evidence,
        f"Most labels were copied from another architecture and are wrong for their {found.gene}; "
        "a split by row trains on the test set.",
        "Keep only the first row of each group: "
        "a model of the blocks agrees with these and not with the rest "
        "(data[finding.evidence['genuine_rows']])."
        if genuine
        else f"Measure again without caching by the other genes, or leave {found.gene} out.",
    )


def _genuine(subject: ArchSubject, found: Memoized) -> dict[str, Any]:
    """Whether the first row of every group, unlike its later rows, fits its architecture."""
    data, rows = subject.data, subject.usable
    first = first_rows(found.groups, data.latency_ms[rows])
    # The last row of every group: of the same latencies, with another value of the gene.
    last = len(rows) - 1 - first_rows(found.groups[::-1], data.latency_ms[rows][::-1])
    sizes = [_typical_residual(subject, rows[part]) for part in (first, last)]
    genuine = None not in sizes and 2 * (sizes[0] or 0) < (sizes[1] or 0)
    return {
        "first_rows_are_genuine": genuine,
        "first_rows_residual_percent": sizes[0],
        "last_rows_residual_percent": sizes[1],
        "genuine_rows": [int(r) for r in np.sort(rows[first])] if genuine else [],
    }


def _typical_residual(subject: ArchSubject, rows: Ints) -> float | None:
    residuals = relative_residuals(subject.data.archs[rows], subject.data.latency_ms[rows])
    return None if residuals is None else 100 * float(np.median(np.abs(residuals)))


def check_duplicates(subject: Subject) -> Iterator[Finding]:
    """The same network in several rows, and what that does to the paper's split."""
    data = subject.data
    groups = data.unique_index()
    counts = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.intp)
    if not (counts > 1).any():
        return
    n = len(groups)
    numbered = replace(data, order=np.arange(n))  # so that a split shows which rows it took
    train, _, test = (part.order for part in paper_split(numbered))
    leaked = int(np.isin(groups[test], groups[train]).sum())
    evidence: dict[str, Any] = {
        "rows": n,
        "distinct_architectures": len(counts),
        "repeated_architectures": int((counts > 1).sum()),
        "test_rows": len(test),
        "test_rows_trained_on": leaked,
        **_agreement(groups[subject.usable], data.latency_ms[subject.usable]),
    }
    copied = evidence["exactly_equal_share"] > 0.9
    yield Finding(
        "duplicates",
        "error" if copied and leaked else "warning",
        f"{n} rows hold {len(counts)} distinct architectures; of the last 15 % of the rows, "
        f"{leaked} of {len(test)} are of an architecture among the first 70 %; repeated rows "
        + ("agree exactly" if copied else f"differ by {evidence['spread_percent']:.2g} %"),
        evidence,
        "Copied labels: a split by row tests on rows that were trained on."
        if copied
        else "Repeat measurements: a split by row tests on architectures that were trained on.",
        "Split by architecture, with latcast.data.split; count distinct architectures, not rows.",
    )


def _agreement(groups: Ints, latencies: Floats) -> dict[str, Any]:
    """How far the latencies of one architecture differ: (largest - least) / mean, median."""
    if not len(groups):
        return {"exactly_equal_share": 0.0, "spread_percent": 0.0}
    size = int(groups.max()) + 1
    least, largest = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, groups, latencies)
    np.maximum.at(largest, groups, latencies)
    repeated = np.bincount(groups, minlength=size) > 1
    if not repeated.any():
        return {"exactly_equal_share": 0.0, "spread_percent": 0.0}
    least, largest = least[repeated], largest[repeated]
    spread = 2 * (largest - least) / (largest + least)
    return {
        "exactly_equal_share": float((spread == 0).mean()),
        "spread_percent": 100 * float(np.median(spread)),
    }
