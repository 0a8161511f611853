"""Messages about names that are not known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice

# More names are more than a screen shows at once.
_MOST_LISTED = 20
# Kind of what is named -> the command that lists all.
_LISTS = {
    "of timm": "latcast models timm:",
    "of torchvision": "latcast models torchvision:",
    "of transformers": "latcast models transformers:",
    "device": "latcast devices",
    "model": "latcast models",
    "space": "latcast spaces",
}


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that no ``kind`` is called ``name``, suggest the nearest, list what there is.

    More than a few lines of names help nobody: of many, only the nearest are listed, with the
    command that lists all.
    """
    folded = {k.lower(): k for k in known}
    given = str(name)[:200].lower()
    if "device" in kind and given.endswith(".toml"):
        return (
            f"no {kind} is called {short_repr(name)}: a file of devices is given with --devices "
            "(in Python, devices.device_files), and each of its devices has its name there"
        )
    parts = sorted((n for n in folded if _is_part(given, n)), key=len)
    near = list(dict.fromkeys([*parts, *get_close_matches(given, folded, n=5, cutoff=0.5)]))
    # rtx-2080 is rather rtx-2080-ti than rtx-4080, and p40 rather tesla-p40 than a40.
    near.sort(key=lambda n: (not n.startswith(given), n not in parts))
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    listed = ", ".join(known)
    if len(known) > _MOST_LISTED:
        others = ", ".join(folded[n] for n in near[1:5])
        listed = f"{len(known)} names" + (f", among them {others}" if others else "")
        lists = [command for word, command in _LISTS.items() if word in kind]
        lists = lists[:1] if "of " in kind else lists
        if lists:
            listed += f" ({' and '.join(lists)} show{'s' * (len(lists) == 1)} all)"
    return f"no {kind} is called {short_repr(name)}; {hint}known: {listed}"


def _is_part(given: str, name: str) -> bool:
    """Whether words of a name begin so, without hyphens: ``pi4`` is of ``raspberry-pi-4``."""
    plain = "".join(filter(str.isalnum, given))
    words = name.split("-")
    return bool(plain) and any("".join(words[n:]).startswith(plain) for n in range(len(words)))


def short_list(names: Iterable[str]) -> str:
    """The first names that a file holds, for an error message: it may hold any, of any length."""
    return ", ".join(name[:60] for name in islice(names, 8))


def short_repr(value: object) -> str:
    """``repr`` of a value, for an error message: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
