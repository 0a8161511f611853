from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.report.markup import printable
from latcast.report.network_page import _shared, environment, roofline, short_names
from latcast.report.text import (
    KIND_COLOURS,
    bytes_text,
    count_text,
    extrapolation_text,
    factor_text,
    ms_beside,
    ms_text,
)


def kernel(**changes: Any) -> dict[str, Any]:
    return {
        "name": "conv_1", "operators": "conv", "kind": "conv", "ms": 1.0, "macs": 10**9,
        "moved_bytes": 10**8, "gflop_s": 2.0, "share": 0.2, **changes,
    }  # fmt: skip


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
    assert list(map(factor_text, (3.24, 17.2, 128.3, 1.2e5))) == ["3.2", "17", "130", "120,000"]
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


def test_a_roofline_has_a_circle_for_each_kernel_and_a_roof() -> None:
    kernels = [
        kernel(),
        kernel(name="b", kind="depthwise_conv", ms=0.5, gflop_s=50.0, macs=5 * 10**8),
        kernel(name="pool", macs=0),
    ]
    assert "Of the others the 1 most" in roofline("a", kernels, PEAKS, 1).caption
    figure = roofline("Roofline of a", kernels, PEAKS)
    assert "Of the others" not in figure.caption
    assert figure is not None
    assert (figure.x.log, figure.y.log) == (True, True)
    conv, depthwise, roof = figure.series
    assert (conv.name, conv.colour) == ("conv", KIND_COLOURS["conv"])
    assert (list(conv.x), list(conv.y), list(conv.sizes)) == ([20.0], [2.0], [1.0])
    assert depthwise.name == "depthwise conv"
    # Where arithmetic and memory take as long, at 10 FLOP per byte, is the corner of the roof.
    assert (list(roof.x), list(roof.y)) == ([10.0, 10.0, 20.0], [100.0, 100.0, 100.0])
    assert "what a can do with all of its 1 cores: 10 GB/s, 100 GFLOP/s." in figure.caption
    assert "20.0 % of the ms, are not drawn" in figure.caption
    # Half the milliseconds are half the area, whatever the kind.
    radii = [float(r) - 2.5 for r in re.findall(r' r="([\d.]+)" fill-opacity', figure.to_svg())]
    assert radii[0] / radii[1] == pytest.approx(2**0.5, rel=1e-2)


def test_below_the_corner_a_roof_grows_with_the_intensity() -> None:
    figure = roofline("a", [kernel(macs=5 * 10**6), kernel(macs=5 * 10**9)], PEAKS)
    assert figure is not None
    roof = figure.series[-1]
    assert (list(roof.x), list(roof.y)) == ([0.1, 10.0, 100.0], [1.0, 100.0, 100.0])


def test_labels_of_a_fast_device_need_no_exponents() -> None:
    fast = {**PEAKS, "peak_flops": 82.6e12, "bandwidth_gb_s": 1008.0}
    figure = roofline("a", [kernel(gflop_s=14_674.0)], fast)
    assert figure is not None
    text = figure.to_html()
    for told in ("1.01 TB/s", "82.6 TFLOP/s", "14.7 TFLOP/s", ">20 k<"):
        assert told in text
    assert "e+" not in text


def test_no_roofline_without_products_and_no_roof_without_peaks() -> None:
    assert roofline("a", [kernel(macs=0)], PEAKS) is None
    for peaks, why in (
        (None, "no peaks of this one"),
        ({**PEAKS, "peak_flops": None}, "precision"),
    ):
        figure = roofline("a", [kernel()], peaks)
        assert figure is not None
        assert [series.name for series in figure.series] == ["conv"]
        assert why in figure.caption


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
