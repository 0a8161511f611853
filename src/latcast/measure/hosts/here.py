"""This machine as a host."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

from latcast.devices import Device, Target, detect, host_name, usable_cpus
from latcast.measure import _machine
from latcast.measure._quantities import check_measurable
from latcast.measure._worker import WorkerProcess, worker_setup
from latcast.measure.runtimes import RUNTIMES, Runtime, class_name, runtime

from ._base import Host

_CPU = Path("/sys/devices/system/cpu")


class Here(Host):
    """This machine: workers are processes of this one."""

    kind = "here"
    title = "this machine"

    def facts(self) -> Mapping[str, Any]:
        import psutil

        cpus = usable_cpus()
        found = {
            "name": host_name(),
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "latcast": metadata.version("latcast"),
            "cpus": cpus,
            "clusters": clusters(cpus),
            "governor": _machine.settings(cpus).get("governor"),
            "temperature_c": _machine.temperature_c(),
            "memory_bytes": psutil.virtual_memory().total,
            "free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        }
        return {name: value for name, value in found.items() if value not in (None, [])}

    def check(self, target: Target, own: type[Runtime] | None = None) -> None:
        kind = own or runtime(target.runtime)
        if kind.kind == "cpu" and target.threads > len(usable_cpus()):
            raise ValueError(
                f"threads must be at most {len(usable_cpus())}, the CPUs that may be used; "
                f"got {target.threads}"
            )
        kind(threads=target.threads, batch=target.batch, precision=target.precision)

    def check_quantities(self, names: Sequence[str], runtime: str) -> None:
        check_measurable(names, RUNTIMES.get(runtime).kind)

    def lock(self, path: Path) -> AbstractContextManager[None]:
        return _machine.machine_lock(path)

    def start(
        self, target: Target, protocol: Mapping[str, Any], own: type[Runtime] | None = None
    ) -> WorkerProcess:
        setup = worker_setup(target, protocol, class_name(own or runtime(target.runtime)))
        return WorkerProcess(setup, threads=max(target.threads, 1))

    def detect(self, name: str | None = None, *, seconds: float = 2.0) -> Device:
        return detect(name, seconds=seconds)


def clusters(cpus: Collection[int], root: Path = _CPU) -> list[dict[str, Any]]:
    """CPUs by their highest clock, the slowest first: big and little cores of one chip.

    Args:
        cpus: those to tell of.
        root: folder of the kernel's CPUs.

    Returns:
        ``cpus`` and ``max_mhz`` of each; nothing where the kernel tells no clocks.
    """
    by_clock: dict[int, list[int]] = {}
    for cpu in sorted(cpus):
        try:
            text = (root / f"cpu{cpu}/cpufreq/cpuinfo_max_freq").read_text(encoding="ascii")
        except OSError:
            continue
        by_clock.setdefault(int(text) // 1000, []).append(cpu)
    return [{"cpus": by_clock[mhz], "max_mhz": mhz} for mhz in sorted(by_clock)]
