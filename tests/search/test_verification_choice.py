"""Which networks of a front are measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import LookupTable, Predictor, Roofline
from latcast.search.result import Front
from latcast.search.verification._candidates import LEVELS, Candidates, spread
from latcast.search.verification._scope import find
from latcast.spaces import space

Floats = npt.NDArray[np.float64]

SPACE = space("ofa-mobilenet-v3")


@pytest.fixture(scope="module")
def calibrated() -> Predictor:
    """A predictor that is some per cent off."""
    archs = SPACE.sample(120, 0)
    macs = SPACE.block_sums(archs, SPACE.block_table.facts["macs"])
    noise = np.random.default_rng(0).normal(1, 0.05, len(archs))
    return Roofline().fit(Dataset(archs, 3 + macs * 1e-7 * noise, Target("a", "b")))


@pytest.fixture(scope="module")
def uncalibrated() -> Predictor:
    """A predictor without intervals."""
    facts = SPACE.block_table.facts
    return LookupTable.from_blocks(SPACE, Target("a", "b"), facts["macs"] * 1e-7, overhead_ms=3.0)


def front_of(predictor: Predictor, n: int = 60) -> Front:
    """The slower, the more accurate, with returns that diminish."""
    archs = SPACE.sample(n, 1)
    archs = archs[np.argsort(predictor.predict(archs))]
    ms = predictor.predict(archs)
    return Front(archs, 0.8 - 1 / (1 + ms), None, ms, ms)


def candidates(front: Front, budgets: list[float], closed: list[int] | None = None) -> Candidates:
    is_open = np.ones(len(front), dtype=np.bool_)
    is_open[closed or []] = False
    return Candidates(front, np.array(budgets), front.counted_ms, is_open)


def by_loops(c: Candidates, count: int, predictor: Predictor, accuracy: Floats) -> list[int]:
    """The choice as its description says it, candidate by candidate."""
    bounds = [predictor.upper_bound(c.front.archs, level) for level in LEVELS]

    def expected(rows: list[int]) -> float:
        total = 0.0
        for ms in bounds:
            for b, budget in enumerate(c.budgets_ms):
                kept = [c.front.accuracy[r] for r in rows if ms[r] <= budget]
                total += max([*kept, accuracy[b]]) - accuracy[b]
        return total / len(bounds)

    chosen: list[int] = []
    picks = {int(p) for p in c.picks() if p >= 0 and c.is_open[p]}
    while len(chosen) < count:
        left = (picks or set(np.flatnonzero(c.is_open).tolist())) - set(chosen)
        chosen.append(max(sorted(left), key=lambda r: expected([*chosen, r])))
        picks.discard(chosen[-1])
    return chosen


@pytest.mark.parametrize("shares", [[0.5], [0.3, 0.8], [0.9, 0.6, 0.2]])
def test_greedy_choice_is_that_of_its_description(
    calibrated: Predictor, shares: list[float]
) -> None:
    front = front_of(calibrated)
    budgets = np.quantile(front.latency_ms, shares)
    c = candidates(front, budgets.tolist(), closed=[3, 17, 40])
    accuracy = np.full(len(budgets), float(front.accuracy.min()))
    count = len(budgets) + 2
    got = c.choose(count, calibrated, accuracy)
    assert got.tolist() == by_loops(c, count, calibrated, accuracy)


def test_after_the_pick_comes_what_is_left_if_it_fails(uncalibrated: Predictor) -> None:
    front = front_of(uncalibrated)
    budget = float(np.quantile(front.latency_ms, 0.8))
    c = candidates(front, [budget])
    first, second = c.choose(2, uncalibrated, np.array([front.accuracy.min()]))
    assert first == c.picks()[0] == np.flatnonzero(front.latency_ms <= budget)[-1]
    # 10 % is the error that is assumed; quantiles are those of 10, 30, 50, 70 and 90 %.
    factors = np.exp(0.1 * np.array([0.5244005, 1.2815516]))
    assert second in [np.flatnonzero(front.latency_ms * f <= budget)[-1] for f in factors]


def test_what_adds_nothing_is_spread_out(uncalibrated: Predictor) -> None:
    front = front_of(uncalibrated)
    c = candidates(front, [float(front.latency_ms[0]) * 0.5])  # nothing keeps it
    assert c.picks().tolist() == [-1]
    chosen = c.choose(3, uncalibrated, np.array([0.0]))
    assert chosen[1] == np.argmax(np.abs(np.log(front.latency_ms / front.latency_ms[chosen[0]])))
    everything = c.choose(1_000, uncalibrated, np.array([0.0]))
    assert sorted(everything) == list(range(len(front)))
    assert c.choose(0, uncalibrated, np.array([0.0])).tolist() == []


def test_budgets_that_networks_are_chosen_for(calibrated: Predictor) -> None:
    front = front_of(calibrated)
    tight, loose = np.quantile(front.latency_ms, [0.3, 0.8])
    c = candidates(front, [loose, tight, loose * 1.000001])
    accuracy = np.full(3, front.accuracy.min())
    rows = c.choose(6, calibrated, accuracy)
    budgets = c.budgets_of(rows, calibrated, accuracy)
    picks = c.picks()
    assert picks[0] == picks[2]  # for the smaller of the two
    assert dict(zip(rows[:2].tolist(), budgets[:2].tolist(), strict=True)) == {
        picks[0]: loose,
        picks[1]: tight,
    }
    # What makes provision for a pick that fails is faster than the pick, not than its neighbours.
    slower = front.latency_ms[rows] > tight
    assert slower[2:].any()
    assert (budgets[slower] >= loose).all()
    other = np.array([-1, rows[0]])
    assert c.budgets_of(other, calibrated, accuracy).tolist() == [np.inf, budgets[0]]


def test_what_adds_nothing_is_chosen_for_no_budget(uncalibrated: Predictor) -> None:
    front = front_of(uncalibrated)
    c = candidates(front, [float(front.latency_ms[0]) * 0.5, float(front.latency_ms[20])])
    # 10 % is the error that is assumed: the slowest keeps no budget; a faster one than the pick
    # adds something, if the pick fails.
    faster = np.flatnonzero(front.latency_ms * 1.06 < front.latency_ms[20])[-1]
    budgets = c.budgets_of(np.array([20, 59, faster]), uncalibrated, np.zeros(2))
    assert budgets.tolist() == [c.budgets_ms[1], np.inf, c.budgets_ms[1]]


@given(
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=50),
    st.integers(1, 60),
)
def test_spread_takes_members_from_end_to_end(ms: list[float], count: int) -> None:
    values = np.array(ms)
    assert spread(np.full(2, np.inf), count).tolist() == []
    found = spread(np.append(values, np.inf), count)
    assert set(found) <= set(ms)
    assert len(found) <= count
    assert (np.diff(found) > 0).all()
    assert found[0] == pytest.approx(values.min())  # of neighbouring floats it may take either
    if count > 1:
        assert found[-1] == pytest.approx(values.max())


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 12))
def test_networks_are_found_among_others(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    # Genes of blocks that the depth leaves out differ; the networks are the same.
    pool = SPACE.sample(6, rng)
    archs, among = pool[rng.integers(0, 6, n)], pool[rng.integers(0, 6, m)].canonical()
    rows = find(archs, among)
    for arch, row in zip(archs, rows, strict=True):
        same = [k for k in range(m) if among[k] == arch]
        assert row == (same[-1] if same else -1)
