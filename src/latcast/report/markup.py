"""Texts and numbers as any page, drawing or terminal can show them."""

from __future__ import annotations

import re
from decimal import Context
from html import escape

_LONG_WORD = re.compile(r"(\S{12,})")
_PARTS = re.compile(r"(?<=\w[/_,=.])(?=\w)")


def printable(text: str) -> str:
    """Replace what moves a terminal's cursor or is no HTML: names in files may hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def breaks(text: str) -> str:
    """Return a text as HTML whose long names may wrap between their parts: ``a/b_c(d=1,e=2)``."""
    pieces = _LONG_WORD.split(printable(text))
    # Every second one is a long word.
    for n in range(1, len(pieces), 2):
        pieces[n] = "\0".join(_PARTS.split(pieces[n]))
    return escape("".join(pieces)).replace("\0", "<wbr/>")


def start_of(text: str, width: int) -> str:
    """Return the first characters of a text, with an ellipsis where it is cut."""
    clean = printable(text)
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def end_of(text: str, width: int) -> str:
    """Return the last characters of a text, which tell nodes of one file apart."""
    clean = printable(text)
    return clean if len(clean) <= width else "…" + clean[1 - width :]


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: ``1 device``, ``1,200 devices``.

    Args:
        number: of the things.
        one: what one of them is called.
        several: what others are; ``one`` with an s by default.
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def number_text(value: float) -> str:
    """Return a number with about four digits and no exponent: ``12,300``, ``0.0125``."""
    rounded = float(f"{value:.4g}")
    if rounded == 0 or abs(rounded) >= 1000:
        return f"{rounded:,.0f}"
    return format(Context(prec=4).create_decimal(repr(rounded)).normalize(), "f")


def wrapped(text: str, width: int | None) -> str:
    """Lines of a text, broken between words where they are wider than a terminal.

    What follows a break is indented below its line. Words, such as names of files, stay whole.
    """
    if width is None or all(len(line) <= width for line in text.split("\n")):
        return text
    from textwrap import fill

    return "\n".join(
        fill(
            line, width, subsequent_indent=" " * (len(line) - len(line.lstrip()) + 2),
            break_long_words=False, break_on_hyphens=False,
        ) if len(line) > width else line
        for line in text.split("\n")
    )  # fmt: skip
