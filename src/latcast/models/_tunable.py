"""Options of predictors that can be tuned, with the ranges of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``, both included.

    Args:
        low, high: the bounds; positive where ``log``.
        log: whether ratios count rather than differences.

    Raises:
        ValueError: the bounds are in the wrong order, or not positive where ``log``.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and not self.low > 0):
            raise ValueError(
                "low must be below high, and positive where log; "
                f"got {self.low}, {self.high}, log={self.log}"
            )

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class Whole:
    """One of ``low, low + step, …, high``.

    Raises:
        ValueError: ``high`` is not one of them.
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1 or self.low >= self.high or (self.high - self.low) % self.step:
            raise ValueError(
                "high must be low plus a positive multiple of step; "
                f"got {self.low}, {self.high}, step {self.step}"
            )

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and value in range(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class Choice:
    """One of ``values`` (JSON-able, all different; a tuple stands for a list)."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(1, len(self.values)):
            raise ValueError(f"a choice needs different values, at least one; got {self.values}")

    def __contains__(self, value: object) -> bool:
        return (tuple(value) if isinstance(value, list) else value) in self.values


Tunable = Real | Whole | Choice


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
