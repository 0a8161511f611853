from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from latcast.math.conformal import Calibration


def test_quantile_in_closed_form() -> None:
    # Errors 1 … 9 ms at one prediction: of 9 scores the k-th smallest covers k / 10.
    c = Calibration(np.arange(1.0, 10.0), 0.0)
    predicted = np.array([100.0])
    assert c.interval(predicted, 0.9) == (91.0, 109.0)
    assert c.interval(predicted, 0.5) == (95.0, 105.0)
    assert c.upper_bound(predicted, 0.8) == 108.0
    assert c.probability_below(predicted, 104.5) == 0.4
    assert c.probability_below(predicted, 1e9) == 0.9  # never certain


def test_too_little_calibration_is_said() -> None:
    c = Calibration(np.arange(1.0, 10.0), 0.0)
    with pytest.raises(ValueError, match="needs at least 19 calibration measurements; there are 9"):
        c.interval(np.ones(1), 0.95)
    for level in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            c.interval(np.ones(1), level)


def test_lower_bound_is_never_negative() -> None:
    lower, _ = Calibration(np.full(50, 9.0), 0.0).interval(np.array([2.0]), 0.9)
    assert lower == 0.0


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_exponent_is_recovered(exponent: float) -> None:
    rng = np.random.default_rng(0)
    predicted = np.exp(rng.uniform(0, 4, 5_000))
    true = predicted + 0.05 * predicted**exponent * rng.normal(size=5_000)
    c = Calibration.fit(predicted, true)
    assert c.exponent == pytest.approx(exponent, abs=0.05)


def test_coverage_is_exact_on_average() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        errors = rng.standard_t(3, 300)
        c = Calibration(np.sort(errors[:200]), 0.0)
        lower, upper = c.interval(np.full(100, 50.0), 0.9)
        true = 50.0 + errors[200:]
        inside.append(((lower <= true) & (true <= upper)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)


@given(st.lists(st.floats(-5, 5), min_size=20, max_size=60), st.floats(0.1, 0.9))
def test_intervals_hold_the_asked_share_of_their_own_scores(
    scores: list[float], coverage: float
) -> None:
    ascending = np.sort(np.array(scores))
    lower, upper = Calibration(ascending, 0.0).interval(np.array([10.0]), coverage)
    inside = (10.0 + ascending >= lower) & (10.0 + ascending <= upper)
    assert inside.mean() >= coverage - 1e-9 - 1 / len(scores)


def test_damaged_scores_are_refused() -> None:
    for scores in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="must be finite numbers"):
            Calibration(scores, 0.0)


def test_equal_tails_of_lopsided_errors() -> None:
    """Factors that stand in for errors: 1/4, 1/2, 1, 2, 4."""
    scores = np.array([0.25, 0.5, 1.0, 2.0, 4.0]) - 1.0
    calibration = Calibration(scores, 1.0, equal_tailed=True)
    lower, upper = calibration.interval(np.array([10.0]), 0.6)
    assert (lower[0], upper[0]) == (2.5, 40.0)
    lower, upper = calibration.interval(np.array([10.0]), 0.3)
    assert (lower[0], upper[0]) == (5.0, 20.0)
    with pytest.raises(ValueError, match="coverage"):
        calibration.interval(np.array([10.0]), 0.9)


def test_the_deviation_follows_the_scale_but_no_outlier() -> None:
    scores = np.append(3.0 * ndtri(np.arange(1, 1_000) / 1_000), 1e6)
    deviation = Calibration(scores, 0.5).deviation_ms(np.array([4.0, 100.0]))
    np.testing.assert_allclose(deviation, [6.0, 30.0], rtol=0.01)
