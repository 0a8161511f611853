"""The shipped accuracy model against the network it imitates, and its file format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from latcast.models.accuracy import DistilledOFA, accuracy_model
from latcast.models.accuracy.distilled import encode
from latcast.spaces import Archs, CompOFA, space

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[4] / "shared" / "data"
TEACHER = DATA / "ofanas" / "acc_predictor.pth"
OFA = space("ofa-mobilenet-v3")
VALID = (160, 176, 192, 208, 224)

Changes = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> DistilledOFA:
    shipped = accuracy_model()
    assert isinstance(shipped, DistilledOFA)
    return shipped


@pytest.fixture
def model_file(model: DistilledOFA, tmp_path: Path) -> Path:
    path = tmp_path / "model.latcast"
    model.save(path)
    return path


def teacher_accuracy(archs: Archs) -> NDArray[np.float64]:
    """The original predictor, from its own definition of the inputs."""
    torch = pytest.importorskip("torch", reason="the original predictor is a PyTorch file")
    if not TEACHER.exists():
        pytest.skip(f"the original predictor is not there: {TEACHER}")
    genes = OFA.canonical_genes(archs.genes)
    n = len(genes)
    x: Any = np.zeros((n, 128))
    x[:, :60] = (genes[:, :20, None] == np.array([3, 5, 7])).reshape(n, 60)
    x[:, 60:120] = (genes[:, 20:40, None] == np.array([3, 4, 6])).reshape(n, 60)
    x[np.arange(n), 120 + (genes[:, 45].astype(int) - 112) // 16] = 1
    state = torch.load(TEACHER, weights_only=True, map_location="cpu")
    for layer in (0, 2, 4, 6):
        weight, bias = (state[f"{layer}.{part}"].double().numpy() for part in ("weight", "bias"))
        z = x @ weight.T + bias
        x = np.maximum(z, 0)
    result: NDArray[np.float64] = z[:, 0]
    return result


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    matrix = np.asarray(np.corrcoef(ranks))
    return float(matrix[0, 1])


@pytest.mark.parametrize(
    ("resolutions", "mae", "spearman"),
    [(VALID, 0.0002, 0.9998), (tuple(range(128, 225, 4)), 0.0002, 0.9997)],
    ids=["valid", "128-224"],
)
def test_agrees_with_the_original_on_random_architectures(
    model: DistilledOFA, resolutions: tuple[int, ...], mae: float, spearman: float
) -> None:
    archs = OFA.sample(20_000, seed=2024, restrict={"r": resolutions})
    expected, got = teacher_accuracy(archs), model.predict(archs)
    assert np.abs(got - expected).mean() <= mae
    assert rank_correlation(got, expected) >= spearman


@pytest.mark.parametrize("name", ["compofa-fixed-kernel", "compofa-elastic-kernel"])
def test_agrees_with_the_original_on_compofa(model: DistilledOFA, name: str) -> None:
    subspace = space(name)
    assert isinstance(subspace, CompOFA)
    archs = subspace.sample(5_000, seed=1, restrict={"r": VALID})
    expected = teacher_accuracy(subspace.expand(archs))
    assert np.abs(model.predict(archs) - expected).mean() <= 0.0005


def test_agrees_with_the_original_where_a_search_ends(model: DistilledOFA) -> None:
    """Hill climbing on the model's own answers, at a price per MAC, finds nothing false."""
    rng = np.random.default_rng(7)
    restrict = {"r": VALID}
    price = np.geomspace(0.005, 0.15, 300)

    def objective(archs: Archs) -> NDArray[np.float64]:
        macs = OFA.costs(archs)["macs"].to_numpy()
        return np.asarray(model.predict(archs) - price * np.log(macs))

    current = OFA.sample(300, rng, restrict=restrict)
    for _ in range(150):
        new = OFA.mutate(current, 0.05, rng, restrict=restrict)
        better = objective(new) > objective(current)
        current = Archs(OFA, np.where(better[:, None], new.genes, current.genes))
    error = model.predict(current) - teacher_accuracy(current)
    assert np.abs(error).mean() <= 0.0005
    assert abs(error.mean()) <= 0.0003


def test_inactive_genes_are_not_seen() -> None:
    archs = OFA.sample(500, seed=3)
    np.testing.assert_array_equal(encode(archs), encode(archs.canonical()))


@pytest.mark.parametrize("name", ["compofa-fixed-kernel", "compofa-elastic-kernel"])
def test_compofa_is_its_expansion(model: DistilledOFA, name: str) -> None:
    subspace = space(name)
    assert isinstance(subspace, CompOFA)
    archs = subspace.sample(200, seed=4)
    np.testing.assert_array_equal(model.predict(archs), model.predict(subspace.expand(archs)))


def test_resolution_240_counts_as_224(model: DistilledOFA) -> None:
    genes = OFA.sample(50, seed=6, restrict={"r": [224]}).genes.copy()
    expected = model.predict(Archs(OFA, genes))
    genes[:, -1] = 240
    np.testing.assert_array_equal(model.predict(Archs(OFA, genes)), expected)


def test_accuracy_is_valid_for_the_resolutions_that_the_original_learned(
    model: DistilledOFA,
) -> None:
    assert model.resolutions == VALID
    means = [model.predict(OFA.sample(500, 8, restrict={"r": [r]})).mean() for r in VALID]
    assert (np.diff(means) > 0).all()
    assert 0.7 < means[0] < means[-1] < 0.85


def test_supports_ofa_mobilenet_v3_and_compofa_of_its_width(model: DistilledOFA) -> None:
    names = ["ofa-mobilenet-v3", "compofa-fixed-kernel", "compofa-elastic-kernel"]
    assert all(model.supports(space(name)) for name in names)
    assert not any(model.supports(space(f"{name}-w1.0")) for name in names)


def test_header_says_where_the_model_comes_from(model_file: Path) -> None:
    with safe_open(model_file, framework="np") as file:
        header = json.loads(file.metadata()["latcast"])
    assert header["schema_version"] == 1
    assert (header["kind"], header["quantity"]) == ("accuracy-distilled", "accuracy")
    card = header["card"]
    assert card["metrics"]["random"]["mae"] <= 0.0005
    assert card["metrics"]["random"]["spearman"] >= 0.9998
    assert "Once-For-All" in card["source"]
    assert "MIT" in card["licence"]
    assert model_file.stat().st_size <= 300_000


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"kind": "latency"}, "no predictor is called 'latency'"),
        ({"space": "nasbench201"}, "must be for ofa-mobilenet-v3; got nasbench201"),
        ({"space": None}, "needs a predictor of one search space"),
        ({"seen": None}, "resolutions must be ascending"),
        ({"seen": {"r": []}}, "resolutions must be ascending"),
        ({"seen": {"r": 224}}, "not iterable"),
        ({"seen": {"r": [224, 160]}}, "resolutions must be ascending"),
        ({"seen": {"r": [160, 161]}}, "resolutions must be ascending"),
        ({"card": [1]}, "must be a latcast DistilledOFA"),
    ],
)
def test_a_lying_header_is_refused(
    rewrite: Any, model_file: Path, header: Changes, message: str
) -> None:
    rewrite(model_file, header, {})
    with pytest.raises(ValueError, match=message) as caught:
        DistilledOFA.load(model_file)
    assert str(model_file) in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"last": None}, "must have the array 'last'"),
        ({"first": None}, "must have the array 'first'"),
        ({"last_bias": np.zeros(2, np.float32)}, r"'last_bias' must have shape \(1,\); got \(2,\)"),
        ({"first_scale": np.zeros(3, np.float32)}, "must have shape"),
        ({"last_bias": np.array([np.nan], np.float32)}, "'last_bias' must hold finite numbers"),
        ({"second": np.zeros((3, 4), np.int8)}, "'second' must have shape"),
        ({"skip": np.zeros((97, 200), np.float32)}, "'skip' must be int8; got float32"),
        ({"first": np.zeros(97, np.int8)}, "'first' must have shape"),
    ],
)
def test_wrong_tensors_are_refused(
    rewrite: Any, model_file: Path, tensors: Changes, message: str
) -> None:
    rewrite(model_file, {}, tensors)
    with pytest.raises(ValueError, match=message):
        DistilledOFA.load(model_file)


def test_tensors_are_the_models_own(model: DistilledOFA, model_file: Path) -> None:
    with safe_open(model_file, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    own = DistilledOFA(tensors, resolutions=VALID, metrics={})
    archs = OFA.sample(10, seed=10)
    before = own.predict(archs)
    for tensor in tensors.values():
        tensor[:] = 0
    np.testing.assert_array_equal(own.predict(archs), before)
