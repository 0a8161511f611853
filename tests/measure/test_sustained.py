"""Sustained runs: what they tell of machines that throttle, and of those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from latcast.data import read
from latcast.measure import (
    CampaignFile,
    Plan,
    Progress,
    _machine,
    conclude,
    open_or_resume,
    quantity_datasets,
    run,
    run_in_turns,
)
from latcast.measure._campaign_file import Run
from latcast.measure._record import dataset_path
from latcast.measure._sustained import (
    ROUND,
    SustainedNetwork,
    Watch,
    cool_down,
    sustain,
    sustained_parts,
)
from latcast.report.record import read_record, text_of


class Machine:
    """A clock that passes move, and a machine that throttles after some seconds."""

    def __init__(self, pass_ms, hot_after_s=np.inf, events=None, mhz=(3000.0, 1500.0)):
        self.now, self.ms = 0.0, pass_ms
        self.hot_after_s, self.events, self.mhz = hot_after_s, events, mhz
        self.noise = np.random.default_rng(0)

    def time(self, repeats):
        slower = 1.5 if self.now > self.hot_after_s else 1.0
        lasted = repeats * self.ms / 1000 * slower * self.noise.normal(1, 0.01)
        self.now += lasted
        return lasted

    def look(self):
        is_hot = self.now > self.hot_after_s
        events = None if self.events is None else 7 + self.events * is_hot
        clock = None if self.mhz is None else self.mhz[is_hot]
        return _machine.Snapshot(self.now, 0, None, None, events, clock, 60.0 + 30 * is_hot)

    def sustained(self, seconds):
        told = sustain(self, seconds, Watch(lambda: self.now, self.look),
                       timer_s=1e-7, overhead=1e-4)  # fmt: skip
        nothing = (np.array([]), np.array([]))
        told["doubts"] = ["other programs kept 1.3 CPUs busy"] if self.mhz is None else []
        return Run(0, ROUND, 0, 1, 0.0, True, np.array(told.pop("samples_ms")), nothing, told)


@pytest.mark.parametrize(
    ("machine", "throttled", "reason"),
    [
        (Machine(5.0), False, "not slower by more than 3 %"),
        (Machine(5.0, 40), True, "the clock fell from 3000 to 1500 MHz"),
        (Machine(5.0, 40, events=3, mhz=None), True, "counted throttling (3)"),
        (Machine(5.0, 40, mhz=None), None, "nor of throttling; meanwhile other programs kept 1.3"),
        (Machine(5.0, 40, mhz=(3000.0, 3000.0)), False, "though the clock stayed"),
        (Machine(5.0, 40, events=0, mhz=None), False, "counted no throttling"),
    ],
)
def test_throttling_is_a_result(machine, throttled, reason):
    found = SustainedNetwork.of("net", machine.sustained(120))
    assert found.first_ms == pytest.approx(5, rel=0.01)
    assert found.throttled is throttled
    assert reason in found.reason
    is_slower = machine.hot_after_s < 100
    level = 7.5 if is_slower else 5.0
    assert found.steady_ms == pytest.approx(level, rel=0.005)
    assert found.steady_lower_ms < level * 1.001
    assert found.steady_upper_ms > level * 0.999
    assert found.ratio == pytest.approx(level / 5, rel=0.01)
    assert found.steady_after_s is not None
    if is_slower:
        assert found.slower_after_s == pytest.approx(40, abs=3)
        assert found.steady_after_s >= 39
        assert (found.first_temperature_c, found.highest_temperature_c) == (60, 90)
    else:
        assert found.slower_after_s is None
    assert found.seconds == pytest.approx(120, abs=1)
    assert found.passes == pytest.approx(40_000 / 5 + 80_000 / level, rel=0.02)
    text = text_of(sustained_parts([found]))
    assert "passes back to back:" in text
    assert found.verdict in text


@pytest.mark.parametrize(("seconds", "step_s"), [(20, 0.05), (1800, 1.0), (7200, 4.0)])
def test_a_series_has_few_points_however_long(seconds, step_s):
    machine = Machine(20.0)
    run_ = machine.sustained(seconds)
    ends = np.array(run_.details["sustained"]["ends_s"])
    assert np.median(np.diff(ends)) == pytest.approx(step_s, abs=0.03)
    assert len(ends) <= 1801
    assert run_.details["sustained"]["first_ms"] == pytest.approx(20, rel=0.01)


def test_short_passes_are_timed_together():
    assert Machine(0.1).sustained(1).details["repeats"] in (10, 11)


def test_a_machine_is_left_to_cool_down():
    heat, slept = [90.0, 80.0, 72.0, 71.5, 60.0], []
    cool_down(60, temperature_c=lambda: heat.pop(0), sleep=slept.append)
    assert slept == [10.0] * 3
    for seconds, rest in ((60, 6.0), (1800, 10.0)):
        slept.clear()
        cool_down(seconds, temperature_c=lambda: None, sleep=slept.append)
        assert slept == [rest]


# --- campaigns ----------------------------------------------------------------------------------


@pytest.fixture
def plan(make_plan, fake):
    short = make_plan([224, 240], runs=2, kind=fake.Throttling)
    return Plan(short.target, short.networks, short.protocol, short.seed, short.runtime,
                sustain_s=100)  # fmt: skip


@pytest.mark.slow
def test_sustained_runs_follow_all_others(plan, tmp_path):
    path, told = tmp_path / "a.campaign", list[Progress]()
    with open_or_resume(path, plan) as campaign:
        run(campaign, on_progress=told.append, sustains=False)
        assert campaign.sustained_runs() == []
        run(campaign, on_progress=told.append)  # what it lacks, and nothing twice
        run(campaign, on_progress=told.append)
        data, record = conclude(campaign, str(path.with_suffix(".parquet")))
        others = quantity_datasets(campaign, data)
        assert campaign.counts() == (6, 6)
        assert len(campaign.runs()) == 4
        last = campaign.runs()[-1].process
        assert all(long.process > last for long in campaign.sustained_runs())
    assert [(p.done, p.total) for p in told] == [(n, 6) for n in range(1, 7)]
    assert told[3].seconds_left == pytest.approx(200)
    for network, ms in zip(record.sustained, data.latency_ms, strict=True):
        assert network.throttled
        assert network.first_ms == pytest.approx(ms, rel=0.01)
        assert network.ratio == pytest.approx(2, rel=0.02)
        assert network.slower_after_s == pytest.approx(40, abs=3)
    assert record.to_dict()["sustained"][0]["series"][-1]["clock_mhz"] == 1500
    assert "throttled, +100 % after" in record.to_text()
    assert read_record(record.to_dict()) == record
    figures = [figure.title for figure in record.figures()]
    titles = ["row 0 back to back", "row 0 back to back: clock, MHz"]
    assert figures[:2] == titles
    assert all(figure.to_svg() for figure in record.figures())
    (steady,) = others.values()
    assert list(record.datasets) == ["sustained"]
    saved = tmp_path / dataset_path("cpu.parquet", "sustained")
    steady.save(saved)
    assert read(saved).values == pytest.approx(2 * data.latency_ms, rel=0.02)
    assert "back to back for 100 s" in steady.provenance["method"]


@pytest.mark.slow
def test_of_campaigns_in_turns_they_are_the_last(plan, tmp_path):
    with open_or_resume(tmp_path / "a", plan) as a, open_or_resume(tmp_path / "b", plan) as b:
        run_in_turns([a, b])
        times = [[[r.time_s for r in runs] for runs in (x.runs(), x.sustained_runs())]
                 for x in (a, b)]  # fmt: skip
    assert [len(long) for _, long in times] == [2, 2]
    assert max(max(short) for short, _ in times) < min(min(long) for _, long in times)


def test_sustained_runs_are_for_few_networks(plan, make_plan):
    with pytest.raises(ValueError, match="at most 20 networks; got 21, which would"):
        Plan(plan.target, make_plan([224] * 21).networks, sustain_s=1800)
    assert "sustain_s" not in make_plan([224]).record()


def test_a_campaign_goes_on_with_as_long_runs(plan, tmp_path):
    path = tmp_path / "a.campaign"
    open_or_resume(path, plan).close()
    with pytest.raises(ValueError, match="sustain_s was 100, got 50"):
        open_or_resume(path, Plan(plan.target, plan.networks, plan.protocol, plan.seed,
                                  plan.runtime, sustain_s=50), resume=True)  # fmt: skip
    with CampaignFile.open(path) as campaign:
        assert campaign.plan()["sustain_s"] == 100
