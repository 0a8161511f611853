"""New targets from a few measurements: a base model of other targets, adapted to k latencies.

The base is trained once on rows drawn at random of the train targets, and never sees a test target.
The k measurements of a test target are all that is known of it; every other network of its file is
scored. Figures are means over seeds, which choose the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latcast._names import unknown_name
from latcast.data import split
from latcast.models import BaseModel, Roofline
from latcast.report.markup import counted

from .help_folder import FOLDERS, HelpFolder
from .protocol import (
    NONE,
    SCORES,
    Pool,
    Report,
    Runs,
    base_model,
    check_options,
    describe,
    few_shot,
    score,
)
from .published import SPLITS, Split, published
from .tables import Scores

# Nearly all of a target's latencies: what more measurements could reach at most.
CEILING_SHARE = 0.9
MEAN = "mean"


@dataclass(frozen=True)
class Plan:
    """The targets, samples and predictors of a transfer benchmark.

    Attributes:
        folder: of the latencies.
        groups: names of targets of a base model, and of those that are predicted from it.
        samples: numbers of measurements of a test target.
        selections: some of ``random`` and ``suggest``.
        seeds: choices of the samples.
        base_samples: rows of every train target; None for what suits the space.
        ceiling: whether targets are also predicted from nearly all of their own latencies.
    """

    folder: HelpFolder
    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    samples: tuple[int, ...] = (10, 20)
    selections: tuple[str, ...] = ("random",)
    seeds: int = 20
    base_samples: int | None = None
    ceiling: bool = False

    def __post_init__(self) -> None:
        check_options(self.samples, self.selections, self.seeds)

    def choices(self) -> Iterator[tuple[int, str]]:
        """Every number of samples with every way to choose them."""
        for samples in self.samples:
            for selection in self.selections if samples else (NONE,):
                yield samples, selection


def plan(
    data: Path,
    space: str | None = None,
    *,
    train: Sequence[str] = (),
    test: Sequence[str] = (),
    published_split: str | None = None,
    leave_one_out: bool = False,
    samples: Sequence[int] = (10, 20),
    selections: Sequence[str] = ("random",),
    seeds: int = 20,
    base_samples: int | None = None,
    ceiling: bool = False,
) -> Plan:
    """Decide what is trained on and scored.

    Args:
        data: folder of HELP's format, or one that holds such folders.
        space: which of them.
        train: targets of the base model; all but the test targets by default.
        test: targets to predict; with ``leave_one_out`` all by default.
        published_split: a key of :data:`SPLITS`, in place of ``train`` and ``test``.
        leave_one_out: predict every test target from a base model of all other targets.
        samples: numbers of measurements of a test target; 0 predicts without any.
        selections: some of ``random`` and ``suggest``.
        seeds: choices of the samples.
        base_samples: rows of every train target, as far as it has them.
        ceiling: also fit the default predictor on 90 % of a target's own rows.

    Raises:
        ValueError: a folder, target or split that does not exist, a target on both sides, or
            options that exclude each other.
    """
    folder = HelpFolder.find(data, space)
    if published_split is not None:
        if train or test or leave_one_out:
            raise ValueError("a published split names its targets: leave out train and test")
        found = _published_split(published_split, folder)
        train, test = found.train, found.test
    train, test = folder.check(train), folder.check(test)
    groups: list[tuple[tuple[str, ...], tuple[str, ...]]]
    if leave_one_out:
        if train:
            raise ValueError("leave-one-out trains on all other targets: leave out train")
        groups = [(_others(folder, [name]), (name,)) for name in test or folder.names]
    else:
        groups = [(_train(folder, train, test), test)]
    for names, _ in groups:
        if len(names) < 2:
            raise ValueError(
                f"a base model needs at least two train targets; got {', '.join(names) or 'none'}"
            )
    return Plan(
        folder, tuple(groups), tuple(dict.fromkeys(samples)), tuple(dict.fromkeys(selections)),
        seeds, base_samples, ceiling,
    )  # fmt: skip


def _published_split(name: str, folder: HelpFolder) -> Split:
    if name not in SPLITS:
        raise ValueError(unknown_name("published split", name, list(SPLITS)))
    for found in SPLITS[name].values():
        # A split by a peer names targets of a space, which the folder's names give away.
        if set(found.train + found.test) <= set(folder.names):
            return found
    spaces = ", ".join(f"{s} ({FOLDERS[s]})" for s in SPLITS[name])
    raise ValueError(f"the split {name!r} is of targets of {spaces}; {folder.path} lacks some")


def _train(folder: HelpFolder, train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
    if not test:
        raise ValueError("name the test targets, or leave one target out after the other")
    if both := [name for name in train if name in test]:
        raise ValueError(f"a test target must not be trained on; got {both[0]} on both sides")
    return train or _others(folder, test)


def _others(folder: HelpFolder, test: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in folder.names if name not in test)


def run(the_plan: Plan, *, report: Report = lambda _: None) -> Scores:
    """Train, adapt and score.

    Returns:
        One row for each test target, number of samples and selection, and one for each number and
        selection that is the mean over the targets.

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
            report(
                f"{name}: {counted(len(pool.data), 'network')}, {pool.impossible} impossible "
                "latencies"
            )
            for choice, found, row in _target(the_plan, base, pool):
                runs[choice].append(found)
                rows.append({**row, **made, "published": published(row["space"], train, name)})
    return Scores("transfer", rows + _means(rows, runs))


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
