"""The sentence and the figures of a bench's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latcast.bench import summary
from latcast.bench.tables import Scores
from latcast.report.plot import save_picture

FAMILIES = [
    {"target": "x/y/b1", "setting": setting, "family": family, "networks": 3, "bias": 1.0,
     "median_error": error, "within_10": 90.0, "within_25": 99.0, "coverage_90": 88.0,
     "seconds": 1.0}
    for setting, family, error in (
        ("left out", "vgg", 4.0), ("left out", "mixer", 8.0), ("left out", "all", 6.0))
]  # fmt: skip


def test_scores_of_families_are_shown() -> None:
    scores = Scores("families", FAMILIES)
    assert "x/y/b1, left out" in scores.to_text()
    assert scores.answer() == "Median absolute error: from 4 % (vgg) to 8 % (mixer)."
    (figure,) = scores.figures()
    assert figure.y.names == ["vgg", "mixer", "all"]
    page = scores.to_html()
    assert "<h1>Forecasts of families of networks that were left out</h1>" in page
    assert "How it was scored" in page


def test_rows_are_called_by_what_tells_them_apart() -> None:
    rows = [
        {"space": "s", "gpu": "a", "target": f"a_{n}", "samples": k, "selection": f"way {k}",
         "latency_target": f"a/x/b{n}", "median_error_mean": 1.0 + n + k}
        for n in (1, 2) for k in (0, 3)
    ]  # fmt: skip
    (figure,) = summary.figures("gpu", rows)
    assert figure.y.names == ["a_1, 0 measured", "a_1, 3 measured", "a_2, 0 measured",
                              "a_2, 3 measured"]  # fmt: skip
    assert summary.answer(rows[:1]) == "Median absolute error: 2 % (s, a, a_1, way 0, a/x/b1)."
    assert not list(summary.figures("gpu", rows[:1]))  # a single bar tells nothing


def test_searches_tell_which_budgets_are_kept() -> None:
    rows: list[dict[str, Any]] = [
        {"source": "macs", "target": "a", "confidence": None, "found": 5, "kept": 3},
        {"source": "macs", "target": "b", "confidence": None, "found": 4, "over": 1},
        {"source": "macs", "target": "b", "confidence": 0.9, "found": 4, "kept": 4},
        {"source": "macs", "target": "mean", "confidence": None, "found": 9, "kept": 6},
    ]
    assert summary.answer(rows).endswith(": macs 6 of 9, macs at confidence 0.9 4 of 4.")
    (figure,) = summary.figures("search", rows)
    assert list(figure.series[0].x) == [100 * 6 / 9, 100]


def test_learning_curves_are_drawn() -> None:
    rows = [
        {"dataset": "d", "predictor": name, "samples": n, "mape": 100 / n, "seeds": 1}
        for name in ("bayes", "mlp") for n in (10, 100)
    ]  # fmt: skip
    rows.append({"dataset": "d", "predictor": "published", "samples": 7000, "seeds": 0})
    (figure,) = summary.figures("dataset-size", rows)
    assert [s.name for s in figure.series] == ["bayes", "mlp"]
    assert figure.title == "d: mean absolute error, %"
    assert figure.series[0].lower == ()


def test_lines_have_bands_and_published_points() -> None:
    rows: list[dict[str, Any]] = [
        {"target": "t", "method": "adapt", "samples": 0, "mae_ms": 3.0},
        {"target": "t", "method": "adapt", "samples": 10, "mae_ms": 0.9, "mae_std_ms": 0.95},
        {"target": "t", "method": "adapt", "samples": 70, "mae_ms": 0.5, "mae_std_ms": 0.1},
        {"target": "t", "method": "published", "samples": 70, "mae_ms": 1.0},
    ]
    (figure,) = summary.figures("fine-tuning", rows)
    ours, published = figure.series
    assert (ours.kind, list(ours.x), ours.upper) == ("line", [10, 70], [1.85, 0.6])
    assert ours.lower == pytest.approx([0.045, 0.4])  # a logarithmic axis has no -0.05
    assert (published.kind, published.upper) == ("points", ())


@pytest.mark.slow
def test_the_same_scores_give_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"target": "t", "method": "adapt", "samples": n, "mae_ms": 1 / n} for n in (1, 9)]
    for name in ("a.svg", "b.svg", "a.png"):
        save_picture([*summary.figures("fine-tuning", rows)], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ">t: mean absolute error, ms</text>" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_transfer_has_curves_of_ranks() -> None:
    rows = [
        {"target": t, "selection": "random", "samples": n, "spearman_mean": 0.9,
         "spearman_std": 0.01, "mape_mean": 5.0, "seeds": 2}
        for t in ("pixel2", "mean") for n in (10, 20)
    ]  # fmt: skip
    figures = list(summary.figures("transfer", rows))
    assert [f.title for f in figures] == [f"{t}: Spearman rank correlation"
                                          for t in ("pixel2", "mean")]  # fmt: skip
    assert figures[0].series[0].upper == pytest.approx([0.91, 0.91])
