"""``latcast measure`` and ``latcast lookup-table``, end to end."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import latcast as latcast_package
from latcast import data as datasets
from latcast import measure
from latcast.cli import _measuring as command
from latcast.cli._console import UsageError
from latcast.cli._options import parse_duration
from latcast.cli.measure import _described
from latcast.devices import Target
from latcast.measure import CampaignFile, Progress, Protocol
from latcast.measure._machine import machine_lock
from latcast.measure.hosts import HOSTS
from latcast.measure.hosts.here import Here
from latcast.models import measured_table

TINY = ("--samples", "2", "--runs", "2", "--resolutions", "128")
COMPOFA = ("--space", "compofa-fixed-kernel", "--samples", "300", "--threads", "1")

pytestmark = pytest.mark.usefixtures("lock_of_its_own")


@pytest.mark.slow
def test_measure_writes_a_dataset(latcast, tmp_path):
    out = tmp_path / "cpu.parquet"
    found = json.loads(latcast("measure", *TINY, "--name", "here", "--out", out, "--json").stdout)
    assert found["target"] == "here/onnxruntime/b1/t1"
    assert found["architectures"] == 2
    assert found["failed"] == {}
    data = datasets.read(out)
    assert (data.latency_ms > 0).all()
    assert data.provenance["runtime version"]
    with CampaignFile.open(out.with_suffix(".campaign")) as campaign:
        assert campaign.counts()[0] == 4
    # Nothing is left to do: the dataset is written again, the same.
    out.unlink()
    again = latcast("measure", "--resume", "--out", out)
    assert "wrote" in again.stderr
    assert np.array_equal(datasets.read(out).latency_ms, data.latency_ms)
    message = latcast("measure", *TINY, "--out", out, code=2).stderr
    assert "holds a campaign already: go on with it (--resume), or remove it" in message


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_networks_run_back_to_back(latcast, tmp_path):
    out = tmp_path / "cpu.parquet"
    found = latcast.json("measure", *TINY, "--name", "here", "--sustain", "1s", "--out", out)
    assert [s["seconds"] >= 1 for s in found["sustained"]] == [True, True]
    assert all(s["first_ms"] > 0 and len(s["series"]) > 2 for s in found["sustained"])
    steady = datasets.read(tmp_path / "cpu.sustained.parquet")
    assert sorted(steady.values) == sorted(s["steady_ms"] for s in found["sustained"])
    message = latcast.error("measure", "--resume", "--sustain", "9s", "--out", out, code=2)
    assert "--sustain was 1.0, got 9.0" in message


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_precisions_are_measured_in_turns(latcast, tmp_path):
    out = tmp_path / "cpu.parquet"
    options = ("--precision", "fp32,int8", "--name", "here", "--out", out, "--json")
    found = json.loads(latcast("measure", *TINY, *options).stdout)
    assert found["schema"] == "latcast/campaigns"
    names = ["here/onnxruntime/b1/t1", "here/onnxruntime/b1/int8/t1"]
    assert [c["target"] for c in found["campaigns"]] == names
    (factor,) = found["factors"]
    assert (factor["precision"], factor["than"], factor["networks"]) == ("int8", "fp32", 2)
    assert 0 < factor["lowest"] <= factor["median"] <= factor["highest"]
    both = [datasets.read(tmp_path / f"cpu.{p}.parquet") for p in ("fp32", "int8")]
    assert [str(data.target) for data in both] == names
    assert np.array_equal(*(np.sort(data.archs.genes, axis=0) for data in both))
    again = json.loads(latcast("measure", "--resume", "--out", out, "--json").stdout)
    assert again == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "fp32,fp32"), "--precision must name each precision once"),
        (("--precision", "fp32,"), "--precision must name each precision once"),
        (("--precision", "fp32,int8", "--runtime", "pytorch"), "got 'int8': no quantizer of"),
        (("--precision", "fp32,int8", "--correct-to", "x.parquet"), "give one --precision"),
    ],
)
def test_precisions_that_cannot_be_measured_leave_no_file(latcast, tmp_path, options, message):
    out = tmp_path / "cpu.parquet"
    assert message in latcast("measure", *TINY, *options, "--out", out, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_two_campaigns_refuse_each_other(latcast, tmp_path):
    with machine_lock(tmp_path / "other.campaign"):
        out = tmp_path / "cpu.parquet"
        message = latcast("measure", *TINY, "--out", out, code=2).stderr
        assert "other.campaign is being measured: wait until it ends" in message
        assert not out.with_suffix(".campaign").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(tmp_path, start, wait_until):
    out = tmp_path / "cpu.parquet"
    run = start("-m", "latcast", "measure", *TINY, "--runs", "30", "--out", out,
                stderr=subprocess.PIPE)  # fmt: skip
    path = out.with_suffix(".campaign")

    def measured():
        # The file may be there before its tables are.
        with suppress(FileNotFoundError, ValueError), CampaignFile.open(path) as campaign:
            return campaign.counts()[1] > 2

    wait_until(measured)
    run.send_signal(signal.SIGINT)
    stderr = run.communicate(timeout=300)[1]
    assert run.returncode == 130
    assert "kept: go on with --resume" in stderr
    assert not out.exists()
    with CampaignFile.open(path) as campaign:
        assert campaign.counts()[1] > 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "a.csv"), "must end in .parquet"),
        (("--out", "a.parquet", "--runtime", "onxruntime"), "onnxruntime"),
        (("--out", "a.parquet", "--space", "ofa"), "ofa-mobilenet-v3"),
        (("--out", "a.parquet", "--precision", "fp16"), "must be fp32"),
        (("--out", "a.parquet", "--threads", "0"), "at least 1"),
        (("--out", "a.parquet", "--resolutions", "130"), "r must keep at least one of"),
        (("--out", "a.parquet", "--resolutions", "a"), "must be like 160,192,224"),
        (("--out", "a.parquet", "--time-limit", "soon"), "must be like 90s, 20m or 1.5h"),
        (("--out", "a.parquet", "--name", "My PC"), "must be lower-case"),
        (("--out", "a.parquet", "--sustain", "long"), "--sustain must be like 90s, 20m or 1.5h"),
        (("--out", "a.parquet", "--sustain", "30m"), "at most 20 networks; got 300, which would"),
        (("--out", "a.parquet", "--resume"), "no campaign to resume"),
        (("--out", "a.parquet", "--runtime", "pytorch-cuda"), "needs"),
        (("--out", "a.parquet", "--correct-to", "none.parquet"), "no such file"),
    ],
)
def test_wrong_usage(latcast, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert says in latcast.error("measure", *arguments, code=2)
    assert not list(tmp_path.glob("a.*"))


@pytest.fixture
def begun(latcast, tmp_path, interrupted_measuring):
    """Dataset of a campaign that has been started, but was interrupted before its first run."""
    out = tmp_path / "a.parquet"
    latcast("measure", *COMPOFA, "--out", out, code=130)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "was"),
    [
        (("--samples", "9"), "300"),
        (("--threads", "2"), "1"),
        (("--batch", "8"), "1"),
        (("--precision", "bf16"), "fp32"),
        (("--name", "another"), ""),
        (("--runtime", "ncnn"), "onnxruntime"),
        (("--resolutions", "160,224"), "not given"),
        (("--seed", "1"), "0"),
        (("--runs", "3"), "4"),
    ],
)
def test_a_campaign_goes_on_as_it_began(latcast, begun, option, was):
    message = latcast("measure", "--resume", *option, "--out", begun, code=2).stderr
    assert f"a campaign goes on as it began: {option[0]} was {was}" in message


def test_the_same_command_resumes_and_runs_can_be_added(latcast, begun):
    # 300 samples are fewer networks: the space has only so many.
    latcast("measure", *COMPOFA, "--out", begun, "--resume", code=130)
    latcast("measure", "--runs", "5", "--out", begun, "--resume", code=130)
    with CampaignFile.open(begun.with_suffix(".campaign")) as campaign:
        assert campaign.plan()["protocol"]["runs"] == 5


@pytest.mark.parametrize(
    ("device", "level", "says"),
    [
        ("here", None, "must be written by `latcast measure`"),
        ("here", "soon", "must be written by `latcast measure`"),
        ("here", "-1", "must be written by `latcast measure`"),
        ("there", "6.5", "must be a dataset of the same target, here/onnxruntime/b1/t1"),
    ],
)
def test_what_nothing_can_be_like(latcast, tmp_path, synthetic, device, level, says):
    target = Target(device, "onnxruntime", threads=1)
    provenance = {} if level is None else {measure.REFERENCE_LEVEL: level}
    old = tmp_path / "old.parquet"
    replace(synthetic[:5], target=target, provenance=provenance).save(old)
    message = latcast(
        "measure", "--name", "here", "--correct-to", old, "--out", tmp_path / "a.parquet", code=1
    ).stderr
    assert says in message
    assert not (tmp_path / "a.campaign").exists()


def test_durations():
    for text, seconds in (("90s", 90), ("20m", 1200), ("1.5h", 5400), ("7", 7), ("2 m", 120)):
        assert parse_duration(text) == seconds
    for text in ("", "-5m", "0s", "1d", "m", "nan", "1e9999"):
        with pytest.raises(UsageError, match="--time-limit must be"):
            parse_duration(text)


def test_what_the_bar_says():
    progress = Progress(30, 120, 2.0, 45.0, 0.0123, 1, 2, 0.8)
    assert command.describe(progress) == (
        "120/min, spread 1.2 %, 2 redone, 1 failed, LOADED: 0.8 CPUs busy with other work"
    )
    nothing_yet = replace(progress, runs_per_s=0.0, redone=0, failed=0, other_cpus=None)
    assert command.describe(nothing_yet) == "starting"
    lost = replace(nothing_yet, lost={"ssh:board": "the link broke"})
    assert command.describe(lost) == "waiting for ssh:board"


def test_hosts_that_come_and_go_are_told_once():
    told = []
    note = command.host_notes(SimpleNamespace(note=told.append))
    progress = Progress(30, 120, 2.0, 45.0, 0.0123, 1, 2, 0.8)
    lost = replace(progress, lost={"ssh:a": "it broke", "ssh:b": "it sleeps"})
    for one in (progress, lost, lost, replace(progress, lost={"ssh:b": "it sleeps"})):
        note(one)
    note(replace(progress, left_out={"ssh:b": "it did not come back"}))
    note(replace(progress, left_out={"ssh:b": "it did not come back"}))
    assert told == [
        "waiting for ssh:a: it broke", "waiting for ssh:b: it sleeps", "ssh:a is back",
        "ssh:b is left out: it did not come back",
    ]  # fmt: skip


def test_the_bar_of_a_fleet_tells_the_runs_of_each_host():
    progress = Progress(30, 120, 2.0, 45.0, 0.0123, 0, 0, None, {"ssh:a": 20, "ssh:b": 10})
    assert _described(progress) == "120/min, spread 1.2 %: ssh:a 20, ssh:b 10"
    many = replace(progress, by_host=dict.fromkeys("abcde", 6), left_out={"f": "x"})
    assert _described(many) == "120/min, spread 1.2 %: 5 hosts, left out: f"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "resolutions"),
    [(("--resolutions", "224"), [224]), (("--space", "nasbench201", "--way", "profile"), None)],
)
def test_a_lookup_table_is_built(latcast, tmp_path, monkeypatch, fake, options, resolutions):
    """On a runtime whose latency is a sum over layers, so that timing blocks finds the truth."""
    hasty = partial(Protocol, run_s=0.02, warm_up_s=0.0, reference_s=0.0, other_cpus=1e9)
    monkeypatch.setattr(measure, "Protocol", hasty)
    monkeypatch.setitem(measure.runtimes.RUNTIMES._things, "onnxruntime", fake.FakeRuntime)
    out = tmp_path / "table.latcast"
    found = latcast.json(
        "lookup-table", "build", *options, "--networks", "30", "--runs", "2", "--name", "here",
        "--out", out,
    )  # fmt: skip
    ways = {c["way"]: c for c in found["ways"]}
    assert set(ways) == {"isolated", "profile", "networks"}
    assert all(ways[way]["mape"] < 0.01 for way in ("profile", *(["isolated"] * bool(resolutions))))
    assert all(np.isfinite(way["mape"]) for way in ways.values())
    assert found["chosen"] in {"isolated", "profile"}
    model = latcast_package.load(out)
    assert str(model.target) == "here/onnxruntime/b1/t1"
    archs = model.space.sample(5, 3, restrict={"r": resolutions} if resolutions else None)
    truth = [fake.truth_ms(model.space.network(a)) for a in archs]
    assert model.predict(archs) == pytest.approx(truth, rel=0.02)


class There(Here):
    """This machine by another name, which can have any target."""

    kind = "there"

    def check(self, target, own=None):
        pass


def test_more_threads_than_cpus_are_refused_before_a_file_is_made(latcast, tmp_path):
    command = ("measure", *TINY, "--threads", 5000, "--out", tmp_path / "a.parquet")
    assert "threads must be at most" in latcast.error(*command, code=2)
    assert not list(tmp_path.iterdir())


def test_what_does_not_start_leaves_no_file_in_the_way(latcast, tmp_path, monkeypatch):
    def die(*_, **__):
        raise measure.WorkerDiedError("the runtime's process ended with code 1")

    monkeypatch.setattr(measure, "run", die)
    command = ("measure", *TINY, "--name", "here", "--out", tmp_path / "a.parquet")
    for _ in range(2):
        assert "measuring cannot start: the runtime's" in latcast(*command, code=1).stderr
        assert not list(tmp_path.iterdir())


def test_a_lookup_table_is_gone_on_with_by_no_other_option(latcast, tmp_path, monkeypatch):
    out, plans = tmp_path / "table.latcast", []

    def begin(plan, out, *, way, resume, run):
        plans.append((plan, way))
        with measure.open_or_resume(
            out.with_suffix(".networks.campaign"), plan.plans()["networks"], resume=resume
        ):
            raise ValueError("the link broke")

    monkeypatch.setattr(measured_table, "build_table", begin)
    monkeypatch.setitem(HOSTS._things, "there", There)
    options = (
        "--space", "nasbench201", "--networks", 31, "--runs", 2, "--runtime", "openvino",
        "--precision", "int8", "--name", "there", "--way", "isolated", "--seed", 3,
    )  # fmt: skip
    build = ("lookup-table", "build", "--out", out)
    assert "the link broke" in latcast.error(*build, *options, "--host", "there:1", code=1)
    assert "the link broke" in latcast.error(*build, "--resume", code=1)
    assert plans[0] == plans[1]
    assert plans[0][0].host == "there:1"
    assert str(plans[0][0].target) == "there/openvino/b1/int8/t1"
    # What was begun so is no other table's.
    assert "target was there/openvino" in latcast.error(*build, "--resume", "--batch", 2, code=2)
    # Records of before options were kept.
    out.with_suffix(".networks.campaign").unlink()
    plan = replace(plans[0][0], options={})
    measure.open_or_resume(out.with_suffix(".networks.campaign"), plan.plans()["networks"]).close()
    assert "the link broke" in latcast.error(*build, *options, "--resume", code=1)
    assert plans[-1][0] == plan


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--space", "compofa-fixed-kernel"), "built for ofa-mobilenet-v3"),
        (("--space", "nasbench201", "--resolutions", "224"), "nasbench201 has no gene 'r'"),
    ],
)
def test_a_lookup_table_that_cannot_be(latcast, tmp_path, options, says):
    out = tmp_path / "a.latcast"
    assert says in latcast.error("lookup-table", "build", *options, "--out", out, code=2)


def test_once_for_all_s_table_is_converted(latcast, tmp_path, shared):
    table = shared / "ofanas" / "lookup_tables" / "216_lookup_table.yaml"
    out = tmp_path / "note10.latcast"
    options = ("--target", "note10/lookup-table/b1", "--out", out)
    assert latcast.json("lookup-table", "convert", table, *options)["resolutions"] == [216]
    model = latcast_package.load(out)
    assert (model.predict(model.space.sample(3, 0, restrict={"r": [216]})) > 1).all()
