from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.devices import Target
from latcast.math.conformal import student_scores
from latcast.models.features import NetworkFeatures
from latcast.models.transfer import (
    SHAPE_DEVIATION,
    Blend,
    Hyperprior,
    Prior,
    averaged,
    estimate,
    guess,
    terms_of,
)
from latcast.spaces import Archs, space

RESOLUTIONS = {"r": [160, 192, 224]}


@dataclass(frozen=True)
class Constant:
    """A predictor of one number."""

    value: float

    def predict(self, archs: Archs) -> np.ndarray:
        return np.full(len(archs), self.value)


@pytest.fixture(scope="module")
def prior() -> Prior:
    """Nothing is known but the space's physics."""
    archs = space("ofa-mobilenet-v3").sample(500, 0, restrict=RESOLUTIONS)
    features = NetworkFeatures(archs, 16)
    return Prior(features, archs, Blend(features.constant(1.0)))


@pytest.fixture(scope="module")
def data(simulate: Callable[..., Any]) -> Dataset:
    archs = space("ofa-mobilenet-v3").sample(1_000, 1, restrict=RESOLUTIONS)
    return simulate(Target("imaginary", "simulator")).measure(archs)


def _error(prior: Prior, data: Dataset, test: Dataset) -> float:
    found = estimate(prior, data.archs, data.latency_ms).latency_ms
    return float(np.abs(found(test.archs) / test.latency_ms - 1).mean())


def test_blends_add_up(prior: Prior) -> None:
    archs = prior.population[:5]
    blend = Blend(prior.features.constant(2.0), Constant(10.0), 0.5)
    np.testing.assert_allclose(blend(archs), 7.0)
    np.testing.assert_allclose(blend.scaled(3.0)(archs), 21.0)
    np.testing.assert_allclose(replace(blend, base=None)(archs), 2.0)


def test_without_measurements_it_is_the_mean(prior: Prior) -> None:
    with pytest.raises(ValueError, match="something must be known of the scale"):
        guess(prior)
    found = guess(replace(prior, log_scale=(np.log(8.0), 0.4)))
    np.testing.assert_allclose(found.latency_ms(prior.population[:3]), 8.0)
    spread = np.hypot(0.4, SHAPE_DEVIATION)
    scores = found.calibration.scores
    assert scores[199] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(np.log1p(scores), spread * student_scores(5.0))
    lower, upper = found.calibration.interval(np.array([8.0]), 0.9)
    assert 0 <= lower[0] < 8.0 < upper[0]


def test_one_measurement_sets_the_scale(prior: Prior, data: Dataset) -> None:
    """Where nothing is believed of the scale, the one measurement is met."""
    found = estimate(prior, data.archs[:1], data.latency_ms[:1]).latency_ms
    assert found(data.archs[:1])[0] == pytest.approx(data.latency_ms[0], rel=1e-6)


def test_what_is_believed_of_the_scale_counts(prior: Prior, data: Dataset) -> None:
    """As a measurement does, by its precision."""
    sure = replace(prior, log_scale=(np.log(2 * data.latency_ms[0]), 1e-3))
    unsure = replace(prior, log_scale=(np.log(2 * data.latency_ms[0]), 10.0))
    means = [
        estimate(p, data.archs[:1], data.latency_ms[:1]).latency_ms(prior.population).mean()
        for p in (sure, unsure)
    ]
    assert means[1] == pytest.approx(data.latency_ms[0], rel=0.01)
    assert means[0] > 1.05 * data.latency_ms[0]


def test_the_unit_of_latency_does_not_matter(prior: Prior, data: Dataset) -> None:
    few = data[:12]
    once = estimate(prior, few.archs, few.latency_ms)
    thousandfold = estimate(prior, few.archs, 1e3 * few.latency_ms)
    archs = prior.population[:50]
    np.testing.assert_allclose(
        thousandfold.latency_ms(archs), 1e3 * once.latency_ms(archs), rtol=1e-6
    )
    np.testing.assert_allclose(thousandfold.calibration.scores, once.calibration.scores, rtol=1e-6)


@pytest.mark.slow
def test_sources_tell_directions(prior: Prior, data: Dataset) -> None:
    """A target that departs as another one does is found by three measurements."""
    test = data[500:]
    whole = estimate(prior, data.archs[:300], data.latency_ms[:300]).latency_ms.function
    mean = float(whole(prior.population).mean())
    sources = whole.combined([[1 / mean]]) + prior.features.constant(-1.0)
    norm = float(np.sqrt((sources(prior.population) ** 2).mean()))
    informed = replace(prior, sources=sources.combined([[1 / norm]]))
    assert informed.terms[2] == "sources"
    assert _error(informed, data[300:303], test) < 0.7 * _error(prior, data[300:303], test)


@pytest.mark.slow
def test_features_are_solved_for_as_measurements_are(
    prior: Prior, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of solving, on the same rows."""
    train, test = data[:400], data[400:]
    by_measurements = estimate(prior, train.archs, train.latency_ms)
    monkeypatch.setattr("latcast.models.transfer.MAX_KERNEL_ROWS", 100)
    by_features = estimate(prior, train.archs, train.latency_ms)
    values = [e.latency_ms(test.archs) for e in (by_measurements, by_features)]
    assert np.abs(values[1] / values[0] - 1).mean() < 0.005
    for e, v in zip((by_measurements, by_features), values, strict=True):
        assert np.abs(v / test.latency_ms - 1).mean() < 0.011
        # By features none is stated: measurements are many there, and errors alike.
        deviation = None if e.deviation is None else e.deviation(test.archs, None) / v
        lower, upper = e.calibration.interval(v, 0.9, deviation)
        inside = (lower <= test.latency_ms) & (test.latency_ms <= upper)
        assert 0.85 < inside.mean() < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rows", [30, 60, 400])
@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_an_outlier_does_not_spoil_it(
    prior: Prior,
    data: Dataset,
    rows: int,
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However the rows are solved for; the last are by features."""
    monkeypatch.setattr("latcast.models.transfer.MAX_KERNEL_ROWS", 300)
    train, test = data[:rows], data[500:]
    latency = train.latency_ms.copy()
    latency[3] *= factor
    clean = _error(prior, train, test)
    assert _error(prior, replace(train, values=latency), test) < 1.5 * clean + 0.02


@pytest.mark.parametrize("is_priced", [True, False])
def test_prices_help_where_nothing_else_tells(prior: Prior, is_priced: bool) -> None:
    """A MAC, a byte and a network at three prices; or all as a known target says."""
    table = prior.features.space.block_table
    moved = sum(table.facts[name] for name in ("read_bytes", "write_bytes", "param_bytes"))
    truth = prior.features.constant(0.3)
    if is_priced:
        truth = replace(truth, rows=(table.facts["macs"] * 2e-9 + moved * 3e-8)[None])
    else:
        truth = replace(truth, outputs=np.random.default_rng(0).uniform(0, 1, truth.outputs.shape))
        prior = replace(prior, mean=Blend(truth.combined([[1 / truth(prior.population).mean()]])))
    archs = space("ofa-mobilenet-v3").sample(210, 2, restrict=RESOLUTIONS)
    few, ms = archs[:10], truth(archs)[:, 0]
    plain = estimate(prior, few, ms[:10])
    found = averaged(plain, prior, few, ms[:10])
    before, after = (np.abs(e.latency_ms(archs)[10:] / ms[10:] - 1).max() for e in (plain, found))
    assert after < (0.2 * before if is_priced else 0.002)
    assert np.abs(found.left_out_ms).mean() <= np.abs(plain.left_out_ms).mean() * 1.001
    many = replace(plain, left_out_ms=np.zeros(100))
    assert averaged(many, prior, archs[:100], ms[:100]) is many


def test_draws_hold_the_optima_and_are_the_same_every_time() -> None:
    terms = terms_of(("physics",))
    assert terms == ("scale", "constant", "physics", "noise")
    optima = np.full((3, 4), -5.0) + np.arange(3)[:, None]
    prior = Hyperprior(terms, optima, log_scale_variance=-2.0)
    np.testing.assert_array_equal(prior.draws()[:3, 1:], optima[:, 1:])
    assert (prior.draws()[:, 0] == -2.0).all()
    np.testing.assert_array_equal(prior.draws(), prior.draws())
    np.testing.assert_allclose(prior.expected[1:], np.exp(optima).mean(axis=0)[1:])
    assert prior.expected[0] == np.exp(-2.0)
    np.testing.assert_array_equal(optima[:, 0], [-5.0, -4.0, -3.0])
    default = Hyperprior.default(terms)
    np.testing.assert_array_equal(default.expected, np.exp(default.centre))
    draws = default.draws(2_000)
    even = draws[::2]
    np.testing.assert_allclose(even.mean(axis=0), default.centre, atol=0.15)
    assert draws[1::2, 2].mean() < even[:, 2].mean() - 2


def test_alike_targets_leave_draws_to_the_defaults() -> None:
    """However closely many known targets suit each other, one unlike them stays possible."""
    terms = terms_of(("sources", "physics"))
    draws = Hyperprior(terms, np.full((100, len(terms)), -12.0)).draws()
    default = Hyperprior.default(terms)
    around = len(draws) // 2
    np.testing.assert_array_equal(draws[:around, 1:], -12.0)
    physics = terms.index("physics")
    for column in (physics, len(terms) - 1):
        above = draws[around::2, column] > default.centre[column]
        assert 0.3 < above.mean() < 0.7
