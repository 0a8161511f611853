"""Least squares against the normal equations, and against conditions of optimality."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from latcast.math.least_squares import Ridge, non_negative, sparse_ridge, straight_line


def by_normal_equations(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """Intercept and coefficients."""
    design = np.hstack([np.ones((len(x), 1)), x])
    gram = design.T @ (weights[:, None] * design) + np.diag([0.0, *penalty])
    return np.linalg.solve(gram, design.T @ (weights * y))


@pytest.mark.parametrize("columns", [40, 20], ids=["dual", "primal"])
def test_ridge_is_the_same_both_ways(columns: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2.0, 30)
    x, y = rng.normal(size=(30, 50)), rng.normal(size=30)
    penalty = rng.uniform(0.5, 3.0, 50)
    penalty[columns:] = np.inf
    coefficients, intercept = Ridge(x, y, weights).solve(penalty)
    expected = by_normal_equations(x[:, :columns], y, weights, penalty[:columns])
    np.testing.assert_allclose([intercept, *coefficients[:columns]], expected, rtol=1e-8)
    assert (coefficients[columns:] == 0).all()


def test_sparse_ridge_is_ridge_with_one_penalty() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (40, 12)).astype(float)
    y, weights = rng.normal(size=40), rng.uniform(0.1, 3, 40)
    coefficients, intercept = sparse_ridge(sp.csr_matrix(x), y, weights, 0.5)
    expected = by_normal_equations(x, y, weights / weights.mean(), np.full(12, 0.5))
    np.testing.assert_allclose([intercept, *coefficients], expected, rtol=1e-8)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]))
def test_non_negative_fits_are_optimal(seed: int, pull: float) -> None:
    """No step along a coefficient lowers the loss (Karush, Kuhn and Tucker)."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 6)) * 10.0 ** rng.integers(-3, 4, 6), rng.normal(size=30)
    weights, toward = rng.uniform(0, 2, 30), rng.uniform(0, 1, 6)
    found = non_negative(x, y, weights, pull=pull, toward=toward)
    assert (found >= 0).all()
    slope = x.T @ (weights * (x @ found - y)) + pull * (found - toward)
    slope /= np.sqrt((x**2).sum(axis=0) + pull)
    np.testing.assert_allclose(slope[found > 0], 0, atol=1e-7)
    assert (slope[found == 0] > -1e-7).all()


def test_non_negative_is_that_of_the_whole_system() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(size=(50, 4)), rng.uniform(size=50)
    np.testing.assert_allclose(non_negative(x, y), nnls(x, y)[0])
    stacked = np.vstack([x, np.sqrt(2.0) * np.eye(4)])
    expected = nnls(stacked, np.append(y, np.sqrt(2.0) * np.ones(4)))[0]
    np.testing.assert_allclose(non_negative(x, y, pull=2.0, toward=1.0), expected)
    np.testing.assert_array_equal(non_negative(np.zeros((5, 2)), np.ones(5)), [0, 0])


def test_straight_lines() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert straight_line(x, 3 * x - 1) == pytest.approx((3, -1))
    assert straight_line(np.ones(3), x) == (0.0, pytest.approx(7 / 3))
