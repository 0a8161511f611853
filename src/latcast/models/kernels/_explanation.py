"""Contributions of kernels to a network's ms, and kernels that are out of distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latcast.graph import (
    KERNEL_FACTS,
    UNKNOWN,
    Graph,
    Rule,
    kernel_label,
    kernel_reads,
    written_shape,
)
from latcast.graph.precision import BITS
from latcast.models.forecast_records import ForecastKernel
from latcast.networks import ALL_KINDS, Networks, kernel_runs, working_kernels

Floats = npt.NDArray[np.float64]

# Facts whose range is watched.
CHECKED = ("macs", "param_bytes", "positions", "outputs", "inputs", "window", "stride", "batch")
# Factor beyond the smallest and the largest that was seen which is not worth a word.
MARGIN = 1.5
_TITLES = {
    "macs": "MACs", "param_bytes": "bytes of constants", "positions": "positions",
    "outputs": "output channels", "inputs": "input channels", "window": "pixels of the window",
    "stride": "pixels of the stride", "batch": "samples",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extrapolation:
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
        """The training networks' range of the fact, in words."""
        if self.subject == UNKNOWN:
            return "its cost is not known"
        if self.value is None:
            return f"the model has seen no {self.subject}"
        return f"the model has seen {self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class Ranges:
    """The ranges of the facts of the training networks' kernels.

    Attributes:
        low: smallest of every fact of :data:`CHECKED` by kind, shape (kinds, facts); infinite for
            kinds that were not seen.
        high: the largest; minus infinite likewise.
    """

    low: Floats
    high: Floats

    @classmethod
    def of(cls, kernels: Networks) -> Ranges:
        """Return the ranges of d kernels."""
        low = np.full((len(ALL_KINDS), len(CHECKED)), np.inf)
        high = -low
        values = _checked(kernels)
        np.minimum.at(low, kernels.kinds, values)
        np.maximum.at(high, kernels.kinds, values)
        return cls(low, high)

    def joined(self, other: Ranges) -> Ranges:
        """Return the union of two ranges."""
        return Ranges(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def extrapolations(
        self, kernels: Networks, labels: frozenset[str]
    ) -> list[Extrapolation | None]:
        """Return the extrapolation of each of d kernels from the labels that the model knows."""
        values = _checked(kernels)
        operators = {op for label in labels for op in _operators(label)}
        return [
            self._extrapolation(int(kind), label, row, operators, known=label in labels)
            for kind, label, row in zip(kernels.kinds, kernels.labels, values, strict=True)
        ]

    def _extrapolation(
        self, kind: int, label: str, values: Floats, operators: set[str], *, known: bool
    ) -> Extrapolation | None:
        # One reason a kernel, the gravest first: a kind that was never seen says all of its facts,
        # and so does an operator.
        if ALL_KINDS[kind] == UNKNOWN or not np.isfinite(self.low[kind]).all():
            return Extrapolation(ALL_KINDS[kind])
        if new := [op for op in _operators(label) if op not in operators]:
            return Extrapolation(new[0])
        for name, value, low, high in zip(
            CHECKED, values, self.low[kind], self.high[kind], strict=True
        ):
            if not low / MARGIN <= value <= high * MARGIN:
                return Extrapolation(_TITLES[name], float(value), float(low), float(high))
        return None if known else Extrapolation(label.replace(_BLOCKED, " (channels in blocks)"))


# How the label of a kernel ends whose channels are kept in blocks.
_BLOCKED = "/blocked"


def _operators(label: str) -> list[str]:
    return label.removesuffix(_BLOCKED).split("+")


def _checked(kernels: Networks) -> Floats:
    return kernels.facts[:, [KERNEL_FACTS.index(name) for name in CHECKED]]


# What a kernel waits for, by the work that has the largest part in its price.
BOUNDS = ("compute", "bandwidth", "bandwidth", "launch")


@dataclass(frozen=True)
class LayerExplanation:
    """A network's latency, kernel by kernel.

    Attributes:
        ms: of the network, the sum over its kernels.
        lower_ms: of the interval.
        upper_ms: of the interval.
        kernels: in running order.
        extrapolations: why the model may be wrong about each; None where it has seen the like.
    """

    ms: float
    lower_ms: float
    upper_ms: float
    kernels: tuple[ForecastKernel, ...]
    extrapolations: tuple[Extrapolation | None, ...]

    @property
    def total_ms(self) -> float:
        """All kernels together."""
        return sum(k.ms for k in self.kernels)

    @property
    def extrapolated_share(self) -> float:
        """Share of the milliseconds that belongs to kernels out of the distribution."""
        return _share(sum(k.ms for k in self.kernels if k.extrapolation), self.ms)

    @property
    def extrapolated_kernels(self) -> float:
        """Share of the kernels that are, however little they are forecast to take."""
        return sum(k.extrapolation is not None for k in self.kernels) / max(1, len(self.kernels))

    @property
    def extrapolated_upper_share(self) -> float:
        """Share of the milliseconds if those kernels take as long as their intervals allow."""
        upper = sum(k.upper_ms for k in self.kernels if k.extrapolation)
        return _share(upper, upper + sum(k.ms for k in self.kernels if not k.extrapolation))

    def share_by_bound(self) -> dict[str, float]:
        """Share of the milliseconds by what kernels wait for."""
        shares = dict.fromkeys((*dict.fromkeys(BOUNDS), UNKNOWN), 0.0)
        for kernel in self.kernels:
            shares[kernel.bound] += _share(kernel.ms, self.ms)
        return shares


def _share(part: float, whole: float) -> float:
    """Return a part's share of a whole; 0 of networks of views alone, which take no time."""
    return part / whole if whole else 0.0


def explain(
    graph: Graph,
    rules: Sequence[Rule],
    kernels: Networks,
    of_kernels: tuple[Floats, Floats, Sequence[str], Sequence[Extrapolation | None]],
    of_network: tuple[float, float, float],
    precision: str = "fp32",
) -> LayerExplanation:
    """Put together what is known of one network.

    Args:
        graph: the network.
        rules: by which its layers are fused.
        kernels: the same as counts of d distinct kernels.
        of_kernels: ms of one run of each (d,), factors that intervals reach to either side (d,),
            what they are bound by, and why the model may be wrong about them.
        of_network: ms, and the interval.
        precision: of the target, at whose width memory is read and written.
    """
    each_ms, factors, bounds, extrapolations = of_kernels
    moved = kernels.fact("read_bytes") + kernels.fact("write_bytes") + kernels.fact("param_bytes")
    found, total_ms = working_kernels(graph, rules), of_network[0]
    listed, rows = [], kernels.rows[0].tolist()
    names, runs = [graph.layers[k.main].name for k in found], kernel_runs(graph, found).tolist()
    reads = kernel_reads(graph, found)
    for kernel, row, times, sources in zip(found, rows, runs, reads, strict=True):
        main, ms = graph.layers[kernel.main], float(each_ms[row] * times)
        # Intervals of single kernels do not add up to that of the network, whose kernels err apart.
        factor, macs = float(factors[row]), int(kernels.fact("macs")[row] * times)
        # Numbers that a file holds with more bits are stored as the target computes.
        narrower = min(1.0, BITS[precision] / BITS.get(main.precision, BITS[precision]))
        listed.append(
            ForecastKernel(
                name=main.name,
                operators=kernel_label(graph, kernel),
                kind=main.kind,
                layers=[graph.layers[n].name for n in kernel.layers],
                inputs=[names[n] for n in sources],
                out_shape=written_shape(graph, kernel),
                ms=ms,
                lower_ms=ms / factor,
                upper_ms=ms * factor,
                share=ms / total_ms,
                macs=macs,
                param_bytes=int(kernels.fact("param_bytes")[row] * narrower),
                traffic_bytes=int(moved[row] * times * narrower),
                # A multiply-accumulate is two operations; 10^6 in a millisecond, 10^9 in a second.
                gflop_s=2 * macs / ms / 1e6,
                bound=UNKNOWN if main.kind == UNKNOWN else bounds[row],
                extrapolation=None if (why := extrapolations[row]) is None else str(why),
            )
        )
    return LayerExplanation(*of_network, tuple(listed), tuple(extrapolations[n] for n in rows))
