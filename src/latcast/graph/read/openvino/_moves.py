"""Layers that move numbers."""

from __future__ import annotations

from typing import Any

from ._file import Layer
from ._ports import FAR, Ports, Rule, axes_in, plain


def _reshape(r: Ports, x: Layer, i: list[str]) -> str:
    keeps_zero = int(not x.flag("special_zero"))
    return r.t.node("Reshape", *i, name=x.name, allowzero=keeps_zero)


def _transpose(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node("Transpose", i[0], name=x.name, perm=r.t.values(i[1]) or None)


def _concat(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node("Concat", *i, name=x.name, axis=int(x.text("axis")))


def _split(r: Ports, x: Layer, i: list[str]) -> str:
    (axis,), parts = r.t.values(i[1]), i[2:]
    if parts and -1 in (lengths := r.t.values(parts[0])):
        side = x.shape()[axis]
        rest = side - sum(n for n in lengths if n != -1)
        parts = [r.t.integers(*(rest if n == -1 else n for n in lengths))]
    more: Any = {} if parts else {"num_outputs": len(x.writes)}
    return r.t.node("Split", i[0], *parts, name=x.name, outputs=len(x.writes), axis=axis, **more)


def _strided_slice(r: Ports, x: Layer, i: list[str]) -> str:
    """A slice by masks; a 1 in the mask of begins or ends is a side that is taken from its end."""
    masks = {k: x.integers(f"{k}_mask") for k in ("begin", "end", "new_axis", "shrink_axis")}
    if any(x.integers("ellipsis_mask")) or any(masks["new_axis"]):
        raise LookupError("it must take slices of all axes")
    begins, ends = r.t.values(i[1]), r.t.values(i[2])
    steps = r.t.values(i[3]) if len(i) > 3 else [1] * len(begins)
    gone = [n for n, cut in enumerate(masks["shrink_axis"]) if cut]
    starts, limits = [], []
    for n, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        is_open = [n < len(masks[k]) and masks[k][n] for k in ("begin", "end")]
        starts.append((0 if step > 0 else FAR) if is_open[0] and n not in gone else begin)
        is_last = n in gone and begin == -1
        if n in gone:
            limits.append(FAR if is_last else begin + 1)
        else:
            limits.append((FAR if step > 0 else -FAR) if is_open[1] else end)
    axes = r.t.integers(*range(len(begins)))
    cut = r.t.node(
        "Slice", i[0], r.t.integers(*starts), r.t.integers(*limits), axes, r.t.integers(*steps),
        name=x.name,
    )  # fmt: skip
    if not gone:
        return cut
    return r.t.node("Squeeze", cut, r.t.integers(*gone), name=f"{x.name}/shrunk")


def _slice(r: Ports, x: Layer, i: list[str]) -> str:
    start, stop, step, *axes = i[1:]
    axes = axes or [r.t.integers(*range(len(r.t.values(start))))]
    return r.t.node("Slice", i[0], start, stop, *axes, step, name=x.name)


def _gather(r: Ports, x: Layer, i: list[str]) -> str:
    if int(x.text("batch_dims", "0")):
        raise LookupError("it must gather the same of the whole batch")
    return r.t.node("Gather", *i[:2], name=x.name, axis=r.t.values(i[2])[0])


def _pad(r: Ports, x: Layer, i: list[str]) -> str:
    pads = r.t.layout("Concat", *(r.t.layout("Cast", n, to=7) for n in i[1:3]), axis=0)
    mode = {"symmetric": "reflect"}.get(x.text("pad_mode"), x.text("pad_mode", "constant"))
    value = i[3:4] if mode == "constant" else []
    return r.t.node("Pad", i[0], pads, *value, name=x.name, mode=mode)


def _interpolate(r: Ports, x: Layer, i: list[str]) -> str:
    """A resize; version 4 has sizes and scales as inputs, later ones one of both."""
    is_sizes = x.text("shape_calculation_mode", "sizes") == "sizes"
    is_old = x.text("version") != "opset11" and len(i) > 3
    given, axes = (i[1] if is_sizes else i[2], i[3:]) if is_old else (i[1], i[2:])
    if any(x.integers("pads_begin")) or any(x.integers("pads_end")):
        raise LookupError("it must not pad")
    mode = {"linear_onnx": "linear", "bilinear_pillow": "linear", "bicubic_pillow": "cubic"}
    how = x.text("mode", "nearest")
    return r.t.node(
        "Resize", i[0], "", *(["", given] if is_sizes else [given]), name=x.name,
        axes=r.t.values(axes[0]) if axes else None, mode=mode.get(how, how),
        coordinate_transformation_mode=x.text("coordinate_transformation_mode", "half_pixel"),
        nearest_mode=x.text("nearest_mode", "round_prefer_floor") if how == "nearest" else None,
        antialias=int(x.flag("antialias")), cubic_coeff_a=x.float("cube_coeff", "-0.75"),
    )  # fmt: skip


def _top_k(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node(
        "TopK", i[0], r.t.integers(*r.t.values(i[1])), name=x.name, outputs=len(x.writes),
        axis=int(x.text("axis", "-1")), largest=int(x.text("mode", "max") == "max"),
    )  # fmt: skip


def _shuffle(r: Ports, x: Layer, i: list[str]) -> str:
    """Channels as a matrix of groups, transposed."""
    shape, axis, groups = x.shape(), int(x.text("axis", "1")), int(x.text("group", "1"))
    sides = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    order = [*range(len(sides))]
    order[axis : axis + 2] = order[axis + 1], order[axis]
    grouped = r.t.node("Reshape", i[0], r.t.integers(*sides), name=f"{x.name}/grouped")
    dealt = r.t.node("Transpose", grouped, name=f"{x.name}/dealt", perm=order)
    return r.t.node("Reshape", dealt, r.t.integers(*shape), name=x.name)


# Type -> how its layers are translated.
MOVES: dict[str, Rule] = {
    "Unsqueeze": lambda r, x, i: r.t.node("Unsqueeze", i[0], *axes_in(r, i), name=x.name),
    "Squeeze": lambda r, x, i: r.t.node("Squeeze", i[0], *axes_in(r, i), name=x.name),
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "VariadicSplit": _split,
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": lambda r, x, i: r.t.node(
        "GatherElements", *i, name=x.name, axis=int(x.text("axis"))
    ),
    "ScatterElementsUpdate": lambda r, x, i: r.t.node(
        "ScatterElements", *i[:3], name=x.name, axis=r.t.values(i[3])[0]
    ),
    "ShapeOf": plain("Shape"),
    "Broadcast": plain("Expand", inputs=2),
    "OneHot": lambda r, x, i: r.t.node(
        "OneHot", i[0], i[1], r.t.node("Concat", *(
            r.t.layout("Reshape", n, r.t.integers(1)) for n in (i[3], i[2])
        ), axis=0), name=x.name, axis=int(x.text("axis", "-1")),
    ),
    "Pad": _pad,
    "Interpolate": _interpolate,
    "TopK": _top_k,
    "ShuffleChannels": _shuffle,
    "DepthToSpace": lambda r, x, i: r.t.node(
        "DepthToSpace", i[0], name=x.name, blocksize=int(x.text("block_size", "1")),
        mode="DCR" if x.text("mode") == "blocks_first" else "CRD",
    ),
    "SpaceToDepth": lambda r, x, i: r.t.node(
        "SpaceToDepth", i[0], name=x.name, blocksize=int(x.text("block_size", "1"))
    ),
}  # fmt: skip
