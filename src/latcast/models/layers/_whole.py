"""What does not add up: features of whole networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.math.gaussian_process import process_features, spread_points

from ._kernels import KernelCounts
from ._prices import Prices, work_of

Floats = npt.NDArray[np.float64]

WHOLE_FACTS = 4
MOST_POINTS = 30
AMPLITUDE, SLOPE_DEVIATION = 0.15, 0.03
LENGTH = 1.5
"""Factor (as natural logarithm) within which networks are alike."""


@dataclass(frozen=True)
class Whole:
    """Features of networks, for a factor on all their kernels; prior independent, standard normal.

    A network whose weights stay in a cache from one pass to the next is faster than its kernels
    are in a large one. Its factor's logarithm is a Gaussian process, and slopes, over logarithms of
    its price, of the bytes of its weights, of the activations that it moves, and of its kernels.

    Attributes:
        centre: mean logarithms, shape (4,).
        points: inducing points, shape (points, 4).
    """

    centre: Floats
    points: Floats

    @classmethod
    def choose(cls, kernels: KernelCounts, prices: Prices) -> Whole:
        """Inducing points far from each other among the networks."""
        x = _logs(kernels, prices)
        return cls(x.mean(axis=0), spread_points(x, MOST_POINTS))

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.centre) + len(self.points)

    def features_and_rest(self, kernels: KernelCounts, prices: Prices) -> tuple[Floats, Floats]:
        """Features (n, features), and the prior variance of each network beside them (n,)."""
        x = _logs(kernels, prices)
        process, rest = process_features(x / LENGTH, self.points / LENGTH, AMPLITUDE)
        return np.hstack([(x - self.centre) * SLOPE_DEVIATION, process]), rest


def _logs(kernels: KernelCounts, prices: Prices) -> Floats:
    work = work_of(kernels)
    sums = kernels.counts @ np.stack([prices(kernels), work[:, 2], work[:, 1], work[:, 3]], axis=1)
    return np.asarray(np.log(np.maximum(sums, 1e-9)))
