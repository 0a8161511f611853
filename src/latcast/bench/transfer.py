"""New targets from a few measurements: a base model of other targets, adapted to k latencies.

The base is trained once on rows drawn at random of the train targets, and never sees a test target.
The k measurements of a test target are all that is known of it; every other network of its file is
scored. Figures are means over seeds, which choose the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from latcast.data import split
from latcast.models import BaseModel, Roofline

from ._few_shot import SCORES, SELECTIONS, Pool, Report, Runs, base_model, describe, few_shot, score
from ._published import SPLITS, published
from ._transfer_plan import Plan, plan

__all__ = ["MEAN", "SELECTIONS", "SPLITS", "Plan", "plan", "run"]

CEILING_SHARE = 0.9
MEAN = "mean"


def run(the_plan: Plan, *, report: Report = lambda _: None) -> list[dict[str, Any]]:
    """Train, adapt and score.

    Returns:
        One record per test target, number of samples and selection, and one per number and
        selection for the mean over the targets; JSON-able.

    Raises:
        ValueError: a damaged file, or more samples than a target has networks.
        FileNotFoundError: there is no file of architectures.
    """
    rows: list[dict[str, Any]] = []
    runs: dict[tuple[int, str], list[Runs]] = {choice: [] for choice in the_plan.choices()}
    pools = {n: Pool.of(n, the_plan.folder.read(n)) for _, test in the_plan.groups for n in test}
    for pool in pools.values():  # not found out after a fit
        pool.check(the_plan.samples)
    for train, test in the_plan.groups:
        base, seconds, base_samples = base_model(
            {name: the_plan.folder.read(name) for name in train}, the_plan.base_samples, report
        )
        made = {"train": list(train), "base_samples": base_samples, "base_seconds": seconds}
        for name in test:
            pool = pools[name]
            report(f"{name}: {len(pool.data)} networks, {pool.impossible} impossible latencies")
            for choice, found, row in _target(the_plan, base, pool):
                runs[choice].append(found)
                rows.append({**row, **made, "published": published(row["space"], train, name)})
    return rows + _means(rows, runs)


def _target(
    the_plan: Plan, base: BaseModel, pool: Pool
) -> Iterator[tuple[tuple[int, str], Runs, dict[str, Any]]]:
    ceiling = _ceiling(pool) if the_plan.ceiling else {}
    for samples, selection in the_plan.choices():
        found = few_shot(base, pool, samples, selection, the_plan.seeds)
        row = {
            "space": pool.data.archs.space.name,
            "target": pool.name,
            "samples": samples,
            "selection": selection,
            **describe(pool, found),
            **ceiling,
        }
        yield (samples, selection), found, row


def _means(
    rows: list[dict[str, Any]], runs: dict[tuple[int, str], list[Runs]]
) -> list[dict[str, Any]]:
    """Rows of the mean over targets; the standard deviation is that of the mean over the seeds."""
    result = []
    for (samples, selection), found in runs.items():
        own = [r for r in rows if (r["samples"], r["selection"]) == (samples, selection)]
        first, mean = own[0], Runs.mean(found)
        same = all(r["train"] == first["train"] for r in own)
        targets = {r["target"] for r in own}
        row = {
            "space": first["space"],
            "target": MEAN,
            "samples": samples,
            "selection": selection,
            **mean.summary(),
            "seeds": first["seeds"],
            "targets": sorted(targets),
            "impossible": sum(r["impossible"] for r in own),
            "near_zero": sum(r["near_zero"] for r in own),
            "train": first["train"] if same else None,
            "base_samples": max(r["base_samples"] for r in own),
            "base_seconds": float(np.mean([r["base_seconds"] for r in own])),
        }
        for key in (k for k in first if k.startswith("ceiling_")):
            row[key] = float(np.mean([r[key] for r in own]))
        row["published"] = _published_means(row, targets) if same else []
        result.append(row)
    return result


def _published_means(row: dict[str, Any], targets: set[str]) -> list[dict[str, Any]]:
    """A published mean belongs to all test targets of its split, not to some of them."""
    splits = (spaces.get(row["space"]) for spaces in SPLITS.values())
    if not any(s is not None and set(s.test) == targets for s in splits):
        return []
    return published(row["space"], tuple(row["train"]), MEAN)


def _ceiling(pool: Pool) -> dict[str, float]:
    """Scores of the default predictor, fitted on 90 % of the networks, on the others."""
    train, test = split(pool.data, CEILING_SHARE, 0)
    found = score(Roofline().fit(train), test)
    return {f"ceiling_{name}": value for name, value in zip(SCORES, found, strict=True)}
