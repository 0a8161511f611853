"""Forecasts against a budget of milliseconds, and memory against a limit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from latcast.graph import Graph, as_run, dequantized, rules_of
from latcast.graph.precision import BITS
from latcast.graph.qdq import runs_quantized
from latcast.models import Predictor
from latcast.models.quantized_network import INT8, runs_dequantized
from latcast.models.query import Resolved
from latcast.networks import Networks

from .front import Floats

TOO_WIDE = Predictor.too_wide
CHANCES = {"certain": 0.95, "likely": 0.5, "unlikely": 0.05, "no": 0.0}
"""What an answer is called -> the least P(within budget) that it has, the best first."""


@dataclass(frozen=True, eq=False)
class WithinBudget:
    """Forecasts of n networks on one target, and whether they keep a budget.

    Attributes:
        ms: predicted, shape (n,).
        lower_ms: lower end of the interval, shape (n,).
        upper_ms: upper end, shape (n,).
        probability: that the latency is within the budget, shape (n,).
    """

    ms: Floats
    lower_ms: Floats
    upper_ms: Floats
    probability: Floats

    @classmethod
    def of(
        cls, predictor: Predictor, kernels: Networks, max_latency_ms: float, coverage: float
    ) -> WithinBudget:
        """Forecasts of networks as the predictor's target runs them.

        Raises:
            ValueError: the predictor has no calibration, or too little of it for the coverage.
        """
        ms, lower, upper, probability = predictor.within(kernels, max_latency_ms, coverage)
        return cls(ms, lower, upper, np.clip(probability, 0.0, 1.0))


def fuses_as(predictor: Predictor) -> str:
    """The runtime whose rules fuse as that of the predictor's target does, as its model has it."""
    runtime = predictor.target.runtime
    if predictor.kind != "joint-target":
        return runtime
    from latcast.models.joint import JointPredictor

    return predictor.fuses_as if isinstance(predictor, JointPredictor) else runtime


def chance(probability: float) -> str:
    """Return the word for P(within budget)."""
    return next(name for name, least in CHANCES.items() if probability >= least)


class _RuntimeMemory(NamedTuple):
    """The memory of a network in a runtime: shares of its parts, and bytes of the runtime's own."""

    weights: float = 1.0
    activations: float = 1.0
    largest: float = 0.0
    unblocked: float = 0.0
    bytes: float = 0.0
    kernel_bytes: float = 0.0


# Least absolute relative errors on 120 networks of all families in fp32, one thread, batch 1 (60 of
# seeds 11 and 12, measured as `benchmarks/peak_memory.py` does). ONNX Runtime's arena holds what
# the first pass took beside the plan that later passes have; OpenVINO keeps the file's weights
# beside its own. What the largest kernel reads and writes stands for activations, since liveness
# counts layers that a runtime fuses; tensors whose channels are in no blocks are copied. Chosen
# among some thirty forms by families left out of the 120, of which the median error is 8 and 5 %;
# by liveness alone 9 and 6 %.
_RUNTIMES = {
    "onnxruntime": _RuntimeMemory(1.054, 0.0, 2.64, 0.077, 0.39e6, 10.5e3),
    "openvino": _RuntimeMemory(2.09, 0.0, 1.25, 0.143, 4.93e6, 124.5e3),
}
# Of networks with tensors that wait for long the largest kernel says little: no less than this
# share of what liveness counts is taken, which hardly ever binds in the families.
_MIN_OF_LIVENESS = 0.5


class KernelTotals(NamedTuple):
    """The kernels that each of n networks runs.

    Attributes:
        counts: how many, shape (n,).
        largest_bytes: the most that one of them reads and writes, shape (n,).
        unblocked_bytes: what those read and write together whose channels are not in blocks, shape
            (n,).
    """

    counts: Floats
    largest_bytes: Floats
    unblocked_bytes: Floats

    @classmethod
    def of(cls, kernels: Networks) -> KernelTotals:
        """The totals of networks that a runtime runs."""
        traffic = kernels.fact("read_bytes") + kernels.fact("write_bytes")
        each = kernels.counts.astype(bool).multiply(traffic).tocsr()
        return cls(
            np.asarray(kernels.counts.sum(axis=1), dtype=np.float64).ravel(),
            np.asarray(each.max(axis=1).toarray(), dtype=np.float64).ravel(),
            np.asarray(kernels.counts @ (traffic * (kernels.fact("blocked") == 0))),
        )


def memory_bytes(
    activations: Floats | float,
    params: Floats | float,
    precision: str,
    runtime: str = "",
    kernels: KernelTotals | None = None,
) -> Floats:
    """Peak memory of a network's passes beyond what its runtime takes without one.

    Its weights, and the activations that are held at once by liveness, both at the width of the
    target's precision; of a runtime that was measured (on a CPU) as that holds them. That is
    what ``latcast measure --quantity peak_memory_mb`` measures.

    Args:
        activations: the most bytes that are held at once, in fp32.
        params: numbers of weights.
        precision: of the target.
        runtime: of the target; of one that was not measured nothing is known but the network.
        kernels: that the runtime runs; without them activations go by liveness alone.
    """
    own = _RUNTIMES.get(runtime, _RuntimeMemory())
    held = np.asarray(activations, dtype=np.float64)
    if kernels is None:
        kernels = KernelTotals(np.zeros_like(held), held, np.zeros_like(held))
    largest = np.clip(kernels.largest_bytes, _MIN_OF_LIVENESS * held, held)
    share = BITS[precision] / BITS["fp32"]
    weights = np.asarray(params) * BITS["fp32"] / 8
    total = own.weights * weights + own.activations * held + own.largest * largest
    total = share * (total + own.unblocked * kernels.unblocked_bytes)
    return np.asarray(total + own.bytes + own.kernel_bytes * kernels.counts)


def check_budget(max_latency_ms: float, *shares: tuple[str, float | None]) -> None:
    """Make sure that a budget is positive, and that shares lie between 0 and 1.

    Raises:
        ValueError: they do not.
    """
    if not 0 < max_latency_ms < np.inf:
        raise ValueError(f"a budget must be a positive number of ms; got {max_latency_ms}")
    for name, share in shares:
        if share is not None and not 0 < share < 1:
            raise ValueError(f"the {name} must be between 0 and 1, such as 0.9; got {share}")


class GraphKernels:
    """The kernels of one graph, made once for all targets that fuse alike, and its memory."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        precision = graph.precision
        self.is_int8 = precision == INT8
        own = precision if precision in BITS else "fp32"
        # Of a network whose file is narrower than the target, memory is the file's.
        self._is_whole = own == "fp32"
        self._params = graph.params * BITS[own] / BITS["fp32"]
        self._activations = graph.peak_activation_bytes
        self._known: dict[tuple[int, str, bool], Networks] = {}
        # Thousands of targets are of some dozen runtimes and precisions.
        self._bytes: dict[tuple[int, str, str], int] = {}

    @cached_property
    def _in_floats(self) -> GraphKernels:
        return GraphKernels(dequantized(self.graph))

    def memory_bytes(self, found: Resolved) -> int:
        """Peak memory on the target of a predictor.

        A network in int8 takes what the same one in floats takes at that width, whichever of both
        its file holds.
        """
        if self.is_int8:
            return self._in_floats.memory_bytes(found)
        target = found.predictor.target
        width = target.precision if self._is_whole else "fp32"
        kernels = self._fused(found, "fp32")
        key = (id(kernels), width, target.runtime)
        if key not in self._bytes:
            held, totals = self._activations, KernelTotals.of(kernels)
            memory = memory_bytes(held, self._params, width, target.runtime, totals)
            self._bytes[key] = int(memory[0])
        return self._bytes[key]

    def of(self, found: Resolved) -> Networks:
        """Return the kernels that a predictor's target runs."""
        if self.is_int8 and runs_dequantized(found):
            return self._in_floats.of(found)
        return self._fused(found, found.predictor.target.precision)

    def _fused(self, found: Resolved, precision: str) -> Networks:
        """Return the kernels that the predictor's runtime runs in a precision."""
        fused = fuses_as(found.predictor)
        rules = rules_of(fused)
        key = (id(rules), precision, runs_quantized(fused, precision))
        if key not in self._known:
            run = as_run(self.graph, fused, precision)
            self._known[key] = Networks.of_graphs([run], rules, precision)
        return self._known[key]
