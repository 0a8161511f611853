"""A roofline as SVG: what kernels reach, against what the device could."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from typing import Any

from ._html import Markup, tag
from ._style import KIND_COLOURS, OTHER_COLOUR
from .text import count_text, ms_text

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
_GRID = {"class_": "grid", "stroke": "#cccccc"}
MOST_DRAWN = 400
"""Kernels: the cheapest of a larger network would only be dots under dots."""


@dataclass(frozen=True)
class _Axes:
    """Decades of both axes.

    Attributes:
        x: first and last exponent of FLOP per byte.
        y: likewise of GFLOP/s.
    """

    x: tuple[int, int]
    y: tuple[int, int]

    def at(self, intensity: float, gflop_s: float) -> tuple[float, float]:
        """Pixels of a point."""
        (x0, x1), (y0, y1) = self.x, self.y
        right = (log10(intensity) - x0) / (x1 - x0)
        up = (log10(gflop_s) - y0) / (y1 - y0)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def roofline(
    kernels: Sequence[Mapping[str, Any]], specification: Mapping[str, Any] | None
) -> Markup | None:
    """GFLOP/s by FLOP per byte moved, one circle a kernel, its area by milliseconds.

    Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
    multicore architectures* (2009).

    Args:
        kernels: of a device's record.
        specification: its peaks, whose roof is drawn; or None.

    Returns:
        The drawing; None where no kernel multiplies.
    """
    drawn = sorted((k for k in kernels if k["macs"] and k["moved_bytes"]), key=lambda k: -k["ms"])
    drawn = drawn[:MOST_DRAWN]
    if not drawn:
        return None
    roof = _roof(specification)
    points = [(_intensity(k), k["gflop_s"]) for k in drawn]
    axes = _axes([*points, *roof[1:2]])
    largest = drawn[0]["ms"]
    return tag(
        "svg",
        *_grid(axes),
        *_roof_lines(axes, roof),
        *(_circle(axes, k, p, largest) for k, p in zip(drawn, points, strict=True)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="GFLOP/s by FLOP per byte moved, of every kernel",
        xmlns="http://www.w3.org/2000/svg",
        fill="#777777",
        font_size=12,
    )


def _intensity(kernel: Mapping[str, Any]) -> float:
    return float(2 * kernel["macs"] / kernel["moved_bytes"])


def _roof(specification: Mapping[str, Any] | None) -> list[tuple[float, float]]:
    """Three points of the roof: on the slope, at the ridge, on the flat; none where unknown."""
    if not specification or not specification["peak_flops"]:
        return []
    peak = specification["peak_flops"] / 1e9
    ridge = peak / specification["bandwidth_gb_s"]
    return [(ridge * 1e-9, peak * 1e-9), (ridge, peak), (ridge * 1e9, peak)]


def _axes(points: Iterable[tuple[float, float]]) -> _Axes:
    intensities, rates = zip(*points, strict=True)
    return _Axes(_decades(intensities), _decades(rates))


def _decades(values: Iterable[float]) -> tuple[int, int]:
    exponents = [log10(v) for v in values]
    first, last = floor(min(exponents)), ceil(max(exponents) + 0.05)
    return first, max(last, first + 1)


def _grid(axes: _Axes) -> Iterable[Markup]:
    """A line and a label for each decade, and what the axes are."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for n in range(axes.x[0], axes.x[1] + 1):
        x, _ = axes.at(10.0**n, 10.0 ** axes.y[0])
        yield tag("line", x1=x, x2=x, y1=TOP, y2=bottom, **_GRID)
        yield tag("text", _power(n), x=x, y=bottom + 16, text_anchor="middle")
    for n in range(axes.y[0], axes.y[1] + 1):
        _, y = axes.at(10.0 ** axes.x[0], 10.0**n)
        yield tag("line", x1=LEFT, x2=right, y1=y, y2=y, **_GRID)
        yield tag("text", _power(n), x=LEFT - 6, y=y + 4, text_anchor="end")
    middle = (TOP + bottom) / 2
    yield tag("text", "FLOP a byte moved", x=(LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle")
    turned = f"rotate(-90 14 {middle:g})"
    yield tag("text", "GFLOP/s", x=14, y=middle, text_anchor="middle", transform=turned)


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -3 <= exponent <= 4 else f"1e{exponent}"


def _roof_lines(axes: _Axes, roof: Sequence[tuple[float, float]]) -> Iterable[Markup]:
    """The roof inside of the axes, with a word on each of its parts."""
    if not roof:
        return
    ridge, peak = roof[1]
    lowest = max(10.0 ** axes.x[0], ridge / peak * 10.0 ** axes.y[0])
    path = [(min(lowest, ridge), peak / ridge * min(lowest, ridge)), roof[1]]
    path.append((max(10.0 ** axes.x[1], ridge), peak))
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*p) for p in path))
    yield tag("polyline", points=corners, class_="roof", fill="none", stroke="#666666")
    x, y = axes.at(*path[2])
    label = f"{peak:.4g} GFLOP/s"
    yield tag("text", label, x=x - 4, y=y - 5, text_anchor="end")
    (x0, y0), (x1, y1) = axes.at(*path[0]), axes.at(*roof[1])
    label = f"{peak / ridge:.4g} GB/s"
    yield tag("text", label, x=(x0 + x1) / 2 + 8, y=(y0 + y1) / 2 + 14)


def _circle(
    axes: _Axes, kernel: Mapping[str, Any], point: tuple[float, float], largest_ms: float
) -> Markup:
    x, y = axes.at(*point)
    title = (
        f"{kernel['name']}\n{kernel['operators']}\n{ms_text(kernel['ms'])} ms, "
        f"{count_text(kernel['macs'])} MACs, {kernel['gflop_s']:.3g} GFLOP/s"
    )
    colour = KIND_COLOURS.get(kernel["kind"], OTHER_COLOUR)
    radius = 2.5 + 9 * sqrt(kernel["ms"] / largest_ms)
    return tag(
        "circle", tag("title", title), cx=x, cy=y, r=radius, fill=colour,
        fill_opacity=0.55, stroke=colour,
    )  # fmt: skip
