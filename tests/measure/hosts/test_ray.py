"""A Ray cluster of two machines, both here: what they share, one that dies, and resuming."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import psutil
import pytest

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.measure import CampaignRunningError, HostError, HostLostError, Plan
from latcast.measure.hosts import _remote, host
from latcast.measure.hosts.ray import _Link, machines
from latcast.measure.runtimes import RUNTIMES
from latcast.testing.hosts import QUICK

pytestmark = [
    pytest.mark.worker,
    pytest.mark.slow,
    # Ray's processes and sockets end when it likes.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
ARCHS = SPACE.sample(6, 0, restrict={"r": [224]})
TARGET = Target("board", "my-own", threads=1)


PORTS = (
    "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)  # fmt: skip


def succeeds(function, *arguments):
    try:
        function(*arguments)
    except RuntimeError:
        return False
    return True


@pytest.fixture
def cluster(tmp_path, monkeypatch, fake, modules, wait_until, free_port):
    """A cluster without machines, which measure with the fake runtime."""
    ray = pytest.importorskip("ray", reason="needs Ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(_remote, "_PATIENCE_S", 1.0)
    monkeypatch.setitem(RUNTIMES._things, "my-own", fake.Own)
    monkeypatch.setenv("PYTHONPATH", modules)
    # Ray gives up a node that is not there within 30 s, which a busy machine takes.
    get_node = ray._private.services.get_node

    def patient(*arguments):
        wait_until(lambda: succeeds(get_node, *arguments))
        return get_node(*arguments)

    monkeypatch.setattr(ray._private.services, "get_node", patient)
    ray.shutdown()  # of a cluster that another test has joined
    made = Cluster()

    def add(name):
        (folder := tmp_path / name).mkdir(exist_ok=True)
        # Each with a temporary folder of its own, where a machine keeps its lock.
        options = {"resources": {"latcast": 1, name: 1}, "include_dashboard": False}
        own = {"TMPDIR": str(folder), "HOME": str(folder)}
        # Given its agents' ports, Ray does not end when they are late, as on a busy machine.
        ports = {name: free_port() for name in PORTS}
        return made.add_node(num_cpus=0, env_vars=own, **options, **ports)

    made.add = add
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.parametrize("loses", [False, True])
def test_machines_share_a_campaign_which_goes_on(cluster, tmp_path, latcast, loses):
    nodes = {name: cluster.add(name) for name in ("a", "b")}
    names = [f"ray:{name}@{cluster.address}" for name in nodes]
    check_slots(names[0], cluster.address)
    if not loses:
        check_priority(names[0])
    plan = Plan(TARGET, ARCHS, QUICK, hosts=tuple(names))
    path = tmp_path / "a.campaign"

    def tell(progress):
        if progress.by_host.get(names[1]) and "b" in nodes:
            if not loses:
                is_lost.set()
                raise KeyboardInterrupt
            # With the run that it makes: whoever waits for it is told.
            kill(cluster, nodes.pop("b"))
        if progress.left_out:
            told.append(progress)
            raise KeyboardInterrupt

    told, is_lost, asked = [], Event(), Counter()
    ask, reconnect = _remote._Worker.ask, _remote.Remote.reconnect

    def patient(worker, *request):
        asked[worker._board.text] += 1
        if asked[names[0]] > 2 and worker._board.text == names[0]:
            assert is_lost.wait(1200), "the other must make a run, and be lost"
        return ask(worker, *request)

    def lost(board):
        try:
            reconnect(board)
        finally:
            is_lost.set()

    with pytest.MonkeyPatch.context() as patch, measure.open_or_resume(path, plan) as campaign:
        patch.setattr(_remote._Worker, "ask", patient)
        patch.setattr(_remote.Remote, "reconnect", lost)
        with pytest.raises(KeyboardInterrupt):
            measure.run(campaign, on_progress=tell)
        if loses:
            assert told[0].left_out.keys() == {names[1]}, told[0].left_out
            assert "must come back" in told[0].left_out[names[1]]
        assert campaign.counts()[0] < len(ARCHS) * QUICK.runs
    found = latcast.json("measure", "--resume", "--out", tmp_path / "a.parquet")
    assert found["left_out"].keys() == ({names[1]} if loses else set()), "it is still away"
    with measure.CampaignFile.open(path) as campaign:
        runs = Counter((x.network, x.round) for x in campaign.runs() if x.accepted)
        assert runs == {(n, r): 1 for n in range(len(ARCHS)) for r in range(QUICK.runs)}
        assert not campaign.failures()
        assert {x["host"] for x in campaign.processes().values()} == set(names)


def kill(cluster, node):
    """End a machine at once with all that runs on it, as a cut of its power does.

    Ray's workers there notice the end of their machine a second or two later: meanwhile they would
    answer, and could make all runs that were left.
    """
    machine = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [machine, *machine.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.remove_node(node, allow_graceful=False)


def check_slots(name, address):
    """One campaign a machine, and a machine must be there."""
    with (
        host(name) as board,
        host(name) as other,
        board.lock(Path("first.campaign")),
        pytest.raises(CampaignRunningError, match=r"first\.campaign"),
        other.lock(Path("second.campaign")),
    ):
        pass
    assert machines(address)
    assert machines(f"b@{address}")
    with pytest.raises(HostError, match=r"machines with the resource 'latcast' and 'c'.* none"):
        machines(f"c@{address}")
    with pytest.raises(HostError, match="must be a machine of the Ray cluster"):
        host(f"ray:nowhere@{address}").facts()


def check_priority(name):
    """Networks are measured at the usual one, not at that of Ray's workers."""
    with host(name) as board:
        worker = board.start(TARGET, asdict(QUICK))
        assert psutil.Process(worker.pid).nice() == os.nice(0), "other programs would disturb it"
        worker.close()


def test_a_machine_that_has_left_the_cluster_is_lost_though_ray_does_not_say_so():
    class LateError(Exception):
        pass

    looks, there = [], {"b": 1.0}

    def get(answer, timeout):
        looks.append(timeout)
        if len(looks) == 3:
            there.clear()
        raise LateError

    link = _Link.__new__(_Link)
    link._name, link._key = "b@cluster", "b"
    link._ray = SimpleNamespace(
        get=get, cluster_resources=lambda: there,
        exceptions=SimpleNamespace(
            GetTimeoutError=LateError, RayTaskError=KeyError, RayError=OSError
        ),
    )  # fmt: skip
    with pytest.raises(HostLostError, match="b@cluster is no machine of the Ray cluster any more"):
        link._get("answer", 300.0)
    assert len(looks) == 3
    there["b"] = 1.0
    with pytest.raises(HostLostError, match="must answer within 0 s"):
        link._get("answer", 0.0)


def test_a_machine_of_ray_has_a_cluster(latcast, tmp_path):
    with pytest.raises(ValueError, match="ray:WHERE@ADDRESS"):
        host("ray:10.0.0.5")
    run = ("measure", "--out", tmp_path / "a.parquet", "--ray", "127.0.0.1:1")
    error = latcast.error(*run, code=1)
    assert "there must be a Ray cluster at 127.0.0.1:1" in error
    assert "ray start --head" in error
    assert "leave out --ray" in latcast.error(*run, "--resume", code=2)
    assert "leave out --host" in latcast.error(*run, "--host", "board", code=2)
