"""Facts of a phone: its cores, its temperature and its battery.

A script asks for all of it, since every command of adb costs tens of milliseconds. Everything is
read as any user of the shell may: nothing needs root, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latcast._names import unknown_name
from latcast.devices import SELECTIONS
from latcast.devices._host import slug

FOLDER = "/data/local/tmp/latcast"
"""Where files go: the one place where a shell's user may run programs."""

_PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.board.platform",
    "ro.build.version.release", "ro.product.cpu.abi",
)  # fmt: skip
# Newer Androids may keep the zones of /sys back; their service tells those of type 0, the CPU.
STATE = r"""
dumpsys battery 2>/dev/null | sed -n -e 's/^ *present: /battery.present=/p' \
  -e 's/^ *level: /battery.level=/p' -e 's/^ *scale: /battery.scale=/p' \
  -e 's/^ *temperature: /battery.temperature=/p'
dumpsys thermalservice 2>/dev/null | sed -n -e 's/^Thermal Status: /thermal.status=/p' \
  -e '/^Current temperatures/,$s/.*{mValue=\([^,]*\), mType=0, mName=\([^,]*\),.*/zone.cpu-\2=\1/p'
for z in /sys/class/thermal/thermal_zone*; do
  echo "zone.$(cat $z/type 2>/dev/null)=$(cat $z/temp 2>/dev/null)"
done
"""
"""Script that prints what :class:`PhoneState` is read from."""

# The folder of the CPUs cannot be listed on Android, but each one can be read.
DESCRIBE = rf"""
for p in {" ".join(_PROPERTIES)}; do echo "$p=$(getprop $p)"; done
d=/sys/devices/system/cpu
i=0
while [ -d $d/cpu$i ]; do
  echo "cpu.$i.capacity=$(cat $d/cpu$i/cpu_capacity 2>/dev/null)"
  echo "cpu.$i.khz=$(cat $d/cpu$i/cpufreq/cpuinfo_max_freq 2>/dev/null)"
  echo "cpu.$i.governor=$(cat $d/cpu$i/cpufreq/scaling_governor 2>/dev/null)"
  echo "cpu.$i.online=$(cat $d/cpu$i/online 2>/dev/null)"
  i=$((i+1))
done
echo "memory=$(sed -n -e 's/^MemTotal: *//p' /proc/meminfo 2>/dev/null)"
echo "kernel=$(uname -sr)"
mkdir -p {FOLDER}
echo "free=$(df -k {FOLDER} 2>/dev/null | tail -n 1)"
for c in taskset timeout; do command -v $c >/dev/null && echo "has.$c=1"; done
"""
"""Script that prints what :class:`Phone` is read from."""

# Thermal zones that tell of the CPU or its chip, by the words of their makers.
_CPU_ZONE = re.compile(r"cpu|soc|(?:^|[-_])(?:big|mid|little)(?:$|[-_])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PhoneState:
    """A phone at one moment; what it does not tell is None.

    Attributes:
        battery_c: temperature of the battery, °C.
        battery_percent: how full it is.
        chip_c: the hottest of the thermal zones of CPU and chip, °C.
        thermal_status: Android's own judgement, from 0 (not throttled) to 6 (shuts down).
    """

    battery_c: float | None = None
    battery_percent: float | None = None
    chip_c: float | None = None
    thermal_status: int | None = None

    @classmethod
    def of(cls, output: str) -> PhoneState:
        """Read what :data:`STATE` printed."""
        told = _pairs(output)
        zones = [_celsius(v) for k, v in _pair_list(output) if _is_cpu_zone(k)]
        known = [c for c in zones if c is not None]
        # Boards and emulators have a service for batteries, but none.
        has_battery = told.get("battery.present") != "false"
        tenths, level = _number(told.get("battery.temperature")), _number(told.get("battery.level"))
        scale = _number(told.get("battery.scale")) or 100
        status = _number(told.get("thermal.status"))
        return cls(
            tenths / 10 if has_battery and tenths is not None else None,
            100 * level / scale if has_battery and level is not None else None,
            max(known, default=None),
            None if status is None else int(status),
        )


@dataclass(frozen=True, slots=True)
class PhoneCore:
    """One core.

    Attributes:
        cpu: number of it.
        capacity: of the kernel's scheduler, 1024 for the fastest; None where it is not told.
        khz: highest clock.
    """

    cpu: int
    capacity: int | None
    khz: int | None


@dataclass(frozen=True, slots=True)
class Phone:
    """The constant facts of a phone.

    Attributes:
        maker, model: as Android has them.
        soc: code of its chip, such as ``SM8450``; empty where it is not told.
        android: version of Android.
        abi: of programs, such as ``arm64-v8a``.
        kernel: name and release.
        cores: those that are online.
        governor: of the cores' clocks.
        memory_bytes: of the phone; None where it is not told.
        free_bytes: where files go; None where it is not told.
        commands: of ``taskset`` and ``timeout``, those that it has.
    """

    maker: str
    model: str
    soc: str
    android: str
    abi: str
    kernel: str
    cores: tuple[PhoneCore, ...]
    governor: str
    memory_bytes: int | None
    free_bytes: int | None
    commands: frozenset[str]

    @classmethod
    def of(cls, output: str) -> Phone:
        """Read what :data:`DESCRIBE` printed.

        Raises:
            ValueError: it tells of no core.
        """
        told = _pairs(output)
        cores = tuple(_cores(told))
        if not cores:
            raise ValueError(
                "a phone must tell of its cores in /sys/devices/system/cpu; it printed "
                f"{output[:200]!r}"
            )
        governors = {v for k, v in told.items() if k.startswith("cpu.") and k.endswith("governor")}
        memory = _number(told.get("memory", "").removesuffix("kB"))
        # Filesystem, 1K-blocks, used, available.
        free = _number((told.get("free", "").split() + [""] * 4)[3])
        return cls(
            maker=told.get("ro.product.manufacturer", ""),
            model=told.get("ro.product.model", ""),
            soc=told.get("ro.soc.model") or told.get("ro.board.platform", ""),
            android=told.get("ro.build.version.release", ""),
            abi=told.get("ro.product.cpu.abi", ""),
            kernel=told.get("kernel", ""),
            cores=cores,
            governor=",".join(sorted(governors - {""})),
            memory_bytes=None if memory is None else int(memory) * 1024,
            free_bytes=None if free is None else int(free) * 1024,
            commands=frozenset(k.removeprefix("has.") for k in told if k.startswith("has.")),
        )

    @property
    def title(self) -> str:
        """Its maker's name for it."""
        words = self.model.split()
        own = words and words[0].lower() == self.maker.lower()
        return self.model if own or not self.maker else f"{self.maker} {self.model}".strip()

    def device_name(self, selection: str) -> str:
        """Return the default name of the device; little cores are a target of their own."""
        name = slug(self.title or "phone")
        return name if selection == "big" else f"{name}-{selection}"

    def clusters(self) -> list[dict[str, Any]]:
        """Cores of one speed, the slowest first: ``cpus``, and ``max_mhz`` where it is told."""
        found: dict[int, list[PhoneCore]] = {}
        for core, speed in zip(self.cores, self._speeds(), strict=True):
            found.setdefault(speed, []).append(core)
        return [
            {"cpus": [c.cpu for c in group]}
            | ({"max_mhz": group[0].khz // 1000} if group[0].khz else {})
            for _, group in sorted(found.items())
        ]

    def select(self, selection: str, threads: int) -> list[int]:
        """The cores to run on: those above (``big``) or below (``little``) the middle, or ``all``.

        The middle is that of the fastest and the slowest, by the scheduler's capacity where all
        cores have one, which knows their type, else by the highest clock.

        Raises:
            ValueError: there is no such selection, or it has fewer cores than threads.
        """
        if selection not in SELECTIONS:
            raise ValueError(unknown_name("selection of cores", selection, SELECTIONS))
        speeds = self._speeds()
        middle = (max(speeds) + min(speeds)) / 2
        is_alike = selection == "all" or max(speeds) == min(speeds)
        cpus = [
            core.cpu
            for core, speed in zip(self.cores, speeds, strict=True)
            if is_alike or (speed >= middle) == (selection == "big")
        ]
        if threads > len(cpus):
            raise ValueError(
                f"threads must be at most the {len(cpus)} {selection} cores of {self.title}; got "
                f"{threads}: use fewer, or all cores (--cores all)"
            )
        return cpus

    def _speeds(self) -> Sequence[int]:
        capacities = [core.capacity for core in self.cores]
        clocks = [core.khz for core in self.cores]
        for speeds in (capacities, clocks):
            if all(speed is not None for speed in speeds):
                return [int(speed or 0) for speed in speeds]
        return [0] * len(self.cores)


def mask_of(cpus: Sequence[int]) -> str:
    """CPUs as ``taskset`` takes them, in hexadecimal."""
    return f"{sum(1 << cpu for cpu in cpus):x}"


def _cores(told: Mapping[str, str]) -> Iterator[PhoneCore]:
    cpu = 0
    while f"cpu.{cpu}.online" in told:
        # What cannot be turned off has no such file.
        if told[f"cpu.{cpu}.online"] != "0":
            capacity, khz = (_number(told.get(f"cpu.{cpu}.{k}")) for k in ("capacity", "khz"))
            yield PhoneCore(cpu, *(None if not x else int(x) for x in (capacity, khz)))
        cpu += 1


def _pairs(output: str) -> dict[str, str]:
    return dict(_pair_list(output))


def _pair_list(output: str) -> Iterator[tuple[str, str]]:
    for line in output.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            yield key.strip(), value.strip()


def _is_cpu_zone(key: str) -> bool:
    return key.startswith("zone.") and bool(_CPU_ZONE.search(key.removeprefix("zone.")))


def _celsius(text: str) -> float | None:
    """A thermal zone's temperature: thousandths of a degree, but for those that tell degrees."""
    value = _number(text)
    if value is None:
        return None
    value = value / 1000 if abs(value) >= 1000 else value
    return value if 0 < value < 150 else None  # a sensor that is off tells anything


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if re.fullmatch(r"-?\d{1,15}(?:\.\d{1,9})?", text, re.ASCII) else None
