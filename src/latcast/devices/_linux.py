"""The host according to Linux: ``/proc`` and ``/sys`` (proc(5), cgroups(7), kernel ABI docs)."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ._host import Host, known_features, positive, positive_int

_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2",
}  # fmt: skip
"""Part numbers of Arm Ltd. (implementer 0x41), from the main ID registers in its manuals."""


def linux(root: Path = Path("/"), cpus: Collection[int] | None = None) -> Host:
    """Read the host.

    Args:
        root: where ``proc`` and ``sys`` are.
        cpus: logical CPUs that this process may use; by default, those of its affinity.
    """
    if cpus is None:
        cpus = usable_cpus()
    entries = cpuinfo(_read(root / "proc/cpuinfo"))
    caches = list(_caches(root, cpus))
    first = {(c.level, c.data): c.kb for c in reversed(caches)}
    last = max((c.level for c in caches if c.data), default=0)
    shared = {c.shared: c.kb for c in caches if c.data and c.level == last}
    return Host(
        model=_model(root, entries),
        cores=_cores(root, cpus),
        memory_bytes=_memory_bytes(root),
        clock_ghz=_clock_ghz(root, cpus, entries),
        l1d_kb=first.get((1, True)),
        l2_kb=first.get((2, True)),
        l3_kb=first.get((3, True)),
        last_level_kb=sum(shared.values()) or None,
        features=features(entries),
    )


def usable_cpus() -> list[int]:
    """Logical CPUs that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpuinfo(text: str) -> list[dict[str, str]]:
    """The entries of ``/proc/cpuinfo``, of one CPU each; Arm adds one about the board."""
    entries = []
    for block in re.split(r"\n\s*\n", text):
        pairs = (line.partition(":") for line in block.split("\n"))
        entry = {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}
        if entry:
            entries.append(entry)
    return entries


def features(entries: list[dict[str, str]]) -> tuple[str, ...]:
    """Features of the CPU: ``flags`` on x86, ``Features`` on Arm."""
    for entry in entries:
        found = entry.get("flags") or entry.get("features")
        if found:
            return known_features(found.split())
    return ()


def _model(root: Path, entries: list[dict[str, str]]) -> str:
    for entry in entries:
        if entry.get("model name"):
            return entry["model name"]
    # Arm gives numbers in place of a name; cores of a phone are of several kinds.
    parts = {e["cpu part"]: None for e in entries if e.get("cpu implementer") == "0x41"
             and e.get("cpu part") in _ARM_PARTS}  # fmt: skip
    if parts:
        return "+".join(_ARM_PARTS[p] for p in parts)
    board = _read(root / "proc/device-tree/model").strip("\0 \n")
    return board or platform.processor() or platform.machine()


def _cores(root: Path, cpus: Collection[int]) -> int:
    """Physical cores among ``cpus``, or fewer where the control group has less CPU time."""
    topology = (root / f"sys/devices/system/cpu/cpu{c}/topology/thread_siblings_list" for c in cpus)
    siblings = {_read(path) or str(path) for path in topology}
    quotas = [q for q in (_quota(folder) for folder in _groups(root, "cpu")) if q is not None]
    return max(1, int(min([len(siblings), *quotas])))


def _quota(folder: Path) -> float | None:
    """CPUs' worth of time that a control group may use; None without a limit."""
    text = _read(folder / "cpu.max")
    if not text:  # version 1 has a file for each number
        text = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    quota, _, period = text.partition(" ")
    time_us, period_us = positive_int(quota), positive_int(period)
    return time_us / period_us if time_us and period_us else None


def _memory_bytes(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s*([0-9]{1,15}) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    limits = [int(match[1]) * 1024 if match else None]
    for folder in _groups(root, "memory"):
        limits += [positive_int(_read(folder / name))
                   for name in ("memory.max", "memory.limit_in_bytes")]  # fmt: skip
    return min((limit for limit in limits if limit), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, innermost first.

    A container may see its own group as the root, so that folders can be absent.
    """
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").split("\n"):
        _, _, rest = line.partition(":")
        controllers, colon, name = rest.partition(":")
        if not colon or not (controllers == "" or controller in controllers.split(",")):
            continue
        top = base / controller if controllers else base  # version 1 has a tree for each
        # A name that goes up leads out of what this process may see.
        inner = Path(*[part for part in name.split("/") if part not in ("", ".", "..")])
        yield from (top / folder for folder in (inner, *inner.parents))


def _clock_ghz(root: Path, cpus: Collection[int], entries: list[dict[str, str]]) -> float | None:
    """Highest clock of ``cpus``; a virtual machine tells but the one of now."""
    name = "sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
    khz = [k for c in cpus if (k := positive_int(_read(root / name.format(c))))]
    if khz:
        return round(max(khz) / 1e6, 3)
    mhz = [m for e in entries if (m := positive(e.get("cpu mhz")))]
    return round(max(mhz) / 1e3, 3) or None if mhz else None


class _Cache:
    """One cache of one CPU, from its folder in ``/sys``."""

    def __init__(self, folder: Path) -> None:
        self.level = positive_int(_read(folder / "level")) or 0
        self.data = _read(folder / "type") in ("Data", "Unified")
        self.shared = _read(folder / "shared_cpu_list")
        match = re.fullmatch(r"([0-9]{1,9})([KM])", _read(folder / "size"))
        self.kb = int(match[1]) * (1024 if match[2] == "M" else 1) if match else 0


def _caches(root: Path, cpus: Collection[int]) -> Iterator[_Cache]:
    """The caches of ``cpus``, first CPU first."""
    for cpu in sorted(cpus):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cache"
        for index in sorted(folder.glob("index*")):
            cache = _Cache(index)
            if cache.level and cache.kb:
                yield cache


def _read(path: Path) -> str:
    """Text of a file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # the latter: a name that no file can have
        return ""
