"""What a synthetic profiler adds is found, and taken out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from latcast.models.kernels._prices import (
    MIN_LEFT,
    OVERHEAD_SPREAD,
    WHOLE_SHARE,
    Observed,
    without_overhead,
)
from latcast.networks import Networks

MakeCounts = Callable[..., Networks]
OVERHEAD_MS = 0.004


@pytest.fixture(scope="module")
def truth(made_kernels: MakeCounts) -> tuple[Networks, np.ndarray]:
    """30 networks of 20 kernels, and the kernels' milliseconds."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (30, 20)) * (rng.random((30, 20)) < 0.5)
    counts[:, 0] = 1
    kernels = made_kernels(rng, ["conv", "add", "max_pool", "linear"] * 5, counts)
    return kernels, np.exp(rng.normal(-4, 1, 20))


def profiled(
    truth: tuple[Networks, np.ndarray], overhead_ms: float, states: np.ndarray
) -> Observed:
    """Times of all kernels; each network was profiled in a state of its own."""
    kernels, ms = truth
    times = sp.csr_matrix(kernels.counts, copy=True)
    row = np.repeat(np.arange(len(kernels)), np.diff(times.indptr))
    times.data = ms[times.indices] * states[row] + overhead_ms
    return Observed(kernels, kernels.counts @ ms, times)


def assert_times(observed: Observed, ms: np.ndarray, rtol: float) -> None:
    np.testing.assert_allclose(observed.times_ms.data, ms[observed.times_ms.indices], rtol=rtol)


@pytest.mark.parametrize("slower", [1.0, 1.3])
def test_overhead_and_one_state_are_taken_out(
    truth: tuple[Networks, np.ndarray], slower: float
) -> None:
    measured = profiled(truth, OVERHEAD_MS, np.full(30, slower))
    clean = without_overhead(measured)
    assert_times(clean, truth[1], 1e-6)
    assert clean.clock_ms == pytest.approx(OVERHEAD_SPREAD * OVERHEAD_MS)
    np.testing.assert_array_equal(clean.total_ms, measured.total_ms)
    assert clean.kernels is measured.kernels


def test_states_of_the_machine_are_taken_out(truth: tuple[Networks, np.ndarray]) -> None:
    states = np.random.default_rng(1).uniform(0.9999, 1.0001, 30)
    measured = profiled(truth, OVERHEAD_MS, states)
    clean = without_overhead(measured)
    assert clean.clock_ms == pytest.approx(OVERHEAD_SPREAD * OVERHEAD_MS, rel=0.3)
    sums = np.asarray(clean.times_ms.multiply(clean.kernels.counts).sum(axis=1)).ravel()
    np.testing.assert_allclose(sums, measured.total_ms)
    away = np.abs(np.log(clean.times_ms.data / truth[1][clean.times_ms.indices]))
    before = np.abs(np.log(measured.times_ms.data / truth[1][measured.times_ms.indices]))
    assert np.median(away) < np.median(before) / 3


def test_without_overhead_or_times_nothing_changes(truth: tuple[Networks, np.ndarray]) -> None:
    assert_times(without_overhead(profiled(truth, 0.0, np.ones(30))), truth[1], 1e-6)
    kernels, ms = truth
    bare = Observed(kernels, kernels.counts @ ms, sp.csr_matrix(kernels.counts.shape))
    clean = without_overhead(bare)
    assert clean.times_ms.nnz == 0
    assert clean.times_ms.shape == kernels.counts.shape
    np.testing.assert_array_equal(clean.total_ms, bare.total_ms)


@pytest.mark.parametrize("networks", [0, 1, 3])
def test_few_timed_networks_are_enough(truth: tuple[Networks, np.ndarray], networks: int) -> None:
    """One cannot tell the overhead; its times are brought to its latency still."""
    measured = profiled(truth, OVERHEAD_MS, np.ones(30))
    keep = sp.diags((np.arange(30) < networks).astype(float))
    times = sp.csr_matrix(keep @ measured.times_ms)
    times.eliminate_zeros()
    clean = without_overhead(Observed(measured.kernels, measured.total_ms, times))
    assert clean.times_ms.nnz == times.nnz
    assert set(clean.times_ms.nonzero()[0]) == set(range(networks))
    sums = np.asarray(clean.times_ms.multiply(clean.kernels.counts).sum(axis=1)).ravel()
    np.testing.assert_allclose(sums[:networks], measured.total_ms[:networks])
    if networks > 1:
        assert_times(clean, truth[1], 1e-6)


def test_times_of_a_part_of_a_network_keep_their_level(
    truth: tuple[Networks, np.ndarray],
) -> None:
    measured = profiled(truth, OVERHEAD_MS, np.ones(30))
    times = measured.times_ms.tolil()
    timed = measured.times_ms[1].nonzero()[1]
    times[1, timed[2:]] = 0
    counts = measured.kernels.counts[1].toarray()[0]
    assert counts[timed[:2]].sum() < WHOLE_SHARE * counts.sum()
    part = Observed(measured.kernels, measured.total_ms, sp.csr_matrix(times))
    assert_times(without_overhead(part), truth[1], 1e-6)


def test_no_time_falls_to_nothing(truth: tuple[Networks, np.ndarray]) -> None:
    measured = profiled(truth, OVERHEAD_MS, np.ones(30))
    short = int(np.argmin(measured.times_ms.data))
    measured.times_ms.data[short] = OVERHEAD_MS / 2
    clean = without_overhead(measured)
    assert (clean.times_ms.data > 0).all()
    assert clean.times_ms.data[short] >= MIN_LEFT * OVERHEAD_MS / 2
