"""The steady state of a series that begins elsewhere, such as passes of a machine that heats up.

The beginning is cut off by the marginal standard error rule in batches of five, MSER-5: the cut
minimizes the squared standard error of the mean of what is left,

    (x_(d+1) ... x_m) -> sum (x - mean)**2 / (m - d)**2,   d <= m / 2

(White, *An Effective Truncation Heuristic for Bias Reduction in Simulation Output*, Simulation 69,
1997). A series that still rises at its end has its minimum at the last cut that is allowed. The
interval is that of batch means by Student's t, which neighbouring values may be correlated for;
more than some ten batches gain little (Schmeiser, *Batch Size Effects in the Analysis of
Simulation Output*, Operations Research 30, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SMALLEST = 5
"""Values in a batch of the rule."""
# Of fewer batches the deviation says little; more of them would be short and correlated.
MIN_BATCHES, MAX_BATCHES = 4, 10


@dataclass(frozen=True, slots=True)
class SteadyState:
    """The start of a series' steady state, and its level from there on.

    Attributes:
        start: position of the first value of it.
        level: mean of its batches, each of which is a median of five values.
        half_width: of the level's 95 % interval; NaN where too few values are left for one.
        is_reached: whether the series has become steady before its middle.
    """

    start: int
    level: float
    half_width: float
    is_reached: bool


def medians_of_five(series: Floats) -> Floats:
    """Medians of batches of five, so that a spike moves no level, shape (n // 5,).

    Of fewer than five values there is one batch.
    """
    count = max(len(series) // SMALLEST, 1)
    return np.array([float(np.median(part)) for part in np.array_split(series, count)])


def steady_state(series: Floats) -> SteadyState:
    """Cut off the beginning of a series, and tell the level of the rest.

    Args:
        series: shape (n,), in order of time, at about equal distances.

    Raises:
        ValueError: it is empty.
    """
    if not len(series):
        raise ValueError("a series must have a value to have a steady state; got none")
    batches = medians_of_five(series)
    cuts = np.arange(len(batches) // 2 + 1)
    left = len(batches) - cuts
    errors = np.array([float(np.var(batches[cut:])) for cut in cuts]) / left
    cut = int(np.argmin(errors))
    # With a trend throughout every further cut is better than the one before.
    is_reached = len(batches) >= 2 * MIN_BATCHES and cut < int(cuts[-1])
    rest = batches[cut:]
    start = round(cut * len(series) / len(batches))
    return SteadyState(start, float(rest.mean()), _half_width(rest), is_reached)


def _half_width(values: Floats) -> float:
    """Half-width of the 95 % interval of a mean, by means of at most ten batches."""
    if len(values) < MIN_BATCHES:
        return float("nan")
    from scipy.special import stdtrit

    count = min(len(values), MAX_BATCHES)
    means = np.array([part.mean() for part in np.array_split(values, count)])
    reach = float(stdtrit(count - 1, 0.975))
    return reach * float(means.std(ddof=1)) / float(np.sqrt(count))
