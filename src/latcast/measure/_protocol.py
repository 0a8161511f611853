"""The timing protocol: how one run of a network is made.

The habits are those of pyperf (raw samples are the record, warm-ups apart, warnings with every
result), applied to one network at a time; how runs are spread over rounds and processes is the
campaign's part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from latcast.math.order_statistics import median_interval

from .runtimes import LoadedNetwork


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of a campaign's runs.

    Attributes:
        runs: runs of every network, each in another round.
        runs_per_process: a worker process is replaced after so many, and after every round.
        warm_up_s: seconds a network runs before it is timed (at least twice).
        run_s: seconds of timed passes at most.
        min_samples: samples at least, even if they take longer than ``run_s``.
        half_width: a run ends early when the half-width of the median's 95 % confidence
            interval is below this share of it.
        reference_s: seconds the reference network is timed, before and after each run.
        timer_overhead: share of a sample that reading the clock may take; short networks are
            run several times a sample.
        halves_disagree: a run is made again when the medians of its halves differ by more
            than this share.
        reference_disagrees: the same for the reference network before and after; and how far it
            may be from its level in a run that counts as one of a quiet machine.
        other_cpus: a run is made again when other programs kept more CPUs busy meanwhile, unless
            its passes are timed by their CPU time.
        cpu_share: likewise when timed passes had the CPU for a smaller share of their time.
        redo: how often at most a run is made again.
    """

    runs: int = 4
    runs_per_process: int = 100
    warm_up_s: float = 0.03
    run_s: float = 0.1
    min_samples: int = 6
    half_width: float = 0.001
    reference_s: float = 0.02
    timer_overhead: float = 1e-4
    halves_disagree: float = 0.04
    reference_disagrees: float = 0.08
    other_cpus: float = 0.25
    cpu_share: float = 0.9
    redo: int = 2

    def __post_init__(self) -> None:
        for name in ("runs", "runs_per_process", "min_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("warm_up_s", "run_s", "half_width", "reference_s", "redo"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Timing:
    """The timings of one run; all times in ms but those that say otherwise.

    Attributes:
        samples_ms: time of one pass, a value per sample, in order.
        reference_ms: the same for the reference network, before and after.
        repeats: passes in each sample.
        inference_s: seconds spent in passes: warm-up, timed and reference.
        cpu_share: CPU seconds of this process over those of the clock, during timed passes: below
            1, a thread that computes had to wait for its CPU.
        doubts: why the run should be made again; empty if it need not be.
    """

    samples_ms: tuple[float, ...]
    reference_ms: tuple[tuple[float, ...], tuple[float, ...]]
    repeats: int
    inference_s: float
    cpu_share: float
    doubts: tuple[str, ...] = field(default=())

    @property
    def median_ms(self) -> float:
        """The run's median."""
        return float(np.median(self.samples_ms))


def timer_cost() -> float:
    """Seconds that reading the monotonic clock takes (median of many)."""
    readings = [time.perf_counter_ns() for _ in range(1001)]
    # The clock may tick more slowly than it is read; the mean then says more than the median.
    return max(float(np.mean(np.diff(readings))), 1.0) * 1e-9


def time_network(
    network: LoadedNetwork,
    reference: LoadedNetwork,
    protocol: Protocol,
    timer_s: float,
) -> Timing:
    """Warm up, and time the network between two timings of the reference network.

    Args:
        network: what to time.
        reference: the reference network, loaded in the same process.
        protocol: the settings.
        timer_s: cost of reading the clock (:func:`timer_cost`).
    """
    warm, pass_s = _warm_up(network, protocol.warm_up_s)
    # By the fastest pass of the warm-up: a slow one would give too few repeats, and the clock's
    # cost would be a part of every sample.
    repeats = max(1, ceil(timer_s / protocol.timer_overhead / pass_s))
    before, spent_before = time_reference(reference, protocol)
    network.run()  # the reference has taken over the caches
    started, worked = time.perf_counter(), time.process_time()
    samples = _sample(network, repeats, protocol)
    worked, lasted = time.process_time() - worked, time.perf_counter() - started
    after, spent_after = time_reference(reference, protocol)
    spent = warm + spent_before + pass_s + sum(samples) * repeats + spent_after
    return Timing(
        samples_ms=_ms(samples),
        reference_ms=(_ms(before), _ms(after)),
        repeats=repeats,
        inference_s=spent,
        cpu_share=worked / max(lasted, 1e-9),
        doubts=doubts_of(samples, before, after, protocol),
    )


def median_half_width(samples: Sequence[float]) -> float:
    """Half-width of the median's 95 % confidence interval, as a share of the median.

    Infinite where there are too few samples for one
    (:func:`latcast.math.order_statistics.median_interval`).
    """
    low, high = median_interval(samples)
    return float((high - low) / 2 / np.median(samples))


def _warm_up(network: LoadedNetwork, seconds: float) -> tuple[float, float]:
    """Seconds spent, and those of the fastest pass; the first pass is never counted as one."""
    # The first pass allocates and compiles; it tells nothing of the later ones.
    spent = network.time(1)
    passes: list[float] = []
    while not passes or spent < seconds:
        passes.append(network.time(1))
        spent += passes[-1]
    return spent, max(min(passes), 1e-9)


def _sample(network: LoadedNetwork, repeats: int, protocol: Protocol) -> list[float]:
    samples: list[float] = []
    spent, check = 0.0, protocol.min_samples
    while len(samples) < protocol.min_samples or spent < protocol.run_s:
        block = network.time(repeats)
        samples.append(block / repeats)
        spent += block
        if len(samples) >= check:
            if median_half_width(samples) < protocol.half_width:
                break
            check = ceil(1.25 * check)  # looking costs time, and looking often finds luck
    return samples


def time_reference(reference: LoadedNetwork, protocol: Protocol) -> tuple[list[float], float]:
    """Seconds of passes of the reference network, and those that it took in all."""
    spent = reference.time(1)  # brings it into the caches
    samples: list[float] = []
    # The median of fewer than three has no defence against one interrupted pass.
    while len(samples) < 3 or spent < protocol.reference_s:
        samples.append(reference.time(1))
        spent += samples[-1]
    return samples, spent


def doubts_of(
    samples: Sequence[float], before: Sequence[float], after: Sequence[float], protocol: Protocol
) -> tuple[str, ...]:
    """Why a run should be made again, from its samples and those of the reference network."""
    # A machine that changes its clock within a run, or is pre-empted for long, makes its halves
    # differ; a spike does not move a median.
    half = len(samples) // 2
    found = []
    for what, first, second, max_gap in (
        ("the run's halves", samples[:half], samples[half:], protocol.halves_disagree),
        ("the reference network", before, after, protocol.reference_disagrees),
    ):
        if first and (gap := abs(float(np.median(second) / np.median(first)) - 1)) > max_gap:
            found.append(f"{what} disagree by {100 * gap:.1f} %")
    return tuple(found)


def _ms(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(1000 * s for s in seconds)
