"""Facts that an operating system states about the machine that it runs on.

psutil tells cores, memory and clock on any system. Linux adds the rest in ``/proc`` and ``/sys``
(proc(5), cgroups(7), kernel ABI docs), macOS in ``sysctl``. Only Linux has been run by the
authors: of the others, the reading of sample texts. What cannot be read is None, not an error.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._device import Device, Target, figure_range

# CPU features that matter for inference, as Linux calls them in `/proc/cpuinfo`.
FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip

# Part numbers of Arm Ltd. (implementer 0x41), from the main ID registers in its manuals.
_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd49": "Neoverse-N2", "0xd4f": "Neoverse-V2",
}  # fmt: skip

_SYSCTL_FEATURES = {
    "sse4.2": "sse4_2", "avx1.0": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c",
    "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512vnni": "avx512_vnni",
}  # fmt: skip
# Apple's names ("Determining instruction set characteristics") to Linux's.
_SYSCTL_FLAGS = {
    "hw.optional.AdvSIMD": "asimd", "hw.optional.neon": "asimd",
    "hw.optional.arm.FEAT_FP16": "asimdhp", "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as this process sees it; what the system does not tell is None.

    Attributes:
        model: the CPU maker's name for it.
        cores: physical cores that this process may use; logical ones where the system does not
            tell them apart.
        memory_bytes: memory that this process may use.
        clock_ghz: highest CPU clock that the system states.
        l1d_kb: level 1 data cache of a core, KiB.
        l2_kb: level 2 cache of a core or cluster, KiB.
        l3_kb: level 3 cache that the first core shares, KiB.
        last_level_kb: all last-level caches of the usable cores together, KiB.
        features: those of :data:`FEATURES` that the CPU has; empty where unknown.
        numbers: family and model of an x86 CPU, as ``family 26, model 2``; empty where unknown.
        is_virtual: whether its CPUs are those of a virtual machine.
    """

    model: str
    cores: int
    memory_bytes: int | None = None
    clock_ghz: float | None = None
    l1d_kb: int | None = None
    l2_kb: int | None = None
    l3_kb: int | None = None
    last_level_kb: int | None = None
    features: tuple[str, ...] = ()
    numbers: str = ""
    is_virtual: bool = False

    @property
    def title(self) -> str:
        """Model and cores; where virtual machines name a maker's line alone, with its numbers."""
        is_told = any(c.isdigit() for c in self.model.partition("@")[0])  # a clock is no name
        numbers = f" ({self.numbers})" if self.numbers and not is_told else ""
        virtual = "virtual " if self.is_virtual else ""
        return f"{self.model}{numbers}, {os.cpu_count()} {virtual}cores"

    @property
    def name(self) -> str:
        """Model and cores as a device name, such as ``amd-epyc-2c``."""
        return f"{slug(self.model)}-{self.cores}c"


def this_host() -> Host:
    """Read the host."""
    readers = {"linux": linux, "darwin": macos, "win32": windows}
    return readers.get(sys.platform, other)()


def host_name() -> str:
    """A device name for this host, from its CPU model and cores, such as ``amd-epyc-2c``."""
    return this_host().name


def cpu_model() -> str:
    """The CPU maker's name for this host's CPU."""
    return this_host().model


def host_title() -> str:
    """The host in words, such as ``AMD EPYC (family 26, model 2), 2 virtual cores``."""
    return this_host().title


def cpu_features() -> tuple[str, ...]:
    """The CPU's features that matter for inference, as Linux calls them; empty if unknown."""
    return this_host().features


def usable_cpus() -> list[int]:
    """Logical CPUs that this process may use, in order."""
    import psutil

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has none
        return sorted(process.cpu_affinity())
    return list(range(psutil.cpu_count() or 1))


def slug(model: str) -> str:
    """A CPU's name as part of a device name: lower case, and without what says nothing.

    ``Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz`` becomes ``intel-xeon-e5-2680-v4``.
    """
    text = re.sub(r"\((?:r|tm|c)\)|@.*", " ", model.lower(), flags=re.DOTALL)
    text = re.sub(r"\b(?:cpu|processor|(?:\d+|dual|quad|six|eight)-core)\b", " ", text)
    text = re.sub(r"[^a-z0-9.+]+", "-", text).strip("-.+")
    return text[:60].rstrip("-.+") or "cpu"


# -- Linux ------------------------------------------------------------------------------------


def linux(root: Path = Path("/"), cpus: Collection[int] | None = None) -> Host:
    """Read a Linux host.

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
        features=_features(entries),
        numbers=_numbers(entries),
        is_virtual=any("hypervisor" in e.get("flags", "").split() for e in entries),
    )


def _numbers(entries: list[dict[str, str]]) -> str:
    """Family and model of an x86 CPU, which tell its generation; nothing of others."""
    for entry in entries:
        family, model = (_integer(entry.get(key)) for key in ("cpu family", "model"))
        if family is not None and model is not None:
            return f"family {family}, model {model}"
    return ""


def cpuinfo(text: str) -> list[dict[str, str]]:
    """The entries of ``/proc/cpuinfo``, of one CPU each; Arm adds one about the board."""
    blocks = (_pairs(block) for block in re.split(r"\n\s*\n", text))
    return [{key.lower(): value for key, value in block.items()} for block in blocks if block]


def _features(entries: list[dict[str, str]]) -> tuple[str, ...]:
    """Features of the CPU: ``flags`` on x86, ``Features`` on Arm."""
    for entry in entries:
        if found := entry.get("flags") or entry.get("features"):
            return _known(found.split())
    return ()


def _model(root: Path, entries: list[dict[str, str]]) -> str:
    for entry in entries:
        if entry.get("model name"):
            return entry["model name"]
    # Arm gives numbers in place of a name; cores of a phone are of several kinds.
    arm = [e.get("cpu part", "") for e in entries if e.get("cpu implementer") == "0x41"]
    if parts := [part for part in dict.fromkeys(arm) if part in _ARM_PARTS]:
        return "+".join(_ARM_PARTS[part] for part in parts)
    board = _read(root / "proc/device-tree/model").strip("\0 \n")
    return board or _own_words()


def _cores(root: Path, cpus: Collection[int]) -> int:
    """Physical cores among ``cpus``, or fewer where the control group has less CPU time.

    psutil counts those of the whole machine.
    """
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
    time_us, period_us = _integer(quota), _integer(period)
    return time_us / period_us if time_us and period_us else None


def _memory_bytes(root: Path) -> int | None:
    """The machine's memory, or less where the control group may use less."""
    limits = [_total_memory()]
    for folder in _groups(root, "memory"):
        limits += [_integer(_read(folder / n)) for n in ("memory.max", "memory.limit_in_bytes")]
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
    """Highest clock of ``cpus``; a virtual machine tells but the one of now.

    psutil gives the clocks of groups of CPUs, without telling of which.
    """
    name = "sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
    khz = [k for c in cpus if (k := _integer(_read(root / name.format(c))))]
    if khz:
        return round(max(khz) / 1e6, 3)
    mhz = [m for e in entries if (m := _positive(e.get("cpu mhz")))]
    return round(max(mhz) / 1e3, 3) or None if mhz else None


class _Cache:
    """One cache of one CPU, from its folder in ``/sys``."""

    def __init__(self, folder: Path) -> None:
        self.level = _integer(_read(folder / "level")) or 0
        self.data = _read(folder / "type") in ("Data", "Unified")
        self.shared = _read(folder / "shared_cpu_list")
        match = re.fullmatch(r"([0-9]{1,9})([KM])", _read(folder / "size"))
        self.kb = int(match[1]) * (1024 if match[2] == "M" else 1) if match else 0


def _caches(root: Path, cpus: Collection[int]) -> Iterator[_Cache]:
    """The caches of ``cpus``, first CPU first."""
    for cpu in sorted(cpus):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cache"
        yield from (c for c in map(_Cache, sorted(folder.glob("index*"))) if c.level and c.kb)


def _read(path: Path) -> str:
    """Text of a file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # the latter: a name that no file can have
        return ""


# -- other systems ----------------------------------------------------------------------------


def macos() -> Host:
    """Read a Mac: caches and features by ``sysctl``, the rest by psutil."""
    text = ""
    with suppress(OSError, subprocess.TimeoutExpired):
        run = subprocess.run(
            ["/usr/sbin/sysctl", "hw", "machdep.cpu"],
            capture_output=True, check=False, timeout=10,
        )  # fmt: skip
        text = run.stdout.decode(errors="replace")
    return parse_sysctl(text)


def parse_sysctl(text: str) -> Host:
    """A Mac from the output of ``sysctl hw machdep.cpu``.

    Caches are those of the fast cores where cores differ (``perflevel0``).
    """
    facts = _pairs(text)

    def kb(name: str) -> int | None:
        size = _integer(facts.get(f"hw.perflevel0.{name}") or facts.get(f"hw.{name}"))
        return size // 1024 or None if size else None

    words = " ".join(facts.get(f"machdep.cpu.{k}", "") for k in ("features", "leaf7_features"))
    found = [_SYSCTL_FEATURES.get(w, "") for w in words.lower().split()]
    found += [name for key, name in _SYSCTL_FLAGS.items() if facts.get(key) == "1"]
    return Host(
        model=facts.get("machdep.cpu.brand_string") or platform.machine(),
        cores=_machine_cores(),
        memory_bytes=_total_memory(),
        clock_ghz=_max_clock_ghz(),
        l1d_kb=kb("l1dcachesize"),
        l2_kb=kb("l2cachesize"),
        l3_kb=kb("l3cachesize"),
        last_level_kb=kb("l3cachesize") or kb("l2cachesize"),
        features=_known(found),
    )


def windows() -> Host:
    """Read Windows: the CPU's name from the registry, the rest by psutil."""
    model = _own_words()
    if sys.platform == "win32":
        import winreg

        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            model = str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return Host(model, _machine_cores(), _total_memory(), _max_clock_ghz())


def other() -> Host:
    """Read any other system: what psutil tells."""
    return Host(_own_words(), _machine_cores(), _total_memory(), _max_clock_ghz())


def _own_words() -> str:
    return platform.processor() or platform.machine()


def _machine_cores() -> int:
    """Physical cores of the machine; logical ones where the system does not tell them apart."""
    import psutil

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _total_memory() -> int | None:
    """Bytes of memory of the machine."""
    import psutil

    try:
        return int(psutil.virtual_memory().total) or None
    except (OSError, RuntimeError, ValueError):
        return None


def _max_clock_ghz() -> float | None:
    """Highest clock that psutil finds."""
    import psutil

    try:
        clock = psutil.cpu_freq()
    except (OSError, RuntimeError, AttributeError):  # not on every system, nor every chip
        return None
    return round((clock.max or clock.current) / 1e3, 3) or None if clock else None


# -- texts ------------------------------------------------------------------------------------


def _pairs(text: str) -> dict[str, str]:
    """Lines of ``key: value``."""
    pairs = (line.partition(":") for line in text.split("\n"))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _known(found: Iterable[str]) -> tuple[str, ...]:
    """Return the members of :data:`FEATURES` that are in ``found``, in the order of FEATURES."""
    present = set(found)
    return tuple(f for f in FEATURES if f in present)


def _positive(text: str | None) -> float | None:
    """A positive finite number from text, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _integer(text: str | None) -> int | None:
    """A positive integer from text, or None."""
    text = (text or "").strip()
    # Nothing that these files hold is longer than 20 digits; Python refuses 5,000.
    return int(text) or None if re.fullmatch(r"[0-9]{1,20}", text) else None


# --- the host as a device -------------------------------------------------------------------------

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Names a CPU whose kernels OpenBLAS shall take: the figure would be what these reach here.
_CORE_TYPE = "OPENBLAS_CORETYPE"
_FIGURES = ("bandwidth_gb_s", "peak_fp32_flops", "cpu_share")
_MIB = 2**20
# A common size of last-level caches, for machines that tell none.
_UNKNOWN_CACHE_BYTES = 32 * _MIB
_PATIENCE_S = 600.0  # some virtual machines take minutes to give out the memory
# Below it other programs took so much that the figures are theirs as well.
_BUSY_SHARE = 0.9


def detect(name: str | None = None, *, seconds: float = 2.0) -> Device:
    """Describe this host; its bandwidth and peak FLOP/s are measured.

    The system tells cores, memory, caches, clock and CPU features. Bandwidth and peak FLOP/s are
    what numpy reaches on all cores in a short run (:mod:`latcast.devices._micro_benchmark`), not
    a data sheet's figures. A busy machine lowers them; ``source`` says so then.

    Runs on Linux; the code for macOS (``sysctl``, psutil) and Windows (psutil) is written from
    their documentation and has not been run there.

    Args:
        name: name of the device; :func:`host_name` by default.
        seconds: how long to measure.

    Raises:
        ValueError: the name cannot be a device's, or ``seconds`` is not a positive number.
        OSError: the micro-benchmark failed, or the system does not tell its memory.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a positive number; got {seconds}")
    host = this_host()
    name = host.name if name is None else name
    Target(name, "any")  # what a target takes, a device can be called
    if host.memory_bytes is None:
        raise OSError(f"{platform.system()} must tell how much memory there is; it does not")
    measured = _measure(host, host.memory_bytes, seconds)
    return Device(
        name=name,
        title=host.model,
        kind="cpu",
        cores=host.cores,
        memory_gb=round(host.memory_bytes / 1e9, 2),
        bandwidth_gb_s=_rounded(measured["bandwidth_gb_s"]),
        peak_fp32_flops=_rounded(measured["peak_fp32_flops"]),
        clock_ghz=_plausible(host, "clock_ghz"),
        l1d_kb=_plausible(host, "l1d_kb"),
        l2_kb=_plausible(host, "l2_kb"),
        l3_kb=_plausible(host, "l3_kb"),
        features=host.features,
        source=_source(measured, host.cores, seconds),
    )


def _plausible(host: Host, figure: str) -> float | None:
    """Return a figure that the system states; None if it is impossible, as on some VMs."""
    value: float | None = getattr(host, figure)
    return value if value in figure_range("cpu", figure) else None


def _source(measured: dict[str, Any], threads: int, seconds: float) -> str:
    """Return the origin of the figures, with a warning if the machine was busy."""
    text = (
        f"latcast devices --detect on {platform.system()}; bandwidth and FLOP/s measured for "
        f"{seconds:g} s with numpy {measured['numpy']} ({measured['blas']}), threads: {threads}"
    )
    if measured["cpu_share"] < _BUSY_SHARE:
        text += (
            f"; may be too low, as other work left {100 * measured['cpu_share']:.0f} % of the "
            "CPU time; "
            "detect again when the machine is idle"
        )
    return text


def _measure(host: Host, memory_bytes: int, seconds: float) -> dict[str, Any]:
    """Run the micro-benchmark and check its answer."""
    command = [
        # -P: nothing is imported from the current folder.
        sys.executable, "-P", "-m", "latcast.devices._micro_benchmark",
        str(host.cores), str(_array_bytes(host.last_level_kb, memory_bytes)), str(seconds),
    ]  # fmt: skip
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1")}
    environment.pop(_CORE_TYPE, None)
    timeout = 10 * seconds + _PATIENCE_S
    try:
        run = subprocess.run(  # noqa: S603  # our own interpreter and module
            command, env=environment, capture_output=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"the micro-benchmark must end within {timeout:.0f} s; it was stopped: "
            "is the machine busy?"
        ) from None
    if run.returncode:
        raise ChildProcessError(f"the micro-benchmark failed: {_last_words(run)}")
    return _answer(run.stdout)


def _array_bytes(last_level_kb: int | None, memory_bytes: int) -> int:
    """Bytes of each of the three arrays: STREAM's rule is four times the last-level caches.

    Never more than 1 GiB or a sixteenth of the memory, so that measuring stays short and safe.
    """
    cache = last_level_kb * 1024 if last_level_kb else _UNKNOWN_CACHE_BYTES
    return min(max(4 * cache, 64 * _MIB), 1024 * _MIB, memory_bytes // 16)


def _last_words(run: subprocess.CompletedProcess[bytes]) -> str:
    lines = run.stderr.decode(errors="replace").strip().splitlines()
    how = f"ended by signal {-run.returncode}" if run.returncode < 0 else f"code {run.returncode}"
    return f"{how}: {lines[-1][-300:]}" if lines else how


def _answer(text: bytes) -> dict[str, Any]:
    """The micro-benchmark's figures.

    Raises:
        ChildProcessError: they are no positive numbers, or were cut short.
    """
    try:
        answer = json.loads(text)
        good = all(0 < answer[k] < math.inf for k in _FIGURES) and {"numpy", "blas"} <= set(answer)
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ChildProcessError(
            f"the micro-benchmark must print positive figures; got {text[:200]!r}"
        )
    return dict(answer)


def _rounded(value: float) -> float:
    """To three digits: runs differ by more."""
    return float(f"{value:.3g}")
