"""Campaigns over a real sshd: equal to local ones, and proof against whatever breaks."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import onnx
import pytest

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.graph.write.onnx import to_onnx
from latcast.measure import AnotherCampaignError, HostError, OnnxFile, Plan, results
from latcast.measure.hosts import host, ssh
from latcast.testing.hosts import QUICK

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
TARGET = Target("board", "my-own", threads=1)
ARCHS = SPACE.sample(4, 0, restrict={"r": [224]})
# Another moment in every run of `make nightly`, whose ten runs have forty of them.
MOMENT = int(os.environ.get("LATCAST_FUZZ_RUN", "0"))

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


class Accident(threading.Thread):
    """Something that happens once, at a random moment of a campaign."""

    def __init__(self, kind, server, board, seed):
        super().__init__(daemon=True)
        self.kind, self.server, self.board = kind, server, board
        self.wait_s = float(np.random.default_rng(seed).uniform(0.0, 6.0))

    def run(self):
        time.sleep(self.wait_s)
        with suppress(Exception):  # it may be over, or not have begun
            getattr(self, self.kind)()

    def cut(self):
        self.board.connection._master.kill()

    def power(self):
        self.server.stop()
        time.sleep(0.5)
        self.server.start(FAKE_PAUSE="0.01")

    def worker(self):
        self.server.children("_worker")[0].kill()

    def agent(self):
        self.server.children("_agent")[0].kill()


@pytest.mark.parametrize("kind", ["cut", "power", "worker", "agent"])
def test_accidents_cost_the_run_in_flight(server, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(ssh, "_PATIENCE_S", 60.0)
    server.stop()
    server.start(FAKE_PAUSE="0.01")
    with (
        host("board") as board,
        measure.open_or_resume(tmp_path / "a", plan()) as campaign,
    ):
        accident = Accident(kind, server, board, [MOMENT, len(kind)])
        accident.start()
        before = 0
        for _ in range(2):  # whoever is told that the host is gone goes on, without any option
            try:
                measure.run(campaign, on=board)
            except HostError:
                assert campaign.counts()[1] >= before
                before = campaign.counts()[1]
        accident.join()
    with measure.CampaignFile.open(tmp_path / "a") as campaign:
        assert counted(campaign) == {(n, r): 1 for n in range(4) for r in range(QUICK.runs)}
        assert not campaign.failures()
        # A worker that dies counts against its network, a link that breaks does not.
        assert kind == "worker" or not any(campaign.deaths(n) for n in range(4))


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


def test_a_host_that_stays_away_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "_PATIENCE_S", 2.0)
    with (
        measure.open_or_resume(tmp_path / "a", plan()) as campaign,
        pytest.raises(HostError, match=r"link to board must come back within 2 s; .*--resume"),
    ):
        measure.run(campaign, on_progress=lambda _: server.stop())
