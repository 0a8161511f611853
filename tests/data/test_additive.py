"""Additive fits against known tables, a second implementation and real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.data import read
from latcast.data.additive import fit_additive, incidence
from latcast.spaces import Archs, space

REAL = Path(__file__).parents[3] / "shared" / "data"
SPACE = space("ofa-mobilenet-v3")


def sums(archs: Archs, seed: int = 0) -> np.ndarray:
    """Latencies that are sums of a random table."""
    table = np.random.default_rng(seed).uniform(0.1, 2.0, len(archs.space.block_table))
    return 3.0 + archs.space.block_sums(archs, table)


def test_reproduces_a_table_on_other_networks() -> None:
    archs = SPACE.sample(3000, 0, restrict={"r": [128, 224]})
    latency = sums(archs)
    fit = fit_additive(archs[:2000], latency[:2000], 1e-9)
    np.testing.assert_allclose(fit.predict(archs[2000:]), latency[2000:], rtol=1e-8)


def test_values_are_nan_exactly_where_a_row_never_occurred() -> None:
    archs = SPACE.sample(50, 0, restrict={"r": [128]})
    fit = fit_additive(archs, sums(archs))
    used = np.zeros(len(SPACE.block_table) + 1, dtype=bool)
    used[SPACE.block_ids(archs)] = True
    np.testing.assert_array_equal(~np.isnan(fit.values_ms), used[:-1])


def test_blocks_of_every_network_are_left_to_the_intercept() -> None:
    archs = SPACE.sample(400, 0, restrict={"r": [128]})
    fit = fit_additive(archs, sums(archs))
    assert fit.constant.sum() == 6  # first conv and block, final expand, pool, mix, classifier
    assert (fit.values_ms[fit.constant] == 0).all()


def test_agrees_with_a_dense_solution_of_the_same_problem() -> None:
    archs = SPACE.sample(120, 1, restrict={"r": [128, 160]})
    rng = np.random.default_rng(2)
    latency = rng.uniform(5, 9, 120)
    fit = fit_additive(archs, latency, 0.5)
    dense = incidence(archs).toarray()
    free = (dense.sum(axis=0) > 0) & ~fit.constant
    columns = np.hstack([np.ones((120, 1)), dense[:, free]])
    ridge = np.sqrt(0.5) * np.eye(columns.shape[1])[1:]
    target = np.append(latency, np.zeros(len(ridge)))
    expected = np.linalg.lstsq(np.vstack([columns, ridge]), target, rcond=None)[0]
    np.testing.assert_allclose(fit.intercept, expected[0], rtol=1e-8)
    np.testing.assert_allclose(fit.values_ms[free], expected[1:], atol=1e-9)


def test_an_unseen_block_is_named() -> None:
    archs = SPACE.sample(50, 0, restrict={"r": [128]})
    fit = fit_additive(archs, sums(archs))
    other = archs.concatenate(SPACE.sample(1, 0, restrict={"r": [160]}))
    with pytest.raises(ValueError, match=r"architecture 50 needs .*\(160/Conv-input:160x160x3"):
        fit.predict(other)


def test_subspaces_share_the_table_and_other_spaces_do_not() -> None:
    archs = SPACE.sample(2000, 0, restrict={"r": [128]})
    fit = fit_additive(archs, sums(archs))
    sub = space("compofa-fixed-kernel").sample(20, 0, restrict={"r": [128]})
    np.testing.assert_allclose(fit.predict(sub), sums(sub), rtol=1e-3)
    with pytest.raises(ValueError, match="must share the block table of ofa-mobilenet-v3; got"):
        fit.predict(space("ofa-mobilenet-v3-w1.0").sample(2, 0, restrict={"r": [128]}))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_networks_give_a_finite_fit(n: int) -> None:
    archs = SPACE.sample(n, 0)
    fit = fit_additive(archs, np.arange(1.0, n + 1))
    assert np.isfinite(fit.predict(archs)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_ms": np.ones(9)}, r"shape \(10,\); got \(9,\)"),
        ({"latency_ms": np.full(10, np.nan)}, "must be finite; got nan in row 0"),
        ({"penalty": 0.0}, "penalty must be positive"),
        ({"penalty": np.nan}, "penalty must be positive"),
        ({"archs": SPACE.sample(0, 0), "latency_ms": np.ones(0)}, "at least one architecture"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    arguments = {"archs": SPACE.sample(10, 0), "latency_ms": np.ones(10), **change}
    with pytest.raises(ValueError, match=message):
        fit_additive(**arguments)


@pytest.mark.data
def test_note10_is_reproduced_from_held_in_rows() -> None:
    path = REAL / "ofanas" / "datasets" / "note10_lookuptable_ofa.csv"
    if not path.exists():
        pytest.skip(f"needs the paper's data: {path.name}")
    data = read(path)
    fit = fit_additive(data.archs[:7000], data.latency_ms[:7000], 1e-9)
    np.testing.assert_allclose(fit.predict(data.archs[7000:]), data.latency_ms[7000:], rtol=1e-9)
