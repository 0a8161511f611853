"""Boards of one kind that share a campaign."""

from __future__ import annotations

import heapq
import json
import re
import time
from collections import Counter
from contextlib import contextmanager
from threading import Event

import numpy as np
import pytest

import latcast
from latcast import data as datasets
from latcast import measure
from latcast.devices import Target
from latcast.measure import (
    HostError,
    HostLostError,
    Plan,
    Protocol,
    WorkerDiedError,
    _fleet,
    _session,
)
from latcast.measure._boards import Item, Shares
from latcast.measure._results import boards_apart
from latcast.measure.hosts import HOSTS, Host

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
NETWORKS = 24
TRUTH = np.random.default_rng(1).uniform(1, 5, NETWORKS)


class Simulated(Host):
    """Times of ``TRUTH``, so many times as long; ends with an error at a run of a number."""

    kind = "simulated"
    title = "a board"

    def __init__(self, name, slowness=1.0, accidents=()):
        super().__init__(name)

        self.slowness, self.accidents = slowness, dict(accidents)
        self.runs = self.held = self.reconnects = 0
        self.waits_for = None
        self.rng = np.random.default_rng(len(name))

    detect = None

    def check(self, target, own=None):
        pass

    def facts(self):
        if "facts" in self.accidents:
            raise self.accidents["facts"]
        return {"name": "board"}

    @contextmanager
    def lock(self, path):
        if "lock" in self.accidents:
            raise self.accidents["lock"]
        self.held += 1
        yield
        self.held -= 1

    def start(self, target, protocol, own=None):
        return Worker(self)

    def text_of(self, source, batch, seed):
        return str(SOURCES.index(source.text) if source.text in SOURCES else 0)

    def reconnect(self):
        self.reconnects += 1


Simulated.__abstractmethods__ = frozenset()
ARCHS = SPACE.sample(NETWORKS, 0)
SOURCES = [s.text for s in Plan(Target("b", "onnxruntime"), ARCHS).sources]


class Worker:
    facts = {"runtime": {"version": "1"}, "machine": {}, "timer_s": 1e-7, "clock": "wall"}  # noqa: RUF012
    pid = 1

    def __init__(self, board):
        self.board = board
        if "version" in board.accidents:
            self.facts = {**self.facts, "runtime": {"version": board.accidents["version"]}}

    def ask(self, request, timeout_s):
        self.board.runs += 1
        if self.board.waits_for is not None:
            # On a busy machine the others would else be done before a board has made its runs.
            other, runs = self.board.waits_for
            end = time.monotonic() + 60
            while other.runs < runs and time.monotonic() < end:
                time.sleep(0.001)
        if isinstance(accident := self.board.accidents.get(self.board.runs), Exception):
            raise accident
        noise = self.board.rng.normal(1, 0.002, (3, 5)) * self.board.slowness
        return {
            "samples_ms": list(TRUTH[int(request["network"])] * noise[0]),
            "reference_ms": [list(x) for x in noise[1:]], "repeats": 1, "inference_s": 0.01,
            "load_s": 0.01, "doubts": [], "machine": {},
        }  # fmt: skip

    def close(self):
        pass


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    monkeypatch.setitem(HOSTS._things, "simulated", Simulated)
    names = tuple(f"simulated:{name}" for name in "abcd")
    target = Target("board", "onnxruntime", threads=1)
    plan = Plan(target, ARCHS, Protocol(runs=3), hosts=names)
    with measure.open_or_resume(tmp_path / "a", plan) as opened:
        yield opened


def check_whole(campaign):
    runs = Counter((x.network, x.round, x.attempt) for x in campaign.runs())
    assert len(runs) == campaign.counts()[0] == 3 * NETWORKS
    assert set(runs.values()) == {1}
    assert not campaign.failures()


def test_what_boards_share_is_what_one_would_find(campaign):
    boards = [Simulated(n, 2.0 if n == "c" else 1.0) for n in "abcd"]
    for board, other in zip(boards, boards[1:] + boards[:1], strict=True):
        board.waits_for = (other, 1)
    measure.run(campaign, on=boards)
    check_whole(campaign)
    assert not any(board.held for board in boards)
    np.testing.assert_allclose(measure.corrected_medians(campaign), TRUTH, rtol=0.01)
    found = measure.results(campaign)
    assert found.reference_ms == pytest.approx(1, rel=0.01)
    assert found.dataset.provenance["hosts"] == ", ".join(f"simulated:{n}" for n in "abcd")
    assert not any("another board" in warning for warning in found.warnings)


def test_a_fleet_goes_on_in_its_plan(campaign, tmp_path):
    names = campaign.plan()["hosts"]
    campaign.close()
    plan = Plan(Target("board", "onnxruntime", threads=1), ARCHS, Protocol(runs=3), hosts=names)
    measure.open_or_resume(tmp_path / "a", plan, resume=True).close()
    with measure.open_or_resume(tmp_path / "a", plan, resume=True) as opened:
        measure.run(opened)
        check_whole(opened)


@pytest.mark.parametrize(
    "accident",
    [
        {4: HostError("its disk is full")},
        {"lock": HostError("it is asleep")},
        {"version": "2"},
        dict.fromkeys(range(1, 9), HostLostError("the link broke")),
    ],
    ids=["fails", "asleep", "another runtime", "lost again and again"],
)
def test_a_board_that_fails_is_left_out(campaign, accident):
    boards = [Simulated(n) for n in "abc"] + [Simulated("d", accidents=accident)]
    # The run at which it is given up: lost at every one, at the sixth.
    runs = {4: 4, 1: 6}.get(next(iter(accident)), 0)
    for board in boards[:3]:
        board.waits_for = (boards[3], runs)
    told = []
    measure.run(campaign, on=boards, on_progress=told.append)
    check_whole(campaign)
    assert set(told[-1].by_host) <= {f"simulated:{n}" for n in "abcd"}
    assert told[-1].left_out.keys() == {"simulated:d"}
    assert not any(board.held for board in boards)


def test_the_last_board_ends_the_campaign_which_goes_on(campaign):
    boards = [Simulated(n, accidents={5: HostError("gone")}) for n in "abcd"]
    with pytest.raises(HostError, match="gone"):
        measure.run(campaign, on=boards)
    assert campaign.counts()[0] == 16
    measure.run(campaign, on=[Simulated(n) for n in "abcd"])
    check_whole(campaign)


def test_a_link_that_comes_back_and_a_worker_that_dies_lose_nothing(campaign):
    boards = [Simulated(n) for n in "abc"]
    boards.append(Simulated("d", accidents={2: HostLostError("x"), 4: WorkerDiedError("y")}))
    for board in boards[:3]:
        board.waits_for = (boards[3], 4)
    measure.run(campaign, on=boards)
    check_whole(campaign)
    assert boards[3].reconnects == 1


def test_a_board_of_another_kind_is_told(campaign):
    class Other(Simulated):
        def start(self, target, protocol, own=None):
            worker = super().start(target, protocol, own)
            ask = worker.ask

            def slower(request, timeout_s):
                answer = ask(request, timeout_s)
                return {**answer, "samples_ms": [1.3 * x for x in answer["samples_ms"]]}

            worker.ask = slower
            return worker

    measure.run(campaign, on=[Simulated(n) for n in "abc"])
    campaign.plan_runs(5)
    # Networks of boards that are not there any more are anyone's.
    other, patient = Other("d"), Simulated("e")
    patient.waits_for = (other, NETWORKS)
    measure.run(campaign, on=[other, patient])
    (told,) = (w for w in measure.results(campaign).warnings if "another board" in w)
    assert re.search(r"simulated:d takes \+(29|30|31)\.", told)


def test_who_shared_networks_with_a_board_of_another_kind_alone_is_not_told():
    """Their gaps are equally large; without the other one the rest agree."""
    truth = np.log(np.arange(2.0, 26.0))
    runs = [("a", n) for n in range(16)] + [("b", n) for n in range(16)]
    runs += [("c", n) for n in range(16, 24)] + [("d", n) for n in range(8, 24)]
    hosts, network = (np.array(column) for column in zip(*runs, strict=True))
    for noise in np.random.default_rng(0).normal(0, 0.002, (20, len(runs))):
        log = truth[network] + np.where(hosts == "d", np.log(1.3), 0) + noise
        assert [name for name, _ in boards_apart(log, network, hosts)] == ["d"]


def spread(shares, speeds, items, *, dies=None):
    """What boards of such speeds make of shares: (runs of each, time) by simulated time."""
    left = list(items)
    shares.put(left)
    now, queue, made = 0.0, [(0.0, b) for b in range(len(speeds))], Counter()
    while queue:
        now, board = heapq.heappop(queue)
        if dies and board == dies[0] and now >= dies[1]:
            shares.leave(board)
            continue
        if shares.take(board) is not None:
            made[board] += 1
            heapq.heappush(queue, (now + speeds[board], board))
    return made, now


def test_shares_follow_speed():
    items = [Item(n, 0, 0) for n in range(400)]
    made, took = spread(Shares(4), [1, 1, 1, 2], items)
    assert sum(made.values()) == 400
    assert took <= 400 / 3.5 / 0.9
    assert made[3] == pytest.approx(made[0] / 2, abs=1)


def test_networks_go_on_where_they_began_and_are_stolen_at_the_end():
    shares = Shares(2)
    shares.put([Item(n, 0, 0) for n in range(4)])
    assert [shares.take(b).network for b in (0, 1, 0, 0)] == [0, 1, 2, 3]
    shares.put([Item(n, 1, 0) for n in range(4)])
    assert [shares.take(b).network for b in (1, 0, 1)] == [1, 0, 3]
    shares.leave(1)
    shares.put([Item(1, 2, 0)])
    assert [shares.take(0).network, shares.take(0).network] == [2, 1]
    assert shares.take(0) is None


def test_a_share_of_a_board_that_is_gone_goes_on_elsewhere():
    shares = Shares(4)
    spread(shares, [1, 1, 1, 1], [Item(n, 0, 0) for n in range(40)])
    made, _ = spread(shares, [1, 1, 1, 1], [Item(n, 1, 0) for n in range(40)], dies=(2, 3))
    assert sum(made.values()) == 40
    assert made[2] <= 4


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"hosts": ("simulated:a", "simulated:a")}, "differ"),
        ({"host": "simulated:a", "hosts": ("simulated:b",)}, "one host"),
    ],
)
def test_hosts_are_named_once(given, match, monkeypatch):
    monkeypatch.setitem(HOSTS._things, "simulated", Simulated)
    with pytest.raises(ValueError, match=match):
        Plan(Target("b", "onnxruntime"), ARCHS, **given)


# --- several targets ------------------------------------------------------------------------------

FLEET = """
[[target]]
name = "raspberry-pi-4"
hosts = ["simulated:a", "simulated:b"]
runtime = "ncnn"
threads = 4

[[target]]
hosts = ["simulated:c"]
"""


@pytest.fixture
def fleet_file(tmp_path, monkeypatch):
    monkeypatch.setitem(HOSTS._things, "simulated", Simulated)

    def write(text):
        (tmp_path / "fleet.toml").write_text(text)
        return tmp_path / "fleet.toml"

    return write


def test_a_fleet_is_read(fleet_file):
    first, second = measure.read_fleet(fleet_file("\ufeff" + FLEET))
    assert first.hosts == ("simulated:a", "simulated:b")
    assert first.settings == {"name": "raspberry-pi-4", "runtime": "ncnn", "threads": 4}
    assert (first.label, second.label) == ("raspberry-pi-4-ncnn-4", "")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("[[target]]", "[target]"), "TOML|target"),
        (("[[target]]", "[[targets]]"), r"must hold \[\[target\]\].*it holds targets"),
        (('hosts = ["simulated:c"]', ""), "hosts of .* 2 .* must be a list of texts; got None"),
        (('"simulated:c"', "3"), r"must be a list of texts; got \[3\]"),
        (("threads", "thread"), "no setting is called 'thread'.*threads"),
        (("threads = 4", 'threads = "4"'), "threads of .* must be of type int; got '4'"),
        (("threads = 4", "threads = true"), "threads of .* must be of type int; got True"),
        (('"simulated:c"', '"simulated:a"'), "every host once; simulated:a"),
        (('["simulated:c"]', '["-oProxyCommand=x"]'), "2 .*host"),
        ((FLEET, ""), "it holds nothing"),
    ],
)
def test_what_is_no_fleet_is_refused(fleet_file, change, match):
    with pytest.raises(ValueError, match=match):
        measure.read_fleet(fleet_file(FLEET.replace(*change)))


def test_campaigns_of_other_targets_run_side_by_side(tmp_path, monkeypatch):
    made = {}

    def simulated(name):
        accidents = {3: HostError("gone")} if name == "c" else {}
        return made.setdefault(name, Simulated(name, accidents=accidents))

    monkeypatch.setitem(HOSTS._things, "simulated", simulated)
    paths = []
    for device, names in (("board", "ab"), ("other", "c")):
        hosts = tuple(f"simulated:{name}" for name in names)
        plan = Plan(Target(device, "onnxruntime"), ARCHS, Protocol(runs=3), hosts=hosts)
        paths.append(tmp_path / device)
        measure.open_or_resume(paths[-1], plan).close()
    told = []
    failed = measure.run_side_by_side(
        paths, on_progress=lambda path, p: told.append((path, p.done))
    )
    assert failed.keys() == {paths[1]}
    with measure.CampaignFile.open(paths[0]) as whole:
        check_whole(whole)
    assert (paths[0], 3 * NETWORKS) in told


def test_an_interrupted_fleet_stops_and_goes_on(campaign):
    names = campaign.plan()["hosts"]
    path = campaign.path

    def interrupt(*_):
        raise KeyboardInterrupt

    assert len(names) == 4
    failed = measure.run_side_by_side([path], time_budget_s=0)
    assert not failed
    with pytest.raises(KeyboardInterrupt):
        measure.run_side_by_side([path], on_progress=interrupt)
    measure.run_side_by_side([path])
    check_whole(campaign)


def test_who_interrupts_does_not_wait_for_a_lost_board(tmp_path, campaign, monkeypatch):
    monkeypatch.setattr(_session, "_LOOK_S", 0.01)
    hosts = {name: Simulated(name) for name in "abcd"}
    hosts["d"].accidents = {1: HostLostError("the link broke")}
    given_up = Event()

    def wait():
        assert given_up.wait(60), "nobody gave it up"
        raise HostError("it is waited for no longer")

    hosts["d"].reconnect, hosts["d"].close = wait, given_up.set
    for name in "abc":
        hosts[name].waits_for = (hosts["d"], 1)
    monkeypatch.setitem(HOSTS._things, "simulated", hosts.__getitem__)

    def interrupt(_, progress):
        if progress.lost:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.run_side_by_side([campaign.path], on_progress=interrupt)
    assert given_up.is_set()


class Cooling(Simulated):
    """Waits in its first run, as a warm phone does, until nobody waits any longer."""

    def __init__(self, name):
        super().__init__(name)
        self.given_up = Event()
        self.stop_waiting = self.given_up.set

    def start(self, target, protocol, own=None):
        worker = super().start(target, protocol, own)

        def wait(request, timeout_s):
            self.runs += 1
            assert self.given_up.wait(60), "nobody gave it up"
            raise HostError("it is waited for no longer")

        worker.ask = wait
        return worker


def beside_a_warm_one(monkeypatch):
    """Four hosts by their names; the last is warm, and the others make their runs after its."""
    monkeypatch.setattr(_session, "_LOOK_S", 0.01)
    hosts = {name: Cooling(name) if name == "d" else Simulated(name) for name in "abcd"}
    for name in "abc":
        hosts[name].waits_for = (hosts["d"], 1)
    monkeypatch.setitem(HOSTS._things, "simulated", hosts.__getitem__)
    return hosts


def test_who_interrupts_does_not_wait_for_a_phone_to_cool(campaign, monkeypatch):
    hosts = beside_a_warm_one(monkeypatch)

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.run(campaign, on_progress=interrupt)
    assert hosts["d"].given_up.is_set()


def test_a_campaign_that_stops_does_not_wait_for_a_phone_to_cool(campaign, monkeypatch):
    hosts = beside_a_warm_one(monkeypatch)
    stop = Event()
    measure.run(campaign, on_progress=lambda _: stop.set(), stop=stop)
    assert hosts["d"].given_up.is_set()
    assert 0 < campaign.counts()[0] < 3 * NETWORKS


def test_an_interrupted_fleet_waits_for_no_target_whose_phone_is_to_cool(tmp_path, monkeypatch):
    hosts = beside_a_warm_one(monkeypatch)
    paths = []
    for name in "ad":
        plan = Plan(Target(name, "onnxruntime"), ARCHS, Protocol(runs=3), host=f"simulated:{name}")
        paths.append(tmp_path / name)
        measure.open_or_resume(paths[-1], plan).close()

    def interrupt(path, progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.run_side_by_side(paths, on_progress=interrupt)
    assert hosts["d"].given_up.is_set()


class Enduring(Simulated):
    """Its sustained runs last until somebody ends the worker, or closes the host."""

    def __init__(self, name):
        super().__init__(name)
        self.begun, self.ended = Event(), Event()

    def start(self, target, protocol, own=None):
        worker, self.ended = super().start(target, protocol, own), Event()
        short, ended = worker.ask, self.ended

        def ask(request, timeout_s):
            if "sustain_s" not in request:
                return short(request, timeout_s)
            self.begun.set()
            assert ended.wait(60), "nobody ended it"
            return self.outcome()

        worker.ask, worker.close = ask, ended.set
        return worker

    def outcome(self):
        raise WorkerDiedError("the runtime's process was ended by SIGKILL (out of memory?)")


class Emptied(Enduring):
    """As a phone, whose networks are taken away when the worker is closed."""

    def outcome(self):
        return {"failed": "benchmark_model ended with code 1: no such file"}


class Unlinked(Enduring):
    """As a machine by a link, which is closed with the host."""

    def close(self):
        self.ended.set()

    def outcome(self):
        raise HostLostError("the link was closed")

    def reconnect(self):
        raise HostError("it does not come back")


@pytest.mark.parametrize("kind", [Enduring, Emptied, Unlinked])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_who_interrupts_a_fleet_does_not_wait_for_sustained_runs(
    tmp_path, monkeypatch, kind, names
):
    monkeypatch.setattr(_session, "_LOOK_S", 0.01)
    monkeypatch.setattr(_fleet, "_GRACE_S", 0.01)
    hosts = {name: kind(name) for name in names}
    monkeypatch.setitem(HOSTS._things, "simulated", hosts.__getitem__)
    plan = Plan(
        Target("board", "onnxruntime"), ARCHS[:4], Protocol(runs=2), sustain_s=1800.0,
        hosts=tuple(f"simulated:{name}" for name in names),
    )  # fmt: skip
    path = tmp_path / "long.campaign"
    measure.open_or_resume(path, plan).close()

    def begun_and_interrupted(futures):
        assert any(host.begun.wait(60) for host in hosts.values())
        raise KeyboardInterrupt

    monkeypatch.setattr(_fleet, "as_completed", begun_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure.run_side_by_side([path])
    with measure.CampaignFile.open(path) as kept:
        # It is the fault of no network, and what was measured is kept.
        assert kept.counts()[0] == 2 * 4
        assert not kept.failures()
        assert not any(kept.deaths(n) for n in range(4))
        assert not list(kept.sustained_runs())
    assert all(host.held == 0 for host in hosts.values())


@pytest.fixture
def made(monkeypatch):
    """Hosts by their names; what shall happen to them is put there before."""
    hosts = {}

    def simulated(name):
        accidents = hosts.pop(f"accidents of {name}", {})
        return hosts.setdefault(name, Simulated(name, accidents=accidents))

    monkeypatch.setitem(HOSTS._things, "simulated", simulated)
    return hosts


FEW = ("--samples", 6, "--runs", 2)


def test_a_fleet_by_the_command_line(latcast, tmp_path, made):
    (tmp_path / "fleet.toml").write_text(FLEET.replace('runtime = "ncnn"', 'runtime = "openvino"'))
    out = tmp_path / "f.parquet"
    found = latcast.json("measure", *FEW, "--hosts", tmp_path / "fleet.toml", "--out", out)
    names = ["raspberry-pi-4/openvino/b1/t4", "board/onnxruntime/b1/t1"]
    assert [campaign["target"] for campaign in found["campaigns"]] == names
    assert found["failed"] == found["left_out"] == {}
    runs = found["runs_by_host"]
    assert runs.get("simulated:a", 0) + runs.get("simulated:b", 0) == runs["simulated:c"] == 12
    for campaign in found["campaigns"]:
        data = datasets.read(campaign["dataset"])
        assert (str(data.target), len(data)) == (campaign["target"], 6)
    text = latcast("measure", "--resume", "--out", out)
    assert "wrote" in text.stderr
    assert "raspberry-pi-4/openvino" in text.stdout
    again = latcast("measure", *FEW, "--hosts", tmp_path / "fleet.toml", "--out", out, code=2)
    assert "holds a campaign already" in again.stderr


def test_a_target_that_fails_does_not_take_the_others_away(latcast, tmp_path, made):
    (tmp_path / "fleet.toml").write_text(FLEET.replace('runtime = "ncnn"', 'runtime = "openvino"'))
    made["a"] = Simulated("a", accidents={"facts": HostError("it sleeps")})
    made["b"] = Simulated("b", accidents={2: HostError("its disk is full")})
    made["a"].waits_for = (made["b"], 2)
    made["accidents of c"] = {2: HostError("it burns")}
    out = tmp_path / "f.parquet"
    fleet = ("--hosts", tmp_path / "fleet.toml", "--out", out)
    found = json.loads(latcast("measure", *FEW, *fleet, "--json", code=1, partly=True).stdout)
    (path,) = found["failed"]
    assert path.endswith("f-here.campaign")
    assert "it burns" in found["failed"][path]
    assert found["left_out"] == {"simulated:b": "its disk is full"}
    made["c"].accidents.clear()
    found = latcast.json("measure", "--resume", *fleet)
    assert not found["failed"]
    assert len(found["campaigns"]) == 2
