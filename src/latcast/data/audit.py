"""What is wrong with a dataset, found without being told where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ._audit_copies import check_duplicates, check_memoized
from ._audit_latencies import (
    check_additive,
    check_constant,
    check_impossible,
    check_near_zero,
    check_outliers,
    check_rounded,
)
from ._audit_order import check_drift
from ._dataset import LatencyDataset
from ._finding import SEVERITIES, ArchSubject, Finding, NetworkSubject
from ._measurements import Measurements
from ._network_dataset import NetworkDataset

__all__ = ["CHECKS", "NETWORK_CHECKS", "Finding", "audit", "measured_rows"]

CHECKS: tuple[Callable[[ArchSubject], Iterator[Finding]], ...] = (
    check_impossible,
    check_near_zero,
    check_constant,
    check_memoized,
    check_duplicates,
    check_drift,
    check_outliers,
    check_rounded,
    check_additive,
)
"""Of datasets of architectures."""

NETWORK_CHECKS: tuple[Callable[[NetworkSubject], Iterator[Finding]], ...] = (
    check_impossible,
    check_near_zero,
    check_constant,
    check_duplicates,
    check_drift,
    check_outliers,
    check_rounded,
)
"""Of datasets of networks of any kind, which have neither genes nor blocks."""

Data = TypeVar("Data", bound=Measurements)


def measured_rows(data: Data, findings: Sequence[Finding]) -> Data:
    """The rows that were measured, without those whose label was copied from another architecture.

    Args:
        data: a dataset.
        findings: what :func:`audit` found in it.

    Raises:
        ValueError: labels were copied, and which rows are genuine cannot be told.
    """
    for finding in findings:
        if finding.kind == "memoized":
            rows = np.array(finding.evidence["genuine_rows"], dtype=np.intp)
            if not rows.size:
                raise ValueError(f"{finding.message}; which were measured cannot be told")
            return data[rows]
    return data


def audit(data: LatencyDataset | NetworkDataset) -> list[Finding]:
    """Run all checks; the most severe findings first, within a severity in the checks' order.

    A dataset that is too small or too broken for a check has no finding of it.
    """
    findings = list(_found(data))
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def _found(data: LatencyDataset | NetworkDataset) -> Iterator[Finding]:
    if isinstance(data, NetworkDataset):
        networks = NetworkSubject(data)
        for network_check in NETWORK_CHECKS:
            yield from network_check(networks)
    else:
        architectures = ArchSubject(data)
        for check in CHECKS:
            yield from check(architectures)
