"""Accuracy models keep the contract of every predictor, and some more of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latcast.data import ACCURACY, Dataset
from latcast.models.accuracy import (
    AccuracyModel,
    CallableAccuracy,
    EnsembleAccuracy,
    GaussianProcess,
    TableAccuracy,
    accuracy_model,
    as_accuracy_model,
    distilled,
    gaussian_process,
    load_accuracy,
)
from latcast.spaces import Archs, space, space_names
from latcast.testing import check_fitted, check_predictor

Case = tuple[AccuracyModel, Archs]


def _depth(archs: Archs) -> object:
    return archs.space.costs(archs)["blocks"].to_numpy() / 30


@pytest.fixture(scope="module")
def cases(cells: Dataset, mobile: Dataset) -> dict[str, Callable[[], Case]]:
    """By name of a model the model, and architectures that it can be asked for."""
    ofa = space("ofa-mobilenet-v3")
    trained = GaussianProcess().fit(mobile)
    of_cells = GaussianProcess().fit(cells)
    table = TableAccuracy.of(cells)
    compofa = space("compofa-fixed-kernel").sample(60, 0, restrict={"r": [160, 192, 224]})
    random = space("nasbench201").sample(60, 2)
    made: dict[str, Case] = {
        "distilled": (accuracy_model(), ofa.sample(60, 1)),
        "trained": (trained, ofa.sample(60, 1)),
        "trained, asked for a part of its space": (trained, compofa),
        "trained on cells": (of_cells, random),
        "table": (table, cells.archs[::-1]),
        "function": (CallableAccuracy(_depth, space=ofa), ofa.sample(60, 1)),
        "function for all spaces": (CallableAccuracy(_depth), compofa),
        "ensemble": (EnsembleAccuracy([trained, accuracy_model()]), ofa.sample(60, 1)),
        "ensemble with a table": (EnsembleAccuracy([table, of_cells]), cells.archs[5:65]),
    }
    return {name: lambda case=case: case for name, case in made.items()}  # type: ignore[misc]


NAMES = [
    "distilled", "trained", "trained, asked for a part of its space", "trained on cells", "table",
    "function", "function for all spaces", "ensemble", "ensemble with a table",
]  # fmt: skip


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: dict[str, Callable[[], Case]]) -> Case:
    return cases[request.param]()


def test_every_case_is_run(cases: dict[str, Callable[[], Case]]) -> None:
    assert sorted(cases) == sorted(NAMES)


def test_contract(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, archs = case
    for module in (distilled, gaussian_process):
        monkeypatch.setattr(module, "_CHUNK", 18)
    test = Dataset(archs, model.predict(archs), quantity=ACCURACY)
    can_save = not isinstance(model, CallableAccuracy)
    check_fitted(model, test, tmp_path, can_save=can_save)
    if can_save:
        loaded = load_accuracy(tmp_path / "a.latcast")
        assert (loaded.name, loaded.resolutions) == (model.name, model.resolutions)
        assert loaded.noise == model.noise
        told, again = model.uncertainty(archs), loaded.uncertainty(archs)
        assert (told is None) == (again is None)
        if told is not None and again is not None:
            np.testing.assert_allclose(again, told)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cells", "mobile"])
def test_what_is_trained_keeps_the_contract(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data: Dataset = request.getfixturevalue(name)
    check_predictor(lambda: GaussianProcess(name="mine"), data, tmp_path, can_adapt=False)


def test_a_table_is_fitted_to_what_it_holds(cells: Dataset) -> None:
    table = TableAccuracy(name="mine").fit(cells[:50])
    np.testing.assert_array_equal(table.predict(cells.archs[:50]), cells.values[:50])
    assert table.card["rows"] == 50
    with pytest.raises(ValueError, match="lacks architecture 50"):
        table.predict(cells.archs[:51])


def test_intervals_of_any_model_come_from_measured_accuracies(mobile: Dataset) -> None:
    """As those of any predictor; the shipped model is nothing like this table."""
    model = CallableAccuracy(accuracy_model().predict, name="mine")
    assert not model.covers(0.9)
    model.calibrate(mobile[:60])
    lower, upper = model.predict_interval(mobile.archs[60:], 0.9)
    inside = (lower <= mobile.values[60:]) & (mobile.values[60:] <= upper)
    assert 0.7 < inside.mean() <= 1.0
    assert upper.max() <= 1.0


def test_predicts_what_differs(case: Case) -> None:
    model, archs = case
    assert model.name
    assert model.supports(archs.space)
    assert len(np.unique(model.predict(archs))) > 5
    if model.resolutions is not None:
        choices = {g.name: g.choices for g in archs.space.genes}
        assert list(model.resolutions) == sorted(set(model.resolutions))
        assert set(model.resolutions) <= set(choices["r"])


def test_inactive_genes_change_nothing(case: Case) -> None:
    model, archs = case
    np.testing.assert_array_equal(model.predict(archs.canonical()), model.predict(archs))


def test_uncertainty_is_a_deviation(case: Case) -> None:
    model, archs = case
    got = model.uncertainty(archs)
    if got is None:
        return
    assert got.shape == (len(archs),)
    assert np.isfinite(got).all()
    assert (got >= 0).all()
    assert (got < 0.5).all()
    single, empty = model.uncertainty(archs[3]), model.uncertainty(archs[:0])
    assert single is not None
    assert empty is not None
    np.testing.assert_allclose(single, got[3], atol=2e-6)
    assert empty.shape == (0,)


def test_predicts_what_it_knows(case: Case) -> None:
    model, archs = case
    known = model.known(archs.space)
    if known is None:
        assert model.predict(archs.space.sample(20, 9)).shape == (20,)
        return
    assert known.space.name == archs.space.name
    assert model.predict(known).shape == (len(known),)
    groups = known.concatenate(archs).unique_index()
    assert np.isin(groups[len(known) :], groups[: len(known)]).all()


def test_another_space_is_refused(case: Case) -> None:
    model, _ = case
    others = [s for s in map(space, space_names()) if not model.supports(s)]
    for other in others:
        with pytest.raises(ValueError, match="got"):
            model.predict(other.sample(2, 0))


def test_stands_for_itself(case: Case) -> None:
    model, _ = case
    assert as_accuracy_model(model) is model
