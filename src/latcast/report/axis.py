"""Axes of figures: their scales, their ticks, and where labels have room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .markup import number_text, start_of

# Lines of labels above a drawing; what finds no place in them has none.
_MAX_LEVELS = 8
# Share of an axis that a tick's label takes on a phone.
_TICK_ROOM = 0.12


@dataclass(frozen=True)
class Axis:
    """An axis of a figure: its label, its scale and, where it has names, those.

    Attributes:
        label: what is along it, with the unit, as of a column.
        log: whether decades are equally far apart; values must be positive.
        names: of the places 0, 1, 2, … where it has names in place of numbers; ``label`` then is
            what has them, such as ``device``.
        notes: the values beside each name, in words; empty for none.
        scale: factor to the unit of the label, 100 for a share that is shown in percent.
        at: the values that were asked for, which are its ticks where they have room.
    """

    label: str
    log: bool = False
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    scale: float = 1.0
    at: Sequence[float] = ()


def ticks(
    low: float, high: float, *, log: bool = False, most: int = 6, whole: bool = False
) -> list[float]:
    """Return round numbers between two others, about ``most`` at most.

    Args:
        low: the least.
        high: the most.
        log: whether the axis counts decades; where it has less than one, numbers are as far apart
            as on other axes.
        most: how many there are at most, about.
        whole: whether fractions tell nothing, as of numbers of runs.
    """
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for mantissas in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**e for e in range(first, last + 1) for m in mantissas]
            found = [v for v in found if low * 0.999 <= v <= high * 1.001]
            if len(found) <= most:
                break
        if len(found) > 2:
            return found[:: -(-len(found) // most)]
    span = high - low
    rough = max(span / (most - 1), 1.0 if whole else 0.0)
    size = 10.0 ** math.floor(math.log10(rough))
    multiples = (1, 2, 5, 10) if whole and size < 10 else (1, 2, 2.5, 5, 10)
    step = next(m * size for m in multiples if m * size >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Scale:
    """The map from the values of an axis to 0 … 1."""

    low: float
    high: float
    log: bool
    whole: bool = False

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float], *, from_zero: bool) -> Scale:
        if axis.names:
            return cls(-0.5, len(axis.names) - 0.5, log=False)
        known = [v for v in values if math.isfinite(v) and (v > 0 or not axis.log)]
        whole = all(float(v).is_integer() for v in known) and axis.scale == 1
        low, high = min(known, default=1.0), max(known, default=1.0)
        if axis.log:
            low, high = (low / 1.5, high * 1.5) if high < 1.2 * low else (low, high)
            room = (high / low) ** 0.04
            return cls(low / room, high * room, log=True, whole=whole)
        if from_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if high <= low:
            low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
        room = 0.04 * (high - low)
        low = low if from_zero and low == 0 else low - room
        return cls(low, high + room, log=False, whole=whole)

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def label_levels(places: Sequence[tuple[float, float]]) -> list[int | None]:
    """Return lines of text on which labels of upright guides touch neither each other nor a guide.

    A label ends at its guide, which reaches up to it; so a label is above all guides that stand
    in its place.

    Args:
        places: where each guide stands and how wide its label is, in the same unit.

    Returns:
        The line of each label, 0 for the lowest; None where there is no room.
    """
    levels: list[int | None] = [None] * len(places)
    for n in sorted(range(len(places)), key=lambda n: places[n][0]):
        at, width = places[n]
        under = (
            level
            for (other, _), level in zip(places, levels, strict=True)
            if level is not None and at - width < other <= at
        )
        level = max(under, default=-1) + 1
        levels[n] = level if width and level < _MAX_LEVELS else None
    return levels


def label_places(
    places: Sequence[tuple[float, float]], length: float, margin: float = 0.0
) -> list[tuple[int | None, bool]]:
    """Return the line of each label, and whether it begins at its guide rather than ends there.

    One does that would stick out at the left; it stands above all others, whose guides so end
    below it.

    Args:
        places: as of :func:`label_levels`.
        length: of the axis, in the same unit.
        margin: what labels may stick out.
    """
    starts = [width > at + margin and at < length / 2 for at, width in places]
    ends = [(at, 0.0 if s else width) for (at, width), s in zip(places, starts, strict=True)]
    levels = label_levels(ends)
    top = max((level for level in levels if level is not None), default=-1)
    for n in sorted(range(len(places)), key=lambda n: -places[n][0]):
        if starts[n]:
            top += 1
            levels[n] = top if top < _MAX_LEVELS else None
    return list(zip(levels, starts, strict=True))


def axis_text(axis: Axis, value: float) -> str:
    """Return a value of an axis as text."""
    if axis.names:
        return axis.names[round(value)]
    return number_text(axis.scale * value)


def shown_ticks(scale: Scale, axis: Axis) -> list[tuple[float, str]]:
    """Return the values of an axis that have a label, and the labels."""
    if axis.names:
        return [(n, start_of(name, 14)) for n, name in enumerate(axis.names)]
    places = sorted(map(scale, axis.at))
    if places and all(b - a > _TICK_ROOM for a, b in pairwise(places)):
        return [(v, _tick_text(axis.scale * v)) for v in axis.at]
    low, high = axis.scale * scale.low, axis.scale * scale.high
    found = ticks(low, high, log=scale.log, whole=scale.whole)
    return [(v / axis.scale, _tick_text(v)) for v in found]


def _tick_text(value: float) -> str:
    """Return a number of an axis; one of many digits would have no room beside the drawing."""
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 10_000):
            return f"{number_text(value / unit)} {prefix}"
    return number_text(value)
