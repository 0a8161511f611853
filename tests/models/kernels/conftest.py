"""Networks and kernels of our own making, whose milliseconds are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from latcast.data import Dataset
from latcast.devices import Target
from latcast.graph import KERNEL_FACTS, OPERATORS, Graph, GraphBuilder, Tensor, kernel_facts
from latcast.networks import OPS, Networks, working_kernels

Floats = npt.NDArray[np.float64]

TARGET = Target("imaginary", "simulator")
NOISE = 0.01
CHANNELS = (16, 24, 32, 48, 64, 96, 128)


class Chain:
    """A network that grows layer by layer; shapes are (batch, channels, side, side)."""

    def __init__(self, channels: int = 3, side: int = 32, batch: int = 1) -> None:
        self._builder = GraphBuilder(batch, "chain")
        self.end = self._builder.input(channels, side, side)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the last layer gives."""
        return self.end.shape

    def add(
        self, op: str, out: Sequence[int] | None = None, also: Tensor | None = None, **facts: Any
    ) -> Chain:
        """A layer that reads the last one, and one more of the same shape if it is told so."""
        inputs = (self.end,) if also is None else (self.end, also)
        operator = op if op in OPERATORS else "com.example::Odd"
        self.end = self._builder.layer(op, operator, inputs, tuple(out or self.shape), **facts)
        return self

    def conv(self, outputs: int, window: int = 3, stride: int = 1) -> Chain:
        """A convolution with a bias."""
        self.end = self._builder.conv(self.end, outputs, window, stride=stride)
        return self

    def depthwise(self, window: int = 3, stride: int = 1) -> Chain:
        """A depthwise convolution with a bias."""
        channels = self.shape[1]
        self.end = self._builder.conv(self.end, channels, window, stride=stride, groups=channels)
        return self

    def classify(self, classes: int = 10) -> Chain:
        """A global pool and a linear layer."""
        batch, channels, *sides = self.shape
        self.add("global_pool", (batch, channels, 1, 1), window=tuple(sides))
        self.add("reshape", (batch, channels))
        self.end = self._builder.linear(self.end, classes)
        return self

    def graph(self) -> Graph:
        """The network as it is by now."""
        return self._builder.build(self.end)


def plain(rng: np.random.Generator) -> Graph:
    """Convolutions and pools."""
    chain = Chain(side=int(rng.choice([24, 32, 48])))
    for _ in range(int(rng.integers(1, 4))):
        for _ in range(int(rng.integers(1, 3))):
            chain.conv(int(rng.choice(CHANNELS)), int(rng.choice([1, 3]))).add("relu")
        side = chain.shape[2] // 2
        chain.add("max_pool", (*chain.shape[:2], side, side), window=(2, 2), stride=(2, 2))
    return chain.classify().graph()


def residual(rng: np.random.Generator) -> Graph:
    """Convolutions whose sums are activated."""
    chain = Chain(side=int(rng.choice([24, 32, 48])))
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.choice(CHANNELS))
        chain.conv(width, 3, 2).add("relu")
        start = chain.end
        chain.conv(width, 3).add("relu").conv(width, 3).add("add", also=start).add("relu")
    return chain.classify().graph()


def separable(rng: np.random.Generator) -> Graph:
    """Depthwise and pointwise convolutions."""
    chain = Chain(side=int(rng.choice([24, 32, 48]))).conv(int(rng.choice(CHANNELS)), 3, 2)
    for _ in range(int(rng.integers(2, 5))):
        chain.depthwise(int(rng.choice([3, 5])), int(rng.choice([1, 1, 2]))).add("relu")
        chain.conv(int(rng.choice(CHANNELS)), 1).add("relu")
    return chain.classify().graph()


FAMILIES = {"plain": plain, "residual": residual, "separable": separable}


@dataclass(frozen=True)
class Simulator:
    """A target on which a kernel takes a power of its work, by kind.

    Attributes:
        target: what it is called.
        slowness: factor on the milliseconds of all kernels.
        by_kind: factors on those of some kinds.
    """

    target: Target = TARGET
    slowness: float = 1.0
    by_kind: Mapping[str, float] = field(default_factory=dict)

    def kernel_ms(self, graph: Graph) -> Floats:
        """Milliseconds of the kernels of a network that do something, in running order."""
        kernels = working_kernels(graph)
        facts = dict(zip(KERNEL_FACTS, kernel_facts(graph, kernels).T, strict=True))
        moved = facts["read_bytes"] + facts["write_bytes"]
        kinds = [graph.layers[k.main].kind for k in kernels]
        factors = self.slowness * np.array([self.by_kind.get(kind, 1.0) for kind in kinds])
        ms = np.where(
            np.isin(kinds, ["conv", "linear"]),
            3e-7 * np.maximum(facts["macs"], 1) ** 0.9,
            4e-7 * moved**0.9,
        )
        return np.asarray(factors * (ms + 5e-4))

    def measured(
        self, n: int, seed: int = 0, families: Sequence[str] = tuple(FAMILIES), *,
        profiled: bool = False,
    ) -> Dataset:  # fmt: skip
        """n networks, families in turn, with 1 % of noise; with times of their kernels if asked."""
        rng = np.random.default_rng(seed)
        names = [families[k % len(families)] for k in range(n)]
        graphs = [FAMILIES[name](rng) for name in names]
        times = [self.kernel_ms(graph) for graph in graphs]
        noise = rng.normal(1.0, NOISE, n)
        return Dataset(
            tuple(graphs),
            np.array([ms.sum() for ms in times]) * noise,
            self.target,
            names=tuple(f"{name}({k})" for k, name in enumerate(names)),
            families=tuple(names),
            layers=tuple(map(_by_layer, graphs, times)) if profiled else None,
            provenance={"source": "closed form"},
        )


def _by_layer(graph: Graph, kernel_ms: Floats) -> Floats:
    """A profiler's times: those of a kernel are booked on its main layer."""
    times = np.full(len(graph), np.nan)
    times[[kernel.main for kernel in working_kernels(graph)]] = kernel_ms
    return times


@pytest.fixture(scope="session")
def chain() -> type[Chain]:
    """Start a network."""
    return Chain


@pytest.fixture(scope="session")
def simulator() -> type[Simulator]:
    """Make a simulated target."""
    return Simulator


MakeCounts = Callable[..., Networks]


@pytest.fixture(scope="session")
def made_kernels() -> MakeCounts:
    """Kernels of random facts: ``made_kernels(rng, ops, counts)``.

    ``ops`` are operators of d kernels, ``counts`` (n, d) how often each network has each; each
    network has one kernel by default. ``labels`` are the operators unless given.
    """

    def make(
        rng: np.random.Generator,
        ops: Sequence[str],
        counts: npt.ArrayLike | None = None,
        labels: Sequence[str] | None = None,
    ) -> Networks:
        facts = _random_facts(rng, ops)
        matrix = sp.csr_matrix(np.eye(len(ops)) if counts is None else np.asarray(counts, float))
        numbers = np.array([OPS.index(op) for op in ops], dtype=np.int64)
        return Networks(numbers, tuple(labels or ops), facts, matrix)

    return make


def _random_facts(rng: np.random.Generator, ops: Sequence[str]) -> Floats:
    """Facts of kernels of these operators that can be: products of what they are made of."""
    d = len(ops)
    side, outputs, inputs = rng.integers(4, 57, d), rng.integers(8, 257, d), rng.integers(8, 257, d)
    window = rng.choice([1, 9, 25], d)
    is_conv = np.isin(ops, ["conv", "linear"])
    positions = side**2
    facts = {
        "macs": np.where(is_conv, positions * outputs * inputs * window, 0),
        "param_bytes": np.where(is_conv, 4 * outputs * inputs * window, 0),
        "read_bytes": 4 * positions * inputs,
        "write_bytes": 4 * positions * outputs,
        "positions": positions,
        "outputs": outputs,
        "inputs": inputs,
        "window": window,
        "stride": np.ones(d),
        "groups": np.ones(d),
        "layers": np.ones(d),
        "batch": np.ones(d),
        "blocked": np.zeros(d),
    }
    return np.stack([facts[name] for name in KERNEL_FACTS], axis=1).astype(np.float64)
