"""The drift estimator on campaigns of which the drift is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from latcast.math.drift import medians_by_network
from latcast.measure._drift import Drift, Runs, estimate_drift

SIZES = {"small": (40, 4), "middle": (300, 3)}
KINDS = ("steps", "slopes", "bursts", "all")


class Campaign(NamedTuple):
    runs: Runs
    truth: np.ndarray  # logarithms, by architecture
    factor: np.ndarray  # logarithms, by run

    def error(self, ms) -> float:
        """Mean absolute relative error of the architectures, a common factor aside."""
        medians = medians_by_network(self.runs.network, ms, len(self.truth))
        error = np.log(medians) - self.truth
        return float(np.abs(error - np.median(error)).mean())

    def errors(self) -> tuple[float, float, float]:
        """Uncorrected, corrected, and corrected by what the machine really did."""
        ms = self.runs.latency_ms
        corrected = estimate_drift(self.runs).corrected_ms
        return self.error(ms), self.error(corrected), self.error(ms / np.exp(self.factor))


def curve(kind: str, n: int, size: float, rng: np.random.Generator) -> np.ndarray:
    result = np.zeros(n)
    if kind in ("steps", "all"):
        edges = np.sort(rng.choice(n, 5, replace=False))
        levels = rng.choice([-0.5, 0.0, 0.5, 1.0], 6)
        result += size * levels[np.searchsorted(edges, np.arange(n), side="right")]
    if kind in ("slopes", "all"):
        turns = rng.uniform(-0.5, 0.5, 5) + np.array([-0.5, 0.5, -0.5, 0.5, -0.5])
        result += size * np.interp(np.arange(n), np.linspace(0, n, 5), turns)
    if kind in ("bursts", "all"):
        for start in rng.choice(n, n // 60, replace=False):
            result[start : start + int(rng.integers(5, 31))] += size * rng.uniform(0.5, 1.5)
    return result


@cache
def campaign(
    kind: str = "none",
    archs: str = "small",
    *,
    size: float = 0.05,
    noise: float = 0.01,
    offset: float = 0.0,
    loading: float = 1.0,
    reference: bool = True,
    seed: int = 0,
) -> Campaign:
    rng = np.random.default_rng(seed)
    m, rounds = SIZES[archs]
    n = m * rounds
    network = np.concatenate([rng.permutation(m) for _ in range(rounds)])
    process = np.arange(n) // 25
    truth = rng.normal(2, 0.4, m)
    drift = curve(kind, n, size, rng)
    offsets = rng.normal(0, offset, process[-1] + 1)[process]
    heavy = noise * rng.standard_t(3, (n, 3)) / np.sqrt(3)
    before_after = np.exp(1 + loading * drift[:, None] + offsets[:, None] + heavy[:, :2])
    runs = Runs(
        network=network,
        process=process,
        latency_ms=np.exp(truth[network] + drift + offsets + heavy[:, 2]),
        reference_ms=before_after if reference else np.full((n, 2), np.nan),
        time_s=np.cumsum(rng.uniform(1, 3, n)),
    )
    return Campaign(runs, truth, drift + offsets)


@cache
def drift_of(kind: str) -> Drift:
    return estimate_drift(campaign(kind).runs)


def a_few(latency_ms, *, network=None, process=None) -> Runs:
    n = len(latency_ms)
    return Runs(
        network=np.zeros(n, dtype=np.int64) if network is None else network,
        process=np.zeros(n, dtype=np.int64) if process is None else process,
        latency_ms=np.array(latency_ms, dtype=np.float64),
        reference_ms=np.full((n, 2), np.nan),
    )


@pytest.mark.slow
@pytest.mark.parametrize("reference", [True, False], ids=["reference", "runs-only"])
@pytest.mark.parametrize("archs", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_most_of_the_error_by_drift_is_taken_out(kind: str, archs: str, reference: bool) -> None:
    seeds = range(2 if archs == "small" else 1)
    runs = [campaign(kind, archs, offset=0.01, reference=reference, seed=s) for s in seeds]
    raw, corrected, oracle = np.mean([c.errors() for c in runs], axis=0)
    assert corrected < 0.7 * raw
    assert corrected - oracle < 0.3 * (raw - oracle)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.02, 0.1])
def test_small_and_large_drift(kind: str, size: float) -> None:
    runs = [campaign(kind, size=size, noise=0.005, reference=False, seed=s) for s in range(2)]
    raw, corrected, oracle = np.mean([c.errors() for c in runs], axis=0)
    assert corrected - oracle < 0.4 * (raw - oracle)


@pytest.mark.slow
@pytest.mark.parametrize("reference", [True, False], ids=["reference", "runs-only"])
@pytest.mark.parametrize(("archs", "seeds"), [("small", 4), ("middle", 1)])
def test_no_drift_is_invented(archs: str, seeds: int, reference: bool) -> None:
    for seed in range(seeds):
        quiet = campaign(archs=archs, reference=reference, seed=seed)
        drift = estimate_drift(quiet.runs)
        assert np.log(drift.factor).std() < 1e-3
        assert quiet.error(drift.corrected_ms) <= 1.02 * quiet.error(quiet.runs.latency_ms)


def test_offsets_of_processes_are_found() -> None:
    shifted = campaign(archs="middle", offset=0.01, reference=False)
    drift = estimate_drift(shifted.runs)
    raw, corrected, oracle = shifted.errors()
    assert corrected - oracle < 0.2 * (raw - oracle)
    assert drift.process_spread == pytest.approx(0.01, rel=0.5)


def test_processes_may_take_turns() -> None:
    steps = campaign("steps", "middle", reference=False)
    process = np.arange(len(steps.runs)) % 4
    offsets = np.array([-0.03, 0.0, 0.01, 0.03])[process]
    latency = steps.runs.latency_ms * np.exp(offsets)
    runs = replace(steps.runs, process=process, latency_ms=latency)
    turns = Campaign(runs, steps.truth, steps.factor + offsets)
    raw, corrected, oracle = turns.errors()
    assert corrected - oracle < 0.1 * (raw - oracle)


@pytest.mark.slow
@pytest.mark.parametrize("loading", [0.0, 0.3, 2.0])
def test_the_reference_may_feel_less_or_more(loading: float) -> None:
    raw, corrected, oracle = campaign("all", "middle", loading=loading).errors()
    assert corrected - oracle < 0.2 * (raw - oracle)


def test_loading_and_noise_are_estimated() -> None:
    drift = estimate_drift(campaign("steps", "middle", size=0.1, loading=1.5).runs)
    assert drift.loading == pytest.approx(1.5, rel=0.1)
    # Of a single run the standard deviation.
    drift = estimate_drift(campaign("steps", "middle", noise=0.008).runs)
    assert drift.noise == pytest.approx(0.008, rel=0.25)


def test_a_reference_that_drifts_alone_and_single_slow_runs_are_no_drift() -> None:
    quiet = campaign()
    ramp = np.exp(np.linspace(0, 0.2, len(quiet.runs)))
    drift = estimate_drift(replace(quiet.runs, reference_ms=ramp[:, None] * [1.0, 1.0]))
    np.testing.assert_allclose(drift.factor, 1)
    quiet = campaign(reference=False)
    slow = np.where(np.arange(len(quiet.runs)) % 20 == 0, 1.5, 1.0)
    drift = estimate_drift(replace(quiet.runs, latency_ms=slow * quiet.runs.latency_ms))
    np.testing.assert_allclose(drift.factor, 1)


@pytest.mark.parametrize("kind", ["none", "all"])
def test_half_of_the_references_are_enough(kind: str) -> None:
    whole = campaign(kind)
    reference = whole.runs.reference_ms.copy()
    reference[::2, 0] = np.nan
    reference[::3] = np.nan
    half = whole._replace(runs=replace(whole.runs, reference_ms=reference))
    raw, corrected, oracle = half.errors()
    assert corrected - oracle <= 0.3 * (raw - oracle)


def test_without_noise_a_step_is_recovered() -> None:
    network = np.tile(np.arange(10), 4)
    step = np.where(np.arange(40) < 18, 1.0, 1.05)
    drift = estimate_drift(a_few((1 + network) * step, network=network))
    np.testing.assert_allclose(drift.factor / drift.factor[0], step, rtol=1e-3)
    assert drift.range == pytest.approx(0.05, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "all"])
def test_units_do_not_matter(kind: str) -> None:
    runs, first = campaign(kind).runs, drift_of(kind)
    for scale in (1e-3, 7.0):
        second = estimate_drift(replace(runs, latency_ms=scale * runs.latency_ms))
        np.testing.assert_allclose(second.corrected_ms, scale * first.corrected_ms, rtol=1e-6)
        assert second.noise == pytest.approx(first.noise)
    second = estimate_drift(replace(runs, reference_ms=1e3 * runs.reference_ms))
    np.testing.assert_allclose(second.factor, first.factor, rtol=1e-4)


def test_numbers_of_architectures_and_processes_do_not_matter() -> None:
    runs = campaign("all").runs
    rng = np.random.default_rng(1)
    renamed = replace(
        runs, network=rng.permutation(100)[runs.network], process=rng.permutation(9)[runs.process]
    )
    np.testing.assert_array_equal(estimate_drift(renamed).factor, drift_of("all").factor)


def test_times_may_be_left_out() -> None:
    steps = campaign("steps")
    even = steps._replace(runs=replace(steps.runs, time_s=None))
    raw, corrected, oracle = even.errors()
    assert corrected - oracle < 0.3 * (raw - oracle)


def test_the_median_of_the_factor_is_1() -> None:
    drift = drift_of("all")
    assert np.median(drift.factor) == pytest.approx(1, abs=1e-3)
    latency_ms = campaign("all").runs.latency_ms
    np.testing.assert_allclose(drift.corrected_ms * drift.factor, latency_ms)


@pytest.mark.parametrize("latency", [[5.0], [5.0, 5.1, 5.2], [5.0] * 30])
def test_tiny_and_constant_campaigns_do_not_drift(latency: list[float]) -> None:
    drift = estimate_drift(a_few(latency))
    np.testing.assert_array_equal(drift.factor, 1)
    np.testing.assert_array_equal(drift.corrected_ms, latency)
    assert np.isnan(drift.noise) == (len(latency) == 1)


def test_single_runs_and_references_of_zero_say_nothing() -> None:
    drift = estimate_drift(a_few(np.arange(1, 41), network=np.arange(40)))
    np.testing.assert_array_equal(drift.factor, 1)
    assert np.isnan(drift.noise)
    runs = a_few([5.0, 5.1] * 20, network=np.arange(40) % 5)
    zeros = replace(runs, reference_ms=np.zeros((40, 2)))
    np.testing.assert_array_equal(estimate_drift(zeros).factor, estimate_drift(runs).factor)


def test_medians_by_network() -> None:
    network = np.array([2, 0, 2, 2, 0])
    medians = medians_by_network(network, np.array([9.0, 1.0, 3.0, 4.0, 2.0]), 4)
    np.testing.assert_array_equal(medians, [1.5, np.nan, 4.0, np.nan])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_ms": np.array([1.0, 0.0, 1.0])}, "got 0.0 in run 1"),
        ({"latency_ms": np.array([1.0, 1.0, np.nan])}, "got nan in run 2"),
        ({"latency_ms": np.ones(2)}, "shape"),
        ({"reference_ms": np.ones(3)}, "shape"),
        ({"time_s": np.array([0.0, 2.0, 1.0])}, "order of time"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_drift(replace(a_few([1.0, 1.0, 1.0]), **change))
    with pytest.raises(ValueError, match="at least one run"):
        estimate_drift(a_few([]))
