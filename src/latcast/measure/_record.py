"""What a campaign found, as a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from latcast.data import Dataset
from latcast.report.record import Record, Table, pairs

from ._campaign_file import CampaignFile
from ._results import Results, results

# That notes tell of; the record holds all.
MAX_FAILURES = 5


@dataclass(frozen=True, repr=False)
class CampaignRecord(Record):
    """A campaign, and how far its latencies can be trusted.

    Attributes:
        dataset: file that it is written to.
        target: that was measured.
        architectures: how many were measured; null for networks of any kind.
        networks: how many of any kind were measured; null for architectures of a space.
        lowest_ms: latency of the fastest, ms.
        highest_ms: latency of the slowest, ms.
        failed: number of a network in the campaign -> why it could not be measured.
        unfinished: networks left out, since they have had fewer than two runs so far.
        unstable: networks whose latency is not known to 3 %.
        noise_of_a_run: standard deviation of one run, relative.
        drift_range: of the machine's speed during the campaign, relative.
        inference_share: share of the time that was inference.
        warnings: doubts about the campaign as a whole, a sentence each.
        audit: what the audit found in the dataset.
        failed_names: what those networks are called, by their numbers.
    """

    schema = "campaign"

    dataset: str
    target: str
    architectures: int | None
    networks: int | None
    lowest_ms: float
    highest_ms: float
    failed: Mapping[int, str]
    unfinished: int
    unstable: int
    noise_of_a_run: float
    drift_range: float
    inference_share: float
    warnings: list[str]
    audit: list[str]
    failed_names: Mapping[int, str]

    @classmethod
    def of(
        cls,
        found: Results,
        names: Mapping[int, str],
        path: str,
    ) -> CampaignRecord:
        """The record of results; ``names`` are of what failed, ``path`` of the dataset."""
        from latcast.data.audit import audit

        data = found.dataset
        is_of_space = data.space is not None
        issues = audit(data) if is_of_space else []
        return cls(
            dataset=path,
            target=str(data.target),
            architectures=len(data) if is_of_space else None,
            networks=None if is_of_space else len(data),
            lowest_ms=float(data.latency_ms.min()),
            highest_ms=float(data.latency_ms.max()),
            failed=dict(found.failures),
            unfinished=found.unfinished,
            unstable=int(found.unstable.sum()),
            noise_of_a_run=found.drift.noise,
            drift_range=found.drift.range,
            inference_share=found.inference_share,
            warnings=list(found.warnings),
            audit=[f"{f.kind}: {f.message}" for f in issues],
            failed_names=dict(names),
        )

    def parts(self) -> Iterator[Table | str]:
        what = "networks" if self.architectures is None else "architectures"
        rows = [
            (what, self.networks if self.architectures is None else self.architectures),
            ("latency, ms", f"{self.lowest_ms:.3g} – {self.highest_ms:.3g}"),
            ("noise of one run, %", f"{100 * self.noise_of_a_run:.2f}"),
            ("drift of the machine, %", f"{100 * self.drift_range:.2f}"),
            ("time spent in inference, %", f"{100 * self.inference_share:.0f}"),
            ("unstable", self.unstable),
            ("failed", len(self.failed)),
            ("unfinished", self.unfinished),
        ]
        yield pairs(("measured", "value"), rows, self.target)

    def doubts(self) -> Iterator[str]:
        for number, reason in list(self.failed.items())[:MAX_FAILURES]:
            yield f"failed: {self.failed_names[number]}: {reason}"
        for warning in self.warnings:
            yield f"warning: {warning}"
        for issue in self.audit:
            yield f"audit: {issue}"


def conclude(
    campaign: CampaignFile, path: str, *, like_ms: float | None = None
) -> tuple[Dataset, CampaignRecord]:
    """The dataset of a campaign, and its record.

    Args:
        campaign: an open campaign file.
        path: what the record calls the dataset's file; it is not written.
        like_ms: as of :func:`latcast.measure.results`.

    Raises:
        ValueError: as of :func:`latcast.measure.results`.
    """
    found, sources = results(campaign, like_ms=like_ms), campaign.networks()
    is_of_space = found.dataset.space is not None
    names = {n: f"architecture {n}" if is_of_space else sources[n].name for n in found.failures}
    return found.dataset, CampaignRecord.of(found, names, path)
