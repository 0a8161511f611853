"""How errors fall with the size of the dataset: predictors from scratch on the OFANAS paper's.

Split as in :mod:`.paper`; a smaller dataset is rows drawn from the training rows by seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from latcast.data import Dataset
from latcast.models import predictor
from latcast.models.evaluation import evaluate
from latcast.report.markup import counted

from . import paper
from .protocol import averaged, check, random_rows
from .tables import Scores

SAMPLES = (100, 200, 500, 1_000, 2_000, 4_000, 7_000)
# What a predictor needs to be fitted at all.
MIN_SAMPLES = 10
DATASETS = ("note10_lookuptable_ofa", "RTX_2080_Ti_GPU_ofa", "Tesla_P40_GPU_ofa")
PREDICTORS = ("roofline", "bayes", "mlp")
# The MLP needs PyTorch, and a minute for every large fit.
DEFAULT_PREDICTORS = ("roofline", "bayes")
# What a user may choose from, by option.
KNOWN = {"dataset": DATASETS, "predictor": PREDICTORS}


def run(
    folder: Path,
    *,
    datasets: Iterable[str] | None = None,
    predictors: Iterable[str] | None = None,
    samples: Sequence[int] = (),
    seeds: int = 10,
    report: paper.Report = lambda _: None,
) -> Scores:
    """Fit predictors on ever more rows.

    Args:
        folder: the paper's data, with ``datasets/*.csv``.
        datasets: names of :data:`DATASETS`; all by default.
        predictors: names of :data:`PREDICTORS`; :data:`DEFAULT_PREDICTORS` by default.
        samples: numbers of training rows; :data:`SAMPLES` by default.
        seeds: how often rows are drawn.
        report: called with what is being fitted.

    Returns:
        One row for each dataset, predictor and number of samples: means over seeds, and
        the deviations of three of them; then what was published, as the predictor ``"published"``.

    Raises:
        FileNotFoundError: a dataset is not in the folder.
        ValueError: ``seeds`` is below 1, or a number of samples below
            :data:`MIN_SAMPLES` or above that of the
            training rows.
    """
    check(seeds, samples, MIN_SAMPLES)
    published = {d.name: d for d in paper.DATASETS}
    rows: list[dict[str, Any]] = []
    for name in DATASETS:
        if datasets is not None and name not in datasets:
            continue
        train, _, test = paper.split_of(folder, name)
        for kind in DEFAULT_PREDICTORS if predictors is None else predictors:
            for n in samples or SAMPLES:
                report(f"{name}: {kind}, {counted(n, 'sample')}")
                scores = [_scores(kind, train, test, n, seed) for seed in range(seeds)]
                rows.append({"dataset": name, "predictor": kind, "samples": n} | averaged(scores))
        if (mae_ms := published[name].published_mae_ms) is not None:
            rows.append({
                "dataset": name, "predictor": "published", "samples": len(train), "mae_ms": mae_ms,
                "seeds": 0, "note": published[name].note,
            })  # fmt: skip
    return Scores("dataset-size", rows)


def _scores(kind: str, train: Dataset, test: Dataset, samples: int, seed: int) -> dict[str, float]:
    few = random_rows(train, samples, seed)
    start = time.perf_counter()
    fitted = predictor(kind).fit(few, seed=seed)
    seconds = time.perf_counter() - start
    return evaluate(fitted, test) | {"seconds": seconds}
