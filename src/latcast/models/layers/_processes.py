"""Gaussian processes by features: Nyström's method.

Williams and Seeger, *Using the Nyström Method to Speed Up Kernel Machines* (2001).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_JITTER = 1e-6


def process_features(x: Floats, points: Floats, amplitude: float) -> tuple[Floats, Floats]:
    """Features of a process with a squared exponential kernel of length 1.

    Args:
        x: shape (n, dimensions).
        points: inducing points, shape (m, dimensions).
        amplitude: standard deviation of the process.

    Returns:
        Features whose prior is standard normal (n, m), and the variance that they leave out (n,).
    """
    from scipy.linalg import solve_triangular

    if not len(points):
        return np.zeros((len(x), 0)), np.full(len(x), amplitude**2)
    half = np.linalg.cholesky(alike(points, points) + _JITTER * np.eye(len(points)))
    cross = solve_triangular(half, alike(points, x), lower=True).T
    left = np.maximum(1 - np.einsum("nm,nm->n", cross, cross), 0.0)
    return amplitude * cross, amplitude**2 * left


def alike(a: Floats, b: Floats) -> Floats:
    """Correlations, shape (len(a), len(b))."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.exp(-0.5 * cdist(a, b, "sqeuclidean")))


def spread(points: Floats, most: int) -> Floats:
    """Up to ``most`` of the points, each far from those before it.

    Gonzalez, *Clustering to Minimize the Maximum Intercluster Distance* (1985).
    """
    points = np.unique(points, axis=0)
    if len(points) <= most:
        return points
    chosen = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return points[chosen]
