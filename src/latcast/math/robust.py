"""Robust statistics: deviations that outliers do not move, and iteratively reweighted fits.

Huber, *Robust Statistics* (1981), chapters 5 and 7; Holland and Welsch, *Robust Regression Using
Iteratively Reweighted Least-Squares* (1977).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Solution = TypeVar("Solution")

# Standard deviation of a normal distribution over its median absolute deviation.
NORMAL_RATIO = 1.4826

# Standard deviations up to which a residual counts in full: of normal ones, 1.2 % are beyond.
HUBER_CORNER = 2.5
# Robust standard deviations beyond which a residual is no measurement of the same thing.
CUT = 8.0


def robust_deviation(values: Floats, *, centre: float | None = None) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation.

    Args:
        values: shape (n,).
        centre: about which they deviate; their median by default.
    """
    about = np.median(values) if centre is None else centre
    return NORMAL_RATIO * float(np.median(np.abs(values - about)))


def huber(z: Floats, corner: float = HUBER_CORNER) -> Floats:
    """Huber's weights of standardized residuals (n,): 1 up to the corner, then corner / abs(z)."""
    return np.asarray(corner / np.maximum(np.abs(z), corner))


def huber_weights(residual: Floats) -> Floats:
    """Huber's weights of residuals (n,) about their median, and 0 beyond :data:`CUT`."""
    sigma = robust_deviation(residual)
    # More than half of the residuals agree to the last digit, as sums of a printed table do: then
    # nothing tells what is far.
    if sigma == 0.0:
        return np.ones(len(residual))
    z = np.abs(residual - np.median(residual)) / sigma
    return np.where(z > CUT, 0.0, huber(z))


def reweighted(
    fit: Callable[[Floats], tuple[Solution, Floats]],
    weigh: Callable[[Floats], Floats],
    n: int,
    rounds: int,
) -> tuple[Solution, Floats]:
    """Iteratively reweighted fit.

    Args:
        fit: weights (n,) -> solution, and residuals (n,).
        weigh: residuals (n,) -> the next round's weights (n,).
        n: number of rows; all weigh 1 at first.
        rounds: number of fits, at least 1.

    Returns:
        The last fit's solution, and the weights that its residuals ask for, shape (n,).
    """
    weights = np.ones(n)
    for _ in range(rounds):
        solution, residual = fit(weights)
        weights = weigh(residual)
    return solution, weights
