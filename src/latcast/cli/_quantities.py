"""Numbers with units, as users type them."""

from __future__ import annotations

import re

from ._common import UsageError

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"


def parse_duration(text: str, option: str = "a time budget") -> float:
    """Seconds of a duration such as ``90s``, ``20m`` or ``1.5h``.

    Raises:
        UsageError: the text is not of that form, or not positive.
    """
    match = re.fullmatch(rf"({_NUMBER})\s*([smh]?)", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{option} must be like 90s, 20m or 1.5h; got {text!r}")
    return seconds


def parse_count(text: str | None, option: str, unit: str = "") -> float | None:
    """A number such as ``300M`` or, of the unit ``B``, ``4MB``; prefixes are powers of 1,000.

    Raises:
        UsageError: the text is not of that form, or not positive.
    """
    if text is None:
        return None
    match = re.fullmatch(rf"({_NUMBER})\s*([kmg]?){unit and f'(?:{unit})?'}", text.strip(), re.I)
    value = float(match[1]) * _PREFIXES[match[2].lower()] if match else 0.0
    if value <= 0:
        raise UsageError(f"{option} must be like 300M or 5.5M{unit}; got {text!r}")
    return value


def parse_budgets(texts: list[str] | None, targets: int) -> list[list[float]] | None:
    """Latency budgets in ms, of every target one, between commas.

    Raises:
        UsageError: not a positive number for every target.
    """
    if not texts:
        return None
    return [_budget(text, targets) for text in texts]


def _budget(text: str, targets: int) -> list[float]:
    try:
        budget = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--max-latency must be a number of ms; got {text!r}") from None
    if len(budget) != targets:
        each = "one number" if targets == 1 else f"{targets} numbers between commas"
        raise UsageError(f"--max-latency must have {each}, one for each --device; got {text!r}")
    for ms in budget:
        if not 0 < ms < float("inf"):
            raise UsageError(f"--max-latency must be a positive number of ms; got {ms}")
    return budget
