from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_fine_tuning(latcast: Any, shared: Path) -> None:
    arguments = ["bench", "paper", "--data", shared / "ofanas", "--fine-tuning", "--seeds", 2]
    arguments += ["--dataset", "Tesla_P40_GPU_ofa", "--predictor", "bayes", "--samples", 12]
    rows = latcast.json(*arguments)
    assert [(r["method"], r["samples"], r["seeds"]) for r in rows] == [
        ("bayes", 12, 2), ("published", 100, 0), ("published", 500, 0)
    ]  # fmt: skip
    text = latcast(*arguments, "--quiet").stdout
    assert "note10_lookuptable_ofa -> Tesla_P40_GPU_ofa: MAE ms" in text
    assert f"{rows[0]['mae_ms']:.3g} ± {rows[0]['mae_std_ms']:.1g}" in text
    assert "published: read off a plot" in text
    assert "2 seeds" in text


def test_curves_are_drawn(latcast: Any, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.svg"
    run = latcast("bench", "paper", "--data", shared / "ofanas", "--curves", "--dataset",
                  "RTX_2080_Ti_GPU_ofa", "--predictor", "bayes", "--samples", 20, "--samples", 40,
                  "--draw", picture)  # fmt: skip
    assert "RTX_2080_Ti_GPU_ofa: bayes, 40 samples" in run.stderr
    assert ">bayes</text>" in picture.read_text(encoding="utf-8").replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "10"], "need either --fine-tuning or --curves; got neither"),
        (["--curves", "--fine-tuning"], "got both"),
        (["--curves", "--draw", "a.gif"], "--draw must end in .svg, .png, .pdf; got a.gif"),
        (["--curves", "--predictor", "bays"], "did you mean 'bayes'"),
        (["--fine-tuning", "--predictor", "adept"], "did you mean 'adapt'"),
        (["--fine-tuning", "--dataset", "RTX_2080_Ti_GPU"], "did you mean 'RTX_2080_Ti_GPU_ofa'"),
    ],
)
def test_wrong_usage(latcast: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in latcast.error("bench", "paper", "--data", tmp_path, *arguments, code=2)
