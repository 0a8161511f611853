"""Phones by adb: what one says of itself, and what can be measured on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import phones
import pytest

import latcast
from latcast.devices import Target
from latcast.measure import HostError, HostLostError, Protocol
from latcast.measure.hosts import host
from latcast.measure.hosts._phone import Phone, PhoneState, mask_of
from latcast.measure.hosts.adb import AdbHost, phone_text
from latcast.models.measured_table import TablePlan
from latcast.testing import HOST_CHECKS

pytest.importorskip("adbutils")

pytestmark = phones.MARKS

TARGET = Target("example-phone-8", "litert", threads=2)


# -- what a phone says of itself ---------------------------------------------------------------


def test_a_phone_describes_itself(plugged):
    plugged()
    with host("adb:R58M12") as board:
        facts = board.facts()
    assert facts["name"] == "example-phone-8"
    assert (facts["system"], facts["machine"], facts["soc"]) == (
        "Android 14",
        "arm64-v8a",
        "SM8150",
    )
    assert facts["clusters"] == [
        {"cpus": [0, 1, 2, 3], "max_mhz": 1785},
        {"cpus": [4, 5, 6], "max_mhz": 2419},
        {"cpus": [7], "max_mhz": 2956},
    ]
    # The hottest zone of the CPU: that of the GPU is not, and a sensor that is off tells nothing.
    assert (facts["temperature_c"], facts["battery_c"]) == (42.0, 32.6)
    assert (facts["battery_percent"], facts["thermal_status"]) == (84.0, 0)
    assert facts["memory_bytes"] == 8_000_000_000
    assert facts["free_bytes"] > 0


def test_the_service_tells_temperatures_that_the_kernel_keeps_back(plugged):
    root = plugged()
    assert host("adb:R58M12").facts()["temperature_c"] == 42.0
    shutil.rmtree(root / "sys/class/thermal")
    assert host("adb:R58M12").facts()["temperature_c"] == 41.5


def test_several_phones_are_told_apart(plugged, phone_server):
    plugged("first")
    plugged("second", cores=phones.CORES[:4])
    assert len(host("adb:second").facts()["cpus"]) == 4
    assert len(host("adb:first").facts()["cpus"]) == 8
    with pytest.raises(HostError, match=r"serial 'third'; adb knows first, second: plug it in"):
        host("adb:third").facts()


@pytest.mark.parametrize(
    ("state", "advice"),
    [("unauthorized", "allow USB debugging"), ("offline", "plug it in again"),
     ("no permissions", "udev rules"), ("recovery", "calls it a device")],
)  # fmt: skip
def test_phones_that_are_not_ready_say_what_to_do(plugged, phone_server, state, advice):
    plugged()
    (phone_server / "R58M12/state").write_text(state)
    with pytest.raises(HostError, match=advice) as caught:
        host("adb:R58M12").facts()
    assert not isinstance(caught.value, HostLostError)


def test_no_server_is_a_clear_error(plugged, monkeypatch):
    plugged()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "9")
    with pytest.raises(HostError, match=r"server must answer on 127.0.0.1:9; .*platform tools"):
        host("adb:R58M12").facts()


def test_what_is_no_phone_is_told(plugged):
    root = plugged()
    shutil.rmtree(root / "sys/devices")
    with pytest.raises(HostError, match="must tell of its cores"):
        host("adb:R58M12").facts()


def test_daemons_without_the_newer_shell_work_too(plugged, phone_server):
    plugged()
    (phone_server / "R58M12/features").write_text("cmd")
    assert host("adb:R58M12").facts()["name"] == "example-phone-8"


DESCRIBED = "\n".join(
    f"cpu.{n}.capacity={c}\ncpu.{n}.khz={k}\ncpu.{n}.governor=x\ncpu.{n}.online={on}"
    for n, (k, c, on) in enumerate([(1000, 200, ""), (1000, 200, "1"), (2000, 900, "0"),
                                    (2000, 900, "1"), (2500, 1024, "1")])
)  # fmt: skip


def test_cores_are_chosen_by_capacity_or_clock():
    phone = Phone.of(DESCRIBED)
    assert phone.select("big", 2) == [3, 4]  # one of them is off
    assert phone.select("little", 1) == [0, 1]
    assert phone.select("all", 4) == [0, 1, 3, 4]
    assert mask_of(phone.select("big", 1)) == "18"
    assert Phone.of(DESCRIBED.replace("capacity=200", "capacity=")).select("big", 1) == [3, 4]
    # Types of cores count: a slow one may have the higher clock.
    odd = DESCRIBED.replace("khz=1000", "khz=3000")
    assert Phone.of(odd).select("big", 1) == [3, 4]
    assert Phone.of(DESCRIBED.replace("capacity=", "c=").replace("khz=", "k=")).select("big", 4)
    with pytest.raises(ValueError, match=r"at most the 2 big cores of .*; got 3: use fewer"):
        phone.select("big", 3)
    with pytest.raises(ValueError, match="selection of cores is called 'middle'"):
        phone.select("middle", 1)


def test_states_are_read_from_whatever_is_told():
    assert PhoneState.of("") == PhoneState()
    board = "battery.present=false\nbattery.level=0\nbattery.temperature=0\nzone.cpu-thermal=61"
    assert PhoneState.of(board) == PhoneState(None, None, 61.0, None)
    half = "battery.level=50\nbattery.scale=200\nbattery.temperature=-53\nzone.x=\nzone.BIG=junk"
    assert PhoneState.of(half) == PhoneState(-5.3, 25.0, None, None)


def test_detect_takes_the_catalogues_chip(plugged):
    plugged()
    found = host("adb:R58M12").detect()
    assert (found.name, found.kind, found.memory_gb) == ("example-phone-8", "phone", 8.0)
    assert found.chip == "snapdragon-855"
    assert "by adb; all but memory as snapdragon-855" in found.source


def test_detect_of_an_unknown_chip_says_what_to_do(plugged):
    root = plugged()
    (root / "bin/getprop").write_text(phones.GETPROP.replace("SM8150", "XYZ1"))
    with pytest.raises(HostError, match=r"has its chip, XYZ1: write its specification"):
        host("adb:R58M12").detect("mine")


# -- what can be measured ----------------------------------------------------------------------


def test_texts_name_a_tool_and_cores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    board = host(phone_text("adb:R58M12", Path("with blank & more"), "little"))
    assert (board.serial, board.cores) == ("R58M12", "little")
    assert board.path == tmp_path / "with blank & more"
    # One spelling, absolute: a campaign goes on by it from another folder.
    for same in (board.text, f"adb:R58M12?cores=little&tool={tmp_path}/with blank %26 more"):
        assert AdbHost(same.removeprefix("adb:")).text == board.text
    assert phone_text("adb:R58M12", None, None) == "adb:R58M12"
    assert host("adb:R58M12?cores=big").text == "adb:R58M12"
    assert host(phone_text(board.text, None, "all")).cores == "all"
    assert host("adb:192.168.1.7:5555").serial == "192.168.1.7:5555"
    for wrong in ("adb:R58M12?tool=a&speed=3", "adb:?tool=a", "adb:R58M12?cores=middle"):
        with pytest.raises(ValueError, match=r"adb:SERIAL|cores must be"):
            host(wrong)
    with pytest.raises(ValueError, match="chosen for a phone"):
        phone_text("user@board", tmp_path, None)


def test_targets_that_a_tool_does_not_run_are_refused(plugged, tool, tmp_path):
    plugged()
    board = host(phone_text("adb:R58M12", tool(), None))
    board.check(TARGET)
    for target, reason in (
        (Target("x", "litert", precision="bf16"), "precision of benchmark_model must be"),
        (Target("x", "litert", threads=5), "at most the 4 big cores"),
        (Target("x", "onnxruntime"), "runtime with a tool for phones is called 'onnxruntime'"),
    ):
        with pytest.raises(ValueError, match=reason):
            board.check(target)
    ncnn = host(phone_text("adb:R58M12", tool(phones.BENCHNCNN, "benchncnn"), None))
    with pytest.raises(ValueError, match="at most 1 sample"):
        ncnn.check(Target("x", "ncnn", batch=2, threads=1))
    with pytest.raises(ValueError, match=r"--tool PATH\): benchmark_model: https://"):
        host("adb:R58M12").check(TARGET)
    with pytest.raises(FileNotFoundError, match="no such file"):
        host(phone_text("adb:R58M12", tmp_path / "gone", None)).check(TARGET)
    with pytest.raises(FileNotFoundError, match="must hold benchmark_model; it does not"):
        host(phone_text("adb:R58M12", tmp_path, None)).check(TARGET)


def test_a_phone_tells_no_energy():
    host("adb:R58M12").check_quantities(["peak_memory_mb"], "litert")
    with pytest.raises(HostError, match="R58M12 tells no energy by adb: leave out energy_mj"):
        host("adb:R58M12").check_quantities(["energy_mj"], "litert")


def test_tables_of_a_phone_are_not_made_of_profiles():
    """Tools' profiles are of operators: a table that waited for layers failed at its end."""
    space, target = latcast.space("nasbench201"), Target("x", "mnn", threads=1)
    text = phone_text("adb:R58M12", Path("benchmark.out"), None)
    plan = TablePlan(space, target, None, 2, 0, Protocol(), text)
    assert plan.plans().keys() == {"networks", "isolated"}


@pytest.mark.slow
@pytest.mark.parametrize("check", HOST_CHECKS, ids=lambda x: x.__name__)
def test_a_phone_keeps_the_contract(plugged, tool, small_reference, check):
    plugged()
    with host(phone_text("adb:R58M12", tool(phones.BENCHNCNN, "benchncnn"), None)) as board:
        check(board, Target("example-phone-8", "ncnn", threads=1))
