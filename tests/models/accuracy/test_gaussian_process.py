"""The trained model: against closed forms, second implementations, and data it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import ACCURACY, Dataset, split
from latcast.models import zoo
from latcast.models.accuracy import (
    GaussianProcess,
    evaluate_accuracy,
    load_accuracy,
    read_accuracies,
    train_accuracy,
)
from latcast.models.accuracy import gaussian_process as module
from latcast.models.accuracy.prior import (
    POWERS,
    TERMS,
    Encoding,
    Kernel,
    Warp,
    WeightedSum,
    sizes,
    terms,
)
from latcast.spaces import Archs, space

Floats = NDArray[np.float64]
VARIANCES = np.array([0.3, 0.7, 0.5, 0.2, 0.4, 0.1, 0.6])


def trained_on(archs: Archs, accuracy: Any) -> GaussianProcess:
    return GaussianProcess().fit(Dataset(archs, accuracy, quantity=ACCURACY))


@pytest.fixture(scope="module")
def model(cells: Dataset) -> GaussianProcess:
    return GaussianProcess().fit(cells)


@pytest.fixture
def model_file(model: GaussianProcess, tmp_path: Path) -> Path:
    path = tmp_path / "model.latcast"
    model.save(path)
    return path


# -- scale --------------------------------------------------------------------------------------


@given(st.sampled_from(POWERS), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_scale_has_a_way_back(power: float, values: list[float]) -> None:
    accuracy = np.array(values)
    warp = Warp(power)
    np.testing.assert_allclose(warp.inverse(warp(accuracy)), accuracy, atol=1e-9)


@pytest.mark.parametrize("power", POWERS)
def test_a_scale_ascends_by_its_slope(power: float) -> None:
    accuracy = np.linspace(0.01, 0.99, 50)
    warp, step = Warp(power), 1e-6
    slope = (warp(accuracy + step) - warp(accuracy - step)) / (2 * step)
    np.testing.assert_allclose(warp.log_slope(accuracy), np.log(slope), atol=1e-6)


@pytest.mark.parametrize("power", POWERS)
def test_beyond_a_scale_is_the_end_of_it(power: float) -> None:
    assert Warp(power).inverse(np.array([-1e9, 1e9])).tolist() == [0.0, pytest.approx(1, abs=0.011)]


# -- kernel -------------------------------------------------------------------------------------


def encoded(n: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.4, (n, 6)), rng.normal(0, 0.5, (n, 3))


def slow_covariance(x: Floats, s: Floats, y: Floats, t: Floats) -> float:
    """One entry, as the kernel's documentation has it."""
    d, e = ((x - y) ** 2).sum(), ((s - t) ** 2).sum()
    parts = [1.0, x @ y, s @ t, np.exp(-d), np.exp(-d / 4), np.exp(-e), np.exp(-(d + e) / 2)]
    return float(VARIANCES @ np.array(parts))


def test_covariances_are_the_documented_ones() -> None:
    first, second = encoded(5, 1), encoded(4, 2)
    expected = [
        [slow_covariance(x, s, y, t) for y, t in zip(*second, strict=True)]
        for x, s in zip(*first, strict=True)
    ]
    kernel = Kernel(VARIANCES)
    np.testing.assert_allclose(kernel(first, second), expected)
    np.testing.assert_allclose(kernel.own(first), np.diag(kernel(first, first)))


def test_covariances_are_positive() -> None:
    for matrix in terms(encoded(30, 3), encoded(30, 3)):
        assert np.linalg.eigvalsh(matrix).min() > -1e-10


def test_the_fast_sum_is_the_sum() -> None:
    kernel, basis, new = Kernel(VARIANCES), encoded(200, 4), encoded(50, 5)
    weights = np.random.default_rng(6).normal(size=200)
    expected = kernel(new, basis) @ weights
    np.testing.assert_allclose(WeightedSum(kernel, basis, weights)(new), expected, atol=2e-4)


# -- encoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ofa-mobilenet-v3", "ofa-proxyless", "ofa-resnet50", "nasbench201", "fbnet"]
)
def test_inputs_are_centred_and_of_norm_one(name: str) -> None:
    archs = space(name).sample(100, 0)
    for part in Encoding.over(archs)(archs):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-9)
        assert (part**2).sum(axis=1).mean() == pytest.approx(1)


def test_what_was_never_seen_is_uncertain(mobile: Dataset) -> None:
    trained = GaussianProcess().fit(mobile)
    assert trained.resolutions == (160, 192, 224)
    genes = mobile.archs.space.sample(100, 1, restrict={"r": [192]}).genes
    seen = trained.uncertainty(Archs(mobile.archs.space, genes))
    unseen = trained.uncertainty(Archs(mobile.archs.space, np.where(genes == 192, 128, genes)))
    assert (unseen > seen).all()


def test_a_size_that_never_varied_counts_nothing() -> None:
    archs = space("nasbench201").sample(50, 0)
    choices, size = Encoding.over(archs)(archs)
    assert choices.shape == (50, 30)
    assert (size[:, 4] == 0).all()  # all networks have equally many blocks


def test_sizes_are_the_costs() -> None:
    archs = space("ofa-mobilenet-v3").sample(30, 0)
    costs = archs.space.costs(archs)
    expected = [
        np.log1p(costs[c].to_numpy())
        for c in ("macs", "params", "launches", "activation_bytes", "blocks")
    ]
    np.testing.assert_allclose(sizes(archs), np.stack(expected, axis=1))


def test_dead_code_has_no_live_size() -> None:
    string = "|{0}~0|+|{0}~0|{0}~1|+|{1}~0|{0}~1|{0}~2|"
    dead = space("nasbench201").parse([string.format("nor_conv_3x3", "none")])
    cut = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    unused = sizes(space("nasbench201").parse([cut]))
    assert (sizes(dead)[0, 5:] > 0).all()
    assert unused[0, 5] < unused[0, 0]  # the convolution leads nowhere


# -- model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nasbench201", "ofa-mobilenet-v3"])
def test_learns_what_there_is(name: str, cells: Dataset, mobile: Dataset, truth: Any) -> None:
    data = cells if name == "nasbench201" else mobile
    trained = GaussianProcess().fit(data)
    new = data.archs.space.sample(
        400, 77, restrict={"r": [160, 192, 224]} if data is mobile else {}
    )
    expected = truth(new)
    error = trained.predict(new) - expected
    assert np.abs(error).mean() < 0.45 * np.abs(expected - data.accuracy.mean()).mean()
    # Of 400 expected accuracies about 68 % are within a deviation; far from it is a wrong scale.
    assert 0.5 < (np.abs(error) < trained.uncertainty(new)).mean() < 0.95


def test_intervals_hold_what_they_promise(model: GaussianProcess, truth: Any) -> None:
    new = space("nasbench201").sample(1_000, 78)
    labels = truth(new) + np.random.default_rng(79).normal(0, 0.002, 1_000)
    widths = []
    for coverage in (0.5, 0.8, 0.9):
        lower, upper = model.predict_interval(new, coverage)
        assert ((lower <= labels) & (labels <= upper)).mean() == pytest.approx(coverage, abs=0.12)
        widths.append((upper - lower).mean())
    assert widths == sorted(widths)


def test_noise_is_kept_apart(model: GaussianProcess) -> None:
    assert 0.0005 < model.noise < 0.006  # 0.002 was added
    known = model.uncertainty(space("nasbench201").sample(200, 1))
    assert known.min() > 0


def test_more_rows_than_the_basis_holds(
    cells: Dataset, truth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = GaussianProcess().fit(cells)
    monkeypatch.setattr(module, "MAX_BASIS", 100)
    part = GaussianProcess().fit(cells)
    new = cells.archs.space.sample(300, 4)
    assert np.corrcoef(part.predict(new), exact.predict(new))[0, 1] > 0.97
    lower, upper = part.predict_interval(new, 0.8)
    inside = (lower <= truth(new)) & (truth(new) <= upper)
    assert inside.mean() > 0.6


def test_a_seed_repeats_a_fit(cells: Dataset) -> None:
    first, second = (GaussianProcess().fit(cells, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.predict(cells.archs), second.predict(cells.archs))


def test_repeated_trainings_are_averaged() -> None:
    archs = space("nasbench201").sample(30, 0).unique()
    twice = archs.concatenate(archs)
    rng = np.random.default_rng(1)
    level = rng.uniform(0.5, 0.9, len(archs))
    labels = np.concatenate([level + 0.01, level - 0.01])
    model = trained_on(twice, labels)
    assert np.abs(model.predict(archs) - level).mean() < 0.02


def test_too_little_to_learn_from(cells: Dataset) -> None:
    archs = cells.archs
    with pytest.raises(ValueError, match="needs at least 10 different architectures; got 9"):
        trained_on(archs[:9].concatenate(archs[:9]), np.linspace(0.1, 0.9, 18))
    with pytest.raises(ValueError, match=r"must differ; all of them are 0\.5"):
        trained_on(archs[:20], np.full(20, 0.5))
    with pytest.raises(ValueError, match=r"top-1 accuracy must be from 0 to 1; got 73\.0"):
        trained_on(archs[:20], np.full(20, 73.0))
    with pytest.raises(ValueError, match=r"shape \(20,\); got \(19,\)"):
        trained_on(archs[:20], np.full(19, 0.5))


def test_a_coverage_needs_rows(model: GaussianProcess, cells: Dataset) -> None:
    for coverage in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            model.predict_interval(cells.archs, coverage)
    with pytest.raises(ValueError, match="needs at least 999 calibration measurements"):
        model.predict_interval(cells.archs, 0.999)


# -- training -----------------------------------------------------------------------------------


def test_scores_are_of_architectures_that_were_left_out(cells: Dataset) -> None:
    trained, scores = train_accuracy(cells, test=0.2, seed=3)
    left, kept = split(cells, 0.2, 3)
    assert scores == evaluate_accuracy(trained, left)
    again = GaussianProcess().fit(kept, seed=3)
    np.testing.assert_array_equal(again.predict(left.archs), trained.predict(left.archs))
    assert trained.card["metrics"] == scores
    assert f"{len(kept)} rows to train, {len(left)} to test" in trained.card["split"]
    assert scores["spearman"] > 0.7
    assert scores["mae"] <= scores["rmse"]


def test_a_part_of_the_public_data_beats_linear_regression(shared: Path) -> None:
    data = read_accuracies(shared / "help" / "nasbench201" / "arch_generated_by_metad2a.txt")
    test, train = split(data, 0.2, 0)
    scores = train_accuracy(data, test=0.2, seed=0)[1]
    x, new = (d.archs.space.one_hot(d.archs).astype(np.float64) for d in (train, test))
    slope = np.linalg.solve(
        (x - x.mean(0)).T @ (x - x.mean(0)) + np.eye(x.shape[1]),
        (x - x.mean(0)).T @ (train.accuracy - train.accuracy.mean()),
    )
    linear = train.accuracy.mean() + (new - x.mean(0)) @ slope
    assert scores["mae"] < 0.7 * np.abs(linear - test.accuracy).mean()
    assert scores["spearman"] > 0.8
    assert 80 <= scores["coverage_90"] <= 99


# -- file ---------------------------------------------------------------------------------------


def test_a_file_of_a_part_of_a_space(tmp_path: Path, truth: Any) -> None:
    the_space = space("compofa-fixed-kernel")
    archs = the_space.sample(60, 0, restrict={"r": [176, 208]})
    trained = trained_on(archs, truth(the_space.expand(archs)))
    trained.save(tmp_path / "m.latcast")
    loaded = load_accuracy(tmp_path / "m.latcast")
    np.testing.assert_array_equal(loaded.predict(archs), trained.predict(archs))
    assert loaded.resolutions == (176, 208)
    assert not loaded.supports(space("ofa-mobilenet-v3"))


@pytest.mark.parametrize(
    ("header", "tensors"),
    [
        ({"space": "nowhere"}, {}),
        ({"space": "fbnet"}, {}),
        ({"terms": ["constant"]}, {}),
        ({"power": "large"}, {}),
        ({"power": float("nan")}, {}),
        ({"card": 3}, {}),
        ({"options": 3}, {}),
        ({"options": {"colour": "red"}}, {}),
        ({"seen": 224}, {}),
        ({"seen": {"r": [224]}}, {}),  # of a space that has none
        ({}, {"weights": None}),
        ({}, {"weights": np.zeros(3)}),
        ({}, {"variances": -np.ones(len(TERMS))}),
        ({}, {"scale": np.zeros(3)}),
        ({}, {"centre": np.zeros(4), "factor": np.zeros(4)}),
        ({}, {"scores": np.array([2.0, 1.0], np.float32)}),
        ({}, {"scores": np.array([-5.0, 1.0], np.float32)}),
        ({}, {"knowledge": np.zeros(1)}),
        ({}, {"basis": np.full((2, 6), 77, np.uint8)}),
    ],
)
def test_a_lying_file_is_refused(
    rewrite: Any, model_file: Path, header: dict[str, Any], tensors: dict[str, Any]
) -> None:
    rewrite(model_file, header, tensors)
    refused = r"must be a latcast model of a kind known here; got: "
    with pytest.raises(ValueError, match=refused) as caught:
        load_accuracy(model_file)
    assert str(model_file) in str(caught.value)


@pytest.mark.parametrize("resolutions", [[], [9999], [161], [192, 160], [160, 160]])
def test_lying_resolutions_are_refused(resolutions: Any, mobile: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "m.latcast"
    fitted = GaussianProcess().fit(mobile[:20])
    fitted.save(path)
    assert load_accuracy(path).resolutions == (160, 192, 224)
    model = read_model(path)
    write_model(path, ModelFile(model.header | {"seen": {"r": resolutions}}, model.tensors))
    with pytest.raises(ValueError, match=r"m\.latcast must be .* resolutions must be ascending"):
        load_accuracy(path)


def test_a_model_of_another_kind_is_refused(rewrite: Any, model_file: Path) -> None:
    rewrite(model_file, {"kind": "accuracy-forest"}, {})
    with pytest.raises(ValueError, match=r"model\.latcast .* called 'accuracy-forest'"):
        load_accuracy(model_file)


def test_a_model_of_latencies_is_refused() -> None:
    with (
        zoo.path("samsung-note10") as path,
        pytest.raises(ValueError, match="must be an accuracy model; its kind is 'roofline'"),
    ):
        load_accuracy(path)


def test_latencies_are_no_accuracies(synthetic: Dataset) -> None:
    with pytest.raises(ValueError, match="needs values of accuracy; got latency_ms"):
        GaussianProcess().fit(synthetic[:50])
