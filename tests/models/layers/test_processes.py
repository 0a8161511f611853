"""Nyström features against Gaussian processes as they are defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from latcast.models.layers._processes import alike, process_features, spread

JITTER = 1e-5
"""What the features may miss, which are made with a little noise on the points."""


def exact_kernel(a: np.ndarray, b: np.ndarray, amplitude: float) -> np.ndarray:
    """A squared exponential kernel of length 1, by its definition."""
    return np.array([[amplitude**2 * np.exp(-((x - y) @ (x - y)) / 2) for y in b] for x in a])


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3.0))
@settings(max_examples=30)
def test_features_are_the_process_at_its_points(seed: int, amplitude: float) -> None:
    rng = np.random.default_rng(seed)
    points, x = rng.normal(size=(8, 3)), rng.normal(size=(20, 3))
    at_points, rest = process_features(points, points, amplitude)
    exact = exact_kernel(points, points, amplitude)
    np.testing.assert_allclose(at_points @ at_points.T, exact, atol=JITTER * amplitude**2)
    np.testing.assert_allclose(rest, 0, atol=JITTER * amplitude**2)
    features, left = process_features(x, points, amplitude)
    # Between any point and anything else the covariance is exact as well.
    cross = exact_kernel(x, points, amplitude)
    np.testing.assert_allclose(features @ at_points.T, cross, atol=2e-3 * amplitude**2)
    np.testing.assert_allclose((features**2).sum(axis=1) + left, amplitude**2)
    assert (left >= 0).all()


def test_regression_on_features_is_regression_by_the_process() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.uniform(-2, 2, (25, 2)), rng.uniform(-2, 2, (10, 2))
    y, noise = np.sin(x).sum(axis=1), 0.1
    gram = exact_kernel(x, x, 1.3) + noise**2 * np.eye(25)
    cross = exact_kernel(new, x, 1.3)
    mean = cross @ np.linalg.solve(gram, y)
    variance = 1.3**2 - np.einsum("nm,mn->n", cross, np.linalg.solve(gram, cross.T))
    phi, (own, rest) = process_features(x, x, 1.3)[0], process_features(new, x, 1.3)
    precision = phi.T @ phi / noise**2 + np.eye(25)
    np.testing.assert_allclose(
        own @ np.linalg.solve(precision, phi.T @ y) / noise**2, mean, atol=1e-3
    )
    ours = np.einsum("nm,mn->n", own, np.linalg.solve(precision, own.T)) + rest
    np.testing.assert_allclose(ours, variance, atol=1e-3)


def test_without_points_all_of_the_variance_is_left() -> None:
    features, rest = process_features(np.zeros((3, 2)), np.zeros((0, 2)), 0.5)
    assert features.shape == (3, 0)
    assert rest.tolist() == [0.25] * 3


def test_correlations_are_those_of_their_definition() -> None:
    a, b = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    np.testing.assert_allclose(alike(a, b), [[1.0, np.exp(-0.5), np.exp(-2.5)]])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=30)
def test_points_are_spread(seed: int, most: int) -> None:
    """Nothing is farther from the chosen than those are from each other (Gonzalez 1985)."""
    points = np.random.default_rng(seed).integers(0, 6, (40, 2)).astype(float)
    chosen = spread(points, most)
    distinct = {tuple(p) for p in points.tolist()}
    assert len(chosen) == min(most, len(distinct))
    assert len({tuple(p) for p in chosen.tolist()} & distinct) == len(chosen)
    if len(chosen) > 1:
        apart = cdist(chosen, chosen) + 1e9 * np.eye(len(chosen))
        assert cdist(points, chosen).min(axis=1).max() <= apart.min() + 1e-9


@pytest.mark.parametrize("n", [0, 1])
def test_few_points_are_all_taken(n: int) -> None:
    assert spread(np.ones((n, 3)), 5).shape == (n, 3)
