"""Lower bounds of latencies by a device's peak of arithmetic and its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from latcast.graph.precision import BITS
from latcast.networks import Networks

Floats = npt.NDArray[np.float64]

# Multiply-adds that a convolution of 3 x 3 and stride 1 is computed with, of those of its
# definition: Winograd's F(6 x 6, 3 x 3), the largest tiles that runtimes use, takes 8 x 8 products
# for 6 x 6 outputs of nine (Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*,
# CVPR 2016).
WINOGRAD = 64 / (36 * 9)
WINDOW = 9.0


class RunsOn(Protocol):
    """The facts of a target's device, and the precision of its arithmetic."""

    @property
    def facts(self) -> Mapping[str, float | None]:
        """The facts by name, in the units of the catalogue; None where unknown."""

    @property
    def precision(self) -> str:
        """The precision of the arithmetic, such as ``fp32``."""

    @property
    def in_halves(self) -> bool:
        """Whether a network in fp32 is stored and computed in fp16."""


def bound_ms(networks: Networks, target: RunsOn) -> Floats:
    """Milliseconds that no runtime can be below, shape (n,); 0 where the device is unknown.

    Every kernel takes at least its arithmetic at the device's peak, and at least what it has to
    move through memory: its constants beyond the last cache, as wide as the target's precision has
    them where their file is of fp32. A cache may hold the rest since the kernel before.
    """
    return np.asarray(bounds_ms(networks, [target])[:, 0])


def bounds_ms(networks: Networks, targets: Sequence[RunsOn]) -> Floats:
    """:func:`bound_ms` on each of t targets, shape (n, t)."""
    wino = (networks.fact("window") == WINDOW) & (networks.fact("stride") <= 1)
    wino &= networks.fact("groups") <= 1
    operations = 2 * networks.fact("macs") * np.where(wino, WINOGRAD, 1.0)
    constants = networks.fact("param_bytes")
    # What is not known bounds nothing: then the rate is infinite.
    peaks, widths, caches, bandwidths = (np.full(len(targets), np.inf) for _ in range(4))
    for n, target in enumerate(targets):
        facts, halves = target.facts, target.in_halves
        if peak := facts.get("bound_flops"):
            peaks[n] = 2 * peak if halves else peak
        widths[n] = 0.5 if halves else min(BITS.get(target.precision, 32) / 32, 1.0)
        bandwidth, cache = facts.get("bandwidth_gb_s"), facts.get("last_level_kb")
        if bandwidth and cache:
            caches[n], bandwidths[n] = cache * 1024, bandwidth * 1e9
    moved = np.maximum(constants[:, None] * widths - caches, 0)
    kernels = np.maximum(operations[:, None] / peaks, moved / bandwidths)
    return np.asarray(networks.counts @ kernels * 1e3)
