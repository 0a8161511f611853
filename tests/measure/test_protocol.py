from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from latcast.measure import Protocol, _protocol, _worker
from latcast.measure._protocol import median_half_width, time_network, timer_cost
from latcast.measure.runtimes import LoadedNetwork


class Scripted(LoadedNetwork):
    """Takes what ``seconds`` gives for the n-th pass."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.passes = 0
        self.blocks: list[int] = []

    def run(self):
        self.passes += 1

    def output(self):
        return np.zeros(1, np.float32)

    def time(self, repeats):
        self.blocks.append(repeats)
        total = sum(self.seconds(self.passes + i) for i in range(repeats))
        self.passes += repeats
        return total


def steady(seconds):
    return Scripted(lambda _: seconds)


PROTOCOL = Protocol(warm_up_s=0.05, run_s=0.2, min_samples=5, half_width=0.0)


def test_a_steady_network_gives_its_time():
    timing = time_network(steady(0.01), steady(0.004), PROTOCOL, 1e-7)
    assert timing.median_ms == pytest.approx(10)
    assert timing.samples_ms == pytest.approx([10] * 20)  # run_s / 0.01
    assert [np.median(r) for r in timing.reference_ms] == pytest.approx([4, 4])
    assert timing.doubts == ()


def test_warm_up_lasts_and_its_passes_do_not_count():
    slow_start = Scripted(lambda n: 0.03 if n < 2 else 0.01)
    timing = time_network(slow_start, steady(0.004), PROTOCOL, 1e-7)
    assert max(timing.samples_ms) == pytest.approx(10)


def test_short_networks_are_timed_in_blocks():
    network = steady(20e-6)
    timing = time_network(network, steady(0.004), PROTOCOL, 100e-9)
    # 100 ns of clock in 1e-4 of a sample: a sample lasts 1 ms, which is 50 passes.
    assert timing.repeats == 50
    assert network.blocks[-1] == 50
    assert timing.median_ms == pytest.approx(0.02)


def test_all_inference_is_counted():
    network, reference = steady(0.01), steady(0.004)
    timing = time_network(network, reference, PROTOCOL, 1e-7)
    expected = network.passes * 0.01 + reference.passes * 0.004
    assert timing.inference_s == pytest.approx(expected, rel=0.01)


def test_a_run_ends_when_the_median_is_known_or_its_least_samples_are_taken():
    protocol = Protocol(run_s=10, half_width=0.01, min_samples=6)
    timing = time_network(steady(0.01), steady(0.004), protocol, 1e-7)
    assert len(timing.samples_ms) < 20
    timing = time_network(steady(3.0), steady(0.004), PROTOCOL, 1e-7)
    assert len(timing.samples_ms) == PROTOCOL.min_samples


def test_halves_and_references_that_disagree_raise_a_doubt():
    network = Scripted(lambda n: 0.01 if n < 15 else 0.0115)
    (doubt,) = time_network(network, steady(0.004), PROTOCOL, 1e-7).doubts
    assert doubt.startswith("the run's halves disagree by")
    reference = Scripted(lambda n: 0.004 if n < 6 else 0.005)
    doubts = time_network(steady(0.01), reference, PROTOCOL, 1e-7).doubts
    assert doubts == ("the reference network disagree by 25.0 %",)


@pytest.mark.parametrize(
    ("cpu_s", "expected"),
    [(0.02, 0.02), (0.06, 0.05), (1e-4, 0.05)],
    ids=["others had the CPU", "two threads", "computed in another process"],
)
def test_passes_are_timed_without_their_waiting_for_a_cpu(monkeypatch, cpu_s, expected):
    readings = iter([1.0, 1.0 + cpu_s])
    monkeypatch.setattr(_worker.time, "process_time", lambda: next(readings))
    assert _worker.CpuTimed(steady(0.05)).time(1) == pytest.approx(expected)


def test_a_pass_that_waits_for_long_is_no_sign_of_another_process(monkeypatch):
    readings = iter([1.0, 1.04, 2.0, 2.0005, 3.0, 3.0005])
    monkeypatch.setattr(_worker.time, "process_time", lambda: next(readings))
    here, elsewhere = _worker.CpuTimed(steady(0.05)), _worker.CpuTimed(steady(0.05))
    assert [here.time(1), here.time(1)] == pytest.approx([0.04, 0.0005])
    assert elsewhere.time(1) == pytest.approx(0.05)


@pytest.mark.parametrize("n", [5, 6, 20, 101, 1000])
def test_half_width_covers_the_median_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(400):
        samples = rng.exponential(1.0, n) + 1
        if np.isinf(width := median_half_width(samples)):
            assert n < 6
            return
        covered += abs(np.median(samples) - (1 + np.log(2))) <= 2 * width * np.median(samples)
    # The interval is not symmetric: twice its half-width is at least its longer side.
    assert covered / 400 >= 0.93


def test_half_width_by_hand():
    # n = 16: ranks 7.5 ± 3.92, so values 3 and 12 of 0 … 15, median 7.5, offset by 10.
    samples = np.arange(16.0) + 10
    assert median_half_width(samples) == pytest.approx((22 - 13) / 2 / 17.5)


def test_the_clock_takes_less_than_a_pass():
    assert 0 < timer_cost() < 1e-4
    assert time.get_clock_info("perf_counter").monotonic


@pytest.mark.parametrize(
    ("setting", "value"), [("runs", 0), ("min_samples", 0), ("run_s", -1), ("redo", -1),
                           ("half_width", float("nan"))]
)  # fmt: skip
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be at least"):
        Protocol(**{setting: value})


def test_the_share_of_the_cpu_is_that_of_timed_passes(monkeypatch):
    """A clock on which every second pass of the process has to wait for its CPU as long again."""
    clock = SimpleNamespace(wall=0.0, cpu=0.0)

    class Waiting(Scripted):
        def time(self, repeats):
            taken = super().time(repeats)
            clock.wall, clock.cpu = clock.wall + 1.5 * taken, clock.cpu + taken
            return taken

    times = SimpleNamespace(perf_counter=lambda: clock.wall, process_time=lambda: clock.cpu)
    monkeypatch.setattr(_protocol, "time", times)
    timing = time_network(Waiting(lambda _: 0.01), steady(0.004), PROTOCOL, 1e-7)
    assert timing.cpu_share == pytest.approx(1 / 1.5)
