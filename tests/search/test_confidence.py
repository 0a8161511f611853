from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from latcast.devices import Target
from latcast.math.conformal import Calibration
from latcast.models import BlockPredictor, Predictor
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.search import AccuracyModel
from latcast.search.confidence import (
    MISFIT,
    ConfidentBound,
    Trend,
)
from latcast.search.problem import _tilted, small_to_large
from latcast.spaces import Archs, SearchSpace, space, space_names

Floats = npt.NDArray[np.float64]

SPACE = space("ofa-mobilenet-v3")
TARGET = Target("imaginary", "simulator")
SCORES = ndtri(np.arange(1, 400) / 400)
SEARCHES = 150
CANDIDATES = 2_000
BUDGET_MS = 50.0


def chance(archs: Archs, seed: int) -> Floats:
    """Standard normal numbers that belong to networks, the same for the same network."""
    weights = np.random.default_rng(seed).uniform(10.0, 1e4, archs.genes.shape[1])
    uniform = np.modf(archs.genes.astype(np.float64) @ weights)[0]
    return np.asarray(ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)))


def size_ms(archs: Archs) -> Floats:
    """50 ms on average, with a deviation of about 4 ms among random networks."""
    return 50.0 + 1.2 * (archs.genes[:, :20].astype(np.float64) - 5.0).sum(axis=1) / 2.0


class Simulated(BlockPredictor):
    """A known function of networks, calibrated with normal errors of 1 ms."""

    kind, description = "simulated", "for tests"

    def __init__(self, chance_seed: int | None, calibration: Calibration | None) -> None:
        super().__init__()
        self._seed = chance_seed
        self.become(Fitted(SPACE, TARGET, {}, calibration))

    def _predict(self, archs: Archs) -> Floats:
        size = size_ms(archs)
        return size if self._seed is None else size + chance(archs, self._seed)

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        raise NotImplementedError

    def _explain(self, archs: Archs) -> Floats:
        raise NotImplementedError

    def _state(self) -> State:
        raise NotImplementedError

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        raise NotImplementedError


class Grows(AccuracyModel):
    """Accuracy that grows by 0.002 per ms of size, and differs by 0.005 among equals."""

    def __init__(self) -> None:
        super().__init__("grows")
        self.given(SPACE, [224])

    def supports(self, space: SearchSpace) -> bool:
        return space is SPACE

    def _values(self, own: Archs) -> Floats:
        return 0.7 + 0.002 * (size_ms(own) - 50.0) + 0.005 * chance(own, 12_345)


class Constant(Grows):
    def _values(self, own: Archs) -> Floats:
        return np.full(len(own), 0.7)


def calibration() -> Calibration:
    return Calibration(SCORES, 0.0)


def bound(confidence: float = 0.9, chance_seed: int | None = 1) -> ConfidentBound:
    return ConfidentBound.of(SPACE, Simulated(chance_seed, calibration()), Grows(), confidence)


@pytest.fixture(scope="module")
def one() -> ConfidentBound:
    return bound()


def rates(confidence: float, *, fooled: bool) -> tuple[float, float]:
    """How often what is picked stays under the bound, uncorrected and corrected.

    Args:
        confidence: asked for.
        fooled: whether predictions follow the chance in what was measured, ``p = t + chance``;
            otherwise it is the truth that departs, ``t = p + chance``.
    """
    under = np.zeros((SEARCHES, 2), dtype=bool)
    for seed in range(SEARCHES):
        archs = SPACE.sample(CANDIDATES, seed)
        predictor = Simulated(seed if fooled else None, calibration())
        b = ConfidentBound.of(SPACE, predictor, Grows(), confidence, seed=seed)
        true = size_ms(archs) + (0.0 if fooled else chance(archs, seed))
        accuracy = b.accuracy.predict(archs)
        for way, ms in enumerate((b.uncorrected(predictor.predict(archs)), b.bound_ms(archs))):
            picked = np.argmax(np.where(ms <= BUDGET_MS, accuracy, -np.inf))
            under[seed, way] = true[picked] <= ms[picked]
    uncorrected, corrected = under.mean(axis=0)
    return float(uncorrected), float(corrected)


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_a_corrected_bound_holds_for_what_is_picked(confidence: float) -> None:
    uncorrected, corrected = rates(confidence, fooled=True)
    chance_of_rate = 3 * np.sqrt(confidence * (1 - confidence) / SEARCHES)
    assert uncorrected < confidence - 2 * chance_of_rate
    assert confidence - chance_of_rate <= corrected <= confidence + chance_of_rate + 0.05


@pytest.mark.slow
def test_nothing_is_lost_where_predictions_cannot_be_lucky() -> None:
    uncorrected, corrected = rates(0.9, fooled=False)
    assert uncorrected == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / SEARCHES))
    assert corrected >= uncorrected


def test_the_trend_of_a_known_relation() -> None:
    rng = np.random.default_rng(0)
    ms = np.exp(rng.uniform(2.0, 4.0, 20_000))
    accuracy = 0.5 + 0.1 * np.log(ms) + 0.01 * rng.normal(size=len(ms))
    typical, deviation, slope = Trend.of(ms, accuracy).at(np.array([10.0, 20.0, 40.0]))
    np.testing.assert_allclose(typical, 0.5 + 0.1 * np.log([10.0, 20.0, 40.0]), atol=0.001)
    np.testing.assert_allclose(deviation, 0.01, rtol=0.2)
    np.testing.assert_allclose(slope, 0.1 / np.array([10.0, 20.0, 40.0]), rtol=0.1)


def test_networks_that_cannot_be_trained_do_not_count() -> None:
    rng = np.random.default_rng(0)
    ms = rng.uniform(10.0, 20.0, 5_000)
    accuracy = 0.7 + 0.01 * rng.normal(size=len(ms))
    broken = np.where(rng.random(len(ms)) < 0.05, 0.1, accuracy)
    clean, _, _ = Trend.of(ms, accuracy).at(np.array([15.0]))
    typical, deviation, _ = Trend.of(ms, broken).at(np.array([15.0]))
    assert typical == pytest.approx(clean, abs=0.002)
    assert deviation == pytest.approx(0.01, rel=0.25)


def test_the_correction_is_the_formula(one: ConfidentBound) -> None:
    p, a = np.array([48.0, 50.0, 53.0]), np.array([0.72, 0.715, 0.709])
    typical, deviation, slope = one.trend.at(p)
    error = float(one.latency.calibration.deviation_ms(p)[0])
    shift = np.sqrt((slope * error / deviation) ** 2 + MISFIT**2) * (a - typical) / deviation
    assert shift.min() > 0
    np.testing.assert_allclose(one.correction(p, a), shift * error)
    low = np.full(3, 0.5)
    assert (one.correction(p, low) == 0).all()


def test_a_factor_on_the_whole_target_makes_no_network_lucky() -> None:
    """Nothing but the misfit is corrected where errors are the same for all networks."""
    shared = Calibration(SCORES / 10, 1.0, equal_tailed=True)
    b = ConfidentBound.of(SPACE, Simulated(1, shared), Grows(), 0.9)
    p, a = np.array([48.0, 50.0, 53.0]), np.array([0.72, 0.715, 0.709])
    typical, deviation, _ = b.trend.at(p)
    expected = MISFIT * shared.deviation_ms(p) * (a - typical) / deviation
    np.testing.assert_allclose(b.correction(p, a), expected)


@given(st.floats(30.0, 70.0), st.floats(30.0, 70.0), st.floats(0.6, 0.8), st.floats(0.6, 0.8))
def test_it_grows_with_prediction_and_accuracy(
    one: ConfidentBound, p: float, q: float, a: float, b: float
) -> None:
    p, q, a, b = min(p, q), max(p, q), min(a, b), max(a, b)
    both = np.array([p, q])
    lower, upper = one.uncorrected(both) + one.correction(both, np.array([a, a]))
    assert lower <= upper + 1e-9
    lower, upper = one.correction(np.array([p, p]), np.array([a, b]))
    assert lower <= upper


def test_it_is_repeatable_and_grows_with_the_confidence() -> None:
    archs = SPACE.sample(500, 3)
    at_90 = bound(0.9).bound_ms(archs)
    assert (bound(0.9).bound_ms(archs) == at_90).all()
    assert (bound(0.8).bound_ms(archs) < at_90).all()
    assert (at_90 < bound(0.95).bound_ms(archs)).all()


def test_a_bound_is_kept_with_its_confidence(one: ConfidentBound) -> None:
    archs = SPACE.sample(200, 5)
    kept = one.p_within(archs, one.bound_ms(archs))
    assert kept == pytest.approx(np.full(200, 0.9), abs=1.5 / 400)
    assert (one.p_within(archs, 1e3) > 0.99).all()


def test_an_accuracy_that_is_the_same_for_all_corrects_nothing() -> None:
    b = ConfidentBound.of(SPACE, Simulated(1, calibration()), Constant(), 0.9)
    archs = SPACE.sample(100, 6)
    np.testing.assert_array_equal(b.bound_ms(archs), b.uncorrected(b.latency.predict(archs)))


def test_what_has_no_bound() -> None:
    for confidence in (0.0, 1.0, 0.999):
        with pytest.raises(ValueError, match="confidence"):
            bound(confidence)
    with pytest.raises(ValueError, match="calibration"):
        ConfidentBound.of(SPACE, Simulated(1, None), Grows(), 0.9)
    none, predictor = SPACE.sample(0), Simulated(1, calibration())
    with pytest.raises(ValueError, match="candidates must hold a network to choose; got none"):
        ConfidentBound.of(SPACE, predictor, Grows(), 0.9, candidates=none)


@pytest.mark.parametrize("name", space_names())
def test_random_networks_of_every_space_have_all_choices(name: str) -> None:
    the_space = space(name)
    gene = the_space.genes[0]
    restrict = {gene.name: list(gene.choices)[:2]}
    archs = small_to_large(the_space, 2_000, np.random.default_rng(0), restrict)
    for column, choices in zip(archs.genes.T, the_space.choices(restrict), strict=True):
        assert set(np.unique(column)) == set(choices)


def test_odds_of_a_tilted_draw() -> None:
    tilts = np.repeat([0.0, np.log(4.0)], 40_000)
    drawn = _tilted(2, tilts, np.random.default_rng(0))
    assert drawn[:40_000].mean() == pytest.approx(0.5, abs=0.01)
    assert drawn[40_000:].mean() == pytest.approx(0.8, abs=0.01)
