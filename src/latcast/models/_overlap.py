"""GPUs over batch sizes: the host launches kernels while the GPU computes.

A batch takes the longer of two times that overlap: that of the GPU, which grows with the batch,
and that in which the host launches the kernels, which does not. The first is known from targets
with a large batch, in proportion to the device's roofline; the second from targets of batch 1, and
differs from host to host, which no specification of a GPU tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from latcast.spaces import Archs

from ._similarity import Source, TargetSpec, predict_log_scale, similarities

Floats = npt.NDArray[np.float64]

FULL_BATCH = 16
"""From here on, a batch is taken to keep a GPU busy."""
POWER = 6.0
"""Of the norm that stands for the longer of two times: where they are equal, 12 % are added."""
NODES = 7
ANOTHER_HOST = 0.05
SLOPE = (1.0, 0.2)
"""A busy GPU's time follows its roofline."""


@dataclass(frozen=True)
class Overlap:
    """Which sources tell of the GPU's time, and which of the host's.

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
        deviation = float(np.hypot(busy * gpu_deviation, (1 - busy) * host_deviation))
        return expected / mean, (float(np.log(mean)), deviation)

    def _gpu(self, values: Floats, archs: Archs) -> tuple[Floats, tuple[float, float]]:
        """Shape (n,) of the GPU's time, and mean and deviation of its logarithm in ms a sample."""
        sources = [self.sources[n] for n in self.busy]
        at = [_at_batch(self.spec, s.spec.target.batch) for s in sources]
        weights = np.array([similarities(a, [s.spec])[0] for a, s in zip(at, sources, strict=True)])
        weights += 1e-6 * max(float(weights.max()), 1e-300)
        scale = predict_log_scale(
            _log_per_sample(at[int(np.argmax(weights))], archs),
            [_log_per_sample(s.spec, archs) for s in sources],
            np.log([s.mean_ms / s.spec.target.batch for s in sources]),
            weights,
            SLOPE,
        )
        return values[:, self.busy] @ (weights / weights.sum()), scale


def _at_batch(spec: TargetSpec, batch: int) -> TargetSpec:
    return replace(spec, target=replace(spec.target, batch=batch))


def _log_per_sample(spec: TargetSpec, archs: Archs) -> float | None:
    roofline = spec.roofline_ms(archs)
    return None if roofline is None else float(np.log(roofline / spec.target.batch))
