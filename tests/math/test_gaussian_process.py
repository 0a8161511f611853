"""Gaussian processes against closed forms, refits, and their definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from latcast.math.gaussian_process import (
    MAX_LOG_VARIANCE,
    MIN_LOG_VARIANCE,
    AveragedPosterior,
    Conditioned,
    Projected,
    Regression,
    covariance_of,
    log_evidence,
    maximize_evidence,
    process_features,
    spread_points,
    squared_exponential,
    whitening,
)

VARIANCES = np.array([0.02, 0.01, 0.05, 0.003])
OTHERS = np.array([0.2, 0.1, 0.01, 0.02])
MISSED = 1e-5
"""What Nyström's features may miss, which are made with a little noise on the points."""


def draws(n: int) -> np.ndarray:
    """Log variances of the three terms of :func:`problem` and of the noise, shape (n, 4)."""
    return np.random.default_rng(1).normal([-4.0, -5.0, -4.0, -8.0], 1.5, (n, 4))


def problem(k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Covariances of three terms, shape (3, k, k), and values, shape (k,)."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(k, size)) for size in (1, 1, 5)]
    return np.stack([f @ f.T for f in features]), rng.normal(0.0, 0.2, k)


def at(
    terms: np.ndarray, values: np.ndarray, *variances: np.ndarray, noise: float | np.ndarray = 1.0
) -> AveragedPosterior:
    """The posterior at given variances, the noise last."""
    return AveragedPosterior.at(terms, values, np.log(variances), noise * np.ones(len(values)))


# -- exact, and averaged ------------------------------------------------------------------------


def test_one_value_in_closed_form() -> None:
    """A value y of variance v under noise s: mean y v / (v + s)."""
    v, s, y = 0.04, 0.01, 0.3
    found = at(np.ones((1, 1, 1)), np.array([y]), np.array([v, s]))
    assert found.weights[0, 0] == pytest.approx(y * v / (v + s), rel=1e-6)
    again = found.variance(np.ones((1, 1)), np.ones((1, 1, 1)))
    assert again[0] == pytest.approx(v * s / (v + s) + s, rel=1e-6)
    apart = found.variance(np.ones((1, 1)), np.zeros((1, 1, 1)))
    assert apart[0] == pytest.approx(v + s, rel=1e-6)
    mean, variance = found.left_out()
    assert mean[0] == pytest.approx(0.0, abs=1e-12)
    assert variance[0] == pytest.approx(v + s, rel=1e-6)


def test_several_values_of_one_number_in_closed_form() -> None:
    """Precision k / s + 1 / v; the mean is the values' sum, shrunk."""
    v, s = 0.04, 0.01
    y = np.array([0.3, 0.1, 0.2, -0.1])
    found = at(np.ones((1, 4, 4)), y, np.array([v, s]))
    precision = 4 / s + 1 / v
    assert found.weights[0].sum() == pytest.approx(y.sum() / s / precision, rel=1e-5)
    new = found.variance(np.ones((1, 1)), np.ones((1, 1, 4)))
    assert new[0] == pytest.approx(1 / precision + s, rel=1e-5)


def test_left_out_is_what_refits_give() -> None:
    terms, y = problem(9)
    noise = np.array([1.0, 1.0, 50.0, *np.ones(6)])
    found = Conditioned.on(covariance_of(terms, VARIANCES, noise), y)
    residuals, variances = found.left_out()
    means, same = at(terms, y, VARIANCES, noise=noise).left_out()
    np.testing.assert_allclose(y - residuals, means, atol=1e-12)
    np.testing.assert_allclose(same, variances)
    covariance = np.tensordot(VARIANCES[:-1], terms, 1)
    for out in range(9):
        rest = np.delete(np.arange(9), out)
        known = covariance[np.ix_(rest, rest)] + VARIANCES[-1] * np.diag(noise[rest])
        gain = np.linalg.solve(known, covariance[rest, out])
        assert y[out] - residuals[out] == pytest.approx(gain @ y[rest], rel=1e-4, abs=1e-6)
        left = covariance[out, out] - gain @ covariance[rest, out] + VARIANCES[-1] * noise[out]
        assert variances[out] == pytest.approx(left, rel=1e-4)


def test_evidence_is_the_likelihood() -> None:
    terms, y = problem(7)
    for draw in draws(5):
        v = np.exp(draw)
        found = Conditioned.on(covariance_of(terms, v), y).log_evidence
        assert found == pytest.approx(log_evidence(covariance_of(terms, v), y))
        covariance = np.tensordot(v[:-1], terms, 1) + v[-1] * np.eye(7)
        likelihood = multivariate_normal(np.zeros(7), covariance).logpdf(y)
        assert found == pytest.approx(likelihood + 3.5 * np.log(2 * np.pi), rel=1e-3)


def test_draws_are_mixed_by_their_evidence() -> None:
    """Of two regimes, mean and variance are those of the mixture."""
    terms, y = problem(6)
    both, *alone = at(terms, y, VARIANCES, OTHERS), at(terms, y, VARIANCES), at(terms, y, OTHERS)
    evidence = [
        Conditioned.on(covariance_of(terms, v), y).log_evidence for v in (VARIANCES, OTHERS)
    ]
    shares = np.exp(evidence) / np.exp(evidence).sum()
    np.testing.assert_allclose(both.shares, shares)
    own, cross = np.full((3, 2), 1.5), np.random.default_rng(1).normal(size=(3, 2, 6))
    means = np.stack([np.einsum("tqk,tk->q", cross, a.weights) for a in alone])
    variances = np.stack([a.variance(own, cross) for a in alone])
    mean = shares @ means
    np.testing.assert_allclose(
        both.variance(own, cross), shares @ (variances + means**2) - mean**2, rtol=1e-9
    )
    np.testing.assert_allclose(np.einsum("tqk,tk->q", cross, both.weights), mean, rtol=1e-9)


@pytest.mark.parametrize("quiet", [True, False])
def test_evidence_picks_the_right_regime(quiet: bool) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(12, 4))
    regimes = np.log([[1e-6, 1e-6, 1e-5, 1e-4], [1e-6, 1e-6, 0.3, 1e-4]])
    deviation = np.exp(0.5 * regimes[0 if quiet else 1, 2])
    y = features @ rng.normal(0.0, deviation, 4) + rng.normal(0.0, 0.01, 12)
    terms = np.stack([np.ones((12, 12)), np.ones((12, 12)), features @ features.T])
    found = AveragedPosterior.of(terms, y, np.repeat(regimes, 40, axis=0))
    assert (found.shares @ np.log(found.variances[:, 2]) < np.log(1e-3)) == quiet


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_any_number_of_values(k: int, seed: int) -> None:
    terms, y = problem(k, seed)
    found = AveragedPosterior.of(terms, y, draws(160))
    assert found.weights.shape == (3, k)
    assert found.shares.sum() == pytest.approx(1.0)
    mean, variance = found.left_out()
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
    fitted = np.einsum("tik,tk->i", terms, found.weights)
    # What is left of y is a mean of contractions of it, in the Euclidean norm.
    assert np.linalg.norm(fitted - y) <= np.linalg.norm(y) + 1e-9


@pytest.mark.slow
def test_many_values_recover_the_variances() -> None:
    """More rows than are looked at at first, so the draws are thinned out and optimized."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(250, 100)) / 10
    terms = np.stack([np.ones((250, 250)), np.ones((250, 250)), features @ features.T])
    y = features @ rng.normal(0.0, 0.5, 100) + rng.normal(0.0, 0.05, 250)
    start = draws(160)
    start[:, 0] = -3.0
    fixed = np.array([True, False, False, False])
    found = AveragedPosterior.of(terms, y, start, fixed=fixed)
    best = found.variances[np.argmax(found.shares)]
    assert best[2:] == pytest.approx([0.25, 0.0025], rel=0.6)
    np.testing.assert_allclose(found.variances[:, 0], np.exp(-3.0))


def test_noisier_values_weigh_less() -> None:
    terms, y = np.ones((1, 2, 2)), np.array([0.0, 0.4])
    prior = np.log([[0.1, 0.01]])
    even = AveragedPosterior.of(terms, y, prior).weights.sum()
    assert 0.15 < even < 0.2
    noisy = AveragedPosterior.of(terms, y, prior, np.array([1.0, 100.0]))
    assert noisy.weights.sum() < 0.2 * even


def test_gradient_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the optimizer is told agrees with finite differences."""
    seen = {}

    def capture(loss: object, start: np.ndarray, **_: object) -> object:
        seen["loss"] = loss
        return type("Found", (), {"x": start})

    monkeypatch.setattr("scipy.optimize.minimize", capture)
    start = np.array([-3.0, -4.0, -2.0, -4.5])
    maximize_evidence(*problem(11), start, np.linspace(0.5, 3.0, 11))
    there = start + np.array([0.3, -0.5, 0.7, -0.2])
    slopes = seen["loss"](there)[1]
    differences = approx_fprime(there, lambda p: seen["loss"](p)[0], 1e-6)
    np.testing.assert_allclose(slopes, differences, rtol=1e-4, atol=1e-4)


def test_optimum_has_more_evidence_than_its_start() -> None:
    terms, y = problem(40)
    start = draws(1)[0]
    found = maximize_evidence(terms, y, start)
    before, after = (
        Conditioned.on(covariance_of(terms, np.exp(v)), y).log_evidence for v in (start, found)
    )
    assert after > before
    assert (found >= MIN_LOG_VARIANCE).all()
    assert (found <= MAX_LOG_VARIANCE).all()


# -- on a part of the points --------------------------------------------------------------------


@pytest.fixture(scope="module")
def plane() -> tuple[np.ndarray, np.ndarray]:
    """40 points of a plane, and noisy values of a function of them."""
    x = np.random.default_rng(7).uniform(-2, 2, (40, 2))
    return x, np.sin(x).sum(axis=1) + np.random.default_rng(8).normal(0, 0.2, 40)


def projected(x: np.ndarray, y: np.ndarray, basis: np.ndarray) -> Projected:
    points = x[basis]
    return Projected.on(
        basis,
        lambda rows: squared_exponential(x[rows], points),
        lambda rows: np.ones(len(rows)),
        y,
        0.05,
        chunk=7,
    )


def predicted(found: Projected | Conditioned, x: np.ndarray, new: np.ndarray) -> list[np.ndarray]:
    """Mean and variance at new points."""
    cross = squared_exponential(new, x)
    knowledge = found.knowledge if isinstance(found, Projected) else found.inverse
    return [cross @ found.weights, 1.0 - ((cross @ knowledge) * cross).sum(axis=1)]


def test_exact_is_the_textbook(plane: tuple[np.ndarray, np.ndarray]) -> None:
    """Algorithm 2.1 of Rasmussen and Williams, with the inverse written out."""
    x, y = plane
    new = np.random.default_rng(9).uniform(-2, 2, (9, 2))
    covariance = squared_exponential(x, x) + 0.05 * np.eye(40)
    mean, variance = predicted(Conditioned.on(covariance, y), x, new)
    cross, inverse = squared_exponential(new, x), np.linalg.inv(covariance)
    np.testing.assert_allclose(mean, cross @ inverse @ y, atol=1e-9)
    np.testing.assert_allclose(variance, 1 - np.diag(cross @ inverse @ cross.T), atol=1e-9)


def test_a_basis_of_nearly_all_is_nearly_exact(plane: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = plane
    new, basis = np.random.default_rng(9).uniform(-2, 2, (9, 2)), np.arange(39)
    exact = predicted(Conditioned.on(squared_exponential(x, x) + 0.05 * np.eye(40), y), x, new)
    part = predicted(projected(x, y, basis), x[basis], new)
    assert np.corrcoef(part[0], exact[0])[0, 1] > 0.99
    np.testing.assert_allclose(part[1], exact[1], rtol=0.3)


def test_scores_on_a_basis_are_those_of_fits_without_the_row(
    plane: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = plane
    basis = np.arange(0, 40, 2)
    got, others = projected(x, y, basis).scores, np.arange(1, 40, 2)
    assert got.shape == (20,)
    for n in (0, 7, 19):
        rest = np.delete(np.arange(40), others[n])
        found = projected(x[rest], y[rest], np.searchsorted(rest, basis))
        mean, variance = predicted(found, x[basis], x[others[n]][None])
        expected = abs(y[others[n]] - mean[0]) / np.sqrt(variance[0] + 0.05)
        assert got[n] == pytest.approx(expected, rel=1e-3)


# -- in weights ---------------------------------------------------------------------------------


def test_regression_in_weights_is_ridge_regression_and_its_refits() -> None:
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(20, 6)), rng.normal(size=20), rng.uniform(0.5, 2, 20)

    def solve(rows: np.ndarray) -> np.ndarray:
        part = x[rows] * weights[rows, None]
        return np.linalg.solve(part.T @ x[rows] + np.eye(6), part.T @ y[rows])

    found = Regression.on(x, y, weights)
    np.testing.assert_allclose(found.coefficients, solve(np.arange(20)))
    refits = [y[n] - x[n] @ solve(np.delete(np.arange(20), n)) for n in range(20)]
    np.testing.assert_allclose(found.left_out(), refits)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3.0))
@settings(max_examples=30)
def test_features_are_the_process_at_its_points(seed: int, amplitude: float) -> None:
    rng = np.random.default_rng(seed)
    points, x = rng.normal(size=(8, 3)), rng.normal(size=(20, 3))
    at_points, rest = process_features(points, points, amplitude)
    exact = amplitude**2 * squared_exponential(points, points)
    np.testing.assert_allclose(at_points @ at_points.T, exact, atol=MISSED * amplitude**2)
    np.testing.assert_allclose(rest, 0, atol=MISSED * amplitude**2)
    features, left = process_features(x, points, amplitude)
    one_by_one = amplitude * squared_exponential(x, points) @ whitening(points)
    np.testing.assert_allclose(one_by_one, features, atol=1e-6)
    # Between any point and anything else the covariance is exact as well.
    cross = amplitude**2 * squared_exponential(x, points)
    np.testing.assert_allclose(features @ at_points.T, cross, atol=2e-3 * amplitude**2)
    np.testing.assert_allclose((features**2).sum(axis=1) + left, amplitude**2)
    assert (left >= 0).all()


def test_regression_on_features_is_regression_by_the_process(
    plane: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = plane
    new, noise = np.random.default_rng(0).uniform(-2, 2, (10, 2)), np.sqrt(0.05)
    exact = Conditioned.on(squared_exponential(x, x) + 0.05 * np.eye(40), y)
    mean, variance = predicted(exact, x, new)
    phi, (own, rest) = process_features(x, x, 1.0)[0], process_features(new, x, 1.0)
    found = Regression.on(phi / noise, y / noise, np.ones(40))
    np.testing.assert_allclose(own @ found.coefficients, mean, atol=1e-3)
    precision = phi.T @ phi / 0.05 + np.eye(40)
    ours = np.einsum("nm,mn->n", own, np.linalg.solve(precision, own.T)) + rest
    np.testing.assert_allclose(ours, variance, atol=1e-3)


def test_without_points_all_of_the_variance_is_left() -> None:
    features, rest = process_features(np.zeros((3, 2)), np.zeros((0, 2)), 0.5)
    assert features.shape == (3, 0)
    assert rest.tolist() == [0.25] * 3


def test_correlations_are_those_of_their_definition() -> None:
    a, b = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    np.testing.assert_allclose(squared_exponential(a, b), [[1.0, np.exp(-0.5), np.exp(-2.5)]])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=30)
def test_points_are_spread(seed: int, count: int) -> None:
    """Nothing is farther from the chosen than those are from each other (Gonzalez 1985)."""
    points = np.random.default_rng(seed).integers(0, 6, (40, 2)).astype(float)
    chosen = spread_points(points, count)
    distinct = {tuple(p) for p in points.tolist()}
    assert len(chosen) == min(count, len(distinct))
    assert len({tuple(p) for p in chosen.tolist()} & distinct) == len(chosen)
    if len(chosen) > 1:
        apart = cdist(chosen, chosen) + 1e9 * np.eye(len(chosen))
        assert cdist(points, chosen).min(axis=1).max() <= apart.min() + 1e-9


@pytest.mark.parametrize("n", [0, 1])
def test_few_points_are_all_taken(n: int) -> None:
    assert spread_points(np.ones((n, 3)), 5).shape == (n, 3)
