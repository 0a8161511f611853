from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import t

from latcast.math.conformal import (
    Calibration,
    DeviationScores,
    covers,
    max_level,
    quantile,
    rank,
    student_scores,
)


@pytest.mark.parametrize(
    ("n", "level", "expected"),
    [
        (9, 0.9, 9), (19, 0.9, 18), (19, 0.95, 19), (99, 0.9, 90), (10, 0.9, 10), (3, 0.5, 2),
        (1, 0.5, 1), (100, 0.9, 91),
        # In floating point these are a little more than 55, 7 and 57.
        (99, 0.55, 55), (99, 0.07, 7), (99, 0.57, 57),
    ],
)  # fmt: skip
def test_rank_is_the_textbook_s(n: int, level: float, expected: int) -> None:
    """The ceil(level x (n + 1))-th smallest (Vovk et al. 2005)."""
    assert rank(n, level) == expected
    assert quantile(np.arange(1.0, n + 1), level) == expected
    assert DeviationScores(np.arange(1.0, n + 1)).quantile(level) == expected
    assert covers(n, level)
    assert covers(n, max_level(n))
    assert not covers(n, max_level(n) + 1e-3)


@pytest.mark.parametrize(("n", "level", "needed"), [(8, 0.9, 9), (18, 0.95, 19), (5, 0.99, 99)])
def test_too_few_scores_are_an_error(n: int, level: float, needed: int) -> None:
    assert not covers(n, level)
    with pytest.raises(ValueError, match=f"needs at least {needed} .* there are {n}"):
        quantile(np.ones(n), level)
    assert quantile(np.ones(needed), level) == 1


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 90.0, float("nan")])
def test_a_level_is_a_share(level: float) -> None:
    assert not covers(50, level)
    for calibration in (Calibration(np.ones(50), 0.0), Calibration(np.ones(50), 0.0, True)):
        assert not calibration.covers(level)
        with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
            calibration.interval(np.ones(1), level)


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.01, {0.5: 0.674490, 0.9: 1.644854}), (1.0, {0.5: 50, 0.9: 90})]
)
def test_scores_of_the_like_widen_intervals_alone(
    scale: float, expected: dict[float, float]
) -> None:
    """Errors on rows like those of the training say nothing of others: not less than stated."""
    sizes = scale * np.arange(1.0, 100)
    alike, others = DeviationScores(sizes, representative=False), DeviationScores(sizes)
    for coverage, deviations in expected.items():
        assert alike.quantile(coverage) == pytest.approx(deviations, rel=1e-5)
        assert others.quantile(coverage) == pytest.approx(scale * 100 * coverage)


@given(st.lists(st.floats(-50, 50), min_size=30, max_size=60), st.floats(0.05, 0.9), st.randoms())
def test_sign_and_order_of_errors_do_not_matter(
    errors: list[float], coverage: float, random: object
) -> None:
    scores = DeviationScores.of(np.array(errors))
    flipped = [-e for e in errors]
    random.shuffle(flipped)  # type: ignore[attr-defined]
    assert DeviationScores.of(np.array(flipped)).quantile(coverage) == scores.quantile(coverage)
    inside = np.abs(errors) <= scores.quantile(coverage)
    assert inside.mean() >= coverage


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (np.zeros(0), "at least one"),
        (np.ones((2, 2)), "at least one"),
        (np.array([1.0, np.nan]), "finite numbers"),
        (np.array([2.0, 1.0]), "ascending and not negative"),
        (np.array([-1.0, 1.0]), "ascending and not negative"),
    ],
)
def test_refuses_what_are_no_scores(sizes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviationScores(sizes)


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
    with pytest.raises(
        ValueError,
        match=r"needs at least 19 calibration measurements; there are 9: ask for at most 0\.9, or",
    ):
        c.interval(np.ones(1), 0.95)
    c.interval(np.ones(1), 0.9)


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
    assert calibration.covers(0.6)
    assert not calibration.covers(0.7)  # 5 scores are too few for a bound of 0.85
    with pytest.raises(ValueError, match=r"one-sided coverage of 0\.95 needs at least 19"):
        calibration.interval(np.array([10.0]), 0.9)


def test_scores_of_a_known_distribution() -> None:
    calibration = Calibration(student_scores(5.0, 0.1), 0.0)
    assert calibration.upper_bound(np.array([1.0]), 0.9) == pytest.approx(1 + 0.1 * t.ppf(0.9, 5))


def test_the_deviation_follows_the_scale_but_no_outlier() -> None:
    scores = np.append(3.0 * ndtri(np.arange(1, 1_000) / 1_000), 1e6)
    deviation = Calibration(scores, 0.5).deviation_ms(np.array([4.0, 100.0]))
    np.testing.assert_allclose(deviation, [6.0, 30.0], rtol=0.01)
