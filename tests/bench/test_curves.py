from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latcast.bench import curves

pytest.importorskip("matplotlib")

ROWS: list[dict[str, Any]] = [
    {"target": "phone", "method": "ours", "samples": 100, "mae_ms": 0.4, "mae_std_ms": 0.1},
    {"target": "phone", "method": "ours", "samples": 10, "mae_ms": 0.9, "mae_std_ms": 0.95},
    {"target": "phone", "method": "theirs", "samples": 10, "mae_ms": 2.0},
    {"target": "phone", "method": "published", "samples": 100, "mae_ms": 3.0},
    {"target": "gpu", "method": "theirs", "samples": 20, "mae_ms": 1.0},
    {"target": "gpu", "method": "theirs", "samples": 70, "mae_ms": 0.5, "spearman": 0.9},
    {"target": "twin", "method": "ours", "samples": 0, "mae_ms": 0.1},
    {"target": "twin", "method": "ours", "samples": 50, "mae_ms": 0.1},
]


def texts(picture: Path) -> set[str]:
    return set(re.findall(r">([^<>]+)</text>", picture.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_a_panel_each_with_a_line_each(tmp_path: Path) -> None:
    curves.draw(ROWS, tmp_path / "a.svg", panel="target", line="method")
    found = texts(tmp_path / "a.svg")
    assert found >= {"phone", "gpu", "ours", "theirs", "published", "test MAE, ms", "10", "100"}
    assert "twin" not in found  # one number of samples is no curve
    curves.draw(ROWS[-1:], tmp_path / "b.svg", panel="target", line="method")
    assert "twin" in texts(tmp_path / "b.svg")


@pytest.mark.slow
def test_the_same_records_give_the_same_file_in_either_format(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        curves.draw(ROWS, tmp_path / name, panel="target", line="method")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_lines_bands_and_points_are_where_the_records_say() -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    curves._panel(axis, ROWS[:4], ["ours", "theirs", "published"], "method", "mae_ms", "samples")
    ours, theirs, published = axis.get_lines()
    np.testing.assert_allclose(ours.get_xydata(), [[10, 0.9], [100, 0.4]])
    np.testing.assert_allclose(theirs.get_xydata(), [[10, 2.0]])
    np.testing.assert_allclose(published.get_xydata(), [[100, 3.0]])
    assert (ours.get_linestyle(), published.get_linestyle()) == ("-", "None")
    band = axis.collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx(1.85)
    assert band.y0 == pytest.approx(0.045)  # a logarithmic axis has no room for -0.05
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_ranks_are_not_logarithmic_and_labels_do_not_touch() -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    rows = [{"line": "a", "samples": n, "spearman": 0.9} for n in (10, 20, 700, 900, 4_000)]
    curves._panel(axis, rows, ["a"], "line", "spearman", "samples")
    assert axis.get_yscale() == "linear"
    assert [t.get_text() for t in axis.get_xticklabels()] == ["10", "20", "700", "4k"]


def test_means_over_seeds_in_rows_of_panels(tmp_path: Path) -> None:
    rows = [
        {"target": f"t{t}", "by": "x", "samples": n, "spearman_mean": 0.9, "spearman_std": 0.1}
        for t in range(6)
        for n in (1, 10)
    ]
    curves.draw(rows, tmp_path / "a.svg", panel="target", line="by", score="spearman_mean")
    found = texts(tmp_path / "a.svg")
    assert found >= {f"t{t}" for t in range(6)} | {"Spearman rank correlation"}
    width, height = re.findall(
        r'width="(\d+)[^"]*pt" height="(\d+)', (tmp_path / "a.svg").read_text()
    )[0]
    assert int(width) / int(height) == pytest.approx(4 * 3.9 / (2 * 3.4 + 0.5), rel=0.01)
    assert curves._deviation("spearman_mean") == "spearman_std"


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no key of the records .*'methd'.*'method'"):
        curves.draw(ROWS, tmp_path / "a.svg", panel="target", line="methd")
    for rows in ([], ROWS[6:7]):
        with pytest.raises(ValueError, match="positive number of samples; got none"):
            curves.draw(rows, tmp_path / "a.svg", panel="target", line="method")
    assert not list(tmp_path.iterdir())
