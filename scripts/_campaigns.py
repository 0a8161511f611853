"""Campaigns of our datasets: each goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from latcast import measure
from latcast.devices import Target
from latcast.measure import CampaignFile, Plan, Results

PROVENANCE: Mapping[str, str] = {"licence": "CC-BY-4.0", "source": "latcast"}


def file_stem(target: Target) -> str:
    return str(target).replace("/", "_")


def measured(
    path: Path, plan: Plan, results_of: Callable[[CampaignFile], Results], *, as_is: bool = False
) -> Results:
    """Start or finish a campaign, print what became of it, and return its results.

    Args:
        path: the campaign's file, which need not exist yet.
        plan: of a campaign that is half done, only the visits may be more.
        results_of: reads its results.
        as_is: take what the file holds, and measure nothing.
    """
    started = time.monotonic()
    with CampaignFile.open(path) if path.exists() or as_is else measure.start(path, plan) as file:
        _check(file, plan)
        if not as_is:
            file.plan_visits(max(plan.protocol.visits, file.plan()["protocol"]["visits"]))
            measure.run(file)
        results = results_of(file)
    print(_report(plan.target, results, time.monotonic() - started), flush=True)
    return results


def _check(campaign: CampaignFile, plan: Plan) -> None:
    planned, record = campaign.plan(), plan.record()
    differing = [k for k in ("target", "space", "unit", "seed") if planned[k] != record[k]]
    if campaign.items() != plan.items():
        differing.append("networks")
    if differing:
        raise SystemExit(
            f"{campaign.path} must be the campaign that this script plans; it has another "
            f"{', '.join(differing)}: move it away"
        )


def _report(target: Target, results: Results, seconds: float) -> str:
    summary = (
        f"{target}: {len(results.dataset)} {results.dataset.subject}s in {seconds / 60:.1f} "
        f"minutes, noise of a visit {results.drift.noise:.2%}, drift {results.drift.range:.2%}, "
        f"{int(results.unstable.sum())} unstable, {len(results.failures)} failed, "
        f"inference {results.inference_share:.0%}"
    )
    lines = [
        summary,
        *(f"  warning: {w}" for w in results.warnings),
        *(f"  failed: {n}: {reason}" for n, reason in results.failures.items()),
    ]
    return "\n".join(lines)
