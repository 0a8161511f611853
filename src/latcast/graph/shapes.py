"""Shapes that operators give: one rule for each, which readers and builders share.

Shapes are tuples of sides, the batch included; axes may be negative and then count from the end.
Every function raises ValueError where the shapes do not fit the operator, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from latcast._limits import MAX_AXES, MAX_ELEMENTS

TensorShape = tuple[int, ...]

# Taps of a side that are counted one by one.
_MAX_TAPS = 1024
# Sides, steps and paddings of windows are below it, as ONNX Runtime keeps them in 32 bits.
_MAX_STEP = 2**31


def check_shape(shape: TensorShape | None) -> None:
    """Make sure that a tensor could exist; None is a shape that is not known."""
    if shape is None:
        return
    if any(s < 0 for s in shape) or len(shape) > MAX_AXES or prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"a shape must have positive sides, at most {MAX_AXES}, and at most "
            f"{MAX_ELEMENTS} elements; got {list(shape)[: MAX_AXES + 1]}"
        )


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


def with_axis(shape: TensorShape, axis: int, side: int) -> TensorShape:
    """The shape with another side on one axis."""
    return (*shape[:axis], side, *shape[axis + 1 :])


def with_sides(shape: TensorShape, sides: Mapping[int, int]) -> TensorShape:
    """The shape with other sides on some axes."""
    return tuple(sides.get(n, side) for n, side in enumerate(shape))


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


def flattened(shape: TensorShape, axis: int) -> TensorShape:
    """The matrix of all axes before ``axis`` by all from it on."""
    at = axis if axis == len(shape) else axis_of(axis, len(shape))
    return (prod(shape[:at]), prod(shape[at:]))


def squeezed(shape: TensorShape, axes: Sequence[int] | None) -> TensorShape:
    """The shape without axes of side 1: those that are given, or all where None is."""
    if axes is None:
        return tuple(s for s in shape if s != 1)
    gone = set(axes_of(axes, len(shape)))
    if any(shape[n] != 1 for n in gone):
        raise ValueError(f"axes {axes} of {list(shape)} must have a side of 1")
    return tuple(s for n, s in enumerate(shape) if n not in gone)


def unsqueezed(shape: TensorShape, axes: Sequence[int]) -> TensorShape:
    """The shape with further axes of side 1, which have the positions ``axes`` in it."""
    rank = len(shape) + len(axes)
    new = set(axes_of(axes, rank))
    sides = iter(shape)
    return tuple(1 if n in new else next(sides) for n in range(rank))


def permuted(shape: TensorShape, order: Sequence[int]) -> TensorShape:
    """The shape with its axes in another order."""
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm must name each of {len(shape)} axes once; got {order}")
    return tuple(shape[n] for n in order)


def concatenated(shapes: Sequence[TensorShape], axis: int) -> TensorShape:
    """The shape of tensors that are put after each other along an axis, counted from 0."""
    first = with_axis(shapes[0], axis, 0)
    if any(len(s) != len(first) or with_axis(s, axis, 0) != first for s in shapes):
        raise ValueError(f"inputs must differ in axis {axis} only; got {list(map(list, shapes))}")
    return with_axis(shapes[0], axis, sum(s[axis] for s in shapes))


def reduced(shape: TensorShape, axes: Iterable[int], *, keep: bool) -> TensorShape:
    """The shape where some axes become one element; they stay with a side of 1 if ``keep``."""
    over = set(axes_of(axes, len(shape)))
    if keep:
        return tuple(1 if n in over else s for n, s in enumerate(shape))
    return tuple(s for n, s in enumerate(shape) if n not in over)


def cut(side: int, start: int, end: int, step: int) -> range:
    """Positions that a slice takes of a side (ONNX, *Slice*; not Python's for negative steps)."""
    last = side if step > 0 else side - 1
    first = min(max(start + side if start < 0 else start, 0), max(last, 0))
    end = end + side if end < 0 else end
    return range(first, min(max(end, 0 if step > 0 else -1), side), step)


def product(left: TensorShape, right: TensorShape) -> TensorShape:
    """The shape of a product of matrices (numpy's matmul): leading axes are broadcast."""
    if not left or not right:
        raise ValueError("a product of matrices must be of tensors with at least one axis")
    whole_left = left if len(left) > 1 else (1, *left)
    whole_right = right if len(right) > 1 else (*right, 1)
    if whole_left[-1] != whole_right[-2]:
        raise ValueError(f"matrices {list(left)} and {list(right)} must fit each other")
    sides = (whole_left[-2],) * (len(left) > 1) + (whole_right[-1],) * (len(right) > 1)
    return (*broadcast(whole_left[:-2], whole_right[:-2]), *sides)


def einsum_axes(
    equation: str, shapes: Sequence[TensorShape]
) -> tuple[list[str], str, dict[str, int]]:
    """Letters of the axes of every input, those of the output, and the side of each letter."""
    terms, result = _equation(equation, [len(s) for s in shapes])
    sides: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, side in zip(term, shape, strict=True):
            if sides.setdefault(letter, side) not in {side, 1} and side != 1:
                raise ValueError(f"sides of {letter!r} must be equal; got {sides[letter]}, {side}")
            sides[letter] = max(sides[letter], side)
    if not set(result) <= set(sides):
        raise ValueError("what the equation gives must be made of what it reads")
    return terms, result, sides


def _equation(text: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Letters of the axes of the inputs and of the output.

    An ellipsis becomes letters of Unicode's private use area, which no file's equation has, and
    which are counted from the last axis since ellipses are broadcast.
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation {text[:80]!r} must have a term for each of {len(ranks)} inputs")
    most = 0
    for n, rank in enumerate(ranks):
        hidden = rank - len(terms[n].replace("...", ""))
        most = max(most, hidden)
        letters = "".join(chr(0xE000 + i) for i in range(hidden))[::-1]
        terms[n] = terms[n].replace("...", letters, 1)
        if len(terms[n]) != rank or hidden < 0:
            raise ValueError(f"equation {text[:80]!r} must name the {rank} axes of input {n}")
    if arrow:
        hidden_letters = "".join(chr(0xE000 + i) for i in range(most))[::-1]
        return terms, right.replace("...", hidden_letters, 1)
    every = "".join(terms)
    return terms, "".join(c for c in sorted(set(every)) if every.count(c) == 1)


def is_channel_scale(shape: TensorShape, factors: TensorShape) -> bool:
    """Whether a product with ``factors`` scales a map by one factor a channel."""
    if len(shape) != 4 or len(factors) not in {3, 4} or shape[2:] == (1, 1):
        return False
    batch, channels, *sides = (1, *factors)[-4:]
    return batch in {1, shape[0]} and channels == shape[1] and sides == [1, 1]


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


def inside_share(
    side: int, kernel: int, stride: int, dilation: int, before: int, positions: int
) -> float:
    """Share of a window's taps along a side that fall inside of it, over all positions."""
    inside = 0
    for tap in range(kernel):
        first = tap * dilation - before  # of the first position; others are strides behind it
        low, high = max(0, -(first // stride)), (side - 1 - first) // stride
        inside += max(0, min(high, positions - 1) - low + 1)
    return inside / (kernel * positions)


def plane(sides: Sequence[int]) -> tuple[int, int]:
    """Height and width of a window; a depth and what else there is are folded into the height."""
    return prod(sides[:-1]), sides[-1] if sides else 1


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a convolution or a pool, along each spatial axis.

    Attributes:
        kernel: its sides.
        strides: its steps.
        dilations: distances of its elements.
        pads: what is added before each axis, then what is added after each.
        auto_pad: ``NOTSET`` for these pads, ``VALID`` for none, or ``SAME_…`` for as many as make
            an output side of ceil(side / stride).
        ceil: whether a last window may reach beyond the padding.
    """

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    auto_pad: str = "NOTSET"
    ceil: bool = False

    def __post_init__(self) -> None:
        rank = len(self.kernel)
        steps = (*self.kernel, *self.strides, *self.dilations)
        is_possible = all(0 < v < _MAX_STEP for v in steps)
        if not is_possible or not all(0 <= v < _MAX_STEP for v in self.pads):
            raise ValueError(
                f"kernel_shape, strides, dilations must be positive, pads too or 0; "
                f"got {[*steps, *self.pads]}"
            )
        if len(steps) != 3 * rank or len(self.pads) != 2 * rank:
            raise ValueError(
                f"a window of {rank} axes must have as many strides, dilations and "
                f"twice as many pads; got {[*steps, *self.pads]}"
            )

    def sides(self, sides: Sequence[int]) -> TensorShape:
        """Spatial sides of the output, of an input with these."""
        rank = len(self.kernel)
        if len(sides) != rank:
            raise ValueError(f"a window of {rank} axes must slide over as many; got {list(sides)}")
        if self.auto_pad.startswith("SAME"):
            return tuple(-(-s // t) for s, t in zip(sides, self.strides, strict=True))
        if self.auto_pad not in {"NOTSET", "VALID"}:
            raise ValueError(f"auto_pad must be NOTSET, VALID or SAME_…; got {self.auto_pad!r}")
        pads = self.pads if self.auto_pad == "NOTSET" else [0] * 2 * rank
        return tuple(
            window_side(
                side, self.kernel[n], self.strides[n], self.dilations[n],
                (pads[n], pads[n + rank]), ceil=self.ceil,
            )
            for n, side in enumerate(sides)
        )  # fmt: skip

    def inside(self, sides: Sequence[int], out: Sequence[int]) -> float:
        """Share of its taps that fall inside of an input with these sides; 1 if not dilated.

        Without dilation the few taps at the border are counted as all others, as is usual.
        """
        share = 1.0
        if max(self.dilations, default=1) == 1 or max(self.kernel) > _MAX_TAPS:
            return share
        rank = len(self.kernel)
        for n, side in enumerate(sides):
            kernel, stride, dilation = self.kernel[n], self.strides[n], self.dilations[n]
            before = self.pads[n] if self.auto_pad == "NOTSET" else 0
            if self.auto_pad.startswith("SAME"):
                both = max(0, (out[n] - 1) * stride + dilation * (kernel - 1) + 1 - side)
                before = both // 2 if self.auto_pad == "SAME_UPPER" else -(-both // 2)
            share *= inside_share(side, kernel, stride, dilation, before, out[n])
        return share if rank else 1.0

    def transposed_sides(self, sides: Sequence[int], beyond: Sequence[int]) -> TensorShape:
        """Spatial sides after a transposed convolution; ``beyond`` adds elements after each."""
        rank = len(self.kernel)
        out = []
        for n, side in enumerate(sides):
            reach = (self.kernel[n] - 1) * self.dilations[n] + 1 + beyond[n]
            pads = self.pads[n] + self.pads[n + rank]
            if self.auto_pad.startswith("SAME"):
                # As ONNX Runtime has it: nothing is padded where the window is below a step.
                reach, pads = min(self.strides[n], reach), 0
            out.append(self.strides[n] * (side - 1) + reach - pads)
        return tuple(out)
