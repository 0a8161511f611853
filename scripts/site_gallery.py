"""The gallery of the site: records of shipped models, their figures, and their pages.

As a script, it writes the picture of the README: ``python scripts/site_gallery.py``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import latcast
from latcast.families import Variant
from latcast.report.record import Record

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "front.svg"

BUDGETS = (15, 20, 25, 30, 35)
BATCHES = (1, 2, 4, 8, 16, 32)
DEVICES = ("raspberry-pi-4", "raspberry-pi-5", "rk3588", "samsung-note10", "rtx-4090")

# The most important figures come first; an example's page has all of them.
SHOWN = 2

# An image has no page around it that declares these colours.
STYLE = (
    "<style>svg{font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark)"
    "{svg{--line:#363d49;--soft:#a5afbd;--ink:#e6e9ee}}</style>"
)


@dataclass(frozen=True)
class Example:
    """A command whose page is shown.

    Attributes:
        name: of its page.
        question: that it answers.
        command: as it is typed.
        make: its record.
    """

    name: str
    question: str
    command: str
    make: Callable[[], Record]


def front() -> Record:
    """The record of a search for five budgets on the Note10."""
    model = latcast.load("samsung-note10")
    found = latcast.search(
        "ofa-mobilenet-v3", latency=model, max_latency_ms=list(BUDGETS), confidence=0.9, seed=0
    )
    return found.record()


def _of_file(ask: Callable[[str], Record]) -> Record:
    """The record of a question about ``resnet-18.onnx``, the file that the commands name."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("resnet-18.onnx").write_bytes(Variant.parse("resnet-18").to_onnx(1))
        return ask("resnet-18.onnx")


EXAMPLES = (
    Example(
        "front",
        "Which networks of a space are the most accurate within 15 to 35 ms on a phone?",
        "latcast search --device samsung-note10 --confidence 0.9 "
        + " ".join(f"--max-latency {budget}" for budget in BUDGETS),
        front,
    ),
    Example(
        "forecast",
        "How long does ResNet-18 take on these devices, and where do the milliseconds go?",
        f"latcast predict resnet-18.onnx {' '.join(f'--device {name}' for name in DEVICES)}",
        lambda: _of_file(lambda path: latcast.forecast(path, list(DEVICES))),
    ),
    Example(
        "which",
        "Which of them run it in 50 ms?",
        "latcast which resnet-18.onnx --max-latency 50 "
        + " ".join(f"--device {name}" for name in DEVICES),
        lambda: _of_file(lambda path: latcast.which(path, 50.0, devices=list(DEVICES))),
    ),
    Example(
        "batch",
        "What does a larger batch buy on a GPU?",
        "latcast predict resnet-18.onnx --device rtx-4090 --runtime pytorch "
        "--sweep batch=1,2,4,8,16,32",
        lambda: _of_file(
            lambda path: latcast.sweep(path, "rtx-4090", "batch", BATCHES, runtime="pytorch")
        ),
    ),
)


def gallery() -> Iterator[tuple[str, str]]:
    """The gallery as Markdown, and the page of each example, by their names in the site."""
    lines = [
        "# Gallery",
        "",
        "Pages of `--html`, made while this site was built. Each is one file that loads nothing.",
    ]
    for example in EXAMPLES:
        record = example.make()
        yield f"gallery/{example.name}.html", record.to_html(command=example.command)
        lines += ["", f"## {example.question}", "", f"```sh\n{example.command}\n```", ""]
        if answer := record.answer():
            lines += [answer, ""]
        for figure in islice(record.figures(), SHOWN):
            lines += [f"**{figure.title}**", "", figure.to_html(), ""]
        lines.append(f"[The whole page](gallery/{example.name}.html){{ target=_blank }}")
    yield "gallery.md", "\n".join(lines)


def picture() -> str:
    """The front of :func:`front` as a file of its own."""
    svg = next(front().figures()).to_svg().replace('width="100%"', 'x="64" width="720"', 1)
    height = re.search(r'height="(\d+)"', svg)
    assert height is not None
    size = f'width="800" height="{height[1]}"'  # levels stand left of the drawing's own area
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{STYLE}{svg}</svg>\n'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(), encoding="utf-8")
