"""Operators that make one number of many, and those that give constants."""

from __future__ import annotations

from math import ceil, isfinite

from ._shapes import axes_of, axis_of, with_axis
from ._tensors import FLOAT, INT64
from ._values import Entry, Node, Reading, UnknownShape


def _reduce(node: Node) -> Reading:
    """Over axes; over all of them where none is told."""
    shape = node.shape(0)
    axes = node.axes(1)
    if not axes:
        axes = [] if node.integer("noop_with_empty_axes", 0) else list(range(len(shape)))
    over = set(axes_of(axes, len(shape)))
    if node.integer("keepdims", 1):
        return Reading((tuple(1 if n in over else s for n, s in enumerate(shape)),))
    return Reading((tuple(s for n, s in enumerate(shape) if n not in over),))


def _arg_reduce(node: Node) -> Reading:
    shape = node.shape(0)
    axis = axis_of(node.integer("axis", 0), len(shape))
    kept = node.integer("keepdims", 1)
    out = with_axis(shape, axis, 1) if kept else (*shape[:axis], *shape[axis + 1 :])
    return Reading((out,), dtype=INT64)


def _top_k(node: Node) -> Reading:
    shape = node.shape(0)
    k = node.integer("k") if "k" in node.attributes else _only(node.whole_numbers(1))
    axis = axis_of(node.integer("axis", -1), len(shape))
    if not 0 <= k <= shape[axis]:
        raise ValueError(f"it must take at most the {shape[axis]} there are; got {k}")
    return Reading((with_axis(shape, axis, k),) * node.outputs)


def _only(numbers: list[int]) -> int:
    if len(numbers) != 1:
        raise ValueError(f"one number must be given; got {numbers[:8]}")
    return numbers[0]


def _cumulative(node: Node) -> Reading:
    return Reading((node.shape(0),))


def _shape(node: Node) -> Reading:
    rank = len(node.shape(0))
    start, end, _ = slice(node.integer("start", 0), node.integer("end", rank)).indices(rank)
    return Reading(((max(0, end - start),),), dtype=INT64)


def _size(node: Node) -> Reading:
    node.shape(0)
    return Reading(((),), dtype=INT64)


def _constant_of_shape(node: Node) -> Reading:
    value = node.attributes.get("value")
    return Reading((tuple(node.whole_numbers(0)),), dtype=value.t.data_type if value else FLOAT)


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
    return Reading((out,), dtype=node.value(2).dtype)


def _non_zero(node: Node) -> Reading:
    """Positions of what is not 0: how many there are is known of constants only."""
    data = node.data(0)
    return Reading(((data.ndim, int((data != 0).sum())),), dtype=INT64)


def _eye_like(node: Node) -> Reading:
    return Reading((node.shape(0),), dtype=node.integer("dtype", 0) or None)


REDUCTIONS: dict[str, Entry] = {
    "ReduceMean": Entry("mean", _reduce, (1,)),
    **{
        f"Reduce{name}": Entry("reduce", _reduce, (1,))
        for name in ("Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
    "ArgMax": Entry("arg_reduce", _arg_reduce),
    "ArgMin": Entry("arg_reduce", _arg_reduce),
    "TopK": Entry("arg_reduce", _top_k, (1,)),
    "CumSum": Entry("reduce", _cumulative, (1,)),
    "Shape": Entry("constant", _shape, is_constant=True),
    "Size": Entry("constant", _size, is_constant=True),
    "EyeLike": Entry("constant", _eye_like, is_constant=True),
    "ConstantOfShape": Entry("constant", _constant_of_shape, (0,)),
    "Range": Entry("constant", _range, (0, 1, 2)),
    "NonZero": Entry("gather", _non_zero),
    "OneHot": Entry("scatter", _one_hot, (1,)),
}
"""ONNX operator -> how it is read."""
