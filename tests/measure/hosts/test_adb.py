"""Phones by adb: every path against a server that speaks the protocol, without a phone."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import asdict
from threading import Thread

import numpy as np
import phones
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latcast import measure
from latcast.devices import Target
from latcast.measure import HostError, HostLostError, Plan, Protocol, WorkerDiedError
from latcast.measure._sources import OnnxFile, VariantSource
from latcast.measure.hosts import host
from latcast.measure.hosts.adb import AdbHost, phone_text

pytest.importorskip("adbutils")

pytestmark = phones.MARKS

QUICK = {
    "runs": 2, "warm_up_s": 0.0, "run_s": 0.02, "min_samples": 3, "reference_s": 0.01,
    "halves_disagree": 1.0, "reference_disagrees": 1.0, "redo": 1,
}  # fmt: skip
TARGET = Target("example-phone-8", "litert", threads=2)


@pytest.fixture
def campaign(plugged, tool, tmp_path, small_reference):
    """Begins a campaign of small networks on a phone, or goes on with it."""

    def begin(networks=None, *, text=None, target=TARGET, **protocol):
        plan = Plan(
            target,
            networks
            or (
                VariantSource(phones.small_network(96)),
                VariantSource(phones.small_network(112, 75)),
            ),
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
    sizes = [len(bytes_of(phones.small_network(96))), len(bytes_of(phones.small_network(112, 75)))]
    by_name = dict(zip(found.dataset.names, found.dataset.latency_ms, strict=True))
    for v, size in zip(
        (phones.small_network(96), phones.small_network(112, 75)), sizes, strict=True
    ):
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
    own.write_bytes(bytes_of(phones.small_network(96)))
    other.write_bytes(phones.small_network(96).to_onnx())
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
    param, weights = to_ncnn(phones.small_network(96).graph())
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
    with campaign((VariantSource(phones.small_network(96)),), target=target) as opened:
        measure.run(opened)
        assert "for int8 give .tflite files of your own" in opened.failures()[0]


def worker_of(board, target=TARGET):
    return board.start(target, asdict(Protocol(**QUICK)))


def ask(worker, **request):
    return worker.ask(
        {"network": VariantSource(phones.small_network(96)).text, "seed": 0, **request}, 300
    )


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
def test_a_full_phone_is_no_fault_of_the_network(plugged, tool, small_reference, phone_server):
    plugged()
    board = host(phone_text("adb:R58M12", tool(), None))
    worker = worker_of(board)
    (phone_server / "R58M12/full").touch()
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


@pytest.mark.slow
def test_a_closed_worker_makes_no_further_invocation(plugged, tool, small_reference):
    """Another thread closes it and takes the networks away: what a tool says then is no failure."""
    root = plugged()
    worker = worker_of(host(phone_text("adb:R58M12", tool(), None)))
    (root / "accident").write_text("touch $ROOT/begun; sleep 0.2\n")

    def close():
        end = time.monotonic() + 60
        while not (root / "begun").exists() and time.monotonic() < end:
            time.sleep(0.01)
        worker.close()

    closing = Thread(target=close, daemon=True)
    closing.start()
    with pytest.raises(WorkerDiedError, match="worker was closed"):
        ask(worker, sustain_s=60.0)
    closing.join()


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
    networks = tuple(
        VariantSource(phones.small_network(resolution)) for resolution in (96, 112, 128)
    )
    target = Target("example-phone-8", "ncnn", threads=1)
    with campaign(networks, text=boards[0].text, target=target) as opened:
        measure.run(opened, on=boards)
        assert opened.counts()[0] == 6
        assert len(measure.results(opened).dataset) == 3
    assert all((root / "masks").exists() for root in roots)


@pytest.mark.slow
@pytest.mark.parametrize("commands", [1, 3, 8])
def test_an_unplugged_phone_costs_the_run_in_flight(
    plugged, campaign, phone_server, monkeypatch, commands
):
    root = plugged()
    with campaign() as opened:
        (root.parent / "shells_left").write_text(str(commands + 2))
        looks = []

        def plugged_in_again(self):
            looks.append(self)
            (phone_server / "R58M12/state").write_text("device")

        monkeypatch.setattr(AdbHost, "reconnect", plugged_in_again)
        measure.run(opened)
        assert len(looks) == 1
        assert opened.counts()[0] == 4
        assert not opened.failures()
        assert [opened.deaths(n) for n in range(2)] == [0, 0]


@pytest.mark.slow
def test_a_phone_that_stays_away_ends_the_campaign_which_goes_on(
    plugged, campaign, phone_server, monkeypatch
):
    root = plugged()
    monkeypatch.setattr(AdbHost, "patience_s", 0.05)
    with campaign() as opened:
        (root.parent / "shells_left").write_text("14")
        with pytest.raises(HostError, match=r"no phone has the serial .* --resume when it is back"):
            measure.run(opened)
        before = opened.counts()[0]
    (phone_server / "R58M12/state").write_text("device")
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


def test_reconnecting_waits_for_the_phone(plugged, phone_server, monkeypatch):
    plugged()
    monkeypatch.setattr(AdbHost, "poll_s", 0.02)
    board = host("adb:R58M12")
    (phone_server / "R58M12/state").write_text("offline")
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            (phone_server / "R58M12/state").write_text("device")
        return False

    monkeypatch.setattr(board._given_up, "wait", wait)
    board.reconnect()
    assert waited == [0.02] * 3


def test_a_warm_phone_is_waited_for_until_nobody_does(plugged, monkeypatch):
    root = plugged()
    board = host("adb:R58M12")
    (root / "temperature").write_text("999")
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return len(waited) == 3

    monkeypatch.setattr(board._given_up, "wait", wait)
    with pytest.raises(HostError, match=r"phone R58M12 is waited for no longer: .*--resume"):
        board.wait_until_ready()
    assert waited == [AdbHost.poll_s] * 3


def test_a_phone_cools_for_a_later_worker_though_nobody_waited_before(
    plugged, tool, small_reference
):
    root = plugged()
    with host(phone_text("adb:R58M12", tool(), None)) as board:
        board.stop_waiting()
        board.start(TARGET, asdict(Protocol(**QUICK)))
        (root / "temperature").write_text("400")
        assert board.wait_until_ready().battery_c <= 37


@pytest.mark.parametrize("tear", [0, 1, 5, 100])
def test_a_link_that_is_cut_anywhere_is_a_lost_host(plugged, phone_server, tear):
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
        len(bytes_of(phones.small_network(96))) / 64_000, 0.02
    )
