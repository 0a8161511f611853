"""A page on the forecast of one network: what the templates show, worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from .axis import Axis
from .drawing import DRAWN, forecast_drawing
from .figure import Figure, Series
from .markup import printable
from .page import environment, split
from .record import Section
from .table import Column, Table
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

# Kernels: the cheapest of a larger network would only be dots under dots.
MAX_DRAWN = 400
MAX_KERNELS = 25
# Characters of a fact of a model beyond which a table has no room for it.
_SHORT_FACT = 24

# The section of the template before which the network and its rooflines are drawn.
_AFTER_DRAWINGS = "Unsupported operators and extrapolation"
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
        "extrapolation": extrapolation_text,
        "bound": bound_text,
        "shape": shape_text,
        "sides": sides_text,
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
    body = templates().get_template("network.html.j2").render(
        network=record["network"],
        inputs=record["inputs"],
        notes=record["notes"],
        devices=devices,
        unsupported=record["uncosted"],
        kernels=_kernels(devices),
        headings=short_names([d["target"] for d in devices]),
        facts=_shared([d["target"] for d in devices], [dict(_facts(d["model"])) for d in devices]),
        is_extrapolated=any(k["doubt"] for k, _ in _kernels(devices)),
        families=[_families(d["model"].get("metrics_by_family")) for d in devices],
    )  # fmt: skip
    drawing = forecast_drawing(record)
    for heading, parts in split(body):
        if heading == _AFTER_DRAWINGS:
            if drawing is not None:
                yield DRAWN, [drawing]
            yield "Roofline", list(_rooflines(devices))
        yield heading, parts


def roofline(
    title: str,
    kernels: Sequence[Record],
    specification: Record | None,
    most: int = MAX_DRAWN,
) -> Figure | None:
    """Draw GFLOP/s by FLOP per byte moved, a circle for each kernel, its area by milliseconds.

    Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
    multicore architectures* (2009).

    Args:
        title: of the figure.
        kernels: of a device's record.
        specification: its peaks, whose roof is drawn; or None.
        most: kernels to draw, those of the most milliseconds.

    Returns:
        None where no kernel multiplies.
    """
    drawn = sorted((k for k in kernels if k["macs"] and k["moved_bytes"]), key=lambda k: -k["ms"])
    left = len(drawn) - most
    drawn = drawn[:most]
    if not drawn:
        return None
    series = [
        _circles(kind, [k for k in drawn if k["kind"] == kind])
        for kind in dict.fromkeys(k["kind"] for k in drawn)
    ]
    intensities = [_intensity(k) for k in drawn]
    series += _roof(specification, min(intensities), max(intensities))
    x = Axis("FLOP per byte of memory traffic", log=True)
    left_out = sum(k["share"] for k in kernels if not k["macs"])
    caption = (
        f"{_roof_text(specification)} Kernels without multiply-accumulates, "
        f"{100 * left_out:.1f} % of the ms, are not drawn."
        + (f" Of the others the {most} most expensive are." if left > 0 else "")
    )
    return Figure(title, x, Axis("GFLOP/s", log=True), tuple(series), caption=caption)


def _intensity(kernel: Record) -> float:
    """Return FLOP per byte of memory traffic."""
    return float(2 * kernel["macs"] / kernel["moved_bytes"])


def _circles(kind: str, kernels: Sequence[Record]) -> Series:
    labels = [
        f"{k['name']}\n{k['operators']}\n{ms_text(k['ms'])} ms, {count_text(k['macs'])} MACs, "
        f"{count_text(1e9 * k['gflop_s'])}FLOP/s"
        for k in kernels
    ]
    return Series(
        kind.replace("_", " "), [_intensity(k) for k in kernels], [k["gflop_s"] for k in kernels],
        sizes=[k["ms"] for k in kernels], labels=labels,
        colour=KIND_COLOURS.get(kind, OTHER_COLOUR),
    )  # fmt: skip


def _roof(specification: Record | None, least: float, most: float) -> Iterator[Series]:
    """Yield what a device can do from one intensity to another, FLOP per byte, if it is known."""
    if specification and specification["peak_flops"]:
        peak, gb_s = specification["peak_flops"] / 1e9, specification["bandwidth_gb_s"]
        ridge = peak / gb_s
        x = [min(least, ridge), ridge, max(most, ridge)]
        y = [min(gb_s * each, peak) for each in x]
        labels = [f"{bytes_text(1e9 * gb_s)}/s, {count_text(1e9 * peak)}FLOP/s"] * 3
        yield Series("the device", x, y, "line", labels=labels, colour="var(--ink, #1c2330)")


def _roof_text(specification: Record | None) -> str:
    if not specification:
        return "The catalogue of devices has no peaks of this one."
    title = specification["title"]
    if not (peak := specification["peak_flops"]):
        return f"The catalogue of devices has no peak of {title} in this precision."
    return (
        f"The line is what {title} can do with all of its {specification['cores']} cores: "
        f"{bytes_text(1e9 * specification['bandwidth_gb_s'])}/s, {count_text(peak)}FLOP/s."
    )


def _rooflines(devices: Sequence[Record]) -> Iterator[Markup | Figure | str]:
    """Yield the parts of the section on rooflines, a figure for each device."""
    yield Markup(
        '<p class="soft">A circle for each kernel, its area by milliseconds. A kernel below the '
        "line does not reach what the device can do; one above it reads from caches what counts "
        "as memory traffic here.</p>"
    )
    most = MAX_DRAWN // len(devices)
    for device in devices:
        if len(devices) > 1:
            yield Markup("<h3>{}</h3>").format(printable(device["target"]))
        title = f"Roofline of {device['target']}"
        found = roofline(title, device["kernels"], device["specification"], most)
        yield "no kernel multiplies" if found is None else found


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
