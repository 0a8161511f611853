"""Ranks of conformal prediction in closed form, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.models.layers._scores import Scores


@pytest.mark.parametrize(
    ("n", "coverage", "rank"),
    [
        (9, 0.9, 9),
        (19, 0.9, 18),
        (19, 0.95, 19),
        (99, 0.9, 90),
        (10, 0.9, 10),
        (3, 0.5, 2),
        (1, 0.5, 1),
        (100, 0.9, 91),
    ],
)
def test_quantile_is_the_score_of_its_rank(n: int, coverage: float, rank: int) -> None:
    """The ceil(coverage x (n + 1))-th smallest (Vovk et al. 2005)."""
    scores = Scores(np.arange(1.0, n + 1))
    assert scores.covers(coverage)
    assert scores.quantile(coverage) == rank


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.01, {0.5: 0.674490, 0.9: 1.644854}), (1.0, {0.5: 50, 0.9: 90})]
)
def test_scores_of_the_like_widen_intervals_alone(
    scale: float, expected: dict[float, float]
) -> None:
    """Errors on networks like those of the training say nothing of others: not less than stated."""
    sizes = scale * np.arange(1.0, 100)
    alike, families = Scores(sizes, on_families=False), Scores(sizes)
    for coverage, deviations in expected.items():
        assert alike.quantile(coverage) == pytest.approx(deviations, rel=1e-5)
        assert families.quantile(coverage) == pytest.approx(scale * 100 * coverage)


@pytest.mark.parametrize(("n", "coverage", "needed"), [(8, 0.9, 9), (18, 0.95, 19), (5, 0.99, 99)])
def test_too_few_scores_are_an_error(n: int, coverage: float, needed: int) -> None:
    scores = Scores(np.ones(n))
    assert not scores.covers(coverage)
    with pytest.raises(ValueError, match=f"need at least {needed} measurements; .* from {n}"):
        scores.quantile(coverage)
    assert Scores(np.ones(needed)).quantile(coverage) == 1


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, 90.0, float("nan")])
def test_coverage_is_a_share(coverage: float) -> None:
    scores = Scores(np.ones(50))
    assert not scores.covers(coverage)
    with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
        scores.quantile(coverage)


@given(st.lists(st.floats(-50, 50), min_size=30, max_size=60), st.floats(0.05, 0.9), st.randoms())
def test_sign_and_order_of_errors_do_not_matter(
    errors: list[float], coverage: float, random: object
) -> None:
    scores = Scores.of(np.array(errors))
    flipped = [-e for e in errors]
    random.shuffle(flipped)  # type: ignore[attr-defined]
    assert Scores.of(np.array(flipped)).quantile(coverage) == scores.quantile(coverage)
    inside = np.abs(errors) <= scores.quantile(coverage)
    assert inside.mean() >= coverage


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (np.zeros(0), "at least one"),
        (np.ones((2, 2)), "at least one"),
        (np.array([1.0, np.nan]), "finite numbers"),
        (np.array([1.0, np.inf]), "finite numbers"),
        (np.array([2.0, 1.0]), "ascending and not negative"),
        (np.array([-1.0, 1.0]), "ascending and not negative"),
    ],
)
def test_refuses_what_are_no_scores(sizes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scores(sizes)
