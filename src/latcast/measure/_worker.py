"""Worker processes: each loads networks in one runtime and times them.

A worker reads one JSON object a line from standard input and answers each with one line on what
was its standard output; whatever the runtime prints goes to standard error instead. It ends when
its input does, at once even in the middle of a run: a campaign that was killed leaves no worker
behind. :class:`WorkerProcess` is the campaign's side of it, :class:`Worker` what happens inside.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Self

import numpy as np

from latcast import spaces
from latcast.devices import Target, usable_cpus
from latcast.graph import Graph
from latcast.graph.read import ReadOptions

from . import _machine, _sustained
from ._lines import LineProcess, Tell, WorkerDiedError, answer_lines
from ._protocol import Protocol, time_network, time_reference, timer_cost
from ._quantities import MEASURED
from ._sources import Model, model_bytes, parse_source
from .runtimes import LoadedNetwork, Runtime
from .runtimes._base import Floats
from .runtimes._onnx_models import denormals

REFERENCE_SPACE = "ofa-mobilenet-v3-w1.0"
_REFERENCE = {"ks": [5] * 20, "e": [4] * 20, "d": [3] * 5, "r": [224]}

# Of a profile beside a run: traces of many passes take long to read.
_MIN_PASSES, _MAX_PASSES = 5, 60
# -P: nothing is imported from the folder that the campaign was started in.
_ISOLATED = "-P"
_START = "from latcast.measure._worker import main; main()"
# Read when the libraries are loaded: once the worker runs it is too late to set them.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Below it a failure is put down to the disk: a model that a runtime writes is larger.
_MIN_FREE_BYTES = 64 * 1024
# Shares of the wall clock from which on CPU time is all of a pass, as a dozen programs on one CPU
# leave more to each; and of all later ones.
_MIN_OWN, _MOST_OWN = 0.05, 0.5


class WorkerProcess:
    """A fresh worker process, ended on leaving the context.

    Args:
        setup: what the worker is told first (:func:`worker_setup`).
        threads: threads of math libraries in the worker.
        timeout_s: seconds for it to get ready.

    Raises:
        WorkerDiedError: it did not.

    Attributes:
        facts: what it said when it was ready.
    """

    def __init__(self, setup: Mapping[str, Any], *, threads: int, timeout_s: float = 240) -> None:
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
        self._lines = LineProcess(
            [sys.executable, _ISOLATED, "-c", _START], environment=environment
        )
        try:
            self.facts = self.ask(setup, timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process number."""
        return self._lines.pid

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerDiedError: there was none in time; the worker is ended then.
        """
        try:
            self._lines.send(request)
            answer = self._lines.receive(timeout_s)
        except TimeoutError:
            self.close()
            raise WorkerDiedError(f"no answer within {timeout_s:.0f} s") from None
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise WorkerDiedError(self._obituary())
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._lines.close()

    def _obituary(self) -> str:
        code = self._lines.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the runtime's process was ended by {name}{hint}"
        last = self._lines.last_words()
        return f"the runtime's process ended with code {code}{': ' * bool(last)}{last}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def worker_setup(target: Target, protocol: Mapping[str, Any], runtime: str) -> dict[str, Any]:
    """Return the settings that a worker process is sent first.

    Args:
        target: what to run on.
        protocol: settings by name.
        runtime: class of the runtime, ``module:class``, as the registry gave it to this process.
    """
    return {
        "runtime": runtime,
        "options": {
            "threads": target.threads,
            "batch": target.batch,
            "precision": target.precision,
        },
        "protocol": dict(protocol),
        "path": search_path(runtime.partition(":")[0]),
        # The last ones: the first CPUs serve most interrupts.
        "cpus": usable_cpus()[-max(target.threads, 1) :],
    }


def search_path(module: str) -> list[str]:
    """Folders where a worker may find a runtime of the user's own, which may stand anywhere.

    The current folder is none of them, unless the runtime itself was imported from there: what
    lies where a campaign is started, such as downloaded files, is not to be imported.

    Args:
        module: of the runtime's class, which this process has imported.
    """
    found = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    own = {Path(found).resolve().parent, Path(found).resolve().parents[1]} if found else set()
    here = Path.cwd()
    return [x for x in sys.path if Path(x).resolve() != here or here in own]


def reference_network() -> Graph:
    """The network timed around every run: a middling one of OFA-MobileNetV3."""
    space = spaces.space(REFERENCE_SPACE)
    return space.network(space.parse([_REFERENCE]))


class Worker:
    """Answers the requests of a campaign.

    Args:
        setup: made by :func:`worker_setup`.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._setup = setup
        self._cpus = setup["cpus"]
        pinned = _machine.pin(self._cpus)
        sys.path += [folder for folder in setup["path"] if folder not in sys.path]
        module, _, name = setup["runtime"].partition(":")
        kind: type[Runtime] = getattr(importlib.import_module(module), name)
        self._runtime = kind(**setup["options"])
        if pinned:
            self._runtime.bind(self._cpus)
        self._protocol = Protocol(**setup["protocol"])
        self._timer_s = timer_cost()
        self._reference = self._clocked(self._runtime.load(reference_network()))
        # The first passes of the process warm up the runtime itself.
        self._reference.time(3)
        # No collection within a timed pass: garbage is collected before each request instead.
        gc.collect()
        gc.freeze()
        gc.disable()

    def facts(self) -> dict[str, Any]:
        """Return the facts that hold for all runs of this process."""
        return {
            "runtime": dict(self._runtime.facts()),
            "machine": _machine.settings(self._cpus),
            "timer_s": self._timer_s,
            "clock": "process" if isinstance(self._reference, CpuTimed) else "wall",
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time ``network``, a source's text, with parameters from ``seed``; or say why not.

        A full disk is no fault of the network's: the answer is ``full`` then, with the reason.
        With ``profile_passes`` or ``profile_s`` it is profiled after the run, for so many passes
        or about so many seconds; ``quantities`` are measured beside it. With ``sustain_s`` it runs
        back to back for so many seconds instead, on a machine that has cooled down.
        """
        gc.collect()
        try:
            source = parse_source(request["network"])
            model = source.model(self._runtime.batch, request["seed"])
            if "sustain_s" in request:
                return self._sustained_run(model, source.asked, request)
            answer = self._watched_run(model, source.asked, request["seed"])
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is the answer
            # Runtimes that cannot write a file say it in words of their own.
            return {"full" if _is_disk_full(error) else "failed": _reason(error)}
        if not isinstance(model, Graph):
            answer["model_bytes"] = model_bytes(model)
        pass_ms = float(np.median(answer["samples_ms"]))
        answer |= self._profile(model, source.asked, request, pass_ms)
        return answer | self._quantities(request)

    def _watched_run(self, model: Model, asked: ReadOptions, seed: int) -> dict[str, Any]:
        before = _machine.snapshot(self._cpus)
        answer = self._run(model, asked, seed)
        machine = _machine.changes(before, _machine.snapshot(self._cpus))
        # Where passes are timed by their own CPU time, doing them again while the load lasts gains
        # little: the reference network says what is left of it.
        if isinstance(self._reference, CpuTimed):
            return answer | {"machine": machine, "clock": "cpu"}
        if (others := machine.get("other_cpus", 0.0)) > self._protocol.other_cpus:
            doubt = f"other programs kept {others:.1f} CPUs busy"
            answer["doubts"] = [*answer["doubts"], doubt]
        # The CPU that waits for a GPU is idle for reasons of its own.
        if self._runtime.kind == "cpu" and answer.get("cpu_share", 1) < self._protocol.cpu_share:
            doubt = f"passes had their CPU for {100 * answer['cpu_share']:.0f} % of their time"
            answer["doubts"] = [*answer["doubts"], doubt]
        return answer | {"machine": machine}

    def _run(self, model: Model, asked: ReadOptions, seed: int) -> dict[str, Any]:
        started = time.perf_counter()
        loaded = self._clocked(self._runtime.load(model, seed, asked=asked))
        load_s = time.perf_counter() - started
        first_s = loaded.time(1)
        # NaN takes a CPU another time than real numbers: such a latency is of no use.
        if not np.isfinite(loaded.output()).all():
            raise ValueError("the network's output must be finite: the runtime computes nonsense")
        timing = time_network(loaded, self._reference, self._protocol, self._timer_s)
        kept = 0
        if not (self._runtime.flushes_denormals or isinstance(model, Graph)):
            kept = denormals(model, loaded.output())
        return {
            "samples_ms": timing.samples_ms,
            "reference_ms": timing.reference_ms,
            "repeats": timing.repeats,
            "inference_s": first_s + timing.inference_s,
            "load_s": load_s,
            "doubts": timing.doubts,
            **({"denormals": kept} if kept else {}),
            **({} if _has_own_clock(loaded) else {"cpu_share": timing.cpu_share}),
        }

    def _sustained_run(
        self, model: Model, asked: ReadOptions, request: dict[str, Any]
    ) -> dict[str, Any]:
        """Passes back to back, between two timings of the reference network."""
        seconds, protocol = float(request["sustain_s"]), self._protocol
        started = time.perf_counter()
        loaded = self._clocked(self._runtime.load(model, request["seed"], asked=asked))
        load_s = time.perf_counter() - started
        _sustained.cool_down(seconds)
        watch = _sustained.Watch(_sustained.CLOCK, lambda: _machine.snapshot(self._cpus))
        reference = [time_reference(self._reference, protocol)]
        before = watch.look()
        found = _sustained.sustain(
            loaded, seconds, watch, timer_s=self._timer_s, overhead=protocol.timer_overhead
        )
        machine = _machine.changes(before, watch.look())
        reference.append(time_reference(self._reference, protocol))
        doubts = []
        if (others := machine.get("other_cpus", 0.0)) > protocol.other_cpus:
            doubts.append(f"other programs kept {others:.1f} CPUs busy")
        spent = found["sustained"]["ends_s"][-1] + sum(s for _, s in reference)
        return found | {
            "reference_ms": [[1e3 * s for s in samples] for samples, _ in reference],
            "inference_s": spent,
            "load_s": load_s,
            "doubts": doubts,
            "machine": machine,
            **({"clock": "cpu"} if isinstance(loaded, CpuTimed) else {}),
        }

    def _clocked(self, network: LoadedNetwork) -> LoadedNetwork:
        is_on_one_cpu = self._runtime.kind == "cpu" and self._runtime.threads == 1
        return CpuTimed(network) if is_on_one_cpu and not _has_own_clock(network) else network

    def _profile(
        self, model: Model, asked: ReadOptions, request: dict[str, Any], pass_ms: float
    ) -> dict[str, Any]:
        """The profile that is asked for; that it fails is no reason to lose the run."""
        if "profile_s" in request:
            fitting = ceil(request["profile_s"] * 1e3 / pass_ms)
            passes = min(max(fitting, _MIN_PASSES), _MAX_PASSES)
        elif "profile_passes" in request:
            passes = request["profile_passes"]
        else:
            return {}
        try:
            # Loaded anew: a session that profiles is slower, and must not be the one that was
            # timed.
            loaded = self._runtime.load(model, request["seed"], profiling=True, asked=asked)
            profile = loaded.profile(passes)
        except Exception as error:  # noqa: BLE001  # as above
            return {"profile_ms": None, "profile_failed": _reason(error)}
        return {"profile_ms": None if profile is None else {str(k): v for k, v in profile.items()}}

    def _quantities(self, request: dict[str, Any]) -> dict[str, Any]:
        """Other quantities that are asked for; as with a profile, a failure loses no run."""
        answer: dict[str, Any] = {}
        for name in request.get("quantities", ()):
            try:
                answer |= MEASURED[name].measure(self._runtime, self._setup, request)
            except Exception as error:  # noqa: BLE001  # as above
                answer[f"{name}_failed"] = _reason(error)
        return answer


class CpuTimed(LoadedNetwork):
    """A network on one thread, whose passes are timed without their waiting for a CPU.

    On a CPU that other programs share, a ResNet-18 of 26 ms took 54 ms in the median by the wall
    clock, 27 ms by the process's CPU time; without other programs the two clocks agree.

    Args:
        network: what is timed, in this process.
    """

    def __init__(self, network: LoadedNetwork) -> None:
        self._network = network
        self._computes_here = False

    def run(self) -> None:
        self._network.run()

    def output(self) -> Floats:
        return self._network.output()

    def time(self, repeats: int) -> float:
        before = time.process_time()
        wall_s = self._network.time(repeats)
        cpu_s = time.process_time() - before
        # A runtime that computes in another process takes next to no CPU time in this one, never
        # most of a pass: where one pass had that, others merely waited, however long.
        self._computes_here |= cpu_s > _MOST_OWN * wall_s
        is_here = self._computes_here or cpu_s > _MIN_OWN * wall_s
        return min(wall_s, cpu_s) if is_here else wall_s


def _has_own_clock(network: LoadedNetwork) -> bool:
    """Whether it may compute elsewhere than in this process, whose CPU time says nothing then."""
    return type(network).time not in (LoadedNetwork.time, CpuTimed.time)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free < _MIN_FREE_BYTES
    except OSError:
        return False


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def main() -> None:
    """Answer requests until the input ends."""
    workers: list[Worker] = []

    def answer(request: dict[str, Any], tell: Tell) -> None:
        if not workers:
            workers.append(Worker(request))
            tell(workers[0].facts())
        else:
            tell(workers[0].answer(request))

    answer_lines(answer)
