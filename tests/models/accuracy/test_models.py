"""Tables, functions, ensembles, and what stands for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.models.accuracy import (
    AccuracyModel,
    CallableAccuracy,
    DistilledOFA,
    EnsembleAccuracy,
    GaussianProcess,
    TableAccuracy,
    accuracy_model,
    as_accuracy_model,
)
from latcast.models.accuracy._base import Floats
from latcast.spaces import Archs, SearchSpace, space

CELLS = space("nasbench201")
OFA = space("ofa-mobilenet-v3")


# -- tables -------------------------------------------------------------------------------------


def test_a_table_is_looked_up() -> None:
    archs = CELLS.enumerate()
    accuracy = np.random.default_rng(0).uniform(0, 1, len(archs))
    table = TableAccuracy(archs, accuracy)
    order = np.random.default_rng(1).permutation(len(archs))
    np.testing.assert_array_equal(table.predict(archs[order]), accuracy[order])
    known = table.known(CELLS)
    assert known is not None
    assert known == archs
    assert table.uncertainty(archs) is None
    assert table.resolutions is None
    assert table.known(OFA) == OFA.sample(0)


def test_a_network_that_is_not_in_the_table() -> None:
    archs = CELLS.sample(50, 0).unique()
    table = TableAccuracy(archs[1:], np.full(len(archs) - 1, 0.5), name="mine")
    with pytest.raises(ValueError, match=r"'mine' lacks architecture 2 of 3; it has \d+ \(for a"):
        table.predict(archs[[5, 3, 0]])


def test_a_table_holds_a_network_once() -> None:
    archs = OFA.sample(4, 0)
    assert TableAccuracy(archs, np.full(4, 0.5)).resolutions == tuple(
        sorted({int(r) for r in archs.genes[:, -1]})
    )
    repeated = archs.concatenate(archs[1].canonical())
    with pytest.raises(ValueError, match="hold a network once; rows 1 and 4 are the same"):
        TableAccuracy(repeated, np.full(5, 0.5))
    with pytest.raises(ValueError, match="must hold an architecture; got none"):
        TableAccuracy(archs[:0], np.empty(0))
    with pytest.raises(ValueError, match=r"of 'table' must be from 0 to 1; got nan"):
        TableAccuracy(archs, [0.1, 0.2, np.nan, 0.3])


# -- functions ----------------------------------------------------------------------------------


def test_a_function_is_called() -> None:
    def shallow_is_best(archs: Archs) -> list[float]:
        return [1 / float(n) for n in archs.space.costs(archs)["blocks"]]

    model = CallableAccuracy(shallow_is_best, resolutions=[224, 160, 160])
    archs = OFA.sample(7, 0)
    np.testing.assert_allclose(model.predict(archs), shallow_is_best(archs))
    assert model.name == "shallow_is_best"
    assert model.resolutions == (160, 224)
    assert CallableAccuracy(shallow_is_best, name="mine", space="nasbench201").supports(CELLS)
    with pytest.raises(ValueError, match="'mine' is for nasbench201; got architectures of ofa"):
        CallableAccuracy(shallow_is_best, name="mine", space="nasbench201").predict(archs)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0.5, 0.6], r"what 'mine' returns must be one number per architecture, shape \(3,\)"),
        ([[0.5], [0.6], [0.7]], r"got shape \(3, 1\)"),
        (0.5, r"got shape \(\)"),
        ([0.5, np.nan, 0.6], "must be from 0 to 1; got nan for architecture 1"),
        ([0.5, np.inf, 0.6], "must be from 0 to 1; got inf for architecture 1"),
        ([0.5, 0.6, -0.1], r"got -0\.1 for architecture 2"),
        ([71.0, 72.0, 73.0], r"\(divide percent by 100\); got 71 for architecture 0"),
        (["high", "low", "low"], "must be numbers; got"),
        (None, r"got shape \(\)"),
    ],
)
def test_what_a_function_returns_is_checked(returned: Any, message: str) -> None:
    model = CallableAccuracy(lambda _: returned, name="mine")
    with pytest.raises(ValueError, match=message):
        model.predict(CELLS.sample(3, 0))


def test_what_cannot_be_called() -> None:
    with pytest.raises(ValueError, match="must take architectures; got 3"):
        CallableAccuracy(3)  # type: ignore[arg-type]


# -- ensembles ----------------------------------------------------------------------------------


class Constant(AccuracyModel):
    """One accuracy and one deviation for all."""

    def __init__(
        self, accuracy: float, deviation: float | None, noise: float | None = None, **more: Any
    ) -> None:
        super().__init__("constant")
        self.accuracy, self.deviation, self.noise = accuracy, deviation, noise
        self.given(OFA, more.get("resolutions"))

    def supports(self, space: SearchSpace) -> bool:
        return space.name == OFA.name

    def _values(self, own: Archs) -> Floats:
        return np.full(len(own), self.accuracy)

    def _uncertainty(self, own: Archs) -> Floats | None:
        return None if self.deviation is None else np.full(len(own), self.deviation)


def test_an_ensemble_is_a_mixture() -> None:
    """Mean and variance of a mixture, against draws from it."""
    archs = OFA.sample(2, 0)
    members = [Constant(0.70, 0.01), Constant(0.72, 0.02), Constant(0.77, 0.03)]
    model = EnsembleAccuracy(members)
    np.testing.assert_allclose(model.predict(archs), 0.73)
    rng = np.random.default_rng(0)
    which = rng.integers(3, size=400_000)
    draws = rng.normal([m.accuracy for m in members], [m.deviation for m in members], (400_000, 3))
    drawn = draws[np.arange(len(which)), which]
    np.testing.assert_allclose(model.uncertainty(archs), drawn.std(), rtol=0.01)
    expected = np.sqrt(np.var([0.70, 0.72, 0.77]) + (0.01**2 + 0.02**2 + 0.03**2) / 3)
    np.testing.assert_allclose(model.uncertainty(archs), expected)


def test_members_that_do_not_tell_are_not_certain() -> None:
    archs = OFA.sample(2, 0)
    quiet = EnsembleAccuracy([Constant(0.7, None), Constant(0.72, None)])
    np.testing.assert_allclose(quiet.uncertainty(archs), 0.01)
    alike = EnsembleAccuracy([Constant(0.7, 0.02), Constant(0.7, None), Constant(0.7, 0.04)])
    expected = np.sqrt((0.02**2 + 0.04**2) / 2)
    np.testing.assert_allclose(alike.uncertainty(archs), expected)


def test_the_noise_of_an_ensemble_is_kept_apart() -> None:
    known = [Constant(0.7, 0.0, 0.003), Constant(0.7, 0.0, 0.004)]
    model = EnsembleAccuracy(known)
    assert model.noise == pytest.approx(np.sqrt((0.003**2 + 0.004**2) / 2))
    assert model.uncertainty(OFA.sample(1, 0))[0] == 0.0
    assert EnsembleAccuracy([*known, Constant(0.7, 0.0)]).noise is None


def test_members_share_what_can_be_asked() -> None:
    first, second = Constant(0.7, 0, resolutions=(160, 192)), Constant(0.7, 0)
    third = Constant(0.7, 0, resolutions=(192, 224))
    assert EnsembleAccuracy([first, second, third]).resolutions == (192,)
    assert EnsembleAccuracy([second, second]).resolutions is None
    with pytest.raises(ValueError, match=r"must share a resolution; got \[160, 192\] and \[224\]"):
        EnsembleAccuracy([first, Constant(0.7, 0, resolutions=(224,))])
    with pytest.raises(ValueError, match="two members at least; got 1"):
        EnsembleAccuracy([first])


def test_an_ensemble_of_tables_knows_what_all_know() -> None:
    archs = CELLS.enumerate()[:100]
    tables = [TableAccuracy(a, np.full(len(a), 0.5)) for a in (archs[:60], archs[40:])]
    known = EnsembleAccuracy(tables).known(CELLS)
    assert known is not None
    assert known == archs[40:60]


# -- what stands for a model --------------------------------------------------------------------


def test_names_files_functions_and_several(
    tmp_path: Path, mobile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = as_accuracy_model("ofa-mobilenet-v3")
    assert shipped is accuracy_model()
    assert isinstance(shipped, DistilledOFA)
    shipped.save("copy.latcast")
    assert isinstance(as_accuracy_model("copy.latcast"), DistilledOFA)
    trained = GaussianProcess().fit(mobile[:40])
    trained.save("trained.latcast")
    assert isinstance(as_accuracy_model(Path("trained.latcast")), GaussianProcess)
    cell = CELLS.sample(1, 0)
    Path("t.csv").write_text(f"arch,accuracy\n{cell.to_dicts()[0]['arch']},0.5\n")
    assert as_accuracy_model("t.csv", CELLS).predict(cell).tolist() == [0.5]
    assert as_accuracy_model([shipped]) is shipped
    Path("COPY.LATCAST").write_bytes(Path("copy.latcast").read_bytes())
    assert isinstance(as_accuracy_model("COPY.LATCAST"), DistilledOFA)
    Path("T.CSV").write_bytes(Path("t.csv").read_bytes())
    assert as_accuracy_model([Path("T.CSV")], CELLS).predict(cell).tolist() == [0.5]
    several = as_accuracy_model(["trained.latcast", "ofa-mobilenet-v3", lambda a: [0.5] * len(a)])
    assert isinstance(several, EnsembleAccuracy)
    assert len(several.members) == 3


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("ofa-mobilenet", ValueError, "did you mean 'ofa-mobilenet-v3'"),
        ("none.latcast", FileNotFoundError, "no such file"),
        ("none.csv", FileNotFoundError, "no such file"),
        (3, ValueError, "must be a name, a file, a function or an AccuracyModel, or several"),
        ([], ValueError, "two members at least"),
    ],
)
def test_what_stands_for_none(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_accuracy_model(source)
