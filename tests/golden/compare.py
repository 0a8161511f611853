"""What differs between a record and what comes out today."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

RELATIVE = 1e-9
ABSOLUTE = 1e-12
"""Differences of numbers that are none: another order of a sum; and of what should be 0."""

LEFT_OUT = re.compile(
    r"(.*_)?seconds|.*_seconds_.*|archs_per_second|machine|host|python|(.*_)?versions?|latcast"
    r"|created|date|time|schema"
)
"""Keys of what is never the same twice: times, dates, versions, the machine."""


@dataclass(frozen=True)
class Change:
    """A difference that is meant.

    Attributes:
        cases: of which records, as a glob such as ``predict-*``.
        path: where in them, keys and positions with dots between, as a glob such as
            ``*.devices.*.ms``.
        kind: ``added`` (it is new; of a list, at its end), or ``value`` (any will do).
        because: why.
    """

    cases: str
    path: str
    kind: str
    because: str


def differences(
    expected: Any,
    actual: Any,
    changes: Sequence[Change] = (),
    relative: float = RELATIVE,
    path: str = "",
) -> Iterator[str]:
    """One line for each difference.

    Args:
        expected: of JSON's types; floats may be text for NaN and infinities.
        actual: likewise.
        changes: those of this record.
        relative: of numbers; they may also differ by ``ABSOLUTE``.
        path: where we are.
    """
    if _is_meant(path, "value", changes):
        return
    if isinstance(expected, dict) and isinstance(actual, dict):
        yield from _objects(expected, actual, changes, relative, path)
    elif isinstance(expected, list) and isinstance(actual, list):
        more = [_under(path, n) for n in range(len(expected), len(actual))]
        if len(expected) > len(actual) or not all(_is_meant(x, "added", changes) for x in more):
            yield f"{path}: expected {len(expected)} items; got {len(actual)}"
        for n, (e, a) in enumerate(zip(expected, actual, strict=False)):
            yield from differences(e, a, changes, relative, _under(path, n))
    elif _is_number(expected) and _is_number(actual):
        # Not <=: of NaN that is false, too.
        if not abs(expected - actual) <= ABSOLUTE + relative * abs(expected):
            off = abs(expected - actual) / (abs(expected) or 1)
            yield f"{path}: expected {expected!r}; got {actual!r} ({off:.1e} off)"
    elif expected != actual:
        yield f"{path}: expected {expected!r}; got {actual!r}"


def _objects(
    expected: dict[str, Any],
    actual: dict[str, Any],
    changes: Sequence[Change],
    relative: float,
    path: str,
) -> Iterator[str]:
    for key in dict.fromkeys((*expected, *actual)):
        here = _under(path, key)
        if LEFT_OUT.fullmatch(key):
            continue
        if key not in actual:
            yield f"{here}: missing"
        elif key in expected:
            yield from differences(expected[key], actual[key], changes, relative, here)
        elif not _is_meant(here, "added", changes):
            yield f"{here}: new, with value {str(actual[key])[:60]}"


def _is_meant(path: str, kind: str, changes: Sequence[Change]) -> bool:
    return any(c.kind == kind and fnmatchcase(path, c.path) for c in changes)


def _under(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain(value: Any, folder: str) -> Any:
    """JSON's types alone; ``folder`` is not named, and numbers that JSON has not are texts."""
    if isinstance(value, dict):
        return {str(k): plain(v, folder) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, folder) for v in value]
    if isinstance(value, str):
        return value.replace(folder, "<folder>")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value
