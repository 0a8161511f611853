"""Information of measurements on other networks, by a target's linearized posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast.graph import Graph, rules_of
from latcast.math.design import narrow
from latcast.networks import Networks, kernel_runs, working_kernels

from .joint import JointPredictor
from .joint._effects import Effects
from .joint._fit import SCATTER
from .joint._observations import digests
from .joint._work import CLASSES, class_of

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
        """Compute the narrowing by the joint model's posterior of a target.

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
        noise = np.full(len(places), own_variance(effects))
        chosen, left = narrow(covariance, slopes[0], their[places], noise, steps)
        now = float(predictor._forecast((network, None))[1][0]) ** 2
        # What a network takes beside its work is its own: no other one tells of it. What is open of
        # a measured target may be more than its interval says, which is limited.
        whole = float(predictor._log_forecast(network)[1][0]) ** 2
        own = whole - float(slopes[0] @ covariance @ slopes[0])
        after = tuple(_left(variance + own, now) for variance in left)
        itself = float(np.sqrt(now * SCATTER**2 / (now + SCATTER**2)))
        return cls(itself, tuple(int(places[n]) for n in chosen), after)


def own_variance(effects: Effects) -> float:
    """Variance of a measured network's log ms beside the weights, where nothing is known of it."""
    return effects.unknown_variance + SCATTER**2


def telling(
    predictor: JointPredictor, candidates: Networks, steps: int
) -> tuple[list[int], float, list[float]]:
    """Positions of candidates to measure, so that all n of them are known best.

    Returns:
        The positions in their order, and the root of the mean variance of log ms as it is and
        after each of them.
    """
    slopes, covariance = _slopes(predictor, candidates)[1], predictor._after.covariance
    noise = np.full(len(slopes), own_variance(predictor._effects))
    chosen, left = narrow(covariance, slopes, slopes, noise, steps)
    now = float(np.square(predictor._forecast((candidates, None))[1]).mean())
    whole = float(np.square(predictor._log_forecast(candidates)[1]).mean())
    own = whole - float(np.einsum("ij,ij->i", slopes @ covariance, slopes).mean())
    return chosen, float(np.sqrt(now)), [_left(variance + own, now) for variance in left]


def _left(variance: float, now: float) -> float:
    """Standard deviation after measurements, which is never more than before them."""
    return float(np.sqrt(max(min(variance, now), SCATTER**2)))


def _slopes(predictor: JointPredictor, networks: Networks) -> tuple[Floats, Floats]:
    """Log ms by the weights as they are known, and their slopes in these, (n,) and (n, p)."""
    work, weights = predictor._work(networks), predictor._after.weights
    return predictor._prior.log_ms(work, networks.counts, weights)


def knows_kinds(predictor: JointPredictor, networks: Networks) -> npt.NDArray[np.bool_]:
    """Whether the like of all kernels of a network was measured in the target's domain, (n,)."""
    seen = {CLASSES.index(name) for name in predictor._seen if name in CLASSES[:-1]}
    new = ~np.isin(class_of(networks), list(seen))
    return np.asarray(networks.counts @ new.astype(np.float64) == 0)


def was_measured(predictor: JointPredictor, networks: Networks) -> npt.NDArray[np.bool_]:
    """Whether a predictor was adapted to a measurement of each network, (n,).

    Measuring one again tells of its own time, which has been told, and little of others.
    """
    if predictor._measured is None:
        return np.zeros(len(networks), dtype=bool)
    return np.isin(digests(networks), predictor._measured.names)


def doubt_shares(predictor: JointPredictor, graph: Graph) -> Floats:
    """Return each working kernel's share of the variance of log ms by the weights, (k,).

    The network's slopes are the mean of its kernels' slopes, weighted by their ms, so that the
    variance is a sum over kernels; one whose error makes up for others' has a share below 0.
    """
    networks, run = predictor._own(graph)
    assert run is not None
    each = sp.identity(len(networks.ops), format="csr")
    prior, work = predictor._prior, predictor._work(networks)
    log_each, slopes = prior.log_ms(work, each, predictor._after.weights)
    found = working_kernels(run, rules_of(predictor._as_fused.runtime))
    rows, times = networks.rows[0], kernel_runs(graph, found)
    parts = np.exp(log_each[rows]) * times
    parts /= parts.sum()
    along = slopes[rows] @ (predictor._after.covariance @ (parts @ slopes[rows]))
    shares = parts * along
    return np.asarray(shares / shares.sum())
