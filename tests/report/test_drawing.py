"""The network as a graph: what is folded, where boxes are, and what the page says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import latcast
from latcast.graph import Graph, GraphBuilder, kernel_reads
from latcast.graph.inspection import Inspection
from latcast.networks import working_kernels
from latcast.report.drawing import MAX_DRAWN, forecast_drawing, inspection_drawing
from latcast.report.folding import MAX_BOXES, Box, Node, fold
from latcast.report.layered import layout


def leaves(boxes: Sequence[Box], shifts: Sequence[int] = (0,)) -> Iterator[int]:
    for box in boxes:
        if box.inside:
            yield from leaves(box.inside, box.shifts(shifts))
        else:
            yield from box.kernels(shifts)


def chain(words: str, *skips: tuple[int, int]) -> list[Node]:
    """Kernels that each read the one before, and what further lines say."""
    reads = [{n - 1} if n else set() for n in range(len(words))]
    for source, reader in skips:
        reads[reader].add(source)
    return [Node(tuple(sorted(r)), w, (8, 8), w) for r, w in zip(reads, words, strict=True)]


def shown(boxes: Sequence[Box], nodes: Sequence[Node]) -> str:
    """Boxes as a word: groups with their number in front, in brackets."""
    return "".join(
        f"{b.times}({shown(b.inside, nodes)})" if b.inside else nodes[b.first].operators
        for b in boxes
    )


def test_blocks_that_repeat_are_one_box_and_begin_behind_their_sums() -> None:
    # Blocks of a residual network: b reads a, c adds what a read.
    nodes = chain("sabcabcabct", (0, 3), (3, 6), (6, 9))
    assert shown(fold(nodes), nodes) == "s3(abc)t"
    # The block before ends with the same kernel, which could begin a repetition as well.
    nodes = chain("sxcabcabcuv", (2, 5), (5, 8))
    assert shown(fold(nodes), nodes) == "sxc2(abc)uv"
    assert shown(fold(chain("abbabbabbc")), chain("abbabbabbc")) == "3(abb)c"
    # Two of a kind are as quickly read as one with a number.
    assert shown(fold(chain("aab")), chain("aab")) == "aab"


def test_repetitions_are_wired_alike() -> None:
    nodes = chain("sabcabcabct", (1, 3), (4, 6))  # the third one lacks the line
    assert shown(fold(nodes), nodes) == "s2(abc)abct"
    beside = [Node((), "s", (), 0), *(Node((0,), "a", (), 0) for _ in range(4))]
    assert shown(fold(beside), beside) == "saaaa"


def test_blocks_of_other_sizes_are_folded_where_there_are_too_many() -> None:
    nodes = [Node((n - 1,) if n else (), "ab"[n % 2], (8, 8), n) for n in range(100)]
    (box,) = fold(nodes)
    assert (box.times, box.unit, box.is_equal) == (50, 2, False)


@given(st.integers(1, 150), st.integers(1, 60), st.integers(4, 20), st.randoms())
def test_every_kernel_is_in_one_box(n: int, words: int, most: int, chance: Random) -> None:
    nodes = []
    for i in range(n):
        reads = {chance.randrange(max(0, i - 9), i) for _ in range(chance.randrange(4)) if i}
        word = str(chance.randrange(words))
        nodes.append(Node(tuple(sorted(reads)), word, (i % 3,), 0))
    boxes = fold(nodes, most)
    assert sorted(leaves(boxes)) == list(range(n))
    assert len(boxes) <= most


@given(
    st.lists(st.sets(st.integers(1, 12), max_size=4), min_size=1, max_size=40),
    st.lists(st.floats(5, 200), min_size=40, max_size=40),
)
def test_boxes_do_not_overlap_and_lines_reach_their_readers(
    back: list[set[int]], widths: list[float]
) -> None:
    reads = [sorted({n - b for b in steps if n - b >= 0}) for n, steps in enumerate(back)]
    found = layout(reads, widths, 7.0)
    rows: dict[int, list[tuple[float, float]]] = {}
    for (x, layer), width in zip(found.boxes, widths, strict=False):
        rows.setdefault(layer, []).append((x - width / 2, x + width / 2))
    for row in rows.values():
        row.sort()
        assert all(a[1] + 7 <= b[0] + 1e-6 for a, b in pairwise(row))
        assert row[0][0] >= -1e-6
        assert row[-1][1] <= found.width + 1e-6
    for n, sources in enumerate(reads):
        x, layer = found.boxes[n]
        for source in sources:
            ends = {found.boxes[source]}
            for piece in sorted(found.lines[source], key=lambda p: p.layer):
                if (piece.start, piece.layer) in ends:
                    ends.add((piece.end, piece.layer + 1))
            assert (x, layer) in ends


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read_on_and_told_from_the_next(mode: int) -> None:
    """By lightness alone, which all eyes see (WCAG 2.2: 4.5 to 1 for text)."""
    style = (files("latcast.report") / "templates" / "drawing.css").read_text()
    text = style.split("@media (prefers-color-scheme: dark)")[mode]
    values = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", text))
    uses = re.findall(r"\.c(\d) \{ --fill: var\((--c\d)\); --on: ([^;]+);", style)
    light = []
    for _, fill, on in uses:
        ink = values[on[4:-1]] if on.startswith("var") else on
        low, high = sorted((luminance(values[fill]), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, fill
        light.append(luminance(values[fill]))
    assert len(light) == 8
    steps = [(b + 0.05) / (a + 0.05) for a, b in pairwise(light)]
    assert all(s > 1.05 for s in steps) if mode else all(s < 1 / 1.05 for s in steps)


def elements(drawing: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(drawing).iter(tag))


def graph() -> Graph:
    """Three equal residual blocks between a stem and a head."""
    build = GraphBuilder(name="blocks")
    x = build.conv_norm(build.input(3, 64, 64), 32, 3, "relu", stride=2)
    for _ in range(3):
        y = build.conv(build.conv_norm(x, 32, 3, "relu"), 32, 3, norm=True)
        x = build.activation(build.add(x, y), "relu")
    return build.build(build.linear(build.flatten(build.global_pool(x)), 10))


def test_a_forecast_is_drawn_with_all_of_its_milliseconds() -> None:
    record = latcast.forecast(graph(), ["raspberry-pi-4", "rtx-4090"]).to_dict()
    drawing = str(forecast_drawing(record))
    ids = [e.attrib["id"] for tag in ("div",) for e in elements(drawing, tag) if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    links = [e.attrib["href"][1:] for e in elements(drawing, "a")]
    assert set(links) <= set(ids)
    top = elements(drawing, "svg")[0]
    boxes = [e for e in top if "data-v" in e.attrib]
    for n, device in enumerate(record["devices"]):
        told = sum(float(b.attrib["data-v"].split("|")[n].split()[0]) for b in boxes)
        assert told == pytest.approx(sum(k["ms"] for k in device["kernels"]), rel=0.02, abs=0.02)


def test_names_are_escaped() -> None:
    record = latcast.forecast(graph(), ["raspberry-pi-4"]).to_dict()
    kernels = record["devices"][0]["kernels"]
    old, new = kernels[0]["name"], '<b>"&\x00'
    for kernel in kernels:
        kernel["inputs"] = [new if x == old else x for x in kernel["inputs"]]
    kernels[0] |= {"name": new, "layers": [new]}
    drawing = str(forecast_drawing(record))
    assert "<b>" not in drawing
    assert "&lt;b&gt;&#34;&amp;\N{REPLACEMENT CHARACTER}" in drawing


def test_an_inspection_is_drawn_if_it_tells_the_whole_graph() -> None:
    found = Inspection.of(graph())
    drawing = str(inspection_drawing(found.to_dict()))
    assert [e.text for e in elements(drawing, "option")] == ["MACs", "memory traffic"]
    assert inspection_drawing(found.sorted_by("macs").to_dict()) is None
    assert inspection_drawing(found.busiest(2).to_dict()) is None


def test_a_network_of_any_size_is_a_page_of_a_few_hundred_boxes() -> None:
    kernels = [
        {
            "name": f"layer.{n}", "operators": f"op{n % 97}", "out_shape": [1, n + 1, 8, 8],
            "inputs": [f"layer.{n - 1}"] if n else [], "macs": n, "moved_bytes": 8,
        }
        for n in range(3_000)
    ]  # fmt: skip
    drawing = str(inspection_drawing({"kernels": kernels}))
    assert drawing.count('class="box') <= MAX_BOXES + MAX_DRAWN
    assert len(drawing) < 400_000
    timed = [k | {"ms": 1.0 + n, "layers": [k["name"]]} for n, k in enumerate(kernels)]
    names = [f"device-{n}" for n in range(12)]
    answers = [
        {"device": name, "target": f"{name}/ncnn/b1", "kernels": timed, "error": None}
        for name in names
    ]
    drawing = str(forecast_drawing({"devices": answers}))
    assert [e.text for e in elements(drawing, "option")] == names
    assert len(drawing) < 450_000


def test_what_kernels_read_passes_views() -> None:
    build = GraphBuilder()
    flat = build.flatten(build.conv(build.input(3, 8, 8), 4, 3))
    build.linear(flat, 5)
    found = build.build(build.mul(flat, flat))
    assert kernel_reads(found, working_kernels(found)) == [(), (0,), (0,)]


@pytest.mark.slow
def test_a_drawing_is_explored_by_mouse_and_keyboard(
    browser: Any, accessible: Callable[[Any], None], tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    record = latcast.forecast(graph(), ["raspberry-pi-4", "rtx-4090"])
    (tmp_path / "page.html").write_text(record.to_html())
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    drawing = page.locator(".drawing")
    boxes, facts = drawing.locator(".net").first.locator(".box"), drawing.locator(".facts")
    boxes.first.click()
    expect(facts).to_contain_text("conv+relu")
    # The group unfolds by Enter, and what is inside tells what all of its repetitions take.
    page.keyboard.press("ArrowDown")
    expect(facts).to_contain_text("3 × 2 kernels")
    drawing.locator("details").evaluate("(each) => { each.open = false; }")
    page.keyboard.press("Enter")
    inside = drawing.locator("details .box")
    expect(inside.first).to_be_visible()
    inside.first.focus()
    expect(facts).to_contain_text("and alike")
    page.keyboard.press("Escape")
    expect(facts).to_be_hidden()
    ms, colour = boxes.first.locator(".v").inner_html(), boxes.first.get_attribute("class")
    drawing.locator("select").select_option("rtx-4090")
    assert boxes.first.locator(".v").inner_html() != ms
    assert boxes.first.get_attribute("class") != colour
    accessible(page)
    # Without its script a group is a link that unfolds what it leads to.
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("a.box").click()
    expect(page.locator("details .box").first).to_be_visible()
    context.close()


@pytest.mark.slow
def test_the_chosen_box_tells_the_values_of_all_devices(browser: Any, tmp_path: Path) -> None:
    names = ["raspberry-pi-4", "rtx-4090", "raspberry-pi-5", "rtx-2080-ti", "pixel-7", "pixel-3"]
    (tmp_path / "page.html").write_text(latcast.forecast(graph(), names).to_html())
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    box = page.locator(".drawing .net .box").first
    assert "pixel-3" not in box.locator("title").text_content()
    box.click()
    told = page.locator(".drawing .facts dt").all_inner_texts()
    assert [word for word in told if word in names] == names
    values = box.get_attribute("data-v").split("|")
    assert page.locator(".drawing .facts dd").all_inner_texts()[-1] == values[-1]
    (tmp_path / "page.html").write_text(latcast.forecast(graph(), names[:1]).to_html())
    page.reload()
    page.locator(".drawing .net .box").first.click()
    assert page.locator(".drawing .facts dt").all_inner_texts().count(names[0]) == 1
