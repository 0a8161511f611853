"""Several campaigns that take turns on one host."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from latcast import measure
from latcast.measure import _fleet, _session, results
from latcast.measure._machine import machine_lock

pytestmark = pytest.mark.worker


@pytest.fixture
def two_campaigns(tmp_path, make_plan):
    """Of two targets, twelve networks each."""
    plans = make_plan([224] * 12, runs=2), make_plan([240] * 12, runs=2)
    with ExitStack() as stack:
        yield [
            stack.enter_context(measure.open_or_resume(tmp_path / name, plan))
            for name, plan in zip("ab", plans, strict=True)
        ]


def test_several_campaigns_take_turns(two_campaigns, monkeypatch):
    monkeypatch.setattr(_fleet, "TURN", 4)
    told = []
    measure.run_in_turns(two_campaigns, on_progress=told.append)
    runs = sorted((r.time_s, n) for n, c in enumerate(two_campaigns) for r in c.runs())
    assert [n for _, n in runs] == 6 * ([0] * 4 + [1] * 4)
    # A process of its own each turn: what one leaves behind is not there for the next.
    assert [len(c.processes()) for c in two_campaigns] == [6, 6]
    assert (told[3].done, told[3].total, told[-1].done, told[-1].total) == (4, 24, 48, 48)
    assert all(len(results(c).dataset) == 12 for c in two_campaigns)
    measure.run_in_turns(two_campaigns)  # nothing is left
    assert [c.counts()[0] for c in two_campaigns] == [24, 24]


def test_several_campaigns_share_a_time_budget(two_campaigns, monkeypatch):
    monkeypatch.setattr(_fleet, "TURN", 4)
    monkeypatch.setattr(_session, "PROBE", 2)
    clock = SimpleNamespace(
        monotonic=lambda: 0.1 * sum(c.counts()[1] for c in two_campaigns), time=time.time
    )
    for module in (_session, _fleet):
        monkeypatch.setattr(module, "time", clock)  # 0.1 s a run
    measure.run_in_turns(two_campaigns, time_budget_s=3.2)
    extents = [c.extent() for c in two_campaigns]
    assert 7 <= min(extents) <= max(extents) <= 9
    assert all(len(results(c).dataset) >= 6 for c in two_campaigns)


def test_no_file_is_left_where_another_campaign_is_measuring(two_campaigns, tmp_path):
    with (
        machine_lock(tmp_path / "other.campaign"),
        pytest.raises(measure.CampaignRunningError),
    ):
        measure.run_in_turns(two_campaigns)
    assert not any(campaign.path.exists() for campaign in two_campaigns)
