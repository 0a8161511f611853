"""Which networks to measure next, so that a few measurements tell the most."""

from __future__ import annotations

import numpy as np

from latcast.math.design import conditioned_on_first, i_optimal
from latcast.spaces import Archs, SearchSpace

from ._base import Predictor
from ._block_predictor import BlockPredictor
from ._fitted import Floats
from .adaptation import adaptation_prior
from .base_model import BaseModel
from .features import NetworkFeatures, population
from .transfer import Blend, Prior

# A pick looks at the covariances of as many, which takes 20 MB.
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
        candidates: to pick from, without those that are measured; of more than 1,500 (or
            ``samples``) so many are drawn. By default they are drawn from the space.
        measured: networks whose latencies are known already.
        seed: of the candidates.

    Returns:
        Different networks, none of them measured, the most telling first.

    Raises:
        ValueError: fewer candidates than samples, or candidates, measured networks or a base of
            another space.
    """
    rng = np.random.default_rng(seed)
    most = max(CANDIDATES, samples)
    if candidates is None:
        candidates = space.sample(2 * most, rng)
    candidates = _fresh(space, candidates, measured)
    if not 1 <= samples <= len(candidates):
        raise ValueError(
            f"the number of samples must be from 1 to that of the candidates, {len(candidates)}; "
            f"got {samples}"
        )
    if len(candidates) > most:
        candidates = candidates[np.sort(rng.choice(len(candidates), most, replace=False))]
    known = 0 if measured is None else len(measured)
    networks = candidates if measured is None else measured.concatenate(candidates)
    prior = _prior(space, base)
    covariance, noise = _covariance(prior, networks.space.expand(networks))
    left = conditioned_on_first(covariance, noise, known)
    return candidates[i_optimal(left, noise, samples)]


def _fresh(space: SearchSpace, candidates: Archs, measured: Archs | None) -> Archs:
    """Distinct candidates that are not measured."""
    for name, archs in (("candidates", candidates), ("measured networks", measured)):
        if archs is not None and archs.space.name != space.name:
            raise ValueError(f"the {name} must be of {space.name}; got {archs.space.name}")
    if measured is None:
        return candidates.unique()
    both = measured.concatenate(candidates)
    _, first = np.unique(both.unique_index(), return_index=True)
    return both[np.sort(first[first >= len(measured)])]


def _prior(space: SearchSpace, base: BaseModel | Predictor | None) -> Prior:
    if base is not None and base.space.name != space.block_space:
        raise ValueError(f"the base must be for {space.block_space}; it is for {base.space.name}")
    if isinstance(base, BaseModel):
        return base.prior()
    if isinstance(base, BlockPredictor):
        return adaptation_prior(base, base.fitted.seen)
    own = space.expand(space.sample(1, 0)).space
    networks = population(own, {g.name: list(g.choices) for g in own.genes})
    features = NetworkFeatures(networks)
    return Prior(features, networks, Blend(features.constant(1.0)))


def _covariance(prior: Prior, networks: Archs) -> tuple[Floats, float]:
    """Prior covariance of networks (n, n), and variance of the noise."""
    variances = prior.variances.expected
    design = prior.design(networks, prior.mean(networks))
    x = np.hstack([np.sqrt(v) * f for v, f in zip(variances[:-1], design, strict=True)])
    return x @ x.T, float(variances[-1])
