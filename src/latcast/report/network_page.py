"""A page on the forecast of one network: what the templates show, worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .roofline import roofline
from .table import Column, Table
from .text import (
    KIND_COLOURS,
    OTHER_COLOUR,
    SCORES,
    bound_text,
    bytes_text,
    count_text,
    doubt_text,
    families_rows,
    ms_beside,
    ms_text,
    printable,
)

MAX_KERNELS = 25
MIN_SHARE = 0.01
"""Of the milliseconds, for a colour of its own."""

BOUND_COLOURS = {
    "compute": "#4477cc",
    "memory": "#dd7733",
    "launch": "#66a344",
    "unknown": "#d03030",
}
"""What kernels are bound by -> colour."""

_SCORES = ("mape", "median_error", "within_10", "within_25", "coverage_90")
"""Of a model's card, in the order in which they are shown."""

Record = Mapping[str, Any]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Templates whose values are escaped; names in files may hold what is no HTML, either."""
    made = Environment(
        loader=PackageLoader("latcast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    filters: dict[str, Callable[..., str]] = {
        "ms": ms_text,
        "count": count_text,
        "bytes": bytes_text,
        "percent": lambda share: f"{100 * share:.1f} %",
        "px": lambda value: f"{value:.5g}",
        "doubt": doubt_text,
        "bound": bound_text,
    }
    made.filters.update(filters)
    return made


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def network_page(record: Record) -> str:
    """One HTML file that needs no other and runs nothing; what the record says is escaped.

    Args:
        record: of :class:`latcast.models.forecast_records.NetworkForecast`, as JSON, with the
            devices that are answered.
    """
    devices = record["devices"]
    drawings = [draw_roofline(d["kernels"], d["specification"]) for d in devices]
    return environment().get_template("network.html.j2").render(
        network=record["network"],
        devices=devices,
        coverage=record["coverage"],
        uncosted=record["uncosted"],
        end_ms=1.05 * max(d["upper_ms"] for d in devices),
        bars=[
            {
                "kinds": _parts(d["share_by_kind"], KIND_COLOURS),
                "bounds": _parts(
                    {bound_text(b): share for b, share in d["share_by_bound"].items()},
                    BOUND_COLOURS,
                ),
            }
            for d in devices
        ],
        drawings=drawings,
        undrawn=[sum(k["share"] for k in d["kernels"] if not k["macs"]) for d in devices],
        kernels=_kernels(devices),
        facts=[[(word, text) for word, text in _facts(d["model"]) if text] for d in devices],
        families=[_families(d["model"].get("metrics_by_family")) for d in devices],
    )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a bar.

    Attributes:
        name: what it is of.
        share: of the bar, 0 to 1.
        colour: of CSS.
    """

    name: str
    share: float
    colour: str


def _parts(shares: Mapping[str, float], colours: Mapping[str, str]) -> list[Part]:
    """A bar of shares; the small ones are one."""
    large = {name: s for name, s in shares.items() if s >= MIN_SHARE}
    rest = sum(shares.values()) - sum(large.values())
    parts = [Part(name, s, colours.get(name, OTHER_COLOUR)) for name, s in large.items()]
    return [*parts, Part("other", rest, OTHER_COLOUR)] if rest > 1e-9 else parts


def draw_roofline(kernels: Sequence[Record], specification: Record | None) -> Markup | None:
    """A roofline as SVG; None where no kernel multiplies.

    Args:
        kernels: of a device's record.
        specification: its peaks, whose roof is drawn; or None.
    """
    found = roofline(kernels, specification)
    if found is None:
        return None
    drawn = environment().get_template("roofline.svg.j2").render(found)
    return Markup(drawn)  # noqa: S704  # of our own template, which escapes


def _kernels(devices: Sequence[Record]) -> list[tuple[Record, list[float | None]]]:
    """Kernels by the milliseconds of the first device, with those of all devices."""
    first = devices[0]["kernels"]
    times = [ms_beside(first, d["kernels"]) for d in devices[1:]]
    rows = sorted(first, key=lambda k: -k["ms"])[:MAX_KERNELS]
    return [(k, [k["ms"], *(t.get(k["name"]) for t in times)]) for k in rows]


def _facts(card: Record) -> Iterator[tuple[str, str]]:
    """What a model's card says."""
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
