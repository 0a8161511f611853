"""Random choices of what a mixed network is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

import numpy as np

from latcast.graph import GraphBuilder, Tensor

T = TypeVar("T")

_KINDS = (
    *["relu", "relu6", "h_swish", "silu", "gelu"] * 2,
    "leaky_relu",
    "elu",
    "sigmoid",
    "h_sigmoid",
    "tanh",
    "mish",
    "softplus",
)
_GATES = ("sigmoid", "h_sigmoid", "tanh")
_KERNELS = (1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7)
_DEPTHWISE_KERNELS = (3, 3, 3, 5, 5, 7, 7, 9, 11)
_MOST_PARAMS = 3_000_000
_MOST_ELEMENTS = 800_000
_MOST_CHANNELS = 2048


@dataclass(frozen=True, slots=True)
class Draws:
    """Random sizes within the limits of one part of a network.

    Attributes:
        b: what the network is written with.
        rng: is advanced.
        most_macs: multiply-accumulates of one operator for one sample.
    """

    b: GraphBuilder
    rng: np.random.Generator
    most_macs: float

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        """True in this share of all cases."""
        return bool(self.rng.random() < share)

    def between(self, least: float, most: float) -> int:
        """An integer from ``least`` to ``most``, uniform in its logarithm."""
        low, high = np.log(least), np.log(max(least, most) + 0.999)
        return int(np.exp(self.rng.uniform(low, high)))

    def features(self, positions: int, fan_in: float, *, of: int = 1) -> int:
        """A number of channels or features whose computation stays within the limits.

        Args:
            positions: for which each of them is computed, without the batch.
            fan_in: multiply-accumulates of one of them at one position.
            of: number of which it is a multiple.
        """
        most = min(
            self.most_macs / (positions * fan_in),
            _MOST_PARAMS / fan_in,
            _MOST_ELEMENTS / positions,
            _MOST_CHANNELS,
        )
        # Half of them near the most: else narrow ones would be nearly all.
        n = self.between(max(4.0, most / 8) if self.chance(0.5) else 4, max(4.0, most))
        # Half of all networks have round widths, for which runtimes have other code.
        unit = np.lcm(of, self.pick((1, 8, 16))) if n > 16 else of
        return max(int(unit), n // int(unit) * int(unit))

    def groups(self, channels: int) -> int:
        """Groups of a convolution of ``channels``: mostly one."""
        return gcd(channels, self.pick((1, 1, 1, 1, 2, 3, 4, 8, 16)))

    def kernel_size(self, x: Tensor, *, depthwise: bool = False) -> int:
        """Side of a window that fits into a map."""
        wanted = self.pick(_DEPTHWISE_KERNELS if depthwise else _KERNELS)
        return min(wanted, *(s | 1 for s in x.shape[2:]))

    def stride(self, x: Tensor) -> int:
        """1 or 2; 2 more often where the map is large, as networks have few large maps."""
        side = min(x.shape[2:])
        if side < 4:
            return 1
        return 2 if self.chance(min(0.8, side / 80 + 0.1)) else 1

    def activate(self, x: Tensor, share: float = 0.8) -> Tensor:
        """Some activation, in this share of all cases."""
        if not self.chance(share):
            return x
        return self.b.activation(x, self.pick(_KINDS), native=self.chance(0.6))

    def gate(self, x: Tensor) -> Tensor:
        """An activation with small outputs only, by which others may be multiplied."""
        return self.b.activation(x, self.pick(_GATES), native=self.chance(0.6))
