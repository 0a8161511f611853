from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import latcast
from latcast import measure
from latcast.families import Variant
from latcast.measure import (
    AnotherCampaignError,
    CampaignFile,
    CampaignRunningError,
    WorkerDiedError,
    _session,
    blocks_of,
    results,
)
from latcast.measure._machine import machine_lock

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")


def counted(campaign):
    """Accepted runs of every network, and the processes that made them."""
    accepted = [v for v in campaign.runs() if v.accepted]
    runs = Counter(v.network for v in accepted)
    processes = {a: {v.process for v in accepted if v.network == a} for a in runs}
    return runs, processes


def test_every_network_is_run_in_fresh_processes(tmp_path, make_plan):
    plan = make_plan([224, 240, 224, 240])
    with measure.open_or_resume(tmp_path / "a.campaign", plan) as campaign:
        steps = []
        measure.run(campaign, on_progress=steps.append)
        runs, processes = counted(campaign)
        assert runs == dict.fromkeys(range(4), 3)
        assert all(len(p) == 3 for p in processes.values())
        found = results(campaign)
    assert (steps[-1].done, steps[-1].total, steps[-1].failed) == (12, 12, 0)
    truth = [plan.networks.space.costs(a)["macs"][0] / 1e8 for a in found.dataset.archs]
    assert found.dataset.latency_ms == pytest.approx(truth, rel=0.02)
    assert found.dataset.archs.unique() == plan.networks.unique() or len(found.dataset) == 4
    assert not found.unstable.any()
    assert found.dataset.provenance["runs"] == "12"


def test_rounds_are_shuffled_and_repeatable(tmp_path, make_plan):
    orders = []
    for name in ("a", "b"):
        with measure.open_or_resume(tmp_path / name, make_plan([224, 240] * 4)) as campaign:
            measure.run(campaign)
            orders.append([(v.round, v.network) for v in campaign.runs()])
    assert orders[0] == orders[1]
    assert [r for r, _ in orders[0]] == sorted(r for r, _ in orders[0])
    first, second = ([a for r, a in orders[0] if r == n] for n in (0, 1))
    assert first != second


def test_where_a_worker_died_comes_last_when_a_campaign_goes_on(tmp_path, make_plan):
    with measure.open_or_resume(tmp_path / "a", make_plan([224, 240] * 3)) as campaign:
        for arch in (1, 4):
            campaign.add_failure(arch, "ended by SIGKILL", final=False)
        campaign.add_failure(4, "ended by SIGKILL", final=False)
        measure.run(campaign)
        assert [v.network for v in campaign.runs() if v.round == 0][-2:] == [1, 4]
        assert not campaign.failures()


def test_accidents_cost_one_architecture_each(tmp_path, make_plan, fake, monkeypatch):
    monkeypatch.setattr(_session, "_PATIENCE_S", 5.0)  # harmless ones answer on a busy machine
    harmful = [fake.CRASHES, fake.HANGS, fake.RAISES, fake.NONSENSE, fake.EATS]
    with measure.open_or_resume(
        tmp_path / "a", make_plan([*harmful, fake.PRINTS, 224])
    ) as campaign:
        measure.run(campaign)
        failures = campaign.failures()
        runs, _ = counted(campaign)
        found = results(campaign)
    assert set(failures) == {0, 1, 2, 3, 4}
    assert "SIGSEGV" in failures[0]
    assert "no answer within 5 s" in failures[1]
    assert failures[2] == "RuntimeError: no kernel for this"
    assert "output must be finite" in failures[3]
    assert "SIGKILL (out of memory?)" in failures[4]
    assert runs == {5: 3, 6: 3}
    assert len(found.dataset) == 2
    assert found.failures == failures


def test_a_killed_worker_is_no_reason_to_give_up(tmp_path, make_plan, fake):
    """The kernel may have killed it for another program's hunger: twice is not yet enough."""
    with measure.open_or_resume(
        tmp_path / "a", make_plan([fake.EATS, 224, 240], runs=1)
    ) as campaign:
        measure.run(campaign)
        reasons = campaign._all("SELECT arch, final FROM failures ORDER BY failure")
        assert reasons == [(0, 0), (0, 0), (0, 1)]
        assert counted(campaign)[0] == {1: 1, 2: 1}


def test_a_runtime_that_never_starts_ends_the_campaign(tmp_path, make_plan, fake):
    plan = make_plan([224], kind=fake.NeverStarts)
    with (
        measure.open_or_resume(tmp_path / "a", plan) as campaign,
        pytest.raises(WorkerDiedError, match="ended with code 7"),
    ):
        measure.run(campaign)


def test_two_campaigns_refuse_each_other(tmp_path, make_plan, start):
    script = (
        "import sys, time; from pathlib import Path; from latcast.measure._machine import "
        "machine_lock\nwith machine_lock(Path('first.campaign')):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    holder = start("-c", script, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    with (
        measure.open_or_resume(tmp_path / "a", make_plan([224])) as campaign,
        pytest.raises(CampaignRunningError, match=r"first\.campaign is being measured"),
    ):
        measure.run(campaign)
    holder.kill()
    holder.wait()
    with machine_lock(tmp_path):  # a killed campaign holds nothing
        pass


def test_runs_can_be_added(tmp_path, make_plan):
    with measure.open_or_resume(tmp_path / "a", make_plan([224, 240], runs=2)) as campaign:
        measure.run(campaign)
        campaign.plan_runs(3)
    with CampaignFile.open(tmp_path / "a") as campaign:
        measure.run(campaign)
        runs, processes = counted(campaign)
        assert runs == {0: 3, 1: 3}
        assert all(len(p) == 3 for p in processes.values())
        assert "runs 3" in results(campaign).dataset.provenance["protocol"]
        with pytest.raises(ValueError, match="only get more runs than the 3"):
            campaign.plan_runs(2)


def test_the_lock_is_for_every_user_of_the_machine(tmp_path):
    with machine_lock(tmp_path):
        folder = Path(tempfile.gettempdir()) / "latcast-measuring"
        # With the sticky bit nobody but its owner could lock the file.
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777
        assert stat.S_IMODE((folder / "lock").stat().st_mode) == 0o666


def test_doubtful_runs_are_made_again_and_all_are_kept(tmp_path, make_plan):
    plan = make_plan([224, 240], halves_disagree=0.0, redo=2)
    with measure.open_or_resume(tmp_path / "a", plan) as campaign:
        measure.run(campaign)
        runs = campaign.runs()
        assert Counter((v.network, v.round) for v in runs if v.accepted) == Counter(
            (a, r) for a in range(2) for r in range(3)
        )
        assert all(v.accepted == (v.attempt == 2) for v in runs)
        assert len(runs) == 18
        assert any("unstable runs" in w for w in results(campaign).warnings)


def test_a_time_budget_measures_as_many_as_fit(tmp_path, make_plan, monkeypatch):
    monkeypatch.setattr(_session, "PROBE", 2)
    with measure.open_or_resume(tmp_path / "a", make_plan([224] * 200, runs=2)) as campaign:
        clock = SimpleNamespace(monotonic=lambda: 0.1 * campaign.counts()[1], time=time.time)
        monkeypatch.setattr(_session, "time", clock)  # 0.1 s a run
        measure.run(campaign, time_budget_s=5)
        runs, _ = counted(campaign)
        assert 23 <= campaign.extent() <= 25
        assert len(results(campaign).dataset) >= 0.9 * campaign.extent()
        # What was taken on was finished, up to the last few.
        assert sum(n == 2 for n in runs.values()) >= 0.9 * campaign.extent()


def test_it_goes_on_only_with_the_same_runtime(tmp_path, make_plan, monkeypatch):
    version = tmp_path / "version"
    version.write_text("1")
    monkeypatch.setenv("FAKE_VERSION", str(version))
    with measure.open_or_resume(tmp_path / "a", make_plan([224])) as campaign:
        measure.run(campaign)
        version.write_text("2")
        campaign._db.execute("DELETE FROM visits WHERE round = 2")
        with pytest.raises(ValueError, match="it began with version '1', and is '2' now"):
            measure.run(campaign)


def test_a_full_disk_loses_nothing(tmp_path, make_plan):
    path = tmp_path / "a"
    with measure.open_or_resume(path, make_plan([224, 240] * 3)) as campaign:
        pages = campaign._db.execute("PRAGMA page_count").fetchone()[0]
        campaign._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(OSError, match="what it holds is safe"):
            measure.run(campaign)
        before = len(campaign.runs())
        assert before < 18
    with CampaignFile.open(path) as campaign:
        assert len(campaign.runs()) == before
        measure.run(campaign)
        runs, _ = counted(campaign)
        assert runs == dict.fromkeys(range(6), 3)


def test_ctrl_c_leaves_no_worker_and_loses_nothing(tmp_path, make_plan, monkeypatch):
    monkeypatch.setenv("FAKE_PAUSE", "0.02")

    def interrupt(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    with measure.open_or_resume(tmp_path / "a", make_plan([224] * 4)) as campaign:
        with pytest.raises(KeyboardInterrupt):
            measure.run(campaign, on_progress=interrupt)
        assert len(campaign.runs()) == 3
        pid = campaign.processes()[1]["pid"]
        assert not alive(pid)
        measure.run(campaign)
        assert counted(campaign)[0] == dict.fromkeys(range(4), 3)


RUN = """
import sys
from pathlib import Path
from fake_runtime import FakeRuntime
from latcast import measure
with measure.CampaignFile.open(Path(sys.argv[1])) as campaign:
    campaign.runtime = FakeRuntime
    measure.run(campaign)
"""


def kill_at_random(path, kills, rng, start, wait_until, *, whom):
    """Run a campaign again and again, and kill -9 its worker or parent at random times."""
    for kill in range(kills):
        parent = start("-c", RUN, path, stderr=subprocess.DEVNULL)
        before, worker = accepted(path), last_worker(path)
        if kill % 2 or whom == "worker":  # else while it starts
            wait_until(lambda worker=worker: last_worker(path) != worker)
        time.sleep(rng.uniform(0.2, 1))
        os.kill(parent.pid if whom == "parent" else last_worker(path), signal.SIGKILL)
        if whom == "worker":
            time.sleep(0.5)
            parent.send_signal(signal.SIGINT)
        parent.wait()
        assert accepted(path) >= before


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def accepted(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT COALESCE(SUM(accepted), 0) FROM visits").fetchone()[0]


def last_worker(path):
    with CampaignFile.open(path) as campaign:
        processes = campaign.processes()
        return processes[max(processes)]["pid"] if processes else 2**22 - 1


@pytest.mark.parametrize("whom", ["worker", "parent"])
def test_kill_9_loses_at_most_the_run_in_flight(
    tmp_path, make_plan, monkeypatch, start, wait_until, whom
):
    monkeypatch.setenv("FAKE_PAUSE", "0.01")
    path = tmp_path / "a"
    measure.open_or_resume(path, make_plan([224, 240] * 30, runs=2)).close()
    kill_at_random(path, 2, random.Random(1), start, wait_until, whom=whom)
    monkeypatch.setenv("FAKE_PAUSE", "0")
    with CampaignFile.open(path) as campaign:
        measure.run(campaign)
        runs, _ = counted(campaign)
        keys = [(v.network, v.round, v.attempt) for v in campaign.runs()]
        assert len(keys) == len(set(keys))
        assert runs == dict.fromkeys(range(60), 2)
        assert not campaign.failures()


def test_a_worker_does_not_outlive_its_campaign(
    tmp_path, make_plan, monkeypatch, start, wait_until
):
    monkeypatch.setenv("FAKE_PAUSE", "0.05")
    path = tmp_path / "a"
    measure.open_or_resume(path, make_plan([224] * 40)).close()
    parent = start("-c", RUN, path, stderr=subprocess.DEVNULL)
    wait_until(lambda: accepted(path))
    pid = last_worker(path)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))


def test_an_empty_campaign_is_refused(make_plan):
    plan = make_plan([224])
    with pytest.raises(ValueError, match="at least one network; got none"):
        replace(plan, networks=plan.networks[:0])


def test_a_campaign_goes_on_as_it_began(tmp_path, make_plan):
    path, plan = tmp_path / "a", make_plan([224, 240], runs=2)
    measure.open_or_resume(path, plan).close()
    with pytest.raises(FileExistsError, match="holds a campaign already"):
        measure.open_or_resume(path, plan)
    for other, says in (
        (replace(plan, seed=1), "seed was 0, got 1"),
        (
            replace(plan, target=replace(plan.target, batch=2)),
            r"target was here/.*/b1/t1, got here",
        ),
        (replace(plan, protocol=replace(plan.protocol, runs=1)), "runs was 2, got 1"),
        (replace(plan, protocol=replace(plan.protocol, redo=1)), "redo was 2, got 1"),
        (replace(plan, options={"samples": 3}), "samples was not given, got 3"),
        (replace(plan, profile_passes=3), "profile_passes was not given, got 3"),
        (replace(plan, networks=plan.networks[:1]), "a is of other networks"),
    ):
        with pytest.raises(AnotherCampaignError, match=says):
            measure.open_or_resume(path, other, resume=True)
    more = replace(plan, protocol=replace(plan.protocol, runs=4))
    measure.open_or_resume(path, more, resume=True).close()
    with measure.resume_as(path, {"redo": 2}) as campaign:
        assert campaign.plan()["protocol"]["runs"] == 4


@pytest.mark.parametrize("name", ["archs", "blocks", "graphs"])
def test_campaigns_of_schema_1_go_on(tmp_path, make_plan, fake, name):
    """They were begun by latcast 0.9, and broken off in the second round."""
    path = tmp_path / "a"
    shutil.copy(Path(__file__).parent / "data" / f"schema-1-{name}.campaign", path)
    archs = SPACE.sample(3, 0, restrict={"r": [224]})
    text = "mobilenet-v1(width={},depth=1,kernel=3,relu6=0,resolution=96,classes=10)"
    variants = [Variant.parse(text.format(width)) for width in (25, 50)]
    networks = {"archs": archs, "blocks": blocks_of(SPACE, (7, 40)), "graphs": variants}[name]
    # What the campaign does not state, since it is newer, is off, whatever is asked.
    plan = replace(make_plan([224], runs=2, seed=3, cpu_share=0.9), networks=networks)
    if name == "archs":
        plan = replace(plan, options={"samples": 3})
    with measure.open_or_resume(path, plan, resume=True) as campaign:
        before = campaign.runs()
        measure.run(campaign)
        runs = campaign.runs()
        assert [r.time_s for r in runs[: len(before)]] == [r.time_s for r in before]
        order = [(r.round, r.network) for r in runs]
        found = results(campaign)
    assert (
        order
        == {
            "archs": [(0, 2), (0, 1), (0, 0), (1, 0), (1, 1), (1, 2)],
            "blocks": [(0, 1), (0, 0), (1, 0), (1, 1)],
            "graphs": [(0, 1), (0, 0), (1, 0), (1, 1)],
        }[name]
    )
    if name == "archs":
        assert found.dataset.archs == archs[np.array([2, 1, 0])]
    else:
        assert set(found.dataset.names) == {source.name for source in plan.sources}
    assert (found.dataset.layers is not None) == (name == "graphs")


def test_load_on_other_cpus_is_noticed(tmp_path, make_plan, start, monkeypatch):
    """A starved machine gives an endless loop a twentieth of a CPU, so a fiftieth is too much."""
    monkeypatch.setenv("FAKE_PAUSE", "0.05")
    start("-S", "-c", "while True: pass")
    with measure.open_or_resume(
        tmp_path / "a", make_plan([224], runs=2, other_cpus=0.02, redo=1)
    ) as campaign:
        measure.run(campaign)
        found = results(campaign)
        assert campaign.counts() == (2, 4)
    assert any(w.startswith("loaded machine") for w in found.warnings)
    assert found.unstable.all()
