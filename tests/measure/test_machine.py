from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.measure import _machine
from latcast.measure._machine import Snapshot, changes, setting_doubts, snapshot


def test_busy_and_stolen_seconds_by_hand():
    text = "cpu  100 20 30 4000 50 6 7 80 0 0\ncpu0 1 2 3\n"
    assert _machine._proc_stat(text) == (pytest.approx(1.63), pytest.approx(0.8))


@pytest.mark.slow
@given(st.text())
def test_hostile_proc_stat_is_unknown_or_read(text):
    busy, steal = _machine._proc_stat(text)
    assert (busy is None) == (steal is None)


BEFORE = Snapshot(10.0, 1.0, 100.0, 5.0, 3, 2600.0)


def test_changes_by_hand():
    after = Snapshot(20.0, 9.0, 113.0, 5.5, 4, 2500.0)
    assert changes(BEFORE, after) == pytest.approx(
        {"seconds": 10, "own_cpus": 0.8, "other_cpus": 0.5, "steal": 0.05, "throttled": 1,
         "clock_mhz": 2500}
    )  # fmt: skip


def test_what_is_not_known_is_left_out():
    after = replace(BEFORE, time_s=11.0, busy_s=None, steal_s=None, throttled=None, clock_mhz=None)
    assert set(changes(BEFORE, after)) == {"seconds", "own_cpus"}


def test_the_real_machine():
    before = snapshot([0])
    sum(range(2_000_000))
    found = changes(before, snapshot([0]))
    assert found["seconds"] > 0
    assert 0 <= found["own_cpus"] < 64


def test_scaled_clocks_are_a_doubt():
    assert setting_doubts({"governor": "performance"}) == []
    assert setting_doubts({}) == []
    assert "powersave" in setting_doubts({"governor": "powersave"})[0]
