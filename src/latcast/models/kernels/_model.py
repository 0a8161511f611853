"""A fitted layer model: milliseconds of kernels and of networks, with standard deviations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from latcast.graph import KERNEL_FACTS, OPERATORS, RECURRENT, UNKNOWN
from latcast.graph.precision import BITS
from latcast.math.laplace import NormalWeights
from latcast.networks import ALL_KINDS, OPS, Networks

from ._basis import Basis, Whole, log_facts
from ._familiarity import REACH, Familiarity
from ._prices import Incidence, Noise, Prices, classes_of, network_deviation, network_shares

Floats = npt.NDArray[np.float64]

# Of the log latency of a kernel whose operator nobody knows: a factor of about three.
UNKNOWN_DEVIATION = 1.0
# Of one that is told by its slowdown, or of a recurrent one: these were measured on one CPU.
STAND_IN_DEVIATION = 0.6
# Of one whose file holds it in another precision than that of the rows: a factor at the ends of a
# 90 % interval. MobileNets v2 and v3, ResNet-18, ShuffleNet v2, SqueezeNet and a ViT in int8 take
# 0.3 to 1.1 times as long as in fp32 with ONNX Runtime 1.32 where all pairs are joined, 0.9 to 3.1
# times with signed symmetric activations, which keep them, and 0.2 to 2.1 times with OpenVINO
# 2026.4; fp16 takes 0.6 to 1.9 times because of casts, and 0.6 to 3.8 times with OpenVINO (one
# thread of an Intel Xeon (model 167) with other work beside; the least of 12 runs each). What is
# quantized dynamically is beyond: ConvInteger makes convolutional ones 6 to 9 times as long.
PRECISION_FACTORS = {"fp16": 3.0, "bf16": 3.0, "fp64": 3.0}
OTHER_PRECISION_FACTOR = 4.0
# The runtime that slowdowns were measured with; another one may have fast kernels (OpenVINO's
# PRelu takes as long as a ReLU), so that there they widen the interval alone.
SLOW_RUNTIME = "onnxruntime"
# Nanoseconds of a ReLU's number there, of which slowdowns are multiples: activations are bound by
# arithmetic, so that in a cache they are no faster, where a ReLU is. Softplus takes 9.3 to 11.7 ns
# of a number, Elu 1.4 to 1.7 (ONNX Runtime 1.32, one thread of an Intel Xeon (model 167), maps of
# 64 x 28 x 28 and 64 x 112 x 112).
SLOW_NS = 0.37
# Of a depthwise convolution that cannot run on blocks of channels: of 14, 30 and 63 channels a MAC
# takes .20 to .32 ns, of 16, 32 and 64 .014 to .035 (measured likewise).
RAGGED_SLOWDOWN = 11.0
_SLOWDOWNS = np.array([OPERATORS[op].slowdown if op in OPERATORS else 1.0 for op in OPS])
_RECURRENT = [OPS.index(op) for op in RECURRENT]


@dataclass(frozen=True)
class Forecast:
    """Log-normal forecasts of n networks of d kernels.

    Attributes:
        ms: medians, shape (n,).
        deviation: standard deviations of the logarithm, shape (n,).
        factor: of every network on its kernels: what does not add up, shape (n,).
        kernel_ms: milliseconds of each kernel without that factor, shape (d,).
        kernel_deviation: standard deviations of their logarithms, shape (d,).
        novelty: of each network (:class:`Familiarity`); 0 where that is not known, shape (n,).
    """

    ms: Floats
    deviation: Floats
    factor: Floats
    kernel_ms: Floats
    kernel_deviation: Floats
    novelty: Floats


# Of the logarithm of a factor on the arithmetic, the bytes of activations and of constants, and the
# launches of all kernels on another target: of four such sets, from 0.2 to 0.8, all within half a
# point of each other on real models of another CPU.
PART_DEVIATIONS = (0.3, 0.4, 0.4, 0.4)
NUMBERS = 3


def physical_work(kernels: Networks) -> Floats:
    """MACs, bytes and a constant of every network, shape (n, 3): what three numbers price."""
    moved = sum(kernels.fact(name) for name in ("read_bytes", "write_bytes", "param_bytes"))
    sums = kernels.incidence @ np.stack([kernels.fact("macs"), moved], axis=1)
    return np.column_stack([sums, np.ones(len(sums))])


@dataclass(frozen=True)
class LayerModel:
    """Prices times what was learnt of efficiency.

    Attributes:
        prices: prior mean of every kernel's milliseconds.
        basis: features of a kernel's logarithm beside that.
        whole: features of a network's.
        weights: of the features of kernels, of factors on parts, then of those of networks.
        noise: of observations.
        has_parts: whether the parts of all prices have factors, as on another target.
        numbers: milliseconds of a MAC, of a byte and of a network, that the forecast is averaged
            with, and their weight; shape (4,).
        familiarity: of the target's kernels that were measured; None where intervals do not follow
            how near a network's are to them.
    """

    prices: Prices
    basis: Basis
    whole: Whole
    weights: NormalWeights
    noise: Noise
    has_parts: bool = False
    numbers: Floats = field(default_factory=lambda: np.zeros(NUMBERS + 1))
    familiarity: Familiarity | None = None

    def familiarity_of(self, kernels: Networks) -> Familiarity:
        """Return the familiarity with kernels that were measured, before any errors."""
        return Familiarity.of(kernels.kinds, self._in_lengths(kernels))

    def _in_lengths(self, kernels: Networks) -> Floats:
        return log_facts(kernels, self.basis.names) / self.basis.lengths

    def features_and_rest(self, kernels: Networks) -> tuple[Floats, Floats]:
        """Features of every kernel (d, features), and its prior variance beside them (d,)."""
        features, rest = self.basis.features_and_rest(kernels)
        if self.has_parts:
            parts = self.prices.parts(kernels)
            # The logarithm of a sum is moved by its parts' factors as by their shares, near by.
            shares = parts / parts.sum(axis=1, keepdims=True)
            features = np.hstack([features, shares * PART_DEVIATIONS])
        return features, rest

    def forecast(
        self,
        kernels: Networks,
        beyond: Floats | float = 0.0,
        runtime: str = SLOW_RUNTIME,
        reach: float = REACH,
    ) -> Forecast:
        """Latencies of n networks of d kernels.

        Args:
            kernels: of the networks.
            beyond: variances of kernels' log latencies that come besides, shape (d,).
            runtime: of the target.
            reach: deviations to the end of a 90 % interval by the model's calibration. What no
                calibration was on, such as an unsupported operator, is not made surer by it.
        """
        given = kernels
        least_ms = self.least_ms(kernels, runtime)
        kernels, log_slowdown, strange = self.stand_ins(kernels, runtime)
        strange = strange * (REACH / reach)
        features, rest = self.features_and_rest(kernels)
        whole, whole_rest = self.whole.features_and_rest(kernels, self.prices)
        p = features.shape[1]
        log_ms = np.log(self.prices(kernels)) + features @ self.weights.mean[:p] + log_slowdown
        log_ms = np.maximum(log_ms, np.log(least_ms))
        total, shares = network_shares(kernels.incidence, log_ms)
        # What does not add up is a factor on all kernels: parts then still sum to the whole.
        factor = np.exp(whole @ self.weights.mean[p:])
        if weight := self.numbers[-1]:
            physical_ms = physical_work(kernels) @ self.numbers[:-1]
            factor = (total * factor) ** (1 - weight) * physical_ms**weight / total
        rest = rest + beyond
        variance = (
            self.weights.variance(np.hstack([shares @ features, whole]))
            # What the basis leaves open of kernels of one kind is one error made many times: taken
            # as independent, deep networks' intervals would shrink with their depth.
            + _correlated(shares, kernels.kinds, rest)
            + whole_rest
            + network_deviation(shares, self.noise) ** 2
        )
        # A kernel by itself has no network whose factor could be in doubt.
        alone = np.hstack([features, np.zeros((len(features), whole.shape[1]))])
        kernel_variance = self.weights.variance(alone) + rest + self.noise.kernel**2
        novelty = np.zeros(len(total))
        if (near := self.familiarity) is not None:
            distances = near.distances(given, self._in_lengths(given))
            novelty = np.asarray(shares @ distances)
            variance *= near.factor(novelty) ** 2
            kernel_variance *= near.factor(distances) ** 2
        # No measured kernel makes an unsupported operator surer.
        variance += tails(shares, strange, reach)
        return Forecast(
            total * factor, np.sqrt(variance), factor, np.exp(log_ms),
            np.sqrt(kernel_variance + strange**2),
            novelty,
        )  # fmt: skip

    def least_ms(self, kernels: Networks, runtime: str) -> Floats:
        """Return lower bounds in ms of slow activations that no row had, shape (d,)."""
        is_slow = (kernels.kinds == ALL_KINDS.index("activation")) & self._is_slow(kernels)
        elements = kernels.fact("positions") * kernels.fact("outputs")
        ms = SLOW_NS * 1e-6 * _SLOWDOWNS[kernels.ops] * elements
        return np.where(is_slow & (runtime == SLOW_RUNTIME), ms, 0.0) + np.finfo(float).tiny

    def _is_slow(self, kernels: Networks) -> npt.NDArray[np.bool_]:
        """Whether each kernel is of a slow operator that no row had, shape (d,)."""
        is_new = ~np.isin(kernels.ops, self.prices.classes // 2)
        return np.asarray(is_new & (_SLOWDOWNS[kernels.ops] > 1))

    def stand_ins(self, kernels: Networks, runtime: str) -> tuple[Networks, Floats, Floats]:
        """Return stand-ins of operators that no row had, with slowdowns and deviations.

        A slow one is so many ReLUs, since others of its kind say little of it; an attention is a
        linear layer of as many MACs. Both factors are logarithms, shape (d,).
        """
        # Of linear layers, attentions of 128 x 384 and 512 x 256 are forecast 1.1 times as long as
        # ONNX Runtime 1.32 takes, and without projections 1.3 times; as products of activations
        # 1.1 to 2.3 times (shipped model of an EPYC; measured on one thread of an Intel Xeon
        # (model 167)).
        is_new = ~np.isin(kernels.ops, self.prices.classes // 2)
        is_slow = self._is_slow(kernels)
        is_product = is_new & (kernels.ops == OPS.index("attention"))
        log = np.where(is_slow, np.log(_SLOWDOWNS[kernels.ops]), 0.0)
        is_ragged = (
            (kernels.ops == OPS.index("depthwise_conv"))
            & (kernels.fact("blocked") == 0)
            & ~np.isin(classes_of(kernels), self.prices.classes)
            & (runtime == SLOW_RUNTIME)
        )
        log = np.where(is_ragged, np.log(RAGGED_SLOWDOWN), log)
        told = is_slow | is_product | is_ragged | np.isin(kernels.ops, _RECURRENT)
        deviation = np.where(told, STAND_IN_DEVIATION, 0.0)
        is_unknown = kernels.kinds == ALL_KINDS.index(UNKNOWN)
        deviation = np.where(is_unknown, UNKNOWN_DEVIATION, deviation)
        deviation = np.maximum(deviation, self._precision_deviation(kernels))
        if runtime != SLOW_RUNTIME:
            deviation, log, is_slow = np.maximum(deviation, log / 2), 0.0 * log, is_slow & False
        ops, facts, labels = kernels.ops.copy(), kernels.facts.copy(), list(kernels.labels)
        for stands_in, op in ((is_slow, "relu"), (is_product, "linear")):
            ops[stands_in] = OPS.index(op)
            for n in np.flatnonzero(stands_in):
                labels[n] = op
        known = frozenset(self.basis.labels)
        labels = [x if x in known else precision_apart(x)[0] for x in labels]
        facts[is_slow, KERNEL_FACTS.index("param_bytes")] = 0.0
        if (is_slow | is_product).any() or tuple(labels) != kernels.labels:
            kernels = replace(kernels, ops=ops, labels=tuple(labels), facts=facts)
        return kernels, log, deviation

    def _precision_deviation(self, kernels: Networks) -> Floats:
        """Return the deviations of kernels in another precision than any row's, shape (d,)."""
        known = frozenset(self.basis.labels)
        names = [precision_apart(x)[1] if x not in known else "" for x in kernels.labels]
        factors = [PRECISION_FACTORS.get(n, OTHER_PRECISION_FACTOR) if n else 1.0 for n in names]
        return np.asarray(np.log(factors) / REACH)


def precision_apart(label: str) -> tuple[str, str]:
    """A label of :class:`Networks` without its precision, and that; empty where it tells none."""
    operators, _, precision = label.rpartition("/")
    return (operators, precision) if precision in BITS else (label, "")


def tails(shares: Incidence, deviation: Floats, reach: float) -> Floats:
    """Variance of log sums (n,) by kernels that may take many times as long as forecast.

    Such a kernel with a small share s of the milliseconds makes the sum's upper end
    1 + s (exp(q deviation) - 1) times as high, which its share times its deviation would hide.
    """
    beyond = shares @ np.expm1(reach * deviation)
    return np.asarray((np.log1p(beyond) / reach) ** 2)


def _correlated(shares: Incidence, kinds: npt.NDArray[np.int64], variance: Floats) -> Floats:
    """Variance of log sums (n,) if kernels of one kind err alike, those of others independently."""
    member = np.zeros((len(kinds), len(ALL_KINDS)))
    member[np.arange(len(kinds)), kinds] = np.sqrt(variance)
    by_kind = np.asarray(shares @ member)
    return np.asarray((by_kind**2).sum(axis=1))
