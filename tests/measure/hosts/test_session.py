"""What a session makes of a host that is lost, full, or gone for good."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.measure import (
    CampaignRunningError,
    HostError,
    HostLostError,
    Plan,
    Protocol,
    WorkerDiedError,
    _worker,
)
from latcast.measure.hosts import Host, _remote, host
from latcast.measure.hosts.ssh import SSH

SPACE = latcast.space("ofa-mobilenet-v3-w1.0")


class Script(Host):
    """Answers at once, but for the accidents that it is told of, each at the run of its number."""

    kind = "script"
    title = "the script"

    def __init__(self, accidents=()):
        super().__init__()
        self.accidents = dict(accidents)
        self.runs = self.reconnects = self.held = self.started = 0

    facts = check = detect = None

    @contextmanager
    def lock(self, path):
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    def start(self, target, protocol, own=None):
        self.started += 1
        return Worker(self)

    def reconnect(self):
        self.reconnects += 1


Script.__abstractmethods__ = frozenset()


class Worker:
    facts = {"runtime": {"version": "1"}, "machine": {}, "timer_s": 1e-7, "clock": "wall"}  # noqa: RUF012
    pid = 1

    def __init__(self, board):
        self.board, self.is_closed = board, False

    def ask(self, request, timeout_s):
        assert not self.is_closed
        self.board.runs += 1
        accident = self.board.accidents.get(self.board.runs, self.board.accidents.get("always"))
        if isinstance(accident, Exception):
            raise accident
        if accident is not None:
            return accident
        ones = [1.0] * 5
        return {
            "samples_ms": ones, "reference_ms": [ones, ones], "repeats": 1, "inference_s": 0.01,
            "load_s": 0.01, "doubts": [], "machine": {},
        }  # fmt: skip

    def close(self):
        self.is_closed = True


LOST = HostLostError("the link to the board broke")


@pytest.fixture
def campaign(tmp_path):
    plan = Plan(Target("board", "onnxruntime", threads=1), SPACE.sample(4, 0), Protocol(runs=3))
    with measure.open_or_resume(tmp_path / "a", plan) as opened:
        yield opened


def counted(campaign):
    return Counter((x.network, x.round, x.attempt) for x in campaign.runs())


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_link_costs_the_run_in_flight(campaign, seed):
    lost = np.random.default_rng(seed).choice(np.arange(1, 13), 3, replace=False)
    board = Script(dict.fromkeys(lost.tolist(), LOST))
    measure.run(campaign, on=board)
    assert len(counted(campaign)) == campaign.counts()[0] == 12
    assert set(counted(campaign).values()) == {1}
    assert (board.runs, board.reconnects, board.held) == (15, 3, 0)
    assert not campaign.failures()
    assert all(campaign.deaths(n) == 0 for n in range(4)), "the network is not to blame"


def test_a_link_that_breaks_over_and_over_ends_the_campaign(campaign):
    board = Script({"always": LOST})
    with pytest.raises(HostError, match=r"broke; it was lost 6 times .* --resume"):
        measure.run(campaign, on=board)
    assert (board.runs, board.held, campaign.counts()[1]) == (6, 0, 0)
    measure.run(campaign, on=Script())
    assert set(counted(campaign).values()) == {1}


def test_a_host_that_is_waited_for_is_told(campaign):
    told = []
    tell = lambda p: told.append((p.done, p.runs_per_s > 0, dict(p.lost)))  # noqa: E731
    measure.run(campaign, on=Script({1: LOST, 4: LOST}), on_progress=tell)
    lost = {"here": str(LOST)}
    assert told[:3] == [(0, False, lost), (0, False, {}), (1, True, {})]
    assert told[4:6] == [(2, True, lost), (2, True, {})]
    assert told[-1] == (12, True, {})


def test_a_host_that_is_away_at_the_start_is_locked_once_it_is_back(campaign):
    class Late(Script):
        @contextmanager
        def lock(self, path):
            if not self.reconnects:
                raise LOST
            with super().lock(path):
                yield

    board, held = Late(), []
    measure.run(campaign, on=board, on_progress=lambda _: held.append(board.held))
    assert held[-12:] == [1] * 12
    assert board.held == 0


def held(campaign):
    message = f"only one campaign may measure on a machine at a time; {campaign} is being measured"
    return {"error": {"kind": "CampaignRunningError", "message": message}}


OWN = held(f"a.campaign of {socket.gethostname()}")


@pytest.fixture
def far(monkeypatch):
    """A machine whose agent gives one of the answers whenever it is to be locked, and the waits."""

    def make(*answers):
        left, waited = list(answers), []

        class Link:
            def ask(self, request, timeout_s):
                if request["do"] != "lock":
                    return {"answer": None}
                if (answer := left.pop(0)) is LOST:
                    raise LOST
                return answer

            def close(self):
                pass

        board = SSH("board")
        monkeypatch.setattr(board, "_opened", lambda **_: Link())
        monkeypatch.setattr(board._given_up, "wait", lambda s: waited.append(s) or not left)
        return board, left, waited

    return make


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_lock_that_a_dying_agent_still_holds_is_waited_for(far, is_lost):
    """The link broke as it was to be locked, or with a process whose campaign goes on in this."""
    board, left, waited = far(*[LOST] * is_lost, OWN, OWN, {"answer": None})
    if is_lost:
        with pytest.raises(HostLostError), board.lock(Path("a.campaign")):
            pass
        board.reconnect()
    with board.lock(Path("a.campaign")):
        assert not left
    assert waited == [0.25, 0.5]


def test_a_dying_agent_is_waited_for_no_longer_than_it_can_take(far, monkeypatch):
    """Less where no link broke, as of a campaign that somebody measures by another terminal."""
    monkeypatch.setattr(_remote, "_KILLED_S", 0.0)
    board, _, waited = far(OWN)
    with pytest.raises(CampaignRunningError, match=r"on board .*a\.campaign"):
        board.lock(Path("a.campaign")).__enter__()
    assert not waited
    monkeypatch.setattr(_remote, "_CUT_S", 0.0)
    board, left, waited = far(LOST, OWN)
    for error in (HostLostError, CampaignRunningError):
        with pytest.raises(error):
            board.lock(Path("a.campaign")).__enter__()
    assert not left
    assert not waited


def test_who_is_stopped_waits_for_no_lock(far):
    board, left, waited = far(OWN)
    with pytest.raises(HostError, match="board is waited for no longer: go on with --resume"):
        board.lock(Path("a.campaign")).__enter__()
    assert not left
    assert waited == [0.25]


def test_another_campaign_refuses_at_once(far):
    board, _, waited = far(held("other.campaign of elsewhere"))
    with pytest.raises(CampaignRunningError, match=r"other\.campaign of elsewhere"):
        board.lock(Path("a.campaign")).__enter__()
    assert not waited


def test_a_full_disk_there_is_no_fault_of_the_network(campaign):
    with pytest.raises(HostError, match=r"disk of the script .* full \(OSError: no space\)"):
        measure.run(campaign, on=Script({5: {"full": "OSError: no space"}}))
    assert campaign.counts()[0] == 4
    assert not campaign.failures()
    measure.run(campaign, on=Script())
    assert campaign.counts()[0] == 12


def test_deaths_there_count_as_they_do_here(campaign):
    board = Script({2: WorkerDiedError("ended with code 1"), 5: {"failed": "no kernel"}})
    measure.run(campaign, on=board)
    assert list(campaign.failures().values()) == ["no kernel"]
    assert campaign.counts()[0] == 9
    assert board.reconnects == 0


def test_a_full_disk_is_told_from_another_failure(monkeypatch):
    assert _worker._is_disk_full(OSError(errno.ENOSPC, "no space"))
    assert not _worker._is_disk_full(ValueError("no kernel"))
    monkeypatch.setattr(_worker, "_MIN_FREE_BYTES", 2**80)
    assert _worker._is_disk_full(ValueError("write failed"))


@pytest.mark.parametrize("text", ["-oProxyCommand=sh", "ssh:-o", "ssh:", "a b", "bord:x\n", " "])
def test_texts_that_name_no_host_are_refused(text):
    with pytest.raises(ValueError, match="host"):
        host(text)


def test_a_port_is_given_as_ssh_takes_it():
    with pytest.raises(ValueError, match=r"kind of host .*'pi@board'.* is ssh://pi@board:2222$"):
        host("pi@board:2222")
    assert host("ssh://pi@board:2222").text == "ssh:ssh://pi@board:2222"


def test_a_campaign_of_this_machine_says_nothing_of_a_host(campaign):
    assert "host" not in campaign.plan()
    assert Plan(Target("b", "onnxruntime"), SPACE.sample(1, 0), host="here").host == ""
