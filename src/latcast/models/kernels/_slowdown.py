"""How many times as long one CPU takes as another, before anything was measured on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from latcast.devices import Device, Target, devices
from latcast.math.laplace import NormalWeights

from ._basis import KIND_DEVIATION, SCALE_DEVIATION
from ._familiarity import REACH
from ._model import PART_DEVIATIONS, LayerModel
from ._prices import WORK

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
