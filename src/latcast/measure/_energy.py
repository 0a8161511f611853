"""Energy of a network's passes beyond what the machine takes when it is idle.

Passes run for two seconds at least, between two pauses in which the idle power is measured:
counters and sensors are too slow for a single pass. CPUs are measured by RAPL (the kernel's
powercap), boards such as NVIDIA's Jetsons by their INA sensors (the kernel's hwmon), NVIDIA's GPUs
by NVML. That is called by itself (``nvidia-ml-py``, one module): zeus, which wraps it, brings
pandas, scikit-learn and a dozen packages more, and takes three seconds to import. RAPL and INA are
read from folders as the kernel's documentation has them; none of the three was run on real meters.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from latcast._imports import require

from ._sources import parse_source
from .runtimes import LoadedNetwork, Runtime

PATIENCE_S = 60.0
# Long beside the time after which counters are renewed, a millisecond to a tenth of a second.
_RUN_S, _IDLE_S = 2.0, 1.0
# Of a sensor of power, read by a thread beside the passes: INA sensors average over some ms.
_INTERVAL_S = 0.01
# Share by which the idle power may change before the difference to it says little.
_IDLE_CHANGES = 0.2
# Passes are timed in blocks, so that looking at the clock costs nothing.
_BLOCK_S = 0.05
SYS = Path("/sys/class")


class Meter(ABC):
    """A meter of the energy of a machine, or of a part of it."""

    name: str

    @abstractmethod
    def joules(self, work: Callable[[], object]) -> tuple[float, float]:
        """Energy (J) and duration (s) of some work, that of the idle machine included."""


class Counters(Meter):
    """Counters of energy, each of which begins anew when it has reached its range.

    Args:
        name: of the meter.
        read: microjoules of every counter.
        ranges: of every counter, microjoules; 0: it never begins anew.
    """

    def __init__(self, name: str, read: Callable[[], Sequence[int]], ranges: Sequence[int]) -> None:
        self.name, self._read, self._ranges = name, read, ranges

    def joules(self, work: Callable[[], object]) -> tuple[float, float]:
        before, started = self._read(), time.perf_counter()
        work()
        after, seconds = self._read(), time.perf_counter() - started
        spent = 0
        for first, last, reach in zip(before, after, self._ranges, strict=True):
            spent += last - first if last >= first else last - first + reach
        return spent * 1e-6, seconds


class PowerSensors(Meter):
    """Sensors of power, read again and again meanwhile.

    Args:
        name: of the meter.
        read: watts now.
        interval_s: seconds between two readings.
    """

    def __init__(
        self, name: str, read: Callable[[], float], interval_s: float = _INTERVAL_S
    ) -> None:
        self.name, self._read, self._interval_s = name, read, interval_s

    def joules(self, work: Callable[[], object]) -> tuple[float, float]:
        times, watts, is_over = [time.perf_counter()], [self._read()], threading.Event()

        def watch() -> None:
            while not is_over.wait(self._interval_s):
                times.append(time.perf_counter())
                watts.append(self._read())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            work()
        finally:
            is_over.set()
            thread.join()
        times.append(time.perf_counter())
        watts.append(self._read())
        middle = (np.array(watts[1:]) + watts[:-1]) / 2
        return float(np.diff(times) @ middle), times[-1] - times[0]


def energy(runtime: Runtime, request: Mapping[str, Any]) -> dict[str, Any]:
    """Energy of a network's passes, as :func:`measured_energy` tells it.

    Args:
        runtime: of this process.
        request: ``network``, a source's text, and ``seed``.

    Raises:
        OSError: there is no meter, or it may not be read.
        RuntimeError: the passes took no more than the idle machine does.
    """
    meter = find_meter(runtime.kind)
    source, seed = parse_source(request["network"]), request["seed"]
    network = runtime.load(source.model(runtime.batch, seed), seed, asked=source.asked)
    return measured_energy(network, meter)


def measured_energy(
    network: LoadedNetwork,
    meter: Meter,
    *,
    run_s: float = _RUN_S,
    pause: Callable[[], object] = lambda: time.sleep(_IDLE_S),
) -> dict[str, Any]:
    """Energy of a pass beyond the idle machine's.

    Args:
        network: what runs.
        meter: of the machine.
        run_s: seconds that passes run at least.
        pause: in which nothing runs, before and after.

    Returns:
        ``energy_mj`` of a pass of the whole batch, and ``energy``: ``meter``, ``passes``,
        ``seconds``, ``watts`` during passes, ``idle_watts`` before and after.

    Raises:
        RuntimeError: the passes took no more than the idle machine does.
    """
    network.time(1)
    block = max(1, int(_BLOCK_S / max(network.time(1), 1e-9)))
    passes, spent = 0, 0.0
    before = _watts(meter, pause)

    def run() -> None:
        nonlocal passes, spent
        started = time.perf_counter()
        while spent < run_s:
            network.time(block)
            passes += block
            spent = time.perf_counter() - started

    joules, seconds = meter.joules(run)
    after = _watts(meter, pause)
    idle = (before + after) / 2
    if (own := joules - idle * seconds) <= 0:
        raise RuntimeError(
            f"passes must take more than the idle machine; by {meter.name} they took "
            f"{joules / seconds:.3g} W, and it {idle:.3g}: measure on an idle machine"
        )
    found: dict[str, Any] = {
        "meter": meter.name, "passes": passes, "seconds": seconds, "watts": joules / seconds,
        "idle_watts": [before, after],
    }  # fmt: skip
    if idle and abs(after - before) > _IDLE_CHANGES * idle:
        found["note"] = "; in some runs the idle power before and after differed by over a fifth"
    return {"energy_mj": 1e3 * own / passes, "energy": found}


def _watts(meter: Meter, pause: Callable[[], object]) -> float:
    joules, seconds = meter.joules(pause)
    return joules / max(seconds, 1e-9)


# --- what there is ------------------------------------------------------------------------------


def find_meter(kind: str = "cpu", folder: Path | None = None) -> Meter:
    """The meter of what a runtime computes on.

    Args:
        kind: ``cpu`` or ``gpu``.
        folder: where the kernel tells of its devices, ``/sys/class``.

    Raises:
        ModuleNotFoundError: NVML's package is missing.
        PermissionError: the counters may not be read.
        OSError: there is no meter.
    """
    folder = SYS if folder is None else folder
    if kind == "gpu":
        # NVML tells no power of the GPUs of Jetsons, whose boards have sensors of their own.
        meter = _nvml() or _ina(folder / "hwmon")
        if meter is None:
            raise OSError(
                "energy needs a GPU whose power NVML tells, or an INA sensor "
                f"({folder}/hwmon); this machine has neither"
            )
        return meter
    meter = _rapl(folder / "powercap") or _ina(folder / "hwmon")
    if meter is None:
        raise OSError(
            f"energy needs RAPL counters ({folder}/powercap) or an INA sensor ({folder}/hwmon); "
            "this machine has neither, as most virtual machines: measure on the machine itself"
        )
    return meter


def _rapl(folder: Path) -> Meter | None:
    """Counters of all packages, and of the memory beside them; cores are inside of a package."""
    zones = [zone for zone in sorted(folder.glob("*rapl*:*")) if (zone / "energy_uj").exists()]
    chosen = [z for z in zones if _text(z / "name").startswith(("package", "dram"))]
    chosen = list({zone.name: zone for zone in chosen if "mmio" not in zone.name}.values())
    if not chosen:
        return None

    def read() -> list[int]:
        try:
            return [int((zone / "energy_uj").read_text(encoding="ascii")) for zone in chosen]
        except PermissionError as error:
            raise PermissionError(
                f"energy counters must be readable; {error.filename} is for root alone: "
                f"sudo chmod a+r {folder}/*/energy_uj, or measure as root"
            ) from None

    read()
    ranges = [int(_text(zone / "max_energy_range_uj") or 0) for zone in chosen]
    return Counters(f"RAPL ({', '.join(_text(z / 'name') for z in chosen)})", read, ranges)


def _ina(folder: Path) -> Meter | None:
    """Power of the input rail where one is called so, of all rails together else.

    A channel that is not connected cannot be read (``ENODATA``), and is left out.
    """
    rails: dict[str, Callable[[], float]] = {}
    for sensor in sorted(folder.glob("hwmon*")):
        if not _text(sensor / "name").startswith("ina"):
            continue
        powers = sorted(sensor.glob("power[0-9]*_input"))
        for power in powers:  # microwatts
            rails[_label(sensor, power.name)] = partial(_product, 1e-6, power)
        # Beyond those three of an INA3221 are sums of the others and voltages of the shunts.
        currents = sorted(sensor.glob("curr[1-3]_input")) if not powers else ()
        for current in currents:
            volts = sensor / current.name.replace("curr", "in")
            if volts.exists():  # mA times mV
                rails[_label(sensor, volts.name)] = partial(_product, 1e-6, current, volts)
    rails = {name: read for name, read in rails.items() if _can_be_read(read)}
    if not rails:
        return None
    whole = [name for name in rails if name.endswith("_IN") or name == "VIN"] or list(rails)
    return PowerSensors(f"INA ({', '.join(whole)})", lambda: sum(rails[name]() for name in whole))


def _can_be_read(read: Callable[[], float]) -> bool:
    try:
        read()
    except OSError:
        return False
    return True


def _nvml() -> Meter | None:
    """The first NVIDIA GPU that this process may use; None where NVML tells no power of it."""
    require("pynvml", "energy", "measuring the energy of NVIDIA GPUs")
    import pynvml

    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)

    def joules() -> list[int]:
        return [1000 * int(pynvml.nvmlDeviceGetTotalEnergyConsumption(device))]  # of millijoules

    def watts() -> float:
        return 1e-3 * float(pynvml.nvmlDeviceGetPowerUsage(device))

    # Before Volta there is no counter.
    with suppress(pynvml.NVMLError):
        joules()
        return Counters("NVML energy", joules, [0])
    with suppress(pynvml.NVMLError):
        watts()
        return PowerSensors("NVML power", watts)
    return None


def _label(sensor: Path, file: str) -> str:
    label = _text(sensor / file.replace("_input", "_label"))
    return label or f"{sensor.name} {file.removesuffix('_input')}"


def _product(scale: float, *files: Path) -> float:
    return scale * prod(float(file.read_text(encoding="ascii")) for file in files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
