"""Which kernels a model has seen: what lies outside is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.graph import KERNEL_FACTS, UNKNOWN

from ._kernels import ALL_KINDS, KernelCounts

Floats = npt.NDArray[np.float64]

CHECKED = ("macs", "param_bytes", "positions", "outputs", "inputs", "window", "stride", "batch")
"""Facts whose range is watched."""
MARGIN = 1.5
"""Factor beyond the smallest and the largest that was seen which is not worth a word."""
_TITLES = {
    "macs": "MACs", "param_bytes": "bytes of constants", "positions": "positions",
    "outputs": "output channels", "inputs": "input channels", "window": "pixels of the window",
    "stride": "pixels of the stride", "batch": "samples",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a model may be wrong about a kernel.

    Attributes:
        subject: what the model has not seen, such as ``output channels``, or ``conv+add+relu``.
        value: how much of it the kernel has; None where the model has seen none at all.
        low: the least that the model has seen, and
        high: the most; None likewise.
    """

    subject: str
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return self.seen
        return f"{self.subject}: {self.value:.4g}, where {self.seen}"

    @property
    def seen(self) -> str:
        """What the model has seen, in words."""
        if self.subject == UNKNOWN:
            return "its cost is not known"
        if self.value is None:
            return f"the model has seen no {self.subject}"
        return f"the model has seen {self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class Ranges:
    """What the kernels of the training networks were like.

    Attributes:
        low: smallest of every fact of :data:`CHECKED` by kind, shape (kinds, facts); infinite for
            kinds that were not seen.
        high: the largest; minus infinite likewise.
    """

    low: Floats
    high: Floats

    @classmethod
    def of(cls, kernels: KernelCounts) -> Ranges:
        """Of d kernels."""
        low = np.full((len(ALL_KINDS), len(CHECKED)), np.inf)
        high = -low
        values = _checked(kernels)
        np.minimum.at(low, kernels.kinds, values)
        np.maximum.at(high, kernels.kinds, values)
        return cls(low, high)

    def joined(self, other: Ranges) -> Ranges:
        """What either has seen."""
        return Ranges(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def doubts(self, kernels: KernelCounts, labels: frozenset[str]) -> list[Doubt | None]:
        """What is strange about each of d kernels to a model that knows these labels."""
        values = _checked(kernels)
        return [
            self._doubt(int(kind), label, row, known=label in labels)
            for kind, label, row in zip(kernels.kinds, kernels.labels, values, strict=True)
        ]

    def _doubt(self, kind: int, label: str, values: Floats, *, known: bool) -> Doubt | None:
        if ALL_KINDS[kind] == UNKNOWN or not np.isfinite(self.low[kind]).all():
            return Doubt(ALL_KINDS[kind])
        for name, value, low, high in zip(
            CHECKED, values, self.low[kind], self.high[kind], strict=True
        ):
            if not low / MARGIN <= value <= high * MARGIN:
                return Doubt(_TITLES[name], float(value), float(low), float(high))
        return None if known else Doubt(label)


def _checked(kernels: KernelCounts) -> Floats:
    return kernels.facts[:, [KERNEL_FACTS.index(name) for name in CHECKED]]
