"""What the audit found in a dataset, as a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latcast.report.record import Record, Table

from ._dataset import Dataset
from .audit import Finding, audit

# With fewer, drift and outliers can hardly be told from the scatter of the networks.
FEW_NETWORKS = 200


@dataclass(frozen=True, repr=False)
class AuditReport(Record):
    """The issues of a dataset.

    Attributes:
        dataset: name of its file.
        target: that it was measured on.
        rows: of the dataset.
        networks: distinct networks among them.
        subject: what the networks are: architectures of a space, or networks of families.
        issues: the most severe first; empty where nothing was found.
    """

    schema = "audit"
    frame = "issues"

    dataset: str
    target: str
    rows: int
    networks: int
    subject: str
    issues: tuple[Finding, ...]

    @classmethod
    def of(cls, data: Dataset, name: str = "dataset") -> AuditReport:
        """Audit a dataset; ``name`` is how the report calls it."""
        distinct = len(set(data.unique_index().tolist()))
        if data.space is not None:
            subject = f"architectures of {data.space.name}"
        else:
            subject = f"networks of {len(set(data.families))} families"
        return cls(name, str(data.target), len(data), distinct, subject, tuple(audit(data)))

    def parts(self) -> Iterator[Table | str]:
        yield (
            f"{self.dataset}: {self.rows} rows, {self.networks} {self.subject}, target "
            f"{self.target}"
        )
        for issue in self.issues:
            yield f"\n{issue.severity.upper()} {issue.kind}: {issue.message}"
            yield f"  what follows: {issue.consequence}"
            yield f"  what to do:   {issue.advice}"
        if not self.issues:
            yield "nothing found"

    def doubts(self) -> Iterator[str]:
        if self.networks < FEW_NETWORKS:
            yield f"note: with {self.networks} networks drift and outliers can hardly be told"
