"""A page on the forecast of one network: what the templates show, worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, floor, log10, sqrt
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from .drawing import DRAWN, forecast_drawing
from .markup import breaks
from .page import environment, split
from .record import Column, Section, Table
from .text import (
    KIND_COLOURS,
    OTHER_COLOUR,
    SCORES,
    bound_text,
    bytes_text,
    count_text,
    extrapolation_text,
    families_rows,
    ms_beside,
    ms_text,
    shape_text,
    sides_text,
)

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
# Kernels: the cheapest of a larger network would only be dots under dots.
MAX_DRAWN = 400

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
        """Return where a point is drawn."""
        (x0, x1), (y0, y1) = self.x, self.y
        right = (log10(intensity) - x0) / (x1 - x0)
        up = (log10(gflop_s) - y0) / (y1 - y0)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def roofline(
    kernels: Sequence[Mapping[str, Any]], specification: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return GFLOP/s by FLOP per byte moved, a circle for each kernel, its area by milliseconds.

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
    """Return FLOP per byte and GFLOP/s of the roof's corner, or None where it is not known."""
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
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:g}"


def _roof(axes: _Axes, corner: Point) -> dict[str, Any]:
    """Return the roof inside of the axes, and the places of its labels."""
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
        "slope_at": ((x0 + x1) / 2 - 8, (y0 + y1) / 2 - 8),
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


MAX_KERNELS = 25
# Characters of a fact of a model beyond which a table has no room for it.
_SHORT_FACT = 24

# Of a model's card, in the order in which they are shown.
_SCORES = ("mape", "median_error", "within_10", "within_25", "coverage_90")

Record = Mapping[str, Any]
Fact = tuple[str, str]


@cache
def templates() -> Environment:
    """Return the templates of pages, with filters that write the values of records."""
    made = environment()
    filters: dict[str, Callable[..., str]] = {
        "ms": ms_text,
        "count": count_text,
        "bytes": bytes_text,
        "percent": lambda share: f"{100 * share:.1f} %",
        "px": lambda value: f"{value:.5g}",
        "extrapolation": extrapolation_text,
        "bound": bound_text,
        "shape": shape_text,
        "sides": sides_text,
        "breaks": lambda text: Markup(breaks(text)),  # noqa: S704  # which has escaped it
    }
    made.filters.update(filters)
    return made


def network_sections(record: Record) -> Iterator[Section]:
    """Yield the sections of a page on a network's forecast; texts of the record are escaped.

    Args:
        record: of :class:`latcast.models.forecast_records.NetworkForecast`, as JSON, with the
            devices that are answered.
    """
    devices = record["devices"]
    drawings = [draw_roofline(d["kernels"], d["specification"]) for d in devices]
    body = templates().get_template("network.html.j2").render(
        network=record["network"],
        inputs=record["inputs"],
        notes=record["notes"],
        devices=devices,
        unsupported=record["uncosted"],
        drawings=drawings,
        undrawn=[sum(k["share"] for k in d["kernels"] if not k["macs"]) for d in devices],
        kernels=_kernels(devices),
        headings=short_names([d["target"] for d in devices]),
        facts=_shared([d["target"] for d in devices], [dict(_facts(d["model"])) for d in devices]),
        is_extrapolated=any(k["doubt"] for k, _ in _kernels(devices)),
        families=[_families(d["model"].get("metrics_by_family")) for d in devices],
    )  # fmt: skip
    drawing = forecast_drawing(record)
    for heading, parts in split(body):
        if heading == "Roofline" and drawing is not None:
            yield DRAWN, [drawing]
        yield heading, parts


def draw_roofline(kernels: Sequence[Record], specification: Record | None) -> Markup | None:
    """Return a roofline as SVG, or None where no kernel multiplies.

    Args:
        kernels: of a device's record.
        specification: its peaks, whose roof is drawn; or None.
    """
    found = roofline(kernels, specification)
    if found is None:
        return None
    drawn = templates().get_template("roofline.svg.j2").render(found)
    return Markup(drawn)  # noqa: S704  # of our own template, which escapes


def _kernels(devices: Sequence[Record]) -> list[tuple[Record, list[float | None]]]:
    """Return kernels by the milliseconds of the first device, with those of all devices."""
    first = devices[0]["kernels"]
    times = [ms_beside(first, d["kernels"]) for d in devices[1:]]
    rows = sorted(first, key=lambda k: -k["ms"])[:MAX_KERNELS]
    return [(k, [k["ms"], *(t.get(k["name"]) for t in times)]) for k in rows]


def short_names(targets: Sequence[str]) -> list[str]:
    """Return targets without the parts that all of them have, but with their devices.

    A narrow column has no room for more: of ``a/pytorch/b1`` and ``a/pytorch/b1/fp16`` they are
    ``a`` and ``a/fp16``.
    """
    rests = [target.split("/")[1:] for target in targets]
    shared = set(rests[0]).intersection(*rests)
    return [
        "/".join([target.partition("/")[0], *(part for part in rest if part not in shared)])
        for target, rest in zip(targets, rests, strict=True)
    ]


def _shared(
    targets: Sequence[str], facts: Sequence[Mapping[str, str]]
) -> tuple[list[Fact], Markup | None, list[list[Fact]]]:
    """Return the facts that all cards have alike, and those of each; empty ones are left out.

    Facts of each are a table where they are short, else a list for each.
    """
    alike = {word for word in facts[0] if len({own[word] for own in facts}) == 1}
    shared = [(word, text) for word, text in facts[0].items() if word in alike and text]
    own = [[(w, t) for w, t in each.items() if w not in alike and t] for each in facts]
    longest = max((len(text) for each in own for _, text in each), default=0)
    if not 0 < longest <= _SHORT_FACT:
        return shared, None, own
    words = [word for word in facts[0] if word not in alike]
    columns = [Column("target", "target"), *(Column(word, word) for word in words)]
    rows = [{"target": t, **each} for t, each in zip(targets, facts, strict=True)]
    return shared, Markup(Table(columns, rows).to_html()), [[] for _ in facts]  # noqa: S704


def _facts(card: Record) -> Iterator[Fact]:
    """Return the facts of a model's card."""
    data = card.get("data") or []
    datasets = data if isinstance(data, list) else [data]
    yield "data", "; ".join(str(d["source"]) for d in datasets if d.get("source"))
    licences = dict.fromkeys(str(d["licence"]) for d in datasets if d.get("licence"))
    yield "licence of the data", ", ".join(licences)
    yield "measurements", str(card.get("rows", ""))
    yield "families", ", ".join(filter(None, map(str, card.get("families", ()))))
    base = card.get("base")
    yield "adapted from", str(base["target"]) if isinstance(base, dict) and "target" in base else ""
    yield "split", str(card.get("split", ""))
    for name in _SCORES:
        score = (card.get("metrics") or {}).get(name)
        yield SCORES[name], "" if score is None else f"{score:.3g}"
    yield "note", str(card.get("note", ""))


def _families(scores: Mapping[str, Mapping[str, float]] | None) -> Markup | None:
    if not scores:
        return None
    names = [n for n in _SCORES if any(n in s for s in scores.values())]
    columns = [Column("family", "family"), *(Column(SCORES[n], n, ".3g") for n in names)]
    table = Table(columns, families_rows(scores)).to_html()
    return Markup(table)  # noqa: S704  # which has escaped its cells
