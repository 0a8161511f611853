"""Campaigns over a real sshd: equal to local ones, and proof against whatever breaks."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import latcast
from latcast import measure
from latcast.devices import Target, device
from latcast.graph.write.onnx import to_onnx
from latcast.measure import AnotherCampaignError, HostError, OnnxFile, Plan, _energy, results
from latcast.measure.hosts import _remote, host
from latcast.measure.hosts.agent import Agent
from latcast.measure.hosts.here import Here
from latcast.measure.hosts.ssh import SSH
from latcast.testing.hosts import QUICK

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
TARGET = Target("board", "my-own", threads=1)
ARCHS = SPACE.sample(4, 0, restrict={"r": [224]})
# Other moments in every run of `make nightly`, whose ten runs have fifty of them.
MOMENT = int(os.environ.get("LATCAST_FUZZ_RUN", "0"))
MOMENTS = int(os.environ.get("LATCAST_MOMENTS", "5"))

pytestmark = [pytest.mark.worker, pytest.mark.slow]


def plan(networks=ARCHS, where="board"):
    return Plan(TARGET, networks, QUICK, host=where)


def counted(campaign):
    return Counter((x.network, x.round) for x in campaign.runs() if x.accepted)


def test_a_campaign_there_is_like_one_here(server, tmp_path, monkeypatch, fake):
    found = {}
    for name in ("here", "board"):
        with measure.open_or_resume(tmp_path / name, plan(where=name)) as campaign:
            measure.run(campaign)
            runs = campaign.runs()
            found[name] = (
                [(x.network, x.round, x.attempt) for x in runs],
                {frozenset(x.details) for x in runs},
                [set(x) | set(x["runtime"]) for x in campaign.processes().values()],
                results(campaign).dataset,
            )
            began = campaign.plan()
    assert found["here"][:3] == found["board"][:3]
    here, there = (x[3] for x in found.values())
    assert there.latency_ms == pytest.approx(here.latency_ms, rel=0.02)
    assert set(there.provenance) == set(here.provenance)
    assert began.pop("host") == "ssh:board"
    with measure.CampaignFile.open(tmp_path / "here") as campaign:
        assert campaign.plan() == began
    with pytest.raises(AnotherCampaignError, match="host was ssh:board, got here"):
        measure.resume_as(tmp_path / "board", {"host": "here"})
    log = (server.folder / "log").read_text()
    assert log.count("Accepted publickey") == 1, "one connection serves a campaign"


def test_a_machine_there_is_described(server):
    with host("board") as board:
        found = board.detect("mine", seconds=0.1)
    assert (found.name, found.kind) == ("mine", "cpu")
    assert found.cores
    assert found.memory_gb > 0


@pytest.fixture
def linked(monkeypatch):
    """A machine whose agent answers in this process, through JSON."""
    agent = Agent(Path("unused"))

    class Link:
        def ask(self, request, timeout_s):
            return json.loads(json.dumps(agent.answer(json.loads(json.dumps(request)))))

        def close(self):
            pass

    board = SSH("board")
    monkeypatch.setattr(board, "_opened", lambda **_: Link())
    return board


def test_a_description_comes_whole_through_a_link(linked, monkeypatch):
    """Lists of a device, such as its clusters of cores, are lists in JSON."""
    known = device("pixel-7")
    assert known.clusters
    monkeypatch.setattr(Here, "detect", lambda *_, **__: known)
    assert linked.detect() == known


def test_quantities_that_a_machine_does_not_tell_are_refused_before_it_measures(
    linked, monkeypatch
):
    def find_meter(kind):
        raise OSError(f"energy of a {kind} needs a meter")

    monkeypatch.setattr(_energy, "find_meter", find_meter)
    linked.check_quantities(["peak_memory_mb"], "onnxruntime")
    with pytest.raises(HostError, match=r"board must be able to .* energy of a cpu needs a meter"):
        linked.check_quantities(["peak_memory_mb", "energy_mj"], "onnxruntime")


def test_files_are_sent_once_with_what_lies_beside_them(server, tmp_path):
    graph = SPACE.network(ARCHS[:1])
    plain, split = tmp_path / "plain.onnx", tmp_path / "split.onnx"
    plain.write_bytes(to_onnx(graph))
    onnx.save(onnx.load(plain), split, save_as_external_data=True, location="weights.bin")
    sources = [OnnxFile.of(plain), OnnxFile.of(split)]
    with measure.open_or_resume(tmp_path / "a", plan(sources)) as campaign:
        measure.run(campaign)
        assert not campaign.failures()
        assert results(campaign).dataset.names == ("plain", "split") or len(campaign.runs()) == 4
    files = server.home / ".cache" / "latcast-host" / "files"
    assert sorted(x.name for x in files.rglob("*.*")) == ["model.onnx", "model.onnx", "weights.bin"]
    times = {x: x.stat().st_mtime_ns for x in files.rglob("*.*")}
    with host("board") as board:
        texts = [board.text_of(x, 1, 0) for x in sources]
    assert all(str(server.home) in x for x in texts)
    assert times == {x: x.stat().st_mtime_ns for x in files.rglob("*.*")}
    plain.write_bytes(b"other")
    with measure.open_or_resume(tmp_path / "b", plan(sources)) as campaign:
        measure.run(campaign)
        assert "must stay as it was" in campaign.failures()[0]
        assert {x.network for x in campaign.runs()} == {1}


class Accidents(threading.Thread):
    """Accidents of all kinds at random moments, the next one when a run was made since the last."""

    def __init__(self, server, board, flag):
        super().__init__(daemon=True)
        self.server, self.board, self.flag = server, board, flag
        self.rng = np.random.default_rng([MOMENT, MOMENTS])
        self.is_recovered, self.is_over = threading.Event(), threading.Event()
        self.happened, self.made = Counter(), 0

    def tell(self, progress):
        made = sum(progress.by_host.values())
        if made and made != self.made:
            self.is_recovered.set()
        self.made = made

    def run(self):
        kinds = ["cut", "power", "worker", "agent", "full"]
        for n in range(MOMENTS):
            self.is_recovered.clear()
            assert self.is_recovered.wait(300), f"no run after {self.happened}"
            time.sleep(self.rng.uniform(0.0, 1.0))
            if n % len(kinds) == 0:
                self.rng.shuffle(kinds)
            with suppress(Exception):  # there may be no worker at the moment
                getattr(self, kinds[n % len(kinds)])()
                self.happened[kinds[n % len(kinds)]] += 1
        self.is_recovered.clear()
        self.is_recovered.wait(300)
        self.is_over.set()

    def cut(self):
        self.board.connection._master.kill()

    def power(self):
        self.server.stop()
        time.sleep(0.5)
        self.server.start(FAKE_PAUSE="0.01", FAKE_FULL=str(self.flag))

    def worker(self):
        self.server.children("_worker")[0].kill()

    def agent(self):
        self.server.children("hosts.agent")[0].kill()

    def full(self):
        self.flag.touch()


def test_accidents_cost_the_run_in_flight(server, tmp_path, monkeypatch):
    """At random moments; whoever is told that the host is gone goes on without any option."""
    monkeypatch.setattr(_remote, "_PATIENCE_S", 60.0)
    asked, ask = [], _remote._Worker.ask

    def counting(worker, *request):
        asked.append(worker)
        return ask(worker, *request)

    monkeypatch.setattr(_remote._Worker, "ask", counting)
    flag, path, made = tmp_path / "full", tmp_path / "a", 0
    server.stop()
    server.start(FAKE_PAUSE="0.01", FAKE_FULL=str(flag))
    many = SPACE.sample(30, 0, restrict={"r": [224]})
    measure.open_or_resume(path, Plan(TARGET, many, replace(QUICK, runs=99), host="board")).close()
    with host("board") as board:
        accidents = Accidents(server, board, flag)
        accidents.start()
        while not accidents.is_over.is_set():
            with (
                measure.resume_as(path, {}) as campaign,
                suppress(HostError, measure.WorkerDiedError),
            ):
                measure.run(
                    campaign, on=board, stop=accidents.is_over,
                    on_progress=accidents.tell,
                )  # fmt: skip
            with measure.CampaignFile.open(path) as campaign:
                assert campaign.counts()[1] >= made, "runs are lost"
                made = campaign.counts()[1]
            flag.unlink(missing_ok=True)
    with measure.CampaignFile.open(path) as campaign:
        runs, failed = counted(campaign), campaign.failures()
        deaths = [campaign.deaths(n) for n in range(len(many))]
    assert set(runs.values()) == {1}, "nothing twice"
    whole = max(r for _, r in runs)  # rounds before the last have all their runs
    missing = {(n, r) for n in range(len(many)) for r in range(whole)} - set(runs)
    assert {n for n, _ in missing} <= set(failed), "nothing lost"
    # A worker that dies counts against its network, a link that breaks does not.
    assert sum(deaths) <= accidents.happened["worker"] + accidents.happened["power"]
    assert len(asked) - made <= accidents.happened.total(), "the run in flight alone"


def test_a_full_disk_there_ends_the_campaign_which_goes_on(server, tmp_path):
    flag = tmp_path / "full"
    server.stop()
    server.start(FAKE_FULL=str(flag))
    flag.touch()
    path = tmp_path / "a"
    with (
        measure.open_or_resume(path, plan()) as campaign,
        pytest.raises((HostError, measure.WorkerDiedError), match="no space left"),
    ):
        measure.run(campaign)
    flag.unlink()
    steps = []

    def fill(step):
        steps.append(step)
        if len(steps) == 3:
            flag.touch()

    with measure.resume_as(path, {}) as campaign:
        with pytest.raises(HostError, match=r"disk of board must have room .* --resume"):
            measure.run(campaign, on_progress=fill)
        assert campaign.counts()[1] == 3
        flag.unlink()
        measure.run(campaign)
        assert counted(campaign) == {(n, r): 1 for n in range(4) for r in range(QUICK.runs)}
        assert not campaign.failures()


def test_ctrl_c_leaves_nothing_running_there(server, tmp_path, wait_until):
    def interrupt(step):
        raise KeyboardInterrupt

    with measure.open_or_resume(tmp_path / "a", plan()) as campaign:
        with pytest.raises(KeyboardInterrupt):
            measure.run(campaign, on_progress=interrupt)
        wait_until(lambda: not server.children("latcast"))
        measure.run(campaign)
        assert campaign.counts()[0] == 8


def test_ctrl_c_at_the_terminal_is_not_for_the_connection(server):
    # A terminal sends it to all processes of its group, of which ssh is one.
    with measure.host("ssh:board") as board:
        board.facts()
        master = board.connection._master
        assert os.getpgid(master.pid) == os.getpgid(0)
        os.kill(master.pid, signal.SIGINT)
        assert board.connection.run("echo still there").stdout == b"still there\n"
        assert board.connection.is_open


def test_a_host_that_stays_away_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_remote, "_PATIENCE_S", 2.0)
    with (
        measure.open_or_resume(tmp_path / "a", plan()) as campaign,
        pytest.raises(HostError, match=r"link to board must come back within 2 s; .*--resume"),
    ):
        measure.run(campaign, on_progress=lambda _: server.stop())
