"""Change points: white noise has none, steps are found where they are."""

from __future__ import annotations

import numpy as np
import pytest

from latcast.math.change_points import base_level, lag_one, segments


@pytest.mark.slow
def test_white_noise_is_left_whole() -> None:
    split = sum(
        len(segments(np.random.default_rng(seed).standard_normal(n), 1.0)) > 1
        for seed in range(200)
        for n in (100, 1000)
    )
    assert split <= 8


def test_steps_are_found_where_they_are() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(300)
    parts = segments(noise + np.repeat([1.0, 3.0, 1.0], [150, 50, 100]), 0.1)
    assert [(part.start, part.stop) for part in parts] == [(0, 150), (150, 200), (200, 300)]
    assert [part.level for part in parts] == pytest.approx([1, 3, 1], abs=0.05)
    assert base_level(parts) == pytest.approx(1, abs=0.05)
    assert [len(part) for part in parts] == [150, 50, 100]


def test_neighbours_that_agree() -> None:
    assert lag_one(np.ones(9)) == 0.0
    assert lag_one(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.98, abs=0.02)
