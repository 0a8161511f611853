"""Prior of a target from its specification and from known targets.

Targets are compared (:class:`TargetSpec`), and the more similar ones count more: their mixture is
the mean that is expected of the new one's networks, its scale follows their rooflines
(:func:`predict_log_scale`). A GPU's time over batch sizes is that of two things at once, which
known targets tell apart (:class:`Overlap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latcast._model_file import positive
from latcast._names import unknown_name
from latcast.devices import KINDS, Device, Target
from latcast.math.least_squares import non_negative
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]

KIND_STEP, ARCHITECTURE_STEP = 2.0, 2.0
DEVICE_STEP, RUNTIME_STEP, PRECISION_STEP = 1.0, 1.0, 1.0
BATCH_OCTAVES = 2.0
# Steps between targets: those of another device, runtime or precision, or so many octaves apart in
# batch or in FLOP per byte, are one unit of distance apart, another kind or architecture two more.
# That of architectures was chosen on the GPUs that docs/results/gpu.txt leaves out.
BALANCE_OCTAVES = 2.0

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
# Facts of blocks are counted in fp32; other precisions scale them.
FACTS_BYTES = 4
# Data sheets count a multiply-add as two operations.
FLOPS_PER_MAC = 2

# Mean and deviation of what a latency's logarithm gains with that of the roofline.
SLOPE = (0.75, 0.35)
# Deviation of what a roofline does not tell of a latency's logarithm, before any is seen.
UNEXPLAINED = 0.4
# Targets for which that counts; the scatter of the similar ones is weighed against it.
UNEXPLAINED_WEIGHT = 2.0

# Of every source, as a share of the most similar one's: where all are far, the nearest decide.
MIN_WEIGHT = 1e-6
# Squared error, a network, at which weights stay where similarity has them. That the mean is a
# mixture of sources was chosen on OFA's TITAN RTX at batch 64 (docs/tried.md).
MIXTURE_PENALTY = 1e-4

# From here on, a batch is taken to keep a GPU busy.
FULL_BATCH = 16
# Of the norm that stands for the longer of two times: where they are equal, 12 % are added. The
# overlap was chosen on the GPUs that are left out in docs/results/gpu.txt.
POWER = 6.0
# Of the quadrature over what is not known of the two times' ratio.
NODES = 7
# Weight of another device's host beside that of the same device, which most likely has the same.
ANOTHER_HOST = 0.05
# As SLOPE: a busy GPU's time follows its roofline.
GPU_SLOPE = (1.0, 0.2)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A target and what is known of its device; None where it is not.

    Attributes:
        target: device, runtime, batch and precision.
        kind: kind of the device.
        peak_flops: peak FLOP/s (operations for int8) at the target's precision; that of fp32
            where it is unknown.
        bandwidth_gb_s: memory bandwidth.
        architecture: the device's generation.
    """

    target: Target
    kind: str | None = None
    peak_flops: float | None = None
    bandwidth_gb_s: float | None = None
    architecture: str | None = None

    @classmethod
    def of(cls, target: Target, device: Device | None) -> Self:
        """Make it of a device's specification for a target."""
        if device is None:
            return cls(target)
        peak = device.peak_flops(target.precision) or device.peak_flops("fp32")
        return cls(target, device.kind, peak, device.bandwidth_gb_s, device.architecture)

    @classmethod
    def parse(cls, record: dict[str, Any]) -> Self:
        """The inverse of :meth:`record`.

        Raises:
            ValueError: no target, an unknown kind, or a figure that is not positive and finite.
        """
        kind, architecture = record["kind"], record["architecture"]
        if kind is not None and kind not in KINDS:
            raise ValueError(unknown_name("kind of device", str(kind), KINDS))
        figures = (record[k] for k in ("peak_flops", "bandwidth_gb_s"))
        peak, bandwidth = (None if f is None else positive(f) for f in figures)
        target = Target.parse(record["target"])
        architecture = None if architecture is None else str(architecture)
        return cls(target, kind, peak, bandwidth, architecture)

    def record(self) -> dict[str, Any]:
        """Return the specification, JSON-able."""
        return asdict(self) | {"target": str(self.target)}

    def distance(self, other: TargetSpec) -> float:
        """How different two targets are; 0 for equal ones. What is not known does not count."""
        a, b = self.target, other.target
        steps = [
            KIND_STEP * _differ(self.kind, other.kind),
            ARCHITECTURE_STEP * _differ(self.architecture, other.architecture),
            DEVICE_STEP * (a.device != b.device),
            RUNTIME_STEP * (a.runtime != b.runtime),
            PRECISION_STEP * (a.precision != b.precision),
            np.log2(a.batch / b.batch) / BATCH_OCTAVES,
        ]
        balances = self._balance(), other._balance()
        if balances[0] is not None and balances[1] is not None:
            steps.append(np.log2(balances[0] / balances[1]) / BALANCE_OCTAVES)
        return float(np.linalg.norm(steps))

    def _balance(self) -> float | None:
        if self.peak_flops is None or self.bandwidth_gb_s is None:
            return None
        return self.peak_flops / self.bandwidth_gb_s

    def roofline_ms(self, archs: Archs) -> float | None:
        """Mean milliseconds of networks that reach the device's peaks (Williams et al. 2009).

        Every block takes the longer of its computing and of its moving data, for the whole
        batch. None without a peak or a bandwidth.
        """
        if self.peak_flops is None or self.bandwidth_gb_s is None:
            return None
        facts, batch = archs.space.block_table.facts, self.target.batch
        element = BYTES[self.target.precision] / FACTS_BYTES
        moved = batch * (facts["read_bytes"] + facts["write_bytes"]) + facts["param_bytes"]
        seconds = np.maximum(
            batch * FLOPS_PER_MAC * facts["macs"] / self.peak_flops,
            element * moved / (1e9 * self.bandwidth_gb_s),
        )
        return float(1e3 * archs.space.block_sums(archs, seconds).mean())

    def log_roofline(self, archs: Archs, *, per_sample: bool = False) -> float | None:
        """Logarithm of :meth:`roofline_ms`, or of that divided by the batch; None likewise."""
        roofline = self.roofline_ms(archs)
        if roofline is None:
            return None
        return float(np.log(roofline / self.target.batch if per_sample else roofline))


@dataclass(frozen=True, slots=True)
class Source:
    """A target that a base model was trained on, its mean latency and number of measurements."""

    spec: TargetSpec
    mean_ms: float
    rows: int


def _differ(first: str | None, second: str | None) -> bool:
    """Whether two names are known to differ."""
    return first is not None and second is not None and first != second


def similarities(spec: TargetSpec, others: Sequence[TargetSpec]) -> Floats:
    """1 for a target like ``spec``, falling to 0 with the distance, shape (others,)."""
    distances = np.array([spec.distance(other) for other in others])
    return np.exp(-0.5 * distances**2)


def predict_log_scale(
    log_roofline: float | None,
    known: Sequence[float | None],
    log_scales: Floats,
    weights: Floats,
    slope: tuple[float, float] = SLOPE,
) -> tuple[float, float]:
    """Mean and deviation of the logarithm of a target's mean latency, in ms.

    Bayesian linear regression of the logarithms on those of the roofline, other targets weighted
    by their similarity; where a roofline is not known, their weighted mean.

    Args:
        log_roofline: of the target.
        known: of the other targets.
        log_scales: the others' mean latencies, shape (targets,).
        weights: their similarities, shape (targets,), at least 0.
        slope: what is believed of the slope: mean and deviation.
    """
    w = weights / max(float(weights.sum()), 1e-300)
    usable = np.array([k is not None for k in known])
    x = np.array([0.0 if k is None else k for k in known])
    if log_roofline is None or not usable.any() or w[usable].sum() < 0.5:
        mean = float(w @ log_scales)
        # Without a roofline the others' scatter is all there is, and the new target scatters
        # besides.
        variance = float(w @ (log_scales - mean) ** 2) + UNEXPLAINED**2
        return mean, float(np.sqrt(variance))
    w = np.where(usable, w, 0.0) / w[usable].sum()
    centre, middle = float(w @ x), float(w @ log_scales)
    # Kish's effective number of targets: ten that are far count no more than the one that is near.
    effective = 1 / float(w @ w)
    precision = effective * float(w @ (x - centre) ** 2) / UNEXPLAINED**2
    moment = effective * float(w @ ((x - centre) * (log_scales - middle))) / UNEXPLAINED**2
    prior = slope[1] ** -2
    found = (moment + prior * slope[0]) / (precision + prior)
    away = log_roofline - centre
    left = log_scales - middle - found * (x - centre)
    # Two or three targets that happen to lie on a line must not make the scale certain.
    residual = (UNEXPLAINED_WEIGHT * UNEXPLAINED**2 + effective * float(w @ left**2)) / (
        UNEXPLAINED_WEIGHT + effective
    )
    variance = residual * (1 + 1 / effective) + away**2 / (precision + prior)
    return middle + found * away, float(np.sqrt(variance))


def expect(
    spec: TargetSpec, sources: Sequence[Source], values: Floats, archs: Archs
) -> tuple[Floats, tuple[float, float]]:
    """A mixture of the known targets, and the scale.

    The more similar targets count more; for a GPU, the mixture is that nearest to what
    :class:`Overlap` expects, where the sources tell.

    Args:
        spec: the target.
        sources: the known targets.
        values: of the sources for a population, means of 1, shape (n, sources).
        archs: the population.

    Returns:
        Weights of the sources, at least 0, shape (sources,); what they lack to 1 is a constant.
        Mean and deviation of the logarithm of the mean latency in ms.
    """
    weights = _with_floor(similarities(spec, [s.spec for s in sources]))
    weights /= weights.sum()
    overlap = Overlap.of(spec, sources) if spec.kind == "gpu" else None
    if overlap is not None:
        wanted, log_scale = overlap.expect(values, archs)
        return _nearest_mixture(values, wanted, weights), log_scale
    log_scale = predict_log_scale(
        spec.log_roofline(archs),
        [s.spec.log_roofline(archs) for s in sources],
        np.log([s.mean_ms for s in sources]),
        weights,
    )
    return weights, log_scale


def _nearest_mixture(values: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Weights of the sources whose mixture is nearest to what is wanted, shape (sources,).

    What is missing to 1 is a constant. A mixture of sources adds none of the errors that a fit
    to other features would; where it hardly matters which, it stays near ``weights``.

    Args:
        values: of the sources for a population, means of 1, shape (n, sources).
        wanted: likewise, shape (n,).
        weights: to begin with, shape (sources,).
    """
    pull = MIXTURE_PENALTY * len(wanted)
    return non_negative(values - 1.0, wanted - 1.0, pull=pull, toward=weights)


@dataclass(frozen=True)
class Overlap:
    """A GPU over batch sizes: the host launches kernels while the GPU computes.

    A batch takes the longer of two times that overlap: that of the GPU, which grows with the
    batch, and that in which the host launches the kernels, which does not. The first is known from
    targets with a large batch, in proportion to the device's roofline; the second from targets of
    batch 1, and differs from host to host, which no specification of a GPU tells.

    Attributes:
        spec: the target to predict.
        sources: all sources.
        busy: positions of those with the largest batch of each device.
        launching: positions of those of batch 1.
    """

    spec: TargetSpec
    sources: Sequence[Source]
    busy: list[int]
    launching: list[int]

    @classmethod
    def of(cls, spec: TargetSpec, sources: Sequence[Source]) -> Self | None:
        """None where the sources do not tell both times apart."""
        gpus = [n for n, s in enumerate(sources) if s.spec.kind == "gpu"]
        largest: dict[str, int] = {}
        for n in sorted(gpus, key=lambda n: sources[n].spec.target.batch):
            if sources[n].spec.target.batch >= FULL_BATCH:
                largest[sources[n].spec.target.device] = n
        launching = [n for n in gpus if sources[n].spec.target.batch == 1]
        if not largest or not launching:
            return None
        return cls(spec, sources, sorted(largest.values()), launching)

    def expect(self, values: Floats, archs: Archs) -> tuple[Floats, tuple[float, float]]:
        """Mean and scale to expect.

        Args:
            values: of the sources for a population, means of 1, shape (n, sources).
            archs: the population.

        Returns:
            Values for the population with a mean of 1, shape (n,), and mean and deviation of the
            logarithm of the mean latency in ms.
        """
        batch = self.spec.target.batch
        gpu, (log_gpu, gpu_deviation) = self._gpu(values, archs)
        hosts = np.log([self.sources[n].mean_ms for n in self.launching])
        # A GPU tells nothing of its host, but the same device most likely has the same one.
        devices = [self.sources[n].spec.target.device for n in self.launching]
        alike = np.array([1.0 if d == self.spec.target.device else ANOTHER_HOST for d in devices])
        host = values[:, self.launching] @ (alike / alike.sum())
        log_host, host_deviation = predict_log_scale(None, [None] * len(hosts), hosts, alike)
        # Which of the two times is the longer one is uncertain near the crossing: the mean over
        # their ratio is smooth there, where the maximum of the means has a kink.
        ratio = float(np.hypot(gpu_deviation, host_deviation))
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        expected = np.zeros(len(values))
        busy = 0.0
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            a = np.exp(np.log(batch) + log_gpu + 0.5 * ratio * node) * gpu
            b = np.exp(log_host - 0.5 * ratio * node) * host
            a, b = np.maximum(a, 1e-12) ** POWER, np.maximum(b, 1e-12) ** POWER
            expected += weight * (a + b) ** (1 / POWER)
            busy += weight * float((a / (a + b)).mean())
        mean = float(expected.mean())
        # A large batch follows the GPU alone, and is as sure as that; batch 1 follows a host that
        # no specification names.
        deviation = float(np.hypot(busy * gpu_deviation, (1 - busy) * host_deviation))
        return expected / mean, (float(np.log(mean)), deviation)

    def _gpu(self, values: Floats, archs: Archs) -> tuple[Floats, tuple[float, float]]:
        """Shape (n,) of the GPU's time, and mean and deviation of its logarithm in ms a sample."""
        sources = [self.sources[n] for n in self.busy]
        at = [_at_batch(self.spec, s.spec.target.batch) for s in sources]
        weights = np.array([similarities(a, [s.spec])[0] for a, s in zip(at, sources, strict=True)])
        weights = _with_floor(weights)
        scale = predict_log_scale(
            at[int(np.argmax(weights))].log_roofline(archs, per_sample=True),
            [s.spec.log_roofline(archs, per_sample=True) for s in sources],
            np.log([s.mean_ms / s.spec.target.batch for s in sources]),
            weights,
            GPU_SLOPE,
        )
        return values[:, self.busy] @ (weights / weights.sum()), scale


def _at_batch(spec: TargetSpec, batch: int) -> TargetSpec:
    return replace(spec, target=replace(spec.target, batch=batch))


def _with_floor(weights: Floats) -> Floats:
    """Weights of the sources, none of them quite 0, shape (sources,)."""
    return weights + MIN_WEIGHT * max(float(weights.max()), 1e-300)
