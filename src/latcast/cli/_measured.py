"""What ``latcast measure`` has found, and how it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._common import note, print_json, print_table

if TYPE_CHECKING:
    from latcast.measure import CampaignFile, Results


@dataclass(frozen=True)
class Measured:
    """Results of a campaign.

    Attributes:
        results: of architectures, or of networks of any kind.
        names: how messages call what the campaign visits, in its order.
    """

    results: Results
    names: Sequence[str]

    def report(self, out: Path, *, json: bool, quiet: bool) -> None:
        """Print what was found and written to ``out``."""
        from latcast.data.audit import audit

        dataset = self.results.dataset
        findings = audit(dataset) if dataset.space is not None else []
        doubts = [f"{f.kind}: {f.message}" for f in findings]
        if json:
            print_json({"dataset": str(out), **self._summary(), "audit": doubts})
            return
        print_table(["measured", "value"], self._rows(), title=str(dataset.target))
        for number, reason in list(self.results.failures.items())[:5]:
            note(f"failed: {self.names[number]}: {reason}", quiet=quiet)
        for warning in self.results.warnings:
            note(f"warning: {warning}", quiet=quiet)
        for doubt in doubts:
            note(f"audit: {doubt}", quiet=quiet)
        note(f"wrote {out}", quiet=quiet)

    def _summary(self) -> dict[str, Any]:
        results = self.results
        return {
            "target": str(results.dataset.target),
            f"{results.dataset.subject}s": len(results.dataset),
            "failed": dict(results.failures),
            "unfinished": results.unfinished,
            "unstable": int(results.unstable.sum()),
            "noise_of_a_visit": results.drift.noise,
            "drift_range": results.drift.range,
            "inference_share": results.inference_share,
            "warnings": list(results.warnings),
        }

    def _rows(self) -> list[list[str]]:
        results, latency = self.results, self.results.dataset.latency_ms
        return [
            [f"{results.dataset.subject}s", str(len(latency))],
            ["latency, ms", f"{latency.min():.3g} – {latency.max():.3g}"],
            ["noise of one visit, %", f"{100 * results.drift.noise:.2f}"],
            ["drift of the machine, %", f"{100 * results.drift.range:.2f}"],
            ["time spent in inference, %", f"{100 * results.inference_share:.0f}"],
            ["unstable", str(int(results.unstable.sum()))],
            ["failed", str(len(results.failures))],
            ["unfinished", str(results.unfinished)],
        ]


def campaign_results(campaign: CampaignFile, like_ms: float | None) -> Measured:
    """Results of a campaign of either kind (see :func:`latcast.measure.results`)."""
    from latcast import measure

    if campaign.plan()["unit"] == measure.GRAPH:
        names = [measure.name_of(network) for network in measure.networks_of(campaign)]
        return Measured(measure.network_results(campaign, like_ms=like_ms), names)
    names = [f"architecture {n}" for n in range(len(campaign.items()))]
    return Measured(measure.results(campaign, like_ms=like_ms), names)
