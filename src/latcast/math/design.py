"""Greedy I-optimal design: the most informative measurements of points or of their functions.

Cohn, Ghahramani and Jordan, *Active Learning with Statistical Models* (1996): the mean posterior
variance over all candidates is made small. No value need be known for that, only covariances.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def conditioned_on_first(covariance: Floats, noise: float, known: int) -> Floats:
    """Covariance of the other points once the first ``known`` are measured.

    Args:
        covariance: of n points, shape (n, n).
        noise: variance of a measurement around its point's value.
        known: how many points are measured.

    Returns:
        Shape (n - known, n - known).
    """
    inside = covariance[:known, :known] + noise * np.eye(known)
    across = covariance[:known, known:]
    return np.asarray(covariance[known:, known:] - across.T @ np.linalg.solve(inside, across))


def i_optimal(covariances: Floats, noises: Floats, samples: int) -> npt.NDArray[np.int64]:
    """Positions of the points that take the most variance away from all n, in order.

    Each is the best given those before it: measuring point j takes ``cov[i, j]^2 / (cov[j, j] +
    noise)`` from the variance of point i. Where it is not known which of several covariances
    holds, each counts by the share of its remaining variance that is taken away.

    Args:
        covariances: d of them, shape (d, n, n); they are overwritten.
        noises: variance of a measurement by each, shape (d,).
        samples: how many to pick, at most n.
    """
    picked: list[int] = []
    for _ in range(samples):
        gain = np.zeros(covariances.shape[1])
        for covariance, noise in zip(covariances, noises, strict=True):
            own = covariance.diagonal()
            gain += np.einsum("ij,ij->j", covariance, covariance) / (own + noise) / own.sum()
        # Noise lets a point be worth measuring twice; another network tells more of all others.
        gain[picked] = -np.inf
        picked.append(best := int(np.argmax(gain)))
        for covariance, noise in zip(covariances, noises, strict=True):
            column = covariance[:, best].copy()
            # A rank-one update instead of a solve: n^2 a pick.
            np.subtract(
                covariance, np.outer(column, column / (column[best] + noise)), out=covariance
            )
    return np.array(picked, dtype=np.int64)


def narrow(
    covariance: Floats, slopes: Floats, candidates: Floats, own: Floats, steps: int
) -> tuple[list[int], list[float]]:
    """Candidates whose measurements together leave least doubt of networks, one after the other.

    Log ms are linear in the weights, ``slopes @ weights``, and what is measured has a variance of
    its own besides. A measurement with slopes s and own variance v takes (t C s)^2 / (s C s + v)
    from the variance t C t of a network with slopes t, and C s s C / (s C s + v) from the
    covariance C: each step takes the candidate of the greatest gain (Krause, Singh and Guestrin,
    *Near-Optimal Sensor Placements in Gaussian Processes*, JMLR 2008), in sum over the networks.

    Args:
        covariance: of the weights before, shape (p, p).
        slopes: of the network, shape (p,), or of m networks, shape (m, p).
        candidates: slopes of what can be measured, shape (n, p).
        own: variances of these beside the weights, noise among them, shape (n,).
        steps: how many to choose at most.

    Returns:
        Positions of the chosen in their order, and the mean variance of the networks' log ms by
        the weights after each; fewer than ``steps`` where there are no more.
    """
    chosen: list[int] = []
    left: list[float] = []
    slopes = np.atleast_2d(slopes)
    for _ in range(min(steps, len(candidates))):
        moved = candidates @ covariance
        variance = np.einsum("ij,ij->i", moved, candidates) + own
        gain = ((moved @ slopes.T) ** 2).sum(axis=1) / variance
        gain[chosen] = -1.0
        best = int(gain.argmax())
        covariance = covariance - np.outer(moved[best], moved[best]) / variance[best]
        chosen.append(best)
        left.append(max(float(np.einsum("ij,ij->i", slopes @ covariance, slopes).mean()), 0.0))
    return chosen, left
