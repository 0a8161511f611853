"""Constants that are computed: what a node gives where all that it reads is small and constant.

Shapes are known before (see the readers), so that nothing large is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast.graph._graph import TensorShape

from ._moves import cuts
from ._shapes import axes_of
from ._tensors import MOST_FOLDED, read_tensor, type_of
from ._values import UnknownShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._values import Node

    Array = NDArray[Any]


def evaluate(node: Node, shapes: Sequence[TensorShape]) -> list[Array] | None:
    """The outputs of a node, or None where it is not computed with.

    Args:
        node: every input that is given has data.
        shapes: of its outputs.
    """
    evaluator = EVALUATORS.get(node.op_type)
    if evaluator is None:
        return None
    with np.errstate(all="ignore"):
        outputs = evaluator(node, shapes)
    return outputs if isinstance(outputs, list) else [np.asarray(outputs)]


def _numpy(function: Callable[..., Any]) -> Callable[[Node, Sequence[TensorShape]], Array]:
    """Of all inputs, in the type of the first (ONNX has no promotion)."""

    def run(node: Node, _: Sequence[TensorShape]) -> Array:
        arrays = [node.data(n) for n in range(len(node.inputs))]
        result = np.asarray(function(*arrays))
        return result.astype(arrays[0].dtype, copy=False)

    return run


def _logic(function: Callable[..., Any]) -> Callable[[Node, Sequence[TensorShape]], Array]:
    def run(node: Node, _: Sequence[TensorShape]) -> Array:
        return np.asarray(function(*(node.data(n) for n in range(len(node.inputs)))), np.bool_)

    return run


def _divide(left: Array, right: Array) -> Array:
    """Of integers towards 0, and by 0 nothing (as C does it where it does not crash)."""
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    if np.any(right == 0):
        raise ValueError("integers must not be divided by 0")
    quotient, remainder = np.divmod(left, right)
    return np.asarray(quotient + ((remainder != 0) & ((left < 0) != (right < 0))))


def _power(base: Array, exponent: Array) -> Array:
    return np.asarray(np.power(base.astype(np.float64), exponent.astype(np.float64)))


def _modulo(node: Node, _: Sequence[TensorShape]) -> Array:
    left, right = node.data(0), node.data(1)
    if left.dtype.kind != "f" and np.any(right == 0):
        raise ValueError("integers must not be divided by 0")
    function = np.fmod if node.integer("fmod", 0) else np.mod
    return np.asarray(function(left, right))


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(*arrays: Array) -> Any:
        result: Any = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    return run


def _reshape(node: Node, shapes: Sequence[TensorShape]) -> Array:
    return node.data(0).reshape(shapes[0])


def _broadcast(node: Node, shapes: Sequence[TensorShape]) -> Array:
    return np.broadcast_to(node.data(0), shapes[0])


def _tile(node: Node, _: Sequence[TensorShape]) -> Array:
    return np.tile(node.data(0), node.whole_numbers(1))


def _cast(node: Node, _: Sequence[TensorShape]) -> Array:
    name = type_of(node.integer("to")).numpy
    if name is None:
        raise UnknownShape
    return node.data(0).astype(name)


def _concat(node: Node, _: Sequence[TensorShape]) -> Array:
    arrays = [node.data(n) for n in range(len(node.inputs))]
    return np.concatenate(arrays, axis=node.integer("axis"))


def _split(node: Node, shapes: Sequence[TensorShape]) -> list[Array]:
    axis = node.integer("axis", 0)
    ends = np.cumsum([s[axis] for s in shapes])[:-1]
    return list(np.split(node.data(0), ends.tolist(), axis=axis))


def _slice(node: Node, _: Sequence[TensorShape]) -> Array:
    data: Array = node.data(0)
    for axis, taken in cuts(node).items():
        data = np.take(data, np.array(taken, np.int64), axis=axis)
    return data


def _transpose(node: Node, _: Sequence[TensorShape]) -> Array:
    data = node.data(0)
    return np.transpose(data, node.integers("perm", range(data.ndim)[::-1]))


def _gather(node: Node, _: Sequence[TensorShape]) -> Array:
    return np.take(node.data(0), node.data(1), axis=node.integer("axis", 0))


def _gather_elements(node: Node, _: Sequence[TensorShape]) -> Array:
    return np.take_along_axis(node.data(0), node.data(1), axis=node.integer("axis", 0))


def _scatter_nd(node: Node, _: Sequence[TensorShape]) -> Array:
    if node.text("reduction", "none") != "none":
        raise UnknownShape
    out, indices = node.data(0).copy(), node.data(1)
    out[tuple(np.moveaxis(indices, -1, 0))] = node.data(2)
    return out


def _reduce(function: Callable[..., Any]) -> Callable[[Node, Sequence[TensorShape]], Array]:
    def run(node: Node, shapes: Sequence[TensorShape]) -> Array:
        data = node.data(0)
        axes = node.axes(1)
        if not axes:
            axes = [] if node.integer("noop_with_empty_axes", 0) else list(range(data.ndim))
        result = function(data, axis=tuple(axes_of(axes, data.ndim)))
        return np.asarray(result).astype(data.dtype, copy=False).reshape(shapes[0])

    return run


def _shape_of(node: Node, _: Sequence[TensorShape]) -> Array:
    shape = node.shape(0)
    return np.array(shape, np.int64)[node.integer("start", 0) : node.integer("end", len(shape))]


def _size(node: Node, _: Sequence[TensorShape]) -> Array:
    size = 1
    for side in node.shape(0):
        size *= side
    return np.array(size, np.int64)


def _constant_of_shape(node: Node, shapes: Sequence[TensorShape]) -> Array:
    value = node.attributes.get("value")
    if value is None:
        return np.zeros(shapes[0], np.float32)
    data = read_tensor(value.t, node.name, None).data()
    if data is None or data.size != 1:
        raise ValueError("value must be one number")
    return np.full(shapes[0], data.reshape(-1)[0])


def _range(node: Node, shapes: Sequence[TensorShape]) -> Array:
    start, step = node.data(0).reshape(-1)[0], node.data(2).reshape(-1)[0]
    numbers: Array = start + np.arange(shapes[0][0]) * step
    return numbers.astype(node.data(0).dtype)


def _trilu(node: Node, _: Sequence[TensorShape]) -> Array:
    k = node.whole_numbers(1)[0] if node.get(1) is not None else 0
    diagonal = max(-MOST_FOLDED, min(MOST_FOLDED, k))
    cut = np.triu if node.integer("upper", 1) else np.tril
    return np.asarray(cut(node.data(0), diagonal))


def _cumulative(node: Node, _: Sequence[TensorShape]) -> Array:
    if node.integer("exclusive", 0) or node.integer("reverse", 0):
        raise UnknownShape
    return np.cumsum(node.data(0), axis=node.whole_numbers(1)[0], dtype=node.data(0).dtype)


def _arg_max(node: Node, shapes: Sequence[TensorShape]) -> Array:
    found = np.argmax(node.data(0), axis=node.integer("axis", 0))
    return np.asarray(found, np.int64).reshape(shapes[0])


EVALUATORS: dict[str, Callable[[Node, Sequence[TensorShape]], Array | list[Array]]] = {
    "Add": _numpy(np.add), "Sub": _numpy(np.subtract), "Mul": _numpy(np.multiply),
    "Div": _numpy(_divide), "Pow": _numpy(_power), "Mod": _modulo,
    "Min": _numpy(_folded(np.minimum)), "Max": _numpy(_folded(np.maximum)),
    "Sum": _numpy(_folded(np.add)),
    "Neg": _numpy(np.negative), "Abs": _numpy(np.abs), "Sign": _numpy(np.sign),
    "Floor": _numpy(np.floor), "Ceil": _numpy(np.ceil), "Round": _numpy(np.round),
    "Sqrt": _numpy(np.sqrt), "Exp": _numpy(np.exp), "Log": _numpy(np.log),
    "Sin": _numpy(np.sin), "Cos": _numpy(np.cos), "Reciprocal": _numpy(np.reciprocal),
    "Equal": _logic(np.equal), "Greater": _logic(np.greater), "Less": _logic(np.less),
    "GreaterOrEqual": _logic(np.greater_equal), "LessOrEqual": _logic(np.less_equal),
    "And": _logic(np.logical_and), "Or": _logic(np.logical_or), "Xor": _logic(np.logical_xor),
    "Not": _logic(np.logical_not),
    "Where": lambda n, _: np.where(n.data(0), n.data(1), n.data(2)),
    "Identity": lambda n, _: n.data(0),
    "Reshape": _reshape, "Flatten": _reshape, "Squeeze": _reshape, "Unsqueeze": _reshape,
    "Expand": _broadcast, "Tile": _tile, "Cast": _cast, "Concat": _concat, "Split": _split,
    "CastLike": lambda n, _: n.data(0).astype(n.data(1).dtype),
    "Slice": _slice, "Transpose": _transpose, "Gather": _gather,
    "GatherElements": _gather_elements, "ScatterND": _scatter_nd,
    "ReduceSum": _reduce(np.sum), "ReduceProd": _reduce(np.prod), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min), "ReduceMean": _reduce(np.mean),
    "Shape": _shape_of, "Size": _size, "ConstantOfShape": _constant_of_shape, "Range": _range,
    "NonZero": lambda n, _: np.array(np.nonzero(n.data(0)), np.int64),
    "Trilu": _trilu, "CumSum": _cumulative, "ArgMax": _arg_max,
}  # fmt: skip
"""ONNX operator -> its outputs."""
