"""What a few measurements of a target tell about its prices, and about networks beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from ._work import Work

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# Gauss and Newton's steps; more moved no forecast by 0.1 %.
STEPS = 4
# Largest change of a weight in one step, in prior standard deviations: the logarithm of a sum is
# linear only near by.
LONGEST = 3.0


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of a target before its measurements.

    Attributes:
        mean: of the weights, shape (p,).
        covariance: shape (p, p).
        log_prices: of a unit of every part of the work in seconds, shape (4,).
    """

    mean: Floats
    covariance: Floats
    log_prices: Floats


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weights of one target after k measurements.

    Attributes:
        weights: mean, shape (p,).
        covariance: shape (p, p).
        slopes: of the measured networks at the mean, shape (k, p).
        pull: inverse covariance of the measurements times what the prior leaves of them, (k,).
        inverse: inverse covariance of the measurements, shape (k, k).
    """

    weights: Floats
    covariance: Floats
    slopes: Floats
    pull: Floats
    inverse: Floats


def posterior(
    prior: Prior,
    work: Work,
    counts: sp.csr_matrix,
    log_ms: Floats,
    rest: Floats,
    start: Floats | None = None,
) -> Posterior:
    """Laplace's approximation of the weights after k measurements.

    Args:
        prior: of the target.
        work: of the kernels.
        counts: of the measured networks, shape (k, d).
        log_ms: what was measured, less what is known of the networks beside their work, (k,).
        rest: covariance of what neither the work tells nor is known, shape (k, k).
        start: weights to begin with; the prior's mean if None.
    """
    mean, covariance = prior.mean, prior.covariance
    p = len(mean)
    if not len(log_ms):
        none = np.zeros(0)
        return Posterior(mean, covariance, np.zeros((0, p)), none, np.zeros((0, 0)))
    weights = mean if start is None else start
    for _ in range(STEPS):
        forecast, slopes = work.log_ms(counts, weights, prior.log_prices)
        spread = slopes @ covariance
        factor = cho_factor(spread @ slopes.T + rest, lower=True)
        pull = cho_solve(factor, log_ms - forecast - slopes @ (mean - weights))
        step = mean + spread.T @ pull - weights
        weights = weights + step * min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-9))
    inverse = np.asarray(cho_solve(factor, np.eye(len(log_ms))))
    after = covariance - spread.T @ inverse @ spread
    return Posterior(weights, np.asarray(after), slopes, np.asarray(pull), inverse)
