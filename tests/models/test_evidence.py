from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from latcast.models import _evidence as evidence
from latcast.models._evidence import Hyperprior, Posterior, optimize, posterior, terms_of

TERMS = ("scale", "constant", "physics", "noise")


def _data(k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of three terms, shape (3, k, k), and residuals, shape (k,)."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(k, size)) for size in (1, 1, 5)]
    return np.stack([f @ f.T for f in features]), rng.normal(0.0, 0.2, k)


def _with_one_draw(
    kernels: np.ndarray, residual: np.ndarray, variances: np.ndarray, noise: np.ndarray
) -> Posterior:
    """The posterior at given variances, the noise last."""
    draws = np.log(variances)[None]
    inverses = evidence._Conditioned.on(kernels, residual, draws, noise).inverses
    weights = variances[:-1, None] * (inverses[0] @ residual)
    return Posterior(weights, np.ones(1), variances[None], inverses, residual)


def test_one_measurement_in_closed_form() -> None:
    """A measurement y of a departure of variance v under noise s: mean y v / (v + s)."""
    v, s, y = 0.04, 0.01, 0.3
    found = _with_one_draw(np.ones((1, 1, 1)), np.array([y]), np.array([v, s]), np.ones(1))
    assert found.weights[0, 0] == pytest.approx(y * v / (v + s), rel=1e-6)
    again = found.variance(np.ones((1, 1)), np.ones((1, 1, 1)))
    assert again[0] == pytest.approx(v * s / (v + s) + s, rel=1e-6)
    apart = found.variance(np.ones((1, 1)), np.zeros((1, 1, 1)))
    assert apart[0] == pytest.approx(v + s, rel=1e-6)
    mean, variance = found.left_out()
    assert mean[0] == pytest.approx(0.0, abs=1e-12)
    assert variance[0] == pytest.approx(v + s, rel=1e-6)


def test_several_measurements_of_one_number_in_closed_form() -> None:
    """Precision k / s + 1 / v; the mean is the measurements' sum, shrunk."""
    v, s = 0.04, 0.01
    y = np.array([0.3, 0.1, 0.2, -0.1])
    found = _with_one_draw(np.ones((1, 4, 4)), y, np.array([v, s]), np.ones(4))
    precision = 4 / s + 1 / v
    assert found.weights[0].sum() == pytest.approx(y.sum() / s / precision, rel=1e-5)
    new = found.variance(np.ones((1, 1)), np.ones((1, 1, 4)))
    assert new[0] == pytest.approx(1 / precision + s, rel=1e-5)


def test_left_out_is_what_refits_give() -> None:
    kernels, y = _data(9)
    variances = np.array([0.02, 0.01, 0.05, 0.003])
    noise = np.array([1.0, 1.0, 50.0, *np.ones(6)])
    means, deviations = _with_one_draw(kernels, y, variances, noise).left_out()
    covariance = np.tensordot(variances[:-1], kernels, 1)
    for out in range(9):
        rest = np.delete(np.arange(9), out)
        known = covariance[np.ix_(rest, rest)] + variances[-1] * np.diag(noise[rest])
        gain = np.linalg.solve(known, covariance[rest, out])
        assert means[out] == pytest.approx(gain @ y[rest], rel=1e-4, abs=1e-6)
        left = covariance[out, out] - gain @ covariance[rest, out] + variances[-1] * noise[out]
        assert deviations[out] == pytest.approx(left, rel=1e-4)


def test_draws_are_mixed_by_their_shares() -> None:
    """Of two regimes, mean and variance are those of the mixture."""
    kernels, y = _data(6)
    pair = [np.array([0.02, 0.01, 0.05, 0.003]), np.array([0.2, 0.1, 0.01, 0.02])]
    alone = [_with_one_draw(kernels, y, v, np.ones(6)) for v in pair]
    shares = np.array([0.3, 0.7])
    both = Posterior(
        np.einsum("c,ctk->tk", shares, np.stack([a.weights for a in alone])),
        shares,
        np.stack(pair),
        np.concatenate([a.inverses for a in alone]),
        y,
    )
    own, cross = np.full((3, 2), 1.5), np.random.default_rng(1).normal(size=(3, 2, 6))
    means = np.stack([np.einsum("tqk,tk->q", cross, a.weights) for a in alone])
    variances = np.stack([a.variance(own, cross) for a in alone])
    mean = shares @ means
    np.testing.assert_allclose(
        both.variance(own, cross), shares @ (variances + means**2) - mean**2, rtol=1e-9
    )
    np.testing.assert_allclose(np.einsum("tqk,tk->q", cross, both.weights), mean, rtol=1e-9)


def test_evidence_is_the_likelihood() -> None:
    kernels, y = _data(7)
    draws = Hyperprior.default(TERMS).draws(5)
    found = evidence._Conditioned.on(kernels, y, draws, np.ones(7)).log_evidence
    for draw, value in zip(draws, found, strict=True):
        v = np.exp(draw)
        covariance = np.tensordot(v[:-1], kernels, 1) + v[-1] * np.eye(7)
        likelihood = multivariate_normal(np.zeros(7), covariance).logpdf(y)
        assert value == pytest.approx(likelihood + 3.5 * np.log(2 * np.pi), rel=1e-3)


@pytest.mark.parametrize("quiet", [True, False])
def test_evidence_picks_the_right_regime(quiet: bool) -> None:
    """Where targets are either much like the mean or far away, the measurements tell which."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(12, 4))
    regimes = np.log([[1e-6, 1e-6, 1e-5, 1e-4], [1e-6, 1e-6, 0.3, 1e-4]])
    spread = np.exp(0.5 * regimes[0 if quiet else 1, 2])
    y = features @ rng.normal(0.0, spread, 4) + rng.normal(0.0, 0.01, 12)
    kernels = np.stack([np.ones((12, 12)), np.ones((12, 12)), features @ features.T])
    found = posterior(kernels, y, Hyperprior(TERMS, np.repeat(regimes, 40, axis=0)))
    physics = np.log(found.variances[:, 2])
    assert (found.shares @ physics < np.log(1e-3)) == quiet


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_any_number_of_measurements(k: int, seed: int) -> None:
    kernels, y = _data(k, seed)
    found = posterior(kernels, y, Hyperprior.default(TERMS))
    assert found.weights.shape == (3, k)
    assert found.shares.sum() == pytest.approx(1.0)
    mean, variance = found.left_out()
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
    fitted = np.einsum("tik,tk->i", kernels, found.weights)
    # What is left of y is a mean of contractions of it, in the Euclidean norm.
    assert np.linalg.norm(fitted - y) <= np.linalg.norm(y) + 1e-9


def test_many_measurements_recover_the_variances() -> None:
    """More rows than are looked at at first, so the draws are thinned out and optimized."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(250, 100)) / 10
    kernels = np.stack([np.ones((250, 250)), np.ones((250, 250)), features @ features.T])
    y = features @ rng.normal(0.0, 0.5, 100) + rng.normal(0.0, 0.05, 250)
    found = posterior(kernels, y, Hyperprior.default(TERMS))
    best = found.variances[np.argmax(found.shares)]
    assert best[2] == pytest.approx(0.25, rel=0.6)
    assert best[3] == pytest.approx(0.0025, rel=0.6)


def test_noisier_measurements_weigh_less() -> None:
    kernels, y = np.ones((1, 2, 2)), np.array([0.0, 0.4])
    prior = Hyperprior(("constant", "noise"), np.log([[0.1, 0.01]]))
    even = posterior(kernels, y, prior).weights.sum()
    assert 0.15 < even < 0.2
    assert posterior(kernels, y, prior, np.array([1.0, 100.0])).weights.sum() < 0.2 * even


def test_gradient_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the optimizer is told agrees with finite differences."""
    seen = {}

    def capture(loss: object, start: np.ndarray, **_: object) -> object:
        seen["loss"] = loss
        return type("Found", (), {"x": start})

    monkeypatch.setattr("scipy.optimize.minimize", capture)
    kernels, y = _data(11)
    start = np.array([-3.0, -4.0, -2.0, -4.5])
    optimize(kernels, y, start, np.linspace(0.5, 3.0, 11))
    at = start + np.array([0.3, -0.5, 0.7, -0.2])
    slopes = seen["loss"](at)[1]
    differences = approx_fprime(at, lambda p: seen["loss"](p)[0], 1e-6)
    np.testing.assert_allclose(slopes, differences, rtol=1e-4, atol=1e-4)


def test_optimum_has_more_evidence_than_its_start() -> None:
    kernels, y = _data(40)
    start = Hyperprior.default(TERMS).centre
    found = optimize(kernels, y, start)
    pair = evidence._Conditioned.on(kernels, y, np.stack([start, found]), np.ones(40))
    assert pair.log_evidence[1] > pair.log_evidence[0]
    assert (found >= evidence.LEAST).all()
    assert (found <= evidence.MOST).all()


def test_draws_hold_the_optima_and_are_the_same_every_time() -> None:
    optima = np.full((3, 4), -5.0) + np.arange(3)[:, None]
    prior = Hyperprior(TERMS, optima, log_scale_variance=-2.0)
    assert TERMS[0] == "scale"
    np.testing.assert_array_equal(prior.draws()[:3, 1:], optima[:, 1:])
    assert (prior.draws()[:, 0] == -2.0).all()
    np.testing.assert_array_equal(prior.draws(), prior.draws())
    np.testing.assert_allclose(prior.expected[1:], np.exp(optima).mean(axis=0)[1:])
    assert prior.expected[0] == np.exp(-2.0)
    np.testing.assert_array_equal(optima[:, 0], [-5.0, -4.0, -3.0])
    default = Hyperprior.default(TERMS)
    np.testing.assert_array_equal(default.expected, np.exp(default.centre))
    draws = default.draws(2_000)
    even = draws[::2]
    np.testing.assert_allclose(even.mean(axis=0), default.centre, atol=0.15)
    assert draws[1::2, 2].mean() < even[:, 2].mean() - 2
    assert terms_of(("physics",)) == TERMS
