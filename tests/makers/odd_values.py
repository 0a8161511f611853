"""Values that no file has, trees and texts that hold them, and what a reader may do with a file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), -0.5])
TEXTS = st.sampled_from(["", "a", "x" * 300, "\0", "é", "nasbench201", "fp32", "-1", "1e999"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
# What stands between the words of texts, and words that mean something to a parser.
TOKENS = (
    "", "\n", "\0", "'", '"', "[", "]", "{", "}", ",", ":", "=", "#", "-", "&a ", "*a", "!!x ",
    "|", "\\", "\ufeff", "\ud800", "\r", "nan", "-1", "1e999", "9" * 400, "0x1", "1_0", "1" * 5_000,
    "[" * 500, "{a: " * 100, "a.b", "true", "null", "1979-05-27", "[[a]]", "é", "[[budget]]\n",
)  # fmt: skip


def places_of(tree: Any) -> list[tuple[Any, Any]]:
    """Container and key of every value in a tree."""
    items: list[tuple[Any, Any]] = []
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree[:20]))
    return [x for key, value in items for x in ((tree, key), *places_of(value))]


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """A tree with values replaced, missing, or put into each other."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        places = places_of(tree)
        if not places:
            return draw(JSON)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "remove", "move", "deepen"])):
            case "replace":
                container[key] = draw(JSON)
            case "remove":
                del container[key]
            case "move":
                other, name = places[draw(st.integers(0, len(places) - 1))]
                if name in other if isinstance(other, dict) else name < len(other):
                    container[key] = json.loads(json.dumps(other[name]))
            case "deepen":
                container[key] = json.loads("[" * 80 + "]" * 80)
    return tree


@st.composite
def mangled(draw: st.DrawFn, text: str) -> bytes:
    """A text with some of it missing, twice, or replaced by what parsers take for syntax."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.sampled_from([0, 0, 1, 3, 20, 200])))
        match draw(st.sampled_from(["token", "token", "twice", "cut"])):
            case "token":
                text = text[:at] + draw(st.sampled_from(TOKENS)) + text[end:]
            case "twice":
                text = text[:end] + text[at:end] * draw(st.sampled_from([1, 50])) + text[end:]
            case "cut":
                text = text[:at]
    return text.encode("utf-8", "surrogatepass")


def clear(path: Path, reads: Callable[[Path], Any]) -> bool:
    """Whether a file is read; if not, its error is a ValueError in one line."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            reads(path)
    except (ValueError, OSError) as error:
        message = str(error)
        assert 10 < len(message) < 2_000, message
        return False
    return True
