"""Runs on a phone: networks are pushed to it, and a tool's invocations there are samples."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from latcast.devices import Target
from latcast.graph import Graph
from latcast.graph.read import read_as_run
from latcast.measure._lines import WorkerDiedError
from latcast.measure._protocol import Protocol, doubts_of
from latcast.measure._sources import NetworkSource, OnnxFile, VariantSource, parse_source
from latcast.measure._worker import reference_network
from latcast.measure.tools import Job, OperatorTime, Report, Tool

from ._adb_link import AdbLink, RefusedError
from ._base import HostError
from ._phone import FOLDER, STATE, Phone, PhoneState, mask_of

# Of an invocation, beyond its warm-up and its run: loading, and at least a few passes.
_TOOL_S = 180.0
# Of a sustained run: an invocation lasts a sixtieth of it, within these bounds.
_PIECES, _MIN_PIECE_S, _MAX_PIECE_S = 60, 1.0, 10.0
_NUMBER = re.compile(r"_(\d+)\Z")
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
_TIMED_OUT = 124


class _FailedError(Exception):
    """A network cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class _Pushed:
    """A network that is on the phone.

    Attributes:
        folder: of its files.
        name: of the one that the command line names.
        shape: of its input.
        key: by which its latency is remembered.
    """

    folder: str
    name: str
    shape: tuple[int, ...]
    key: str


@dataclass(slots=True)
class PhoneWorker:
    """Makes runs on a phone; every invocation of the tool is a process of its own there.

    A run has as many invocations as the protocol has ``min_samples``, of a share of its ``run_s``
    each, and one of the reference network before and after.

    Attributes:
        link: to the phone.
        phone: what it says of itself.
        tool: that times networks.
        cores: which of its cores to run on, of :data:`latcast.devices.SELECTIONS`.
        target: what to run on.
        protocol: of the campaign.
        ready: waits until the phone is cool and charged, and returns its state then.
        facts: as of every worker.
        pid: of the process that waits for the tool; the tool's own is another every time.
    """

    link: AdbLink
    phone: Phone
    tool: Tool
    cores: str
    target: Target
    protocol: Protocol
    ready: Callable[[], PhoneState]
    facts: dict[str, Any] = field(init=False)
    pid: int = field(init=False, default_factory=os.getpid)
    _program: str = field(init=False, default="")
    _prefix: str = field(init=False, default="")
    _deadline: float = field(init=False, default=0.0)
    _reference: _Pushed | None = field(init=False, default=None)
    _known_ms: dict[str, float] = field(init=False, default_factory=dict)
    _shapes: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)

    def prepare(self, program: Path, files: Sequence[Path]) -> None:
        """Push the tool, where it is not there yet, and the reference network.

        Args:
            program: the tool's file.
            files: that it needs in its folder, itself among them.

        Raises:
            ValueError: the phone has too few cores for the threads.
            HostError: it has no room for the tool.
            HostLostError: the link broke.
        """
        with program.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()[:12]
        cpus = self.phone.select(self.cores, max(self.target.threads, 1))
        if "taskset" in self.phone.commands and self.cores != "all":
            self._prefix = f"taskset {mask_of(cpus)} "
        folder = f"{FOLDER}/tool-{digest}"
        self._program = f"{folder}/{program.name}"
        try:
            self._push_tool(files, folder)
            graph = reference_network().with_batch(self.target.batch)
            self._reference = self._push("reference", self.tool.write(graph, 0), graph.in_shape, "")
        except RefusedError as error:
            raise HostError(
                f"the phone {self.link.serial} must have room for the tool in {FOLDER}; it refused "
                f"{error}: make room there"
            ) from error
        self.facts = self._facts(digest, cpus)

    def _facts(self, digest: str, cpus: Sequence[int]) -> dict[str, Any]:
        return {
            "runtime": {
                "version": f"{self.tool.name}, sha256 {digest}",
                "build": self.phone.abi,
                "instructions": "chosen at run time; not stated",
                "samples": "one an invocation: the tool's median of its passes, or their mean",
            },
            "machine": {
                "phone": self.phone.title,
                "android": self.phone.android,
                "cpu": self.phone.soc,
                "kernel": self.phone.kernel,
                "cores": self.cores,
                "cpus": ",".join(map(str, cpus)),
                "governor": self.phone.governor,
            },
            "timer_s": 1e-6,
            "clock": "wall",
        }

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Make a run (:class:`latcast.measure.hosts.HostWorker`)."""
        if self._reference is None:
            raise WorkerDiedError("the worker is closed")
        self._deadline = time.monotonic() + timeout_s
        try:
            source = parse_source(request["network"])
            files, shape = self._files(source, request["seed"])
        except Exception as error:  # noqa: BLE001  # whatever a writer raises is the answer
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        state = self.ready()
        try:
            pushed = self._push("run", files, shape, request["network"])
            if "sustain_s" in request:
                return self._sustain(pushed, state, request["sustain_s"])
            return self._run(pushed, state) | self._profile(pushed, source, request)
        except _FailedError as error:
            return {"failed": str(error)}
        except RefusedError as error:
            return {"full": str(error)}

    def close(self) -> None:
        """Take the networks off the phone; the tool stays for the next worker."""
        self._reference = None
        with suppress(HostError):
            self.link.shell(f"rm -rf {FOLDER}/run {FOLDER}/reference")

    def _push_tool(self, files: Sequence[Path], folder: str) -> None:
        self.link.shell(f"mkdir -p {folder}")
        for path in files:
            if not self.link.has(there := f"{folder}/{path.name}", path.stat().st_size):
                self.link.push(path, there, 0o755)

    def _files(
        self, source: NetworkSource, seed: int
    ) -> tuple[Mapping[str, bytes | Path], tuple[int, ...]]:
        """Files to push, and the shape of the network's input."""
        batch = self.target.batch
        if isinstance(source, OnnxFile):
            source.check()
            return self.tool.take(source.path), self._own_shape(source, seed)
        if self.target.precision not in ("fp32", "fp16"):
            raise ValueError(
                f"networks are written in fp32; for {self.target.precision} give "
                f"{self.tool.suffix} files of your own (--models)"
            )
        if isinstance(source, VariantSource):
            graph = source.variant.graph(batch)
        else:
            model = source.model(batch, seed)
            assert isinstance(model, Graph)  # of an architecture or a block
            graph = model.with_batch(batch)
        return self.tool.write(graph, seed), graph.in_shape

    def _own_shape(self, source: OnnxFile, seed: int) -> tuple[int, ...]:
        """Return the input shape of a user's file, read early: the dataset needs its graph."""
        if source.text not in self._shapes:
            model = source.model(self.target.batch, seed)
            graph = read_as_run(model, source.asked, self.target.batch)  # type: ignore[arg-type]  # a file
            self._shapes[source.text] = graph.in_shape
        return self._shapes[source.text]

    def _push(
        self, name: str, files: Mapping[str, bytes | Path], shape: tuple[int, ...], key: str
    ) -> _Pushed:
        # Anew, since benchmark.out runs whatever a folder holds.
        folder = f"{FOLDER}/{name}"
        self.link.shell(f"rm -rf {folder}; mkdir -p {folder}")
        for file, content in files.items():
            self.link.push(content, f"{folder}/{file}")
        return _Pushed(folder, next(iter(files)), shape, key)

    def _run(self, network: _Pushed, before: PhoneState) -> dict[str, Any]:
        started = time.monotonic()
        protocol = self.protocol
        count = protocol.min_samples
        # How many passes fill the time is not known yet.
        if not self.tool.takes_seconds and network.key not in self._known_ms:
            self._time(network, 0.0, protocol.run_s / count)
        assert self._reference is not None  # of a worker that is open
        first = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        own = [
            self._time(network, protocol.warm_up_s, protocol.run_s / count) for _ in range(count)
        ]
        last = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        after = PhoneState.of(self.link.shell(STATE)[1])
        samples = [report.latency_ms for report in own]
        reference = ([first.latency_ms], [last.latency_ms])
        passes = sum(report.passes or 0 for report in (first, *own, last))
        doubts = list(doubts_of(samples, *reference, protocol))
        if after.thermal_status:
            doubts.append(f"the phone throttled (thermal status {after.thermal_status})")
        return {
            "samples_ms": samples,
            "reference_ms": reference,
            "repeats": 1,
            "passes": sum(report.passes or 1 for report in own),
            "inference_s": passes * float(np.median(samples)) / 1000,
            "load_s": (own[0].init_ms or 0.0) / 1000,
            "doubts": doubts,
            "machine": _machine_facts(before, after, time.monotonic() - started),
            **_of_passes(own),
        }

    def _sustain(self, network: _Pushed, before: PhoneState, seconds: float) -> dict[str, Any]:
        """Invocations one after the other, between which the tool loads the network again."""
        assert self._reference is not None  # of a worker that is open
        protocol, piece_s = self.protocol, min(max(_MIN_PIECE_S, seconds / _PIECES), _MAX_PIECE_S)
        first = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        started, now = time.monotonic(), 0.0
        own: list[Report] = []
        states: list[PhoneState] = []
        ends: list[float] = []
        while now < seconds:
            # Of the first one as little as the first second of a run on other hosts.
            own.append(self._time(network, 0.0, piece_s if own else _MIN_PIECE_S))
            states.append(PhoneState.of(self.link.shell(STATE)[1]))
            now = time.monotonic() - started
            ends.append(now)
        last = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        samples = [report.latency_ms for report in own]
        heat, status = [s.chip_c for s in states], [s.thermal_status for s in states]
        told: dict[str, Any] = {
            "ends_s": ends,
            "passes": [report.passes or 1 for report in own],
            "first_ms": samples[0],
            **({} if None in heat else {"temperature_c": heat}),
            **({} if None in status else {"throttled": status}),
        }
        return {
            "samples_ms": samples,
            "reference_ms": ([first.latency_ms], [last.latency_ms]),
            "repeats": 1,
            "passes": sum(told["passes"]),
            "inference_s": sum(told["passes"]) * float(np.median(samples)) / 1000,
            "load_s": (own[0].init_ms or 0.0) / 1000,
            "doubts": [],
            "machine": _machine_facts(before, states[-1], now),
            "sustained": told,
        }

    def _profile(
        self, network: _Pushed, source: NetworkSource, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The operators' times where they are asked for; that it fails does not lose the run."""
        if not ("profile_passes" in request or "profile_s" in request):
            return {}
        if not self.tool.has_profile:
            return {"profile_ms": None}
        try:
            output = self._invoke(network, self.protocol.warm_up_s, 1.0, profiling=True)
            if self.tool.profile_file is not None:
                output = self.link.read(f"{network.folder}/{self.tool.profile_file}")
            found = self.tool.read_profile(output)
        except (_FailedError, WorkerDiedError, ValueError) as error:
            return {"profile_ms": None, "profile_failed": str(error)[:500]}
        # What we write has the numbers of its layers in its tensors' names; what a delegate fuses
        # is called otherwise.
        numbers = {} if isinstance(source, OnnxFile) else _by_layer(found)
        return {
            "profile_ms": numbers or None,
            "operators": [[x.kind, x.name, x.ms] for x in found],
        }

    def _time(self, network: _Pushed, warm_up_s: float, run_s: float) -> Report:
        output = self._invoke(network, warm_up_s, run_s)
        try:
            report = self.tool.read(output)
        except ValueError as error:
            raise _FailedError(f"{type(error).__name__}: {error}") from error
        self._known_ms[network.key] = report.latency_ms
        return report

    def _invoke(
        self, network: _Pushed, warm_up_s: float, run_s: float, *, profiling: bool = False
    ) -> str:
        """Run the tool once, and return its output.

        Raises:
            _FailedError: it refuses the network.
            WorkerDiedError: it was ended by a signal, took too long, or the worker was closed.
            HostLostError: the link broke.
        """
        job = Job(
            max(self.target.threads, 1), self.target.precision, warm_up_s, run_s,
            self._known_ms.get(network.key), network.shape, profiling,
        )  # fmt: skip
        words = shlex.join(self.tool.command(self._program, network.name, job))
        libraries = str(PurePosixPath(self._program).parent)
        name, left_s = self.tool.name, self._deadline - time.monotonic()
        limit_s = min(_TOOL_S + 3 * (warm_up_s + run_s), left_s)
        if left_s <= 0:
            raise WorkerDiedError(f"{name} gave no answer in time")
        # The phone ends what hangs; without that, the link would have to be cut.
        limit = f"timeout {limit_s:.0f} " if "timeout" in self.phone.commands else ""
        command = (
            f"cd {network.folder} && LD_LIBRARY_PATH={libraries} {limit}{self._prefix}{words} 2>&1"
        )
        code, output = self.link.shell(command, limit_s + 30)
        if self._reference is None:  # by another thread, which took the networks away meanwhile
            raise WorkerDiedError("the worker was closed")
        if code == _TIMED_OUT and limit:
            raise WorkerDiedError(f"{name} gave no answer within {limit_s:.0f} s")
        if code > 128:
            signal = _SIGNALS.get(code - 128, f"signal {code - 128}")
            hint = " (out of memory?)" if signal == "SIGKILL" else ""
            raise WorkerDiedError(f"{name} was ended by {signal}{hint}")
        if code:
            raise _FailedError(self.tool.failure(code, output, self.phone.abi))
        return output


def _machine_facts(before: PhoneState, after: PhoneState, seconds: float) -> dict[str, float]:
    """Return the changes of the phone during a run, by the names that campaigns use."""
    found = {
        "seconds": seconds,
        "temperature_c": after.chip_c,
        "battery_c": after.battery_c,
        "battery_c_before": before.battery_c,
        "battery_percent": after.battery_percent,
        "throttled": after.thermal_status,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_passes(own: Sequence[Report]) -> dict[str, float]:
    """Extremes of all passes of a run, and the memory that it took, where the tool tells them."""
    lows = [r.min_ms for r in own if r.min_ms is not None]
    highs = [r.max_ms for r in own if r.max_ms is not None]
    peaks = [r.peak_memory_mb for r in own if r.peak_memory_mb is not None]
    found = {"min_ms": min(lows, default=None), "max_ms": max(highs, default=None)}
    found["peak_memory_mb"] = max(peaks, default=None)
    return {name: value for name, value in found.items() if value is not None}


def _by_layer(operators: Sequence[OperatorTime]) -> dict[str, float]:
    """Milliseconds by number of a layer, of operators whose tensors are called ``WORD_NUMBER``."""
    found: dict[str, float] = {}
    for operator in operators:
        if match := _NUMBER.search(operator.name):
            found[match[1]] = found.get(match[1], 0.0) + operator.ms
    return found
