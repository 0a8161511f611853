"""Adapting a predictor to another target from a few measurements, and which these should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from latcast.data import Dataset
from latcast.math.design import conditioned_on_first, i_optimal
from latcast.math.least_squares import non_negative, straight_line
from latcast.math.one_thread import in_one_blas_thread
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor, set_aside
from ._fitted import Fitted, Floats
from ._model import MIN_ROWS
from .base_model import BaseModel
from .bayes import Bayes
from .features import PHYSICS, Functions, NetworkFeatures, population
from .inputs import GivenArchs, as_archs
from .lookup_table import LookupTable
from .mlp import MLP
from .transfer import Blend, Hyperprior, Prior

# Of what single facts tell beside all arithmetic and all memory traffic, as
# `latcast.models.transfer.DEFAULTS`. Of six means and deviations: with what they tell without those
# (-4, 1.5), errors after three measurements were 4 to 9 % larger, after ten within 3 %.
LESS = {"physics": (-6.0, 2.5)}
# Factor at most between a block's latency and that of the most similar known one: beyond, physics
# would be extrapolated.
MAX_SCALED = 4.0


def bayes(base: BlockPredictor, few: Dataset, _seed: int) -> BlockPredictor:
    """The base's prediction is the prior mean, up to a scale; the space's physics its doubts."""
    origin = base
    if few.archs.space.block_space != base.space.name:
        base = transferred(base, few.archs.space.expand(few.archs).space)
    fitted = _fitted(base, few, origin)
    return Bayes.from_prior(adaptation_prior(base, fitted.seen, few.target.batch), fitted, few)


def adaptation_prior(
    base: BlockPredictor, seen: dict[str, list[int]], batch: int | None = None
) -> Prior:
    """Return the prior of another target by a base: its prediction, up to a scale and departures.

    Args:
        base: a fitted predictor.
        seen: gene name -> values of the networks of both targets.
        batch: of the other target; the base's own by default.
    """
    networks, predicted = _population(base, seen)
    weight = 1 / float(predicted.mean())
    if isinstance(base, Bayes):
        features = NetworkFeatures(networks, base.latency.function.units)
        mean = base.latency.scaled(weight)
    else:
        features = NetworkFeatures(networks)
        mean = Blend(features.constant(0.0), base, weight)
    totals = _arithmetic_and_traffic(features, networks, batch or base.target.batch)
    prior = Prior(features, networks, mean, totals)
    return prior if totals is None else replace(prior, hyper=Hyperprior.default(prior.terms, LESS))


def _arithmetic_and_traffic(
    features: NetworkFeatures, networks: Archs, batch: int
) -> Functions | None:
    """All MACs and all memory traffic of a network, in deviations over networks; None if equal.

    A target that is bound by one of them departs from the base as a whole in its direction, which
    the departures of single facts leave to chance.
    """
    # Chosen on pairs of targets that are not scored (docs/tried.md); the target's roofline in their
    # place had two thirds of the gain.
    facts = features.space.block_table.facts
    traffic = batch * (facts["read_bytes"] + facts["write_bytes"]) + facts["param_bytes"]
    totals = np.stack([facts["macs"], traffic]).astype(np.float64)
    sums = np.stack([networks.space.block_sums(networks, total) for total in totals])
    spread = sums.std(axis=1)
    varies = spread > 1e-9 * sums.max(axis=1)
    if not varies.any():
        return None
    rows = totals[varies] / (spread[varies] * np.sqrt(varies.sum()))[:, None]
    nothing = features.constant(0.0).combined(np.zeros((len(rows), 1)))
    return replace(nothing, rows=rows)


def last_layer(base: BlockPredictor, few: Dataset, seed: int) -> BlockPredictor:
    """The OFANAS paper's fine-tuning; without layers, the prediction is scaled and shifted."""
    if len(few) < MIN_ROWS:
        raise ValueError(
            f"a fresh last layer needs at least {MIN_ROWS} measurements; got {len(few)}: "
            'use the method "bayes", or measure more'
        )
    if few.archs.space.block_space != base.space.name:
        raise ValueError(
            f"a last layer can only be trained in the base's own space, {base.space.name}; got "
            f'{few.archs.space.name}: use the method "bayes"'
        )
    train, held_out = set_aside(few, seed)
    archs = train.archs.space.expand(train.archs)
    adapted: BlockPredictor
    if isinstance(base, MLP):
        adapted = base.with_last_layer(archs, train.values, np.random.default_rng(seed))
    else:
        adapted = _scaled(base, archs, train.values)
    adapted.become(_fitted(base, few, base))
    adapted.calibrate(held_out)
    return adapted


def transferred(base: BlockPredictor, space: SearchSpace) -> LookupTable:
    """A base's latencies of blocks, carried over to the blocks of another space.

    A block takes what the most similar block of the base's space takes, in proportion to their
    physics at the base's prices. What belongs to no block is kept as it is on average.
    """
    networks = population(base.space, base.fitted.seen)
    explained = base.explain(networks)
    count = len(base.space.block_table)
    ids = explained.block_ids.ravel()
    occurs = np.bincount(ids, minlength=count + 1)[:count]
    total = np.bincount(ids, explained.blocks_ms.ravel(), minlength=count + 1)[:count]
    known = np.flatnonzero(occurs)
    values = total[known] / occurs[known]
    old, new = _facts(base.space)[known], _facts(space)
    prices = non_negative(old, np.maximum(values, 0.0))
    nearest = _nearest(old, new)
    ratio = (new @ prices + 1e-12) / (old @ prices + 1e-12)[nearest]
    carried = values[nearest] * np.clip(ratio, 1 / MAX_SCALED, MAX_SCALED)
    overhead = max(0.0, float(explained.network_ms.mean()))
    return LookupTable.from_blocks(space, base.target, carried, overhead_ms=overhead)


def _facts(space: SearchSpace) -> Floats:
    facts = space.block_table.facts
    return np.stack([facts[name] for name in PHYSICS], axis=1)


def _nearest(old: Floats, new: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Position in ``old`` of the block most similar to every one of ``new``, shape (new,)."""
    from scipy.spatial import KDTree

    # From 1 on: where a runtime has denormal numbers flushed to zero, SciPy's tree cannot tell 0
    # from the next number, divides the same points without end, and takes the process down.
    return np.asarray(KDTree(1.0 + np.log1p(old)).query(1.0 + np.log1p(new))[1])


def _population(base: BlockPredictor, seen: dict[str, list[int]]) -> tuple[Archs, Floats]:
    """Networks of the gene values that were seen, and what the base says of them.

    A lookup table knows nothing of other values than its own.
    """
    networks = population(base.space, seen)
    try:
        return networks, base.predict(networks)
    except ValueError:
        networks = population(base.space, base.fitted.seen)
        return networks, base.predict(networks)


def _fitted(base: BlockPredictor, few: Dataset, origin: BlockPredictor) -> Fitted:
    """Return the facts of the adapted predictor, whose card names the ``origin``."""
    archs = few.archs.space.expand(few.archs)
    seen = {
        gene.name: sorted(
            set(base.fitted.seen.get(gene.name, ())) | set(np.unique(archs.genes[:, n]).tolist())
        )
        for n, gene in enumerate(archs.space.genes)
    }
    card = {
        "data": dict(few.provenance),
        "rows": len(few),
        "base": {"target": str(origin.target), "kind": origin.kind, "card": origin.fitted.card},
    }
    return Fitted(archs.space, few.target, seen, card=card, quantity=few.quantity)


def _scaled(base: BlockPredictor, archs: Archs, latency_ms: Floats) -> Bayes:
    predicted = base.predict(archs)
    slope, constant = straight_line(predicted, latency_ms)
    if slope <= 0.0:  # a base that ranks these networks the wrong way round
        slope, constant = float(latency_ms.mean() / predicted.mean()), 0.0
    features = NetworkFeatures(_population(base, base.fitted.seen)[0])
    latency = Blend(features.constant(constant), base, slope)
    return Bayes.from_blend(latency, LOWEST_SHARE * float(latency_ms.min()))


# --- which networks to measure ------------------------------------------------------------------


# A pick looks at the covariances of as many by every draw of variances, which takes 60 MB.
CANDIDATES, DESIGN_DRAWS = 800, 12


@in_one_blas_thread
def suggest(
    space: str | SearchSpace,
    samples: int,
    *,
    base: BaseModel | Predictor | str | Path | None = None,
    candidates: GivenArchs | None = None,
    measured: GivenArchs | None = None,
    seed: int = 0,
) -> Archs:
    """Networks whose measurements leave the least doubt of all others.

    Greedy design for the mean posterior variance (I-optimality; Cohn, Ghahramani and Jordan,
    *Active Learning with Statistical Models*, 1996): each pick is the candidate that takes the
    most variance away from all candidates, given the picks before. That needs no latency, only
    how targets differ: by the space's physics, or as far as a base model knows. How much they
    differ in what is not known: picks are good on average over draws of it, as estimates are.

    Args:
        space: of the networks.
        samples: how many to pick, at least 1.
        base: what is to be adapted, if there is something: a model, its name or its file.
        candidates: to pick from, as :func:`latcast.forecast` takes them, without those that are
            measured; of more than 800 (or ``samples``) so many are drawn. By default they are
            drawn from the space.
        measured: architectures whose latencies are known already, likewise.
        seed: of the candidates.

    Returns:
        Different networks, none of them measured, the most telling first.

    Raises:
        ValueError: fewer candidates than samples, or candidates, measured networks or a base of
            another space.
    """
    rng = np.random.default_rng(seed)
    space = find_space(space) if isinstance(space, str) else space
    if isinstance(base, str | Path):
        from .resolve import load

        model: BaseModel | Predictor | None = load(base, space=space)
    else:
        model = base
    measured = None if measured is None else as_archs(measured, space)
    most = max(CANDIDATES, samples)
    if candidates is None:
        candidates = space.sample(2 * most, rng)
    candidates = _fresh(space, as_archs(candidates, space), measured)
    if not 1 <= samples <= len(candidates):
        raise ValueError(
            f"the number of samples must be from 1 to that of the candidates, {len(candidates)}; "
            f"got {samples}"
        )
    if len(candidates) > most:
        candidates = candidates[np.sort(rng.choice(len(candidates), most, replace=False))]
    known = 0 if measured is None else len(measured)
    networks = candidates if measured is None else measured.concatenate(candidates)
    prior = _prior(space, model)
    covariances, noises = _covariances(prior, networks.space.expand(networks))
    if known:
        each = zip(covariances, noises, strict=True)
        covariances = np.stack([conditioned_on_first(c, noise, known) for c, noise in each])
    return candidates[i_optimal(covariances, noises, samples)]


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


def _covariances(prior: Prior, networks: Archs) -> tuple[Floats, Floats]:
    """Prior covariances of n networks and variances of the noise, by draws: (d, n, n) and (d,)."""
    # With the draws' mean in their place, on targets of HELP that chose it, errors after 5, 10 and
    # 20 measurements were .79, .92 and .95 times those after random ones, at worst 1.19, 1.22 and
    # 1.05 times; with draws .82, .91 and .94, at worst 1.06, 1.03 and 1.06. Of six other ways
    # (relative variances, ten times the noise, every second one at random, without the extreme
    # tenths, herding to the mean of all, draws of relative variances) none was better in both.
    variances = np.exp(prior.variances.draws(DESIGN_DRAWS))
    design = prior.design(networks, prior.mean(networks))
    terms = np.stack([f @ f.T for f in design])
    return np.tensordot(variances[:, :-1], terms, axes=1), variances[:, -1]
