"""Few numbers of a covariance: exact where they are all, close where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.math import condensed as module
from latcast.math.condensed import Condensed, condensed, expanded


def learnt(seed: int, blocks: tuple[int, ...], sums: int) -> tuple[np.ndarray, ...]:
    """Covariance after data of single blocks, and of sums over all; prior, and blocks."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(len(blocks)), blocks)
    prior = rng.uniform(0.2, 2, len(block))
    slopes = np.sqrt(prior) * rng.normal(size=(3 * len(block), len(block)))
    slopes *= block == rng.integers(0, len(blocks), (len(slopes), 1))
    whole = 5 * rng.normal(size=(sums, len(block)))
    precision = np.diag(1 / prior) + slopes.T @ slopes + whole.T @ whole
    return np.linalg.inv(precision), prior, block


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=1, max_size=5))
@settings(max_examples=30)
def test_all_of_a_small_covariance_is_kept(seed: int, sizes: list[int]) -> None:
    covariance, prior, block = learnt(seed, tuple(sizes), 3)
    found = expanded(condensed(covariance, prior, block), prior)
    np.testing.assert_allclose(found, covariance, atol=3e-3 * prior.max())


@pytest.mark.parametrize("directions", [2, 10])
def test_what_few_sums_tie_together_is_in_few_directions(
    directions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variance of a sum that was measured is far below those of its parts."""
    covariance, prior, block = learnt(0, (12, 12, 12, 12), 2)
    monkeypatch.setattr(module, "SHARED", directions)
    few = condensed(covariance, prior, block)
    found = expanded(few, prior)
    assert np.linalg.eigvalsh(found).min() > 0
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 48))
    exact, close = (np.einsum("np,pq,nq->n", features, c, features) for c in (covariance, found))
    np.testing.assert_allclose(close, exact, rtol=0.25 if directions == 2 else 0.08)


def test_what_data_left_alone_takes_no_numbers() -> None:
    covariance, prior, _ = learnt(2, (3,), 1)
    prior = np.concatenate([prior, np.full(5, 0.5)])
    wide = np.diag(prior)
    wide[:3, :3] = covariance
    few = condensed(wide, prior, np.array([0, 0, 0, 1, 1, 1, -1, -1]))
    assert few.block.tolist() == [0, 0, 0, -1, -1, -1, -1, -1]
    assert len(few.own) == 6
    np.testing.assert_allclose(expanded(few, prior), wide, atol=3e-3)


def test_a_weight_without_a_block_joins_the_one_that_it_is_tied_to() -> None:
    covariance, prior, block = learnt(3, (4, 4), 0)
    few = condensed(covariance, prior, np.where(np.arange(8) == 5, -1, block))
    assert few.block.tolist() == block.tolist()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"strength": np.full(3, -1.0)}, "above -1"),
        ({"shared": np.zeros((2, 3))}, "rows"),
        ({"own": np.ones(2)}, "all their numbers"),
        ({"own": np.zeros(6)}, "positive diagonal"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, np.ndarray], wrong: str) -> None:
    covariance, prior, block = learnt(4, (3,), 1)
    few = condensed(covariance, prior, block)
    with pytest.raises(ValueError, match=wrong):
        expanded(Condensed(**{**few._asdict(), **change}), prior)
