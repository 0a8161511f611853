"""HTML that is escaped by the way it is built."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is HTML already; any other text is escaped when it is put into an element."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """An element.

    Args:
        name: of the element.
        content: elements, and text, which is escaped.
        attributes: an underscore at the end of a name is dropped (``class_``), others become
            dashes; values are escaped.
    """
    described = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_text(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{described}>{join(*content)}</{name}>")


def join(*content: str) -> Markup:
    """Elements and text, which is escaped, one after the other."""
    return Markup("".join(c if isinstance(c, Markup) else _escaped(c) for c in content))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"


def _escaped(text: str) -> str:
    """Without what HTML cannot hold either, which names in files can."""
    printable = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return escape(printable)


def page(title: str, style: str, *content: str) -> str:
    """A whole page that loads nothing and runs nothing.

    Args:
        title: of the page.
        style: CSS, of our own.
        content: of its body.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>'
        f"{tag('title', title)}<style>{style}</style></head>\n"
        f"<body><main>{join(*content)}</main></body></html>\n"
    )
