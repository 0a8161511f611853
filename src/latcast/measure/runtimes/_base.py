"""The contract of a runtime."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from latcast._imports import require
from latcast.devices import cpu_features
from latcast.graph import Graph, Weights
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.write.onnx import INPUT, to_onnx

from ._onnx_models import Arrays, UnsupportedNetworkError, parse, random_inputs

Floats = npt.NDArray[np.float32]

OPERATORS = frozenset({
    "conv", "depthwise_conv", "linear", "relu", "relu6", "h_swish", "h_sigmoid",
    "global_pool", "avg_pool", "max_pool", "reshape", "transpose", "identity", "add", "mul",
    "scale",
})  # fmt: skip
"""Operators that every runtime of ours runs in networks of a space."""


# Instructions for products of bf16, as Linux calls them.
_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def check_bf16(name: str) -> None:
    """Make sure that this CPU multiplies in bf16, where it says what it does.

    Raises:
        ValueError: it does not; a runtime would compute in fp32 between two conversions.
    """
    has = cpu_features()
    if has and not set(_BF16).intersection(has):
        raise ValueError(
            f"{name} needs one of {', '.join(_BF16)} for precision bf16; this CPU has "
            f"{', '.join(has)}: use precision fp32"
        )


def wheel(distribution: str) -> str:
    """Return the tags of an installed distribution's wheel, such as ``cp311-cp311-...``."""
    lines = (metadata.distribution(distribution).read_text("WHEEL") or "").splitlines()
    tags = [x.removeprefix("Tag: ") for x in lines if x.startswith("Tag: ")]
    return f"wheel {', '.join(tags)}" if tags else "not stated"


class LoadedNetwork(ABC):
    """A network that a runtime has prepared, with its input in place.

    :meth:`run` is called many times; :meth:`output` reads the result of the last call.
    """

    @abstractmethod
    def run(self) -> None:
        """One forward pass of the whole batch, finished when this returns."""

    @abstractmethod
    def output(self) -> Floats:
        """Output of the last :meth:`run`, shape (batch, features) or (batch, C, H, W)."""

    def time(self, repeats: int) -> float:
        """Seconds that ``repeats`` passes in a row take, on the monotonic clock.

        A device that works asynchronously overrides this to synchronize.
        """
        # Looked up once: for networks of microseconds an attribute's look-up is a part of the time.
        run = self.run
        start = time.perf_counter_ns()
        for _ in range(repeats):
            run()
        return (time.perf_counter_ns() - start) * 1e-9

    def profile(self, repeats: int) -> Mapping[int, float] | None:
        """Milliseconds a pass by layer position, from the runtime's own profiler.

        Medians over passes, so that one which the machine held up does not count. A fused
        layer's time is attributed to the layer that it is named after. None where the runtime has
        no profiler, or was not loaded for it; or where no layer of the model has a number.
        """
        return None


class Runtime(ABC):
    """Runs networks on this machine.

    A campaign makes one object per worker process, calls :meth:`load` for every run, times the
    result and drops it. Objects hold no state between networks but the runtime's own.

    A runtime of your own sets the names below, and defines :meth:`facts` and one of
    :meth:`_load_onnx` and :meth:`_load`: our networks are written as ONNX for a runtime that
    takes ONNX, and one that has another format takes no ONNX models. It is known by its name once
    it is registered (:func:`latcast.measure.runtimes.register_runtime`, or an entry point of the
    group ``latcast.runtimes``), and :mod:`latcast.testing` puts it through the contract's tests.

    Args:
        threads: CPU threads that one forward pass may use, at least 1 (0: not applicable).
        batch: samples a pass.
        precision: one of :attr:`precisions`.

    Raises:
        ModuleNotFoundError: the package is not installed; the message says what to type.
        ValueError: the runtime does not have that precision, batch or number of threads.
    """

    name: ClassVar[str]
    """How targets call it."""
    title: ClassVar[str]
    package: ClassVar[str]
    """Module to import."""
    extra: ClassVar[str]
    """Extra of latcast that installs it."""
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    lacks: ClassVar[Mapping[str, str]] = {}
    """Why it has not some other precision, and what has: the end of the message that refuses it."""
    operators: ClassVar[frozenset[str]] = OPERATORS
    """Operators of :data:`latcast.graph.OPERATORS` that it can run in networks of a space."""
    kind: ClassVar[str] = "cpu"
    """What it runs on: ``cpu`` or ``gpu``."""
    max_batch: ClassVar[int | None] = None
    """Most samples a pass, where there is a limit."""
    flushes_denormals: ClassVar[bool] = False
    """Whether denormal numbers, which a CPU may take a hundred times as long for, become 0."""
    has_profiler: ClassVar[bool] = False
    """Whether :meth:`LoadedNetwork.profile` can tell the times of layers."""

    def __init__(self, *, threads: int = 1, batch: int = 1, precision: str = "fp32") -> None:
        if precision not in self.precisions:
            raise ValueError(
                f"the precision of {self.name} must be {' or '.join(self.precisions)}; "
                f"got {precision!r}{self.lacks.get(precision, '')}"
            )
        if batch < 1 or threads < (1 if self.kind == "cpu" else 0):
            raise ValueError(
                f"{self.name} needs a batch and threads of at least 1; "
                f"got batch {batch}, {threads} threads"
            )
        if self.max_batch is not None and batch > self.max_batch:
            raise ValueError(
                f"{self.name} runs at most {self.max_batch} sample(s) at a time; "
                f"got batch {batch}: use batch {self.max_batch}"
            )
        self.threads = threads
        self.batch = batch
        self.precision = precision
        with self._importing():
            require(self.package, self.extra, f"measuring with {self.title}")
        self._prepare()

    @final
    def load(
        self,
        model: Graph | bytes | Path,
        seed: int = 0,
        *,
        profiling: bool = False,
        asked: ReadOptions = DEFAULTS,
    ) -> LoadedNetwork:
        """Prepare a network with fixed random inputs of its own shapes.

        Args:
            model: the graph of a network for one sample; an ONNX model; or an ONNX file, beside
                which its external data may be.
            seed: of a graph's weights.
            profiling: load it so that :meth:`LoadedNetwork.profile` works, if it can; such a
                network is not for timing. Layers of ONNX models are the numbers in the names of
                their nodes (``conv_12``), and a model without such names has no profile.
            asked: shapes of an ONNX model's inputs.

        Raises:
            UnsupportedNetworkError: an operator is not supported, or the runtime does not take
                ONNX models, or not this one; what a runtime raises itself passes through.
            FileNotFoundError: there is no such file.
        """
        if not isinstance(model, Graph):
            inputs = random_inputs(parse(model), self.batch, asked)
            return self._load_onnx(model, inputs, profiling=profiling)
        # Told before anything is written: what a runtime says of an operator that it lacks names no
        # layer, if it says anything.
        unknown = sorted({x.op for x in model.layers} - self.operators)
        if unknown:
            raise UnsupportedNetworkError(
                f"{self.name} cannot run the operator {', '.join(unknown)}; "
                f"it runs {', '.join(sorted(self.operators))}"
            )
        graph = model.with_batch(self.batch)
        return self._load(graph, graph.weights(seed), graph.inputs(), profiling=profiling)

    def _load(
        self, graph: Graph, weights: Weights, inputs: Floats, *, profiling: bool
    ) -> LoadedNetwork:
        """Prepare a graph of :attr:`operators`; by default by way of ONNX.

        Args:
            graph: what to run, for the whole batch.
            weights: of its layers.
            inputs: shape (batch, channels, height, width).
            profiling: as of :meth:`load`.
        """
        return self._load_onnx(to_onnx(graph, weights), {INPUT: inputs}, profiling=profiling)

    def _load_onnx(self, model: bytes | Path, inputs: Arrays, *, profiling: bool) -> LoadedNetwork:
        """Prepare an ONNX model, whose inputs have the shapes and types of ``inputs``."""
        raise UnsupportedNetworkError(
            f"{self.name} does not run ONNX models here: use onnxruntime, openvino or mnn"
        )

    def _importing(self) -> AbstractContextManager[object]:
        """Context in which the package is imported."""
        return nullcontext()

    def _prepare(self) -> None:  # noqa: B027  # most have nothing to set up
        """Set up what all networks share, such as the number of threads."""

    def bind(self, cpus: Sequence[int]) -> None:  # noqa: B027  # most leave it to the system
        """Keep every thread on a CPU of its own, where the runtime lets itself be told.

        A worker process, which is on ``cpus`` already, calls it before it loads a network.
        """

    @abstractmethod
    def facts(self) -> Mapping[str, str]:
        """Return the facts that a measurement must state: ``version``, ``build``, ``instructions``.

        ``instructions`` are the CPU instruction sets that the runtime says it uses, where it
        says so; ``denormals`` says whether they are flushed to zero, and how.
        """
