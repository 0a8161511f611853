"""What every record can do beside its JSON: frames, a short repr, a page, a plot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latcast.models.kernels import BOUNDS
from latcast.report.reading import HOMES
from latcast.report.record import Record, record_class
from tests.makers.records import example

ARCH = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": [224]}
COSTS = {"macs": 10**9, "params": 10**6}
SCORES = {
    "mae": 0.01, "mae_ms": 1.0, "rmse_ms": 1.5, "mape": 2.0, "median_error": 2.0, "spearman": 0.9,
    "kendall": 0.8, "within_5": 60.0, "within_10": 80.0, "coverage_90": 90.0, "coverage_50": 51.0,
}  # fmt: skip
CARD = {"metrics": SCORES, "metrics_by_family": {"vgg": SCORES, "all": SCORES}, "rows": 7}
EVIDENCE = {"count": 3, "rows": [1, 2, 3], "examples": [{"network": "a", "latency_ms": 1.5}]}
BENCH = SCORES | {
    "predictor": "roofline", "train": 8, "test": 2, "seeds": 1, "mae_std_ms": 0.1,
    "fit_seconds": 0.5, "archs_per_second": 1e6, "published_mae_ms": None,
}  # fmt: skip
# Values of fields that their types do not tell.
OWN: dict[str, Any] = {
    "quantity": "latency_ms", "severity": "warning", "space": "ofa-mobilenet-v3", "arch": ARCH,
    "costs": COSTS, "metrics": SCORES, "left_out": SCORES, "card": CARD, "evidence": EVIDENCE,
    "gene_combinations": 2**70, "metrics_weighted": SCORES, "metrics_by_family": {"vgg": SCORES},
    "target": "pixel-7/ncnn/b1", "lower_ms": 1.0, "upper_ms": 3.0, "lower": 1.0, "upper": 3.0,
    "kind": "conv", "bound": "compute", "share_by_kind": {"conv": 1.0}, "chips": None,
    "share_by_bound": dict.fromkeys(BOUNDS, 0.3), "error": None,
}  # fmt: skip
# By record, where a field's name is used twice.
OWN_OF: dict[str, dict[str, Any]] = {
    "error": {"error": "what must hold"},
    "models": {"sources": None},
    "model": {"sources": None, "any_network": None},
    "base-training": {"left_out": 3},
    "tables-audit": {"chips": 5},
    "bench": {"bench": "paper", "rows": tuple(BENCH | {"dataset": name} for name in "ab")},
    "lookup-table": {"way": "networks", "chosen": "networks"},
    "search": {"device": "pixel-7", "latency_ms": 1.5},
}


@pytest.fixture(params=sorted(HOMES))
def cls(request: pytest.FixtureRequest) -> type[Record]:
    return record_class(request.param)


@pytest.fixture
def whole(cls: type[Record]) -> Record:
    """A record with all that it may have."""
    found: Record = example(cls, full=True, own=OWN | OWN_OF.get(cls.schema, {}))
    return found


def test_frames(whole: Record) -> None:
    pytest.importorskip("pandas")
    frame = whole.to_polars()
    assert len(frame.columns) > 0
    assert whole.to_arrow().num_rows == len(frame) == len(whole.to_pandas())


def test_text_page_and_notebook(whole: Record) -> None:
    assert whole.to_text().strip()
    assert "<html" in whole.to_html()
    assert whole._repr_html_().startswith("<")


def test_a_short_repr(whole: Record) -> None:
    told = repr(whole)
    assert type(whole).__name__ in told
    assert len(told) < 220
    assert "\n" not in told


def test_a_page_begins_with_an_answer(whole: Record) -> None:
    assert whole.headline().strip()
    if whole.schema != "error":
        assert whole.answer().endswith(".")


def test_a_plot_draws_something_or_says_what_it_lacks(whole: Record) -> None:
    pytest.importorskip("matplotlib")
    figures = list(whole.figures())
    for figure in figures:
        assert any(len(series.x) for series in figure.series), figure.title
    if figures:
        assert len(whole.plot().axes) == len(figures)
    else:
        assert type(whole).figures is Record.figures  # what could draw something has drawn
        says_what_it_lacks(whole)


@pytest.mark.parametrize(
    "schema",
    [
        "architectures-forecast", "audit", "budget-check", "comparison", "device-ranking",
        "devices", "evaluation", "network-forecast", "network-sweep",
        "quantity-forecast", "tables-audit", "verified-search",
    ],
)  # fmt: skip
def test_a_record_of_nothing_says_what_it_lacks(schema: str) -> None:
    own = OWN | {"rounds": (), "found": (), "metrics": {}, "best_ms": 1.0}
    record: Record = example(record_class(schema), full=False, own=own)
    assert list(record.figures()) == []
    says_what_it_lacks(record)


def says_what_it_lacks(record: Record) -> None:
    assert record.no_figure
    with pytest.raises(ValueError, match="to_polars") as told:
        record.plot()
    assert record.no_figure in str(told.value)


def test_columns_of_numbers_and_names_are_texts() -> None:
    """An option is a number in one trial and a name in another."""
    found: Any = example(record_class("tuning"), full=True, own=OWN)
    trials = [replace(found.trials[0], options={"width": value}) for value in (8, "auto", 0.5)]
    frame = replace(found, trials=tuple(trials)).to_polars()
    assert frame["options.width"].to_list() == ["8", "auto", "0.5"]
