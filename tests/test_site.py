"""The site builds without a warning, loads nothing from elsewhere, and no link in it is broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = [pytest.mark.docs, pytest.mark.slow]

ROOT = Path(__file__).parents[1]


class Html(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])


# What `make docs` does not install; that no network is there, too.
ALONE = """
import socket, sys

LEFT_OUT = {"torch", "openvino", "ncnn", "MNN", "pandas", "pyarrow", "optuna", "pymoo", "ray",
            "fastapi", "huggingface_hub", "model_explorer", "playwright"}

class LeftOut:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in LEFT_OUT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def refuse(*_, **__):
    raise OSError("the site is built offline")

sys.meta_path.insert(0, LeftOut)
socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Html]:
    pytest.importorskip("mkdocs")
    site = tmp_path_factory.mktemp("site")
    alone = tmp_path_factory.mktemp("alone")
    (alone / "sitecustomize.py").write_text(ALONE, encoding="utf-8")
    paths = os.pathsep.join(filter(None, (str(alone), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4_000:]
    return {path: Html(path) for path in site.rglob("*.html")}


def test_no_link_is_broken(pages: dict[Path, Html]) -> None:
    broken = []
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https"}:
                good = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?", parts.netloc) is not None
            elif parts.scheme or page.path.name == "404.html":  # its links are of the server's root
                good = parts.scheme in {"", "mailto"}
            else:
                path = Path(os.path.normpath(page.path.parent / unquote(parts.path)))
                there = pages.get(page.path if not parts.path else path)
                good = path.is_file() or there is page
                if parts.fragment and there and parts.fragment != "__top":
                    good = unquote(parts.fragment) in there.anchors
            if not good:
                broken.append(f"{page.path.name}: {link}")
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1_000


@pytest.mark.worker
@pytest.mark.parametrize(
    "name",
    ["index", "numbers", "tutorials/deploy", "tutorials/notebook", "gallery", "results/devices"],
)
def test_axe_finds_nothing(
    name: str, pages: dict[Path, Html], browser: Any, accessible: Callable[[Any], None]
) -> None:
    pytest.importorskip("axe_playwright_python")
    path = _root(pages) / f"{name}.html"
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    page.wait_for_function(
        "[...document.querySelectorAll('.md-code__nav')].every(nav => nav.ariaLabel)"
    )
    accessible(page)
    page.close()


def _root(pages: dict[Path, Html]) -> Path:
    return min(pages, key=lambda path: len(path.parts)).parent


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Html]) -> None:
    for page in pages.values():
        for link in page.loaded:
            assert not urlsplit(link).scheme.startswith("http"), (page.path, link)
            assert link.startswith(("/", "data:")) or (page.path.parent / unquote(link)).exists()
    for path in _root(pages).rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", path.read_text(encoding="utf-8"))


def test_the_gallery_shows_figures_and_whole_pages(pages: dict[Path, Html]) -> None:
    (gallery,) = (p for p in pages if p.name == "gallery.html")
    shown = gallery.read_text(encoding="utf-8")
    drawn = shown.count("<figure>")
    assert "resnet-18.onnx takes" in shown  # the network is called as the command above calls it
    assert "resnet(" not in shown
    whole = [link for link in pages[gallery].links if link.startswith("gallery/")]
    assert drawn >= len(whole) >= 4


def test_the_picture_of_the_readme_is_that_of_a_search() -> None:
    found = spec_from_file_location("site_gallery", ROOT / "scripts" / "site_gallery.py")
    assert found is not None
    assert found.loader is not None
    gallery = sys.modules.setdefault("site_gallery", module_from_spec(found))
    found.loader.exec_module(gallery)
    here, made = (
        re.split(r"(-?[0-9]+\.[0-9]+)", text)
        for text in (gallery.PICTURE.read_text(encoding="utf-8"), gallery.picture())
    )
    assert here[::2] == made[::2], "draw it anew: python scripts/site_gallery.py"
    assert [float(x) for x in here[1::2]] == pytest.approx(list(map(float, made[1::2])), abs=0.2)


def test_every_command_and_public_name_is_in_the_reference(pages: dict[Path, Html]) -> None:
    import latcast

    reference = {
        p.path.stem: p.anchors for p in pages.values() if p.path.parent.name == "reference"
    }
    assert {"latcast", "latcast-predict", "latcast-host-check"} <= reference["command-line"]
    for name in set(latcast.__all__) - {"predictors", "search"}:
        value = getattr(latcast, name)
        if isinstance(value, ModuleType):
            continue
        assert f"{value.__module__}.{value.__qualname__}" in reference["latcast"], name
