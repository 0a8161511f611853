"""Prices that are known are recovered, and none is ever nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latcast.graph import KERNEL_FACTS
from latcast.models.kernels._prices import MIN_OF_NEAR, Observed, Prices, classes_of, work_of
from latcast.networks import ALL_KINDS, OPS, Networks

MakeCounts = Callable[..., Networks]
KNOWN = {
    "conv": (2e-8, 1e-7, 3e-7, 0.01),
    "linear": (5e-8, 2e-7, 1e-7, 0.005),
    "add": (1e-7, 4e-8, 1e-7, 0.002),
    "max_pool": (4e-7, 1e-8, 1e-7, 0.02),
}
"""Milliseconds per operation, byte of activations, byte of constants, and launch."""


def true_ms(kernels: Networks) -> np.ndarray:
    prices = np.array([KNOWN[OPS[op]] for op in kernels.ops])
    return np.asarray((work_of(kernels) * prices).sum(axis=1))


def networks(make: MakeCounts, seed: int = 0, n: int = 150) -> Networks:
    rng = np.random.default_rng(seed)
    return make(rng, list(KNOWN) * 30, rng.integers(0, 3, (n, 120)) * (rng.random((n, 120)) < 0.1))


def untimed(kernels: Networks, total_ms: np.ndarray) -> Observed:
    return Observed(kernels, total_ms, sp.csr_matrix(kernels.counts.shape))


def test_work_is_counted_as_it_is_said(made_kernels: MakeCounts) -> None:
    kernels = made_kernels(np.random.default_rng(0), ["conv", "max_pool"])
    facts = [dict(zip(KERNEL_FACTS, row, strict=True)) for row in kernels.facts.tolist()]
    conv, pool = facts
    visits = pool["positions"] * pool["outputs"] * pool["window"]
    for row, kernel, operations in zip(
        work_of(kernels, fills_vectors=False), facts, (conv["macs"], visits), strict=True
    ):
        moved = kernel["read_bytes"] + kernel["write_bytes"]
        assert row.tolist() == [operations, moved, kernel["param_bytes"], 1]


@pytest.mark.parametrize(
    ("op", "facts", "filled"),
    [
        ("conv", {"outputs": 20, "inputs": 32, "blocked": 1}, 32 / 20),
        ("conv", {"outputs": 32, "inputs": 20, "blocked": 1}, 32 / 20),
        ("conv", {"outputs": 32, "inputs": 20, "blocked": 0}, 1.0),
        ("conv", {"outputs": 32, "inputs": 3, "blocked": 1}, 1.0),
        ("conv", {"outputs": 32, "inputs": 16, "groups": 4}, 2.0),
        ("depthwise_conv", {"outputs": 24, "inputs": 1, "groups": 24, "blocked": 1}, 32 / 24),
        ("max_pool", {"outputs": 20, "inputs": 20, "blocked": 1}, 1.0),
    ],
)
def test_convolutions_compute_whole_vectors_of_channels(
    made_kernels: MakeCounts, op: str, facts: dict[str, float], filled: float
) -> None:
    kernels = made_kernels(np.random.default_rng(0), [op])
    for name, value in {"groups": 1, "blocked": 0, **facts}.items():
        kernels.facts[:, KERNEL_FACTS.index(name)] = value
    asked, computed = (work_of(kernels, fills_vectors=fills)[0] for fills in (False, True))
    assert computed[0] == pytest.approx(filled * asked[0])
    assert computed[1:].tolist() == asked[1:].tolist()


def test_prices_are_recovered_from_totals(made_kernels: MakeCounts) -> None:
    kernels = networks(made_kernels)
    prices = Prices.fit(untimed(kernels, kernels.counts @ true_ms(kernels)))
    unseen = networks(made_kernels, seed=1)
    apart = np.abs(np.log(prices(unseen) / true_ms(unseen)))
    assert np.median(apart) < 0.05
    total_ms = unseen.counts @ true_ms(unseen)
    errors = np.abs(unseen.counts @ prices(unseen) / total_ms - 1)
    assert np.median(errors) < 0.02
    assert errors.max() < 0.15


def test_times_of_kernels_make_prices_closer(made_kernels: MakeCounts) -> None:
    kernels = networks(made_kernels, n=6)
    ms = true_ms(kernels)
    total_ms = kernels.counts @ ms
    times = sp.csr_matrix((kernels.counts > 0).multiply(ms))
    unseen = networks(made_kernels, seed=1)
    errors = [
        np.abs(np.log(Prices.fit(observed)(unseen) / true_ms(unseen)))
        for observed in (untimed(kernels, total_ms), Observed(kernels, total_ms, times))
    ]
    assert np.median(errors[1]) < 0.15
    assert np.median(errors[1]) < np.median(errors[0]) / 2


def test_one_slow_network_does_not_make_all_slow(made_kernels: MakeCounts) -> None:
    kernels = networks(made_kernels)
    total_ms = kernels.counts @ true_ms(kernels)
    total_ms[3] *= 20
    predicted = kernels.counts @ Prices.fit(untimed(kernels, total_ms))(kernels)
    errors = np.delete(predicted / total_ms - 1, 3)
    assert np.median(np.abs(errors)) < 0.15


def test_the_unseen_gets_the_price_of_what_it_is_like(made_kernels: MakeCounts) -> None:
    kernels = networks(made_kernels)
    prices = Prices.fit(untimed(kernels, kernels.counts @ true_ms(kernels)))
    odd = made_kernels(np.random.default_rng(3), ["sub", "softmax", "transpose", "add"])
    work = work_of(odd)
    kinds = [ALL_KINDS.index(kind) for kind in ("elementwise", "softmax", "copy")]
    for row, kind in enumerate(kinds):
        np.testing.assert_allclose(prices.parts(odd)[row], work[row] * prices.by_kind[kind])
    # What no kind knows costs what all kernels do.
    seen = {"conv", "linear", "elementwise", "pool"}
    pooled = {tuple(prices.by_kind[n]) for n, kind in enumerate(ALL_KINDS) if kind not in seen}
    assert len(pooled) == 1
    assert tuple(prices.by_kind[kinds[0]]) not in pooled
    own = prices.classes.tolist().index(classes_of(odd)[3])
    np.testing.assert_allclose(prices.parts(odd)[3], work[3] * prices.by_class[own])


def test_blocks_have_prices_of_their_own(made_kernels: MakeCounts) -> None:
    """A pool in blocks that is three times as fast as one that is not."""
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 2, (80, 40))
    kernels = made_kernels(rng, ["max_pool"] * 40, counts)
    kernels.facts[::2, KERNEL_FACTS.index("blocked")] = 1
    ms = true_ms(kernels) / np.where(kernels.fact("blocked") == 1, 3, 1)
    prices = Prices.fit(untimed(kernels, kernels.counts @ ms))
    assert len(prices.classes) == 2
    by_layout = [
        np.median(ms[own] / prices(kernels)[own])
        for own in (kernels.fact("blocked") == 1, kernels.fact("blocked") == 0)
    ]
    np.testing.assert_allclose(by_layout, 1, atol=0.15)


@pytest.mark.parametrize("ms", [1e-6, 1.0, 1e9])
def test_one_network_of_one_kernel(made_kernels: MakeCounts, ms: float) -> None:
    kernels = made_kernels(np.random.default_rng(5), ["conv"])
    prices = Prices.fit(untimed(kernels, np.array([ms])))
    np.testing.assert_allclose(prices(kernels), ms, rtol=0.05)
    everything = made_kernels(np.random.default_rng(6), [op for op in OPS if op != "unknown"])
    assert (prices(everything) > 0).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    total_ms=st.lists(st.floats(-7, 7).map(np.exp), min_size=1, max_size=6),
    ops=st.lists(st.sampled_from(["conv", "add", "max_pool", "relu"]), min_size=1, max_size=6),
)
@example(seed=0, total_ms=[1.0, 0.01], ops=["conv", "max_pool"])
@settings(max_examples=40)
def test_no_price_is_nothing(
    made_kernels: MakeCounts, seed: int, total_ms: list[float], ops: list[str]
) -> None:
    """Whatever was measured: even a network that is faster than a part of it."""
    rng = np.random.default_rng(seed)
    counts = np.maximum(rng.integers(-1, 4, (len(total_ms), len(ops))), 0)
    counts[:, 0] = 1
    kernels = made_kernels(rng, ops, counts)
    prices = Prices.fit(untimed(kernels, np.array(total_ms)))
    everything = made_kernels(rng, [op for op in OPS if op != "unknown"])
    for ms in (prices(kernels), prices(everything)):
        assert np.isfinite(ms).all()
        assert (ms > 0).all()
    assert (prices.by_kind >= 0).all()
    pooled = prices.by_kind[ALL_KINDS.index("attention")]
    assert (prices.by_kind >= MIN_OF_NEAR * pooled * (1 - 1e-9)).all()
