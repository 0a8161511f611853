"""Phones by adb: every path against a server that speaks the protocol, without a phone."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.families import Variant
from latcast.measure import HostError, HostLostError, Plan, Protocol, WorkerDiedError
from latcast.measure._sources import OnnxFile, VariantSource
from latcast.measure.hosts import host
from latcast.measure.hosts._phone import Phone, PhoneState, mask_of
from latcast.measure.hosts.adb import AdbHost, phone_text
from latcast.models.measured_table import TablePlan
from latcast.testing import HOST_CHECKS

pytest.importorskip("adbutils")
SPEC = importlib.util.spec_from_file_location("phones", Path(__file__).with_name("phones.py"))
phones = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(phones)

pytestmark = [
    pytest.mark.worker,
    # adbutils leaves sockets to the garbage collector where a phone or a server goes away.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

QUICK = {
    "runs": 2, "warm_up_s": 0.0, "run_s": 0.02, "min_samples": 3, "reference_s": 0.01,
    "halves_disagree": 1.0, "reference_disagrees": 1.0, "redo": 1,
}  # fmt: skip
TARGET = Target("example-phone-8", "litert", threads=2)


def variant(resolution, width=25):
    return Variant.parse(
        f"mobilenet-v1(width={width},depth=1,kernel=3,relu6=0,resolution={resolution},classes=10)"
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phones")
    process, port = phones.start_server(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
        yield folder
    process.kill()
    process.wait()


@pytest.fixture
def plugged(server, monkeypatch):
    """Plugs in phones, all of which are gone after the test."""
    monkeypatch.setattr(AdbHost, "poll_s", 0.01)
    monkeypatch.setattr(AdbHost, "patience_s", 5.0)
    made = []

    def plug(serial="R58M12", **options):
        made.append(server / serial)
        return phones.make_phone(server / serial, **options)

    yield plug
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def tool(tmp_path):
    def write(text=phones.BENCHMARK_MODEL, name="benchmark_model"):
        path = tmp_path / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def small_reference(monkeypatch):
    """A reference network that is written and pushed at once."""
    monkeypatch.setattr(
        "latcast.measure.hosts._phone_worker.reference_network", lambda: variant(96, 50).graph()
    )


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


def test_several_phones_are_told_apart(plugged, server):
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
def test_phones_that_are_not_ready_say_what_to_do(plugged, server, state, advice):
    plugged()
    (server / "R58M12/state").write_text(state)
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


def test_daemons_without_the_newer_shell_work_too(plugged, server):
    plugged()
    (server / "R58M12/features").write_text("cmd")
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


# -- campaigns ---------------------------------------------------------------------------------


@pytest.fixture
def campaign(plugged, tool, tmp_path, small_reference):
    """Begins a campaign of small networks on a phone, or goes on with it."""

    def begin(networks=None, *, text=None, target=TARGET, **protocol):
        plan = Plan(
            target,
            networks or (VariantSource(variant(96)), VariantSource(variant(112, 75))),
            Protocol(**{**QUICK, **protocol}),
            host=text or phone_text("adb:R58M12", tool(), None),
        )
        return measure.open_or_resume(tmp_path / "a.campaign", plan, resume=True)

    return begin


@pytest.mark.slow
def test_a_campaign_on_a_phone(plugged, campaign):
    root = plugged()
    with campaign() as opened:
        measure.run(opened)
        found, runs = measure.results(opened), opened.runs()
        facts = next(iter(opened.processes().values()))
    sizes = [len(bytes_of(variant(96))), len(bytes_of(variant(112, 75)))]
    by_name = dict(zip(found.dataset.names, found.dataset.latency_ms, strict=True))
    for v, size in zip((variant(96), variant(112, 75)), sizes, strict=True):
        assert by_name[v.text] == pytest.approx(size / 64 / 1000, rel=0.02)
    assert facts["runtime"]["version"].startswith("benchmark_model, sha256 ")
    assert (facts["machine"]["phone"], facts["machine"]["cpus"]) == ("Example Phone 8", "4,5,6,7")
    assert facts["machine"]["governor"] == "schedutil"
    assert set((root / "masks").read_text().split()) == {"f0"}
    details = runs[0].details
    assert len(runs[0].samples_ms) == 3
    assert (details["passes"], details["peak_memory_mb"]) == (150, 18.7227)
    assert details["machine"]["battery_percent"] == 84
    # What we wrote has the numbers of its layers; the rest of the profile is kept as it was told.
    profiled = next(run.details for run in runs if "operators" in run.details)
    assert profiled["profile_ms"]["0"] == 0.233
    assert profiled["operators"][0][0] == "CONV_2D"
    assert found.dataset.provenance["machine android"] == "14"
    assert not any("too few samples" in w or "governor" in w for w in found.warnings)
    assert any("percentiles of single passes are not known" in w for w in found.warnings)
    tmp = root / "data/local/tmp/latcast"
    assert [path.name[:5] for path in tmp.iterdir()] == ["tool-"]
    host("adb:R58M12").remove()
    assert not tmp.exists()


def bytes_of(v):
    from latcast.measure.tools import BenchmarkModel

    ((_, content),) = BenchmarkModel().write(v.graph(), 0).items()
    return content


@pytest.mark.slow
def test_ones_own_file_is_pushed_as_it_is(plugged, campaign, tmp_path):
    root = plugged()
    own, other = tmp_path / "own.tflite", tmp_path / "other.onnx"
    own.write_bytes(bytes_of(variant(96)))
    other.write_bytes(variant(96).to_onnx())
    with campaign((OnnxFile.of(own), OnnxFile.of(other))) as opened:
        measure.run(opened)
        found = measure.results(opened)
    assert found.dataset.names == ("own",)
    assert found.dataset.latency_ms[0] == pytest.approx(own.stat().st_size / 64_000, rel=0.02)
    assert found.failures == {1: "ValueError: benchmark_model takes .tflite files; got other.onnx: "
                              "convert it"}  # fmt: skip
    assert int((root / "calls").read_text()) > 0


@pytest.mark.slow
def test_a_param_file_is_run_by_its_shape(plugged, campaign, tool, tmp_path):
    from latcast.graph.write.ncnn import to_ncnn

    root = plugged()
    param, weights = to_ncnn(variant(96).graph())
    own, alone = tmp_path / "own.param", tmp_path / "alone.param"
    own.write_text(param)
    own.with_suffix(".bin").write_bytes(weights)
    alone.write_text(param)
    text = phone_text("adb:R58M12", tool(phones.BENCHNCNN, "benchncnn"), None)
    networks = (OnnxFile.of(own), OnnxFile.of(alone))
    target = Target("example-phone-8", "ncnn", threads=1)
    with campaign(networks, text=text, target=target) as opened:
        measure.run(opened)
        found = measure.results(opened)
    assert found.dataset.names == ("own",)
    assert "weights must be in the .bin file beside" in found.failures[1]
    words = (root / "words").read_text().splitlines()
    # Of a run, the first invocation tells how many passes fill the time.
    assert set(words) >= {"4 1 0 -1 0 param=model.param shape=[96,96,3]"}


def test_a_network_written_by_us_is_in_fp32(plugged, campaign):
    plugged()
    target = Target("example-phone-8", "litert", precision="int8", threads=1)
    with campaign((VariantSource(variant(96)),), target=target) as opened:
        measure.run(opened)
        assert "for int8 give .tflite files of your own" in opened.failures()[0]


def worker_of(board, target=TARGET):
    return board.start(target, asdict(Protocol(**QUICK)))


def ask(worker, **request):
    return worker.ask({"network": VariantSource(variant(96)).text, "seed": 0, **request}, 300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accident", "end"),
    [
        ("echo Segmentation fault; kill -SEGV $$", "ended by SIGSEGV"),
        ("kill -KILL $$", r"ended by SIGKILL \(out of memory\?\)"),
        ("exit 124", "gave no answer within"),
    ],
)
def test_a_tool_that_dies_costs_a_worker(plugged, tool, small_reference, accident, end):
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "accident").write_text(accident.replace("SEGV", "11").replace("KILL", "9"))
    with pytest.raises(WorkerDiedError, match=end):
        ask(worker)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accident", "reason"),
    [
        ("echo 'Failed to apply the default TensorFlow Lite delegate'; exit 1", "code 1: 'Failed"),
        (f"cat {phones.OUTPUTS}/benchmark_model-abi.txt; exit 126", "build .* ABI, arm64-v8a"),
        ("echo hello; exit 0", "must print its 'Inference timings in us'.* 'hello'"),
        (f"cat {phones.OUTPUTS}/benchmark_model-crash.txt; exit 0", "'Segmentation fault'"),
    ],
)
def test_what_a_tool_refuses_is_the_networks_fault(
    plugged, tool, small_reference, accident, reason
):
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "accident").write_text(accident)
    failed = ask(worker)["failed"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(failed)


@pytest.mark.slow
def test_a_profile_that_fails_does_not_lose_the_run(plugged, tool, small_reference):
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "profile.csv").write_text("nothing")
    answer = ask(worker, profile_s=0.1)
    assert answer["profile_ms"] is None
    assert "must have a table 'Run Order'" in answer["profile_failed"]
    assert len(answer["samples_ms"]) == 3


@pytest.mark.slow
def test_a_full_phone_is_no_fault_of_the_network(plugged, tool, small_reference, server):
    plugged()
    board = host(phone_text("adb:R58M12", tool(), None))
    worker = worker_of(board)
    (server / "R58M12/full").touch()
    assert "model.tflite" in ask(worker)["full"]
    host("adb:R58M12").remove()
    with pytest.raises(HostError, match="must have room for the tool"):
        worker_of(board)


def test_a_tool_may_bring_its_libraries(plugged, tool, small_reference):
    root = plugged()
    path = tool()
    (path.parent / "libneeded.so").write_text("library")
    worker_of(host(phone_text("adb:R58M12", path.parent, None)))
    (folder,) = (root / "data/local/tmp/latcast").glob("tool-*")
    assert sorted(x.name for x in folder.iterdir()) == ["benchmark_model", "libneeded.so"]
    assert (folder / "benchmark_model").stat().st_mode & 0o111


@pytest.mark.slow
def test_little_cores_are_a_device_of_their_own(plugged, tool, small_reference):
    root = plugged(capacities=False)
    board = host(phone_text("adb:R58M12", tool(), "little"))
    assert board.facts()["name"] == "example-phone-8-little"
    ask(worker_of(board))
    assert set((root / "masks").read_text().split()) == {"f"}


@pytest.mark.slow
def test_runs_wait_until_the_phone_is_cool(plugged, tool, small_reference):
    root = plugged()
    board = host(phone_text("adb:R58M12", tool(), None))
    worker = worker_of(board)
    (root / "temperature").write_text("450\n")
    machine = ask(worker)["machine"]
    assert 36 < machine["battery_c_before"] <= 37
    # A phone that heats up by its runs is waited for before each.
    (root / "heat").write_text("15\n")
    temperatures = [ask(worker)["machine"]["battery_c_before"] for _ in range(3)]
    assert max(temperatures) <= 37


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("level", "12", "battery is at 12 %, below 20"), ("thermal", "3", r"thermal status 3\)")],
)
def test_a_phone_that_does_not_get_ready_ends_the_campaign(
    plugged, tool, small_reference, monkeypatch, name, value, reason
):
    root = plugged()
    monkeypatch.setattr(AdbHost, "patience_s", 0.05)
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / name).write_text(value)
    with pytest.raises(HostError, match=rf"must be cool and charged to measure; .*{reason}"):
        ask(worker)


@pytest.mark.slow
def test_throttling_during_a_run_is_a_doubt(plugged, tool, small_reference):
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "accident").write_text("echo 2 > $ROOT/thermal\n")
    answer = ask(worker)
    assert answer["doubts"] == ["the phone throttled (thermal status 2)"]
    assert answer["machine"]["throttled"] == 2


@pytest.mark.slow
def test_a_phone_computes_for_long(plugged, tool, small_reference):
    """Invocations one after the other, with the chip's temperature and Android's status."""
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "accident").write_text("[ $n -gt 2 ] && echo 2 > $ROOT/thermal\n")
    answer = ask(worker, sustain_s=0.5)
    told = answer["sustained"]
    assert told["ends_s"][-1] >= 0.5
    assert told["passes"] == [50] * len(told["ends_s"])
    assert told["temperature_c"] == [42.0] * len(told["ends_s"])
    assert told["throttled"][-1] == 2
    assert told["first_ms"] == answer["samples_ms"][0]


def test_two_campaigns_may_measure_two_phones(plugged, tmp_path):
    plugged("first")
    plugged("second")
    with host("adb:first").lock(tmp_path / "a"), host("adb:second").lock(tmp_path / "b"):
        third = host("adb:first").lock(tmp_path / "c")
        with pytest.raises(measure.CampaignRunningError, match="a is being measured"):
            third.__enter__()


@pytest.mark.slow
def test_phones_of_one_kind_share_a_campaign(plugged, campaign, tool):
    roots = [plugged("first"), plugged("second")]
    program = tool(phones.BENCHNCNN, "benchncnn")
    boards = [host(phone_text(f"adb:{x}", program, None)) for x in ("first", "second")]
    networks = tuple(VariantSource(variant(resolution)) for resolution in (96, 112, 128))
    target = Target("example-phone-8", "ncnn", threads=1)
    with campaign(networks, text=boards[0].text, target=target) as opened:
        measure.run(opened, on=boards)
        assert opened.counts()[0] == 6
        assert len(measure.results(opened).dataset) == 3
    assert all((root / "masks").exists() for root in roots)


@pytest.mark.slow
@pytest.mark.parametrize("commands", [1, 3, 8])
def test_an_unplugged_phone_costs_the_run_in_flight(
    plugged, campaign, server, monkeypatch, commands
):
    root = plugged()
    with campaign() as opened:
        (root.parent / "shells_left").write_text(str(commands + 2))
        looks = []

        def plugged_in_again(self):
            looks.append(self)
            (server / "R58M12/state").write_text("device")

        monkeypatch.setattr(AdbHost, "reconnect", plugged_in_again)
        measure.run(opened)
        assert len(looks) == 1
        assert opened.counts()[0] == 4
        assert not opened.failures()
        assert [opened.deaths(n) for n in range(2)] == [0, 0]


@pytest.mark.slow
def test_a_phone_that_stays_away_ends_the_campaign_which_goes_on(
    plugged, campaign, server, monkeypatch
):
    root = plugged()
    monkeypatch.setattr(AdbHost, "patience_s", 0.05)
    with campaign() as opened:
        (root.parent / "shells_left").write_text("14")
        with pytest.raises(HostError, match=r"no phone has the serial .* --resume when it is back"):
            measure.run(opened)
        before = opened.counts()[0]
    (server / "R58M12/state").write_text("device")
    with campaign() as opened:
        measure.run(opened)
        assert opened.counts()[0] == 4 > before
        runs = {(run.network, run.round, run.attempt) for run in opened.runs()}
        assert len(runs) == len(opened.runs())


ANSWERS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"OKAY", b"FAIL", b"0004", b"ffff", b"zzzz", b"\0" * 9]),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ANSWERS, max_size=6).map(b"".join))
def test_whatever_a_server_answers_is_a_clear_error(monkeypatch, junk):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.getsockname()[1]))

        def answer():
            for _ in range(8):
                with suppress(OSError), server.accept()[0] as client:
                    client.recv(200)
                    client.sendall(junk)

        Thread(target=answer, daemon=True).start()
        with pytest.raises(HostError, match=r"must answer on|no phone has the serial"):
            host("adb:R58M12").facts()


def test_reconnecting_waits_for_the_phone(plugged, server, monkeypatch):
    plugged()
    monkeypatch.setattr(AdbHost, "poll_s", 0.02)
    board = host("adb:R58M12")
    (server / "R58M12/state").write_text("offline")
    waited = []

    def wait(seconds):
        waited.extend([seconds] if seconds == AdbHost.poll_s else [])  # adbutils sleeps, too
        if len(waited) == 3:
            (server / "R58M12/state").write_text("device")

    monkeypatch.setattr("latcast.measure.hosts.adb.time.sleep", wait)
    board.reconnect()
    assert waited == [0.02] * 3


@pytest.mark.parametrize("tear", [0, 1, 5, 100])
def test_a_link_that_is_cut_anywhere_is_a_lost_host(plugged, server, tear):
    root = plugged()
    board = host("adb:R58M12")
    assert board.facts()
    (root.parent / "shells_left").write_text("1")
    with pytest.raises(HostLostError, match="the phone R58M12 failed"):
        board.link.shell(f"head -c {tear} /dev/zero")


@pytest.mark.slow
def test_samples_of_a_run_are_of_processes_of_their_own(plugged, tool, small_reference):
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    answer = ask(worker)
    # Three of the network, between two of the reference.
    assert int((root / "calls").read_text()) == 5
    assert len(set(answer["samples_ms"])) == 3
    assert np.median(answer["samples_ms"]) == pytest.approx(
        len(bytes_of(variant(96))) / 64_000, 0.02
    )
