"""Operators that move elements, or only look at them in another shape."""

from __future__ import annotations

from math import isfinite, prod

import numpy as np

from latcast.graph._graph import TensorShape

from ._shapes import axes_of, axis_of, broadcast, cut, reshaped, with_axis
from ._values import Entry, Node, Reading, UnknownShape


def _reshape(node: Node) -> Reading:
    shape, target = node.shape(0), node.whole_numbers(1)
    if node.batch is not None:
        target = _rebatched(shape, target, *node.batch)
    return Reading((reshaped(shape, target, keep_zero=bool(node.integer("allowzero", 0))),))


def _rebatched(shape: TensorShape, target: list[int], old: int, new: int) -> list[int]:
    """The target with the side that it has with another batch, where that fits."""
    sides = [shape[n] if s == 0 and n < len(shape) else s for n, s in enumerate(target)]
    at = _batch_axis(shape, sides, old)
    if at == len(sides) or sides[at] < 1 or sides[at] % old:
        return target
    changed = [*target[:at], sides[at] // old * new, *target[at + 1 :]]
    if -1 in target:
        return changed if shape[: at + 1] == (*sides[:at], changed[at]) else target
    return changed if prod(sides) * new == prod(shape) * old else target


def _batch_axis(shape: TensorShape, sides: list[int], old: int) -> int:
    """Where the batch is in the shape that a Reshape gives.

    It is no axis that both shapes start with. It may have been merged with the axis before (as
    where a linear layer of tokens is written as a product of two matrices).
    """
    shared = 0
    while shared < min(len(shape), len(sides)) and shape[shared] == sides[shared]:
        shared += 1
    if shared > 0 and len(sides) < len(shape) and prod(sides[shared:]) == prod(shape[shared + 1 :]):
        return shared - 1
    return next((n for n in range(shared, len(sides)) if sides[n] == old), shared)


def _flatten(node: Node) -> Reading:
    shape = node.shape(0)
    axis = node.integer("axis", 1)
    at = axis if axis == len(shape) else axis_of(axis, len(shape))
    return Reading(((prod(shape[:at]), prod(shape[at:])),))


def _squeeze(node: Node) -> Reading:
    shape, axes = node.shape(0), node.axes(1)
    if axes is None:
        return Reading((tuple(s for s in shape if s != 1),))
    gone = set(axes_of(axes, len(shape)))
    if any(shape[n] != 1 for n in gone):
        raise ValueError(f"axes {axes} of {list(shape)} must have a side of 1")
    return Reading((tuple(s for n, s in enumerate(shape) if n not in gone),))


def _unsqueeze(node: Node) -> Reading:
    shape, axes = node.shape(0), node.axes(1)
    if axes is None:
        raise ValueError("axes must be given; they are missing")
    rank = len(shape) + len(axes)
    new = set(axes_of(axes, rank))
    sides = iter(shape)
    return Reading((tuple(1 if n in new else next(sides) for n in range(rank)),))


def _concat(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    if not shapes:
        raise ValueError("it must have an input; it has none")
    rank = len(shapes[0])
    axis = axis_of(node.integer("axis"), rank)
    if node.batch is not None and axis > 0:
        # A constant that was made for the file's batch, such as a class token, goes along.
        leading = max(s[0] for s in shapes)
        shapes = [
            with_axis(s, 0, leading)
            if node.value(n).is_constant and s[0] * node.batch[1] == leading * node.batch[0]
            else s
            for n, s in enumerate(shapes)
        ]
    if any(
        len(s) != rank or with_axis(s, axis, 0) != with_axis(shapes[0], axis, 0) for s in shapes
    ):
        raise ValueError(f"inputs must differ in axis {axis} only; got {list(map(list, shapes))}")
    learned = tuple(n for n in range(len(shapes)) if prod(shapes[n]) > 1)
    return Reading((with_axis(shapes[0], axis, sum(s[axis] for s in shapes)),), weights=learned)


def _split(node: Node) -> Reading:
    shape = node.shape(0)
    axis = axis_of(node.integer("axis", 0), len(shape))
    if "split" in node.attributes:
        parts = node.integers("split")
    elif node.get(1) is not None:
        parts = node.whole_numbers(1)
    else:
        each = -(-shape[axis] // max(1, node.outputs))
        parts = [min(each, max(0, shape[axis] - n * each)) for n in range(node.outputs)]
    if sum(parts) != shape[axis] or min(parts, default=0) < 0 or len(parts) != node.outputs:
        raise ValueError(f"{node.outputs} parts must add up to {shape[axis]}; got {parts[:20]}")
    return Reading(tuple(with_axis(shape, axis, p) for p in parts))


def cuts(node: Node) -> dict[int, range]:
    """Axis -> positions that a ``Slice`` takes: by attributes in older opsets, else by inputs."""
    shape = node.shape(0)
    if "starts" in node.attributes:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes, steps = node.integers("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = node.whole_numbers(1), node.whole_numbers(2)
        axes = list(range(len(starts))) if node.get(3) is None else node.whole_numbers(3)
        steps = [1] * len(starts) if node.get(4) is None else node.whole_numbers(4)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("starts, ends, axes and steps must be as many, and no step 0")
    taken = {}
    for n, axis in enumerate(axes_of(axes, len(shape))):
        taken[axis] = cut(shape[axis], starts[n], ends[n], steps[n])
    return taken


def _slice(node: Node) -> Reading:
    shape = node.shape(0)
    taken = cuts(node)
    step = max((abs(some.step) for some in taken.values()), default=1)
    return Reading((_replaced(shape, {n: len(t) for n, t in taken.items()}),), stride=(1, step))


def _pad(node: Node) -> Reading:
    shape = node.shape(0)
    pads = node.integers("pads") if "pads" in node.attributes else node.whole_numbers(1)
    axes = list(range(len(shape))) if node.get(3) is None else node.whole_numbers(3)
    if len(pads) != 2 * len(axes):
        raise ValueError(f"there must be two pads for each of {len(axes)} axes; got {len(pads)}")
    sides = list(shape)
    for n, axis in enumerate(axes_of(axes, len(shape))):
        sides[axis] += pads[n] + pads[n + len(axes)]
    return Reading((tuple(sides),))


def _transpose(node: Node) -> Reading:
    shape = node.shape(0)
    order = node.integers("perm", range(len(shape))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm must name each of {len(shape)} axes once; got {order}")
    return Reading((tuple(shape[n] for n in order),), order=tuple(order))


def _gather(node: Node) -> Reading:
    """Slices by index; a constant that they are taken from is an embedding."""
    shape, indices = node.shape(0), node.shape(1)
    axis = axis_of(node.integer("axis", 0), len(shape))
    return Reading(((*shape[:axis], *indices, *shape[axis + 1 :]),), weights=(0,))


def _gather_elements(node: Node) -> Reading:
    return Reading((node.shape(1),))


def _gather_nd(node: Node) -> Reading:
    shape, indices = node.shape(0), node.shape(1, least=1)
    first = node.integer("batch_dims", 0) + indices[-1]
    if not indices[-1] <= first <= len(shape):
        raise ValueError(f"indices {list(indices)} must name axes of {list(shape)}")
    return Reading(((*indices[:-1], *shape[first:]),), weights=(0,))


def _like_first(node: Node) -> Reading:
    return Reading((node.shape(0),))


def _expand(node: Node) -> Reading:
    target = tuple(node.whole_numbers(1))
    if any(side < 0 for side in target):
        raise ValueError(f"a shape must have positive sides; got {list(target)}")
    shape = node.shape(0)
    if node.batch is not None and (shape[:1], target[:1]) == (node.batch[1:], node.batch[:1]):
        target = (shape[0], *target[1:]) if len(shape) == len(target) else target
    return Reading((broadcast(shape, target),))


def _tile(node: Node) -> Reading:
    shape, repeats = node.shape(0), node.whole_numbers(1)
    if len(repeats) != len(shape) or min(repeats, default=0) < 0:
        raise ValueError(f"{list(shape)} must have as many repeats, from 0 on; got {repeats[:20]}")
    return Reading((tuple(s * r for s, r in zip(shape, repeats, strict=True)),))


def _resize(node: Node) -> Reading:
    """To sizes or by scales (rounded down), on some axes or all."""
    shape = node.shape(0)
    axes = axes_of(node.integers("axes", range(len(shape))), len(shape))
    if _filled(node, 3):
        sizes = node.whole_numbers(3)
        if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise UnknownShape
        if len(sizes) != len(axes):
            raise ValueError(f"there must be {len(axes)} sizes; got {sizes[:20]}")
        return Reading((_replaced(shape, dict(zip(axes, sizes, strict=True))),))
    return Reading((_scaled(shape, axes, _scales(node)),))


def _scales(node: Node) -> list[float]:
    if "scales" in node.attributes:
        return node.numbers("scales")
    position = 1 if len(node.inputs) == 2 else 2
    return [float(v) for v in node.data(position).reshape(-1).tolist()]


def _scaled(shape: TensorShape, axes: list[int], scales: list[float]) -> TensorShape:
    if len(scales) != len(axes) or not all(isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"there must be {len(axes)} positive scales; got {scales[:20]}")
    # In single precision, as runtimes do: 30 x 0.46666667 is 14 there, and less in double.
    sides = {
        n: int(np.float32(shape[n]) * np.float32(s)) for n, s in zip(axes, scales, strict=True)
    }
    return _replaced(shape, sides)


def _filled(node: Node, position: int) -> bool:
    value = node.get(position)
    return value is not None and value.shape != (0,)


def _replaced(shape: TensorShape, sides: dict[int, int]) -> TensorShape:
    return tuple(sides.get(n, side) for n, side in enumerate(shape))


def _depth_to_space(node: Node) -> Reading:
    batch, channels, height, width = _map(node)
    side = node.integer("blocksize")
    if side < 1 or channels % side**2:
        raise ValueError(f"{channels} channels must be blocks of {side} x {side}")
    return Reading(((batch, channels // side**2, height * side, width * side),))


def _space_to_depth(node: Node) -> Reading:
    batch, channels, height, width = _map(node)
    side = node.integer("blocksize")
    if side < 1 or height % side or width % side:
        raise ValueError(f"{height} x {width} must be blocks of {side} x {side}")
    return Reading(((batch, channels * side**2, height // side, width // side),))


def _map(node: Node) -> TensorShape:
    shape = node.shape(0)
    if len(shape) != 4:
        raise ValueError(f"a map must have 4 axes; got {list(shape)}")
    return shape


MOVES: dict[str, Entry] = {
    "Reshape": Entry("reshape", _reshape, (1,)),
    "Flatten": Entry("reshape", _flatten),
    "Squeeze": Entry("reshape", _squeeze, (1,)),
    "Unsqueeze": Entry("reshape", _unsqueeze, (1,)),
    "Concat": Entry("concat", _concat),
    "Split": Entry("split", _split, (1,)),
    "Slice": Entry("slice", _slice, (1, 2, 3, 4)),
    "Pad": Entry("pad", _pad, (1, 2, 3)),
    "Transpose": Entry("transpose", _transpose),
    "Gather": Entry("gather", _gather),
    "GatherElements": Entry("gather", _gather_elements),
    "GatherND": Entry("gather", _gather_nd),
    "ScatterND": Entry("scatter", _like_first),
    "ScatterElements": Entry("scatter", _like_first),
    "Scatter": Entry("scatter", _like_first),
    "Trilu": Entry("where", _like_first, (1,)),
    "Expand": Entry("expand", _expand, (1,)),
    "Tile": Entry("tile", _tile, (1,)),
    "Resize": Entry("resize", _resize, (1, 2, 3)),
    "Upsample": Entry("resize", _resize, (1,)),
    "DepthToSpace": Entry("depth_to_space", _depth_to_space),
    "SpaceToDepth": Entry("space_to_depth", _space_to_depth),
}
"""ONNX operator -> how it is read."""
