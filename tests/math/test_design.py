from __future__ import annotations

import numpy as np

from latcast.math.design import conditioned_on_first, i_optimal


def test_first_pick_takes_the_most_variance_away() -> None:
    """By trying every candidate."""
    x = np.random.default_rng(0).normal(size=(12, 4)) * [3.0, 1.0, 0.3, 0.1]
    covariance, noise = x @ x.T, 0.1
    left = [
        np.trace(covariance - np.outer(c, c) / (c[n] + noise)) for n, c in enumerate(covariance)
    ]
    assert i_optimal(covariance[None].copy(), np.array([noise]), 3)[0] == np.argmin(left)


def test_of_several_covariances_each_counts_by_its_share() -> None:
    """By trying every candidate; one of a thousand times the variance decides nothing alone."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 12, 3))
    covariances, noises = x @ x.transpose(0, 2, 1), np.array([0.1, 0.2])
    left = [
        sum(
            np.trace(c - np.outer(c[n], c[n]) / (c[n, n] + noise)) / np.trace(c)
            for c, noise in zip(covariances, noises, strict=True)
        )
        for n in range(12)
    ]
    for scale in (1.0, 1e3):
        scales = np.array([1.0, scale])
        scaled = covariances * scales[:, None, None]
        assert i_optimal(scaled, noises * scales, 1).tolist() == [np.argmin(left)]


def test_what_is_measured_is_conditioned_on_at_once() -> None:
    """As one by one."""
    x = np.random.default_rng(0).normal(size=(9, 3))
    covariance, noise = x @ x.T, 0.2
    step = covariance
    for n in range(4):
        step = step - np.outer(step[:, n], step[:, n]) / (step[n, n] + noise)
    left = conditioned_on_first(covariance, noise, 4)
    np.testing.assert_allclose(left, step[4:, 4:], atol=1e-12)
    np.testing.assert_array_equal(conditioned_on_first(covariance, noise, 0), covariance)
