"""Change points of a series: stretches of constant level, by exact optimal partitioning.

Jackson and others, *An Algorithm for Optimal Partitioning of Data on an Interval* (2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Parts of a series between which change points are looked for: the time grows with their square.
# With 200, the audit's finding of drift is another in 2 of 42 files of public and own data.
MAX_PARTS = 400


@dataclass(frozen=True, slots=True)
class Segment:
    """Positions ``start`` to ``stop`` (exclusive) with their mean."""

    start: int
    stop: int
    level: float

    def __len__(self) -> int:
        return self.stop - self.start


def segments(series: Floats, sigma: float) -> list[Segment]:
    """Minimize the squared error plus a price per segment, over all partitions.

    The price, ``max(2 log n, 16) sigma**2``, is a change of about 4 standard errors: white
    noise of any length is left whole but for about one series in a hundred.

    Args:
        series: shape (n,), without outliers.
        sigma: standard deviation of the noise.
    """
    n = len(series)
    # Change points are told to the part only: the quadratic search then takes the same time for a
    # million rows as for a thousand.
    edges = np.append(np.arange(0, n, max(1, -(-n // MAX_PARTS))), n)
    sums = np.concatenate([[0.0], np.cumsum(series)])[edges]
    # Below 3,000 rows the floor of 16 holds: the logarithm alone splits short series of white
    # noise.
    price = max(2 * np.log(max(n, 2)), 16.0) * sigma**2
    best = np.zeros(len(edges))
    previous = np.zeros(len(edges), dtype=np.intp)
    for j in range(1, len(edges)):
        gain = (sums[j] - sums[:j]) ** 2 / (edges[j] - edges[:j])
        total = best[:j] + gain - price
        previous[j] = int(np.argmax(total))
        best[j] = total[previous[j]]
    found = []
    j = len(edges) - 1
    while j > 0:
        i = int(previous[j])
        level = float((sums[j] - sums[i]) / (edges[j] - edges[i]))
        found.append(Segment(int(edges[i]), int(edges[j]), level))
        j = i
    return found[::-1]


def base_level(parts: list[Segment]) -> float:
    """Median of the segments' levels, weighted by their lengths."""
    ordered = sorted(parts, key=lambda s: s.level)
    passed = np.cumsum([len(s) for s in ordered])
    return ordered[int(np.searchsorted(passed, passed[-1] / 2))].level


def lag_one(series: Floats) -> float:
    """Autocorrelation between neighbours; 0 for a constant series."""
    centred = series - series.mean()
    total = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / total if total > 0 else 0.0
