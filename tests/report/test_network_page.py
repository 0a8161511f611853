from __future__ import annotations

from math import log10
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.report.markup import printable
from latcast.report.network_page import _shared, draw_roofline, environment, short_names
from latcast.report.text import bytes_text, count_text, extrapolation_text, ms_beside, ms_text


def kernel(**changes: Any) -> dict[str, Any]:
    return {
        "name": "conv_1", "operators": "conv", "kind": "conv", "ms": 1.0, "macs": 10**9,
        "moved_bytes": 10**8, "gflop_s": 2.0, **changes,
    }  # fmt: skip


def circles(kernels: list[dict[str, Any]], peaks: dict[str, Any] | None) -> list[Any]:
    drawing = draw_roofline(kernels, peaks)
    assert drawing is not None
    root = ElementTree.fromstring(drawing)
    return [root, *root.iter("{http://www.w3.org/2000/svg}circle")]


PEAKS = {"title": "a", "cores": 1, "peak_flops": 1e11, "bandwidth_gb_s": 10.0}


@given(st.text())
def test_any_text_is_the_same_text_in_a_page(text: str) -> None:
    template = environment().from_string('<p title="{{ text }}">{{ text }}</p>')
    root = ElementTree.fromstring(template.render(text=text))
    assert (root.text or "") == root.attrib["title"] == printable(text)


def test_counts_and_units() -> None:
    counts = {0: "0", 7: "7", 999: "999", 1_000: "1 k", 4_089_184_256: "4.09 G", 1e16: "1e+04 T"}
    assert {value: count_text(value) for value in counts} == counts
    assert bytes_text(46_743_542) == "46.7 MB"
    assert bytes_text(12) == "12 B"
    times = {0.1234567: "0.123", 12.3456: "12.35", 123.456: "123.5", 12_345.6: "12346"}
    assert {value: ms_text(value) for value in times} == times


def test_doubts_in_words() -> None:
    group = {
        "kind": "conv", "subject": "output channels", "values": [4096.0], "seen": [8.0, 1024.0],
        "kernels": 3, "share": 0.12,
    }  # fmt: skip
    assert extrapolation_text(group) == (
        "conv x 3, 12.0 % of the ms: output channels 4.1 k (seen: 8 to 1.02 k)"
    )
    unseen = {**group, "subject": "conv+mish", "values": [], "seen": None}
    assert extrapolation_text(unseen).endswith(": the model has seen no conv+mish")
    unknown = {**unseen, "subject": "unknown"}
    assert extrapolation_text(unknown).endswith(": the cost is not known")


def test_points_and_roof_are_in_proportion_to_logarithms() -> None:
    root, first, second = circles(
        [kernel(), kernel(ms=0.5, gflop_s=20.0, moved_bytes=10**7)], PEAKS
    )
    # A decade to the right is as wide between the circles as between the grid's lines.
    x = sorted({float(e.attrib["x1"]) for e in root.iter("{http://www.w3.org/2000/svg}line")
                if e.attrib["x1"] == e.attrib["x2"]})  # fmt: skip
    moved = float(second.attrib["cx"]) - float(first.attrib["cx"])
    assert moved == pytest.approx(x[1] - x[0], rel=1e-3)
    assert float(second.attrib["cy"]) < float(first.attrib["cy"])
    assert float(second.attrib["r"]) < float(first.attrib["r"])
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    (x0, y0), (x1, y1), (_, y2) = [
        tuple(map(float, p.split(","))) for p in line.attrib["points"].split()
    ]
    assert y1 == y2
    # Below the ridge GFLOP/s grow as FLOP per byte.
    y = sorted({float(e.attrib["y1"]) for e in root.iter("{http://www.w3.org/2000/svg}line")
                if e.attrib["y1"] == e.attrib["y2"]})  # fmt: skip
    assert (y0 - y1) / (y[1] - y[0]) == pytest.approx((x1 - x0) / (x[1] - x[0]), rel=2e-3)


def test_a_point_on_the_roof_is_drawn_on_it() -> None:
    at_ridge = kernel(macs=5 * 10**8, moved_bytes=10**8, gflop_s=100.0)
    root, point = circles([at_ridge], PEAKS)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    ridge = line.attrib["points"].split()[1].split(",")
    assert float(point.attrib["cx"]) == pytest.approx(float(ridge[0]), abs=0.2)
    assert float(point.attrib["cy"]) == pytest.approx(float(ridge[1]), abs=0.2)
    assert log10(2 * at_ridge["macs"] / at_ridge["moved_bytes"]) == 1


def test_labels_of_a_fast_device_need_no_exponents() -> None:
    fast = {**PEAKS, "peak_flops": 82.6e12, "bandwidth_gb_s": 1008.0}
    root, _ = circles([kernel(gflop_s=14_674.0)], fast)
    text = " ".join(root.itertext())
    assert {"82.6 TFLOP/s", "1.01 TB/s", "100,000"} <= {e.text for e in root.iter() if e.text}
    assert "14.7 TFLOP/s" in text
    assert "e+" not in text


def test_no_drawing_without_products_and_no_roof_without_peaks() -> None:
    assert draw_roofline([kernel(macs=0)], PEAKS) is None
    for peaks in (None, {**PEAKS, "peak_flops": None}):
        root, *_ = circles([kernel()], peaks)
        assert not list(root.iter("{http://www.w3.org/2000/svg}polyline"))


def test_kernels_beside_those_of_a_runtime_that_fuses_otherwise() -> None:
    ours = [
        {"name": "conv", "layers": ["conv", "add", "relu"], "ms": 1.0},
        {"name": "pool", "layers": ["pool"], "ms": 2.0},
    ]
    theirs = [
        {"name": "conv", "layers": ["conv", "pool"], "ms": 4.0},
        {"name": "add", "layers": ["add", "relu"], "ms": 8.0},
    ]
    assert ms_beside(ours, theirs) == {"conv": 12.0}
    assert ms_beside(theirs, ours) == {"conv": 3.0}
    assert ms_beside(ours, ours) == {"conv": 1.0, "pool": 2.0}


def test_headings_of_targets_are_short_and_different() -> None:
    assert short_names(["a/pytorch/b32", "a/pytorch/b32/fp16"]) == ["a", "a/fp16"]
    assert short_names(["a/x/b1", "b/x/b1/t4", "b/y/b1"]) == ["a/x", "b/x/t4", "b/y"]
    assert short_names(["a/x/b1"]) == ["a"]


def test_what_all_models_have_alike_is_told_once() -> None:
    data, long = "a table of measurements", "a note of more characters than a cell has room for"
    one = {"data": data, "rows": "3", "note": ""}
    assert _shared(["a"], [one]) == ([("data", data), ("rows", "3")], None, [[]])
    shared, table, own = _shared(["a", "b"], [one, {**one, "rows": "4"}])
    assert (shared, own) == ([("data", data)], [[], []])
    assert table is not None
    assert table.count("<tr>") == 3
    shared, table, own = _shared(["a", "b"], [one, {**one, "note": long}])
    assert (table, own) == (None, [[], [("note", long)]])
