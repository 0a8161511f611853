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
    assert i_optimal(covariance, noise, 3)[0] == np.argmin(left)


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
