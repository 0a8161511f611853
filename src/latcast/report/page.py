"""The page: one HTML file of one record or several, which loads nothing."""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files as resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .figure import Figure
from .markup import breaks, printable

# Rows of a table: more would make a page of megabytes, which --json is for.
MAX_ROWS = 500
# Characters of a title beyond which it names the first result alone.
_LONG_TITLE = 90


@cache
def environment() -> Environment:
    """Return the templates, whose values are escaped: names in files may hold anything."""
    made = Environment(
        loader=PackageLoader("latcast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters["breaks"] = lambda text: Markup(breaks(text))  # noqa: S704  # which has escaped it
    return made


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _template(name: str) -> str:
    return resources("latcast.report").joinpath("templates", name).read_text(encoding="utf-8")


def sections_of(
    figures: Iterable[Figure], parts: Iterable[Any]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield figures by their titles, then tables by theirs, each with the texts that follow it."""
    for figure in figures:
        yield figure.title, [figure]
    heading, found = "Summary", []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
            continue
        if found:
            yield heading, found
        heading, found = part.title.strip().rstrip(":") or _untitled(part), [part]
    if found:
        yield heading, found


def _untitled(table: Any) -> str:
    """Return the heading of a table that has no title: what its rows are of."""
    first = table.columns[0].label
    return f"By {first}" if first else "Values"


def _capitalized(heading: str, headline: str) -> str:
    """Return a heading with a capital, but where it begins with a name, as the headline may."""
    word = re.match(r"[a-z]+(?=$|[ ,])", heading)
    if word is None or re.match(rf"{word[0]}\b", headline):
        return heading
    return heading[:1].upper() + heading[1:]


@dataclass(frozen=True)
class _Result:
    """One record of a page, as the template takes it."""

    key: str
    headline: str
    answer: str
    notes: list[str]
    sections: list[tuple[str, str, Markup]]


def page(
    records: Sequence[Any],
    *,
    title: str = "",
    command: str = "",
    files: Mapping[str, str] | None = None,
    made: datetime | None = None,
) -> str:
    """Return one HTML file that loads nothing, of one record or of several below each other.

    Args:
        records: of :class:`latcast.report.record.Record`.
        title: of the page; by default it is made of the records' headlines.
        command: that they are of, as it was typed.
        files: that they were made from -> their SHA-256.
        made: when; now by default.
    """
    results = []
    for n, record in enumerate(records):
        sections = [
            (
                f"s{n}-{m}",
                _capitalized(heading, record.headline()),
                Markup("").join(map(_part, parts)),
            )
            for m, (heading, parts) in enumerate(record.sections())
        ]
        answer = record.answer()
        told = answer.lower()
        notes = [note.removeprefix("note: ") for note in record.doubts()]
        notes = [note for note in notes if note.lower() not in told]
        results.append(_Result(f"r{n}", record.headline(), answer, notes, sections))
    # What draws networks is only in the pages that show one.
    has_drawing = any('class="drawing"' in body for r in results for _, _, body in r.sections)
    names_of = ("page", "drawing") if has_drawing else ("page",)
    script = "".join(_template(f"{x}.js") for x in names_of)
    style = "".join(_template(f"{x}.css") for x in ("style", *names_of[1:]))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment().get_template("page.html.j2").render(
        results=results,
        title=title or _title([r.headline for r in results]),
        command=command,
        files=files or {},
        made=(made or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        version=sys.modules["latcast"].__version__,
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        digest=digest,
    )  # fmt: skip


def _title(headlines: Sequence[str]) -> str:
    """Return the title of a page of several results: their subject where they have one."""
    if len(headlines) == 1:
        return headlines[0]
    subjects = {headline.partition(": ")[0] for headline in headlines}
    if len(subjects) == 1 and all(": " in headline for headline in headlines):
        (subject,) = subjects
        return f"{subject}: {', '.join(h.partition(': ')[2] for h in headlines)}"
    shown = "; ".join(headlines)
    if len(shown) <= _LONG_TITLE:
        return shown
    return f"{headlines[0]}, and {len(headlines) - 1} more"


def _part(part: Any) -> Markup:
    """Return a table, a figure, HTML as it is, or lines of text as HTML."""
    if isinstance(part, Markup):  # what may be wider than its page is scrolled by keys, too
        scrolled = '<div class="wide" role="group" tabindex="0" aria-label="scrolls">'
        return Markup(part.replace(Markup('<div class="wide">'), Markup(scrolled)))  # noqa: S704
    if isinstance(part, str):
        lines = [line for line in part.split("\n") if line.strip()]
        text = "<br/>".join(escape(printable(line)) for line in lines)
        return Markup(f"<p>{text}</p>" if lines else "")  # noqa: S704
    if isinstance(part, Figure):
        return Markup(part.to_html())  # noqa: S704
    count = len(part.rows)
    part = part.known_columns(MAX_ROWS)
    # A caption would repeat the heading.
    table = re.sub("<caption>.*?</caption>", "", part.to_html(MAX_ROWS), count=1)
    label = escape(printable(part.title.strip()) or "table")
    more = f"<p>The first {MAX_ROWS} of {count:,} rows; --json has all.</p>"
    return Markup(  # noqa: S704
        f'<div class="wide" role="group" tabindex="0" aria-label="{label}">{table}</div>'
        + (more if count > MAX_ROWS else "")
    )


def split(body: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the sections of a template: the text under each of its headings of the second level."""
    first, *others = re.split("<h2>(.*?)</h2>", body)
    yield "The network", [Markup(first)]  # noqa: S704
    for heading, text in zip(others[::2], others[1::2], strict=True):
        yield heading, [Markup(text)]  # noqa: S704
