"""Which measurements narrow the forecast of one network most, by the linearized posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.graph import Graph, rules_of
from latcast.networks import Networks, kernel_runs, working_kernels

from ._fit import SCATTER
from ._predictor import JointPredictor
from ._work import CLASSES, class_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Narrowing:
    """Standard deviations of the logarithm of one network's ms, as they are and may become.

    Attributes:
        itself: after it was measured itself.
        chosen: positions of other networks to measure, in their order.
        after: after each of these and those before it, as many.
    """

    itself: float
    chosen: tuple[int, ...]
    after: tuple[float, ...]

    @classmethod
    def of(
        cls, predictor: JointPredictor, network: Networks, candidates: Networks, steps: int
    ) -> Narrowing:
        """By the joint model's posterior of a target.

        Args:
            predictor: of the target.
            network: one, as the target's runtime runs it.
            candidates: likewise, n networks to choose from; the network itself is left out.
            steps: how many to choose at most.
        """
        log_ms, slopes = _slopes(predictor, network)
        others, their = _slopes(predictor, candidates)
        places = np.flatnonzero(np.abs(others - log_ms[0]) > 1e-9)
        effects, covariance = predictor._effects, predictor._after.covariance
        noise = np.full(len(places), effects.mean_variance + effects.variance + SCATTER**2)
        chosen, left = narrow(covariance, slopes[0], their[places], noise, steps)
        now = float(predictor._forecast((network, None))[1][0]) ** 2
        # What a network takes beside its work is its own: no other one tells of it.
        own = now - float(slopes[0] @ covariance @ slopes[0])
        after = tuple(float(np.sqrt(max(variance + own, SCATTER**2))) for variance in left)
        itself = float(np.sqrt(now * SCATTER**2 / (now + SCATTER**2)))
        return cls(itself, tuple(int(places[n]) for n in chosen), after)


def _slopes(predictor: JointPredictor, networks: Networks) -> tuple[Floats, Floats]:
    """Log ms by the weights as they are known, and their slopes in these, (n,) and (n, p)."""
    work, weights = predictor._work(networks), predictor._after.weights
    return predictor._prior.log_ms(work, networks.counts, weights)


def knows_kinds(predictor: JointPredictor, networks: Networks) -> npt.NDArray[np.bool_]:
    """Whether the like of all kernels of a network was measured in the target's domain, (n,)."""
    seen = {CLASSES.index(name) for name in predictor._seen if name in CLASSES[:-1]}
    new = ~np.isin(class_of(networks), list(seen))
    return np.asarray(networks.counts @ new.astype(np.float64) == 0)


def doubt_shares(predictor: JointPredictor, graph: Graph) -> Floats:
    """What each working kernel adds to the variance of log ms by the weights, in shares, (k,).

    The network's slopes are the mean of its kernels' slopes, weighted by their ms, so that the
    variance is a sum over kernels; one whose error makes up for others' has a share below 0.
    """
    networks, _ = predictor._own(graph)
    each = sp.identity(len(networks.ops), format="csr")
    prior, work = predictor._prior, predictor._work(networks)
    log_each, slopes = prior.log_ms(work, each, predictor._after.weights)
    found = working_kernels(graph, rules_of(predictor._as_fused.runtime))
    rows, times = networks.rows[0], kernel_runs(graph, found)
    parts = np.exp(log_each[rows]) * times
    parts /= parts.sum()
    along = slopes[rows] @ (predictor._after.covariance @ (parts @ slopes[rows]))
    shares = parts * along
    return np.asarray(shares / shares.sum())


def narrow(
    covariance: Floats, slopes: Floats, candidates: Floats, own: Floats, steps: int
) -> tuple[list[int], list[float]]:
    """Candidates whose measurements together leave least doubt of a network, one after the other.

    Log ms are linear in the weights, ``slopes @ weights``, and what is measured has a variance of
    its own besides. A measurement with slopes s and own variance v takes (t C s)^2 / (s C s + v)
    from the variance t C t of a network with slopes t, and C s s C / (s C s + v) from the
    covariance C: each step takes the candidate of the greatest gain (Krause, Singh and Guestrin,
    *Near-Optimal Sensor Placements in Gaussian Processes*, JMLR 2008).

    Args:
        covariance: of the weights before, shape (p, p).
        slopes: of the network, shape (p,).
        candidates: slopes of what can be measured, shape (n, p).
        own: variances of these beside the weights, noise among them, shape (n,).
        steps: how many to choose at most.

    Returns:
        Positions of the chosen in their order, and the variance of the network's log ms by the
        weights after each; fewer than ``steps`` where there are no more.
    """
    chosen: list[int] = []
    left: list[float] = []
    for _ in range(min(steps, len(candidates))):
        moved = candidates @ covariance
        variance = np.einsum("ij,ij->i", moved, candidates) + own
        gain = (moved @ slopes) ** 2 / variance
        gain[chosen] = -1.0
        best = int(gain.argmax())
        covariance = covariance - np.outer(moved[best], moved[best]) / variance[best]
        chosen.append(best)
        left.append(max(float(slopes @ covariance @ slopes), 0.0))
    return chosen, left
