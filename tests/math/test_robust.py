from __future__ import annotations

import numpy as np
import pytest

from latcast.math.robust import huber, huber_weights, reweighted, robust_deviation


def test_the_deviation_is_that_of_normal_values() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 100_000)
    assert robust_deviation(values) == pytest.approx(2.0, rel=0.02)
    assert robust_deviation(np.append(values, [1e9] * 100)) == pytest.approx(2.0, rel=0.02)
    assert robust_deviation(np.array([-1.0, 1.0, 2.0]), centre=0.0) == pytest.approx(1.4826)


def test_huber_weights_fall_beyond_the_corner() -> None:
    np.testing.assert_allclose(huber(np.array([0, -1, 2.5, 5, -25])), [1, 1, 1, 0.5, 0.1])
    residual = np.concatenate([np.linspace(-1, 1, 101), [3.0, 1e3]])
    weights = huber_weights(residual)
    assert (weights[:101] == 1).all()
    assert 0 < weights[101] < 1
    assert weights[102] == 0
    np.testing.assert_array_equal(huber_weights(np.zeros(4)), np.ones(4))


def test_reweighting_finds_the_mean_without_the_outliers() -> None:
    y = np.append(np.random.default_rng(0).normal(5.0, 0.1, 50), [1e4, -2e4])

    def fit(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = float(weights @ y / weights.sum())
        return mean, y - mean

    mean, weights = reweighted(fit, huber_weights, len(y), 6)
    assert mean == pytest.approx(5.0, abs=0.05)
    assert (weights[50:] == 0).all()
    assert reweighted(fit, huber_weights, len(y), 1)[0] == pytest.approx(y.mean())
