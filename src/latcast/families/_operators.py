"""Operators of ONNX that follow shapes by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ._writer import GraphWriter, Tensor


class Operators(GraphWriter):
    """Adds operators without weights one by one, each one node.

    Maps are (batch, channels, height, width), tokens (batch, tokens, features), vectors
    (batch, features). Every method returns what the operator gives.
    """

    # -- operators of one input -------------------------------------------------------------

    def unary(self, op: str, x: Tensor, *constants: float, word: str = "", **at: Any) -> Tensor:
        """An operator that keeps the shape, such as ``Relu`` or ``Clip`` with its bounds."""
        arrays = [np.array(c, dtype=np.float32) for c in constants]
        return self.node(op, [x, *arrays], x.shape, word=word or op.lower(), **at)[0]

    def max_pool(
        self, x: Tensor, kernel_size: int, *, stride: int, padding: int = 0, ceil: bool = False
    ) -> Tensor:
        """The largest of every window; ``ceil`` keeps windows that end outside."""
        return self._pool("MaxPool", x, kernel_size, stride, padding, ceil, word="max_pool")

    def avg_pool(self, x: Tensor, kernel_size: int, *, stride: int, padding: int = 0) -> Tensor:
        """The mean of every window, padding left out."""
        return self._pool("AveragePool", x, kernel_size, stride, padding, False, word="avg_pool")

    def global_pool(self, x: Tensor) -> Tensor:
        """The mean of every channel, sides of 1."""
        shape = (*x.shape[:2], 1, 1)
        return self.node("GlobalAveragePool", [x], shape, word="global_pool")[0]

    def mean(self, x: Tensor, axis: int, *, keep: bool = False) -> Tensor:
        """The mean along ``axis``, which stays with a side of 1 if ``keep``."""
        axis %= len(x.shape)
        shape = (*x.shape[:axis], *([1] if keep else []), *x.shape[axis + 1 :])
        axes = np.array([axis], dtype=np.int64)
        return self.node("ReduceMean", [x, axes], shape, word="mean", keepdims=int(keep))[0]

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """Shares that add up to 1 along ``axis``."""
        return self.node("Softmax", [x], x.shape, word="softmax", axis=axis)[0]

    def flatten(self, x: Tensor) -> Tensor:
        """A vector of all that a sample has."""
        shape = (x.shape[0], prod(x.shape[1:]))
        return self.node("Flatten", [x], shape, word="flatten")[0]

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """The same elements in another shape (with the batch)."""
        if prod(shape) != prod(x.shape):
            raise ValueError(f"a shape of as many elements as {x.shape} is needed; got {shape}")
        return self.node("Reshape", [x, _integers(shape)], shape, word="reshape")[0]

    def expand(self, x: Tensor, *shape: int) -> Tensor:
        """Repeated to ``shape``; nothing is done where it has that shape."""
        if x.shape == shape:
            return x
        return self.node("Expand", [x, _integers(shape)], shape, word="expand")[0]

    def transpose(self, x: Tensor, *order: int) -> Tensor:
        """The axes in another order."""
        shape = tuple(x.shape[i] for i in order)
        return self.node("Transpose", [x], shape, word="transpose", perm=list(order))[0]

    def pad(self, x: Tensor, around: int) -> Tensor:
        """Zeros around a map."""
        pads = _integers([0, 0, around, around] * 2)
        shape = (*x.shape[:2], *(s + 2 * around for s in x.shape[2:]))
        return self.node("Pad", [x, pads], shape, word="pad")[0]

    def resize(self, x: Tensor, factor: int, *, linear: bool = False) -> Tensor:
        """A map with sides ``factor`` times as long, repeated or interpolated."""
        shape = (*x.shape[:2], *(s * factor for s in x.shape[2:]))
        mode = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": "floor"}
        where = "half_pixel" if linear else "asymmetric"
        scales = np.array([1, 1, factor, factor], dtype=np.float32)
        return self.node(
            "Resize",
            [x, None, scales],
            shape,
            word="resize",
            coordinate_transformation_mode=where,
            **mode,
        )[0]

    def gather(self, x: Tensor, index: int, axis: int) -> Tensor:
        """What is at ``index`` of ``axis``, which goes."""
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return self.node("Gather", [x, np.array(index)], shape, word="gather", axis=axis)[0]

    def split(self, x: Tensor, sizes: Sequence[int], axis: int = 1) -> list[Tensor]:
        """Parts of ``sizes`` along ``axis``."""
        shapes = [(*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in sizes]
        return self.node("Split", [x, _integers(sizes)], *shapes, word="split", axis=axis)

    # -- operators of several inputs --------------------------------------------------------

    def add(self, x: Tensor, y: Tensor | float) -> Tensor:
        """A sum, broadcast."""
        return self.binary("Add", x, y)

    def mul(self, x: Tensor, y: Tensor | float) -> Tensor:
        """A product element by element, broadcast."""
        return self.binary("Mul", x, y)

    def binary(self, op: str, x: Tensor, y: Tensor | float) -> Tensor:
        """``Add``, ``Sub``, ``Mul``, ``Div`` or ``Pow``, broadcast."""
        if not isinstance(y, Tensor):
            return self.node(op, [x, np.array(y, dtype=np.float32)], x.shape, word=op.lower())[0]
        shape = np.broadcast_shapes(x.shape, y.shape)
        return self.node(op, [x, y], shape, word=op.lower())[0]

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """A product of matrices, both computed."""
        shape = (*x.shape[:-1], y.shape[-1])
        self.macs += prod(shape) * x.shape[-1]
        return self.node("MatMul", [x, y], shape, word="matmul")[0]

    def concat(self, parts: Sequence[Tensor], axis: int = 1) -> Tensor:
        """``parts`` one after the other along ``axis``."""
        first = parts[0].shape
        shape = (*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :])
        return self.node("Concat", list(parts), shape, word="concat", axis=axis)[0]

    def _pool(
        self, op: str, x: Tensor, size: int, stride: int, padding: int, ceil: bool, *, word: str
    ) -> Tensor:
        sides = [out_side(s, size, stride, padding, ceil) for s in x.shape[2:]]
        attributes: dict[str, Any] = {"ceil_mode": 1} if ceil else {}
        return self.node(
            op,
            [x],
            (*x.shape[:2], *sides),
            word=word,
            kernel_shape=[size] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
            **attributes,
        )[0]


def _integers(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int64)


def out_side(side: int, extent: int, stride: int, padding: int, ceil: bool = False) -> int:
    """How often a window of ``extent`` fits into a padded side.

    Raises:
        ValueError: it does not.
    """
    space = side + 2 * padding - extent
    if space < 0:
        raise ValueError(f"a window of {extent} must fit into {side} and padding of {padding}")
    out = (-(-space // stride) if ceil else space // stride) + 1
    # A last window that would begin in the padding is left out, as PyTorch does.
    return out - (ceil and (out - 1) * stride >= side + padding)
