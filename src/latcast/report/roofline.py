"""A roofline: what kernels reach, against what the device could."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from typing import Any

from .text import KIND_COLOURS, OTHER_COLOUR

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
MAX_DRAWN = 400
"""Kernels: the cheapest of a larger network would only be dots under dots."""

Point = tuple[float, float]


@dataclass(frozen=True)
class _Axes:
    """Decades of both axes.

    Attributes:
        x: first and last exponent of FLOP per byte.
        y: likewise of GFLOP/s.
    """

    x: tuple[int, int]
    y: tuple[int, int]

    def at(self, intensity: float, gflop_s: float) -> Point:
        """Where a point is drawn."""
        (x0, x1), (y0, y1) = self.x, self.y
        right = (log10(intensity) - x0) / (x1 - x0)
        up = (log10(gflop_s) - y0) / (y1 - y0)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def roofline(
    kernels: Sequence[Mapping[str, Any]], specification: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """GFLOP/s by FLOP per byte moved, one circle a kernel, its area by milliseconds.

    Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
    multicore architectures* (2009).

    Args:
        kernels: of a device's record.
        specification: its peaks, whose roof is drawn; or None.

    Returns:
        What the template ``roofline.svg.j2`` draws; None where no kernel multiplies.
    """
    drawn = sorted((k for k in kernels if k["macs"] and k["moved_bytes"]), key=lambda k: -k["ms"])
    drawn = drawn[:MAX_DRAWN]
    if not drawn:
        return None
    ridge = _ridge(specification)
    points = [(2 * k["macs"] / k["moved_bytes"], k["gflop_s"]) for k in drawn]
    axes = _axes([*points, *([] if ridge is None else [ridge])])
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "middle": (TOP + HEIGHT - BOTTOM) / 2,
        "across": [(axes.at(10.0**n, 10.0 ** axes.y[0])[0], _power(n)) for n in _each(axes.x)],
        "up": [(axes.at(10.0 ** axes.x[0], 10.0**n)[1], _power(n)) for n in _each(axes.y)],
        "roof": None if ridge is None else _roof(axes, ridge),
        "circles": [
            _circle(axes, k, p, drawn[0]["ms"]) for k, p in zip(drawn, points, strict=True)
        ],
    }


def _ridge(specification: Mapping[str, Any] | None) -> Point | None:
    """FLOP per byte and GFLOP/s where the roof has its corner; None where it is not known."""
    if not specification or not specification["peak_flops"]:
        return None
    peak = specification["peak_flops"] / 1e9
    return peak / specification["bandwidth_gb_s"], peak


def _axes(points: Iterable[Point]) -> _Axes:
    intensities, rates = zip(*points, strict=True)
    return _Axes(_decades(intensities), _decades(rates))


def _decades(values: Iterable[float]) -> tuple[int, int]:
    exponents = [log10(v) for v in values]
    first, last = floor(min(exponents)), ceil(max(exponents) + 0.05)
    return first, max(last, first + 1)


def _each(decades: tuple[int, int]) -> range:
    return range(decades[0], decades[1] + 1)


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}" if -3 <= exponent <= 4 else f"1e{exponent}"


def _roof(axes: _Axes, corner: Point) -> dict[str, Any]:
    """The roof inside of the axes, with where its labels stand."""
    ridge, peak = corner
    lowest = min(max(10.0 ** axes.x[0], ridge / peak * 10.0 ** axes.y[0]), ridge)
    path = [(lowest, peak / ridge * lowest), corner, (max(10.0 ** axes.x[1], ridge), peak)]
    corners = [axes.at(*point) for point in path]
    (x0, y0), (x1, y1), (x2, y2) = corners
    return {
        "corners": corners,
        "peak": peak,
        "peak_at": (x2 - 4, y2 - 5),
        "slope": peak / ridge,
        "slope_at": ((x0 + x1) / 2 + 8, (y0 + y1) / 2 + 14),
    }


def _circle(
    axes: _Axes, kernel: Mapping[str, Any], point: Point, largest_ms: float
) -> dict[str, Any]:
    x, y = axes.at(*point)
    return {
        "kernel": kernel,
        "x": x,
        "y": y,
        "radius": 2.5 + 9 * sqrt(kernel["ms"] / largest_ms),
        "colour": KIND_COLOURS.get(kernel["kind"], OTHER_COLOUR),
    }
