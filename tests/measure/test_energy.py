"""Energy by recorded trees of the kernel's files, counters that begin anew, and what cannot be."""

from __future__ import annotations

import errno
import sys
import time
from types import SimpleNamespace

import pytest

from latcast.measure import _energy, check_measurable
from latcast.measure._energy import Counters, Meter, PowerSensors, find_meter, measured_energy
from latcast.measure.runtimes import LoadedNetwork


def tree(folder, files):
    """Files of a kernel, by path."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def intel(spent=(100, 30)):
    """Two domains of an Intel server, with cores inside of the package and the same by MMIO."""
    zones = {"intel-rapl:0": ("package-0", spent[0]), "intel-rapl:0:0": ("core", 7),
             "intel-rapl:0:1": ("dram", spent[1]), "intel-rapl-mmio:0": ("package-0", 9),
             "intel-rapl:1": ("psys", 500)}  # fmt: skip
    return {
        f"powercap/{zone}/{file}": text
        for zone, (name, value) in zones.items()
        for file, text in {"name": name, "energy_uj": value, "max_energy_range_uj": 1000}.items()
    }


def test_packages_and_memory_are_added_and_counters_begin_anew(tmp_path):
    meter = find_meter("cpu", tree(tmp_path, intel()))
    assert meter.name == "RAPL (package-0, dram)"
    joules, seconds = meter.joules(lambda: tree(tmp_path, intel((900, 80))))
    assert joules == pytest.approx(850e-6)
    assert seconds > 0
    # From 900 to the range of 1,000, and 40 more.
    assert meter.joules(lambda: tree(tmp_path, intel((40, 80))))[0] == pytest.approx(140e-6)


# Zones of a laptop as they were told (powercap-info in
# https://github.com/flightlessmango/MangoHud/issues/1776), and the memory of a desktop
# (https://github.com/intel/thermal_daemon/issues/45).
RECORDED = {
    "intel-rapl:0": ("package-0", 26963529117, 262143328850),
    "intel-rapl:0:0": ("core", 7980278886, 262143328850),
    "intel-rapl:0:1": ("uncore", 6564982278, 262143328850),
    "intel-rapl:0:2": ("dram", 2469474853, 262143999938),
}


def test_a_recorded_tree_of_counters(tmp_path):
    def files(passed):
        told = {}
        for zone, (name, spent, reach) in RECORDED.items():
            told[f"powercap/{zone}/name"] = name
            told[f"powercap/{zone}/energy_uj"] = (spent + passed) % reach
            told[f"powercap/{zone}/max_energy_range_uj"] = reach
        return told

    meter = find_meter("cpu", tree(tmp_path, files(0)))
    assert meter.name == "RAPL (package-0, dram)"
    # The package's counter begins anew, the memory's does not.
    passed = 250_000_000_000
    joules, _ = meter.joules(lambda: tree(tmp_path, files(passed)))
    assert joules == pytest.approx(2e-6 * passed)


def test_counters_that_may_not_be_read_are_a_clear_error(tmp_path, monkeypatch):
    tree(tmp_path, intel())
    read = _energy.Path.read_text

    def denied(path, *args, **kwargs):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(_energy.Path, "read_text", denied)
    with pytest.raises(PermissionError, match=r"root alone: sudo chmod a\+r .*/energy_uj"):
        find_meter("cpu", tmp_path)


JETSON = {  # ina3221 of a Jetson Orin: three rails, of which the first is all of the module's
    "hwmon/hwmon0/name": "cpu_thermal", "hwmon/hwmon0/temp1_input": 45000,
    "hwmon/hwmon1/name": "ina3221",
    "hwmon/hwmon1/in1_label": "VDD_IN", "hwmon/hwmon1/in1_input": 5000,
    "hwmon/hwmon1/curr1_input": 1200,
    "hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV", "hwmon/hwmon1/in2_input": 5000,
    "hwmon/hwmon1/curr2_input": 400,
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "name", "watts"),
    [
        (JETSON, "INA (VDD_IN)", 6.0),
        ({k: v for k, v in JETSON.items() if "1_label" not in k}, "INA (hwmon1 in1, VDD", 8.0),
        ({"hwmon/hwmon2/name": "ina226", "hwmon/hwmon2/power1_input": 2500000,
          "hwmon/hwmon2/in1_input": 5, "hwmon/hwmon2/curr1_input": 9}, "INA (hwmon2 power1)", 2.5),
        ({**{k: v for k, v in JETSON.items() if k != "hwmon/hwmon1/in1_label"},
          "hwmon/hwmon2/name": "ina238", "hwmon/hwmon2/power1_label": "VIN",
          "hwmon/hwmon2/power1_input": 9500000}, "INA (VIN)", 9.5),
    ],
)  # fmt: skip
def test_rails_of_boards(tmp_path, files, name, watts):
    meter = find_meter("cpu", tree(tmp_path, files))
    assert meter.name.startswith(name)
    joules, seconds = meter.joules(lambda: time.sleep(0.03))
    assert joules / seconds == pytest.approx(watts)


def test_an_orin_has_sums_shunts_and_a_channel_that_nothing_is_connected_to(tmp_path, monkeypatch):
    """Two INA3221; the names are those of https://github.com/rbonghi/jetson_stats/issues/428.

    Of the second the third channel cannot be read
    (https://github.com/alumet-dev/alumet/issues/212); what in4 to in7 and curr4 are,
    https://www.kernel.org/doc/html/latest/hwmon/ina3221.html says.
    """
    first = ("VDD_GPU_SOC", 20000, 200), ("VDD_CPU_CV", 20000, 100), ("VIN_SYS_5V0", 5000, 600)
    second = ("NC", 1000, 0), ("VDDQ_VDD2_1V8AO", 5000, 200), ("NC", 1000, 0)
    files = {}
    for chip, rails in (("hwmon3", first), ("hwmon4", second)):
        files[f"hwmon/{chip}/name"] = "ina3221"
        for n, (label, mv, ma) in enumerate(rails, 1):
            files[f"hwmon/{chip}/in{n}_label"] = label
            files[f"hwmon/{chip}/in{n}_input"] = mv
            files[f"hwmon/{chip}/curr{n}_input"] = ma
            files[f"hwmon/{chip}/in{n + 3}_input"] = 200
        files[f"hwmon/{chip}/in7_label"] = "sum of shunt voltages"
        files[f"hwmon/{chip}/in7_input"] = 600
        files[f"hwmon/{chip}/curr4_input"] = 900
    read = _energy.Path.read_text

    def unconnected(path, *args, **kwargs):
        if "hwmon4" in path.parts and path.name in ("in1_input", "in3_input"):
            raise OSError(errno.ENODATA, "No data available", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(_energy.Path, "read_text", unconnected)
    meter = find_meter("cpu", tree(tmp_path, files))
    assert meter.name == "INA (VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO)"
    joules, seconds = meter.joules(lambda: time.sleep(0.03))
    assert joules / seconds == pytest.approx(4 + 2 + 3 + 1)


def test_power_is_integrated_over_time():
    powers = iter([2.0] * 3 + [4.0] * 10_000)
    joules, seconds = PowerSensors("x", lambda: next(powers), 0.001).joules(lambda: time.sleep(0.1))
    assert 2 < joules / seconds <= 4


def test_a_machine_without_a_meter_says_so(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"energy needs RAPL counters .* has neither"):
        find_meter("cpu", tmp_path)
    monkeypatch.setattr(_energy, "SYS", tmp_path)
    with pytest.raises(OSError, match="has neither"):
        check_measurable(["energy_mj"], "cpu")
    check_measurable(["peak_memory_mb"], "cpu")


class Clocked(Meter):
    """A machine that takes 10 W when idle and 30 when it runs, on the clock of its network."""

    name = "fake"

    def __init__(self, network, idle=(10.0, 10.0), running=30.0):
        self.network, self.idle, self.running = network, list(idle), running

    def joules(self, work):
        before = self.network.passes
        work()
        seconds = 0.001 * (self.network.passes - before)
        return (self.running * seconds, seconds) if seconds else (self.idle.pop(0), 1.0)


class Millisecond(LoadedNetwork):
    passes = 0

    def run(self):
        pass

    def output(self):
        return None

    def time(self, repeats):
        self.passes += repeats
        return 0.001 * repeats


def test_the_idle_machine_is_subtracted():
    network = Millisecond()
    found = measured_energy(network, Clocked(network), run_s=0.01, pause=lambda: None)
    assert found["energy_mj"] == pytest.approx(20)  # 20 W for 1 ms
    assert found["energy"]["passes"] >= 50
    assert found["energy"]["idle_watts"] == [10, 10]
    assert "note" not in found["energy"]
    found = measured_energy(network, Clocked(network, (8, 12)), run_s=0.01, pause=lambda: None)
    assert found["energy_mj"] == pytest.approx(20)
    assert "idle power before and after differed" in found["energy"]["note"]
    with pytest.raises(RuntimeError, match="must take more than the idle machine"):
        measured_energy(network, Clocked(network, running=9), run_s=0.01, pause=lambda: None)


def test_nvml_counts_in_millijoules_or_tells_power(tmp_path, monkeypatch):
    """Written to NVML's interface; no GPU was asked."""
    spent = iter([1000, 1000, 3500])

    class NVMLError(Exception):
        pass

    def refuse(_):
        raise NVMLError

    fake = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=lambda n: n, NVMLError=NVMLError,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(spent),
        nvmlDeviceGetPowerUsage=lambda _: 75_000,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    meter = find_meter("gpu")
    assert isinstance(meter, Counters)
    assert meter.joules(lambda: None)[0] == pytest.approx(2.5)
    fake.nvmlDeviceGetTotalEnergyConsumption = refuse
    joules, seconds = find_meter("gpu").joules(lambda: time.sleep(0.01))
    assert joules / seconds == pytest.approx(75)
    # As on a Jetson (https://github.com/HazyResearch/intelligence-per-watt/issues/40).
    fake.nvmlDeviceGetPowerUsage = refuse
    assert find_meter("gpu", tree(tmp_path, JETSON)).name == "INA (VDD_IN)"
    with pytest.raises(OSError, match="a GPU whose power NVML tells"):
        find_meter("gpu", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ModuleNotFoundError, match=r"latcast\[energy\]"):
        find_meter("gpu")
