"""Phones, by adb: a maker's own program is pushed to one, and times what is pushed beside it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode

import numpy as np

from latcast._files import check_file
from latcast.devices import SELECTIONS, Device, Target, named_device
from latcast.graph import Graph
from latcast.measure import _machine
from latcast.measure._protocol import Protocol, doubts_of
from latcast.measure._sources import NetworkSource, OnnxFile, VariantSource, parse_source
from latcast.measure._worker import WorkerDiedError, reference_network
from latcast.measure.runtimes import Runtime
from latcast.measure.tools import TOOLS, Job, Report, Tool, find_tool

from ._adb_link import AdbLink, RefusedError
from ._base import Host, HostError, HostLostError
from ._phone import DESCRIBE, FOLDER, STATE, Phone, PhoneState, mask_of

# Runs begin below these. 37 °C is where public benchmarks of phones hold their runs until the
# battery has cooled (github.com/software-mansion/react-native-executorch/issues/727); below 20 %
# Android offers to save power. Neither was varied on a phone of ours.
MAX_BATTERY_C, MIN_BATTERY_PERCENT = 37.0, 20.0
# Of an invocation, beyond its warm-up and its run: loading, and at least a few passes.
_TOOL_S = 180.0
_NUMBER = re.compile(r"_(\d+)\Z")
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
_TIMED_OUT = 124


class AdbHost(Host):
    """A phone that adb lists, with the tool that a user has for it.

    Args:
        name: its serial; then, as a query, the tool's path on this machine and the cores to run
            on: ``R58M12?tool=%2Fhome%2Fme%2Fbenchmark_model&cores=little``, which
            :func:`phone_text` makes.

    Raises:
        ValueError: the query names something else, or no selection of cores.
        ModuleNotFoundError: adbutils is not installed; the message says what to type.
    """

    kind = "adb"
    slack_s: ClassVar[float] = 1800.0
    poll_s: ClassVar[float] = 10.0
    """Seconds between looks at a phone that is to cool down, or to come back."""
    patience_s: ClassVar[float] = 1200.0
    """Seconds that either may take."""

    def __init__(self, name: str = "") -> None:
        self.serial, _, query = name.partition("?")
        known = {key: values[-1] for key, values in parse_qs(query).items()}
        if not self.serial or not known.keys() <= {"tool", "cores"}:
            raise ValueError(
                f"a phone must be given as adb:SERIAL, of what `adb devices` lists; got {name!r}"
            )
        self.cores = known.get("cores", "big")
        self.path = Path(known["tool"]) if "tool" in known else None
        if self.cores not in SELECTIONS:
            raise ValueError(f"cores must be {' or '.join(SELECTIONS)}; got {self.cores!r}")
        super().__init__(name)
        self.link = AdbLink(self.serial)

    @property
    def title(self) -> str:
        return f"the phone {self.serial}"

    @cached_property
    def phone(self) -> Phone:
        """What stays the same of it.

        Raises:
            HostError: it does not answer, or with something else.
        """
        self.link.check()
        _, output = self.link.shell(DESCRIBE)
        try:
            return Phone.of(output)
        except ValueError as error:
            raise HostError(f"{self.title}: {error}") from error

    def state(self) -> PhoneState:
        """Its temperature and battery now.

        Raises:
            HostLostError: the link broke.
        """
        return PhoneState.of(self.link.shell(STATE)[1])

    def facts(self) -> Mapping[str, Any]:
        phone, state = self.phone, self.state()
        found = {
            "name": phone.device_name(self.cores),
            "system": f"Android {phone.android}".strip(),
            "machine": phone.abi,
            "title": phone.title,
            "soc": phone.soc,
            "cpus": [core.cpu for core in phone.cores],
            "clusters": phone.clusters(),
            "governor": phone.governor,
            "temperature_c": state.chip_c,
            "battery_c": state.battery_c,
            "battery_percent": state.battery_percent,
            "thermal_status": state.thermal_status,
            "memory_bytes": phone.memory_bytes,
            "free_bytes": phone.free_bytes,
        }
        return {name: value for name, value in found.items() if value not in (None, "", [])}

    def check(self, target: Target, own: type[Runtime] | None = None) -> None:
        tool = self.tool(target.runtime)
        if target.precision not in tool.precisions:
            raise ValueError(
                f"the precision of {tool.name} must be {' or '.join(tool.precisions)}; got "
                f"{target.precision!r}"
            )
        if tool.max_batch is not None and target.batch > tool.max_batch:
            raise ValueError(
                f"{tool.name} runs at most {tool.max_batch} sample(s) at a time; got batch "
                f"{target.batch}"
            )
        tool.write(reference_network(), 0)  # raises where a package for its format is missing
        self.phone.select(self.cores, max(target.threads, 1))
        if "taskset" not in self.phone.commands and self.cores != "all":
            raise HostError(
                f"{self.title} must have the command taskset to choose cores; it has none: "
                "measure on all of them (--cores all)"
            )

    def tool(self, runtime: str) -> Tool:
        """The tool that the user's program is.

        Raises:
            ValueError: none was given, or it does not run that runtime.
            FileNotFoundError: there is no such file.
        """
        return find_tool(runtime, self.program(runtime))

    def program(self, runtime: str) -> Path:
        """The tool's file; of a folder, the one whose name is known.

        Raises:
            ValueError, FileNotFoundError: as of :meth:`tool`.
        """
        if self.path is None:
            known = "; ".join(f"{k.name}: {k.published}" for kinds in TOOLS.values() for k in kinds)
            raise ValueError(
                f"a phone is measured by a tool, whose file must be given (--tool PATH): {known}"
            )
        if not self.path.is_dir():
            check_file(self.path)
            return self.path
        names = [name for k in TOOLS.get(runtime, ()) for name in (k.programs or (k.name,))]
        for name in names:
            if (self.path / name).is_file():
                return self.path / name
        raise FileNotFoundError(
            f"the folder {self.path} must hold {' or '.join(names) or 'a tool'}; it does not"
        )

    def lock(self, path: Path) -> AbstractContextManager[None]:
        # A phone is plugged into one machine: its lock goes with a process of that machine.
        return _machine.machine_lock(path, f"adb-{self.serial}")

    def start(
        self, target: Target, protocol: Mapping[str, Any], own: type[Runtime] | None = None
    ) -> PhoneWorker:
        return PhoneWorker(self, target, Protocol(**protocol))

    def detect(self, name: str | None = None, *, seconds: float = 2.0) -> Device:
        """The catalogue's device of this phone or its chip, with the memory that it tells.

        Nothing is measured: bandwidth and peak are the catalogue's.
        """
        phone = self.phone
        found = named_device(f"{phone.title} {phone.soc}") or named_device(phone.soc)
        if found is None:
            raise HostError(
                f"no device of the catalogue is {phone.title} or has its chip, "
                f"{phone.soc or 'which it does not tell'}: write its specification into a file of "
                "your own (docs/devices.md); a phone cannot measure its bandwidth by adb"
            )
        called = name or phone.device_name("big")
        Target(called, "any")  # what a target takes, a device can be called
        memory = found.memory_gb if phone.memory_bytes is None else phone.memory_bytes / 1e9
        source = f"{phone.title} (Android {phone.android}) by adb; all but memory as {found.name}"
        return replace(
            found,
            name=called,
            title=phone.title,
            memory_gb=round(memory, 2),
            chip=found.chip or found.name,
            source=source,
        )

    def runtime_text(self, name: str, own: type[Runtime] | None = None) -> str:
        return self.tool(name).name

    def wait_until_ready(self) -> PhoneState:
        """Wait until the phone is cool, does not throttle and has power; its state then.

        Raises:
            HostError: it has not been for :attr:`patience_s`.
            HostLostError: the link broke.
        """
        deadline = time.monotonic() + self.patience_s
        while reason := _unready(state := self.state()):
            if time.monotonic() >= deadline:
                raise HostError(
                    f"{self.title} must be cool and charged to measure; {reason} after "
                    f"{self.patience_s:.0f} s of waiting: see to that, then go on with --resume"
                )
            time.sleep(self.poll_s)
        return state

    def reconnect(self) -> None:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                self.link.check()
                return
            except HostError as error:
                if time.monotonic() >= deadline:
                    raise HostError(f"{error}; go on with --resume when it is back") from error
            time.sleep(self.poll_s)

    def remove(self) -> None:
        """Take everything of ours off the phone.

        Raises:
            HostError: it does not answer.
        """
        self.link.check()
        self.link.shell(f"rm -rf {FOLDER}")


def phone_text(text: str, tool: Path | None, cores: str | None) -> str:
    """The text of a phone with its tool and cores, from ``adb:SERIAL``.

    Raises:
        ValueError: the text is of another host, which has neither.
    """
    if not text.startswith("adb:"):
        raise ValueError(f"a tool and cores are chosen for phones (adb:SERIAL); got {text!r}")
    given = {"tool": None if tool is None else str(tool.resolve()), "cores": cores}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    return f"{text}?{query}" if query else text


def _unready(state: PhoneState) -> str | None:
    """Why no run should begin."""
    if state.thermal_status:
        return f"Android throttles it (thermal status {state.thermal_status})"
    if state.battery_c is not None and state.battery_c > MAX_BATTERY_C:
        return f"its battery has {state.battery_c:.1f} °C, above {MAX_BATTERY_C:.0f}"
    if state.battery_percent is not None and state.battery_percent < MIN_BATTERY_PERCENT:
        return f"its battery is at {state.battery_percent:.0f} %, below {MIN_BATTERY_PERCENT:.0f}"
    return None


# -- runs --------------------------------------------------------------------------------------


class _FailedError(Exception):
    """A network cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class _Pushed:
    """A network that is on the phone.

    Attributes:
        folder: of its files.
        name: of the one that the command line names.
        shape: of its input; None where the file has its own.
        key: by which its latency is remembered.
    """

    folder: str
    name: str
    shape: tuple[int, ...] | None
    key: str


@dataclass(slots=True)
class PhoneWorker:
    """Makes runs on a phone; every invocation of the tool is a process of its own there.

    Attributes:
        host: the phone.
        target: what to run on.
        protocol: of the campaign: a run has its ``min_samples`` invocations of a share of its
            ``run_s`` each, and one of the reference network before and after.
    """

    host: AdbHost
    target: Target
    protocol: Protocol
    facts: dict[str, Any] = field(init=False)
    pid: int = field(init=False, default=0)
    _tool: Tool = field(init=False)
    _prefix: str = field(init=False)
    _program: str = field(init=False)
    _reference: _Pushed = field(init=False)
    _known_ms: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        host, phone = self.host, self.host.phone
        program = host.program(self.target.runtime)
        self._tool = host.tool(self.target.runtime)
        with program.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()[:12]
        cpus = phone.select(host.cores, max(self.target.threads, 1))
        folder = f"{FOLDER}/tool-{digest}"
        self._program = f"{folder}/{PurePosixPath(program.name)}"
        self._prefix = "".join(self._prefixes(phone, cpus))
        self._push_tool(program, folder)
        graph = reference_network().with_batch(self.target.batch)
        self._reference = self._push("reference", self._tool.write(graph, 0), graph, "")
        self.facts = {
            "runtime": {
                "version": f"{self._tool.name}, sha256 {digest}",
                "build": phone.abi,
                "instructions": "chosen at run time; not stated",
                "samples": "one an invocation: the tool's median of its passes, or their mean",
            },
            "machine": {
                "phone": phone.title,
                "android": phone.android,
                "soc": phone.soc,
                "kernel": phone.kernel,
                "cores": host.cores,
                "cpus": ",".join(map(str, cpus)),
                "clock governor": phone.governor,
            },
            "timer_s": 1e-6,
            "clock": "wall",
        }

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        source = parse_source(request["network"])
        try:
            files, graph = self._files(source, request["seed"])
        except Exception as error:  # noqa: BLE001  # whatever a writer raises is the answer
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        state = self.host.wait_until_ready()
        try:
            pushed = self._push("run", files, graph, request["network"])
            answer = self._run(pushed, state)
            return answer | self._profile(pushed, source, request)
        except _FailedError as error:
            return {"failed": str(error)}
        except RefusedError as error:
            return {"full": str(error)}

    def close(self) -> None:
        with suppress(HostError):
            self.host.link.shell(f"rm -rf {FOLDER}/run {FOLDER}/reference")

    def _prefixes(self, phone: Phone, cpus: Sequence[int]) -> Iterator[str]:
        if "timeout" in phone.commands:
            yield f"timeout {self._limit_s():.0f} "
        if "taskset" in phone.commands and self.host.cores != "all":
            yield f"taskset {mask_of(cpus)} "

    def _limit_s(self) -> float:
        return _TOOL_S + 3 * (self.protocol.warm_up_s + self.protocol.run_s)

    def _push_tool(self, program: Path, folder: str) -> None:
        """The program, and what lies beside it where the user gave a folder."""
        own = self.host.path
        is_folder = own is not None and own.is_dir()
        files = sorted(x for x in program.parent.iterdir() if x.is_file()) if is_folder else [program]
        self.host.link.shell(f"mkdir -p {folder}")
        for path in files:
            there = f"{folder}/{path.name}"
            if not self.host.link.has(there, path.stat().st_size):
                try:
                    self.host.link.push(path, there, 0o755)
                except RefusedError as error:
                    raise HostError(
                        f"{self.host.title} must have room for the tool in {FOLDER}; it refused "
                        f"{error}: make room there"
                    ) from error

    def _files(
        self, source: NetworkSource, seed: int
    ) -> tuple[Mapping[str, bytes | Path], Graph | None]:
        """Files to push, and the graph of a network that is written by us."""
        batch, tool = self.target.batch, self._tool
        if isinstance(source, OnnxFile) and source.path.suffix.lower() == tool.suffix:
            source.check()
            return {f"model{tool.suffix}": source.path}, None
        if isinstance(source, OnnxFile):
            raise ValueError(
                f"{tool.name} takes {tool.suffix} files; got {source.path.name}: convert it"
            )
        if self.target.precision not in ("fp32", "fp16"):
            raise ValueError(
                f"networks are written in fp32; for {self.target.precision} give {tool.suffix} "
                "files of your own (--models)"
            )
        if isinstance(source, VariantSource):
            graph = source.variant.graph(batch)
        else:
            model = source.model(batch, seed)
            assert isinstance(model, Graph)  # of an architecture or a block
            graph = model.with_batch(batch)
        return tool.write(graph, seed), graph

    def _push(
        self, name: str, files: Mapping[str, bytes | Path], graph: Graph | None, key: str
    ) -> _Pushed:
        # Anew, since benchmark.out runs whatever a folder holds.
        folder = f"{FOLDER}/{name}"
        self.host.link.shell(f"rm -rf {folder}; mkdir -p {folder}")
        for file, content in files.items():
            self.host.link.push(content, f"{folder}/{file}")
        shape = None if graph is None else tuple(graph.in_shape)
        return _Pushed(folder, next(iter(files)), shape, key)

    def _run(self, network: _Pushed, before: PhoneState) -> dict[str, Any]:
        started = time.monotonic()
        protocol = self.protocol
        count = protocol.min_samples
        if network.key not in self._known_ms:  # how many passes fill the time is not known yet
            self._time(network, 0.0, protocol.run_s / count)
        first = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        own = [self._time(network, protocol.warm_up_s, protocol.run_s / count) for _ in range(count)]
        last = self._time(self._reference, protocol.warm_up_s, protocol.reference_s)
        after = self.host.state()
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

    def _profile(
        self, network: _Pushed, source: NetworkSource, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The operators' times where they are asked for; that it fails does not lose the run."""
        if not ("profile_passes" in request or "profile_s" in request):
            return {}
        if not self._tool.has_profile:
            return {"profile_ms": None}
        try:
            output = self._invoke(network, self.protocol.warm_up_s, 1.0, profiling=True)
            if self._tool.profile_file is not None:
                output = self.host.link.read(f"{network.folder}/{self._tool.profile_file}")
            found = self._tool.read_profile(output)
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
            report = self._tool.read(output)
        except ValueError as error:
            raise _FailedError(f"{type(error).__name__}: {error}") from error
        self._known_ms[network.key] = report.latency_ms
        return report

    def _invoke(
        self, network: _Pushed, warm_up_s: float, run_s: float, *, profiling: bool = False
    ) -> str:
        """What the tool prints of one invocation.

        Raises:
            _FailedError: it refuses the network.
            WorkerDiedError: it was ended by a signal, or took too long.
            HostLostError: the link broke.
        """
        job = Job(
            max(self.target.threads, 1), self.target.precision, warm_up_s, run_s,
            self._known_ms.get(network.key), network.shape, profiling,
        )  # fmt: skip
        words = shlex.join(self._tool.command(self._program, network.name, job))
        libraries = str(PurePosixPath(self._program).parent)
        command = f"cd {network.folder} && LD_LIBRARY_PATH={libraries} {self._prefix}{words} 2>&1"
        code, output = self.host.link.shell(command, self._limit_s() + 30)
        name = self._tool.name
        if code == _TIMED_OUT:
            raise WorkerDiedError(f"{name} gave no answer within {self._limit_s():.0f} s")
        if code > 128:
            signal = _SIGNALS.get(code - 128, f"signal {code - 128}")
            hint = " (out of memory?)" if signal == "SIGKILL" else ""
            raise WorkerDiedError(f"{name} was ended by {signal}{hint}")
        if code:
            raise _FailedError(self._tool.failure(code, output, self.host.phone.abi))
        return output


def _machine_facts(before: PhoneState, after: PhoneState, seconds: float) -> dict[str, float]:
    """What happened to the phone during a run, by the names that campaigns use."""
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


def _by_layer(operators: Sequence[Any]) -> dict[str, float]:
    """Milliseconds by number of a layer, of operators whose tensors are called ``WORD_NUMBER``."""
    found: dict[str, float] = {}
    for operator in operators:
        if match := _NUMBER.search(operator.name):
            found[match[1]] = found.get(match[1], 0.0) + operator.ms
    return found


__all__ = ["AdbHost", "HostLostError", "PhoneWorker", "phone_text"]
