"""Arithmetic of shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from latcast.graph._graph import TensorShape


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from 0; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise ValueError(f"an axis must be within the {rank} axes of its input; got {axis}")
    return axis % rank


def axes_of(axes: Iterable[int], rank: int) -> list[int]:
    """Axes counted from 0, each once."""
    found = [axis_of(a, rank) for a in axes]
    if len(set(found)) != len(found):
        raise ValueError(f"axes must differ; got {found}")
    return found


def broadcast(*shapes: TensorShape) -> TensorShape:
    """The shape that all are stretched to, as numpy does it."""
    rank = max(map(len, shapes))
    out = [1] * rank
    for shape in shapes:
        for n, side in enumerate(shape, rank - len(shape)):
            if side != 1 and out[n] not in {1, side}:
                raise ValueError(
                    f"shapes must fit each other; got {' and '.join(str(list(s)) for s in shapes)}"
                )
            out[n] = side if side != 1 else out[n]
    return tuple(out)


def reshaped(shape: TensorShape, target: Sequence[int], *, keep_zero: bool) -> TensorShape:
    """The shape that a Reshape gives: 0 keeps a side (unless ``keep_zero``), -1 is the rest."""
    sides = list(target)
    for n, side in enumerate(sides):
        if side == 0 and not keep_zero:
            if n >= len(shape):
                raise ValueError(f"0 keeps a side of {list(shape)}; it has no axis {n}")
            sides[n] = shape[n]
    if sides.count(-1) > 1 or any(side < -1 for side in sides):
        raise ValueError(f"a shape must have positive sides and at most one -1; got {sides}")
    if -1 in sides:
        others = prod(side for side in sides if side != -1)
        rest = prod(shape) // others if others else 0
        sides[sides.index(-1)] = rest
    if prod(sides) != prod(shape):
        raise ValueError(
            f"{list(shape)} must have as many elements as the shape {list(target)} that it gets"
        )
    return tuple(sides)


def window_side(
    side: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], *, ceil: bool = False
) -> int:
    """Positions of a window along a side (ONNX, *Conv* and *MaxPool*).

    With ``ceil`` a last window may reach beyond the padding, but must start before it. A window
    that lacks less than a step to fit has one position, as runtimes divide towards 0.
    """
    room = side + sum(pads) - dilation * (kernel - 1) - 1
    out = (-(-room // stride) if ceil else max(room, 0) // stride) + 1
    if ceil and (out - 1) * stride >= side + pads[0]:
        out -= 1
    if room <= -stride or out < 1:
        raise ValueError(f"a window of {kernel} must fit into a side of {side} padded by {pads}")
    return out


def with_axis(shape: TensorShape, axis: int, side: int) -> TensorShape:
    """The shape with another side on one axis."""
    return (*shape[:axis], side, *shape[axis + 1 :])


def cut(side: int, start: int, end: int, step: int) -> range:
    """Positions that a slice takes of a side (ONNX, *Slice*; not Python's for negative steps)."""
    last = side if step > 0 else side - 1
    first = min(max(start + side if start < 0 else start, 0), max(last, 0))
    end = end + side if end < 0 else end
    return range(first, min(max(end, 0 if step > 0 else -1), side), step)
