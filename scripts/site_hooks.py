"""Hooks of MkDocs: pages of the site that the code, the README and the results are the source of.

MkDocs calls ``on_files`` and ``on_page_…`` while it builds (``mkdocs.yml``). A link in the docs is
one of the repository, so that it works where the repository is read; here those that leave
``docs/`` are led to the page that the file has in the site, or to a copy of the file.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "datasets/README.md": "datasets.md",
    "src/latcast/zoo/README.md": "zoo.md",
    "tests/measure/data/tools/README.md": "tools.md",
}
"""Files of the repository outside of ``docs/`` -> their pages."""

NOTEBOOK = "tutorials/notebook.md"
"""Page of the notebook, whose file stands beside it."""

ROOMS = (
    "latcast", "latcast.spaces", "latcast.graph", "latcast.graph.read", "latcast.families",
    "latcast.devices", "latcast.data", "latcast.data.public", "latcast.measure", "latcast.models",
    "latcast.search", "latcast.ofa", "latcast.testing",
)  # fmt: skip
"""Packages whose public names are documented, each name in the first that has it."""

LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):(?=<code>)")


# --- what MkDocs calls ------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let no page be out of reach: those that ``nav`` lacks stand at its end."""
    listed = repr(config.nav)
    pages = sorted((ROOT / "docs").rglob("*.md"))
    names = [path.relative_to(ROOT / "docs").as_posix() for path in pages]
    if config.nav and (others := [name for name in names if f"'{name}'" not in listed]):
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and copies of files that pages link to."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in PAGES.items()}
    made["reference/command-line.md"] = "\n".join(_command_line())
    made |= dict(_python())
    results = sorted((ROOT / "docs" / "results").glob("*.txt"))
    for path in results:
        made[f"results/{path.stem}.md"] = _result(path)
    made |= dict(_script("site_gallery").gallery())
    made[NOTEBOOK] = _script("site_notebook").page(
        ROOT / "docs" / NOTEBOOK.replace(".md", ".ipynb")
    )
    made["results/index.md"] = "\n".join(_results(results))
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for file in [file for file in files if file.is_documentation_page()]:
        for link in LINK.findall(file.content_string):
            linked = _linked(link, file.src_uri)
            if (copy := _copied(linked)) and copy not in files.src_uris:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / linked)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links that leave ``docs/`` to where the file is in the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        path = _linked(found[1], page.file.src_uri)
        if path.endswith(".ipynb") and page.file.src_uri != NOTEBOOK:
            path = f"docs/{NOTEBOOK}"
        return posixpath.relpath(_copied(path) or _uri(path), folder or ".")

    return LINK.sub(led, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things by Sphinx's roles, of which Markdown knows none."""
    return ROLE.sub("", html)


# --- links ------------------------------------------------------------------------------------


def _linked(link: str, page: str) -> str:
    """The path in the repository that a link of a page is of."""
    source = next((source for source, uri in PAGES.items() if uri == page), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _uri(path: str) -> str:
    """The page of a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    uri = path.removeprefix("docs/")
    return "results/index.md" if uri == "results" else re.sub(r"^(results/.*)\.txt$", r"\1.md", uri)


def _copied(path: str) -> str:
    """Where the copy of a file of the repository is that has no page; nothing for a page."""
    return "" if path in PAGES or path.startswith("docs/") else f"files/{path}"


# --- pages ------------------------------------------------------------------------------------


def _command_line() -> Iterator[str]:
    """Every command's ``--help``."""
    from latcast.cli import app

    yield "# Command line\n\nWhat every command prints with `--help`.\n"

    def walk(group: Any, context: Any) -> Iterator[tuple[str, str]]:
        yield context.command_path, group.get_help(context)
        for name, command in getattr(group, "commands", {}).items():
            inner = typer.Context(command, info_name=name, parent=context, max_content_width=100)
            yield from walk(command, inner)

    root = typer.main.get_command(app)
    for path, text in walk(root, typer.Context(root, info_name="latcast", max_content_width=100)):
        yield f"## {path}\n\n```text\n{text.strip()}\n```\n"


def _python() -> Iterator[tuple[str, str]]:
    """Pages of the public names of ``latcast`` and its packages, for mkdocstrings to document."""
    seen: set[object] = set()
    for room in ROOMS:
        module = import_module(room)
        lines = [f"# {room}\n\n{inspect.getdoc(module)}\n"]
        for name in module.__all__:
            try:
                value = getattr(module, name)
            except ModuleNotFoundError:
                # It needs a package such as PyTorch to be imported, and none to be documented:
                # mkdocstrings reads the source.
                lines.append(f"::: {room}.{name}\n")
                continue
            if not (inspect.isclass(value) or inspect.isfunction(value)) or value in seen:
                continue
            seen.add(value)
            lines.append(f"::: {value.__module__}.{value.__qualname__}\n")
        yield f"reference/{room}.md", "\n".join(lines)


def _script(name: str) -> Any:
    """A script beside this one: the hooks are no package, whose modules could be imported."""
    found = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = sys.modules.setdefault(name, module_from_spec(found))
    found.loader.exec_module(module)
    return module


def _result(path: Path) -> str:
    """A table of the results as a page, which the search leaves out."""
    text = path.read_text(encoding="utf-8").rstrip()
    return f"---\nsearch:\n  exclude: true\n---\n# {path.stem}\n\n```text\n{text}\n```\n"


def _results(paths: list[Path]) -> Iterator[str]:
    yield "# Results\n\nAll tables, as the commands that [bench](../bench.md) names printed them.\n"
    for path in paths:
        yield f"* [{path.stem}]({path.stem}.txt)"
