"""Pages in a real browser, by clicks and keys: sorted, filtered, pointed at, and read by axe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from latcast.data import Dataset
from latcast.families import Variant
from latcast.measure import CampaignFile
from latcast.measure._record import conclude
from latcast.report.axis import Axis, label_levels, label_places, ticks
from latcast.report.figure import HEIGHT, Figure, Guide, Series
from latcast.report.page import page as page_of
from latcast.report.record import Record
from latcast.report.table import Column, Table

SIZES = (1280, 375)
pytestmark = [pytest.mark.slow, pytest.mark.worker]


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, synthetic: Dataset, latcast: Any
) -> dict[str, Path]:
    """A page of every kind of result that takes no long work."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "net.onnx").write_bytes(Variant.parse("squeezenet-1.1").to_onnx(1))
    synthetic[:300].save(folder / "data.parquet")
    synthetic[300:400].save(folder / "later.parquet")
    (folder / "archs.json").write_text(str(synthetic.archs[:3].to_dicts()).replace("'", '"'))
    net, data, model = folder / "net.onnx", folder / "data.parquet", folder / "m.latcast"
    own = ("samsung-note10", "rtx-2080-ti", "tesla-p40")
    devices = [word for name in own for word in ("--device", name)]
    commands: dict[str, tuple[object, ...]] = {
        "train": ("train", data, "--predictor", "flops", "--out", model),
        "forecast": ("predict", net, *devices),
        "archs": ("predict", folder / "archs.json", *devices),
        "inspect": ("inspect", net),
        "audit": ("audit", data),
        "evaluate": ("evaluate", model, folder / "later.parquet"),
        "compare": ("compare", model, data),
        "adapt": ("adapt", "tesla-p40", data, "--samples", 9, "--out", folder / "a.latcast"),
        "search": ("search", "--device", model, "--evaluations", 600,
                   *(word for ms in (60, 61, 62, 63, 64) for word in ("--max-latency", ms))),
        "which": ("which", net, "--max-latency", 10, "--device", "pixel-3", "--device",
                  "raspberry-pi-4", "--device", "rtx-2080-ti"),
        "model": ("models", "tesla-p40"),
        "models": ("models",),
        "devices": ("devices", "--kind", "phone"),
    }  # fmt: skip
    found = {}
    for name, arguments in commands.items():
        page = folder / f"{name}.html"
        run = latcast(*arguments, "--json", "--html", page)
        (folder / f"{name}.json").write_text(run.stdout)
        found[name] = page
    with CampaignFile.open(_old_campaign(folder)) as campaign:
        _, record = conclude(campaign, "old.parquet")
    (folder / "campaign.json").write_text(record.to_json())
    found["campaign"] = folder / "campaign.html"
    found["campaign"].write_text(record.to_html())
    found["joined"] = folder / "joined.html"
    results = [folder / f"{n}.json" for n in ("forecast", "evaluate", "search", "campaign")]
    latcast("report", *results, data, model, "--out", found["joined"])
    return found


def _old_campaign(folder: Path) -> Path:
    import shutil

    path = folder / "old.campaign"
    shutil.copy(Path(__file__).parents[1] / "measure" / "data" / "schema-1-archs.campaign", path)
    return path


def opened(browser: Any, page: Path, width: int, **options: Any) -> Any:
    """The page in a window of a width; what it logs as an error fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    shown = context.new_page()
    shown.errors = []
    shown.on("pageerror", lambda error: shown.errors.append(str(error)))
    shown.on("console", lambda m: shown.errors.append(m.text) if m.type == "error" else None)
    shown.on("request", lambda r: None if r.url.startswith("file:") else shown.errors.append(r.url))
    shown.goto(page.as_uri())
    return shown


@pytest.mark.parametrize("width", SIZES)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for name, page in pages.items():
        shown = opened(browser, page, width, color_scheme="dark" if width == 375 else "light")
        found = Axe().run(shown).response["violations"]
        told = [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found]
        assert not told, name
        over = shown.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, name
        assert not shown.errors, name
        assert page.stat().st_size <= 500_000, name
        shown.context.close()


@pytest.mark.parametrize("width", SIZES)
def test_tables_are_sorted_and_filtered_by_clicks_and_keys(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    shown = opened(browser, pages["devices"], width)
    table = shown.locator("main table").first
    column = table.locator("th", has_text="GB/s").first
    place = column.evaluate("head => head.cellIndex")

    def values() -> list[float]:
        texts = table.locator(f"tbody tr:not([hidden]) td:nth-child({place + 1})")
        return [float(t.replace(",", "")) for t in texts.all_inner_texts() if t != "–"]

    column.locator("button").click()
    assert column.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    column.locator("button").press("Enter")
    assert column.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    rows = table.locator("tbody tr")
    box = shown.get_by_label("Filter rows").first
    box.focus()
    shown.keyboard.type("pixel 3")
    left = table.locator("tbody tr:not([hidden])")
    assert 0 < left.count() < rows.count()
    assert all("pixel" in text.lower() for text in left.all_inner_texts())
    assert f"{left.count()} of {rows.count()} rows" in shown.locator("output").first.inner_text()
    box.fill("")
    assert left.count() == rows.count()


@pytest.mark.parametrize("width", SIZES)
def test_points_say_their_values_and_devices_are_chosen(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    shown = opened(browser, pages["forecast"], width)
    point = shown.locator(".strip .point circle").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    tip = shown.locator("#tip")
    assert tip.is_visible()
    assert "ms" in tip.inner_text()
    shown.keyboard.press("Escape")
    assert not tip.is_visible()
    strips = shown.locator(".strip:visible")
    before = strips.count()
    shown.locator(".choose summary").first.press("Enter")
    shown.locator(".choose input").first.press("Space")
    assert strips.count() < before
    shown.locator(".choose input").first.check()
    assert strips.count() == before


def test_a_page_is_all_there_without_its_script_and_by_the_keyboard(
    browser: Any, pages: dict[str, Path]
) -> None:
    shown = opened(browser, pages["joined"], 1280, java_script_enabled=False)
    assert shown.locator("article").count() == 6
    assert "takes" in shown.locator(".answer").first.inner_text()
    for link in shown.locator("nav a").all():
        assert shown.locator(link.get_attribute("href")).count() == 1
    shown.keyboard.press("Tab")
    assert shown.locator(".skip").bounding_box()["x"] >= 0
    told = shown.locator("footer").inner_text()
    assert "latcast report" in told
    assert told.count("SHA-256") == 6


def test_printed_pages_are_whole(browser: Any, pages: dict[str, Path]) -> None:
    shown = opened(browser, pages["search"], 1280)
    shown.emulate_media(media="print")
    assert not shown.locator(".tools").first.is_visible()
    assert shown.locator("main table").first.is_visible()
    assert shown.pdf()[:4] == b"%PDF"


@pytest.mark.parametrize("media", ["screen", "print"])
def test_texts_of_a_wide_table_wrap_and_numbers_do_not(
    browser: Any, tmp_path: Path, media: str
) -> None:
    texts = (
        "reference network, ms",
        "built with what was chosen at run time; not stated",
        "x" * 50,
        "why " * 22,
    )
    row = dict(enumerate((*texts, "12,345,678")))
    columns = [Column(f"c{n}", lambda r, n=n: r[n]) for n in row]
    (path := tmp_path / "page.html").write_text(page_of([Tabled(Table(columns, [row] * 2))]))
    shown = opened(browser, path, 1280 if media == "screen" else 720)
    shown.emulate_media(media=media)
    assert (
        shown.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.wide'))") <= 0
    )
    number = shown.locator("td.number").first
    assert number.evaluate("cell => getComputedStyle(cell).whiteSpace") == "nowrap"


@dataclass(frozen=True)
class Tabled(Record):
    """A table alone."""

    table: Table

    def parts(self) -> Iterator[Table | str]:
        yield self.table


def test_the_answer_of_a_comparison_is_its_ratio_the_right_way_round(
    synthetic: Dataset, tmp_path: Path
) -> None:
    from dataclasses import replace

    from latcast.models.comparison import compare

    slower = replace(synthetic[:50], values=synthetic[:50].values * 1.25)
    found = compare(synthetic[:50], slower, names=("a.parquet", "b.parquet"))
    assert found.answer().startswith("b.parquet takes 1.250 times")
    assert "as much as a.parquet on the 50 networks" in found.answer()


def test_ticks_are_round() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(1, 1000, log=True) == [1, 10, 100, 1000]
    assert ticks(8, 50, log=True) == [10, 20, 50]
    assert ticks(2.1, 4.9, log=True) == [3, 4]
    assert ticks(1, 3) == [1, 1.5, 2, 2.5, 3]
    assert ticks(1, 3, whole=True) == [1, 2, 3]


def test_labels_of_guides_that_are_close_stand_on_each_other() -> None:
    assert label_levels([(0, 30), (50, 30), (60, 30), (70, 30)]) == [0, 0, 1, 2]
    assert label_levels([(70, 30), (50, 30), (60, 30)]) == [2, 0, 1]  # whatever their order
    assert label_levels([(5, 0), (10, 30)]) == [None, 0]  # one without a label takes no place
    crowd = label_levels([(n / 100, 30) for n in range(20)])
    assert sum(level is None for level in crowd) == 20 - len(set(crowd) - {None})


def test_a_label_that_would_stick_out_begins_at_its_guide() -> None:
    assert label_places([(10, 30), (50, 30)], 100) == [(1, True), (0, False)]
    assert label_places([(10, 30), (20, 30), (50, 30)], 100) == [
        (2, True),
        (1, True),
        (0, False),
    ]
    assert label_places([(10, 30)], 100, margin=20) == [(0, False)]
    assert label_places([(70, 90)], 100) == [(0, False)]  # it would at the other side, too


def test_a_budget_stands_apart_from_the_names_below_it() -> None:
    rows = Axis("device", names=["a"], notes=["64.7 ms"])
    points = Series("", [64.7], [0])
    text = Figure("t", Axis("latency, ms"), rows, (points,), (Guide("50 ms", x=50.0),)).to_svg()
    heights = {
        told: float(y) for y, told in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>([^<]+)<', text)
    }
    assert heights["64.7 ms"] - heights["50 ms"] >= 20


def test_labels_at_the_left_are_inside_of_the_page(browser: Any, tmp_path: Path) -> None:
    guides = tuple(Guide(f"device-{n}: {1000 + n} GB/s", x=1000.0 + n) for n in (0, 9, 900))
    line = Series("", [900.0, 3600.0], [6.0, 3.0], "line")
    figure = Figure("t", Axis("bandwidth, GB/s"), Axis("latency, ms"), (line,), guides)
    rows = Figure("t", Axis("ms"), Axis("device", names=["a", "b"]),
                  (Series("", [900.0, 3600.0], [0, 1]),), guides)  # fmt: skip
    (path := tmp_path / "page.html").write_text(page_of([Drawn((figure, rows))]))
    shown = opened(browser, path, 375)
    labels = shown.locator(".guide text, .guides text").all()
    assert len(labels) == 6
    for label in labels:
        box = label.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 375, label.inner_text()


@dataclass(frozen=True, repr=False)
class Drawn(Record):
    """Figures alone."""

    drawn: tuple[Figure, ...]

    def figures(self) -> Iterator[Figure]:
        yield from self.drawn

    def parts(self) -> Iterator[Table | str]:
        yield from ()


def test_names_keep_their_small_letters_in_headings() -> None:
    class Named(Headed):
        def parts(self) -> Iterator[Table | str]:
            for title in ("net within 5 ms", "network of all", "x.onnx, 3 rows", "a-b on c"):
                yield Table([Column("a", "a")], [{"a": 1}], title)

    text = page_of([Named("net: which devices keep 5 ms")])
    assert re.findall("<h2[^>]*>(.*?)</h2>", text)[:4] == [
        "net within 5 ms", "Network of all", "x.onnx, 3 rows", "a-b on c",
    ]  # fmt: skip


def test_a_page_of_several_results_is_called_by_them() -> None:
    def title(*headlines: str, own: str = "") -> str:
        found = page_of([Headed(each) for each in headlines], title=own)
        (shown,) = re.findall(r"<h1>(.*?)</h1>", found)
        assert f"<title>{shown} · latcast</title>" in found
        return str(shown)

    assert title("a.onnx: forecast") == "a.onnx: forecast"
    assert title("a.onnx: forecast", "a.onnx: by batch") == "a.onnx: forecast, by batch"
    assert title("a.onnx: forecast", "Devices") == "a.onnx: forecast; Devices"
    assert title(*["a result of which a title says much"] * 3) == (
        "a result of which a title says much, and 2 more"
    )
    assert title("a", "b", own="<both>") == "&lt;both&gt;"


@dataclass(frozen=True, repr=False)
class Headed(Record):
    """A record with a headline."""

    text: str

    def headline(self) -> str:
        return self.text

    def parts(self) -> Iterator[Table | str]:
        yield "nothing"


@pytest.mark.parametrize("width", SIZES)
def test_no_two_labels_of_budgets_overlap(browser: Any, pages: dict[str, Path], width: int) -> None:
    shown = opened(browser, pages["search"], width)
    labels = shown.locator(".guide").first.locator("text")
    boxes = [label.bounding_box() for label in labels.all() if label.inner_html()]
    assert len(boxes) == 5
    for n, a in enumerate(boxes):
        assert 0 <= a["x"] <= a["x"] + a["width"] <= width
        for b in boxes[:n]:
            beside = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
            assert beside or abs(a["y"] - b["y"]) >= 12, labels.all_inner_texts()


def test_what_is_measured_and_predicted_has_one_scale() -> None:
    line = Series("", [50.0, 90.0], [1.0, 4.0], "line")
    text = Figure("t", Axis("x"), Axis("y"), (line,), (Guide("equal"),)).to_svg()
    (x1, y1, x2, y2) = re.search(
        r'dasharray.*?x1="([\d.]+)%" y1="([\d.]+)" x2="([\d.]+)%" y2="([\d.]+)"', text
    ).groups()
    assert (float(x1), float(x2)) == (0, 100)  # from corner to corner
    assert float(y1) - float(y2) == HEIGHT


def test_a_page_tells_nothing_twice_and_no_columns_of_dashes() -> None:
    text = Told().to_html()
    assert "<li>sure of it</li>" not in text
    assert "<li>a doubt</li>" in text
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", text) == [
        "The rows", "rtx-4090: rows", "By name", "Where this comes from"
    ]  # fmt: skip
    assert re.findall(r"<th [^>]*>(.*?)</th>", text) == ["name", "known"] * 2 + ["name"]
    assert text.count('<td class="long">') == 4  # the column of two tables


@dataclass(frozen=True, repr=False)
class Told(Record):
    """A record with an answer that repeats a doubt."""

    def answer(self) -> str:
        return "It is 1 ms; sure of it."

    def doubts(self) -> Iterator[str]:
        yield "note: sure of it"
        yield "note: a doubt"

    def parts(self) -> Iterator[Table | str]:
        columns = [Column(name, name) for name in ("name", "unknown", "known")]
        rows = [{"name": "a name that is longer than most", "known": 1}, {"name": "b", "known": 2}]
        yield Table(columns, rows, "the rows:")
        yield Table(columns, rows, "rtx-4090: rows")
        yield Table(columns[:1], [], "")


def test_what_figures_say_is_escaped() -> None:
    series = Series("<b>", [1.0, 2.0], [3.0, 4.0], labels=["<script>", "\x1b"])
    figure = Figure("<i>", Axis("<u>"), Axis("y"), (series, series), (Guide("<s>", x=1.5),), "<p>")
    for text in (figure.to_html(), figure.to_svg()):
        assert not any(tag in text for tag in ("<script", "<b>", "<i>", "<u>", "<s>", "\x1b"))
