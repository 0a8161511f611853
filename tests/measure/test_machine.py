from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from latcast.measure._machine import Snapshot, changes, setting_doubts, settings, snapshot


def test_busy_and_stolen_seconds(monkeypatch):
    linux = SimpleNamespace(
        user=1.0, nice=0.2, system=0.3, idle=40.0, iowait=0.5, irq=0.06, softirq=0.07, steal=0.8,
        guest=0.4,
    )  # fmt: skip
    monkeypatch.setattr(psutil, "cpu_times", lambda: linux)
    assert (snapshot().busy_s, snapshot().steal_s) == (pytest.approx(1.63), 0.8)
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=1.0, system=2.0, idle=3))
    assert (snapshot().busy_s, snapshot().steal_s) == (3.0, None)


BEFORE = Snapshot(10.0, 1.0, 100.0, 5.0, 3, 2600.0)


def test_changes_by_hand():
    after = Snapshot(20.0, 9.0, 113.0, 5.5, 4, 2500.0)
    assert changes(BEFORE, after) == pytest.approx(
        {"seconds": 10, "own_cpus": 0.8, "other_cpus": 0.5, "steal": 0.05, "throttled": 1,
         "clock_mhz": 2500}
    )  # fmt: skip
    after = replace(BEFORE, time_s=11.0, busy_s=None, steal_s=None, throttled=None, clock_mhz=None)
    assert set(changes(BEFORE, after)) == {"seconds", "own_cpus"}  # what is not known is left out


def test_the_real_machine():
    before = snapshot([0])
    sum(range(2_000_000))
    found = changes(before, snapshot([0]))
    assert found["seconds"] > 0
    assert 0 <= found["own_cpus"] < 64


def test_temperature_is_that_of_the_processor(monkeypatch):
    """Of its hottest part; disks, and sensors that are not connected, do not count."""

    def sensors(**degrees):
        found = {k: [SimpleNamespace(current=c) for c in v] for k, v in degrees.items()}
        return lambda: found

    monkeypatch.setattr(psutil, "sensors_temperatures", sensors(
        nvme=[80.0], coretemp=[61.0, 65.5, 255.0], acpitz=[90.0]), raising=False)  # fmt: skip
    after = snapshot()
    assert after.temperature_c == 65.5
    assert changes(BEFORE, after)["temperature_c"] == 65.5
    monkeypatch.setattr(psutil, "sensors_temperatures", sensors(nvme=[80.0]))
    assert snapshot().temperature_c is None
    monkeypatch.delattr(psutil, "sensors_temperatures")  # as on macOS
    assert snapshot().temperature_c is None


def test_the_processor_is_told():
    found = settings([0])
    assert found["cpu"]
    assert found["cpus"] == "0"


def test_scaled_clocks_are_a_doubt():
    assert setting_doubts({"governor": "performance"}) == []
    assert setting_doubts({}) == []
    assert "powersave" in setting_doubts({"governor": "powersave"})[0]
