"""Splits: every row on one side, equal networks on the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.data import Dataset, paper_split, split
from latcast.devices import Target
from latcast.spaces import Archs, space

SPACE = space("compofa-elastic-kernel")


def dataset(n: int, distinct: int, seed: int) -> Dataset:
    """``n`` rows of at most ``distinct`` networks, inactive genes redrawn in every row."""
    rng = np.random.default_rng(seed)
    genes = SPACE.sample(distinct, rng).genes[rng.integers(0, distinct, n)].copy()
    inactive = SPACE.canonical_genes(genes) == 0
    genes[inactive] = SPACE.sample(n, rng).genes[inactive]
    return Dataset(Archs(SPACE, genes), rng.uniform(1, 2, n), Target("a", "b"))


def networks(data: Dataset) -> set[bytes]:
    return {row.tobytes() for row in data.archs.canonical().genes}


@settings(max_examples=50)
@given(
    n=st.integers(2, 60),
    distinct=st.integers(2, 30),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_equal_networks_are_never_on_two_sides(
    n: int, distinct: int, fraction: float, seed: int
) -> None:
    data = dataset(n, distinct, seed)
    groups = len(data.archs.unique())
    if not 0 < round(fraction * groups) < groups:
        with pytest.raises(ValueError, match="both parts need one architecture"):
            split(data, fraction, seed)
        return
    first, second = split(data, fraction, seed)
    assert not networks(first) & networks(second)
    assert len(networks(first)) == round(fraction * groups)
    assert sorted([*first.order, *second.order]) == list(range(n))


def test_a_split_is_repeatable_and_depends_on_the_seed() -> None:
    data = dataset(200, 150, 0)
    one, same, other = (split(data, 0.5, seed)[0].order for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_cannot_be_split() -> None:
    for fraction in (0, 1, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split(dataset(10, 5, 0), fraction)
    with pytest.raises(ValueError, match="1 distinct ones cannot be split"):
        split(dataset(10, 1, 0), 0.5)


def test_the_papers_split_is_by_row() -> None:
    train, validation, test = paper_split(dataset(10_000, 50, 0))
    assert [len(part) for part in (train, validation, test)] == [7000, 1500, 1500]
    assert (train.order[0], validation.order[0], test.order[-1]) == (0, 7000, 9999)
    assert networks(train) & networks(test)
