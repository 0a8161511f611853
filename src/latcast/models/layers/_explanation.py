"""Where the milliseconds of a network go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latcast.graph import UNKNOWN, Graph, Kernel, kernel_label

from ._kernels import KernelCounts
from ._model import Forecast
from ._prices import Prices, work_of
from ._ranges import Doubt

BOUNDS = ("compute", "bandwidth", "bandwidth", "launch")
"""What a kernel waits for, by the work that has the largest part in its price."""


@dataclass(frozen=True, slots=True)
class KernelForecast:
    """What is forecast of one kernel of a network.

    Attributes:
        name: of its main layer.
        operators: its operators in running order, such as ``conv+add+relu``.
        layers: names of its layers.
        kind: of its main layer, such as ``conv``; ``unknown`` where the cost is not known.
        ms: milliseconds.
        lower_ms: of the interval.
        upper_ms: of the interval.
        macs: multiply-accumulates.
        param_bytes: constants that it reads.
        moved_bytes: activations and constants that it reads, and activations that it writes.
        bound: ``compute``, ``bandwidth`` or ``launch``: what it waits for, by the model's prices;
            ``unknown`` for an operator that nobody knows.
        doubt: why the model may be wrong about it; None where it has seen the like.
    """

    name: str
    operators: str
    layers: tuple[str, ...]
    kind: str
    ms: float
    lower_ms: float
    upper_ms: float
    macs: int
    param_bytes: int
    moved_bytes: int
    bound: str
    doubt: Doubt | None


@dataclass(frozen=True)
class LayerExplanation:
    """A network's latency, kernel by kernel.

    Attributes:
        ms: of the network, the sum over its kernels.
        lower_ms: of the interval.
        upper_ms: of the interval.
        kernels: in running order.
    """

    ms: float
    lower_ms: float
    upper_ms: float
    kernels: tuple[KernelForecast, ...]

    @property
    def doubtful_share(self) -> float:
        """Share of the milliseconds that belongs to kernels with a doubt."""
        return sum(k.ms for k in self.kernels if k.doubt) / self.ms

    def share_by_bound(self) -> dict[str, float]:
        """Share of the milliseconds by what kernels wait for."""
        shares = dict.fromkeys((*dict.fromkeys(BOUNDS), UNKNOWN), 0.0)
        for kernel in self.kernels:
            shares[kernel.bound] += kernel.ms / self.ms
        return shares


def explain(
    graph: Graph,
    found: Sequence[Kernel],
    kernels: KernelCounts,
    forecast: Forecast,
    prices: Prices,
    doubts: Sequence[Doubt | None],
    deviations: float,
) -> LayerExplanation:
    """Put together what is known of one network.

    Args:
        graph: the network.
        found: its kernels that do something, in running order.
        kernels: the same as counts.
        forecast: of the network and of its distinct kernels.
        prices: of the model.
        doubts: about every distinct kernel.
        deviations: that intervals reach to either side.
    """
    parts = prices.parts(kernels)
    moved = work_of(kernels)[:, 1:3].sum(axis=1)
    factors = np.exp(deviations * forecast.kernel_deviation)
    listed = []
    for kernel, row in zip(found, kernels.rows[0].tolist(), strict=True):
        main = graph.layers[kernel.main]
        ms = float(forecast.kernel_ms[row] * forecast.factor[0])
        factor = float(factors[row])
        listed.append(
            KernelForecast(
                name=main.name,
                operators=kernel_label(graph, kernel),
                layers=tuple(graph.layers[n].name for n in kernel.layers),
                kind=main.kind,
                ms=ms,
                lower_ms=ms / factor,
                upper_ms=ms * factor,
                macs=int(kernels.fact("macs")[row]),
                param_bytes=int(kernels.fact("param_bytes")[row]),
                moved_bytes=int(moved[row]),
                bound=BOUNDS[int(np.argmax(parts[row]))] if main.kind != UNKNOWN else UNKNOWN,
                doubt=doubts[row],
            )
        )
    ms, factor = float(forecast.ms[0]), float(np.exp(deviations * forecast.deviation[0]))
    return LayerExplanation(ms, ms / factor, ms * factor, tuple(listed))
