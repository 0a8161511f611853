"""Weights after data against closed forms, and against another way to find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from latcast.math.laplace import NormalWeights
from latcast.math.robust import HUBER_CORNER
from latcast.models.kernels._posterior import (
    PROFILE_DEVIATION,
    learn,
)
from latcast.models.kernels._prices import Noise, Observed, network_deviation, network_shares
from latcast.networks import ALL_KINDS, Networks

MakeCounts = Callable[..., Networks]
NOISE = Noise(0.02, 0.1, 0.1)


def line(make: MakeCounts, rng: np.random.Generator, n: int, p: int, q: int) -> tuple[
    Observed, np.ndarray, np.ndarray, np.ndarray
]:  # fmt: skip
    """n networks of a kernel each: latencies, log prices, and features of both."""
    kernels = make(rng, ["conv"] * n)
    base, features, whole = rng.normal(0, 1, n), rng.normal(0, 1, (n, p)), rng.normal(0, 1, (n, q))
    log_ms = base + np.hstack([features, whole]) @ rng.normal(0, 1, p + q)
    total_ms = np.exp(log_ms + rng.normal(0, 0.1, n))
    return Observed(kernels, total_ms, sp.csr_matrix((n, n))), base, features, whole


@pytest.mark.parametrize(("n", "q"), [(3, 2), (40, 2), (40, 0)])
@pytest.mark.parametrize("known", [False, True])
def test_one_kernel_each_is_linear_regression(
    made_kernels: MakeCounts, n: int, q: int, known: bool
) -> None:
    """Mean, variance and evidence as in Bishop, *Pattern Recognition* (2006), section 3.5."""
    rng = np.random.default_rng(n + q)
    observed, base, features, whole = line(made_kernels, rng, n, 4, q)
    size = 4 + q
    prior_mean, prior = np.zeros(size), np.eye(size)
    if known:
        root = rng.normal(size=(size, size))
        prior_mean, prior = rng.normal(size=size), root @ root.T / size + 0.1 * np.eye(size)
    before = NormalWeights(prior_mean, prior.diagonal(), prior) if known else None
    weights, evidence = learn(observed, base, features, whole, NOISE, before)

    x, y = np.hstack([features, whole]), np.log(observed.total_ms) - base
    variance = NOISE.network**2 + NOISE.kernel**2
    precision = x.T @ x / variance + np.linalg.inv(prior)
    right = x.T @ y / variance + np.linalg.inv(prior) @ prior_mean
    np.testing.assert_allclose(weights.mean, np.linalg.solve(precision, right), rtol=1e-6)
    exact = np.linalg.inv(precision)
    np.testing.assert_allclose(weights.covariance, exact, rtol=1e-6, atol=1e-9)
    marginal = multivariate_normal(x @ prior_mean, x @ prior @ x.T + variance * np.eye(n))
    expected = marginal.logpdf(y) + n / 2 * np.log(2 * np.pi)
    assert evidence == pytest.approx(expected, rel=1e-6)


def test_what_was_learnt_before_counts(made_kernels: MakeCounts) -> None:
    """One half of the data after the other is all of it at once."""
    rng = np.random.default_rng(0)
    observed, base, features, whole = line(made_kernels, rng, 60, 3, 1)
    at_once, _ = learn(observed, base, features, whole, NOISE)
    weights = None
    for rows in (np.arange(30), np.arange(30, 60)):
        k = observed.kernels
        part = Networks(k.ops[rows], k.labels[:30], k.facts[rows], sp.csr_matrix(np.eye(30)))
        half = Observed(part, observed.total_ms[rows], sp.csr_matrix((30, 30)))
        weights, _ = learn(half, base[rows], features[rows], whole[rows], NOISE, weights)
    assert weights is not None
    np.testing.assert_allclose(weights.mean, at_once.mean, atol=1e-6)
    np.testing.assert_allclose(weights.covariance, at_once.covariance, atol=1e-6)


def several(
    make: MakeCounts, rng: np.random.Generator, *, timed: bool
) -> tuple[Observed, np.ndarray, np.ndarray, np.ndarray]:
    """12 networks of up to 9 kernels of three kinds, with times of some of them."""
    counts = rng.integers(0, 3, (12, 9)) * (rng.random((12, 9)) < 0.6)
    counts[:, 0] = 1
    kernels = make(rng, ["conv", "add", "max_pool"] * 3, counts)
    base, features = rng.normal(-1, 0.7, 9), rng.normal(0, 0.5, (9, 4))
    whole, weights = rng.normal(0, 0.2, (12, 2)), rng.normal(0, 1, 6)
    ms = np.exp(base + features @ weights[:4])
    total_ms = (kernels.counts @ ms) * np.exp(whole @ weights[4:] + rng.normal(0, 0.03, 12))
    times = sp.csr_matrix((12, 9))
    if timed:
        noise = np.exp(rng.normal(0, 0.1, (12, 9)))
        noise[2, 0] = 8  # something else ran
        keep = (rng.random((12, 9)) < 0.6) * (counts > 0)
        times = sp.csr_matrix(keep * noise * ms)
    return Observed(kernels, total_ms, times), base, features, whole


def negative_log_posterior(
    w: np.ndarray, observed: Observed, base: np.ndarray, features: np.ndarray, whole: np.ndarray
) -> float:
    """As the model is told in words, kernel by kernel and network by network."""
    counts, times = observed.kernels.counts.toarray(), observed.times_ms.toarray()
    p, q = features.shape[1], whole.shape[1]
    factors = dict(zip(np.unique(observed.kernels.kinds), w[p + q :], strict=True))
    log_ms = base + features @ w[:p]
    value = w @ w / 2
    for n, line_ in enumerate(counts):
        parts = line_ * np.exp(log_ms)
        share = parts / parts.sum()
        deviation = np.sqrt(NOISE.network**2 + NOISE.kernel**2 * (share**2).sum())
        mean = np.log(parts.sum()) + whole[n] @ w[p : p + q]
        value += ((np.log(observed.total_ms[n]) - mean) / deviation) ** 2 / 2 + np.log(deviation)
    for k in range(len(base)):
        where = np.flatnonzero(times[:, k])
        if len(where):
            y = np.log(times[where, k]).mean()
            clock = (observed.clock_ms / np.exp(y)) ** 2
            deviation = np.sqrt(NOISE.kernel**2 + (NOISE.timing**2 + clock) / len(where))
            mean = log_ms[k] + whole[where].mean(axis=0) @ w[p : p + q]
            mean += PROFILE_DEVIATION * factors[observed.kernels.kinds[k]]
            z = abs(y - mean) / deviation
            value += z**2 / 2 if z < HUBER_CORNER else HUBER_CORNER * (z - HUBER_CORNER / 2)
    return float(value)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("timed", [False, True])
def test_weights_are_those_of_another_optimizer(
    made_kernels: MakeCounts, seed: int, timed: bool
) -> None:
    problem = several(made_kernels, np.random.default_rng(seed), timed=timed)
    observed, base, features, whole = problem
    weights, _ = learn(*problem, NOISE)
    start = np.zeros(6 + 3)  # and a factor of the profiler on each kind
    best = minimize(negative_log_posterior, start, args=problem, method="L-BFGS-B").x
    log_ms = base + features @ weights.mean[:4]
    theirs = base + features @ best[:4]
    totals = [
        np.log(observed.kernels.counts @ np.exp(x)) + whole @ w
        for x, w in ((log_ms, weights.mean[4:]), (theirs, best[4:6]))
    ]
    np.testing.assert_allclose(totals[0], totals[1], atol=0.02)
    deviation = np.sqrt(weights.variance(np.hstack([features, np.zeros((9, 2))])))
    assert (np.abs(log_ms - theirs) < 0.5 * deviation + 0.01).all()


def test_a_profiler_that_is_slow_on_a_kind_is_found(made_kernels: MakeCounts) -> None:
    """Its times of convolutions are 1.4 times too long; the networks tell how long they take."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 3, (60, 12))
    counts[:, 0] = 1
    kernels = made_kernels(rng, ["conv", "add"] * 6, counts)
    base = rng.normal(-1, 0.5, 12)
    is_conv = kernels.kinds == ALL_KINDS.index("conv")
    features = np.stack([is_conv, ~is_conv], axis=1).astype(float)
    ms = np.exp(base + features @ [0.3, -0.2])
    times = sp.csr_matrix((counts > 0) * ms * np.where(is_conv, 1.4, 1.0))
    observed = Observed(kernels, kernels.counts @ ms, times)
    weights, _ = learn(observed, base, features, np.zeros((60, 0)), NOISE)
    np.testing.assert_allclose(weights.mean, [0.3, -0.2], atol=0.03)


def test_one_wild_time_moves_little(made_kernels: MakeCounts) -> None:
    rng = np.random.default_rng(2)
    kernels = made_kernels(rng, ["conv"] * 30, np.ones((1, 30)))
    times = np.exp(rng.normal(0, 0.05, (1, 30)))
    wild = times.copy()
    wild[0, 0] *= 1e4
    means = []
    for t in (times, wild):
        observed = Observed(kernels, np.array([30.0]), sp.csr_matrix(t))
        weights, _ = learn(observed, np.zeros(30), np.ones((30, 1)), np.zeros((1, 0)), NOISE)
        means.append(weights.mean[0])
    assert abs(means[1] - means[0]) < 0.03


def test_shares_and_deviations_in_closed_form() -> None:
    counts = sp.csr_matrix(np.array([[2.0, 1.0], [0.0, 3.0]]))
    total, shares = network_shares(counts, np.log([1.0, 2.0]))
    np.testing.assert_allclose(total, [4, 6])
    np.testing.assert_allclose(shares.toarray(), [[0.5, 0.5], [0, 1]])
    deviation = network_deviation(shares, Noise(0.03, 0.04))
    np.testing.assert_allclose(deviation**2, [0.0009 + 0.0016 / 2, 0.0009 + 0.0016])


def test_times_are_averaged_over_the_networks_that_have_them(made_kernels: MakeCounts) -> None:
    kernels = made_kernels(np.random.default_rng(0), ["conv"] * 3, np.ones((2, 3)))
    times = sp.csr_matrix(np.array([[1.0, 0, 3.0], [4.0, 0, 0]]))
    observed = Observed(kernels, np.ones(2), times)
    rows, ms, number = observed.timed
    assert rows.tolist() == [0, 2]
    np.testing.assert_allclose(ms, [2, 3])
    assert number.tolist() == [2, 1]
    means = observed.mean_where_timed(np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(means, [[2], [1]])
