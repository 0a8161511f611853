"""Numbers and reasons as text, the same on terminals and on pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ms_text(ms: float) -> str:
    """Milliseconds with about four digits."""
    for limit, digits in ((10.0, 3), (100.0, 2), (1000.0, 1)):
        if ms < limit:
            return f"{ms:.{digits}f}"
    return f"{ms:.0f}"


def count_text(value: float) -> str:
    """A count with three digits and a prefix, powers of 1,000: ``4.09 G``."""
    prefix = ""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            break
        value /= 1000 if prefix != "T" else 1
    return f"{value:.3g} {prefix}".strip()


def bytes_text(value: float) -> str:
    """Bytes likewise: ``46.7 MB``."""
    number, _, prefix = count_text(value).partition(" ")
    return f"{number} {prefix}B"


def doubt_text(doubt: Mapping[str, Any]) -> str:
    """A group of kernels that a model has not seen the like of, in words.

    Args:
        doubt: of a device's ``doubts`` in :func:`latcast.models.forecast`.
    """
    who = f"{doubt['kind']} x {doubt['kernels']}, {100 * doubt['share']:.1f} % of the ms"
    if doubt["subject"] == "unknown":
        return f"{who}: the cost is not known"
    if doubt["seen"] is None:
        return f"{who}: the model has seen no {doubt['subject']}"
    low, high = map(count_text, doubt["seen"])
    least, most = (count_text(v) for v in (doubt["values"][0], doubt["values"][-1]))
    values = least if least == most else f"{least} to {most}"
    return f"{who}: {doubt['subject']} {values} (seen: {low} to {high})"
