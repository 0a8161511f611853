from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latcast.bench import finetuning, paper
from latcast.bench.finetuning import METHODS, Scaled
from latcast.data import Dataset, read
from latcast.devices import Target
from latcast.models import MLP, Roofline

RTX = "RTX_2080_Ti_GPU_ofa"
COMPOFA = "note10_lookuptable_elastickernelcompofa"


@pytest.fixture(scope="module")
def bases(shared: Path) -> finetuning.Bases:
    train = paper.split_of(shared / "ofanas", "note10_lookuptable_ofa")[0]
    return finetuning.Bases("note10_lookuptable_ofa", lambda: train[:1_500])


@pytest.fixture
def quick(bases: finetuning.Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller base, fitted once for all tests."""
    monkeypatch.setattr(finetuning, "Bases", lambda *_: bases)


def test_scaled_by_the_median_ratio(synthetic: Dataset) -> None:
    base = Roofline().fit(synthetic)
    few = synthetic[:5]
    other = Target("imaginary", "elsewhere", batch=2)
    predicted = base.predict(few.archs)
    slower = Dataset(few.archs, predicted * np.array([2, 3, 9, 2.5, 3]), other)
    assert Scaled.to(base, slower).factor == pytest.approx(3)
    np.testing.assert_allclose(Scaled.to(base, slower).predict(few.archs), 3 * predicted)
    assert Scaled.to(base, slower[:0]).factor == 1


@pytest.mark.slow
def test_last_layer_is_the_paper_s(synthetic: Dataset) -> None:
    pytest.importorskip("torch")
    base = MLP("paper", hidden=(16,), epochs=1).fit(synthetic)
    few = Dataset(
        synthetic.archs[:40], 2 * synthetic.latency_ms[:40], Target("imaginary", "elsewhere")
    )
    bases = finetuning.Bases("", lambda: synthetic)
    bases.__dict__["mlp"] = base
    adapted = METHODS["last-layer"].learn(bases, few, 0)
    expected = base.adapt(few, method="last-layer")
    np.testing.assert_array_equal(adapted.predict(few.archs), expected.predict(few.archs))
    assert METHODS["last-layer"].min_samples == 10


@pytest.mark.usefixtures("quick")
def test_adapting_beats_scaling_and_what_was_published(shared: Path) -> None:
    rows = finetuning.run(shared / "ofanas", datasets=[RTX], predictors=["adapt", "scaled"],
                          samples=[20, 100], seeds=3).rows  # fmt: skip
    mae = {(r["method"], r["samples"]): r["mae_ms"] for r in rows}
    assert mae["adapt", 100] < mae["adapt", 20] < mae["scaled", 20]
    assert mae["adapt", 100] < 0.42 * mae["published", 100]
    assert [n for method, n in mae if method == "published"] == [100, 700, 900]
    assert all(r["seconds"] > 0 and r["seeds"] == 3 for r in rows if r["method"] != "published")


@pytest.mark.usefixtures("quick")
def test_chosen_rows_beat_random_ones(shared: Path) -> None:
    rows = finetuning.run(shared / "ofanas", datasets=[RTX], samples=[10, 101], seeds=4,
                          predictors=["adapt", "adapt-suggested"]).rows  # fmt: skip
    mae = {(r["method"], r["samples"]): r["mae_ms"] for r in rows}
    assert mae["adapt-suggested", 10] < mae["adapt", 10]
    assert ("adapt-suggested", 101) not in mae
    assert ("adapt", 101) in mae


def test_chosen_rows_are_measured_ones(bases: finetuning.Bases, shared: Path) -> None:
    data = read(shared / "ofanas" / "datasets" / f"{RTX}.csv")[:300]
    few = finetuning._suggested_rows(bases.roofline, data, 12, seed=1)
    where = {g.tobytes(): ms for g, ms in zip(data.archs.genes, data.latency_ms, strict=True)}
    assert [where[g.tobytes()] for g in few.archs.genes] == few.latency_ms.tolist()
    assert len(few.archs.unique()) == 12


@pytest.mark.usefixtures("quick")
def test_a_lookup_table_carries_over_to_a_subspace(shared: Path) -> None:
    rows = finetuning.run(shared / "ofanas", datasets=[COMPOFA], seeds=2,
                          predictors=["adapt", "scaled"]).rows  # fmt: skip
    assert [(r["method"], r["samples"]) for r in rows] == [
        ("adapt", 50), ("scaled", 0), ("scaled", 50)
    ]  # fmt: skip
    assert rows[1]["mape"] < 0.5
    assert rows[0]["mape"] < 0.2


def test_means_are_of_the_seeds(shared: Path) -> None:
    rows = [
        finetuning.run(shared / "ofanas", datasets=[RTX], predictors=["bayes"], samples=[15],
                       seeds=seeds).rows[0]
        for seeds in (1, 2)
    ]  # fmt: skip
    assert rows[0]["mae_std_ms"] == 0
    away = abs(rows[1]["mae_ms"] - rows[0]["mae_ms"])
    assert away * 2**0.5 == pytest.approx(rows[1]["mae_std_ms"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"samples": [10, -1]}, "a number of samples must be at least 0; got -1"),
        (
            {"samples": [5], "predictors": ["roofline", "last-layer"]},
            "last-layer needs at least 10 samples; got 5, roofline needs at least 10 samples; got",
        ),
        (
            {"samples": [101], "predictors": ["adapt-suggested"], "datasets": [RTX]},
            "adapt-suggested picks at most 100 samples; got 101: choose other",
        ),
    ],
)
def test_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        finetuning.run(tmp_path, **options)  # type: ignore[arg-type]


def test_what_is_left_out_is_told(shared: Path) -> None:
    told: list[str] = []
    rows = finetuning.run(shared / "ofanas", datasets=[COMPOFA], predictors=["bayes"],
                          samples=[5, 12], seeds=1, report=told.append).rows  # fmt: skip
    assert [r["samples"] for r in rows] == [12]
    assert told == [
        f"note: {COMPOFA}: left out, as bayes needs at least 10 samples; got 5",
        f"{COMPOFA}: bayes, 12 samples",
    ]


def test_transfers_are_of_the_paper_s_files() -> None:
    known = {d.name for d in paper.DATASETS}
    assert {t.target for t in finetuning.TRANSFERS} | {t.source for t in finetuning.TRANSFERS} <= (
        known
    )
    assert replace(finetuning.TRANSFERS[0], samples=(1,)).published_mae_ms[100] == 1.03
