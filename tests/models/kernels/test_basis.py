"""The prior of kernels in closed form, and bases that grow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from latcast.graph import KERNEL_FACTS
from latcast.math.gaussian_process import squared_exponential
from latcast.models.kernels._basis import (
    FEATURES,
    KIND_DEVIATION,
    LABEL_DEVIATION,
    SCALE_DEVIATION,
    Basis,
    Scale,
    Whole,
    log_facts,
)
from latcast.models.kernels._predictor import SCHEMA
from latcast.models.kernels._prices import Observed, Prices
from latcast.networks import ALL_KINDS, Networks

LENGTHS, SLOPE_DEVIATIONS = np.array(list(FEATURES.values())).T
MakeCounts = Callable[..., Networks]
LARGE, SMALL = Scale(0.8, 3.0, 4), Scale(0.3, 1.5, 7)
OPS = ["conv", "conv", "conv", "add", "mul", "max_pool", "conv", "add", "conv", "linear"] * 2


def prior(kernels: Networks, basis: Basis) -> np.ndarray:
    """Covariance (d, d) of log latencies before any data, by its definition."""
    z = log_facts(kernels)
    covariance = np.full((len(z), len(z)), SCALE_DEVIATION**2)
    for i, a in enumerate(z):
        for j, b in enumerate(z):
            if kernels.kinds[i] == kernels.kinds[j]:
                centre = basis.centres[kernels.kinds[i]]
                covariance[i, j] += KIND_DEVIATION**2
                covariance[i, j] += SLOPE_DEVIATIONS**2 @ ((a - centre) * (b - centre))
                for scale in basis.scales:
                    distance = (a - b) / (LENGTHS * scale.stretch)
                    covariance[i, j] += scale.amplitude**2 * np.exp(-distance @ distance / 2)
            if kernels.labels[i] == kernels.labels[j]:
                covariance[i, j] += LABEL_DEVIATION**2
    return covariance


def test_prior_is_what_it_is_said_to_be(made_kernels: MakeCounts) -> None:
    kernels = made_kernels(np.random.default_rng(0), OPS)
    many = (Scale(0.8, 3.0, 50), Scale(0.3, 1.5, 50))  # a point for every kernel
    basis = Basis.choose(kernels, many)
    features, rest = basis.features_and_rest(kernels)
    np.testing.assert_allclose(features @ features.T, prior(kernels, basis), atol=1e-4)
    np.testing.assert_allclose(rest, 0, atol=1e-4)


def test_what_few_points_leave_out_is_in_the_rest(made_kernels: MakeCounts) -> None:
    rng = np.random.default_rng(1)
    kernels, others = made_kernels(rng, OPS * 3), made_kernels(rng, OPS)
    basis = Basis.choose(kernels, (LARGE, SMALL))
    features, rest = basis.features_and_rest(others)
    exact = np.diag(prior(others, basis))
    np.testing.assert_allclose((features**2).sum(axis=1) + rest, exact)
    assert (rest > 1e-3).any()
    np.testing.assert_array_equal(basis.features(others), features)


def test_unseen_kinds_and_labels_are_told_by_the_rest(made_kernels: MakeCounts) -> None:
    rng = np.random.default_rng(2)
    basis = Basis.choose(made_kernels(rng, ["conv"] * 9), (LARGE, SMALL))
    odd = made_kernels(rng, ["softmax", "conv"], labels=["softmax", "conv+odd"])
    features, rest = basis.features_and_rest(odd)
    processes = LARGE.amplitude**2 + SMALL.amplitude**2
    assert rest[0] == pytest.approx(processes + LABEL_DEVIATION**2)
    assert LABEL_DEVIATION**2 <= rest[1] <= rest[0]
    # They share with each other no more than all kernels share.
    assert features[0] @ features[1] == pytest.approx(SCALE_DEVIATION**2)


def test_size_counts_constants_slopes_points_and_labels(made_kernels: MakeCounts) -> None:
    kernels = made_kernels(
        np.random.default_rng(3), ["conv"] * 9 + ["add"] * 3, labels=["a", "b", "c"] * 4
    )
    basis = Basis.choose(kernels, (LARGE, SMALL))
    points = (4 + 7) + (3 + 3)
    assert basis.size == 1 + len(ALL_KINDS) * (1 + len(LENGTHS)) + points + 3
    assert basis.features(kernels).shape == (12, basis.size)
    assert basis.labels == ("a", "b", "c")
    assert (np.diff(basis.point_kinds) >= 0).all()


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    before=st.lists(st.sampled_from(["conv", "add", "max_pool"]), min_size=1, max_size=25),
    after=st.lists(st.sampled_from(["conv", "add", "softmax"]), min_size=1, max_size=25),
    most_points=st.integers(1, 9),
)
@settings(max_examples=60)
def test_a_basis_that_grew_holds_what_it_was(
    made_kernels: MakeCounts, seed: int, before: list[str], after: list[str], most_points: int
) -> None:
    rng = np.random.default_rng(seed)
    basis = Basis.choose(made_kernels(rng, before), (LARGE, SMALL))
    few = made_kernels(rng, after, labels=[f"{op}+{k % 3}" for k, op in enumerate(after)])
    wider, columns = basis.extended(few, most_points=most_points)
    assert columns.shape == (basis.size,)
    assert len(set(columns.tolist())) == basis.size
    for kernels in (few, made_kernels(rng, ["conv", "add", "max_pool", "softmax", "linear"])):
        ours, rest = wider.features_and_rest(kernels)
        old, old_rest = basis.features_and_rest(kernels)
        np.testing.assert_allclose(ours[:, columns], old, atol=1e-9)
        assert (rest <= old_rest + 1e-9).all()
        total = (ours**2).sum(axis=1) + rest
        np.testing.assert_allclose(total, (old**2).sum(axis=1) + old_rest)


def test_a_basis_grows_by_what_is_new_alone(made_kernels: MakeCounts) -> None:
    rng = np.random.default_rng(4)
    kernels = made_kernels(rng, ["conv"] * 5)
    basis = Basis.choose(kernels, (LARGE, SMALL))
    same, columns = basis.extended(kernels, most_points=9)
    assert same.size == basis.size
    assert columns.tolist() == list(range(basis.size))
    wider, _ = basis.extended(made_kernels(rng, ["softmax"] * 30), most_points=9)
    new = wider.points[wider.point_kinds == ALL_KINDS.index("softmax")]
    assert len(new) == 9
    assert wider.labels == ("conv", "softmax")
    unit = LENGTHS * SMALL.stretch
    old = basis.points / unit
    fresh = basis.extended(made_kernels(rng, ["conv"] * 30), most_points=20)[0].points / unit
    unlike = [p for p in fresh if not (p == old).all(axis=1).any()]
    assert all(squared_exponential(old, p[None]).max() < 0.9 for p in unlike)


def test_log_facts_of_nothing_and_of_registers(made_kernels: MakeCounts) -> None:
    kernels = made_kernels(np.random.default_rng(5), ["conv"] * 4)
    outputs, inputs, window = (KERNEL_FACTS.index(n) for n in ("outputs", "inputs", "window"))
    kernels.facts[:, outputs] = [16, 17, 1, 24]
    kernels.facts[:, inputs] = [16, 3, 1, 5]
    kernels.facts[:, window] = [1, 9, 1, 1e4]
    z = log_facts(kernels)
    np.testing.assert_allclose(z[:, 11], np.log([1, 32 / 17, 16, 32 / 24]))
    # Sums are over channels and window: 16, 27, 1 and 50,000 terms.
    np.testing.assert_allclose(z[:, 12], np.log([1, 32 / 27, 16, 1]))
    np.testing.assert_allclose(z[:, 6], np.log([1, 9, 1, 49]))
    kernels.facts[:] = 0
    assert np.isfinite(log_facts(kernels)).all()


def test_the_weights_of_a_large_network_are_read_from_memory(made_kernels: MakeCounts) -> None:
    """What a kernel reads of them follows their bytes; one without weights does not."""
    rng = np.random.default_rng(3)
    kernels = made_kernels(rng, ["conv", "add"], np.array([[1, 0], [3, 0], [0, 2]]))
    kernels.facts[:, KERNEL_FACTS.index("param_bytes")] = [4e6, 0]
    each = np.array([1e-9, 1e-9, 1.0, 1e-3])
    prices = Prices(np.tile(each, (len(ALL_KINDS), 1)), np.zeros(1, int), each[None])
    whole = Whole.choose(kernels, prices)
    features, _ = whole.features_and_rest(kernels, prices)
    assert features.shape == (3, whole.size)
    once, thrice, none = features[:, -3]
    assert once == pytest.approx(0, abs=1e-12)  # of as many bytes as the context is centred on
    assert thrice > 0.1
    assert none == 0
    times = sp.csr_matrix(kernels.counts > 0, dtype=float)
    timed = whole.where_timed(Observed(kernels, np.ones(3), times), prices, features)
    # Each is alone in its networks: what it is told is what these are, on average.
    np.testing.assert_allclose(timed[0], features[:2].mean(axis=0))
    np.testing.assert_allclose(timed[1], features[2])


def test_files_that_are_older_than_vectors_and_contexts_are_read_without_them() -> None:
    assert not SCHEMA.fields["fills_vectors"].of({}, "fills_vectors")
    assert not SCHEMA.fields["has_context"].of({}, "has_context")
    whole = Whole(np.zeros(4), np.zeros((2, 4)), has_context=False)
    assert whole.size == Whole(np.zeros(4), np.zeros((2, 4))).size - 3
