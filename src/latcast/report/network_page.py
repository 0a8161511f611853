"""A page on the forecast of one network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._html import Markup, page, tag
from ._model_section import model_section
from ._roofline import roofline
from ._style import BOUND_COLOURS, KIND_COLOURS, OTHER_COLOUR, STYLE
from .text import bytes_text, count_text, doubt_text, ms_beside, ms_text

MOST_KERNELS = 25
LEAST_SHARE = 0.01
"""Of the milliseconds, for a colour of its own."""

Record = Mapping[str, Any]


def network_page(record: Record) -> str:
    """One HTML file that needs no other and runs nothing; what the record says is escaped.

    Args:
        record: of :func:`latcast.models.forecast.network_record`.
    """
    network, devices = record["network"], record["devices"]
    return page(
        f"{network['name']}: latency forecast",
        STYLE,
        tag("h1", network["name"]),
        _costs(network),
        tag("h2", "Forecast"),
        *_headlines(record),
        tag("h2", "Where the milliseconds go"),
        *_kinds(devices),
        tag("h2", "Roofline"),
        *_rooflines(devices),
        tag("h2", "The most expensive kernels"),
        _kernels(devices),
        tag("h2", "What is not covered"),
        *_coverage(record),
        tag("h2", "How the forecast was made"),
        *(model_section(d) for d in devices),
    )


def _costs(network: Record) -> Markup:
    figures = (
        (count_text(network["layers"]), "layers"),
        (count_text(network["kernels"]), "kernels"),
        (count_text(network["macs"]), "multiply-accumulates"),
        (count_text(network["params"]), "parameters"),
        (bytes_text(network["param_bytes"]), "of weights read"),
        (bytes_text(network["activation_bytes"]), "of activations moved"),
    )
    tiles = [tag("div", tag("b", number), tag("span", word)) for number, word in figures]
    return tag("div", *tiles, class_="tiles")


def _headlines(record: Record) -> Iterator[Markup]:
    """Milliseconds and interval of every device, on one scale from 0."""
    devices = record["devices"]
    end_ms = 1.05 * max(d["upper_ms"] for d in devices)
    coverage = f"{100 * record['coverage']:g} % interval"
    for d in devices:
        samples = f", {ms_text(d['per_sample_ms'])} a sample" if d["batch"] > 1 else ""
        interval = f"{ms_text(d['lower_ms'])} – {ms_text(d['upper_ms'])} ms ({coverage}){samples}"
        left, width = d["lower_ms"] / end_ms, (d["upper_ms"] - d["lower_ms"]) / end_ms
        bar = tag("i", style=f"left: {left:.2%}; width: {width:.2%}")
        mark = tag("u", style=f"left: {d['latency_ms'] / end_ms:.2%}")
        yield tag(
            "div",
            tag(
                "div",
                tag("b", d["target"]),
                tag("span", f"{ms_text(d['latency_ms'])} ms", class_="ms"),
                class_="headline",
            ),
            tag("div", bar, mark, class_="scale", title=interval),
            tag("div", interval, class_="soft"),
            _seen(d),
            class_="device",
        )
    yield tag("div", tag("span", "0"), tag("span", f"{ms_text(end_ms)} ms"), class_="axis")


def _seen(device: Record) -> Markup:
    share = device["doubtful_share"]
    text = "The model has seen the like of every kernel."
    if device["doubts"]:
        text = f"{_percent(share)} of the ms are of kernels unlike those that the model has seen."
    return tag("div", text, class_="warn" if share > 0.1 else "soft")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _kinds(devices: Sequence[Record]) -> Iterator[Markup]:
    """Of every device a bar by kind of kernel, and one by what kernels wait for."""
    for d in devices:
        yield tag("h3", d["target"])
        yield from _stacked(d["share_by_kind"], KIND_COLOURS, d["latency_ms"])
        yield tag("p", "by what the kernels wait for:", class_="soft")
        yield from _stacked(d["share_by_bound"], BOUND_COLOURS, d["latency_ms"])


def _stacked(
    shares: Mapping[str, float], colours: Mapping[str, str], total_ms: float
) -> Iterator[Markup]:
    """A bar of shares with its legend; the small ones are one."""
    large = {name: s for name, s in shares.items() if s >= LEAST_SHARE}
    rest = sum(shares.values()) - sum(large.values())
    parts = [(name, s, colours.get(name, OTHER_COLOUR)) for name, s in large.items()]
    if rest > 1e-9:
        parts.append(("other", rest, OTHER_COLOUR))
    bar = [
        tag("div", style=f"flex: {s:.5f}; background: {c}", title=f"{name} {_percent(s)}")
        for name, s, c in parts
    ]
    legend = [
        tag(
            "span",
            tag("i", style=f"background: {c}"),
            f"{name.replace('_', ' ')} {ms_text(s * total_ms)} ms ({_percent(s)})",
        )
        for name, s, c in parts
    ]
    yield tag("div", *bar, class_="stack")
    yield tag("div", *legend, class_="legend")


def _rooflines(devices: Sequence[Record]) -> Iterator[Markup]:
    yield tag(
        "p",
        "A circle for each kernel, its area by milliseconds. A kernel below the line waits for "
        "something; one above it reads from caches what counts as moved here.",
        class_="soft",
    )
    for d in devices:
        yield tag("h3", d["target"])
        drawing = roofline(d["kernels"], d["specification"])
        yield (
            tag("p", "no kernel multiplies")
            if drawing is None
            else tag("div", drawing, class_="wide")
        )
        yield tag("p", _about_roof(d), class_="soft")


def _about_roof(device: Record) -> str:
    rest = sum(k["share"] for k in device["kernels"] if not k["macs"])
    undrawn = f"Kernels without multiply-accumulates, {_percent(rest)} of the ms, are not drawn."
    found = device["specification"]
    if not found:
        return f"The catalogue of devices has no peaks of this one. {undrawn}"
    if not found["peak_flops"]:
        title = found["title"]
        return f"The catalogue of devices has no peak of {title} in this precision. {undrawn}"
    whole = f"{found['title']} can do with all of its {found['cores']} cores"
    return f"The line is what {whole}. {undrawn}"


def _kernels(devices: Sequence[Record]) -> Markup:
    """Kernels by the milliseconds of the first device, with those of the others beside."""
    first, *others = devices
    rows = sorted(first["kernels"], key=lambda k: -k["ms"])[:MOST_KERNELS]
    times = [ms_beside(first["kernels"], d["kernels"]) for d in others]
    numeric = [f"ms, {d['target']}" if others else "ms" for d in devices]
    numeric += ["%", "MACs", "bytes", "GFLOP/s"]
    head = [tag("th", "kernel"), tag("th", "operators")]
    head += [tag("th", name, class_="number") for name in numeric]
    head += [tag("th", "waits for"), tag("th", "doubt")]
    body = [_row(k, [t.get(k["name"]) for t in times]) for k in rows]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", table, class_="wide")


def _row(kernel: Record, other_ms: Iterable[float | None]) -> Markup:
    numbers = [
        ms_text(kernel["ms"]),
        *("–" if ms is None else ms_text(ms) for ms in other_ms),
        f"{100 * kernel['share']:.1f}",
        count_text(kernel["macs"]),
        bytes_text(kernel["moved_bytes"]),
        f"{kernel['gflop_s']:.3g}" if kernel["macs"] else "–",
    ]
    return tag(
        "tr",
        tag("td", kernel["name"], class_="name", title=kernel["name"]),
        tag("td", kernel["operators"], class_="name", title=kernel["operators"]),
        *(tag("td", n, class_="number") for n in numbers),
        tag("td", kernel["bound"]),
        tag("td", kernel["doubt"] or "", class_="warn"),
    )


def _coverage(record: Record) -> Iterator[Markup]:
    uncosted = record["uncosted"]
    if not uncosted["layers"]:
        yield tag("p", "Every operator of the network has a known cost.")
    else:
        share = f"{uncosted['layers']} layers, {_percent(uncosted['share'])} of all"
        yield tag("p", f"The cost of {share}, is not known and is estimated:", class_="warn")
        yield tag(
            "ul", *(tag("li", _operator(o, record["devices"])) for o in uncosted["operators"])
        )
    for d in record["devices"]:
        yield tag("h3", d["target"])
        if d["doubts"]:
            yield tag("p", "Outside of what the model has seen:")
            yield tag("ul", *(tag("li", doubt_text(doubt)) for doubt in d["doubts"]))
        else:
            yield tag("p", "The model has seen the like of every kernel.")


def _operator(operator: Record, devices: Sequence[Record]) -> str:
    shares = [d["uncosted_share"].get(operator["operator"], 0.0) for d in devices]
    shapes = operator["unknown"] == "shapes"
    unknown = "its shapes are not known" if shapes else "the operator is not known"
    estimated = " / ".join(map(_percent, shares))
    return f"{operator['operator']} x {operator['layers']} ({unknown}): {estimated} of the ms"
