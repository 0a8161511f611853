"""Notebooks of the docs: run cell by cell, as Jupyter would, and turned into pages of the site.

They are stored without outputs, which could go stale: the build of the site makes them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import chdir
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def cells(path: Path) -> Iterator[tuple[str, str]]:
    """Kind, ``markdown`` or ``code``, and text of every cell."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        yield cell["cell_type"], "".join(cell["source"])


def run(path: Path) -> list[tuple[str, str, Any]]:
    """Kind and text of every cell, and what a cell of code ends with; None for no value.

    Cells share their names, and run in a folder of their own, which is gone afterwards.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    found = list(cells(path))
    with TemporaryDirectory() as folder, chdir(folder):
        return [(kind, text, _value(text, names) if kind == "code" else None)
                for kind, text in found]  # fmt: skip


def page(path: Path) -> str:
    """The notebook as Markdown, with what its cells show."""
    return "\n\n".join(
        text if kind == "markdown" else f"```python\n{text}\n```\n\n{_shown(value)}".rstrip()
        for kind, text, value in run(path)
    )


def _value(text: str, names: dict[str, Any]) -> Any:
    """Run a cell; its value is that of the last statement, if that is an expression."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102  # the docs' own code
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307


def _shown(value: Any) -> str:
    """A value as a notebook shows it, as a block of HTML in Markdown."""
    if value is None:
        return ""
    if hasattr(value, "savefig"):
        inside = _svg(value)
    elif hasattr(value, "_repr_html_"):
        inside = value._repr_html_()
    else:
        inside = f"<pre>{escape(repr(value))}</pre>"
    # An empty line would end the block.
    in_a_line = re.sub(r"\s*\n\s*", " ", inside)
    return f'<div class="output">{in_a_line}</div>'


def _svg(picture: Any) -> str:
    """A figure of matplotlib as inline SVG."""
    from io import StringIO

    written = StringIO()
    picture.savefig(written, format="svg")
    return written.getvalue().partition("<svg")[1] + written.getvalue().partition("<svg")[2]
