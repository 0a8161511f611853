"""A network drawn as a graph: depth from top to bottom, repetitions folded, colours by cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from os.path import commonprefix
from typing import Any
from zlib import crc32

from markupsafe import Markup

from .folding import Box, Node, fold
from .layered import Layout, layout
from .markup import end_of, start_of
from .page import environment
from .text import (
    bound_text,
    bytes_text,
    count_text,
    ms_beside,
    ms_text,
    shape_text,
)

WIDTH, HEIGHT, PITCH, GAP = 156.0, 34.0, 54.0, 14.0
PORT = 12.0
# Characters of the first line, and of both words of the second one.
LABEL_WIDTH, SECOND_WIDTH = 21, 19
# Colours of the scale, each of which begins at about twice the last one's milliseconds.
STEPS = 8
# Boxes of one page: beyond them groups do not unfold, the cheapest ones first, so that it stays
# small. A box takes some 500 bytes.
MAX_DRAWN = 500
# Heading of the section of a page.
DRAWN = "The network as a graph"
# Measures, such as devices, that a box tells in words; its script adds the values of the others,
# which in words would make the page of a Swin Transformer on twelve devices 100 kB larger.
MAX_IN_WORDS = 4
# Names of a network's kernels that say nothing in a group's.
_SEPARATORS = "/._"

Kernel = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A quantity that boxes can be coloured by.

    Attributes:
        name: such as a device.
        values: of the kernels, in running order; 0 of one that another kernel counts.
        text: a value with its unit.
        limit: a limit of the scale with its unit.
    """

    name: str
    values: Sequence[float]
    text: Callable[[float], str]
    limit: Callable[[float], str]

    def limits(self, largest: float) -> list[float]:
        """Return where the colours after the first begin: 1, 2, 5, 10, …, to the largest value."""
        if largest <= 0:
            return [1.0] * (STEPS - 1)
        exponent = floor(log10(largest))
        series = [m * 10.0**e for e in range(exponent - 3, exponent + 1) for m in (1, 2, 5)]
        return [x for x in series if x <= largest * (1 + 1e-9)][1 - STEPS :]


@dataclass(frozen=True)
class Drawn:
    """A box of a picture.

    Attributes:
        x: left side.
        y: upper side.
        label: first line.
        shape: of what it writes.
        values: of each measure, in words.
        colours: step of the scale by measure, a digit each.
        facts: name and value of what there is to tell.
        times: how often it repeats.
        target: of a group that unfolds, the picture's id.
        is_group: whether it holds several kernels.
    """

    x: float
    y: float
    label: str
    shape: str
    values: list[str]
    colours: str
    facts: list[tuple[str, str]]
    times: int
    target: str | None
    is_group: bool


@dataclass(frozen=True)
class Picture:
    """Boxes and lines of one level.

    Attributes:
        id: of its element.
        title: of a group; empty for the whole network.
        width: in pixels.
        height: in pixels.
        boxes: in running order.
        lines: path of SVG.
        ports: middles of the dots where tensors come from and go to outside.
        groups: pictures of the groups that unfold.
        is_open: whether it is unfolded at first.
    """

    id: str
    title: str
    width: float
    height: float
    boxes: list[Drawn]
    lines: str
    ports: list[tuple[float, float]]
    groups: list[Picture] = field(default_factory=list)
    is_open: bool = False


def forecast_drawing(record: Mapping[str, Any]) -> Markup | None:
    """Draw the network of a forecast, coloured by the milliseconds of each device.

    Args:
        record: of :class:`latcast.models.forecast_records.NetworkForecast`, as JSON.

    Returns:
        HTML, whose styles and script are ``drawing.css`` and ``drawing.js`` of the templates;
        None where no device has an answer.
    """
    devices = [d for d in record["devices"] if d["error"] is None]
    if not devices:
        return None
    kernels = devices[0]["kernels"]
    short = [d["device"] for d in devices]
    names = short if len(set(short)) == len(short) else [d["target"] for d in devices]
    measures = []
    for device, title in zip(devices, names, strict=True):
        times = ms_beside(kernels, device["kernels"])
        values = [times.get(k["name"], 0.0) for k in kernels]
        measures.append(Measure(title, values, _ms, lambda ms: f"{ms:g} ms"))
    return _drawing(kernels, measures)


def inspection_drawing(record: Mapping[str, Any]) -> Markup | None:
    """Draw the network of an inspection, coloured by MACs or memory traffic.

    Args:
        record: of :class:`latcast.graph.inspection.Inspection`, as JSON.

    Returns:
        HTML as of :func:`forecast_drawing`; None where the record does not list all kernels.
    """
    kernels = _without_views(record["kernels"])
    measures = [
        Measure("MACs", [k["macs"] for k in kernels], count_text, count_text),
        Measure("memory traffic", [k["moved_bytes"] for k in kernels], bytes_text, bytes_text),
    ]
    return _drawing(kernels, measures)


def _without_views(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels that compute or move data, which read through the views before them."""
    kept: list[Kernel] = []
    handed: dict[str, tuple[str, ...]] = {}
    for kernel in kernels:
        inputs = dict.fromkeys(x for n in kernel["inputs"] for x in handed.get(n, (n,)))
        if kernel["macs"] or kernel["moved_bytes"]:
            kept.append({**kernel, "inputs": list(inputs)})
        else:
            handed[kernel["name"]] = tuple(inputs)
    return kept


def _drawing(kernels: Sequence[Kernel], measures: Sequence[Measure]) -> Markup | None:
    places = {k["name"]: n for n, k in enumerate(kernels)}
    known = [[places.get(x, len(kernels)) for x in k["inputs"]] for k in kernels]
    # A record that was sorted, or cut, does not tell the whole graph.
    if not kernels or any(x >= n for n, reads in enumerate(known) for x in reads):
        return None
    # Several networks may be on one page, where no two elements go by one name.
    told = repr([(k["name"], k["macs"]) for k in kernels] + [m.name for m in measures])
    name = f"net{crc32(told.encode()):x}"
    drawer = _Drawer(kernels, [tuple(x) for x in known], measures, name)
    drawn = environment().get_template("drawing.html.j2").render(
        picture=drawer.whole(), measures=drawer.scales(), name=name, steps=range(STEPS),
        width=WIDTH, height=HEIGHT, unfolds=bool(drawer.drawn),
    )  # fmt: skip
    return Markup(drawn)  # noqa: S704  # of our own template, which escapes


class _Drawer:
    """The pictures of one network, as they are made.

    Attributes:
        drawn: boxes that groups are drawn of so far.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        reads: Sequence[tuple[int, ...]],
        measures: Sequence[Measure],
        name: str,
    ) -> None:
        self.kernels, self.reads, self.measures, self.name = kernels, reads, measures, name
        self.readers: list[list[int]] = [[] for _ in kernels]
        for n, sources in enumerate(reads):
            for source in sources:
                self.readers[source].append(n)
        nodes = [
            Node(sources, k["operators"], _sides(k["out_shape"]),
                 (tuple(k["out_shape"] or ()), k["macs"], k["moved_bytes"]))
            for k, sources in zip(kernels, reads, strict=True)
        ]  # fmt: skip
        self.boxes = fold(nodes)
        self.totals = [sum(m.values) for m in measures]
        self.limits = [
            m.limits(max(self._sum(m, b.kernels((0,))) for b in self.boxes)) for m in measures
        ]
        self.drawn, self._ids = 0, 0

    def scales(self) -> list[dict[str, Any]]:
        """Return the name of each measure, and where its colours begin and end, in words."""
        found = []
        for measure, limits in zip(self.measures, self.limits, strict=True):
            texts = [f"< {measure.limit(limits[0])}", *(f"≥ {measure.limit(x)}" for x in limits)]
            found.append({"name": measure.name, "limits": texts})
        return found

    def whole(self) -> Picture:
        """Return the picture of the whole network, with those of its groups."""
        kept = self._unfolding()
        most = max((b for b in self.boxes if b.inside), key=self._cost, default=None)

        def picture(
            boxes: Sequence[Box], shifts: Sequence[int], title: str, *, is_open: bool
        ) -> Picture:
            self._ids += 1
            number = self._ids
            groups, targets = [], {}
            for box in boxes:
                if box in kept:
                    text = self._title(box, shifts)
                    found = picture(box.inside, box.shifts(shifts), text, is_open=box is most)
                    groups.append(found)
                    targets[box] = found.id
            return self._picture(
                boxes, shifts, f"{self.name}-{number}", title, groups, targets, is_open=is_open
            )

        return picture(self.boxes, (0,), "", is_open=True)

    def _cost(self, box: Box) -> float:
        return self._sum(self.measures[0], box.kernels((0,)))

    def _unfolding(self) -> set[Box]:
        """Return the groups whose insides are drawn: the most expensive that fit a page."""
        kept: set[Box] = set()
        waiting = [b for b in self.boxes if b.inside]
        while waiting:
            box = max(waiting, key=self._cost)
            waiting.remove(box)
            if self.drawn + len(box.inside) > MAX_DRAWN:
                break
            self.drawn += len(box.inside)
            kept.add(box)
            waiting += [b for b in box.inside if b.inside]
        return kept

    def _sum(self, measure: Measure, places: Iterable[int]) -> float:
        return sum(measure.values[n] for n in places)

    def _picture(
        self,
        boxes: Sequence[Box],
        shifts: Sequence[int],
        id: str,
        title: str,
        groups: list[Picture],
        targets: Mapping[Box, str],
        *,
        is_open: bool,
    ) -> Picture:
        reads = self._box_reads(boxes)
        widths = [PORT, *([WIDTH] * len(boxes)), PORT]
        found = layout(reads, widths, GAP)
        drawn = [
            self._box(box, shifts, x - WIDTH / 2, layer * PITCH, targets.get(box))
            for box, (x, layer) in zip(boxes, found.boxes[1:-1], strict=True)
        ]
        ports = [(x, layer * PITCH + HEIGHT / 2) for x, layer in found.boxes[:: len(boxes) + 1]]
        return Picture(
            id, title, found.width, (found.layers - 1) * PITCH + HEIGHT, drawn, _lines(found),
            ports, groups, is_open,
        )  # fmt: skip

    def _box_reads(self, boxes: Sequence[Box]) -> list[list[int]]:
        """Return the boxes that each box reads; 0 is the inputs, the last one the outputs."""
        first, last = boxes[0].first, boxes[-1].last
        owner = {n: i for i, b in enumerate(boxes, 1) for n in range(b.first, b.last)}
        reads: list[list[int]] = [[]]
        leaves = []
        for i, box in enumerate(boxes, 1):
            sources: dict[int, None] = {}
            for n in range(box.first, box.last):
                outside = not self.reads[n] or any(x < first for x in self.reads[n])
                sources |= {0: None} if outside else {}
                sources |= {owner[x]: None for x in self.reads[n] if x >= first}
                if not self.readers[n] or any(x >= last for x in self.readers[n]):
                    leaves.append(i)
            sources.pop(i, None)
            reads.append(list(sources))
        return [*reads, list(dict.fromkeys(leaves))]

    def _box(
        self, box: Box, shifts: Sequence[int], x: float, y: float, target: str | None
    ) -> Drawn:
        places = box.kernels(shifts)
        sums = [self._sum(m, places) for m in self.measures]
        colours = "".join(
            str(sum(value >= x for x in limits) if value else 0)
            for value, limits in zip(sums, self.limits, strict=True)
        )
        is_group = bool(box.inside)
        label = self._label(box, places) if is_group else self.kernels[box.first]["operators"]
        values = [m.text(v) for m, v in zip(self.measures, sums, strict=True)]
        return Drawn(
            x, y, start_of(label, LABEL_WIDTH - 4 * (box.times > 1)),
            start_of(_shape(self.kernels[box.last - 1]["out_shape"]),
                     SECOND_WIDTH - max(map(len, values))),
            values,
            colours, self._facts(box, places, sums), box.times, target, is_group,
        )  # fmt: skip

    def _label(self, box: Box, places: Sequence[int]) -> str:
        """Return the common part of a group's names, or else its costliest operators."""
        first, last = (f(self.kernels[n]["name"] for n in places) for f in (min, max))
        start = commonprefix((first, last))  # noqa: RUF071  # names, whose separators are several
        end = max(start.rfind(c) for c in _SEPARATORS)
        path = start[: max(end, 0)].strip(_SEPARATORS).split("/")
        # Exporters repeat the name before the path: /layer1/layer1.0/conv1.
        after = [*path[1:], ""]
        if name := "/".join(a for a, b in zip(path, after, strict=True) if not b.startswith(a)):
            return end_of(name, LABEL_WIDTH - 4)
        if box.times == 1:
            return f"{box.unit} kernels"
        most = max(places, key=lambda n: self.measures[0].values[n])
        return f"{self.kernels[most]['operators']} …"

    def _title(self, box: Box, shifts: Sequence[int]) -> str:
        places = box.kernels(shifts)
        value = self.measures[0].text(self._sum(self.measures[0], places))
        kernels, label = _kernels_text(box), self._label(box, places)
        return ", ".join(dict.fromkeys((kernels, label, value)))

    def _facts(
        self, box: Box, places: Sequence[int], sums: Sequence[float]
    ) -> list[tuple[str, str]]:
        own = [self.kernels[n] for n in places]
        first, last = own[0], own[-1]
        facts = [("kernel", end_of(first["name"], 80))]
        if box.inside:
            alike = "" if box.is_equal else ", of the same operators, sizes differ"
            ends = [("from", end_of(first["name"], 80)), ("to", end_of(last["name"], 80))]
            facts = [("group", _kernels_text(box) + alike), *ends]
        elif len(own) > 1:
            facts.append(("and alike", f"{len(own) - 1}, to {end_of(last['name'], 80)}"))
        if not box.inside:
            facts.append(("operators", start_of(first["operators"], 80)))
        writes = [shape_text(k["out_shape"]) for k in (own[-1:] if box.inside else own)]
        facts.append(("writes", _spread(writes)))
        names = {m.name for m in self.measures}
        for word, key, text in (("MACs", "macs", count_text),
                                ("memory traffic", "moved_bytes", bytes_text)):  # fmt: skip
            if word not in names:
                facts.append((word, text(sum(k[key] for k in own))))
        told = list(zip(self.measures, sums, self.totals, strict=True))[:MAX_IN_WORDS]
        for measure, value, total in told:
            share = f" ({100 * value / total:.1f} %)" if total else ""
            together = " together" if len(own) > 1 else ""
            facts.append((measure.name, f"{measure.text(value)}{together}{share}"))
        if bounds := list(dict.fromkeys(bound_text(k["bound"]) for k in own if "bound" in k)):
            facts.append(("bound by", ", ".join(bounds)))
        doubts = dict.fromkeys(k["doubt"] for k in own if k.get("doubt"))
        if doubts:
            facts.append(("extrapolated", "; ".join(list(doubts)[:2])))
        return facts


def _kernels_text(box: Box) -> str:
    kernels = f"{box.unit} kernel{'s' if box.unit > 1 else ''}"
    return f"{box.times} × {kernels}" if box.times > 1 else kernels


def _ms(ms: float) -> str:
    return f"{ms_text(ms)} ms"


def _sides(shape: Sequence[int] | None) -> tuple[int, ...]:
    """Return the sides of a map (batch, channels, sides …), or the tokens of (…, features).

    What they are of another order of axes is told apart all the same.
    """
    sides = tuple(shape or ())
    return sides[2:] if len(sides) > 3 else sides[1:-1]


def _shape(shape: Sequence[int] | None) -> str:
    """Return a shape without a batch of one, which no picture has room for."""
    sides = tuple(shape or ())
    return shape_text(sides[1:] if len(sides) > 1 and sides[0] == 1 else shape)


def _spread(texts: Sequence[str]) -> str:
    """Return the first and the last of several texts, where they differ."""
    different = list(dict.fromkeys(texts))
    return different[0] if len(different) == 1 else f"{different[0]} to {different[-1]}"


def _lines(found: Layout) -> str:
    """Return all lines as one path, each from the lower side of a box to the next upper side."""
    ends = {(x, layer): n for n, (x, layer) in enumerate(found.boxes)}
    port = {0, len(found.boxes) - 1}
    path = []
    for pieces in found.lines:
        for piece in pieces:
            start = piece.layer * PITCH + HEIGHT
            if ends.get((piece.start, piece.layer)) in port:
                start -= HEIGHT / 2
            end = (piece.layer + 1) * PITCH
            if not piece.passes and ends.get((piece.end, piece.layer + 1)) in port:
                end += HEIGHT / 2
            text = f"M{piece.start:.4g} {start:.4g}"
            if abs(piece.start - piece.end) < 0.5:
                text += f"V{end:.4g}"
            else:
                middle = (start + end) / 2
                text += (
                    f"C{piece.start:.4g} {middle:.4g} {piece.end:.4g} {middle:.4g} "
                    f"{piece.end:.4g} {end:.4g}"
                )
            path.append(text + (f"v{HEIGHT:g}" if piece.passes else ""))
    return "".join(path)
