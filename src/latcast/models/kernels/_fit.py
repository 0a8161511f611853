"""Fitting: settings by evidence, intervals by groups left out; adapting to few measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.laplace import NormalWeights
from latcast.networks import Networks

from ._model import SCALE_DEVIATION, Basis, LayerModel, Scale, Whole
from ._posterior import learn
from ._prices import Noise, Observed, Prices, without_overhead

Floats = npt.NDArray[np.float64]

# The processes that suit most targets. They, the features and their prior deviations were chosen
# with an eye on the errors of families left out, NAS-Bench-201's and ViT's above all
# (docs/bench.md).
LARGE, SMALL = Scale(1.0, 4.0, 30), Scale(0.3, 1.5, 60)
# What the evidence may prefer to them.
OTHER_LARGE, OTHER_SMALL = Scale(0.5, 2.0, 30), Scale(0.6, 1.0, 60)
NETWORK_NOISES = (0.005, 0.02, 0.05)
# Of a network's and of a kernel's log latency; the evidence chooses, one after the other.
KERNEL_NOISES = (0.05, 0.15)
# Settings are chosen on so many of the networks, and of the kernels' times.
SETTING_NETWORKS, SETTING_KERNELS = 250, 3_000
# Parts of the networks that are left out in turn where families cannot be.
FOLDS = 5
MIN_GROUPS, MAX_GROUPS = 3, 8
"""Fewer families than that are not left out; more are left out several at a time."""


def fit_model(observed: Observed, rng: np.random.Generator) -> LayerModel:
    """Prices, settings by evidence, and weights."""
    return refit(observed, _settings(without_overhead(_thinned(observed, rng))))


def refit(observed: Observed, settings: LayerModel) -> LayerModel:
    """Prices and weights of other data with the same settings."""
    return _fitted(without_overhead(observed), settings.basis.scales, settings.noise)[0]


def _fitted(
    observed: Observed, scales: tuple[Scale, Scale], noise: Noise
) -> tuple[LayerModel, float]:
    """A model with these settings, and the logarithm of its evidence."""
    kernels = observed.kernels
    prices = Prices.fit(observed)
    basis, whole = Basis.choose(kernels, scales), Whole.choose(kernels, prices)
    weights, evidence = learn(
        observed,
        np.log(prices(kernels)),
        basis.features(kernels),
        whole.features_and_rest(kernels, prices)[0],
        noise,
    )
    return LayerModel(prices, basis, whole, weights, noise), evidence


def _settings(observed: Observed) -> LayerModel:
    """The model with the highest evidence, one setting after the other."""
    # One setting after the other: all combinations would take twice as many fits.
    noises = [Noise(network, Noise.kernel) for network in NETWORK_NOISES]
    best = _best(observed, [(LARGE, SMALL)], noises)
    noises = [Noise(best.noise.network, kernel) for kernel in KERNEL_NOISES]
    best = _best(observed, [(LARGE, SMALL)], [best.noise, *noises])
    others = [(OTHER_LARGE, SMALL), (LARGE, OTHER_SMALL)]
    return _best(observed, [(LARGE, SMALL), *others], [best.noise])


def _best(
    observed: Observed, scales: Sequence[tuple[Scale, Scale]], noises: Sequence[Noise]
) -> LayerModel:
    models = (_fitted(observed, s, noise) for s, noise in product(scales, noises))
    return max(models, key=itemgetter(1))[0]


def _thinned(observed: Observed, rng: np.random.Generator) -> Observed:
    """Some of the networks, with the times of some of their kernels."""
    rows = np.sort(rng.permutation(len(observed.total_ms))[:SETTING_NETWORKS])
    part = select(observed, rows)
    timed, _, _ = part.timed
    dropped = rng.permutation(timed)[SETTING_KERNELS:]
    # Kernels are dropped as columns, in all networks at once: evidence is about kernels, and half
    # of a kernel's times would be another observation of it.
    keep = np.ones(part.times_ms.shape[1])
    keep[dropped] = 0
    times = scipy.sparse.csr_matrix(part.times_ms @ scipy.sparse.diags(keep))
    times.eliminate_zeros()
    return replace(part, times_ms=times)


def select(observed: Observed, rows: npt.NDArray[np.int64]) -> Observed:
    """Some of the networks, with the kernels that they have and their times in them."""
    k = observed.kernels
    counts = k.counts[rows]
    # Without the others' kernels: inducing points must not know those of a family that is left out.
    used = np.flatnonzero(np.asarray(counts.sum(axis=0)).ravel())
    kernels = Networks(
        k.ops[used], tuple(k.labels[i] for i in used), k.facts[used], counts[:, used]
    )
    excess = observed.excess_variance
    return Observed(
        kernels,
        observed.total_ms[rows],
        observed.times_ms[rows][:, used],
        excess_variance=None if excess is None else excess[rows],
    )


def left_out_scores(
    observed: Observed, groups: Sequence[str], settings: LayerModel, rng: np.random.Generator
) -> Floats:
    """Errors of every network's log latency by a model that has not seen its group, (n,).

    In units of the standard deviation that the model stated.
    """
    scores = np.empty(len(observed.total_ms))
    for rows in _folds(groups, rng):
        others = np.setdiff1d(np.arange(len(scores)), rows)
        # Settings were chosen with the family inside: they are a handful of numbers, and choosing
        # them anew for every family would take a fit of all of them each.
        model = refit(select(observed, others), settings)
        own = select(observed, rows)
        forecast = model.forecast(own.kernels)
        scores[rows] = np.log(own.total_ms / forecast.ms) / own.deviation(forecast.deviation)
    return scores


def leaves_out_families(groups: Sequence[str]) -> bool:
    """Whether there are enough groups for :func:`left_out_scores` to leave them out."""
    return len(set(groups)) >= MIN_GROUPS


def _folds(groups: Sequence[str], rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of each group, or of a few; of random fifths where there are too few groups."""
    names = np.array(groups)
    distinct = np.unique(names)
    if not leaves_out_families(groups):
        yield from (np.sort(part) for part in np.array_split(rng.permutation(len(names)), FOLDS))
        return
    for some in np.array_split(rng.permutation(distinct), min(len(distinct), MAX_GROUPS)):
        yield np.flatnonzero(np.isin(names, some))


# New inducing points of a kind at most.
FRESH_POINTS = 20
# Standard deviations by which weights may differ from the base's, on the same target and on others;
# the evidence chooses.
SHIFTS = {True: (0.0, 0.03, 0.1), False: (0.1, 0.3, 0.6)}
# The same of the factor on all kernels, in log latency.
SAME_TARGET_SCALE, OTHER_TARGET_SCALE = 0.15, 2.0


def adapted_model(base: LayerModel, few: Observed, *, same_target: bool) -> LayerModel:
    """The base model after a few more measurements."""
    # Totals alone: of a few networks, what their profiler adds to each kernel cannot be told.
    few = replace(few, times_ms=scipy.sparse.csr_matrix(few.times_ms.shape))
    basis, columns = base.basis.extended(few.kernels, most_points=FRESH_POINTS)
    log_prices = np.log(base.prices(few.kernels))
    features = basis.features(few.kernels)
    whole = base.whole.features_and_rest(few.kernels, base.prices)[0]
    columns = np.concatenate([columns, basis.size + np.arange(base.whole.size)])
    size = basis.size + base.whole.size
    scale = SAME_TARGET_SCALE if same_target else OTHER_TARGET_SCALE
    best: tuple[float, NormalWeights | None] = (-np.inf, None)
    for shift in SHIFTS[same_target]:
        before = _loosened(base.weights, columns, size, shift, scale)
        weights, evidence = learn(few, log_prices, features, whole, base.noise, before)
        if evidence > best[0]:
            best = (evidence, weights)
    assert best[1] is not None
    return replace(base, basis=basis, weights=best[1])


def _loosened(
    weights: NormalWeights,
    columns: npt.NDArray[np.int64],
    size: int,
    shift: float,
    scale: float,
) -> NormalWeights:
    """What the base knows, in the columns of a wider basis, and that much may be different."""
    mean, prior, covariance = np.zeros(size), np.ones(size), np.eye(size)
    mean[columns], prior[columns] = weights.mean, weights.prior
    covariance[np.ix_(columns, columns)] = weights.covariance
    looser = np.full(size, shift**2)
    looser[0] += (scale / SCALE_DEVIATION) ** 2
    return NormalWeights(mean, prior + looser, covariance + np.diag(looser))
