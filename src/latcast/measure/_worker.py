"""The worker process: loads networks in one runtime and times them.

Started as ``python -m latcast.measure._worker``, it reads one JSON object a line from standard
input and answers each with one line on what was its standard output; whatever the runtime
prints goes to standard error instead. It ends when its input does, at once even in the middle
of a visit: a campaign that was killed leaves no worker behind.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import IO, Any

import numpy as np

from latcast import spaces
from latcast.graph import Graph

from . import _machine
from ._onnx_networks import content, from_text, model_bytes
from ._protocol import Protocol, make_visit, timer_cost
from .runtimes import LoadedNetwork, Runtime

Load = Callable[..., LoadedNetwork]

REFERENCE_SPACE = "ofa-mobilenet-v3-w1.0"
_LEAST_PASSES, _MOST_PASSES = 5, 60
"""Of a profile beside a visit: traces of many passes take long to read."""
_REFERENCE = {"ks": [5] * 20, "e": [4] * 20, "d": [3] * 5, "r": [224]}


def reference_network() -> Graph:
    """The network timed around every visit: a middling one of OFA-MobileNetV3."""
    space = spaces.space(REFERENCE_SPACE)
    return space.network(space.parse([_REFERENCE]))


class Worker:
    """Answers the requests of a campaign.

    Args:
        setup: ``runtime`` (``module:class``), ``options`` (of the runtime), ``space``,
            ``protocol`` (settings by name) and ``cpus`` (to stay on). The space is None where
            graphs are visited.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._cpus = setup["cpus"]
        pinned = _machine.pin(self._cpus)
        module, _, name = setup["runtime"].partition(":")
        kind: type[Runtime] = getattr(importlib.import_module(module), name)
        self._runtime = kind(**setup["options"])
        if pinned:
            self._runtime.bind(self._cpus)
        self._space = None if setup["space"] is None else spaces.space(setup["space"])
        self._protocol = Protocol(**setup["protocol"])
        self._timer_s = timer_cost()
        self._reference = self._runtime.load(reference_network())
        self._reference.time(3)
        gc.collect()
        gc.freeze()
        gc.disable()

    def facts(self) -> dict[str, Any]:
        """What is true of all visits of this process."""
        return {
            "runtime": dict(self._runtime.facts()),
            "machine": _machine.settings(self._cpus),
            "timer_s": self._timer_s,
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Visit the network of ``rows`` of the block table, or of ``graph``; or why not.

        With ``profile``, a number of passes, it is only profiled; with ``profile_s`` also, for
        so many seconds, after the visit.
        """
        gc.collect()
        try:
            load, facts = self._loader(request)
            if "profile" in request:
                return _profile(load, request["profile"])
            answer = self._watched_visit(load) | facts
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises is the answer
            return {"failed": _reason(error)}
        if "profile_s" in request:
            answer |= _profile_beside(load, answer["samples_ms"], request["profile_s"])
        return answer

    def _loader(self, request: dict[str, Any]) -> tuple[Load, dict[str, Any]]:
        """What loads the network that is asked for, and facts of it that are kept."""
        if "graph" in request:
            model = content(from_text(request["graph"]), self._runtime.batch, request["seed"])
            return partial(self._runtime.load_onnx, model), {"model_bytes": model_bytes(model)}
        assert self._space is not None
        graph = self._space.assemble(request["rows"])
        return partial(self._runtime.load, graph, request["seed"]), {}

    def _watched_visit(self, load: Load) -> dict[str, Any]:
        before = _machine.snapshot(self._cpus)
        answer = self._visit(load)
        machine = _machine.changes(before, _machine.snapshot(self._cpus))
        if (others := machine.get("other_cpus", 0.0)) > self._protocol.other_cpus:
            doubt = f"other programs kept {others:.1f} CPUs busy"
            answer["doubts"] = [*answer["doubts"], doubt]
        return answer | {"machine": machine}

    def _visit(self, load: Load) -> dict[str, Any]:
        started = time.perf_counter()
        loaded = load()
        load_s = time.perf_counter() - started
        first_s = loaded.time(1)
        if not np.isfinite(loaded.output()).all():
            raise ValueError("the network's output must be finite: the runtime computes nonsense")
        timing = make_visit(loaded, self._reference, self._protocol, self._timer_s)
        return {
            "samples_ms": timing.samples_ms,
            "reference_ms": timing.reference_ms,
            "repeats": timing.repeats,
            "inference_s": first_s + timing.inference_s,
            "load_s": load_s,
            "doubts": timing.doubts,
        }


def _profile(load: Load, passes: int) -> dict[str, Any]:
    profile = load(profiling=True).profile(passes)
    return {"profile_ms": None if profile is None else {str(k): v for k, v in profile.items()}}


def _profile_beside(load: Load, samples_ms: Sequence[float], seconds: float) -> dict[str, Any]:
    """A profile of about so many seconds; that it fails is no reason to lose the visit."""
    fitting = ceil(seconds * 1e3 / float(np.median(samples_ms)))
    try:
        return _profile(load, min(max(fitting, _LEAST_PASSES), _MOST_PASSES))
    except Exception as error:  # noqa: BLE001  # as above
        return {"profile_ms": None, "profile_failed": _reason(error)}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _read_requests(source: IO[str], requests: queue.SimpleQueue[str]) -> None:
    for line in source:
        requests.put(line)
    os._exit(0)  # the campaign is gone; a hanging runtime must not outlive it


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(sys.stdin, requests), daemon=True).start()
    worker: Worker | None = None
    while True:
        request = json.loads(requests.get())
        if worker is None:
            worker = Worker(request)
            reply = worker.facts()
        else:
            reply = worker.answer(request)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
