"""Every kind of predictor keeps the contract; those of a search space keep more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from latcast import models
from latcast.data import ENERGY_MJ, Dataset, split
from latcast.devices import Target
from latcast.models import (
    KINDS,
    MLP,
    PREDICTORS,
    BaseModel,
    BlockPredictor,
    Form,
    LookupTable,
    Predictor,
    Roofline,
    register_predictor,
)
from latcast.spaces import Archs, space
from latcast.testing import check_fitted, check_predictor

Floats = npt.NDArray[np.float64]

# Shares of the mean latency that the mean absolute error must stay below on the synthetic data,
# whose noise alone is 0.8 %.
ERROR_BOUNDS = {"roofline": 0.010, "lookup-table": 0.03, "mlp": 0.03, "flops": 0.05, "bayes": 0.010}


def _new(kind: str, epochs: int = 30) -> Predictor:
    return MLP(epochs=epochs) if kind == "mlp" else models.predictor(kind)


@pytest.fixture(scope="module")
def parts(synthetic: Dataset) -> tuple[Dataset, Dataset]:
    return split(synthetic, 0.8, seed=0)


@pytest.fixture(scope="module")
def fit(parts: tuple[Dataset, Dataset]) -> Callable[[str], Predictor]:
    fitted: dict[str, Predictor] = {}

    def get(kind: str) -> Predictor:
        if kind == "mlp":
            pytest.importorskip("torch", reason="training an MLP needs PyTorch")
        if kind not in fitted:
            fitted[kind] = _new(kind).fit(parts[0], seed=3)
        return fitted[kind]

    return get


# Fitting an MLP takes a second and more.
KINDS_TO_FIT = [pytest.param(k, marks=[pytest.mark.slow] * (k == "mlp")) for k in PREDICTORS]


@pytest.fixture(params=KINDS_TO_FIT)
def each(request: pytest.FixtureRequest, fit: Callable[[str], Predictor]) -> Predictor:
    return fit(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*PREDICTORS, "layers of archs", "layers"])
def test_contract(kind: str, synthetic: Dataset, network_data: Dataset, tmp_path: Path) -> None:
    if kind == "mlp":
        pytest.importorskip("torch", reason="training an MLP needs PyTorch")
    # A model of layers takes ten seconds for 300 architectures.
    rows = 60 if kind == "layers of archs" else 300
    data = network_data if kind == "layers" else synthetic[:rows]
    check_predictor(lambda: _new(kind.split(maxsplit=1)[0], epochs=5), data, tmp_path)


@pytest.mark.parametrize("made", ["trained", "predictor", "adapt"])
def test_what_a_base_model_gives_keeps_the_contract(
    made: str, base_model: BaseModel, source_data: list[Dataset], tmp_path: Path
) -> None:
    new = replace(source_data[0], target=Target("elsewhere", "simulator"))
    given: dict[str, tuple[Callable[[], Predictor], Dataset]] = {
        "trained": (lambda: base_model.trained(source_data[0].target), source_data[0]),
        "predictor": (lambda: base_model.predictor(new.target), new),
        "adapt": (lambda: base_model.adapt(new[:20]), new),
    }
    make, test = given[made]
    check_fitted(make(), test[20:60], tmp_path)


@pytest.mark.slow
def test_base_models_of_other_quantities(base_model: BaseModel, source_data: list[Dataset]) -> None:
    """What they predict is of the quantity that they were fitted to, and is not mixed up."""
    energies = [replace(data, quantity=ENERGY_MJ) for data in source_data[:2]]
    base = BaseModel().fit(energies)
    assert base.trained(energies[0].target).fitted.quantity == ENERGY_MJ
    assert base.adapt(energies[1][:5]).fitted.quantity == ENERGY_MJ
    with pytest.raises(ValueError, match="needs values of energy_mj; got latency_ms"):
        base.adapt(source_data[0][:5])
    with pytest.raises(ValueError, match="adapts by the method bayes; got last-layer"):
        base.adapt(energies[1][:20], method="last-layer")
    with pytest.raises(ValueError, match="needs values of latency_ms; got energy_mj"):
        BaseModel().fit([source_data[0], energies[1]])
    with pytest.raises(ValueError, match="must be of one target; 'base' is of many"):
        models.predictor("base")


def test_a_kind_of_ones_own(
    synthetic: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the documentation says is enough is enough."""
    monkeypatch.setattr(KINDS, "_things", dict(KINDS._things))

    @register_predictor
    class Mean(BlockPredictor):
        kind = "mean"
        description = "the mean of all"

        def _fit(self, archs: Archs, values: Floats, rng: np.random.Generator) -> None:
            self._mean = np.array([values.mean()])

        def _predict(self, archs: Archs) -> Floats:
            return np.repeat(self._mean, len(archs))

        def _explain(self, archs: Archs) -> Floats:
            return np.zeros(self.space.block_ids(archs).shape)

        def _state(self) -> dict[str, Any]:
            return {"mean": self._mean}

        def _restore(self, state: Mapping[str, Any], parts: Mapping[str, Predictor]) -> None:
            self._mean = state["mean"]

    check_predictor(Mean, synthetic[:100], tmp_path)
    with pytest.raises(TypeError, match="lacks the hook _form"):
        Mean().fit(synthetic[:100]).form()
    with pytest.raises(ValueError, match="must have a name of its own; 'mlp' is latcast's"):
        register_predictor(type("Other", (Mean,), {"kind": "mlp"}))


@pytest.mark.slow
def test_predicts_what_it_should(each: Predictor, parts: tuple[Dataset, Dataset]) -> None:
    test = parts[1]
    predicted = each.predict(test.archs)
    assert predicted.shape == (len(test),)
    assert predicted.dtype == np.float64
    assert (predicted > 0).all()
    error = np.abs(predicted - test.latency_ms).mean() / test.latency_ms.mean()
    assert error < ERROR_BOUNDS[each.kind]
    assert each.target == test.target


def test_its_form_says_the_same(each: Predictor, parts: tuple[Dataset, Dataset]) -> None:
    archs = parts[1].archs
    np.testing.assert_allclose(_by_form(each.form(), archs), each.predict(archs), rtol=1e-5)


def _by_form(form: Form, archs: Archs) -> npt.NDArray[np.float64]:
    """What :class:`Form` documents, word by word; networks of this space have no dead code."""
    assert form.live.shape[1] == 0
    sums = [archs.space.block_sums(archs, column) for column in form.rows.T]
    x = np.column_stack([*sums, archs.space.one_hot(archs)] if form.has_genes else sums)
    y = x @ form.linear
    for weights, biases in form.layers[:-1]:
        x = np.maximum(x @ weights + biases, 0)
    weights, biases = form.layers[-1]
    y += (x @ weights + biases)[:, 0]
    if form.base is not None:
        y += form.base_weight * _by_form(form.base, archs)
    return np.maximum(y, form.lowest_ms)


def test_inactive_genes_do_not_matter(each: Predictor, parts: tuple[Dataset, Dataset]) -> None:
    archs = parts[1].archs
    np.testing.assert_array_equal(each.predict(archs), each.predict(archs.canonical()))


def test_subspaces_are_predicted_as_what_they_are(each: Predictor) -> None:
    small = space("compofa-elastic-kernel").sample(20, 0, restrict={"r": [192]})
    np.testing.assert_array_equal(each.predict(small), each.predict(small.space.expand(small)))


def test_intervals_cover_and_nest(each: Predictor, parts: tuple[Dataset, Dataset]) -> None:
    test = parts[1]
    predicted = each.predict(test.archs)
    last = np.zeros(len(test))
    for coverage in (0.5, 0.8, 0.9):
        lower, upper = each.predict_interval(test.archs, coverage)
        assert (lower >= 0).all()
        assert (lower <= predicted).all()
        assert (predicted <= upper).all()
        inside = (lower <= test.latency_ms) & (test.latency_ms <= upper)
        # Four standard deviations of 240 test and 144 calibration rows.
        assert abs(inside.mean() - coverage) < 4 * np.sqrt(coverage * (1 - coverage) / 90)
        assert (upper - lower >= last).all()
        last = upper - lower


def test_upper_bound_holds_as_often_as_asked(
    each: Predictor, parts: tuple[Dataset, Dataset]
) -> None:
    test = parts[1]
    kept = (test.latency_ms <= each.upper_bound(test.archs, 0.9)).mean()
    assert 0.8 < kept <= 1.0
    bound = each.upper_bound(test.archs, 0.9)
    assert (each.probability_below(test.archs, bound) >= 0.88).all()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MLP, {"recipe": "papr"}, "no recipe is called 'papr'; did you mean 'paper'"),
        (MLP, {"epochs": 0}, "must be at least 1; got epochs 0"),
        (Roofline, {"correction_units": -1}, "correction_units must be at least 0; got -1"),
        (LookupTable, {"penalty": 0}, "penalty must be positive; got 0"),
    ],
)
def test_bad_options(kind: type[Predictor], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_another_space_is_refused(each: Predictor) -> None:
    with pytest.raises(ValueError, match=r"for the space ofa-mobilenet-v3; got .* of .*-w1\.0"):
        each.predict(space("ofa-mobilenet-v3-w1.0").sample(2, 0))


def test_few_architectures_with_many_rows(synthetic: Dataset) -> None:
    repeated = synthetic[np.arange(9_000) % 20]
    p = models.predictor("roofline").fit(repeated)
    assert p.fitted.calibration is not None
    error = np.abs(p.predict(repeated.archs) / repeated.latency_ms - 1)
    assert np.median(error) < 0.5
    with pytest.raises(ValueError, match="at least 10 different architectures; got 3"):
        models.predictor("roofline").fit(synthetic[np.arange(12) % 3])


@pytest.mark.parametrize("kind", KINDS_TO_FIT)
def test_ten_rows_are_enough(kind: str, synthetic: Dataset) -> None:
    if kind == "mlp":
        pytest.importorskip("torch")
    if kind == "lookup-table":
        pytest.skip("ten networks do not hold every block: see test_lookup_table")
    p = _new(kind).fit(synthetic[:10])
    assert not p.covers(0.9)
    assert p.covers(0.5)
    assert (p.predict(synthetic.archs[:50]) > 0).all()


@pytest.fixture(scope="module")
def elsewhere(parts: tuple[Dataset, Dataset]) -> Dataset:
    """The held-out networks on a target that takes three times as long, and 2 ms."""
    archs, latency = parts[1].archs, parts[1].latency_ms
    return Dataset(archs, 2.0 + 3.0 * latency, Target("elsewhere", "other", batch=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rows"), [("bayes", 1), ("bayes", 2), ("bayes", 40), ("last-layer", 40)]
)
def test_adapts(
    each: Predictor, elsewhere: Dataset, method: str, rows: int, tmp_path: Path
) -> None:
    """Up to a scale, all that matters is known; the base stays what it was."""
    few, archs = elsewhere[:rows], elsewhere.archs[40:]
    before = each.predict(archs).tobytes()
    card = dict(each.fitted.card)
    adapted = each.adapt(few, method=method, seed=1)
    assert each.predict(archs).tobytes() == before
    assert each.target == Target("imaginary", "simulator", batch=2)
    assert each.fitted.card == card
    assert adapted.target == few.target
    assert adapted.space.name == each.space.name
    assert adapted.fitted.seen == each.fitted.seen
    assert adapted.fitted.card["rows"] == rows
    assert adapted.fitted.card["base"]["kind"] == each.kind
    predicted = adapted.predict(archs)
    if (each.kind, method) != ("mlp", "last-layer"):  # a fresh layer of 400 on 34 rows
        assert np.abs(predicted / elsewhere.latency_ms[40:] - 1).mean() < 0.06
    assert (predicted > 0).all()
    again = each.adapt(few, method=method, seed=1)
    np.testing.assert_array_equal(again.predict(archs), predicted)
    adapted.save(tmp_path / "a.latcast")
    loaded = models.load(tmp_path / "a.latcast")
    np.testing.assert_array_equal(loaded.predict(archs), predicted)
    assert loaded.fitted.seen == adapted.fitted.seen
    explained = adapted.explain(archs[:20])
    # Weights of an MLP have 32 bits: how their products are rounded depends on the number of rows.
    np.testing.assert_allclose(
        explained.blocks_ms.sum(axis=1) + explained.network_ms, predicted[:20],
        rtol=1e-6 if each.kind == "mlp" else 1e-9,
    )  # fmt: skip


@pytest.mark.slow
def test_adapted_intervals_cover(each: Predictor, elsewhere: Dataset) -> None:
    few, test = elsewhere[:40], elsewhere[40:]
    adapted = each.adapt(few)
    loaded = [p.predict_interval(test.archs, 0.9) for p in (adapted, each.adapt(few[:3]))]
    for lower, upper in loaded:
        assert ((lower <= test.latency_ms) & (test.latency_ms <= upper)).mean() > 0.8
    narrow, wide = ((upper - lower).mean() for lower, upper in loaded)
    assert narrow < wide
