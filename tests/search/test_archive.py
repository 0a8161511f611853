from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latcast.search.front import Archive, Evaluated, nondominated
from latcast.search.nsga2 import crowding
from latcast.spaces import space

# Few values, so that there are ties.
numbers = st.integers(0, 6).map(float)
points = st.integers(1, 3).flatmap(
    lambda targets: hnp.arrays(np.float64, st.tuples(st.integers(0, 40), st.just(1 + targets)),
                               elements=numbers)
)  # fmt: skip


def brute_force(accuracy: np.ndarray, ms: np.ndarray) -> set[tuple[float, ...]]:
    """Values of the points that no other beats."""
    result = set()
    for a, m in zip(accuracy, ms, strict=True):
        as_good = (accuracy >= a) & (ms <= m).all(axis=1)
        better = as_good & ((accuracy > a) | (ms < m).any(axis=1))
        if not better.any():
            result.add((a, *m))
    return result


@given(points)
def test_nondominated(values: np.ndarray) -> None:
    accuracy, ms = values[:, 0], values[:, 1:]
    kept = nondominated(accuracy, ms)
    found = [(accuracy[n], *ms[n]) for n in kept]
    assert len(set(found)) == len(found)
    assert set(found) == brute_force(accuracy, ms)
    for n in kept:  # of equal ones the first
        equal = (accuracy == accuracy[n]) & (ms == ms[n]).all(axis=1)
        assert n == np.argmax(equal)


@given(points, st.integers(1, 7))
def test_an_archive_in_parts_is_the_front_of_all(values: np.ndarray, part: int) -> None:
    the_space = space("nasbench201")
    archs = the_space.sample(len(values), 0)
    accuracy, ms = values[:, 0], values[:, 1:]
    excess = np.where(np.arange(len(values)) % 5 == 4, 0.1, 0.0)
    ceiling = np.full(ms.shape[1], 5.0)
    archive = Archive.empty(the_space, ms.shape[1], ceiling)
    found = Evaluated(archs, accuracy, ms, excess)
    for start in range(0, len(values), part):
        archive = archive.with_best_of(found[np.arange(start, min(start + part, len(values)))])
    allowed = (excess == 0) & (ms <= 5).all(axis=1)
    front = {(a, *m) for a, m in zip(archive.accuracy, archive.ms, strict=True)}
    assert front == brute_force(accuracy[allowed], ms[allowed])
    assert len(archive) == len(front)
    if ms.shape[1] == 1:
        assert (np.diff(archive.accuracy) > 0).all()
        assert (np.diff(archive.ms[:, 0]) > 0).all()


@given(points, numbers)
def test_the_best_within_a_budget(values: np.ndarray, limit: float) -> None:
    the_space = space("nasbench201")
    accuracy, ms = values[:, 0], values[:, 1:]
    targets = ms.shape[1]
    archive = Archive.empty(the_space, targets, np.full(targets, np.inf)).with_best_of(
        Evaluated(the_space.sample(len(values), 0), accuracy, ms, np.zeros(len(values)))
    )
    row = archive.best_within(np.full(targets, limit + 1))
    within = (ms <= limit + 1).all(axis=1)
    if row is None:
        assert not within.any()
    else:
        assert archive.accuracy[row] == accuracy[within].max()


def test_crowding() -> None:
    objectives = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]])
    # The sum over both objectives of the neighbours' distance, in shares of the range.
    np.testing.assert_allclose(crowding(objectives), [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf])
    assert crowding(np.ones((3, 2))).tolist() == [np.inf, 0, np.inf]
    assert crowding(np.ones((1, 2))).tolist() == [np.inf]


def test_large_fronts_of_several_targets() -> None:
    rng = np.random.default_rng(0)
    accuracy, ms = rng.random(3_000), rng.random((3_000, 2))
    kept = nondominated(accuracy, ms)
    assert {(accuracy[n], *ms[n]) for n in kept} == brute_force(accuracy, ms)
    assert len(kept) > 30
    with pytest.raises(IndexError):
        Archive.empty(space("nasbench201"), 2, np.ones(2)).archs[np.array([0])]
