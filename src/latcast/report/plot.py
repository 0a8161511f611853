"""Figures drawn by matplotlib, without its state: for notebooks, papers and programs of others.

The figures are those of :mod:`latcast.report.figure`, which pages draw as SVG; this is the one
other drawing of them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._files import write_file
from latcast._imports import require

from .axis import Axis, label_places, ticks
from .figure import COLOURS, Figure, Guide, Series
from .markup import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

# Inches of a figure, and of each of its rows where the vertical axis has names.
WIDTH, HEIGHT, ROW = 7.0, 3.2, 0.45
# Points: the width of a figure's axes, about, and of a label's character, and a label's height.
_POINTS, _CHARACTER, _LABEL_HEIGHT = 400.0, 5.0, 10.0
# Values that were asked for and are all labelled, of a logarithmic axis.
_MOST_TICKS = 8


def picture(figures: Sequence[Figure]) -> Picture:
    """Draw figures one below the other; a notebook shows the result, ``savefig`` writes it.

    Raises:
        ValueError: there are none.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if not figures:
        raise ValueError("there must be a figure to draw; got none")
    heights = [max(HEIGHT / 2, 1 + ROW * len(f.y.names)) if f.y.names else HEIGHT for f in figures]
    made = _shown(figsize=(WIDTH, sum(heights)), layout="constrained")
    every = made.subplots(len(figures), squeeze=False, height_ratios=heights)[:, 0]
    for axes, figure in zip(every, figures, strict=True):
        draw(figure, axes)
    return made


def save_picture(figures: Sequence[Figure], path: Path) -> None:
    """Write :func:`picture` (SVG, PNG or PDF, by the file's ending); alike for the same figures.

    Raises:
        ValueError: there are no figures.
        ModuleNotFoundError: matplotlib is not installed.
    """
    matplotlib = require("matplotlib", "plot", "plotting")
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    written = io.BytesIO()
    # Text stays text, and nothing is drawn from chance or the day.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "latcast"}):
        picture(figures).savefig(
            written, format=path.suffix.removeprefix("."), metadata=dates.get(path.suffix)
        )
    write_file(path, written.getvalue())


def _shown(**how: Any) -> Picture:
    """Return a figure of matplotlib that a notebook shows although pyplot does not know it."""
    matplotlib = require("matplotlib.figure", "plot", "plotting")

    class Shown(matplotlib.Figure):  # type: ignore[name-defined,misc]
        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            self.savefig(written, format="png", dpi=144)
            return written.getvalue()

    found: Picture = Shown(**how)
    return found


def draw(figure: Figure, axes: Axes) -> Axes:
    """Draw one figure on axes of matplotlib, which may be those of another picture."""
    rows = bool(figure.y.names)
    stacks: dict[float, float] = {}
    for n, series in enumerate(figure.series):
        colour = _colour(series, n)
        if series.kind == "points":
            _points(figure, series, axes, colour)
        elif series.kind == "line":
            _line(figure, series, axes, colour)
        else:
            _bars(figure, series, axes, colour, stacks)
    for name, axis in (("x", figure.x), ("y", figure.y)):
        _axis(axes, name, axis)
    if rows:
        axes.invert_yaxis()
    for guide, label in zip(figure.guides, _label_places(figure, axes), strict=True):
        _guide(figure, guide, axes, *label)
    axes.set_title(_plain(figure.title), loc="left", fontsize="medium")
    if len(figure.legend) > 1:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(visible=True, axis="x" if rows else "both", alpha=0.3)
    axes.set_axisbelow(True)
    return axes


def _axis(axes: Axes, name: str, axis: Axis) -> None:
    if axis.names:
        notes = [*axis.notes] or [""] * len(axis.names)
        labels = ["\n".join(filter(None, both)) for both in zip(axis.names, notes, strict=True)]
        texts = list(map(_plain, labels))
        axes.set(**{f"{name}ticks": range(len(texts)), f"{name}ticklabels": texts})
        axes.set(**{f"{name}lim": (-0.5, len(texts) - 0.5)})
        axes.tick_params(axis=name, labelsize="small")  # type: ignore[arg-type]
    elif axis.log:
        axes.set(**{f"{name}scale": "log"})
        low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
        asked = [axis.scale * value for value in axis.at]
        shown = asked if 0 < len(asked) <= _MOST_TICKS else ticks(low, high, log=True)
        axes.set(**{f"{name}ticks": shown, f"{name}ticklabels": list(map(number_text, shown))})
        axes.tick_params(axis=name, which="minor", length=0, labelsize=0)  # type: ignore[arg-type]
    axes.set(**{f"{name}label": _plain(axis.label)})


def _points(figure: Figure, series: Series, axes: Axes, colour: str) -> None:
    x, y = _scaled(figure.x, series.x), _scaled(figure.y, series.y)
    if series.lower and series.upper:
        along = series.along or ("x" if figure.y.names else "y")
        axis, of = (figure.x, x) if along == "x" else (figure.y, y)
        reach = [
            (of[n] - axis.scale * low, axis.scale * high - of[n])
            for n, (low, high) in enumerate(zip(series.lower, series.upper, strict=True))
            if low is not None and high is not None
        ]
        known = [n for n, low in enumerate(series.lower) if low is not None]
        ends = [[max(r[side], 0.0) for r in reach] for side in (0, 1)]
        places = [x[n] for n in known], [y[n] for n in known]
        reaching: dict[str, Any] = {f"{along}err": ends}
        axes.errorbar(*places, fmt="none", ecolor=colour, alpha=0.4, **reaching)
    largest = max(series.sizes, default=1.0) or 1.0
    sizes = [10 + 150 * size / largest for size in series.sizes] or 20
    axes.scatter(x, y, s=sizes, color=colour, alpha=0.75, label=_plain(series.name) or None)


def _line(figure: Figure, series: Series, axes: Axes, colour: str) -> None:
    order = sorted(range(len(series.x)), key=lambda n: series.x[n])
    x = [figure.x.scale * series.x[n] for n in order]
    y = [figure.y.scale * series.y[n] for n in order]
    if series.lower and series.upper:
        ends = [
            [y[m] if (v := values[n]) is None else figure.y.scale * v for m, n in enumerate(order)]
            for values in (series.lower, series.upper)
        ]
        axes.fill_between(x, ends[0], ends[1], color=colour, alpha=0.18, linewidth=0)
    marker = "o" if len(x) < 40 else ""
    axes.plot(x, y, color=colour, marker=marker, markersize=4, label=_plain(series.name) or None)


def _bars(
    figure: Figure, series: Series, axes: Axes, colour: str, stacks: dict[float, float]
) -> None:
    """Draw bars, each on top of the ones that stand at its place already."""
    rows = bool(figure.y.names)
    places, values = (series.y, series.x) if rows else (series.x, series.y)
    lengths = _scaled(figure.x if rows else figure.y, values)
    starts = [stacks.get(place, 0.0) for place in places]
    for place, start, length in zip(places, starts, lengths, strict=True):
        stacks[place] = start + (length if math.isfinite(length) else 0.0)
    axis = figure.y if rows else figure.x
    at = [*places] if axis.names else _scaled(axis, places)
    label = _plain(series.name) or None
    if rows:
        axes.barh(at, lengths, left=starts, height=0.5, color=colour, label=label)
    else:
        axes.bar(at, lengths, bottom=starts, width=0.7, color=colour, label=label)


def _label_places(figure: Figure, axes: Axes) -> list[tuple[int | None, bool]]:
    """Return the line of each guide's label, from the top, and its side of the guide."""
    upright = [g.x is not None and bool(g.label) for g in figure.guides]
    places = [
        (_across(figure, guide, axes) * _POINTS, _CHARACTER * len(guide.label) + 6.0)
        if is_upright
        else (0.0, 0.0)
        for guide, is_upright in zip(figure.guides, upright, strict=True)
    ]
    return label_places(places, _POINTS)


def _across(figure: Figure, guide: Guide, axes: Axes) -> float:
    """Return where an upright guide stands, from 0 to 1 of the axes' width."""
    x = figure.x.scale * (guide.x or 0.0)
    found: float = axes.transLimits.transform(axes.transScale.transform((x, 1)))[0]
    return found


def _guide(figure: Figure, guide: Guide, axes: Axes, level: int | None, starts: bool) -> None:
    how: dict[str, Any] = {"color": "gray", "linestyle": "--", "linewidth": 1}
    if guide.x is not None:
        x = figure.x.scale * guide.x
        axes.axvline(x, **how)
        if level is None:
            return
        axes.annotate(
            _plain(guide.label), (x, 1), xycoords=("data", "axes fraction"), fontsize="small",
            ha="left" if starts else "right", va="top",
            xytext=(3 if starts else -3, -2 - _LABEL_HEIGHT * level), textcoords="offset points",
        )  # fmt: skip
    elif guide.y is not None:
        y = figure.y.scale * guide.y
        axes.axhline(y, **how)
        axes.annotate(
            _plain(guide.label), (1, y), xycoords=("axes fraction", "data"), fontsize="small",
            ha="right", va="bottom",
        )  # fmt: skip
    else:
        both = [*axes.get_xlim(), *axes.get_ylim()]
        low, high = max(both[0], both[2]), min(both[1], both[3])
        axes.plot([low, high], [low, high], **how)


def _scaled(axis: Axis, values: Sequence[float]) -> list[float]:
    return [axis.scale * value for value in values]


def _colour(series: Series, place: int) -> str:
    """Return a colour that matplotlib knows: of a CSS variable its value without a page."""
    found = re.search(r"#[0-9a-fA-F]{6}", series.colour)
    return found[0] if found else COLOURS[place % len(COLOURS)]


def _plain(text: str) -> str:
    """Escape mathematics in a text: names of files may hold dollars."""
    return text.replace("$", r"\$")
