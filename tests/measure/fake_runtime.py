"""A runtime without a computer: its latencies are a formula, its accidents depend on the input.

Worker processes import it by name, so tests put this folder on ``PYTHONPATH``.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from latcast.graph import OPERATORS, Graph
from latcast.graph.read import read_graph
from latcast.measure.runtimes import LoadedNetwork, Runtime

CRASHES, HANGS, RAISES, NONSENSE, PRINTS, EATS = 128, 144, 160, 176, 192, 208
"""Resolutions at which something happens; 224 and 240 are harmless."""


class FakeRuntime(Runtime):
    name = "onnxruntime"  # so that targets accept it
    title = "nothing"
    package = "json"
    extra = "none"
    operators = frozenset(OPERATORS)
    has_profiler = True

    def load(self, model, seed=0, *, profiling=False, **options):
        """A graph without weights: to draw them takes longer than all the rest of a run here."""
        if isinstance(model, Graph):
            return self._load(model.with_batch(self.batch), None, None, profiling=profiling)
        return super().load(model, seed, profiling=profiling, **options)

    def _load(self, graph, weights, inputs, *, profiling):
        if (flag := os.environ.get("FAKE_FULL")) and Path(flag).exists():
            raise OSError(errno.ENOSPC, "no space left on device")
        have_accident(graph.in_shape[2])
        return FakeNetwork(graph_ms(graph.with_batch(1)), graph.in_shape[2])

    def _load_onnx(self, model, inputs, *, profiling):
        side = next(iter(inputs.values())).shape[-1]
        have_accident(side)
        return FakeNetwork(graph_ms(read_graph(model, batch=self.batch)), side)

    def facts(self):
        version = (
            Path(os.environ["FAKE_VERSION"]).read_text() if "FAKE_VERSION" in os.environ else "1"
        )
        return {"version": version, "build": "", "instructions": "none"}


def have_accident(side):
    match side:
        case 128:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 144:
            time.sleep(3600)
        case 160:
            raise RuntimeError("no kernel\nfor this")
        case 192:
            os.write(1, b"chatter that is no answer\n")
            sys.stdout.write("more of it\n")
        case 208:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is full


NOISE = np.random.default_rng(0)
"""The same in every worker process."""


class FakeNetwork(LoadedNetwork):
    """Takes 1 ms for each 100 M MACs, and a little for every layer, on a clock of its own.

    Give or take half a percent.
    """

    def __init__(self, layers_ms, side):
        self._layers_ms = layers_ms
        slowness = float(os.environ.get("FAKE_SLOWNESS", "1"))
        self._seconds = slowness * sum(layers_ms) / 1000
        self._nonsense = side == NONSENSE
        self._pause = slowness * float(os.environ.get("FAKE_PAUSE", "0"))

    def run(self):
        pass

    def output(self):
        return np.array([np.nan if self._nonsense else 1.0], np.float32)

    def time(self, repeats):
        time.sleep(self._pause)
        return repeats * self._seconds * NOISE.normal(1, 0.005)

    def profile(self, repeats):
        return dict(enumerate(self._layers_ms))


class Throttling(FakeRuntime):
    """Half as fast once it has computed for 40 s, of a clock that its passes alone move."""

    def _prepare(self):
        from latcast.measure import _machine, _sustained

        self.seconds = 0.0
        _sustained.CLOCK = lambda: self.seconds
        _sustained.cool_down = lambda _: setattr(self, "seconds", 0.0)
        real = _machine.snapshot

        def snapshot(cpus=()):
            is_hot = self.seconds > 40
            told = {"clock_mhz": 1500 if is_hot else 3000, "temperature_c": 95 if is_hot else 60}
            return replace(real(cpus), throttled=None, **told)

        _machine.snapshot = snapshot

    def _load(self, graph, weights, inputs, *, profiling):
        return Heating(super()._load(graph, weights, inputs, profiling=profiling), self)


class Heating(LoadedNetwork):
    def __init__(self, network, runtime):
        self.network, self.runtime = network, runtime

    def run(self):
        pass

    def output(self):
        return self.network.output()

    def time(self, repeats):
        lasted = self.network.time(repeats) * (2 if self.runtime.seconds > 40 else 1)
        self.runtime.seconds += lasted
        return lasted


class NeverStarts(FakeRuntime):
    def _prepare(self):
        os._exit(7)


def truth_ms(graph):
    return sum(graph_ms(graph))


def graph_ms(graph):
    """Of every layer; all of them have a node of their own."""
    return [x.macs / 1e8 + 1e-5 for x in graph.layers]


class NoProfiler(FakeRuntime):
    def _load_onnx(self, model, inputs, *, profiling):
        if profiling:
            raise OSError("disk full")
        return super()._load_onnx(model, inputs, profiling=profiling)


class Own(FakeRuntime):
    name = "my-own"


class Hungry(FakeRuntime):
    """Holds 20 MB once loaded, 80 while it loads, and 10 more in each pass."""

    def load(self, model, seed=0, **options):
        if isinstance(model, Graph) and len(model) == 1:  # what the floor is told by
            return super().load(model, seed, **options)
        np.ones(60_000_000, np.int8)
        network = super().load(model, seed, **options)
        network.weights = np.ones(20_000_000, np.int8)
        network.run = lambda: np.ones(10_000_000, np.int8)
        return network


class Forgetful(FakeRuntime):
    """Fails where its memory is measured alone, in a process that has no worker."""

    def load(self, model, seed=0, **options):
        if "latcast.measure._worker" not in sys.modules:
            raise RuntimeError("no memory for this")
        return super().load(model, seed, **options)


class Metered(FakeRuntime):
    """Its energy is the CPU time of the process: none when it is idle."""

    def _prepare(self):
        from latcast.measure import _energy

        meter = _energy.Counters("fake", lambda: [int(1e6 * time.process_time())], [0])
        _energy.find_meter = lambda *_: meter


class Unmetered(FakeRuntime):
    """On a machine without a meter."""

    def _prepare(self):
        from latcast.measure import _energy

        _energy.SYS = Path("/no-such-folder")
