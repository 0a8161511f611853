"""Searches on targets of HELP that a joint model has not seen, on a folder of our own making."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import left_out_search
from latcast.bench.few_shot_search import ACCURACIES, QUANTILES
from latcast.bench.help_folder import HelpFolder
from latcast.bench.published import Split

TRAIN = ("1080ti_1", "samsung_a50", "essential_ph_1")
TEST = ("titan_rtx_256", "pixel2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_help_folder: Any) -> Iterator[Path]:
    """Targets at prices of their own; some networks have accuracies."""
    prices = {
        name: (1e-8 * (1 + n), 5e-9 * (3 + n % 4), 0.01 * (1 + n % 3))
        for n, name in enumerate(TRAIN + TEST)
    }
    data: Path = tmp_path_factory.mktemp("left-out")
    path = write_help_folder(data / "nasbench201", networks=120, prices=prices)
    archs = HelpFolder.find(path).read("pixel2").archs[:40]
    percent = 40 + archs.space.costs(archs)["params"].to_numpy() / 1e5
    lines = [f"{a['arch']}, {p}, 0.1" for a, p in zip(archs.to_dicts(), percent, strict=True)]
    (path / ACCURACIES).write_text("\n".join(["116.99", *lines]) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        split = {"help": {"nasbench201": Split(TRAIN, (), TEST)}}
        patch.setattr(left_out_search, "SPLITS", split)
        patch.setattr(left_out_search, "SPACES", ("nasbench201",))
        patch.setattr(left_out_search, "ROWS", 40)
        yield data


def test_what_is_of_the_same_chip_is_left_out_too(folder: Path) -> None:
    """The Essential Phone and the Pixel 2 have one chip, the Snapdragon 835."""
    said: list[str] = []
    of_cells = HelpFolder.find(folder)
    train = left_out_search._train(of_cells, "nasbench201", {"snapdragon-835"}, said.append)
    assert said == ["nasbench201: learns from 1080ti_1, samsung_a50; without essential_ph_1"]
    target = left_out_search._target(of_cells, "pixel2")
    assert left_out_search._chip(target.candidates) == "snapdragon-835"
    observed = left_out_search.observed(train)
    assert [t.domain for t in observed.targets] == ["pytorch-help-gpu", "help-cpu"]
    assert (len(observed), len(observed.networks)) == (80, 80)
    values = np.concatenate([d.values for d in train.values()])
    np.testing.assert_allclose(np.exp(observed.log_ms), values)


@pytest.mark.slow
def test_budgets_kept_and_accuracy_lost(folder: Path, latcast: Any) -> None:
    arguments = ("bench", "search", "--help-data", folder, "--left-out", "--seeds", 2)
    rows = latcast.json(*arguments)["rows"]
    keys = {(r["target"], r["source"], r["confidence"]) for r in rows}
    assert len(keys) == len(rows) == (len(TEST) + 1) * len(left_out_search.SOURCES) * 2
    for row in rows:
        seeds = 2 if row["samples"] else 1
        targets = len(TEST) if row["target"] == "mean" else 1
        assert row["budgets"] == seeds * targets * len(QUANTILES)
        assert 0 <= row["kept"] <= row["found"] <= row["budgets"]
        if row["source"] == "own-model" and row["kept"]:
            assert row["lost_mean"] == 0
    message = latcast.error("bench", "search", "--left-out", "--data", folder, code=2)
    assert "give --help-data alone" in message
