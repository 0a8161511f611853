"""Campaigns of our datasets: each goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from latcast import measure
from latcast.devices import Target
from latcast.measure import CampaignFile, Plan, Results

PROVENANCE: Mapping[str, str] = {"licence": "CC-BY-4.0", "source": "latcast"}


def file_stem(target: Target) -> str:
    return str(target).replace("/", "_")


def measured(
    path: Path, plan: Plan, *, like_ms: float | None = None, as_is: bool = False
) -> Results:
    """Start or finish a campaign, print what became of it, and return its results.

    Args:
        path: the campaign's file, which need not exist yet.
        plan: of a campaign that is half done, only the runs may be more.
        like_ms: level of the reference network to correct to.
        as_is: take what the file holds, and measure nothing.
    """
    started = time.monotonic()
    if as_is:
        with CampaignFile.open(path) as file:
            results = measure.results(file, PROVENANCE, like_ms=like_ms)
    else:
        results = measure.measured(path, plan, resume=True, like_ms=like_ms, provenance=PROVENANCE)
    print(_report(plan.target, results, time.monotonic() - started), flush=True)
    return results


def _report(target: Target, results: Results, seconds: float) -> str:
    summary = (
        f"{target}: {len(results.dataset)} {results.dataset.subject}s in {seconds / 60:.1f} "
        f"minutes, noise of a run {results.drift.noise:.2%}, drift {results.drift.range:.2%}, "
        f"{int(results.unstable.sum())} unstable, {len(results.failures)} failed, "
        f"inference {results.inference_share:.0%}"
    )
    lines = [
        summary,
        *(f"  warning: {w}" for w in results.warnings),
        *(f"  failed: {n}: {reason}" for n, reason in results.failures.items()),
    ]
    return "\n".join(lines)
