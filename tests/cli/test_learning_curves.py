from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_fine_tuning(latcast: Any, shared: Path) -> None:
    arguments = ["bench", "paper", "--data", shared / "ofanas", "--fine-tuning", "--seeds", 2]
    arguments += ["--dataset", "Tesla_P40_GPU_ofa", "--predictor", "bayes", "--samples", 12]
    rows = latcast.json(*arguments)["rows"]
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
    assert f"wrote {picture}" in run.stderr
    assert ">bayes</text>" in picture.read_text(encoding="utf-8").replace("\n", "")


def test_a_drawing_that_fails_costs_no_results(
    latcast: Any, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = pytest.importorskip("matplotlib.figure")

    def savefig(_: Any, file: Any, **options: Any) -> None:
        file.write(b"half a picture")
        raise OSError("no space left on the device")

    monkeypatch.setattr(figure.Figure, "savefig", savefig)
    picture = tmp_path / "curves.svg"
    picture.write_text("an older one", encoding="utf-8")
    run = latcast("bench", "paper", "--data", shared / "ofanas", "--curves", "--dataset",
                  "RTX_2080_Ti_GPU_ofa", "--predictor", "bayes", "--samples", 20, "--draw", picture,
                  "--json", code=1, partly=True)  # fmt: skip
    error = json.loads(run.stderr.splitlines()[-1])
    assert (error["error"], error["exit_code"]) == ("no space left on the device", 1)
    assert json.loads(run.stdout)["rows"][0]["samples"] == 20
    assert [p.read_text(encoding="utf-8") for p in tmp_path.iterdir()] == ["an older one"]


def test_nothing_to_run_is_an_error(latcast: Any, tmp_path: Path) -> None:
    error = latcast.error("bench", "paper", "--data", tmp_path, "--fine-tuning", "--samples", 5,
                          "--predictor", "roofline", "--quiet", code=1)  # fmt: skip
    assert "roofline needs at least 10 samples; got 5" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "10"], "need either --fine-tuning or --curves; got neither"),
        (["--draw", "a.svg"], "need either --fine-tuning or --curves; got neither"),
        (["--curves", "--fine-tuning"], "--fine-tuning and --curves exclude each other; got both"),
        (["--curves", "--samples", "9"], "a number of samples must be at least 10; got 9"),
        (["--curves", "--draw", "nodir/a.svg"], "in a folder that exists; got nodir/a.svg"),
        (
            ["--fine-tuning", "--samples", "0", "--draw", "a.svg"],
            "--draw needs a positive number of --samples; got 0 only",
        ),
        (["--curves", "--draw", "a.gif"], "--draw must end in .svg, .png, .pdf; got a.gif"),
        (["--curves", "--predictor", "bays"], "did you mean 'bayes'"),
        (["--fine-tuning", "--predictor", "adept"], "did you mean 'adapt'"),
        (["--fine-tuning", "--dataset", "RTX_2080_Ti_GPU"], "did you mean 'RTX_2080_Ti_GPU_ofa'"),
    ],
)
def test_wrong_usage(latcast: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in latcast.error("bench", "paper", "--data", tmp_path, *arguments, code=2)
