"""ONNX models of a few nodes, as tests write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sides = Sequence[int | str | None]


def infos(
    sides: Mapping[str, Sides | None], kind: int = TensorProto.FLOAT
) -> list[onnx.ValueInfoProto]:
    """Values with a type; a shape of None is not told."""
    return [helper.make_tensor_value_info(name, kind, shape) for name, shape in sides.items()]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sides],
    constants: Mapping[str, Any] | Iterable[TensorProto] = (),
    outputs: Mapping[str, Sides] | Iterable[str] = (),
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
    values: Mapping[str, Sides] = MappingProxyType({}),
) -> onnx.ModelProto:
    """A model of nodes, which imports every domain that they name.

    Args:
        nodes: in the order that they have in the file.
        inputs: name -> sides.
        constants: name -> array, or tensors as they are.
        outputs: name -> sides, or names alone, whose types the runtime finds; the first output of
            the last node if there are none.
        opset: of ONNX's own operators; of all other domains it is 1.
        kind: element type of the inputs.
        functions: of the model's own.
        values: name -> sides of what lies between, as a file may tell them.
    """
    if isinstance(constants, Mapping):
        constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    told = outputs or [nodes[-1].output[0]]
    ends = infos(told if isinstance(told, Mapping) else dict.fromkeys(told))
    for end in ends:
        if not end.type.tensor_type.HasField("shape"):
            end.ClearField("type")
    between = infos(values)
    graph = helper.make_graph(
        nodes, "g", infos(inputs, kind), ends, list(constants), value_info=between
    )
    domains = sorted({"", *(n.domain for n in nodes)})
    opsets = [helper.make_opsetid(domain, 1 if domain else opset) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
