from __future__ import annotations

from pathlib import Path

import pytest

from latcast.bench import dataset_size
from latcast.bench.protocol import averaged, random_rows
from latcast.data import Dataset

P40 = "Tesla_P40_GPU_ofa"


def test_errors_fall_with_the_number_of_rows(shared: Path) -> None:
    rows = dataset_size.run(shared / "ofanas", datasets=[P40], samples=[40, 400], seeds=2).rows
    assert [(r["predictor"], r["samples"]) for r in rows] == [
        ("roofline", 40), ("roofline", 400), ("bayes", 40), ("bayes", 400), ("published", 7_000)
    ]  # fmt: skip
    mae = [r["mae_ms"] for r in rows]
    assert mae[1] < 0.6 * mae[0]
    assert mae[3] < 0.6 * mae[2]
    assert mae[4] == 0.491
    assert rows[4]["note"] == "validation batch"
    assert rows[1]["mae_std_ms"] > 0
    assert rows[1]["seconds"] > 0


def test_refused(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(ValueError, match="seeds must be at least 1; got 0"):
        dataset_size.run(tmp_path, seeds=0)
    with pytest.raises(ValueError, match="number of samples must be at least 10; got 9"):
        dataset_size.run(tmp_path, samples=[20, 9])
    with pytest.raises(ValueError, match="at most the 7000 training rows; got 7001"):
        dataset_size.run(shared / "ofanas", datasets=[P40], samples=[7_001], seeds=1)


def test_rows_are_drawn_once_each(synthetic: Dataset) -> None:
    few = random_rows(synthetic, 300, seed=3)
    assert few.target == synthetic.target
    assert len(set(few.latency_ms)) == len(few) == 300
    assert random_rows(synthetic, 300, seed=3).archs == few.archs
    assert random_rows(synthetic, 300, seed=4).archs != few.archs


def test_means_of_what_all_seeds_have() -> None:
    scores = [
        {"mae_ms": 1.0, "mape": 2.0, "spearman": 0.9, "coverage_90": 88.0},
        {"mae_ms": 3.0, "mape": 2.0, "spearman": 0.7},
    ]
    result = averaged(scores)
    assert result["mae_ms"] == 2
    assert result["mae_std_ms"] == pytest.approx(2**0.5)
    assert result["mape_std"] == 0
    assert result["spearman_std"] == pytest.approx(0.02**0.5)
    assert result["seeds"] == 2
    assert "coverage_90" not in result
