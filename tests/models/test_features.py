from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.models.features import (
    NetworkFeatures,
    Units,
    has_dead_code,
    live_incidence,
    population,
)
from latcast.spaces import space

SPACES = ["ofa-mobilenet-v3", "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet"]


def _features(name: str, units: int = 16) -> NetworkFeatures:
    the_space = space(name)
    return NetworkFeatures(the_space.sample(300, 0), units)


def _coefficients(features: NetworkFeatures, f: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = [g.shape[1] for g in features(features.space.sample(1, 0))]
    return [rng.normal(size=(f, size)) for size in sizes]


@pytest.mark.parametrize("name", SPACES)
def test_groups_are_centred_and_of_norm_one(name: str) -> None:
    archs = space(name).sample(300, 0)
    features = NetworkFeatures(archs, 16)
    groups = features(archs)
    assert len(groups) == len(features.names)
    for group, values in zip(features.names, groups, strict=True):
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-8, err_msg=group)
        assert (values**2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-6), group


@pytest.mark.parametrize("name", SPACES)
def test_functions_are_features_times_coefficients(name: str) -> None:
    features = _features(name)
    new = features.space.sample(50, 9)
    coefficients, constant = _coefficients(features, 3), np.array([1.0, -2.0, 0.5])
    expected = constant + sum(x @ c.T for x, c in zip(features(new), coefficients, strict=True))
    functions = features.functions(coefficients, constant)
    functions.check()
    np.testing.assert_allclose(functions(new), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(features.constant(2.5)(new), np.full((50, 1), 2.5))


def test_dead_code_has_features_of_its_own() -> None:
    cells = space("nasbench201")
    assert has_dead_code(cells)
    assert not has_dead_code(space("ofa-mobilenet-v3"))
    assert "live" in _features("nasbench201").names
    assert "live" not in _features("ofa-mobilenet-v3").names
    # 0->1 leads nowhere: what it computes is dead code.
    pair = cells.parse(
        [
            {"arch": f"|{op}~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|skip_connect~2|"}
            for op in ("nor_conv_3x3", "none")
        ]
    )
    assert live_incidence(pair)[0].sum() == live_incidence(pair)[1].sum()
    features = _features("nasbench201")
    live = features(pair)[features.names.index("live")]
    np.testing.assert_allclose(live[0], live[1], atol=1e-9)


def test_populations_without_dead_code_have_the_same_shapes() -> None:
    """A predictor that saw no dead code is adapted to networks that have some."""
    cells = space("nasbench201")
    without = NetworkFeatures(population(cells, {g.name: [2, 3, 4, 5] for g in cells.genes}), 8)
    whole = NetworkFeatures(population(cells, {}), without.units)
    assert without.names == whole.names
    total = without.constant(1.0) + whole.constant(2.0)
    total.check()
    np.testing.assert_allclose(total(cells.sample(3, 1)), 3.0)


@given(st.integers(0, 100))
@settings(max_examples=10)
def test_functions_are_linear(seed: int) -> None:
    features = _features("nasbench201", 4)
    functions = features.functions(_coefficients(features, 3, seed), np.arange(3.0))
    weights = np.random.default_rng(seed).normal(size=(2, 3))
    archs = features.space.sample(5, seed)
    values = functions(archs)
    np.testing.assert_allclose(
        functions.combined(weights)(archs), values @ weights.T, rtol=1e-7, atol=1e-7
    )
    np.testing.assert_allclose((functions + functions)(archs), 2 * values, rtol=1e-9)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    features = _features("nasbench201")
    functions = features.functions(_coefficients(features, 2), np.zeros(2))
    archs = features.space.sample(25, 3)
    whole = functions(archs)
    monkeypatch.setattr("latcast.models.features.CHUNK", 7)
    np.testing.assert_allclose(functions(archs), whole)
    assert functions(archs[:0]).shape == (0, 2)


@pytest.mark.parametrize("name", ["nasbench201", "ofa-mobilenet-v3"])
@pytest.mark.parametrize(
    ("field", "message"),
    [("rows", "rows"), ("live", "live"), ("outputs", "outputs"), ("units", "unit weights")],
)
def test_shapes_that_do_not_belong_together(name: str, field: str, message: str) -> None:
    functions = _features(name).constant(1.0)
    changes: dict[str, object] = {
        "rows": functions.rows[:, 1:],
        "live": np.zeros((1, 3)),
        "outputs": functions.outputs[:, 1:],
        "units": Units(functions.units.weights[1:], functions.units.biases),
    }
    with pytest.raises(ValueError, match=f"the {message} must have shape"):
        replace(functions, **{field: changes[field]}).check()
    if name == "nasbench201":  # dead code cannot be left out
        with pytest.raises(ValueError, match="live must have shape"):
            replace(functions, live=np.zeros((1, 0))).check()


def test_what_never_varies_counts_nothing() -> None:
    one = space("ofa-mobilenet-v3").sample(1, 0)
    features = NetworkFeatures(one[np.zeros(20, dtype=int)], 8)
    assert features.names == ("units",)
    assert (features(space("ofa-mobilenet-v3").sample(5, 1))[0] == 0).all()


def test_units_kink_among_the_networks() -> None:
    rng = np.random.default_rng(0)
    sums = rng.normal(1e9, 1e8, size=(500, 3))
    units = Units.draw(sums, 200, rng)
    active = (units(sums) > 0).mean(axis=0)
    assert ((active > 0.01) & (active < 0.99)).mean() > 0.8


def test_populations_hold_what_was_seen() -> None:
    ofa = space("ofa-mobilenet-v3")
    archs = population(ofa, {"r": [160, 176, 999], "no such gene": [1]})
    assert set(np.unique(archs.genes[:, -1])) <= {160, 176}
    assert archs == population(ofa, {"r": [176, 160]})
    assert len(population(ofa, {"r": [999]}).unique()) > 1_000
