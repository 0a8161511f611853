"""The sentence and the figures of a bench's scores."""

from __future__ import annotations

from typing import Any

from latcast.bench import summary
from latcast.bench.tables import Scores

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
