"""Messages about names that are not known."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that no ``kind`` is called ``name``, suggest the nearest, list what there is."""
    folded = {k.lower(): k for k in known}
    near = get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return f"no {kind} is called {name!r}; {hint}known: {', '.join(known)}"


def short_repr(value: object) -> str:
    """``repr`` of a value, for an error message: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
