"""Fitting a layer model: its settings by evidence, its intervals by groups left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._basis import Basis
from ._kernels import KernelCounts
from ._model import LayerModel
from ._overhead import without_overhead
from ._posterior import Noise, Observed, learn
from ._prices import Prices

Floats = npt.NDArray[np.float64]

MOST_POINTS = 60
AMPLITUDES = (0.2, 0.5, 1.0)
STRETCHES = (1.0, 2.0)
NETWORK_NOISES = (0.01, 0.03)
KERNEL_NOISES = (0.05, 0.15)
SETTING_NETWORKS, SETTING_KERNELS = 300, 4_000
"""Settings are chosen on so many of the networks, and of the kernels' times."""
FOLDS = 5
LEAST_GROUPS = 3


def fit_model(observed: Observed, rng: np.random.Generator) -> LayerModel:
    """Prices, settings by evidence, and weights."""
    part = without_overhead(_thinned(observed, rng))
    return refit(observed, _settings(part, Prices.fit(part)))


def refit(observed: Observed, settings: LayerModel) -> LayerModel:
    """Prices and weights of other data with the same settings."""
    observed = without_overhead(observed)
    prices = Prices.fit(observed)
    basis = Basis.choose(
        observed.kernels,
        most_points=MOST_POINTS,
        amplitude=settings.basis.amplitude,
        stretch=settings.basis.stretch,
    )
    return _learnt(observed, prices, basis, settings.noise)[0]


def _learnt(
    observed: Observed, prices: Prices, basis: Basis, noise: Noise
) -> tuple[LayerModel, float]:
    log_prices = np.log(prices(observed.kernels))
    weights, evidence = learn(observed, log_prices, basis.features(observed.kernels), noise)
    return LayerModel(prices, basis, weights, noise), evidence


def _settings(observed: Observed, prices: Prices) -> LayerModel:
    """The model with the highest evidence: first the process, then the noise."""
    points = MOST_POINTS // 2
    bases = [
        Basis.choose(observed.kernels, most_points=points, amplitude=a, stretch=s)
        for a, s in product(AMPLITUDES, STRETCHES)
    ]
    best, evidence = max(
        (_learnt(observed, prices, basis, Noise()) for basis in bases), key=itemgetter(1)
    )
    noises = [Noise(network, kernel) for network, kernel in product(NETWORK_NOISES, KERNEL_NOISES)]
    others = [_learnt(observed, prices, best.basis, noise) for noise in noises]
    return max([(best, evidence), *others], key=itemgetter(1))[0]


def _thinned(observed: Observed, rng: np.random.Generator) -> Observed:
    """Some of the networks, with the times of some of their kernels."""
    rows = np.sort(rng.permutation(len(observed.total_ms))[:SETTING_NETWORKS])
    part = select(observed, rows)
    timed, _, _ = part.timed
    dropped = rng.permutation(timed)[SETTING_KERNELS:]
    keep = np.ones(part.times_ms.shape[1])
    keep[dropped] = 0
    times = sp.csr_matrix(part.times_ms @ sp.diags(keep))
    times.eliminate_zeros()
    return replace(part, times_ms=times)


def select(observed: Observed, rows: npt.NDArray[np.int64]) -> Observed:
    """Some of the networks, with the kernels that they have and their times in them."""
    k = observed.kernels
    counts = k.counts[rows]
    used = np.flatnonzero(np.asarray(counts.sum(axis=0)).ravel())
    kernels = KernelCounts(
        k.kinds[used], tuple(k.labels[i] for i in used), k.facts[used], counts[:, used]
    )
    return Observed(kernels, observed.total_ms[rows], observed.times_ms[rows][:, used])


def left_out_scores(
    observed: Observed, groups: Sequence[str], settings: LayerModel, rng: np.random.Generator
) -> Floats:
    """Errors of every network's log latency by a model that has not seen its group, (n,).

    In units of the standard deviation that the model stated.
    """
    scores = np.empty(len(observed.total_ms))
    for rows in _folds(groups, rng):
        others = np.setdiff1d(np.arange(len(scores)), rows)
        model = refit(select(observed, others), settings)
        forecast = model.forecast(select(observed, rows).kernels)
        scores[rows] = np.log(observed.total_ms[rows] / forecast.ms) / forecast.deviation
    return scores


def _folds(groups: Sequence[str], rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of each group; of random fifths where there are too few groups."""
    names = np.array(groups)
    distinct = np.unique(names)
    if len(distinct) >= LEAST_GROUPS:
        for name in distinct:
            yield np.flatnonzero(names == name)
    else:
        yield from (np.sort(part) for part in np.array_split(rng.permutation(len(names)), FOLDS))
