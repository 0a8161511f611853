"""Figures, declared as data: drawn as SVG in pages, and whatever else can draw points and lines.

A figure has two axes and series of points, lines or bars on them. Where the vertical axis has
names (devices, networks), each name is a row, and values lie along the horizontal one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from .axis import Axis, Scale, axis_text, label_places, shown_ticks
from .markup import printable, start_of

# Of series in their order: CSS variables with what they are where no page declares them.
COLOURS = (
    "#3a6fc4", "#c85f14", "#2f8f5b", "#a0409a", "#a98600", "#1f8f96", "#c23b56", "#6f5fc7",
    "#7d8b99",
)  # fmt: skip
HEIGHT, ROW, STRIP, TOP, BOTTOM = 280, 46, 18, 14, 44
# Points that are drawn: more would make a page of megabytes, and dots under dots.
MAX_POINTS = 1_500
_NAME_WIDTH = 46
# Pixels of a label's line and of one of its characters, and those of the narrowest drawing area
# (of a window of 375): labels that have room there have it in every wider window.
_LABEL_HEIGHT, _CHARACTER, _NARROWEST = 14, 7, 260
# Pixels between labels of guides and the rows below them.
_GAP = 8
# Pixels at the left of a drawing that a label may reach into, beside a vertical axis and without.
_MARGIN, _ROWS_MARGIN = 40, 6


@dataclass(frozen=True)
class Series:
    """A series of points, of a line or of bars.

    Attributes:
        name: in the legend.
        x: places along the horizontal axis, shape (n,).
        y: along the vertical one, likewise.
        kind: ``points``, ``line`` or ``bars``.
        lower: lower ends of intervals along the axis of numbers (the vertical one of two),
            shape (n,); empty for none, None where one is not known.
        upper: upper ends.
        labels: of each point, shown when it is pointed at; by default its values.
        along: the axis, ``x`` or ``y``, that intervals lie along; by default as above.
        sizes: areas of points relative to each other; empty where all are alike.
        colour: of CSS; by default that of its place among the series.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str = "points"
    lower: Sequence[float | None] = ()
    upper: Sequence[float | None] = ()
    labels: Sequence[str] = ()
    along: str = ""
    sizes: Sequence[float] = ()
    colour: str = ""


@dataclass(frozen=True)
class Guide:
    """A straight line to compare with: at a value of one axis, or where both are equal.

    Attributes:
        label: beside it.
        x: where it stands upright; None for the other two.
        y: where it lies; None for the other two.
    """

    label: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class Figure:
    """A figure with two axes, its series, and lines to compare them with.

    Attributes:
        title: what it shows.
        x: the horizontal axis.
        y: the vertical axis.
        series: drawn one over the other; bars at one place stand on each other.
        guides: lines to compare with.
        caption: how to read it, a sentence or two.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    guides: tuple[Guide, ...] = ()
    caption: str = ""

    def to_svg(self) -> str:
        """Return inline SVG of the width around it; points tell their values when pointed at."""
        return "".join(_Drawing(self).whole())

    def to_html(self) -> str:
        """Return the drawing with its legend and caption; names of rows are text, and wrap."""
        drawing = _Drawing(self)
        texts = ["<figure>", *_legend(self.legend)]
        if self.y.names:
            texts += drawing.strips()
        else:
            texts += ['<div class="plot">', *drawing.whole(), "</div>"]
        if self.caption:
            texts.append(f"<figcaption>{escape(printable(self.caption))}</figcaption>")
        return "".join([*texts, "</figure>"])

    def to_notebook(self) -> str:
        """Return the drawing with its legend, in the colours of the notebook around it."""
        names = " ".join(
            '<span style="display: inline-block; margin-right: 1em">'
            f'<span style="color: {colour}">●</span> {escape(printable(name))}</span>'
            for name, colour in self.legend
        )
        left = 1 if self.y.names else 5
        return (
            '<div style="--ink: currentColor; --soft: currentColor; --line: #8884; '
            f'max-width: 44em; padding: 0 1em 1em {left}em">{names}{self.to_svg()}</div>'
        )

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The name and colour of every series, where there are several."""
        named = [(s.name, colour_of(s, n)) for n, s in enumerate(self.series) if s.name]
        return named if len(self.series) > 1 else []


def colour_of(series: Series, place: int) -> str:
    """Return the colour of a series at its place in a figure."""
    place %= len(COLOURS)
    return series.colour or f"var(--s{place}, {COLOURS[place]})"


# --- drawing ----------------------------------------------------------------------------------


class _Drawing:
    """A figure as SVG: percentages across, pixels down, so that texts keep their size."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.rows = bool(figure.y.names)
        self.along = "x" if self.rows else "y"  # the axis of numbers
        self.height = ROW * len(figure.y.names) if self.rows else HEIGHT
        has_bars = any(s.kind == "bars" for s in figure.series)
        across, up = [*self._values("x")], [*self._values("y")]
        if any(g.x is None and g.y is None for g in figure.guides):  # where both are equal
            across, up = across + up, across + up
        self.across = Scale.of(figure.x, across, from_zero=has_bars and self.rows)
        self.up = Scale.of(figure.y, up, from_zero=has_bars and not self.rows)
        self.is_strip = False
        self.labels = self._label_places()
        above = max((level for level, _ in self.labels if level is not None), default=0)
        self.top = TOP + _LABEL_HEIGHT * above

    def _label_places(self) -> list[tuple[int | None, bool]]:
        """Return the line of each guide's label above the drawing, and its side of the guide."""
        places = [
            (0.0, 0.0)
            if guide.x is None or not guide.label
            else (_NARROWEST * self.across(guide.x), float(_CHARACTER * len(guide.label) + 8))
            for guide in self.figure.guides
        ]
        return label_places(places, _NARROWEST, _ROWS_MARGIN if self.rows else _MARGIN)

    def _values(self, axis: str) -> Iterator[float]:
        """Yield the values that an axis has to hold."""
        stacked: dict[float, float] = {}
        for series in self.figure.series:
            values = getattr(series, axis)
            if series.kind == "bars" and axis == self.along:
                places = series.y if self.rows else series.x
                for place, value in zip(places, values, strict=True):
                    stacked[place] = stacked.get(place, 0.0) + value
            else:
                yield from values
            if (series.along or self.along) == axis:
                yield from (v for v in [*series.lower, *series.upper] if v is not None)
        yield from stacked.values()
        yield from (v for g in self.figure.guides if (v := getattr(g, axis)) is not None)

    def x_of(self, value: float) -> str:
        """Return a place on the horizontal axis in percent of the width."""
        return f"{100 * self.across(value):.2f}%"

    def y_of(self, value: float) -> float:
        """Return a place on the vertical axis in pixels from the top."""
        if self.is_strip:
            return STRIP / 2
        if self.rows:
            return round(self.top + ROW * value + 26, 1)
        return round(self.top + self.height * (1 - self.up(value)), 1)

    # The whole, or row by row.

    def whole(self) -> Iterator[str]:
        """Yield the pieces of one SVG of the whole figure."""
        figure = self.figure
        by = f"{figure.y.label} by " if not self.rows else ""
        label = escape(printable(f"{figure.title}: {by}{figure.x.label}"))
        # The name of the first row stands below the labels, and apart from them.
        gap = _GAP if self.rows and any(level is not None for level, _ in self.labels) else 0
        self.top += gap
        top, bottom = self.top, self.top + self.height
        yield self._start(bottom + BOTTOM, f'role="img" aria-label="{label}"')
        yield from self._grid(top, bottom)
        yield from self._labels(bottom)
        if self.rows:
            yield from self._names()
        else:
            yield from self._levels()
        yield from self._guides(top - gap, bottom)
        yield from self._all_series(None)
        yield "</svg>"

    def strips(self) -> Iterator[str]:
        """Yield a name, its values in words and an SVG for each row, then the axis."""
        figure, self.is_strip = self.figure, True
        of = escape(printable(figure.y.label))
        yield f'<div class="strips" data-of="{of}">'
        if any(level is not None for level, _ in self.labels):
            yield self._start(self.top, 'class="guides" aria-hidden="true"')
            yield from self._beside_all(self.top - 2)
            yield "</svg>"
        for n, name in enumerate(figure.y.names):
            text = escape(printable(name))
            note = escape(printable(figure.y.notes[n])) if figure.y.notes else ""
            yield f'<div class="strip" data-name="{text}"><p><b>{text}</b><span>{note}</span></p>'
            yield self._start(STRIP, 'aria-hidden="true"')
            yield from self._grid(0, STRIP)
            yield from self._guides(0, STRIP)
            yield from self._all_series(n)
            yield "</svg></div>"
        yield self._start(BOTTOM, 'class="axis" aria-hidden="true"')
        yield from self._labels(0)
        yield "</svg></div>"

    def _start(self, height: float, more: str) -> str:
        return (
            f'<svg {more} xmlns="http://www.w3.org/2000/svg" width="100%" height="{height:g}" '
            'font-size="12" overflow="visible">'
        )

    # Axes, names and guides.

    def _grid(self, top: float, bottom: float) -> Iterator[str]:
        """Yield upright lines at the labels of the horizontal axis."""
        if self.figure.x.names:
            return
        yield '<g stroke="var(--line, #d8dde4)">'
        for value, _ in shown_ticks(self.across, self.figure.x):
            at = self.x_of(value)
            yield f'<line x1="{at}" x2="{at}" y1="{top:g}" y2="{bottom:g}"/>'
        yield "</g>"

    def _labels(self, top: float) -> Iterator[str]:
        """Yield the numbers or names below the horizontal axis, and its label."""
        axis = self.figure.x
        yield '<g fill="var(--soft, #5d6776)" text-anchor="middle">'
        for value, text in shown_ticks(self.across, axis):
            yield f'<text x="{self.x_of(value)}" y="{top + 16:g}">{escape(text)}</text>'
        yield f'<text x="50%" y="{top + 36:g}">{escape(printable(axis.label))}</text></g>'

    def _levels(self) -> Iterator[str]:
        """Yield the lines and numbers of the vertical axis, and its label."""
        axis = self.figure.y
        levels = [(self.y_of(v), text) for v, text in shown_ticks(self.up, axis)]
        yield '<g stroke="var(--line, #d8dde4)">'
        yield from (f'<line x1="0" x2="100%" y1="{at:g}" y2="{at:g}"/>' for at, _ in levels)
        yield '</g><g fill="var(--soft, #5d6776)" text-anchor="end">'
        for at, text in levels:
            yield f'<text x="-6" y="{at + 4:g}">{escape(text)}</text>'
        middle = self.top + self.height / 2
        yield (
            f'<text x="-46" y="{middle:g}" text-anchor="middle" '
            f'transform="rotate(-90 -46 {middle:g})">{escape(printable(axis.label))}</text></g>'
        )

    def _names(self) -> Iterator[str]:
        """Yield the names of rows, each above its row."""
        axis = self.figure.y
        yield '<g fill="var(--ink, #1c2330)">'
        for n, name in enumerate(axis.names):
            at = self.top + ROW * n + 12
            yield f'<text x="0" y="{at:g}">{escape(start_of(name, _NAME_WIDTH))}</text>'
            if axis.notes:
                note = escape(printable(axis.notes[n]))
                yield f'<text x="100%" y="{at:g}" text-anchor="end">{note}</text>'
        yield "</g>"

    def _guides(self, top: float, bottom: float) -> Iterator[str]:
        yield '<g stroke="var(--ink, #1c2330)" stroke-dasharray="4 3">'
        for guide, (level, _) in zip(self.figure.guides, self.labels, strict=True):
            if guide.x is not None:
                start = top if self.is_strip else top - _LABEL_HEIGHT * (level or 0)
                ends = (self.x_of(guide.x), start, self.x_of(guide.x), bottom)
            elif guide.y is not None:
                ends = ("0", self.y_of(guide.y), "100%", self.y_of(guide.y))
            else:
                low = max(self.across.low, self.up.low)
                high = min(self.across.high, self.up.high)
                ends = (self.x_of(low), self.y_of(low), self.x_of(high), self.y_of(high))
            x1, y1, x2, y2 = ends
            yield f'<line x1="{x1}" y1="{y1:g}" x2="{x2}" y2="{y2:g}"/>'
        yield "</g>"
        if not self.is_strip:
            yield from self._beside_all(top - 2)

    def _beside_all(self, top: float) -> Iterator[str]:
        """Yield the labels of guides: above the drawing, or of level ones at its right side."""
        yield '<g class="guide" fill="var(--ink, #1c2330)" text-anchor="end">'
        taken: list[float] = []
        for guide, (level, starts) in zip(self.figure.guides, self.labels, strict=True):
            text = escape(printable(guide.label))
            if guide.x is not None and level is not None:
                side = 'dx="4" text-anchor="start"' if starts else 'dx="-4"'
                at = f'x="{self.x_of(guide.x)}" y="{top - _LABEL_HEIGHT * level:g}"'
                yield f"<text {at} {side}>{text}</text>"
            elif guide.y is not None and text:
                at_y = self.y_of(guide.y) - 4
                # Below its line where another label is in its place above it.
                at_y += 16 if any(abs(at_y - y) < _LABEL_HEIGHT for y in taken) else 0
                taken.append(at_y)
                yield f'<text x="100%" y="{at_y:g}">{text}</text>'
        yield "</g>"

    # Series.

    def _all_series(self, row: int | None) -> Iterator[str]:
        """Yield every series, or the parts of them that are in a row."""
        stacks: dict[float, float] = {}
        for n, series in enumerate(self.figure.series):
            colour = colour_of(series, n)
            places = [m for m in range(len(series.x)) if row is None or series.y[m] == row]
            yield f'<g fill="{colour}" stroke="{colour}">'
            if series.kind == "points":
                yield from self._points(series, places)
            elif series.kind == "line":
                yield from self._line(series, places)
            else:
                yield from self._bars(series, places, stacks)
            yield "</g>"

    def _points(self, series: Series, places: Sequence[int]) -> Iterator[str]:
        largest = max((s for each in self.figure.series for s in each.sizes), default=1.0) or 1.0
        for n in places[:: -(-len(places) // MAX_POINTS) or 1]:
            x, y = series.x[n], series.y[n]
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            lower = series.lower[n] if series.lower else None
            upper = series.upper[n] if series.upper else None
            yield f'<g class="point">{self._title(series, n)}'
            if lower is not None and upper is not None and math.isfinite(upper - lower):
                yield self._interval((x, y), lower, upper, series.along or self.along)
            radius = 2.5 + 8 * math.sqrt(series.sizes[n] / largest) if series.sizes else 4
            yield (
                f'<circle cx="{self.x_of(x)}" cy="{self.y_of(y):g}" r="{radius:.3g}" '
                'fill-opacity=".75"/></g>'
            )

    def _interval(self, at: tuple[float, float], lower: float, upper: float, along: str) -> str:
        if along == "x":
            x1, x2, y1, y2 = self.x_of(lower), self.x_of(upper), self.y_of(at[1]), self.y_of(at[1])
        else:
            x1, x2, y1, y2 = self.x_of(at[0]), self.x_of(at[0]), self.y_of(lower), self.y_of(upper)
        width = 7 if self.rows else 2
        return (
            f'<line x1="{x1}" x2="{x2}" y1="{y1:g}" y2="{y2:g}" stroke-width="{width}" '
            'stroke-opacity=".4" stroke-linecap="round"/>'
        )

    def _line(self, series: Series, places: Sequence[int]) -> Iterator[str]:
        """Yield a polyline, in a stretched box as it takes no percentages, and its points."""
        order = [n for n in sorted(places, key=lambda n: series.x[n])
                 if math.isfinite(series.y[n])]  # fmt: skip

        def path(values: Sequence[float], places: Sequence[int]) -> str:
            return " ".join(
                f"{1000 * self.across(series.x[n]):.1f},{1000 * (1 - self.up(values[n])):.1f}"
                for n in places
            )

        yield (
            f'<svg x="0" y="{self.top}" width="100%" height="{self.height:g}" '
            'viewBox="0 0 1000 1000" preserveAspectRatio="none" overflow="visible">'
        )
        if series.lower and series.upper:
            low = [y if v is None else v for v, y in zip(series.lower, series.y, strict=True)]
            high = [y if v is None else v for v, y in zip(series.upper, series.y, strict=True)]
            yield (
                f'<polygon points="{path(low, order)} {path(high, order[::-1])}" stroke="none" '
                'fill-opacity=".18"/>'
            )
        yield (
            f'<polyline points="{path(series.y, order)}" fill="none" stroke-width="2" '
            'vector-effect="non-scaling-stroke"/></svg>'
        )
        if len(order) <= MAX_POINTS // 10:
            for n in order:
                at = f'cx="{self.x_of(series.x[n])}" cy="{self.y_of(series.y[n]):g}"'
                yield f'<g class="point">{self._title(series, n)}<circle {at} r="3"/></g>'

    def _bars(
        self, series: Series, places: Sequence[int], stacks: dict[float, float]
    ) -> Iterator[str]:
        of, values = (series.y, series.x) if self.rows else (series.x, series.y)
        width = 70 / max(4, len(self.figure.x.names) or len(set(series.x)))
        for n in places:
            if not math.isfinite(values[n]) or values[n] == 0:
                continue
            start = stacks.get(of[n], 0.0)
            stacks[of[n]] = end = start + values[n]
            first, last = min(start, end), max(start, end)
            if self.rows:
                left, right = 100 * self.across(first), 100 * self.across(last)
                sides = left, self.y_of(of[n]) - 7, right - left, 14.0
            else:
                left = 100 * self.across(of[n]) - width / 2
                sides = left, self.y_of(last), width, self.y_of(first) - self.y_of(last)
            x, y, wide, high = sides
            box = f'x="{x:.2f}%" y="{y:.4g}" width="{wide:.2f}%" height="{high:.4g}"'
            yield f'<g class="point">{self._title(series, n)}<rect {box} stroke="none"/></g>'

    def _title(self, series: Series, n: int) -> str:
        if series.labels:
            text = series.labels[n]
        else:
            x, y = self.figure.x, self.figure.y
            texts = (f"{axis.label}: {axis_text(axis, values[n])}"
                     for axis, values in ((x, series.x), (y, series.y)))  # fmt: skip
            text = "\n".join([*([series.name] if series.name else []), *texts])
        return f"<title>{escape(_lines(text))}</title>"


def _legend(named: Sequence[tuple[str, str]]) -> Iterator[str]:
    if named:
        yield '<ul class="legend">'
        for name, colour in named:
            text = escape(printable(name))
            yield f'<li><i style="background: {colour}"></i>{text}</li>'
        yield "</ul>"


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
