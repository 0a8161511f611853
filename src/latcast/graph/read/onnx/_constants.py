"""Constants of a graph: those that nodes hold, and those that are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast.graph._graph import TensorShape

from ._evaluate import evaluate
from ._order import label
from ._tensors import MOST_FOLDED, constant, read_tensor
from ._values import Entry, Node, Origin, Reading, UnknownShape, Value

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

_MOST_ORIGINS = 64
"""Of one constant; one that was computed from more counts as a constant of its own."""
_MOST_AXES = 64
_MOST_ELEMENTS = 2**48


def check_shape(shape: TensorShape | None) -> None:
    """Make sure that a tensor could exist."""
    if shape is None:
        return
    if any(s < 0 for s in shape) or len(shape) > _MOST_AXES or prod(shape) > _MOST_ELEMENTS:
        raise ValueError(
            f"a shape must have positive sides, at most {_MOST_AXES}, and at most "
            f"{_MOST_ELEMENTS} elements; got {list(shape)[: _MOST_AXES + 1]}"
        )


_FIELDS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "value_float": ("FLOAT", "f", np.float32),
    "value_floats": ("FLOATS", "floats", lambda v: np.array(v, np.float32)),
    "value_int": ("INT", "i", np.int64),
    "value_ints": ("INTS", "ints", lambda v: np.array(v, np.int64)),
}
"""Attribute of a ``Constant`` -> its type, its field, and the array that it is."""


def read_constant(
    node: NodeProto, attributes: Mapping[str, AttributeProto], prefix: str, folder: Path | None
) -> Value:
    """What a ``Constant`` holds; strings are told by no shape."""
    name = prefix + (node.output[0] if node.output else node.name)
    if (value := attributes.get("value")) is not None:
        return read_tensor(value.t, name, folder)
    if (sparse := attributes.get("sparse_value")) is not None:
        shape = tuple(sparse.sparse_tensor.dims)
        check_shape(shape)
        return Value(shape, sparse.sparse_tensor.values.data_type, None)
    for key, attribute in attributes.items():
        if key in _FIELDS:
            kind, field, array_of = _FIELDS[key]
            if attribute.type != getattr(attribute, kind):
                raise ValueError(f"{label(node)}: attribute {key!r} must be of type {kind}")
            return constant(np.asarray(array_of(getattr(attribute, field))))
        if key in {"value_string", "value_strings"}:
            return Value(None, 8, None)
    raise ValueError(f"{label(node)} must hold a value; it has none")


def folded(
    node: Node, entry: Entry, reading: Reading, shapes: Sequence[TensorShape | None]
) -> list[Value]:
    """The outputs of a node that reads constants only: computed where small, else their shapes."""
    origins = _origins(node, entry, shapes)
    arrays = _arrays(node, entry, shapes)
    if arrays is not None:
        return [constant(a, origins) for a in arrays]
    first = next((v.dtype for v in node.inputs if v is not None), 0)
    dtype = first if reading.dtype is None else reading.dtype
    return [Value(shape, dtype, None, origins) for shape in shapes]


def _arrays(
    node: Node, entry: Entry, shapes: Sequence[TensorShape | None]
) -> list[np.ndarray[Any, Any]] | None:
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes) or sum(map(prod, known)) > MOST_FOLDED:
        return None
    if not entry.is_constant and any(v is not None and v.data() is None for v in node.inputs):
        return None
    try:
        arrays = evaluate(node, known)
    except UnknownShape:
        return None
    if arrays is not None and [a.shape for a in arrays] != known:
        raise ValueError(f"its inputs must fit each other; they give {[a.shape for a in arrays]}")
    return arrays


def _origins(node: Node, entry: Entry, shapes: Sequence[TensorShape | None]) -> frozenset[Origin]:
    """Constants of the file that the node reads; of a dequantized one not its scale."""
    read = [node.inputs[0]] if node.op_type == "DequantizeLinear" else node.inputs
    origins = frozenset[Origin]().union(
        *(
            {o for o in v.origins if o.elements > 1}
            for n, v in enumerate(read)
            if v is not None and n not in entry.arguments
        )
    )
    if len(origins) > _MOST_ORIGINS:
        return frozenset({Origin(node.name, sum(prod(s) for s in shapes if s is not None))})
    return frozenset() if entry.is_constant else origins
