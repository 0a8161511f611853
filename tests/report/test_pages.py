"""Pages in a real browser, by clicks and keys: sorted, filtered, pointed at, and read by axe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latcast.data import Dataset
from latcast.families import Variant
from latcast.measure import CampaignFile
from latcast.measure._record import conclude
from latcast.report.figure import Axis, Figure, Guide, Series, ticks

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
        "search": ("search", "--device", model, "--max-latency", 60, "--max-latency", 80,
                   "--evaluations", 600),
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
    assert ticks(2.1, 4.9, log=True) == [2.1]


def test_what_figures_say_is_escaped() -> None:
    series = Series("<b>", [1.0, 2.0], [3.0, 4.0], labels=["<script>", "\x1b"])
    figure = Figure("<i>", Axis("<u>"), Axis("y"), (series, series), (Guide("<s>", x=1.5),), "<p>")
    for text in (figure.to_html(), figure.to_svg()):
        assert not any(tag in text for tag in ("<script", "<b>", "<i>", "<u>", "<s>", "\x1b"))
