"""What all learning curves share: which rows are learnt from, and means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latcast.data import LatencyDataset

STANDARD_DEVIATIONS = {"mae_ms": "mae_std_ms", "mape": "mape_std", "spearman": "spearman_std"}
"""Score -> name of its standard deviation over seeds."""


def random_rows(data: LatencyDataset, samples: int, seed: int) -> LatencyDataset:
    """So many rows, drawn without replacement.

    Raises:
        ValueError: there are fewer.
    """
    if samples > len(data):
        raise ValueError(
            f"the number of samples must be at most the {len(data)} training rows; got {samples}"
        )
    rng = np.random.default_rng(seed)
    return data[rng.choice(len(data), samples, replace=False)]


def check(seeds: int, samples: Sequence[int], least: int = 0) -> None:
    """Make sure that there is something to average and to learn from.

    Raises:
        ValueError: ``seeds`` is below 1, or a number of samples below ``least``.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    if samples and min(samples) < least:
        raise ValueError(f"a number of samples must be at least {least}; got {min(samples)}")


def averaged(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds of the scores that all have, and deviations of three; 0 for one seed."""
    common = [key for key in scores[0] if all(key in s for s in scores)]
    result: dict[str, Any] = {k: float(np.mean([s[k] for s in scores])) for k in common}
    for key, name in STANDARD_DEVIATIONS.items():
        values = [s[key] for s in scores]
        result[name] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return result | {"seeds": len(scores)}
