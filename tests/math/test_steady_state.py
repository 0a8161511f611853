"""The steady state of series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from latcast.math.steady_state import steady_state

TIME = np.arange(400)


def _noise(seed: int, memory: float = 0.0) -> np.ndarray:
    """White noise of deviation 1, or an autoregressive one of the same deviation."""
    draws = np.random.default_rng(seed).normal(size=len(TIME))
    for n in range(1, len(draws)) if memory else ():
        draws[n] = memory * draws[n - 1] + np.sqrt(1 - memory**2) * draws[n]
    return draws


@pytest.mark.parametrize(
    ("truth", "level", "starts"),
    [
        (np.full(400, 100.0), 100, (0, 150)),
        (np.where(TIME < 120, 100.0, 140.0), 140, (115, 199)),
        (140 - 40 * np.exp(-TIME / 20), 140, (60, 199)),
        (120 + 20 * np.sign(np.sin(TIME / 3)), 120, (0, 199)),  # a governor that goes to and fro
    ],
)
def test_the_beginning_is_cut_off(truth, level, starts):
    found = steady_state(truth + 0.5 * _noise(0))
    assert found.is_reached
    assert starts[0] <= found.start <= starts[1]
    assert found.level == pytest.approx(level, abs=6 if truth.std() > 19 else 0.5)


def test_a_series_that_still_rises_is_not_steady():
    assert not steady_state(100 + 0.1 * TIME + _noise(0)).is_reached
    few = steady_state(np.array([1.0, 2.0]))
    assert not few.is_reached
    assert np.isnan(few.half_width)
    with pytest.raises(ValueError, match="got none"):
        steady_state(np.array([]))


def test_a_spike_moves_no_level():
    series = 100 + 0.1 * _noise(0)
    series[300:302] = 1000
    assert steady_state(series).level == pytest.approx(100, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.7])
def test_intervals_hold_the_truth(memory):
    """95 % asked for; neighbours that go together cost some of it, few batches of five do not."""
    found = [steady_state(100 + _noise(seed, memory)) for seed in range(200)]
    held = np.mean([abs(x.level - 100) <= x.half_width for x in found])
    assert held >= 0.88
