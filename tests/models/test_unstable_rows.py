"""Rows of a busy machine: models that have a likelihood weigh them by their scatter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latcast
from latcast.data import Dataset, read
from latcast.models import Predictor
from latcast.models.evaluation import Evaluation
from latcast.models.workflow import adapt_and_score, train

DATASETS = Path(__file__).parents[2] / "datasets"
ROWS = 12
BUSY = [2, 5, 7, 8]


def measurements(name: str) -> tuple[Dataset, Dataset]:
    """Rows of which four took up to three times as long; these and others as they are."""
    data = replace(read(DATASETS / f"epyc-genoa-2c_{name}.parquet"), standard_error=None)
    rng = np.random.default_rng(3)
    rows = rng.permutation(len(data))
    few, values = data[rows[:ROWS]], data.values[rows[:ROWS]].copy()
    values[BUSY] *= rng.uniform(1.5, 3.0, len(BUSY))
    return replace(few, values=values), data[rows[: ROWS + 30]]


def stated(few: Dataset) -> Dataset:
    error = np.full(len(few), 0.01)
    error[BUSY] = np.nan
    return replace(few, standard_error=error)


def off(model: Predictor, test: Dataset) -> float:
    return float(np.mean(np.abs(np.log(model.predict(test.networks) / test.values))))


MODELS: dict[str, tuple[str, Callable[[], Predictor]]] = {
    "bayes": ("ncnn_b1_t1", lambda: latcast.load("epyc-genoa-2c-onnxruntime-b1-t1")),
    "layers": (
        "openvino_b1_t1.networks",
        lambda: latcast.load("epyc-genoa-2c/onnxruntime/b1/t1", networks=()),
    ),
    "joint": ("openvino_b1_t1.networks", lambda: latcast.load("core-i9-10940x", networks=())),
}


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("bayes", 0.8),
        pytest.param("layers", 0.95, marks=pytest.mark.slow),
        pytest.param("joint", 0.995, marks=pytest.mark.slow),
    ],
)
def test_adapting_hardly_follows_rows_that_state_their_scatter(kind: str, most: float) -> None:
    name, base = MODELS[kind]
    few, test = measurements(name)
    # What the joint model knows of networks that were measured is apart from what it knows of
    # others: the busy rows themselves show what they were taken for.
    test = test[np.array(BUSY)] if kind == "joint" else test[ROWS:]
    alike, found = adapt_and_score(base(), few)
    assert found.unstable is None
    weighed, found = adapt_and_score(base(), stated(few))
    assert found.unstable is not None
    assert found.unstable.startswith(f"{len(BUSY)} of {ROWS} rows are not known to 3 %")
    assert found.unstable.endswith("they are weighed by their scatter")
    assert off(weighed, test) < most * off(alike, test)
    # Stable rows weigh the same as those that state nothing.
    steady = replace(few, standard_error=np.full(len(few), 0.03))
    np.testing.assert_array_equal(
        adapt_and_score(base(), steady)[0].predict(test.networks), alike.predict(test.networks)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["roofline", "bayes", "mlp"])
def test_training_says_how_unstable_rows_are_used(kind: str) -> None:
    data = read(DATASETS / "epyc-genoa-2c_ncnn_b1_t1.parquet")[:300]
    data, clean = data[:160], data[160:]
    values, error = data.values.copy(), np.full(160, 0.01)
    values[::4] *= np.random.default_rng(0).uniform(1.0, 1.2, 40)
    error[::4] = 0.08
    slow = replace(data, values=values, standard_error=error)
    model, found = train([slow], kind)
    text = "".join(found.doubts())
    assert "40 of 160 rows are not known to 3 %" in text
    assert "row 0 (± 8 %)" in text
    assert ("weighed by their scatter" in text) == (kind != "mlp")
    assert ("weighs all rows alike" in text) == (kind == "mlp")
    if kind != "mlp":
        alike, _ = train([replace(slow, standard_error=None)], kind)
        assert off(model, clean) < off(alike, clean)


def test_evaluating_tells_unstable_rows_apart() -> None:
    few, _ = measurements("onnxruntime_b1_t1")
    model = latcast.load("epyc-genoa-2c-onnxruntime-b1-t1")
    plain = Evaluation.of(model, few, model_name="m", data="d")
    assert (plain.unstable, plain.metrics_weighted) == (0, None)
    (of_training,) = plain.doubts()
    assert "was trained on" in of_training
    found = Evaluation.of(model, stated(few), model_name="m", data="d")
    assert found.metrics == plain.metrics
    assert found.unstable == len(BUSY)
    assert found.metrics_weighted["mape"] < 0.2 * found.metrics["mape"]
    (note,) = set(found.doubts()) - {of_training}
    assert f"{len(BUSY)} of {ROWS} rows are not known to 3 %" in note
    assert f"MAPE is {found.metrics_weighted['mape']:.3g} %" in note


def test_rows_of_another_machine_are_told() -> None:
    few = measurements("ncnn_b1_t1")[0]
    board = latcast.load("raspberry-pi-5", networks=())
    found = adapt_and_score(board, few)[1]
    note = (
        "the rows are of epyc-genoa-2c; the model is of raspberry-pi-5: what comes out is of epyc"
    )
    assert str(found.machine).startswith(note)
    assert f"note: {found.machine}" in list(found.doubts())
    # Called after the board, but measured on an x86 machine, as the campaign's facts say.
    named = replace(few, target=replace(few.target, device="raspberry-pi-5"))
    here = {**few.provenance, "machine kernel": "Linux 6.1 x86_64"}
    there = {**few.provenance, "machine kernel": "Linux 6.1 aarch64"}
    assert "of x86_64, which raspberry-pi-5 is not" in str(machine(board, named, here))
    assert machine(board, named, there) is None


def machine(board: Predictor, few: Dataset, provenance: dict[str, str]) -> str | None:
    return adapt_and_score(board, replace(few, provenance=provenance))[1].machine
