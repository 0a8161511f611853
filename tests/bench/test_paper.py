from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.bench import paper
from latcast.data import paper_split, read


def test_ofa_files_are_split_as_in_the_paper(shared: Path) -> None:
    data = read(shared / "ofanas" / "datasets" / "Tesla_P40_GPU_ofa.csv")
    for ours, papers in zip(paper.honest_split(data), paper_split(data), strict=True):
        assert ours.archs == papers.archs
        np.testing.assert_array_equal(ours.latency_ms, papers.latency_ms)


@pytest.mark.parametrize("name", ["RTX_2080_Ti_GPU", "Tesla_P40_GPU", "Intel_Xeon_CPU"])
def test_memoized_measurements_count_once(shared: Path, name: str) -> None:
    data = read(shared / "ofanas" / "datasets" / f"{name}_fixedkernelcompofa.csv")
    parts = paper.honest_split(data)
    assert sum(map(len, parts)) == 243
    depths = [set(map(tuple, p.archs.genes[:, :5])) for p in parts]
    assert not depths[0] & (depths[1] | depths[2])
    latency = np.concatenate([p.latency_ms for p in parts])
    assert len(np.unique(latency)) == 243


def test_repeated_architectures_count_once(shared: Path) -> None:
    data = read(shared / "ofanas" / "datasets" / "note10_lookuptable_fixedkernelcompofa.csv")
    assert sum(map(len, paper.honest_split(data))) == 1_215


def test_the_recipe_has_the_published_settings() -> None:
    recipe = paper.PREDICTORS["mlp-paper"](paper.DATASETS[0]).options()
    assert (recipe["recipe"], recipe["learning_rate"], recipe["epochs"]) == ("paper", 1e-4, 100)


def test_seeds_are_averaged(shared: Path) -> None:
    rows = paper.run(shared / "ofanas", datasets=["RTX_2080_Ti_GPU_fixedkernelcompofa"],
                     predictors=["flops", "roofline"], seeds=2).rows  # fmt: skip
    assert [r["predictor"] for r in rows] == ["flops", "roofline"]
    assert all(r["seeds"] == 2 for r in rows)
    single = paper.run(shared / "ofanas", datasets=["RTX_2080_Ti_GPU_fixedkernelcompofa"],
                       predictors=["flops"]).rows  # fmt: skip
    assert single[0]["mae_std_ms"] == 0
    difference = 2 * abs(single[0]["mae_ms"] - rows[0]["mae_ms"])
    assert difference / 2**0.5 == pytest.approx(rows[0]["mae_std_ms"])
    assert rows[0]["archs_per_second"] > 0
    with pytest.raises(ValueError, match="seeds must be at least 1; got 0"):
        paper.run(shared, seeds=0)
