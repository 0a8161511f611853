"""What is wrong with a dataset, found without being told where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
from ._finding import SEVERITIES, Finding, Subject

__all__ = ["CHECKS", "Finding", "audit", "measured_rows"]

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
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


def measured_rows(data: LatencyDataset, findings: Sequence[Finding]) -> LatencyDataset:
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


def audit(data: LatencyDataset) -> list[Finding]:
    """Run all checks; the most severe findings first, within a severity in the checks' order.

    A dataset that is too small or too broken for a check has no finding of it.
    """
    subject = Subject(data)
    findings = [finding for check in CHECKS for finding in check(subject)]
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
