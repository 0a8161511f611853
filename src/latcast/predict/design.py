"""Which networks to measure next, so that a few measurements tell the most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs, SearchSpace

from ._base import Floats, Predictor
from ._network_features import NetworkFeatures, population
from ._transfer import Blend, Prior
from .adaptation import adaptation_prior
from .base_model import BaseModel

CANDIDATES = 1_500


def suggest(
    space: SearchSpace,
    samples: int,
    *,
    base: BaseModel | Predictor | None = None,
    candidates: Archs | None = None,
    measured: Archs | None = None,
    seed: int = 0,
) -> Archs:
    """Networks whose measurements leave the least doubt of all others.

    Greedy design for the mean posterior variance (I-optimality; Cohn, Ghahramani and Jordan,
    *Active Learning with Statistical Models*, 1996): each pick is the candidate that takes the
    most variance away from all candidates, given the picks before. That needs no latency, only
    how targets differ: by the space's physics, or as far as a base model knows.

    Args:
        space: of the networks.
        samples: how many to pick, at least 1.
        base: what is to be adapted, if there is something.
        candidates: to pick from; 1,500 networks of the space by default.
        measured: networks whose latencies are known already.
        seed: of the candidates.

    Raises:
        ValueError: fewer candidates than samples, or a base of another space.
    """
    rng = np.random.default_rng(seed)
    if candidates is None:
        candidates = space.sample(max(CANDIDATES, samples), rng)
    if not 1 <= samples <= len(candidates):
        raise ValueError(
            f"the number of samples must be from 1 to that of the candidates, {len(candidates)}; "
            f"got {samples}"
        )
    if len(candidates) > CANDIDATES and samples < CANDIDATES:
        candidates = candidates[np.sort(rng.choice(len(candidates), CANDIDATES, replace=False))]
    prior = _prior(space, base)
    known = 0 if measured is None else len(measured)
    networks = candidates if measured is None else measured.concatenate(candidates)
    networks = networks.space.expand(networks)
    covariance, noise = _covariance(prior, networks)
    return candidates[_greedy(covariance, noise, known, samples)]


def _prior(space: SearchSpace, base: BaseModel | Predictor | None) -> Prior:
    if base is not None and base.space.name != space.block_space:
        raise ValueError(f"the base must be for {space.block_space}; it is for {base.space.name}")
    if isinstance(base, BaseModel):
        return base.prior()
    if base is not None:
        return adaptation_prior(base, base.fitted.seen)
    own = space.expand(space.sample(1, 0)).space
    networks = population(own, {g.name: list(g.choices) for g in own.genes})
    features = NetworkFeatures(networks)
    return Prior(features, networks, Blend(features.constant(1.0)))


def _covariance(prior: Prior, networks: Archs) -> tuple[Floats, float]:
    """Prior covariance of networks (n, n), and variance of the noise."""
    variances = prior.variances.expected
    design = prior.design(networks, prior.mean(networks))
    x = np.hstack([np.sqrt(v) * f for v, f in zip(variances, design, strict=False)])
    return x @ x.T, float(variances[-1])


def _greedy(covariance: Floats, noise: float, known: int, samples: int) -> npt.NDArray[np.int64]:
    """Positions among the candidates, which stand after the ``known`` networks."""
    for n in range(known):
        covariance = _given(covariance, noise, n)
    covariance = covariance[known:, known:]
    picked: list[int] = []
    for _ in range(samples):
        gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + noise)
        gain[picked] = -np.inf
        picked.append(int(np.argmax(gain)))
        covariance = _given(covariance, noise, picked[-1])
    return np.array(picked, dtype=np.int64)


def _given(covariance: Floats, noise: float, n: int) -> Floats:
    """The covariance once the network ``n`` is measured."""
    column = covariance[:, n]
    return np.asarray(covariance - np.outer(column, column) / (column[n] + noise))
