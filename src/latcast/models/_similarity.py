"""How alike targets are, and how long they should take by their specifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latcast._names import unknown_name
from latcast.devices import KINDS, Device, Target
from latcast.spaces import Archs

Floats = npt.NDArray[np.float64]

KIND_STEP, ARCHITECTURE_STEP = 2.0, 2.0
DEVICE_STEP, RUNTIME_STEP, PRECISION_STEP = 1.0, 1.0, 1.0
BATCH_OCTAVES = 2.0
BALANCE_OCTAVES = 2.0
"""Steps between targets: those of another device, runtime or precision, or so many octaves apart in
batch or in FLOP per byte, are one unit of distance apart, another kind or architecture two more."""

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
FACTS_BYTES = 4
FLOPS_PER_MAC = 2

SLOPE = (0.75, 0.35)
"""Mean and deviation of what a latency's logarithm gains with that of the roofline."""
UNEXPLAINED = 0.4
UNEXPLAINED_WEIGHT = 2.0


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
        """What a device's specification says of a target."""
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
        """What it holds, JSON-able."""
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


@dataclass(frozen=True, slots=True)
class Source:
    """A target that a base model was trained on, its mean latency and number of measurements."""

    spec: TargetSpec
    mean_ms: float
    rows: int


def _differ(first: str | None, second: str | None) -> bool:
    """Whether two names are known to differ."""
    return first is not None and second is not None and first != second


def positive(value: object) -> float:
    """A figure of a file, as a positive and finite number.

    Raises:
        ValueError: it is none.
    """
    number = float(str(value))
    if not 0 < number < np.inf:
        raise ValueError(f"a figure must be positive and finite; got {number}")
    return number


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
        variance = float(w @ (log_scales - mean) ** 2) + UNEXPLAINED**2
        return mean, float(np.sqrt(variance))
    w = np.where(usable, w, 0.0) / w[usable].sum()
    centre, middle = float(w @ x), float(w @ log_scales)
    effective = 1 / float(w @ w)
    precision = effective * float(w @ (x - centre) ** 2) / UNEXPLAINED**2
    moment = effective * float(w @ ((x - centre) * (log_scales - middle))) / UNEXPLAINED**2
    prior = slope[1] ** -2
    found = (moment + prior * slope[0]) / (precision + prior)
    away = log_roofline - centre
    left = log_scales - middle - found * (x - centre)
    residual = (UNEXPLAINED_WEIGHT * UNEXPLAINED**2 + effective * float(w @ left**2)) / (
        UNEXPLAINED_WEIGHT + effective
    )
    variance = residual * (1 + 1 / effective) + away**2 / (precision + prior)
    return middle + found * away, float(np.sqrt(variance))
