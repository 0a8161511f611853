"""Fitting: settings by evidence, intervals by groups left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.conformal import DeviationScores
from latcast.networks import Networks

from ._basis import Basis, Scale, Whole
from ._familiarity import LeftOut
from ._model import LayerModel
from ._posterior import learn
from ._prices import (
    Noise,
    Observed,
    Prices,
    without_overhead,
)

Floats = npt.NDArray[np.float64]

# The processes that suit most targets. They, the features and their prior deviations were chosen
# with an eye on the errors of families left out, NAS-Bench-201's and ViT's above all
# (docs/tried.md).
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


def fit_model(observed: Observed, groups: Sequence[str], rng: np.random.Generator) -> LayerModel:
    """Prices, settings, and weights of networks of some families or spaces.

    Settings are chosen by evidence where there are too few families to leave out. It is the
    evidence of networks of the families that were seen, and surer of them than of any other: of
    families left out, the settings that suit most targets are off by 6.5 and 8.1 % where its own
    are by 6.9 and 9.2 % (ONNX Runtime and OpenVINO on an EPYC).
    """
    if leaves_out_families(groups):
        return _fitted(without_overhead(observed), (LARGE, SMALL), Noise())[0]
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
    of_networks = whole.features_and_rest(kernels, prices)[0]
    weights, evidence = learn(
        observed,
        np.log(prices(kernels)),
        basis.features(kernels),
        of_networks,
        noise,
        whole_timed=whole.where_timed(observed, prices, of_networks),
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


def left_out(
    observed: Observed, folds: Iterable[npt.NDArray[np.int64]], settings: LayerModel
) -> LeftOut:
    """Score every network by a model that has not seen its fold, (n,) each."""
    scores, novelty = np.empty((2, len(observed.total_ms)))
    for rows in folds:
        others = np.setdiff1d(np.arange(len(scores)), rows)
        # Settings were chosen with the fold inside: they are a handful of numbers, and choosing
        # them anew for every family would take a fit of all of them each.
        seen = select(observed, others)
        own = select(observed, rows)
        model = refit(seen, settings)
        model = replace(model, familiarity=model.familiarity_of(seen.kernels))
        forecast = model.forecast(own.kernels)
        scores[rows] = np.log(own.total_ms / forecast.ms) / own.deviation(forecast.deviation)
        novelty[rows] = forecast.novelty
    return LeftOut(scores, novelty)


def familiarized(
    model: LayerModel, observed: Observed, families: LeftOut, rng: np.random.Generator
) -> tuple[LayerModel, DeviationScores]:
    """A model whose intervals follow how near kernels are to measured ones, and its scores.

    Args:
        model: of the networks.
        observed: these, n networks.
        families: what is said of each where its family is left out.
        rng: draws the parts that are left out besides.
    """
    known = left_out(observed, _fifths(len(observed.total_ms), rng), model)
    found = model.familiarity_of(observed.kernels).fitted(known, families)
    if found is None:
        return model, DeviationScores.of(families.scores)
    return replace(model, familiarity=found[0]), found[1]


def leaves_out_families(groups: Sequence[str]) -> bool:
    """Whether there are enough groups for :func:`folds` to leave them out."""
    return len(set(groups)) >= MIN_GROUPS


def folds(groups: Sequence[str], rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of each group, or of a few; of random fifths where there are too few groups."""
    names = np.array(groups)
    distinct = np.unique(names)
    if not leaves_out_families(groups):
        yield from _fifths(len(names), rng)
        return
    for some in np.array_split(rng.permutation(distinct), min(len(distinct), MAX_GROUPS)):
        yield np.flatnonzero(np.isin(names, some))


def _fifths(rows: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    return [np.sort(part) for part in np.array_split(rng.permutation(rows), FOLDS)]
