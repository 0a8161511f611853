"""What a layer model becomes on another target: of another CPU, and after a few measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy

from latcast.devices import Device, Target, devices
from latcast.math.laplace import NormalWeights
from latcast.math.least_squares import PRICES_OFF, priced_beside

from ._basis import KIND_DEVIATION, SCALE_DEVIATION
from ._familiarity import REACH
from ._model import PART_DEVIATIONS, SLOW_RUNTIME, LayerModel, physical_work, tails
from ._posterior import learn
from ._prices import WORK, Noise, Observed, network_deviation, network_shares

Floats = npt.NDArray[np.float64]

# --- another CPU, before anything was measured on it ------------------------------------------

# All of a network follows the peak of a core, and not its arithmetic alone: over 44 CPUs of ncnn's
# table, whose peaks are up to 60 times apart, latencies of networks with and without depthwise
# convolutions go with the powers -1.19 and -1.15 of the peak, and the mean of the one is within
# .13 of that of the other (standard deviation of logarithms). A Zen 5 whose peak is 2.4 times that
# of our Zen 4 runs 104 networks 2.2 and 2.3 times as fast, each family 1.7 to 2.5 times.
#
# Standard deviations of log latency beside that: of all kernels, where both peaks were reached by
# one program (.03 and .10 on the Zen 5), are those of types of cores at their highest clocks (nine
# x86 CPUs of ncnn's table: .38), or are not known;
MEASURED_SCALE, PUBLISHED_SCALE, UNKNOWN_SCALE = 0.1, 0.4, 0.5
# of kernels of one kind and of single networks, as over ncnn's CPUs (.13 between two kinds, .15);
# of networks of one size (in deviations of the process over sizes), as the evidence of the Zen 5's
# networks has it (1.2), by models that had not seen a third of the families; and of parts of prices
# (.07). That evidence has kinds at .29 and single networks at none, with which one measured network
# moves the others by what is its own: of two that took half as long again as forecast the others
# were then 27 and 33 % off, and are 17 and 20. Of 33 such sets those with none for sizes are 1.5
# points worse after ten measurements, the others within a point of each other.
KIND_SHIFT, NETWORK_SHIFT, SIZE_SHIFT, PART_SHIFT = 0.1, 0.15, 1.0, 0.05


FLOATS = "fp32"
# In another precision than floats, how much surer the time of products is than their share of all:
# half of what two CPUs differ in by instructions (VNNI, AMX) beside floats. Nothing was measured on
# two such CPUs; where all of a network followed the peak in int8, one with AMX ran a ResNet twelve
# times as fast as in fp32, and a MobileNet eight times.
PRODUCTS_SHARE = 0.5


@dataclass(frozen=True)
class Slowdown:
    """A CPU beside the one that a layer model is of.

    Attributes:
        factor: on all latencies, by the peaks in fp32 of a core of both; 1 where one is not known.
        deviation: standard deviation of its logarithm.
        products: factor on the operations of dense products besides, by the peaks in the target's
            precision.
    """

    factor: float = 1.0
    deviation: float = UNKNOWN_SCALE
    products: float = 1.0

    @classmethod
    def between(cls, of: Target, to: Target, device: Device | None) -> Self | None:
        """Of a target's device by that of another one's; None where that is no question of peaks.

        Args:
            of: the target of a layer model.
            to: the other target.
            device: that it is of; None where it is not known.
        """
        here = devices().get(of.device)
        if here is None or device is None:
            return None
        if (of.precision, of.threads) != (to.precision, to.threads):
            return None
        own, floats = (_ratio(here, device, p) for p in (of.precision, FLOATS))
        if own is None:
            return None
        factor = own if floats is None else floats
        is_published = bool(here.clusters or device.clusters)
        deviation = PUBLISHED_SCALE if is_published else MEASURED_SCALE
        deviation = float(np.hypot(deviation, PRODUCTS_SHARE * np.log(own / factor)))
        return cls(factor, deviation, own / factor)

    def applied(self, model: LayerModel) -> LayerModel:
        """The model with all latencies so many times as long."""
        numbers = model.numbers * np.append(np.full(len(model.numbers) - 1, self.factor), 1.0)
        numbers[0] *= self.products
        prices = model.prices.scaled(self.factor, self.products)
        return replace(
            model, prices=prices, whole=model.whole.at_prices(self.factor), numbers=numbers
        )

    def carried(self, model: LayerModel, reach: float) -> LayerModel:
        """The model as of the other CPU: what both have in common is known, and less of the rest.

        Args:
            model: of the one CPU.
            reach: deviations to the end of a 90 % interval by its calibration. That was on its own
                CPU, and makes nothing surer of how far CPUs are apart.
        """
        basis, unit = model.basis, REACH / reach
        parts = basis.size + np.arange(WORK)
        mean, prior = np.zeros((2, len(model.weights.mean) + (0 if model.has_parts else WORK)))
        columns = np.arange(len(mean))
        if not model.has_parts:
            columns = np.delete(columns, parts)
        covariance = np.zeros((len(mean), len(mean)))
        mean[columns], prior[columns] = model.weights.mean, model.weights.prior
        covariance[np.ix_(columns, columns)] = model.weights.covariance
        looser = np.zeros(len(mean))
        looser[0] = (unit * self.deviation / SCALE_DEVIATION) ** 2
        looser[basis.kind_constants] = (unit * KIND_SHIFT / KIND_DEVIATION) ** 2
        looser[parts] = (unit * PART_SHIFT / np.array(PART_DEVIATIONS)) ** 2
        looser[parts[-1] + 1 + model.whole.process] = (unit * SIZE_SHIFT) ** 2
        network = np.hypot(model.noise.network, unit * NETWORK_SHIFT)
        return replace(
            self.applied(model),
            weights=NormalWeights(mean, prior + looser, covariance + np.diag(looser)),
            noise=replace(model.noise, network=float(network)),
            has_parts=True,
            # Errors on kernels that are near to measured ones there say nothing of those here.
            familiarity=None,
        )


def _ratio(here: Device, there: Device, precision: str) -> float | None:
    """Peak of a core over that of another one; None where one is not known."""
    old, new = (_core_peak(d, precision) for d in (here, there))
    return None if old is None or new is None else old / new


def _core_peak(device: Device, precision: str) -> float | None:
    """FLOP/s of the fastest core of a CPU; None of others, and where it is not known."""
    if device.kind != "cpu":
        return None
    if device.clusters:
        return max(c.peak_flops(precision) for c in device.clusters)
    peak = device.peak_flops(precision)
    return None if peak is None else peak / device.cores


# --- a few measurements ----------------------------------------------------------------------

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
