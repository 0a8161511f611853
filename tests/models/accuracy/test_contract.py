"""What holds of every accuracy model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.models.accuracy import (
    AccuracyModel,
    CallableAccuracy,
    DistilledOFA,
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

Case = tuple[AccuracyModel, Archs]


def _depth(archs: Archs) -> object:
    return archs.space.costs(archs)["blocks"].to_numpy() / 30


@pytest.fixture(scope="module")
def cases(cells: Dataset, mobile: Dataset) -> dict[str, Callable[[], Case]]:
    """By name of a model the model, and architectures that it can be asked for."""
    ofa = space("ofa-mobilenet-v3")
    trained = GaussianProcess.fit(mobile.archs, mobile.accuracy)
    of_cells = GaussianProcess.fit(cells.archs, cells.accuracy)
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


def test_says_what_it_is(case: Case) -> None:
    model, archs = case
    assert model.name
    assert model.supports(archs.space)
    if model.resolutions is not None:
        choices = {g.name: g.choices for g in archs.space.genes}
        assert list(model.resolutions) == sorted(set(model.resolutions))
        assert set(model.resolutions) <= set(choices["r"])


def test_predicts_fractions(case: Case) -> None:
    model, archs = case
    got = model.predict(archs)
    assert got.shape == (len(archs),)
    assert got.dtype == np.float64
    assert (got >= 0).all()
    assert (got <= 1).all()
    assert len(np.unique(got)) > 5


def test_a_batch_is_its_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, archs = case
    for module in (distilled, gaussian_process):
        monkeypatch.setattr(module, "_CHUNK", 18)
    whole = model.predict(archs)
    assert model.predict(archs[:0]).shape == (0,)
    for i in (0, 17, len(archs) - 1):
        np.testing.assert_allclose(model.predict(archs[i]), whole[i], atol=2e-6)
    order = np.random.default_rng(0).permutation(len(archs))
    np.testing.assert_allclose(model.predict(archs[order]), whole[order], atol=2e-6)
    np.testing.assert_array_equal(model.predict(archs), whole)


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


def test_intervals_hold_the_prediction_and_grow(case: Case) -> None:
    model, archs = case
    levels = [c for c in (0.5, 0.9) if model.covers(c)]
    assert not any(map(model.covers, (0.0, 1.0, float("nan"))))
    if not levels:
        with pytest.raises(ValueError, match="was trained"):
            model.predict_interval(archs)
        return
    predicted, widths = model.predict(archs), []
    for coverage in levels:
        lower, upper = model.predict_interval(archs, coverage)
        assert lower.shape == upper.shape == (len(archs),)
        assert (lower <= predicted + 1e-6).all()
        assert (predicted <= upper + 1e-6).all()
        widths.append(upper - lower)
    assert all((wider >= narrower).all() for narrower, wider in pairwise(widths))


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


def test_a_file_changes_nothing(case: Case, tmp_path: Path) -> None:
    model, archs = case
    if not isinstance(model, GaussianProcess | DistilledOFA):
        pytest.skip("what is given is not kept in files")
    model.save(tmp_path / "m.latcast")
    loaded = load_accuracy(tmp_path / "m.latcast")
    assert type(loaded) is type(model)
    assert (loaded.name, loaded.resolutions) == (model.name, model.resolutions)
    np.testing.assert_array_equal(loaded.predict(archs), model.predict(archs))
    if isinstance(model, GaussianProcess):
        assert isinstance(loaded, GaussianProcess)
        assert (loaded.card, loaded.noise) == (model.card, model.noise)
        np.testing.assert_allclose(loaded.uncertainty(archs), model.uncertainty(archs))
        for got, expected in zip(
            loaded.predict_interval(archs), model.predict_interval(archs), strict=True
        ):
            np.testing.assert_allclose(got, expected, atol=1e-6)


def test_stands_for_itself(case: Case) -> None:
    model, _ = case
    assert as_accuracy_model(model) is model
