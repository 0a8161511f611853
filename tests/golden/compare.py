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
        path: where in them, keys (as recorded) and positions with dots between, as a glob such as
            ``*.devices.*.ms``.
        kind: ``renamed`` (the last key of ``path`` is ``to`` now), ``dropped`` (it is gone),
            ``added`` (it is new; of a list, at its
            end), ``value`` (any value will do, or ``to`` where that is not None),
            ``wrapped`` (what stood here stands under the key ``to`` of an object now).
        because: the move, and why.
        to: see ``kind``.
    """

    cases: str
    path: str
    kind: str
    because: str
    to: Any = None


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
    mine = [c for c in changes if fnmatchcase(path, c.path)]
    for change in mine:
        if change.kind == "value":
            if change.to is not None and actual != change.to:
                yield f"{path}: expected {change.to!r}, as changed; got {actual!r}"
            return
        # A record that was made anew is wrapped itself.
        is_old = not isinstance(expected, dict) or change.to not in expected
        if change.kind == "wrapped" and is_old and isinstance(actual, dict):
            actual = actual.get(change.to, actual)
    if isinstance(expected, dict) and isinstance(actual, dict):
        yield from _objects(expected, actual, changes, relative, path)
    elif isinstance(expected, list) and isinstance(actual, list):
        more = [_under(path, n) for n in range(len(expected), len(actual))]
        are_meant = all(
            any(c.kind == "added" and fnmatchcase(item, c.path) for c in changes) for item in more
        )
        if len(expected) > len(actual) or not are_meant:
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
    met = set()
    for key, value in expected.items():
        if LEFT_OUT.fullmatch(key):
            continue
        here = _under(path, key)
        mine = {c.kind: c for c in changes if fnmatchcase(here, c.path)}
        if "dropped" in mine:
            continue
        now = mine["renamed"].to if "renamed" in mine else key
        met.add(now)
        if now not in actual:
            yield f"{here}: missing (as {now!r})"
            continue
        yield from differences(value, actual[now], changes, relative, here)
    for key in actual.keys() - met:
        added = any(c.kind == "added" and fnmatchcase(_under(path, key), c.path) for c in changes)
        if not added and not LEFT_OUT.fullmatch(key):
            yield f"{_under(path, key)}: new, with value {str(actual[key])[:60]}"


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
