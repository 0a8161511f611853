"""Shapes of operators that have no rule here, by ONNX's own inference of one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast.graph.read._layers import Value
from latcast.graph.shapes import check_shape

from ._nodes import Node, subgraphs
from ._tensors import code_of, type_of

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto, TypeProto


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
