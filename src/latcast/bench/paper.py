"""The OFANAS paper's individual predictors (arXiv:2101.00732), and ours beside them.

Split as in the paper: the first 70 % of the rows train and the last 15 % test; but an architecture
counts once, and where a latency was memoized without a gene (the fixed-kernel CompOFA files lack
the resolution) a measurement counts once: its first row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latcast.data import Dataset, paper_split, read_latencies
from latcast.data.audit import measured_rows
from latcast.models import MLP, Flops, LookupTable, Predictor, Roofline
from latcast.models.evaluation import evaluate
from latcast.spaces import Archs

from .tables import Scores

# So many at once that what a call costs beside its networks does not count.
SPEED_BATCH = 100_000
SPEED_SECONDS = 1.0


@dataclass(frozen=True)
class PaperDataset:
    """A file of the paper's, what it published of it, and the MLP settings it found best."""

    name: str
    published_mae_ms: float | None
    note: str = ""
    learning_rate: float = 0.01
    weight_decay: float = 1e-4


DATASETS = (
    PaperDataset("note10_lookuptable_ofa", 0.3525, learning_rate=1e-4, weight_decay=0.01),
    PaperDataset("RTX_2080_Ti_GPU_ofa", 0.3859),
    PaperDataset("Tesla_P40_GPU_ofa", 0.491, "validation batch", 1e-3, 1e-3),
    PaperDataset("note10_lookuptable_elastickernelcompofa", None),
    PaperDataset("note10_lookuptable_fixedkernelcompofa", None),
    PaperDataset("RTX_2080_Ti_GPU_fixedkernelcompofa", None),
    PaperDataset("Tesla_P40_GPU_fixedkernelcompofa", None),
    PaperDataset("Intel_Xeon_CPU_fixedkernelcompofa", 3.995, "test rows leaked"),
)

PREDICTORS: dict[str, Callable[[PaperDataset], Predictor]] = {
    "flops": lambda _: Flops(),
    "lookup-table": lambda _: LookupTable(),
    "mlp-paper": lambda d: MLP(
        "paper",
        learning_rate=d.learning_rate,
        weight_decay=d.weight_decay,
    ),
    "mlp": lambda _: MLP(),
    "roofline": lambda _: Roofline(),
}

# What a user may choose from, by option.
KNOWN = {"dataset": [d.name for d in DATASETS], "predictor": list(PREDICTORS)}

Report = Callable[[str], None]


def run(
    folder: Path,
    *,
    datasets: Iterable[str] | None = None,
    predictors: Iterable[str] | None = None,
    seeds: int = 1,
    report: Report = lambda _: None,
) -> Scores:
    """Score predictors on the paper's datasets.

    Args:
        folder: the paper's data, with ``datasets/*.csv``.
        datasets: names of :data:`DATASETS`; all by default.
        predictors: names of :data:`PREDICTORS`; all by default.
        seeds: how often everything is fitted; figures are means, ``mae_std_ms`` their spread.
        report: called with what is being fitted.

    Returns:
        One row for each dataset and predictor.

    Raises:
        FileNotFoundError: a dataset is not in the folder.
        ValueError: ``seeds`` is below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    rows = []
    for dataset in DATASETS:
        if datasets is not None and dataset.name not in datasets:
            continue
        parts = split_of(folder, dataset.name)
        for name, create in PREDICTORS.items():
            if predictors is None or name in predictors:
                report(f"{dataset.name}: {name}")
                rows.append(_row(dataset, name, create, parts, seeds))
    return Scores("paper", rows)


def split_of(folder: Path, name: str) -> tuple[Dataset, Dataset, Dataset]:
    """:func:`honest_split` of a file of the paper's data, of which ``folder`` has ``datasets``."""
    return honest_split(read_latencies(folder / "datasets" / f"{name}.csv"))


def honest_split(data: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    """The paper's split after every measurement has been reduced to its first row."""
    data = measured_rows(data)
    _, first = np.unique(data.archs.unique_index(), return_index=True)
    return paper_split(data[np.sort(first)])


def _row(
    dataset: PaperDataset,
    name: str,
    create: Callable[[PaperDataset], Predictor],
    parts: tuple[Dataset, Dataset, Dataset],
    seeds: int,
) -> dict[str, Any]:
    train, validation, test = parts
    scores, seconds = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        # The paper's recipe trains on all of the training rows, as published; ours set a part of
        # them aside for their intervals, as they do for every user.
        held_out = validation if name == "mlp-paper" else None
        predictor = create(dataset).fit(train, calibration=held_out, seed=seed)
        seconds.append(time.perf_counter() - start)
        scores.append(evaluate(predictor, test))
    mean = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
    return {
        "dataset": dataset.name,
        "space": train.archs.space.name,
        "predictor": name,
        "train": len(train),
        "test": len(test),
        **mean,
        "mae_std_ms": _spread([s["mae_ms"] for s in scores]),
        "seeds": seeds,
        "fit_seconds": float(np.mean(seconds)),
        "archs_per_second": archs_per_second(predictor, train.archs),
        "published_mae_ms": dataset.published_mae_ms,
        "published_note": dataset.note,
    }


def _spread(values: list[float]) -> float:
    """Standard deviation over fits, 0 for one fit."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def archs_per_second(predictor: Predictor, archs: Archs) -> float:
    """Speed of ``predict`` on batches of 100,000 architectures drawn from ``archs``."""
    batch = archs[np.random.default_rng(0).integers(0, len(archs), SPEED_BATCH)]
    predictor.predict(batch[:1_000])
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SPEED_SECONDS:
        predictor.predict(batch)
        done += len(batch)
    return done / (time.perf_counter() - start)
