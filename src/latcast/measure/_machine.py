"""This machine while something is measured: what is true of it, and who may use it.

psutil tells the CPUs' time; clocks, throttling and settings only Linux does, in ``/sys``.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from latcast._files import write_file

_CPU = Path("/sys/devices/system/cpu")
# Drivers of processors' sensors: Intel's, AMD's, those of Arm boards and of chips of phones. Other
# sensors are of disks, batteries and boards.
_IS_PROCESSOR = re.compile(r"coretemp|k10temp|zenpower|cpu|soc|bcm2835|x86_pkg", re.IGNORECASE)
_HOTTEST_C = 150.0  # some sensors that are not connected say more


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters of the machine at one moment; None where the system does not tell.

    Attributes:
        time_s: monotonic clock.
        process_s: CPU seconds of this process.
        busy_s: CPU seconds that all CPUs of the machine have worked since boot.
        steal_s: CPU seconds that the hypervisor gave to other machines.
        throttled: thermal throttling events.
        clock_mhz: mean clock of the CPUs that are used.
        temperature_c: of the hottest part of the processor.
    """

    time_s: float
    process_s: float
    busy_s: float | None
    steal_s: float | None
    throttled: int | None
    clock_mhz: float | None
    temperature_c: float | None = None


def snapshot(cpus: Collection[int] = ()) -> Snapshot:
    """The machine now, seen from this process; clocks of ``cpus``."""
    busy, steal = _worked()
    counts = [_integer(p) for p in _CPU.glob("cpu*/thermal_throttle/core_throttle_count")]
    # psutil would read the clocks of all CPUs, for which the kernel interrupts each.
    clocks = [_integer(_CPU / f"cpu{c}/cpufreq/scaling_cur_freq") for c in cpus]
    known = [c for c in clocks if c is not None]
    return Snapshot(
        time.monotonic(),
        time.process_time(),
        busy,
        steal,
        sum(c for c in counts if c is not None) if counts else None,
        sum(known) / len(known) / 1000 if known else None,
        temperature_c(),
    )


def temperature_c() -> float | None:
    """Return the temperature of the processor's hottest part, °C; None without a sensor."""
    import psutil

    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, RuntimeError, ValueError):  # the first: not on all systems
        return None
    found = [s.current for name, own in sensors.items() if _IS_PROCESSOR.match(name) for s in own]
    return max((float(t) for t in found if 0 < t < _HOTTEST_C), default=None)


def _worked() -> tuple[float | None, float | None]:
    """Busy and stolen CPU seconds of all CPUs since boot."""
    import psutil

    try:
        times = psutil.cpu_times()
    except (OSError, RuntimeError, ValueError):
        return None, None
    # Guests' time is a part of user's; idle and iowait are no work, and neither is steal.
    busy = ("user", "nice", "system", "irq", "softirq")
    steal: float | None = getattr(times, "steal", None)
    return sum(getattr(times, name, 0.0) for name in busy), steal


def changes(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Return the changes between two snapshots of one process.

    Returns:
        Of these, what is known: ``seconds``; ``own_cpus`` (CPUs that this process kept busy),
        ``other_cpus`` (that everything else did); ``steal`` (CPUs stolen); ``throttled``
        (events), and ``clock_mhz`` and ``temperature_c`` at the end.
    """
    seconds = max(after.time_s - before.time_s, 1e-9)
    # All threads of this process: what is left of the busy CPUs is others'.
    own = (after.process_s - before.process_s) / seconds
    result = {"seconds": seconds, "own_cpus": own}
    if before.busy_s is not None and after.busy_s is not None:
        result["other_cpus"] = max((after.busy_s - before.busy_s) / seconds - own, 0.0)
    if before.steal_s is not None and after.steal_s is not None:
        result["steal"] = (after.steal_s - before.steal_s) / seconds
    if before.throttled is not None and after.throttled is not None:
        result["throttled"] = after.throttled - before.throttled
    if after.clock_mhz is not None:
        result["clock_mhz"] = after.clock_mhz
    if after.temperature_c is not None:
        result["temperature_c"] = after.temperature_c
    return result


def settings(cpus: Collection[int]) -> dict[str, str]:
    """Return the machine's constant facts: processor, microcode, kernel, governor and so on."""
    from latcast.devices import cpu_model

    governors = {_read(_CPU / f"cpu{c}/cpufreq/scaling_governor") for c in cpus} - {""}
    found = {
        "cpu": cpu_model(),
        "microcode": _microcode(),
        "kernel": " ".join(os.uname()[i] for i in (0, 2, 4)) if hasattr(os, "uname") else os.name,
        "cpus": ",".join(map(str, sorted(cpus))),
        "governor": ",".join(sorted(governors)),
        "turbo off": _read(_CPU / "intel_pstate/no_turbo"),
        "boost": _read(_CPU / "cpufreq/boost"),
        "smt": _read(_CPU / "smt/active"),
        "transparent huge pages": _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
    }
    return {name: value for name, value in found.items() if value}


def _microcode() -> str:
    """Version of the first CPU's microcode; virtual machines tell it in `/proc/cpuinfo` alone."""
    if version := _read(_CPU / "cpu0/microcode/version"):
        return version
    match = re.search(r"^microcode\s*:\s*(\S+)", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1] if match else ""


def setting_doubts(facts: Mapping[str, str]) -> list[str]:
    """Warnings about :func:`settings`."""
    governor = facts.get("governor", "performance")
    if governor != "performance" and "phone" not in facts:  # there only root can set it
        return [
            f"CPU clocks are scaled (governor {governor}); set it to performance for steady times"
        ]
    return []


def pin(cpus: Collection[int]) -> bool:
    """Keep the calling thread on ``cpus``; False where the system cannot.

    psutil would keep the whole process there: the threads of a runtime have CPUs of their own.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, set(cpus))
    return True


class CampaignRunningError(RuntimeError):
    """Another campaign is measuring on this machine."""


@contextmanager
def machine_lock(campaign: Path | str, name: str = "") -> Iterator[None]:
    """Keep other campaigns from measuring on this machine; let go when the process ends.

    Args:
        campaign: its file, which others are told; a text where that is on another machine.
        name: of what is measured by this machine, where that is not itself, such as a phone.

    Raises:
        CampaignRunningError: another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder = _folder()
    own = "-" + re.sub(r"[^A-Za-z0-9.-]", "_", name) if name else ""
    holder = folder / f"holder{own}"
    # A lock of the system's, not a file that is there or not: it goes with the process, however it
    # ended.
    lock = FileLock(folder / f"lock{own}", timeout=0, mode=0o666)
    try:
        held = lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "something"
        raise CampaignRunningError(
            f"only one campaign may measure on a machine at a time; {who} is being measured: "
            "wait until it ends"
        ) from None
    with held:
        told = campaign.absolute() if isinstance(campaign, Path) else campaign
        write_file(holder, str(told))
        yield


def _folder() -> Path:
    """A folder that every user of the machine can write to.

    A lock file in the temporary folder itself could be used by none but its owner: others'
    files cannot be opened for writing in a folder with the sticky bit.
    """
    folder = Path(tempfile.gettempdir()) / "latcast-measuring"
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # another user has made it, and has done this
        folder.chmod(0o777)
    return folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _integer(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None
