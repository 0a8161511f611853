"""Constants that nodes compute from small constants; of large ones only shapes are followed.

Shapes are known before anything is computed, so that nothing large ever is. What exporters write
to compute shapes is computed here, in a few lines of numpy; other operators are left to ONNX's
reference evaluator. That one alone would do, but importing it takes 75 ms, and a node 40 to 100 us
in place of 5 (onnx 1.23 on a server's CPU), while reading a network of 400 layers takes 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from latcast._limits import MAX_FOLDED
from latcast.graph._operators import OPERATORS
from latcast.graph.read._layers import Origin, Quantized, Value
from latcast.graph.shapes import TensorShape, check_shape

from ._moves import cuts
from ._nodes import Entry, Node, Reading, UnknownShape, subgraphs
from ._tensors import code_of, constant, named_type, read_tensor, type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto, TensorProto, TypeProto

    Array = NDArray[Any]

# Origins of one constant; one that was computed from more counts as a constant of its own.
_MAX_ORIGINS = 64


def folded(
    node: Node, entry: Entry, reading: Reading, shapes: Sequence[TensorShape | None]
) -> list[Value]:
    """The outputs of a node that reads constants only: computed where small, else their shapes."""
    origins = _origins(node, entry, shapes)
    arrays, held = _arrays(node, entry, shapes), quantized(node, entry)
    if arrays is not None:
        found = [constant(a, origins) for a in arrays]
    else:
        first = next((v.type for v in node.inputs if v is not None), type_of(0))
        element = first if reading.type is None else reading.type
        found = [Value(shape, element, None, origins) for shape in shapes]
    told = inferred_by_runtimes(node, entry)
    for value in found:
        value.quantized, value.computed, value.inferred = held, True, told
    return found


def quantized(node: Node, entry: Entry | None) -> Quantized | None:
    """Return the quantized tensor behind a node's output; moves of elements keep it."""
    first = node.get(0)
    if first is None or entry is None:
        return None
    if entry.op == "dequantize":
        return Quantized(first.type, sum(v.bytes for v in node.inputs[1:] if v is not None))
    return first.quantized if OPERATORS[entry.op].kind in ("view", "copy") else None


def inferred_by_runtimes(node: Node, entry: Entry | None) -> bool:
    """Whether ONNX's shape inference finds the outputs' shapes without computing constants."""
    if node.op_type in ("Shape", "Size"):
        return True
    if entry is None or node.op_type == "NonZero":
        return False
    says = range(len(node.inputs)) if entry.op == "constant" else entry.arguments
    if any(v is not None and v.computed for v in map(node.get, says)):
        return False
    if node.op_type == "Reshape" and (sizes := node.get(1)) is not None:
        told = sizes.data() if sizes.is_constant else None
        if told is not None and told.size and told.min() > 0:
            return True
    return all(v is None or v.inferred for v in node.inputs)


def _origins(node: Node, entry: Entry, shapes: Sequence[TensorShape | None]) -> frozenset[Origin]:
    """Constants of the file that the node reads; of a dequantized one not its scale."""
    if entry.is_constant:
        return frozenset()
    read = [node.inputs[0]] if node.op_type == "DequantizeLinear" else node.inputs
    given = [v for n, v in enumerate(read) if v is not None and n not in entry.arguments]
    origins = frozenset(o for v in given for o in v.origins if o.elements > 1)
    if len(origins) > _MAX_ORIGINS:
        return frozenset({Origin(node.name, sum(prod(s) for s in shapes if s is not None))})
    return origins


def _arrays(node: Node, entry: Entry, shapes: Sequence[TensorShape | None]) -> list[Array] | None:
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes) or sum(map(prod, known)) > MAX_FOLDED:
        return None
    if not entry.is_constant and any(v is not None and v.data() is None for v in node.inputs):
        return None
    if node.op_type in {"Div", "Mod"}:
        divisor = node.data(1)
        if divisor.dtype.kind != "f" and np.any(divisor == 0):
            raise ValueError("integers must not be divided by 0")
    evaluator = _EVALUATORS.get(node.op_type)
    if evaluator is None and node.op_type not in _BY_REFERENCE:
        return None
    try:
        # What overflows does so in a runtime too, which does not warn either.
        with np.errstate(all="ignore"):
            found = _referenced(node) if evaluator is None else [evaluator(node, known)]
    except UnknownShape:
        return None
    arrays = [np.asarray(a) for a in found]
    # Shapes followed before are trusted by all layers: what is computed must not have others.
    if [a.shape for a in arrays] != known:
        raise ValueError(f"its inputs must fit each other; they give {[a.shape for a in arrays]}")
    return arrays


# Operators that the reference evaluator computes: they hold no graphs, and need no more memory than
# their inputs and outputs.
_BY_REFERENCE = frozenset(
    ("Pow", "Mod", "Min", "Max", "Sum", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Sqrt",
     "Exp", "Log", "Sin", "Cos", "Reciprocal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual",
     "And", "Or", "Xor", "Not", "Clip", "Tile", "CastLike", "Split", "ScatterND", "ReduceSum",
     "ReduceProd", "ReduceMax", "ReduceMin", "ReduceMean", "Trilu", "CumSum",
     "ArgMax")
)  # fmt: skip


def _referenced(node: Node) -> list[Array]:
    """The outputs of a node, by ONNX's reference evaluator.

    Raises:
        ValueError: the node's inputs or attributes do not fit its operator.
    """
    from onnx import AttributeProto, NodeProto
    from onnx.reference import ReferenceEvaluator

    given = {f"i{n}": v.data() for n, v in enumerate(node.inputs) if v is not None}
    proto = NodeProto(
        op_type=node.op_type,
        input=[f"i{n}" if v is not None else "" for n, v in enumerate(node.inputs)],
        output=[f"o{n}" for n in range(node.outputs)],
    )
    for name, attribute in node.attributes.items():
        held = AttributeProto()
        held.CopyFrom(attribute)
        held.name = name  # an attribute of a function goes by another name in its caller
        proto.attribute.append(held)
    try:
        outputs = ReferenceEvaluator(proto, opsets={"": node.opset}).run(None, given)
    except Exception as error:  # numpy's of any kind, on what a file holds
        raise ValueError(f"its inputs must fit each other: {error.__cause__ or error}") from error
    return list(outputs)


def _stretched(function: Callable[..., Any]) -> Callable[[Node, Sequence[TensorShape]], Array]:
    """A function of two inputs, in the type of the first (ONNX has no promotion)."""

    def run(node: Node, _: Sequence[TensorShape]) -> Array:
        left, right = node.data(0), node.data(1)
        return np.asarray(function(left, right)).astype(left.dtype, copy=False)

    return run


def _divide(left: Array, right: Array) -> Array:
    """A quotient; that of integers is rounded towards 0, as C does it."""
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    quotient, remainder = np.divmod(left, right)
    return np.asarray(quotient + ((remainder != 0) & ((left < 0) != (right < 0))))


def _reshape(node: Node, shapes: Sequence[TensorShape]) -> Array:
    return node.data(0).reshape(shapes[0])


def _cast(node: Node, _: Sequence[TensorShape]) -> Array:
    name = (named_type(node.text("to")) if node.opset < 6 else type_of(node.integer("to"))).numpy
    if name is None:
        raise UnknownShape
    return node.data(0).astype(name)


def _concat(node: Node, _: Sequence[TensorShape]) -> Array:
    arrays = [node.data(n) for n in range(len(node.inputs))]
    return np.concatenate(arrays, axis=node.integer("axis", 1 if node.opset < 4 else None))


def _slice(node: Node, _: Sequence[TensorShape]) -> Array:
    data: Array = node.data(0)
    for axis, taken in cuts(node).items():
        data = np.take(data, np.array(taken, np.int64), axis=axis)
    return data


def _transpose(node: Node, _: Sequence[TensorShape]) -> Array:
    data = node.data(0)
    return np.transpose(data, node.integers("perm", range(data.ndim)[::-1]))


def _gather_elements(node: Node, _: Sequence[TensorShape]) -> Array:
    # ONNX's reference evaluator takes the first index of every row where an axis has over 32 sides.
    data, indices = node.data(0), node.data(1)
    axis = node.integer("axis", 0) % data.ndim
    within = tuple(slice(None if n == axis else side) for n, side in enumerate(indices.shape))
    return np.take_along_axis(data[within], indices, axis)


def _shape_of(node: Node, _: Sequence[TensorShape]) -> Array:
    shape = node.shape(0)
    return np.array(shape, np.int64)[node.integer("start", 0) : node.integer("end", len(shape))]


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


# ONNX operator -> its output, where that is computed here.
_EVALUATORS: dict[str, Callable[[Node, Sequence[TensorShape]], Array]] = {
    "Add": _stretched(np.add),
    "Sub": _stretched(np.subtract),
    "Mul": _stretched(np.multiply),
    "Div": _stretched(_divide),
    "Equal": lambda n, _: np.equal(n.data(0), n.data(1)),
    "Where": lambda n, _: np.where(n.data(0), n.data(1), n.data(2)),
    "Identity": lambda n, _: n.data(0),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Expand": lambda n, shapes: np.broadcast_to(n.data(0), shapes[0]),
    "Cast": _cast,
    "Concat": _concat,
    "Slice": _slice,
    "Transpose": _transpose,
    "Gather": lambda n, _: np.take(n.data(0), n.data(1), axis=n.integer("axis", 0)),
    "GatherElements": _gather_elements,
    "Shape": _shape_of,
    "Size": lambda n, _: np.array(prod(n.shape(0)), np.int64),
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "NonZero": lambda n, _: np.array(np.nonzero(n.data(0)), np.int64),
}


# --- shapes of operators that have no rule here, by ONNX's own inference -------------------------


def inferred(proto: NodeProto, node: Node) -> list[Value]:
    """The outputs of a node, as far as ``onnx.shape_inference`` knows them; empty if it does not.

    One node at a time: the whole file would have to be copied with its weights. Nodes with graphs
    in them are left out, which a hostile file could nest without end.
    """
    import onnx
    from onnx import defs, helper, shape_inference

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    if domain not in {"", "ai.onnx.ml"} or any(subgraphs(proto.attribute)):
        return []
    latest = defs.onnx_opset_version() if domain == "" else defs.onnx_ml_opset_version()
    version = min(node.opset, latest) if domain == "" else latest
    given = {f"i{n}": v for n, v in enumerate(node.inputs) if v is not None}
    named = onnx.NodeProto(
        op_type=node.op_type,
        domain=domain,
        input=[f"i{n}" if v is not None else "" for n, v in enumerate(node.inputs)],
        output=[f"o{n}" for n in range(node.outputs)],
        attribute=node.attributes.values(),
    )
    try:
        types = shape_inference.infer_node_outputs(
            defs.get_schema(node.op_type, version, domain),
            named,
            {name: _type(value) for name, value in given.items()},
            {name: _tensor(value) for name, value in given.items() if value.data() is not None},
            opset_imports=[helper.make_opsetid(domain, version)],
        )
    except Exception:  # noqa: BLE001  # of any kind, on what a file holds: nothing is known then
        return []
    found = [_value(types.get(name)) for name in named.output]
    if node.op_type == "STFT" and node.integer("onesided", 1) and found[0].shape is not None:
        # ONNX's inference (1.23) has all frequencies of a frame; runtimes give half of them.
        batch, frames, length, _ = found[0].shape
        found[0].shape = (batch, frames, length // 2 + 1, 2)
    return found


def _type(value: Value) -> TypeProto:
    from onnx import helper

    return helper.make_tensor_type_proto(code_of(value.type), value.shape)


def _tensor(value: Value) -> TensorProto:
    from onnx import numpy_helper

    data = value.data()
    assert data is not None  # asked of small constants alone
    return numpy_helper.from_array(data)


def _value(kind: TypeProto | None) -> Value:
    if kind is None or not kind.HasField("tensor_type"):
        return Value(None, type_of(0))
    element = type_of(kind.tensor_type.elem_type)
    if not kind.tensor_type.HasField("shape"):
        return Value(None, element)
    sides = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.tensor_type.shape.dim]
    if any(s < 1 for s in sides):  # a side that depends on data, or a tensor without elements
        return Value(None, element)
    check_shape(tuple(sides))
    return Value(tuple(sides), element)
