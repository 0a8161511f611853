"""ONNX operators that move elements, make one of many, or give constants."""

from __future__ import annotations

from math import ceil, floor, isfinite, prod

import numpy as np

from latcast.graph.shapes import (
    TensorShape,
    axes_of,
    axis_of,
    broadcast,
    concatenated,
    cut,
    flattened,
    permuted,
    reduced,
    reshaped,
    squeezed,
    unsqueezed,
    with_axis,
    with_sides,
)

from ._nodes import Node, Reading, Rule, UnknownShape, shape_rule
from ._tensors import FLOAT, INT64, type_of


def _reshape(node: Node) -> TensorShape:
    shape = node.shape(0)
    target = node.integers("shape") if "shape" in node.attributes else node.whole_numbers(1)
    if node.batch is not None:
        target = _rebatched(shape, target, *node.batch)
    return reshaped(shape, target, keep_zero=bool(node.integer("allowzero", 0)))


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
    """Return the axis of the batch in the shape that a Reshape gives.

    It is no axis that both shapes start with. It may have been merged with the axis before (as
    where a linear layer of tokens is written as a product of two matrices).
    """
    shared = 0
    while shared < min(len(shape), len(sides)) and shape[shared] == sides[shared]:
        shared += 1
    if shared > 0 and len(sides) < len(shape) and prod(sides[shared:]) == prod(shape[shared + 1 :]):
        return shared - 1
    return next((n for n in range(shared, len(sides)) if sides[n] == old), shared)


def _unsqueeze(node: Node) -> TensorShape:
    shape, axes = node.shape(0), node.axes(1)
    if axes is None:
        raise ValueError("axes must be given; they are missing")
    return unsqueezed(shape, axes)


def _concat(node: Node) -> Reading:
    shapes = node.shapes()
    axis = axis_of(node.integer("axis", 1 if node.opset < 4 else None), len(shapes[0]))
    if node.batch is not None and axis > 0:
        # A constant that was made for the file's batch, such as a class token, goes along.
        leading = max(s[0] for s in shapes)
        shapes = [
            with_axis(s, 0, leading)
            if node.value(n).is_constant and s[0] * node.batch[1] == leading * node.batch[0]
            else s
            for n, s in enumerate(shapes)
        ]
    # A single number is part of a shape that is computed, not a trained token.
    learned = tuple(n for n in range(len(shapes)) if prod(shapes[n]) > 1)
    return Reading((concatenated(shapes, axis),), weights=learned)


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
    return {
        axis: cut(shape[axis], starts[n], ends[n], steps[n])
        for n, axis in enumerate(axes_of(axes, len(shape)))
    }


# The end that exporters write for "to the end".
_OPEN_END = 2**63 - 1


def _slice(node: Node) -> Reading:
    shape, taken = node.shape(0), cuts(node)
    step = max((abs(some.step) for some in taken.values()), default=1)
    # A slice to the end of an axis, however long, that takes all is none: runtimes drop it.
    is_all = all(t == range(shape[n]) for n, t in taken.items())
    ends = node.integers("ends") if "ends" in node.attributes else node.whole_numbers(2)
    if is_all and all(end >= _OPEN_END for end in ends):
        return Reading((shape,), op="identity")
    return Reading((with_sides(shape, {n: len(t) for n, t in taken.items()}),), stride=(1, step))


def _pad(node: Node) -> TensorShape:
    shape = node.shape(0)
    old = next((name for name in ("pads", "paddings") if name in node.attributes), None)
    pads = node.whole_numbers(1) if old is None else node.integers(old)
    axes = list(range(len(shape))) if node.get(3) is None else node.whole_numbers(3)
    if len(pads) != 2 * len(axes):
        raise ValueError(f"there must be two pads for each of {len(axes)} axes; got {len(pads)}")
    sides = list(shape)
    for n, axis in enumerate(axes_of(axes, len(shape))):
        sides[axis] += pads[n] + pads[n + len(axes)]
    return tuple(sides)


def _transpose(node: Node) -> Reading:
    shape = node.shape(0)
    order = node.integers("perm", range(len(shape))[::-1])
    return Reading((permuted(shape, order),), order=tuple(order))


def _gather(node: Node) -> Reading:
    """Slices by index; a constant that they are taken from is an embedding."""
    shape, indices = node.shape(0), node.shape(1)
    axis = axis_of(node.integer("axis", 0), len(shape))
    return Reading(((*shape[:axis], *indices, *shape[axis + 1 :]),), weights=(0,))


def _gather_nd(node: Node) -> Reading:
    shape, indices = node.shape(0), node.shape(1, min_axes=1)
    first = node.integer("batch_dims", 0) + indices[-1]
    if not indices[-1] <= first <= len(shape):
        raise ValueError(f"indices {list(indices)} must name axes of {list(shape)}")
    return Reading(((*indices[:-1], *shape[first:]),), weights=(0,))


def _expand(node: Node) -> TensorShape:
    target = tuple(node.whole_numbers(1))
    if any(side < 0 for side in target):
        raise ValueError(f"a shape must have positive sides; got {list(target)}")
    shape = node.shape(0)
    if node.batch is not None and (shape[:1], target[:1]) == (node.batch[1:], node.batch[:1]):
        target = (shape[0], *target[1:]) if len(shape) == len(target) else target
    return broadcast(shape, target)


def _tile(node: Node) -> TensorShape:
    shape, repeats = node.shape(0), node.whole_numbers(1)
    if node.opset < 6 and node.get(2) is not None:  # how often, and along which axis
        axis = axis_of(node.whole_numbers(2)[0], len(shape))
        repeats = [repeats[0] if n == axis else 1 for n in range(len(shape))]
    if len(repeats) != len(shape) or min(repeats, default=0) < 0:
        raise ValueError(f"{list(shape)} must have as many repeats, from 0 on; got {repeats[:20]}")
    return tuple(s * r for s, r in zip(shape, repeats, strict=True))


def _resize(node: Node) -> TensorShape:
    """Sides become given sizes, or are scaled and rounded down, on some axes or all."""
    shape = node.shape(0)
    axes = axes_of(node.integers("axes", range(len(shape))), len(shape))
    sizes_given = node.get(3)
    if sizes_given is not None and sizes_given.shape != (0,):
        sizes = node.whole_numbers(3)
        if len(sizes) != len(axes):
            raise ValueError(f"there must be {len(axes)} sizes; got {sizes[:20]}")
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch" and axes:
            # One factor for all axes, so that none becomes longer, or none shorter, than asked.
            pick = {"not_larger": min, "not_smaller": max}.get(policy)
            if pick is None or any(shape[n] < 1 for n in axes):
                raise ValueError(f"keep_aspect_ratio_policy must be one of ONNX; got {policy!r}")
            factor = pick(size / shape[n] for n, size in zip(axes, sizes, strict=True))
            sizes = [floor(factor * shape[n] + 0.5) for n in axes]
        return with_sides(shape, dict(zip(axes, sizes, strict=True)))
    scales = _scales(node)
    if len(scales) != len(axes) or not all(isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"there must be {len(axes)} positive scales; got {scales[:20]}")
    # In single precision, as runtimes do: 30 x 0.46666667 is 14 there, and less in double.
    sides = {
        n: int(np.float32(shape[n]) * np.float32(s)) for n, s in zip(axes, scales, strict=True)
    }
    return with_sides(shape, sides)


def _resized(node: Node) -> Reading:
    is_cubic = node.text("mode", "nearest") == "cubic"
    shape = _resize(node)
    # One element comes of two along every side that changes.
    sides = sum(a != b for a, b in zip(node.shape(0), shape, strict=True))
    terms = 2**sides if node.text("mode", "nearest") == "linear" and sides else 0
    return Reading((shape,), op="resize_cubic" if is_cubic else None, sum_length=terms)


def _scales(node: Node) -> list[float]:
    if "scales" in node.attributes:
        return node.numbers("scales")
    if "height_scale" in node.attributes:  # opset 1
        sides = [node.number("height_scale"), node.number("width_scale")]
        return [*[1.0] * (len(node.shape(0)) - 2), *sides]
    position = 1 if len(node.inputs) == 2 else 2
    return [float(v) for v in node.data(position).reshape(-1).tolist()]


def _depth_to_space(node: Node) -> TensorShape:
    batch, channels, height, width = _map(node)
    side = node.integer("blocksize")
    if side < 1 or channels % side**2:
        raise ValueError(f"{channels} channels must be blocks of {side} x {side}")
    return (batch, channels // side**2, height * side, width * side)


def _space_to_depth(node: Node) -> TensorShape:
    batch, channels, height, width = _map(node)
    side = node.integer("blocksize")
    if side < 1 or height % side or width % side:
        raise ValueError(f"{height} x {width} must be blocks of {side} x {side}")
    return (batch, channels * side**2, height // side, width // side)


def _map(node: Node) -> TensorShape:
    shape = node.shape(0)
    if len(shape) != 4:
        raise ValueError(f"a map must have 4 axes; got {list(shape)}")
    return shape


def _reduce(node: Node) -> TensorShape:
    return reduced(node.shape(0), _reduced_axes(node), keep=bool(node.integer("keepdims", 1)))


def _reduced_axes(node: Node) -> list[int]:
    """Axes that a reduction is over: all of them where none is told."""
    axes = node.axes(1)
    if axes:
        return axes
    return [] if node.integer("noop_with_empty_axes", 0) else list(range(len(node.shape(0))))


def _arg_reduce(node: Node) -> Reading:
    keep = bool(node.integer("keepdims", 1))
    return Reading((reduced(node.shape(0), [node.integer("axis", 0)], keep=keep),), INT64)


def _top_k(node: Node) -> Reading:
    shape = node.shape(0)
    given = [node.integer("k")] if "k" in node.attributes else node.whole_numbers(1)
    if len(given) != 1:
        raise ValueError(f"one number must be given; got {given[:8]}")
    axis = axis_of(node.integer("axis", -1), len(shape))
    if not 0 <= given[0] <= shape[axis]:
        raise ValueError(f"it must take at most the {shape[axis]} there are; got {given[0]}")
    return Reading((with_axis(shape, axis, given[0]),) * node.outputs)


def _shape(node: Node) -> Reading:
    rank = len(node.shape(0))
    start, end, _ = slice(node.integer("start", 0), node.integer("end", rank)).indices(rank)
    return Reading(((max(0, end - start),),), INT64)


def _size(node: Node) -> Reading:
    node.shape(0)  # which must be known
    return Reading(((),), INT64)


def _constant_of_shape(node: Node) -> Reading:
    value = node.attributes.get("value")
    element = type_of(value.t.data_type) if value else FLOAT
    return Reading((tuple(node.whole_numbers(0)),), element)


def _range(node: Node) -> Reading:
    """Numbers from start to limit, in steps."""
    ends = [node.data(n) for n in range(3)]
    if any(e.size != 1 or e.dtype.kind not in "iuf" for e in ends):
        raise ValueError("start, limit and step must be one number each")
    start, limit, step = (e.reshape(-1)[0].item() for e in ends)
    if not all(map(isfinite, (start, limit, step))) or step == 0:
        raise ValueError(f"it must count in finite steps other than 0; got {start, limit, step}")
    if isinstance(step, int):
        return Reading((((max(0, -((start - limit) // step))),),))
    return Reading(((max(0, ceil((limit - start) / step)),),))


def _one_hot(node: Node) -> Reading:
    """Indices, how many choices, and the two values: a new axis of choices."""
    shape = node.shape(0)
    depth = node.data(1)
    if depth.size != 1:
        raise UnknownShape
    axis = axis_of(node.integer("axis", -1), len(shape) + 1)
    out = (*shape[:axis], int(depth.reshape(-1)[0]), *shape[axis:])
    return Reading((out,), node.value(2).type)


def _non_zero(node: Node) -> Reading:
    """Positions of what is not 0: how many there are is known of constants only."""
    data = node.data(0)
    return Reading(((data.ndim, int((data != 0).sum())),), INT64)


def _eye_like(node: Node) -> Reading:
    asked = node.integer("dtype", 0)
    return Reading((node.shape(0),), type_of(asked) if asked else None)


# -- sequences, whose shape is (tensors, sides of each); (0,) where nothing is in it yet ---------


def _inserted(node: Node) -> TensorShape:
    held, shape = node.shape(0), node.shape(1)
    if held[:1] != (0,) and held[1:] != shape:
        raise UnknownShape  # tensors of several shapes
    return (held[0] + 1, *shape)


def _constructed(node: Node) -> TensorShape:
    shapes = node.shapes()
    if len(set(shapes)) != 1:
        raise UnknownShape
    return (len(shapes), *shapes[0])


def _erased(node: Node) -> TensorShape:
    held = node.shape(0, min_axes=1)
    return (max(0, held[0] - 1), *held[1:])


def _concat_sequence(node: Node) -> TensorShape:
    """All tensors after each other, along an axis of theirs or a new one."""
    count, *sides = node.shape(0, min_axes=1)
    if node.integer("new_axis", 0):
        axis = axis_of(node.integer("axis"), len(sides) + 1)
        return (*sides[:axis], count, *sides[axis:])
    axis = axis_of(node.integer("axis"), len(sides))
    return with_axis(tuple(sides), axis, sides[axis] * count)


def _split_sequence(node: Node) -> TensorShape:
    shape = node.shape(0, min_axes=1)
    axis = axis_of(node.integer("axis", 0), len(shape))
    if node.get(1) is None:
        kept = node.integer("keepdims", 1)
        return (shape[axis], *shape[:axis], *(1,) * kept, *shape[axis + 1 :])
    parts = node.whole_numbers(1)
    if len(set(parts)) != 1 or parts[0] < 1 or shape[axis] % parts[0]:
        raise UnknownShape  # parts of several sizes
    return (shape[axis] // parts[0], *with_axis(shape, axis, parts[0]))


# Name in ONNX, or operator of ours -> how its nodes are read.
MOVES: dict[str, Rule] = {
    "Reshape": shape_rule(_reshape, 1),
    "Flatten": shape_rule(lambda n: flattened(n.shape(0), n.integer("axis", 1))),
    "Squeeze": shape_rule(lambda n: squeezed(n.shape(0), n.axes(1)), 1),
    "Unsqueeze": shape_rule(_unsqueeze, 1),
    "concat": Rule(_concat),
    "split": Rule(_split, (1,)),
    "slice": Rule(_slice, (1, 2, 3, 4)),
    "pad": shape_rule(_pad, 1, 2, 3),
    "transpose": Rule(_transpose),
    "Gather": Rule(_gather),
    "GatherElements": shape_rule(lambda n: n.shape(1)),
    "GatherND": Rule(_gather_nd),
    "NonZero": Rule(_non_zero),
    "scatter": shape_rule(lambda n: n.shape(0)),
    "OneHot": Rule(_one_hot, (1,)),
    "expand": shape_rule(_expand, 1),
    "tile": shape_rule(_tile, 1),
    "Resize": Rule(_resized, (1, 2, 3)),
    "Upsample": shape_rule(_resize, 1),
    "depth_to_space": shape_rule(_depth_to_space),
    "space_to_depth": shape_rule(_space_to_depth),
    "mean": shape_rule(_reduce, 1),
    "reduce": shape_rule(_reduce, 1),
    "CumSum": shape_rule(lambda n: n.shape(0), 1),
    "arg_reduce": Rule(_arg_reduce),
    "TopK": Rule(_top_k, (1,)),
    "Shape": Rule(_shape, is_constant=True),
    "Size": Rule(_size, is_constant=True),
    "EyeLike": Rule(_eye_like, is_constant=True),
    "ConstantOfShape": Rule(_constant_of_shape, (0,)),
    "Range": Rule(_range, (0, 1, 2)),
    "SequenceEmpty": shape_rule(lambda _: (0,)),
    "SequenceConstruct": shape_rule(_constructed),
    "SequenceInsert": shape_rule(_inserted, 2),
    "SequenceErase": shape_rule(_erased, 1),
    "SequenceAt": shape_rule(lambda n: n.shape(0, min_axes=1)[1:], 1),
    "SequenceLength": Rule(lambda _: Reading(((),), INT64)),
    "ConcatFromSequence": shape_rule(_concat_sequence),
    "SplitToSequence": shape_rule(_split_sequence, 1),
}
