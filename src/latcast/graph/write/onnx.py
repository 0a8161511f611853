"""Graphs as ONNX, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from latcast.graph import GRAPH_INPUT, Graph, Layer

Arrays = tuple[npt.NDArray[Any], ...]

# Every operator of the spaces, HardSwish among them, exists since opset 14.
OPSET = 17
# The first that has Gelu, which families need.
LATEST_OPSET = 20
# The first that goes with an opset: old runtimes refuse newer ones than they know.
_IR_VERSIONS = {OPSET: 8, LATEST_OPSET: 9}
INPUT, OUTPUT = "input", "output"
# Name of the dimension of a batch of any size.
OPEN_BATCH = "batch"


def to_onnx(
    graph: Graph,
    weights: Iterable[Arrays] | None = None,
    *,
    opset: int = OPSET,
    open_batch: bool = False,
) -> bytes:
    """The graph as a serialized ONNX model.

    Nodes are the layers, by their names, so that a runtime's profile can be read back.

    Args:
        graph: that a :class:`latcast.graph.GraphBuilder` has built.
        weights: values of its constants, layer by layer; by default those of ``graph.drawn()``.
        opset: :data:`OPSET` or :data:`LATEST_OPSET`.
        open_batch: whether the file takes a batch of any size.

    Raises:
        ValueError: the graph was read, so that it lacks what must be written.
    """
    from onnx import ModelProto, TensorProto, helper

    # Filled in place: the helpers that make a graph and a model copy all weights each time.
    version = _IR_VERSIONS[opset]
    model = ModelProto(ir_version=version, opset_import=[helper.make_opsetid("", opset)])
    written = model.graph
    written.name = "latcast"
    for values, name, shape in (
        (written.input, INPUT, graph.in_shape),
        (written.output, OUTPUT, graph.out_shape),
    ):
        dims: list[str | int] = [OPEN_BATCH, *shape[1:]] if open_batch else list(shape)
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    names = {(GRAPH_INPUT, 0): INPUT}
    values_of = graph.drawn() if weights is None else weights
    for n, (layer, arrays) in enumerate(zip(graph.layers, values_of, strict=True)):
        _check(layer, n)
        for port in range(len(layer.out_shapes)):
            name = f"t{n}_{port}" if port else f"t{n}"
            names[n, port] = OUTPUT if (n, port) == (graph.outputs[0], 0) else name
        operands = {x.slot: f"c{n}_{x.slot}" for x in layer.constants}
        for constant, array in zip(layer.constants, arrays, strict=True):
            written.initializer.add(
                name=operands[constant.slot],
                data_type=TensorProto.INT64 if constant.is_whole else TensorProto.FLOAT,
                dims=array.shape,
                raw_data=array.tobytes(),
            )
        read = iter(zip(layer.inputs, layer.ports or (0,) * len(layer.inputs), strict=True))
        count = max(len(layer.inputs) + len(operands), *(s + 1 for s in operands), 0)
        for slot in range(count):
            if slot not in operands:
                source = next(read, None)
                operands[slot] = "" if source is None else names[source]
        outputs = [names[n, port] for port in range(len(layer.out_shapes))]
        inputs = [operands[slot] for slot in range(count)]
        attributes = _attributes(layer)
        node = helper.make_node(layer.operator, inputs, outputs, name=layer.name, **attributes)
        written.node.append(node)
    content: bytes = model.SerializeToString()
    return content


def _check(layer: Layer, n: int) -> None:
    if layer.param_bytes != sum(x.bytes for x in layer.constants):
        raise ValueError(
            f"layer {n}, {layer.name!r}, must have its constants to be written, as layers of a "
            "GraphBuilder do; one that was read from a file knows their sizes only"
        )


def _attributes(layer: Layer) -> dict[str, Any]:
    """Attributes of the node: the layer's own, and those that follow from its facts."""
    attributes = dict(layer.attributes)
    if layer.op in ("conv", "depthwise_conv"):
        attributes |= {"dilations": layer.dilation, "group": layer.groups}
    if layer.kind in ("conv", "depthwise_conv", "conv_transpose", "pool"):
        attributes |= {"kernel_shape": layer.window, "strides": layer.stride}
    if layer.op == "transpose":
        attributes["perm"] = layer.order
    return attributes
