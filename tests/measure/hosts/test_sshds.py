"""A fleet of four boards by sshds of their own: one is half as fast, one dies."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

import latcast
from latcast import measure
from latcast.devices import Target
from latcast.measure import Plan
from latcast.measure.hosts import _remote
from latcast.testing.hosts import QUICK

pytestmark = [pytest.mark.worker, pytest.mark.slow]
SPACE = latcast.space("ofa-mobilenet-v3-w1.0")
ARCHS = SPACE.sample(10, 0, restrict={"r": [224]})
TARGET = Target("board", "my-own", threads=1)
RUNS = len(ARCHS) * QUICK.runs
SLOW, DYING, LAST = "board-2", "board-3", 2
"""Of the boards, one that is slow, and one that dies in the run after so many."""


class Pace:
    """Lets the slow board end a run when the others have made two, however busy the machine is."""

    def __init__(self):
        self.runs, self.is_dead = Counter(), False
        self.changed = threading.Condition()

    def made(self, name):
        with self.changed:
            self.runs[name] += 1
            self.changed.notify_all()
            if name == SLOW:
                assert self.changed.wait_for(self.is_over, timeout=300), "the others wait for it"

    def before(self, name):
        """Lets the others make no more than two runs before the dying one is dead."""
        with self.changed:
            assert name == DYING or self.changed.wait_for(
                lambda: self.is_dead or self.runs[name] < 2, timeout=300
            ), "it must die"

    def dies(self):
        with self.changed:
            self.is_dead = True
            self.changed.notify_all()

    def is_over(self):
        fast = min(self.runs[name] for name in ("board-0", "board-1"))
        return fast >= 2 * self.runs[SLOW] or self.runs.total() >= RUNS


def test_shares_follow_speed_and_results_are_one_boards(servers, tmp_path, monkeypatch):
    monkeypatch.setattr(_remote, "_PATIENCE_S", 1.0)
    pace, ask = Pace(), _remote._Worker.ask

    def paced(worker, request, timeout_s):
        name = worker._board.name
        pace.before(name)
        if name == DYING and pace.runs[name] == LAST:
            servers[3].stop()
            pace.dies()
        answer = ask(worker, request, timeout_s)
        pace.made(name)
        return answer

    monkeypatch.setattr(_remote._Worker, "ask", paced)
    names = tuple(f"ssh:board-{n}" for n in range(4))
    told = []
    with measure.open_or_resume(tmp_path / "a", Plan(TARGET, ARCHS, QUICK, hosts=names)) as shared:
        measure.run(shared, on_progress=told.append)
        runs = Counter((x.network, x.round) for x in shared.runs())
        assert runs == {(n, r): 1 for n in range(len(ARCHS)) for r in range(QUICK.runs)}
        assert not shared.failures()
        assert told[-1].left_out.keys() == {names[3]}
        assert "must come back" in told[-1].left_out[names[3]]
        assert pace.runs[DYING] == LAST
        assert 0 < pace.runs[SLOW] <= min(pace.runs["board-0"], pace.runs["board-1"]) / 2 + 1
        found = measure.corrected_medians(shared)
    monkeypatch.setattr(_remote._Worker, "ask", ask)
    plan = Plan(TARGET, ARCHS, QUICK, host="board-0")
    with measure.open_or_resume(tmp_path / "b", plan) as alone:
        measure.run(alone)
        # Samples scatter by half a percent.
        np.testing.assert_allclose(found, measure.corrected_medians(alone), rtol=0.015)
