"""Phones, by adb: a maker's own program is pushed to one, and times what is pushed beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode

from latcast._files import check_file
from latcast.data import ENERGY_MJ
from latcast.devices import SELECTIONS, Device, Target, named_device
from latcast.measure import _machine
from latcast.measure._protocol import Protocol
from latcast.measure._worker import reference_network
from latcast.measure.runtimes import Runtime
from latcast.measure.tools import TOOLS, Tool, find_tool

from ._adb_link import AdbLink
from ._base import Host, HostError
from ._phone import DESCRIBE, FOLDER, STATE, Phone, PhoneState
from ._phone_worker import PhoneWorker

# Runs begin below these. 37 °C is where public benchmarks of phones hold their runs until the
# battery has cooled (github.com/software-mansion/react-native-executorch/issues/727); below 20 %
# Android offers to save power. Neither was varied on a phone of ours.
MAX_BATTERY_C, MIN_BATTERY_PERCENT = 37.0, 20.0


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
    # benchmark_model's own: half a second of warm-up, and a second of passes each invocation.
    protocol: ClassVar[Mapping[str, Any]] = {
        "warm_up_s": 0.5, "run_s": 3.0, "min_samples": 3, "reference_s": 0.5,
    }  # fmt: skip
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
        self.path = Path(known["tool"]).absolute() if "tool" in known else None
        if self.cores not in SELECTIONS:
            raise ValueError(f"cores must be {' or '.join(SELECTIONS)}; got {self.cores!r}")
        # One spelling of each, since a campaign goes on by its host's text.
        chosen = {"cores": self.cores} if self.cores != "big" else {}
        tool = {} if self.path is None else {"tool": str(self.path)}
        super().__init__(self.serial + "?" * bool(tool | chosen) + urlencode(tool | chosen))
        self.link = AdbLink(self.serial)
        self._given_up = threading.Event()

    @property
    def title(self) -> str:
        return f"the phone {self.serial}"

    @cached_property
    def phone(self) -> Phone:
        """The constant facts of the phone.

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

    def check_quantities(self, names: Sequence[str], runtime: str) -> None:
        if ENERGY_MJ.name in names:
            raise HostError(f"{self.title} tells no energy by adb: leave out {ENERGY_MJ.name}")

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

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        self._given_up.clear()
        # A phone is plugged into one machine: its lock goes with a process of that machine.
        with _machine.machine_lock(path, f"adb-{self.serial}"):
            yield

    def start(
        self, target: Target, protocol: Mapping[str, Any], own: type[Runtime] | None = None
    ) -> PhoneWorker:
        self._given_up.clear()  # of an earlier campaign: a worker can be had without a lock
        program = self.program(target.runtime)
        beside = sorted(program.parent.iterdir()) if self.path != program else [program]
        worker = PhoneWorker(
            self.link, self.phone, self.tool(target.runtime), self.cores, target,
            Protocol(**protocol), self.wait_until_ready,
        )  # fmt: skip
        worker.prepare(program, [path for path in beside if path.is_file()])
        return worker

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

    def has_profiler(self, name: str) -> bool:
        return False  # tools tell of operators, by names of their own where they fuse

    def wait_until_ready(self) -> PhoneState:
        """Wait until the phone is cool, does not throttle and has power; its state then.

        Raises:
            HostError: it has not been for :attr:`patience_s`, or nobody waits any longer.
            HostLostError: the link broke.
        """
        deadline = time.monotonic() + self.patience_s
        while reason := _unready(state := self.state()):
            if time.monotonic() >= deadline:
                raise HostError(
                    f"{self.title} must be cool and charged to measure; {reason} after "
                    f"{self.patience_s:.0f} s of waiting: see to that, then go on with --resume"
                )
            self._pause()
        return state

    def reconnect(self) -> None:
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            with suppress(HostError):
                self.link.check()
                return
            self._pause()
        try:
            self.link.check()
        except HostError as error:
            raise HostError(f"{error}; go on with --resume when it is back") from error

    def _pause(self) -> None:
        if self._given_up.wait(self.poll_s):
            raise HostError(f"{self.title} is waited for no longer: go on with --resume")

    def stop_waiting(self) -> None:
        self._given_up.set()

    def close(self) -> None:
        self.stop_waiting()

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
    given = {"tool": None if tool is None else str(tool), "cores": cores}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    if not query:
        return text
    if not text.startswith("adb:"):
        raise ValueError(
            f"a tool and cores are chosen for a phone (adb:SERIAL); got {text or 'this machine'!r}"
        )
    return f"{text}{'&' if '?' in text else '?'}{query}"


def _unready(state: PhoneState) -> str | None:
    """Why no run should begin."""
    if state.thermal_status:
        return f"Android throttles it (thermal status {state.thermal_status})"
    if state.battery_c is not None and state.battery_c > MAX_BATTERY_C:
        return f"its battery has {state.battery_c:.1f} °C, above {MAX_BATTERY_C:.0f}"
    if state.battery_percent is not None and state.battery_percent < MIN_BATTERY_PERCENT:
        return f"its battery is at {state.battery_percent:.0f} %, below {MIN_BATTERY_PERCENT:.0f}"
    return None
