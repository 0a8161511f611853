"""Layers that move numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

from latcast.graph.shapes import TensorShape, axis_of, concatenated, permuted, reduced, with_axis

from ._blobs import Blobs, Rule, axis_in
from ._file import Layer

# A length that is what is left.
REST = -233


def _concat(r: Blobs, x: Layer) -> None:
    axis = axis_in(r, x, x.integer(0))
    shapes = [r.shape(x, n) for n in range(len(x.inputs))]
    names = [r.input(x, n) for n in range(len(x.inputs))]
    out = r.t.node("Concat", *names, name=x.name, axis=axis)
    r.give(x.outputs[0], out, concatenated(shapes, axis))


def _slice(r: Blobs, x: Layer) -> None:
    """Parts of given lengths, or as long as each other where one is left out."""
    shape, axis = r.shape(x), axis_in(r, x, x.integer(1))
    sizes, left = x.integers(0), shape[axis]
    if ends := x.integers(2):
        ends = [e % shape[axis] if e < 0 else e for e in ends]
        sizes = [b - a for a, b in zip([0, *ends], [*ends, shape[axis]], strict=True)]
    for n, size in enumerate(sizes):
        sizes[n] = left // (len(sizes) - n) if size == REST else size
        left -= sizes[n]
    if len(sizes) != len(x.outputs):
        raise ValueError(f"it must have a length for each of {len(x.outputs)} outputs")
    parts, count = r.t.integers(*sizes), len(sizes)
    out = r.t.node("Split", r.input(x), parts, name=x.name, outputs=count, axis=axis)
    for n, blob in enumerate(x.outputs):
        r.give(blob, f"{out}:{n}" if n else out, with_axis(shape, axis, sizes[n]))


def _crop(r: Blobs, x: Layer) -> None:
    """A part between starts and ends along some axes."""
    starts, ends = x.integers(9), x.integers(10)
    if not starts or len(x.inputs) > 1:
        raise LookupError("it must tell starts and ends")
    axes = [axis_in(r, x, a) for a in x.integers(11) or range(len(starts))]
    shape = r.shape(x)
    for n, axis in enumerate(axes):
        side = shape[axis]
        end = side if ends[n] == REST or ends[n] > side else ends[n] % (side + 1)
        start = 0 if starts[n] == REST else starts[n] % side
        starts[n], ends[n] = start, end
        shape = with_axis(shape, axis, end - start)
    bounds = (r.t.integers(*v) for v in (starts, ends, axes))
    r.give(x.outputs[0], r.t.node("Slice", r.input(x), *bounds, name=x.name), shape)


def _padding(r: Blobs, x: Layer) -> None:
    shape = r.shape(x)
    rank = len(shape)
    pairs = [(x.integer(a), x.integer(b)) for a, b in ((7, 8), (0, 1), (2, 3))][1 - rank :]
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs
    mode = ("constant", "edge", "reflect")[x.integer(4)]
    pads = r.t.integers(*(a for a, _ in pairs), *(b for _, b in pairs))
    value = [r.t.number(x.number(5))] if mode == "constant" else []
    out = r.t.node("Pad", r.input(x), pads, *value, name=x.name, mode=mode)
    r.give(x.outputs[0], out, tuple(s + a + b for s, (a, b) in zip(shape, pairs, strict=True)))


# Axes of a blob -> those of what a Permute of each kind writes.
_ORDERS = {
    2: ("hw", "wh"),
    3: ("chw", "cwh", "hcw", "hwc", "wch", "whc"),
    4: ("cdhw", "cdwh", "chdw", "chwd", "cwdh", "cwhd", "dchw", "dcwh", "dhcw", "dhwc", "dwch",
        "dwhc", "hcdw", "hcwd", "hdcw", "hdwc", "hwcd", "hwdc", "wcdh", "wchd", "wdch", "wdhc",
        "whcd", "whdc"),
}  # fmt: skip


def _permute(r: Blobs, x: Layer) -> None:
    orders = _ORDERS.get(len(r.shape(x)) - 1, ("w",))
    axes = orders[0]
    order = (0, *(axes.index(a) + 1 for a in orders[x.integer(0)]))
    out = r.t.node("Transpose", r.input(x), name=x.name, perm=order)
    r.give(x.outputs[0], out, permuted(r.shape(x), order))


def _reshape(r: Blobs, x: Layer) -> None:
    """A shape of its sides, width first: 0 keeps one, -1 is the rest."""
    shape = r.shape(x)
    text = x.values.get(6)
    if (12 in x.values or 13 in x.values) and not (x.integer(12) == x.integer(13) == 0 and text):
        raise LookupError("it must keep the batch")
    if isinstance(text, str):
        parts = _split(text)
        if 13 in x.values and _Expression(r, x, parts.pop()).value() != 1:
            raise LookupError("it must have a batch of 1")
        sides = [_Expression(r, x, part).value() for part in parts][::-1]
    else:
        known = [x.integer(key, REST) for key in (2, 11, 1, 0)]
        kept = dict(zip("cdhw", sides_of(shape), strict=True))
        sides = [kept[a] if s == 0 else s for a, s in zip("cdhw", known, strict=True) if s != REST]
    whole = prod(shape[1:])
    if -1 in sides:
        rest = whole // max(prod(s for s in sides if s != -1), 1)
        sides = [rest if s == -1 else s for s in sides]
    if prod(sides) != whole:
        raise LookupError(f"{list(shape[1:])} must have as many elements as {sides}")
    r.give(x.outputs[0], r.t.node("Reshape", r.input(x), r.t.integers(0, *sides), name=x.name),
           (1, *sides))  # fmt: skip


def sides_of(shape: TensorShape) -> list[int]:
    """Channels, depth, height and width of a blob; 1 where it has none."""
    sides = list(shape[1:])
    c = [sides.pop(0)] if len(sides) > 2 else [1]
    return [*c, *[1] * (3 - len(sides)), *sides]


def _split(text: str) -> list[str]:
    """Parts at the commas that are in no brackets."""
    parts, depth = [""], 0
    for c in text[:1000]:
        depth += (c == "(") - (c == ")")
        parts = [*parts, ""] if c == "," and depth == 0 else [*parts[:-1], parts[-1] + c]
    return parts


@dataclass
class _Expression:
    """A side that is computed, such as ``//(1w,2)``: of blob 1, half the width."""

    reader: Blobs
    layer: Layer
    text: str
    depth: int = 0

    def value(self) -> int:
        """The side.

        Raises:
            LookupError: it cannot be computed.
        """
        if found := re.fullmatch(r"(\d)([whdcn])", self.text):
            blob, axis = int(found[1]), found[2]
            shape = self.reader.shape(self.layer, blob)
            return 1 if axis == "n" else sides_of(shape)["cdhw".index(axis)]
        if re.fullmatch(r"[+-]?\d{1,9}", self.text):
            return int(self.text)
        found = re.fullmatch(r"(\+|-|\*|//)\((.*)\)", self.text)
        if not found or self.depth > 16:
            raise LookupError(f"{self.text[:40]!r} is not understood")
        a, b = (
            _Expression(self.reader, self.layer, part, self.depth + 1).value()
            for part in _split(found[2])
        )
        return {"+": a + b, "-": a - b, "*": a * b}.get(found[1], a // b if b else 0)


def _expand_dims(r: Blobs, x: Layer) -> None:
    axes, shape = x.integers(3), r.shape(x)
    if not axes:
        raise LookupError("it must name its axes")
    rank = len(shape) - 1 + len(axes)
    at = sorted(axis_of(a, rank) + 1 for a in axes)
    for axis in at:
        shape = (*shape[:axis], 1, *shape[axis:])
    out = r.t.node("Unsqueeze", r.input(x), r.t.integers(*at), name=x.name)
    r.give(x.outputs[0], out, shape)


def _squeeze(r: Blobs, x: Layer) -> None:
    shape = r.shape(x)
    if 3 in x.values:
        at = {axis_in(r, x, a) for a in x.integers(3)}
    else:
        flags = [x.integer(key) for key in (2, 11, 1, 0)]
        axes = {2: (3,), 3: (2, 3), 4: (0, 2, 3), 5: (0, 1, 2, 3)}[len(shape)]
        at = {n + 1 for n, key in enumerate(axes) if flags[key]}
    gone = sorted(a for a in at if shape[a] == 1)
    out = r.t.node("Squeeze", r.input(x), r.t.integers(*gone), name=x.name) if gone else r.input(x)
    r.give(x.outputs[0], out, reduced(shape, gone, keep=False))


def _flatten(r: Blobs, x: Layer) -> None:
    shape = r.shape(x)
    r.give(x.outputs[0], r.t.node("Flatten", r.input(x), name=x.name), (1, prod(shape[1:])))


def _interp(r: Blobs, x: Layer) -> None:
    shape = r.shape(x)
    mode = {1: "nearest", 2: "linear", 3: "cubic"}[x.integer(0)]
    given = x.integer(3), x.integer(4)
    scales = x.number(1, 1), x.number(2, 1)
    if len(shape) != 4 or len(x.inputs) > 1:
        raise LookupError("it must be of a map, by a size that is told")
    sides = [w or int(s * f) for s, w, f in zip(shape[2:], given, scales, strict=True)]
    how = "align_corners" if x.integer(6) else "half_pixel"
    more: Any = {"nearest_mode": "floor"} if mode == "nearest" else {}
    out = r.t.node(
        "Resize", r.input(x), "", "", r.t.integers(*sides), name=x.name, mode=mode, axes=[2, 3],
        coordinate_transformation_mode="asymmetric" if mode == "nearest" else how, **more,
    )  # fmt: skip
    r.give(x.outputs[0], out, (*shape[:2], *sides))


def _pixel_shuffle(r: Blobs, x: Layer) -> None:
    batch, channels, height, width = r.shape(x)
    side = x.integer(0, 1)
    mode = "DCR" if x.integer(1) else "CRD"
    out = r.t.node("DepthToSpace", r.input(x), name=x.name, blocksize=side, mode=mode)
    r.give(x.outputs[0], out, (batch, channels // side**2, height * side, width * side))


def _reorg(r: Blobs, x: Layer) -> None:
    """Blocks of a map as channels: of each channel its block, or the other way round."""
    batch, channels, height, width = r.shape(x)
    side = x.integer(0, 1)
    out = (batch, channels * side**2, height // side, width // side)
    cut = r.t.node(
        "Reshape", r.input(x), r.t.integers(0, channels, out[2], side, out[3], side),
        name=f"{x.name}/cut",
    )  # fmt: skip
    order = (0, 3, 5, 1, 2, 4) if x.integer(1) else (0, 1, 3, 5, 2, 4)
    turned = r.t.node("Transpose", cut, name=f"{x.name}/turned", perm=order)
    r.give(x.outputs[0], r.t.node("Reshape", turned, r.t.integers(0, *out[1:]), name=x.name), out)


def _shuffle(r: Blobs, x: Layer) -> None:
    batch, channels, *sides = shape = r.shape(x)
    groups = x.integer(0, 1)
    rows = channels // groups if x.integer(1) else groups
    grouped = r.t.node(
        "Reshape", r.input(x), r.t.integers(0, rows, channels // rows, *sides),
        name=f"{x.name}/grouped",
    )  # fmt: skip
    order = (0, 2, 1, *range(3, 3 + len(sides)))
    dealt = r.t.node("Transpose", grouped, name=f"{x.name}/dealt", perm=order)
    out = r.t.node("Reshape", dealt, r.t.integers(0, *shape[1:]), name=x.name)
    r.give(x.outputs[0], out, (batch, *shape[1:]))


def _memory(r: Blobs, x: Layer) -> None:
    sides = [s for s in (x.integer(key) for key in (2, 11, 1, 0)) if s]
    held = r.constant(*sides, flagged=not x.integer(21, 1))
    r.give(x.outputs[0], r.t.reshaped(held, 1, *sides), (1, *sides))


def _embed(r: Blobs, x: Layer) -> None:
    width, rows = x.integer(0), x.integer(1)
    table = r.constant(rows, width, flagged=True)
    out = r.t.node("Gather", table, r.t.layout("Cast", r.input(x), to=7), name=x.name)
    if x.integer(2):
        out = r.t.node("Add", out, r.constant(width), name=f"{x.name}/bias")
    r.give(x.outputs[0], out, (*r.shape(x), width))


def _tile(r: Blobs, x: Layer) -> None:
    shape = r.shape(x)
    repeats = [1] * len(shape)
    if 2 in x.values:
        given = x.integers(2)
        rank = max(len(given), len(shape) - 1)
        if rank > len(shape) - 1:
            raise LookupError("it must keep the axes")
        repeats[len(repeats) - len(given) :] = given
    else:
        repeats[axis_in(r, x, x.integer(0))] = x.integer(1, 1)
    out = r.t.node("Tile", r.input(x), r.t.integers(*repeats), name=x.name)
    r.give(x.outputs[0], out, tuple(s * n for s, n in zip(shape, repeats, strict=True)))


# Type -> how its layers are translated.
MOVES: dict[str, Rule] = {
    "Concat": _concat,
    "Slice": _slice,
    "Crop": _crop,
    "Padding": _padding,
    "Permute": _permute,
    "Reshape": _reshape,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Flatten": _flatten,
    "Interp": _interp,
    "PixelShuffle": _pixel_shuffle,
    "Reorg": _reorg,
    "ShuffleChannel": _shuffle,
    "MemoryData": _memory,
    "Embed": _embed,
    "Tile": _tile,
}
