"""Fitting: settings by evidence, intervals by groups left out; adapting to few measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import scipy

from latcast.math.conformal import DeviationScores
from latcast.math.laplace import NormalWeights
from latcast.math.least_squares import PRICES_OFF, priced_beside
from latcast.networks import Networks

from ._basis import SCALE_DEVIATION, Basis, Scale, Whole
from ._familiarity import REACH, LeftOut
from ._model import SLOW_RUNTIME, LayerModel, physical_work, tails
from ._posterior import learn
from ._prices import (
    WORK,
    Noise,
    Observed,
    Prices,
    network_deviation,
    network_shares,
    without_overhead,
)

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


# New inducing points of a kind at most.
FRESH_POINTS = 20
# Standard deviations by which weights may differ from the base's: on the same target the evidence
# chooses. On others it would choose the largest for ten real models, with which all others are
# forecast 1 to 3 points worse than with the least: there errors of networks left out choose, and
# a larger one must lower their mean by more than that is known, 1/√k of it (for ten by a third: of
# shares of 0.05, 0.15 and 0.3, which differ by up to 0.4 points, the last was best).
SHIFTS = {True: (0.0, 0.03, 0.1), False: (0.0, 0.1, 0.3, 0.6)}
# The same of the factor on all kernels, in log latency: on another target a CPU alike or any
# device, by evidence.
SAME_TARGET_SCALE, OTHER_TARGET_SCALES = 0.15, (0.15, 2.0)
# Deviation of a network from what the target is off as a whole, over the number of networks: one
# alone says little of others.
FEW_DEVIATION = 0.3
# Networks from which on the evidence chooses between the scales for a CPU whose peak is known, too:
# one or two may be off themselves.
MIN_FOR_SCALE = 3


def adapted_model(
    base: LayerModel,
    few: Observed,
    *,
    same_target: bool,
    is_alike: bool = False,
    is_carried: bool = False,
    runtime: str = SLOW_RUNTIME,
    reach: float = REACH,
) -> LayerModel:
    """The base model after a few more measurements.

    Args:
        base: to begin with.
        few: what was measured.
        same_target: whether the base is of the same target.
        is_alike: whether another target is known to be a CPU whose peak the base follows.
        is_carried: whether how far that CPU may be off is in the base's weights already
            (:class:`Slowdown`).
        runtime: of the target.
        reach: as of :meth:`LayerModel.forecast`.
    """
    # Totals alone: of a few networks, what their profiler adds to each kernel cannot be told.
    few = replace(few, times_ms=scipy.sparse.csr_matrix(few.times_ms.shape))
    adaptation = _Adaptation.of(base, few, runtime, reach, same_target=same_target)
    few = adaptation.few
    if same_target:
        fits = [adaptation.learn(adaptation.loosened(s, SAME_TARGET_SCALE), base.noise)
                for s in SHIFTS[True]]  # fmt: skip
        return replace(adaptation.wider, weights=max(fits, key=itemgetter(1))[0])
    noise, scales = base.noise, OTHER_TARGET_SCALES
    if is_carried:
        scales = (0.0, *scales[1:])
    else:
        network = np.hypot(noise.network, FEW_DEVIATION / len(few.total_ms))
        noise = replace(noise, network=float(network))
    is_near = is_alike and len(few.total_ms) < MIN_FOR_SCALE
    before, errors = adaptation.chosen(noise, scales[: 1 if is_near else None])
    weights, _ = adaptation.learn(before, noise)
    return replace(adaptation.wider, weights=weights, numbers=_numbers(few, errors))


@dataclass(frozen=True, eq=False)
class _Adaptation:
    """A base model in features that tell a few measured networks apart.

    Attributes:
        wider: the base with more features, whose weights are still its own.
        columns: where they belong among all, ascending.
        few: what was measured, with kernels that stand for unsupported ones: such a network tells
            less of others.
        log_prices: of every kernel, shape (d,).
        features: of the kernels, shape (d, features), and
        whole: of the networks, shape (k, more features).
    """

    wider: LayerModel
    columns: npt.NDArray[np.int64]
    few: Observed
    log_prices: Floats
    features: Floats
    whole: Floats

    @classmethod
    def of(
        cls, base: LayerModel, few: Observed, runtime: str, reach: float, *, same_target: bool
    ) -> _Adaptation:
        basis, columns = base.basis.extended(few.kernels, most_points=FRESH_POINTS)
        wider = replace(base, basis=basis, has_parts=base.has_parts or not same_target)
        # As forecasts take them: what takes many times as long as its price is not the target's.
        kernels, log_slowdown, strange = wider.stand_ins(few.kernels, runtime)
        least_ms = wider.least_ms(few.kernels, runtime)
        log_prices = np.log(np.maximum(base.prices(kernels) * np.exp(log_slowdown), least_ms))
        features = wider.features_and_rest(kernels)[0]
        whole = base.whole.features_and_rest(kernels, base.prices)[0]
        if strange.any():
            shares = network_shares(kernels.counts, log_prices)[1]
            doubt = tails(shares, strange * (REACH / reach), reach)
            doubt = doubt if few.excess_variance is None else doubt + few.excess_variance
            few = replace(few, excess_variance=doubt)
        few = replace(few, kernels=kernels)
        ends = features.shape[1] + np.arange(base.whole.size)
        parts = basis.size + np.arange(WORK if base.has_parts else 0)
        columns = np.concatenate([columns, parts, ends])
        return cls(wider, columns, few, log_prices, features, whole)

    def learn(self, before: NormalWeights, noise: Noise) -> tuple[NormalWeights, float]:
        """Weights after the measurements, and the logarithm of the evidence."""
        return learn(self.few, self.log_prices, self.features, self.whole, noise, before)

    def loosened(self, shift: float, scale: float) -> NormalWeights:
        """Return the base's weights in the wider features, loosened for another target."""
        weights, size = self.wider.weights, self.features.shape[1] + self.whole.shape[1]
        mean, prior, covariance = np.zeros(size), np.ones(size), np.eye(size)
        mean[self.columns], prior[self.columns] = weights.mean, weights.prior
        covariance[np.ix_(self.columns, self.columns)] = weights.covariance
        looser = np.full(size, shift**2)
        looser[0] += (scale / SCALE_DEVIATION) ** 2
        return NormalWeights(mean, prior + looser, covariance + np.diag(looser))

    def chosen(self, noise: Noise, scales: Sequence[float]) -> tuple[NormalWeights, Floats]:
        """Return the prior of another target, and the errors on networks left out, (k,).

        By the logarithm of the sum to first order at the base's weights: that is a normal
        distribution of k latencies, of which each is forecast by the others in closed form.
        """
        start = self.loosened(0.0, 0.0)
        p = self.features.shape[1]
        log_ms = self.log_prices + self.features @ start.mean[:p]
        total, shares = network_shares(self.few.kernels.counts, log_ms)
        slopes = np.hstack([np.asarray(shares @ self.features), self.whole])
        off = np.log(self.few.total_ms / total) - self.whole @ start.mean[p:]
        fixed = slopes @ start.covariance @ slopes.T
        fixed += np.diag(self.few.deviation(network_deviation(shares, noise)) ** 2)

        def known(shift: float, scale: float) -> tuple[float, Floats]:
            free = np.full(len(start.mean), shift**2)
            free[0] += (scale / SCALE_DEVIATION) ** 2
            return _left_out(fixed + slopes * free @ slopes.T, off)

        shifts = SHIFTS[False]
        scale = max(scales, key=lambda s: known(shifts[0], s)[0])
        best, errors = shifts[0], known(shifts[0], scale)[1]
        clearly, trust = 1 - 1 / np.sqrt(len(off)), _trust(self.few)
        for shift in shifts[1:]:
            more = known(shift, scale)[1]
            if np.abs(more) @ trust < clearly * (np.abs(errors) @ trust):
                best, errors = shift, more
        return self.loosened(best, scale), errors


def _left_out(covariance: Floats, values: Floats) -> tuple[float, Floats]:
    """Log density of normal values (k,) up to a constant, and the error of each by the others.

    Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), equations 5.8 and
    5.12.
    """
    inverse = scipy.linalg.inv(covariance)
    pulled = inverse @ values
    evidence = 0.5 * (np.linalg.slogdet(inverse)[1] - values @ pulled)
    return float(evidence), pulled / inverse.diagonal()


def _trust(few: Observed) -> Floats:
    """Weights of measurements by the scatter that they state, 1 of stable ones; shape (k,)."""
    return 1 / (1 + few.deviation(np.zeros(len(few.total_ms))) ** 2 / PRICES_OFF**2)


def _numbers(few: Observed, errors: Floats) -> Floats:
    """Three non-negative numbers of least relative error, and their weight, shape (4,).

    Args:
        few: what was measured.
        errors: of the logarithm by the model that they are averaged with, each network left out.
    """
    prices, weight, _ = priced_beside(
        physical_work(few.kernels), few.total_ms, errors, few.deviation(np.zeros(len(errors)))
    )
    return np.append(prices, weight)
