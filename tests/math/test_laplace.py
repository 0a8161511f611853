"""Laplace's approximation, exact for linear problems; and weights as they are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from latcast.math.laplace import ROUNDED, NormalWeights, laplace, mode


@dataclass
class Curve:
    """y = link(x @ weights) + normal noise of variance 0.1, weights standard normal."""

    x: np.ndarray
    y: np.ndarray
    bent: bool = False

    @property
    def prior_precision(self) -> np.ndarray:
        return np.eye(self.x.shape[1])

    def _values(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = self.x @ weights
        return (np.exp(z), np.exp(z)) if self.bent else (z, np.ones_like(z))

    def energy(self, weights: np.ndarray) -> float:
        residual = self.y - self._values(weights)[0]
        return float(residual @ residual / 0.2 + weights @ weights / 2)

    def linearized(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, slope = self._values(weights)
        j = self.x * slope[:, None]
        return j.T @ j / 0.1 + np.eye(len(weights)), j.T @ (self.y - values) / 0.1 - weights


def test_linear_regression_is_exact() -> None:
    """Mean, variance and evidence as in Bishop, *Pattern Recognition* (2006), section 3.5."""
    rng = np.random.default_rng(0)
    problem = Curve(rng.normal(size=(20, 3)), rng.normal(size=20))
    weights = mode(problem, np.zeros(3))
    precision = problem.x.T @ problem.x / 0.1 + np.eye(3)
    np.testing.assert_allclose(weights, np.linalg.solve(precision, problem.x.T @ problem.y / 0.1))
    covariance, evidence = laplace(problem, weights)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision))
    marginal = multivariate_normal(np.zeros(20), problem.x @ problem.x.T + 0.1 * np.eye(20))
    constant = 10 * np.log(2 * np.pi * 0.1)
    assert evidence - constant == pytest.approx(marginal.logpdf(problem.y))


def test_the_mode_is_that_of_another_optimizer() -> None:
    """From far away, where a whole step would overshoot."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 2))
    problem = Curve(x, np.exp(x @ [0.5, -1.0]) + rng.normal(0, 0.1, 30), bent=True)
    expected = minimize(problem.energy, [0.4, -0.8]).x
    np.testing.assert_allclose(mode(problem, np.array([-2.0, 2.0])), expected, atol=1e-3)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_variance_is_that_of_the_covariance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 5))
    covariance = root @ root.T + 0.5 * np.eye(5)
    weights = NormalWeights(rng.normal(size=5), np.full(5, 100.0), covariance)
    features = rng.normal(size=(7, 5))
    exact = np.diag(features @ covariance @ features.T)
    least = ROUNDED * (features**2 @ weights.prior)
    np.testing.assert_allclose(weights.variance(features), np.maximum(exact, least))


def test_variance_before_data_is_the_prior() -> None:
    weights = NormalWeights.standard(3)
    np.testing.assert_array_equal(weights.covariance, np.eye(3))
    np.testing.assert_allclose(weights.variance(np.array([[1.0, 2.0, 0.0]])), [5.0])
