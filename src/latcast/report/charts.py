"""Figures that several records show: intervals, shares, predicted against measured, scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from .axis import Axis
from .figure import COLOURS, Figure, Guide, Series
from .text import KIND_COLOURS, OTHER_COLOUR, ms_text

# Rows of a figure: of more, tables tell.
MAX_ROWS = 30
# Largest over smallest value from which an axis counts decades.
_DECADES = 12.0
# Name of the groups that have no colour of their own.
_OTHERS = "other groups"
# Of the whole, for a colour of its own.
_MIN_SHARE = 0.01

Interval = tuple[str, float | None, float | None, float | None]


def interval_note(value: float | None, lower: float | None, upper: float | None) -> str:
    """Return a latency with its interval, in words."""
    if lower is None or upper is None or not isfinite(lower):
        return f"{ms_text(value)} ms"
    low, high = ms_text(lower), ms_text(upper)
    # What is known to all its digits, as a sum of a lookup table is, has no interval to tell.
    return f"{ms_text(value)} ms" if low == high else f"{ms_text(value)} ms ({low} – {high})"


def latencies_in_words(rows: Sequence[tuple[str, Any]], subject: str) -> str:
    """Return a forecast's answer in words: the latency, or the fastest and the slowest device.

    Args:
        rows: name of a device, and what has ``latency_ms``, ``lower_ms`` and ``upper_ms`` there.
        subject: of the sentence.
    """

    def told(name: str, row: Any) -> str:
        return f"{interval_note(row.latency_ms, row.lower_ms, row.upper_ms)} on {name}"

    ranked = sorted(rows, key=lambda row: row[1].latency_ms)
    if len(ranked) == 1:
        return f"{subject} takes {told(*ranked[0])}."
    return (
        f"{subject} takes {told(*ranked[0])}, the fastest of {len(ranked)}, and "
        f"{told(*ranked[-1])}, the slowest."
    )


def note_in(form: str, unit: str) -> Callable[[float | None, float | None, float | None], str]:
    """Return what writes a value and its interval in a unit, for :func:`intervals`."""

    def note(value: float | None, lower: float | None, upper: float | None) -> str:
        ends = "" if lower is None or upper is None else f" ({lower:{form}} – {upper:{form}})"
        return f"{value:{form}} {unit}".rstrip() + ends

    return note


def is_wide(values: Sequence[float | None]) -> bool:
    """Return whether values are so far apart that an axis should count decades."""
    known = [v for v in values if v is not None and isfinite(v)]
    return bool(known) and min(known) > 0 and max(known) > _DECADES * min(known)


def intervals(
    title: str,
    rows: Sequence[Interval],
    *,
    of: str = "device",
    label: str = "latency, ms",
    budget: float | None = None,
    guide: Guide | None = None,
    caption: str = "",
    note: Callable[[float | None, float | None, float | None], str] = interval_note,
) -> Figure:
    """Draw each of the first rows as a point with its interval.

    Args:
        title: of the figure.
        rows: name, value, lower and upper end of each; None where they are not known.
        of: what the rows are.
        label: of the values.
        budget: a line to compare with, ms.
        guide: such a line in another unit.
        caption: how to read it.
        note: a row's values in words.
    """
    rows = [r for r in rows[:MAX_ROWS] if r[1] is not None]
    values = [float(r[1] or 0) for r in rows]
    ends = [e for r in rows for e in (r[1], r[2], r[3])]
    notes = [note(*r[1:]) for r in rows]
    series = Series(
        "", values, range(len(rows)), lower=[r[2] for r in rows], upper=[r[3] for r in rows],
        labels=[f"{r[0]}\n{text}" for r, text in zip(rows, notes, strict=True)],
    )  # fmt: skip
    if budget is not None:
        guide = Guide(f"{budget:g} ms", x=budget)
    guides = () if guide is None else (guide,)
    x = Axis(label, log=is_wide([*ends, *(g.x for g in guides)]))
    return Figure(title, x, Axis(of, names=[r[0] for r in rows], notes=notes), (series,),
                  guides, caption)  # fmt: skip


def shares(
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float], str]],
    *,
    of: str = "device",
    colours: Mapping[str, str] = KIND_COLOURS,
    caption: str = "",
) -> Figure:
    """Draw a bar of parts for each row: its name, the parts' shares from 0 to 1, and a note."""
    parts = dict.fromkeys(p for _, s, _ in rows for p, share in s.items() if share >= _MIN_SHARE)
    series = [
        Series(
            part.replace("_", " "), [100 * s.get(part, 0.0) for _, s, _ in rows],
            range(len(rows)), "bars", colour=colours.get(part, ""),
            labels=[f"{name}\n{part.replace('_', ' ')} {100 * s.get(part, 0.0):.1f} %"
                    for name, s, _ in rows],
        )
        for part in parts
    ]  # fmt: skip
    rest = [100 * sum(v for p, v in s.items() if p not in parts) for _, s, _ in rows]
    if any(r > 1e-6 for r in rest):
        labels = [f"other {r:.1f} %" for r in rest]
        series.append(Series("other", rest, range(len(rows)), "bars", labels=labels,
                             colour=OTHER_COLOUR))  # fmt: skip
    y = Axis(of, names=[r[0] for r in rows], notes=[r[2] for r in rows])
    return Figure(title, Axis("%"), y, tuple(series), caption=caption)


def parity(title: str, groups: Mapping[str, Sequence[Any]], unit: str) -> Figure:
    """Draw predicted against measured values, in a colour for each group.

    Of more groups than there are colours, those whose rows are furthest off have one.

    Args:
        title: of the figure.
        groups: name -> rows with ``measured``, ``predicted``, ``lower``, ``upper`` and ``name``.
        unit: of the values.
    """
    rows = [r for own in groups.values() for r in own]
    names = {id(r): name for name, own in groups.items() for r in own}
    groups = _furthest_off(groups, len(COLOURS) - 1)
    wide = is_wide([v for r in rows for v in (r.measured, r.predicted)])
    series = tuple(
        Series(
            name,
            [r.measured for r in own],
            [r.predicted for r in own],
            lower=[r.lower for r in own],
            upper=[r.upper for r in own],
            labels=[
                "\n".join(filter(None, [r.name, names[id(r)]]))
                + f"\nmeasured {ms_text(r.measured)} {unit}, predicted "
                f"{ms_text(r.predicted)} ({100 * (r.predicted / r.measured - 1):+.1f} %)"
                for r in own
            ],
            colour=OTHER_COLOUR if name == _OTHERS else "",
        )
        for name, own in groups.items()
    )
    return Figure(
        title, Axis(f"measured, {unit}", log=wide), Axis(f"predicted, {unit}", log=wide), series,
        (Guide("equal"),),
        "On the line, predicted equals measured; above it the prediction is too slow. Upright "
        "strokes are prediction intervals.",
    )  # fmt: skip


def _furthest_off(groups: Mapping[str, Sequence[Any]], most: int) -> Mapping[str, Sequence[Any]]:
    """Return so many groups, those of the largest median errors, and the rows of all others."""
    if len(groups) <= most:
        return groups
    off = {n: median(abs(r.predicted / r.measured - 1) for r in own) for n, own in groups.items()}
    kept = sorted(off, key=lambda name: -off[name])[: most - 1]
    others = [r for name, own in groups.items() if name not in kept for r in own]
    # The others are drawn first, below the ones that are told apart.
    return {_OTHERS: others} | {name: own for name, own in groups.items() if name in kept}


def coverages(scores: Mapping[str, float], title: str = "What intervals hold") -> Iterator[Figure]:
    """Draw the share of measurements that intervals hold against the promised one."""
    promised = [c for c in (50, 80, 90, 95) if isfinite(scores.get(f"coverage_{c}", float("nan")))]
    if len(promised) < 2:
        return
    held = [scores[f"coverage_{c}"] for c in promised]
    labels = [f"{c} % intervals hold {h:.1f} %" for c, h in zip(promised, held, strict=True)]
    yield Figure(
        title, Axis("promised, %"), Axis("held, %"),
        (Series("", promised, held, "line", labels=labels),),
        (Guide("equal"),),
        "Below the line intervals are too narrow, above it wider than they need be.",
    )  # fmt: skip


def bars(
    title: str,
    rows: Sequence[tuple[str, float]],
    label: str,
    *,
    of: str,
    caption: str = "",
    form: str = ".3g",
) -> Figure:
    """Draw a bar for each of the first rows: its name and its value."""
    rows = [r for r in rows if r[1] is not None and isfinite(r[1])][:MAX_ROWS]
    notes = [f"{value:{form}}" for _, value in rows]
    labels = [f"{name}: {note}" for (name, _), note in zip(rows, notes, strict=True)]
    series = Series("", [r[1] for r in rows], range(len(rows)), "bars", labels=labels)
    y = Axis(of, names=[r[0] for r in rows], notes=notes)
    return Figure(title, Axis(label), y, (series,), caption=caption)


def family_errors(scores: Mapping[str, Mapping[str, float]] | None) -> Iterator[Figure]:
    """Draw the median error on each family by a model that had not seen it."""
    if scores:
        worst = sorted(
            ((name, s["median_error"]) for name, s in scores.items() if "median_error" in s),
            key=lambda row: -row[1],
        )
        yield bars("Errors by family", worst, "median absolute error, %", of="family",
                   caption="On each family, by a model that had not seen it.")  # fmt: skip
