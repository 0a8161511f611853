"""Networks of other formats, written down as ONNX nodes: one reader then follows all shapes.

A format's reader is a table: operator -> the nodes that compute the same. What only changes how a
tensor is laid out, and no runtime of that format does, is a *layout*: a node while shapes are
followed, and no layer of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latcast._limits import MAX_FOLDED, MAX_NODES
from latcast.graph._graph import Graph
from latcast.graph._operators import GRAPH_INPUT, Layer
from latcast.graph.shapes import check_shape

from ._expressions import Side
from ._inputs import ReadOptions
from .onnx._file import ModelFile
from .onnx._tensors import type_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

Array = npt.NDArray[Any]
# The first that has Attention.
_OPSET, _IR_VERSION = 23, 11
# Begins the names of nodes that are no layers.
_LAYOUT = "layout:"


class Translation:
    """An ONNX model that is being written.

    Values go by names. ``load`` of a constant gives its bytes, little-endian; those of a large one
    are not asked for unless ``with_weights`` is set, so that files are read without their weights.

    Args:
        name: of the network.
        domain: of operators that have no equivalent, such as ``tflite``.
        with_weights: whether the model is to be run.
    """

    def __init__(self, name: str, domain: str, *, with_weights: bool = False) -> None:
        from onnx import ModelProto, helper

        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(domain, 1)]
        self._proto: ModelProto = ModelProto(ir_version=_IR_VERSION, opset_import=opsets)
        self._proto.graph.name = self.name = name
        # That is written: the network's, or a body.
        self._graph: GraphProto = self._proto.graph
        self._domain, self.with_weights = domain, with_weights
        self._raw_bytes: dict[int, int] = {}
        self._values: dict[str, Array] = {}
        self._constant_shapes: dict[str, tuple[int, ...]] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._count = 0
        self._fixed: set[str] = set()
        self._early: list[NodeProto] = []
        self._nodes: list[NodeProto] = []
        self.producers: dict[str, NodeProto] = {}

    def input(self, name: str, sides: Sequence[Side] | None, type_code: int) -> None:
        """Declare an input of the network; None is an open side."""
        from onnx import helper

        info = helper.make_tensor_value_info(name, type_code, sides)
        self._graph.input.append(info)

    def output(self, name: str, type_code: int = 1) -> None:
        """Declare an output of the network, or of a body."""
        from onnx import helper

        is_network = self._graph is self._proto.graph
        kept = f"output{len(self._graph.output)}" if is_network else self.fresh()
        self.layout("Identity", name, out=kept)
        self._graph.output.append(helper.make_tensor_value_info(kept, type_code, None))

    @contextmanager
    def body(self) -> Iterator[GraphProto]:
        """A graph to which nodes, inputs and outputs are added meanwhile.

        It reads what the graphs around it hold; constants are all the network's.
        """
        from onnx import GraphProto

        outer = self._graph, self._early, self._nodes
        self._graph, self._early, self._nodes = GraphProto(name=self.fresh()), [], []
        try:
            yield self._graph
            self._graph.node.extend([*self._early, *self._nodes])
        finally:
            self._graph, self._early, self._nodes = outer

    def parameter(self, type_code: int, sides: Sequence[Side] | None = None) -> str:
        """Declare an input of a body."""
        name = self.fresh()
        self.input(name, sides, type_code)
        return name

    def fresh(self) -> str:
        """A name that nothing has."""
        self._count += 1
        if self._count > MAX_NODES:
            raise ValueError(f"a network must have at most {MAX_NODES} nodes; it has more")
        return f"t{self._count}"

    def constant(
        self, name: str, type_code: int, shape: Sequence[int], load: Callable[[], bytes]
    ) -> str:
        """Add a constant of the file."""
        shape, element = tuple(shape), type_of(type_code)
        check_shape(shape)
        tensor = self._proto.graph.initializer.add(name=name, data_type=type_code, dims=shape)
        self._constant_shapes[name] = shape
        self._fixed.add(name)
        wanted = -(-prod(shape) * element.bits // 8)
        small = prod(shape) <= MAX_FOLDED
        if small or self.with_weights:
            tensor.raw_data = load()
            if len(tensor.raw_data) != wanted:
                raise ValueError(
                    f"constant {name!r} must hold {wanted} bytes; got {len(tensor.raw_data)}"
                )
            if small and element.numpy is not None:
                self._values[name] = np.frombuffer(tensor.raw_data, element.numpy).reshape(shape)
        else:
            tensor.ClearField("raw_data")
            self._raw_bytes[len(self._proto.graph.initializer) - 1] = wanted
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of 64-bit integers."""
        return self.small(np.array(values, np.int64))

    def number(self, value: float, *shape: int) -> str:
        """A constant of one 32-bit float."""
        return self.small(np.full(shape, value, np.float32))

    def small(self, array: Array) -> str:
        """A constant of few 64-bit or 8-bit integers, or 32-bit floats."""
        code = {"int64": 7, "int8": 3}.get(array.dtype.name, 1)
        key = (code, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant:{len(self._constants)}"
            self._constants[key] = self.constant(name, code, array.shape, array.tobytes)
        return self._constants[key]

    def byte(self, value: int) -> str:
        """A constant of one 8-bit integer."""
        return self.small(np.array(value, np.int8))

    def constant_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a constant of the file, or of one that layouts made of it; else None."""
        return self._constant_shapes.get(name)

    def value(self, name: str) -> Array | None:
        """Elements of a small constant of the file, else None."""
        return self._values.get(name)

    def values(self, name: str) -> list[int]:
        """Elements of a small constant of integers, flattened.

        Raises:
            LookupError: the tensor is computed, so that an operator cannot be translated.
        """
        found = self._values.get(name)
        if found is None:
            raise LookupError(f"{name!r} must be a small constant; it is computed")
        return [int(x) for x in found.reshape(-1)]

    def node(
        self, op: str, *inputs: str, name: str = "", out: str = "", outputs: int = 1,
        domain: str = "", **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node; gives the name of its first output, the others are that with ``:1``, …."""
        from onnx import GraphProto, helper

        new = self.fresh()
        out = out or new
        names = [out, *(f"{out}:{n}" for n in range(1, outputs))]
        node = helper.make_node(
            op, inputs, names, name=name or out, domain=domain,
            **{k: v for k, v in attributes.items() if v is not None},
        )  # fmt: skip
        captures = any(isinstance(v, GraphProto) for v in attributes.values())
        if inputs and not captures and all(x in self._fixed for x in inputs if x):
            self._fixed.update(names)
            self._early.append(node)
        else:
            self._nodes.append(node)
        self.producers.update(dict.fromkeys(names, node))
        return out

    def set(self, node: NodeProto, **attributes: Any) -> None:
        """Give a node attributes."""
        from onnx import helper

        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())

    def norm(
        self, x: str, shape: Sequence[int], axes: Sequence[int], epsilon: float, *, name: str
    ) -> str:
        """A norm without scale and bias, which ONNX has with a fixed epsilon alone.

        A model that is to be run gets scales of 1, which would count as parameters otherwise.
        """
        rank = len(shape)
        if self.with_weights and list(axes) == [*range(rank - len(axes), rank)]:
            ones = self.number(1.0, *(shape[a] for a in axes))
            return self.node(
                "LayerNormalization", x, ones, name=name, axis=axes[0], epsilon=epsilon
            )
        return self.node("MeanVarianceNormalization", x, name=name, axes=list(axes))

    def attention(
        self, query: str, key: str, value: str, *mask: str, scale: float, rank: int, name: str
    ) -> str:
        """Attention of (…, tokens, features) as its products and a softmax, as exporters write it.

        Args:
            query: of as many heads as the key and the value.
            key: as many features as the query.
            value: as many tokens as the key.
            mask: that is added to the scores, if any.
            scale: of the scores; 1 where the query has it already.
            rank: axes of the query.
            name: of the layer.
        """
        turned = self.transposed(key, *range(rank - 2), rank - 1, rank - 2)
        scores = self.node("MatMul", query, turned, name=f"{name}/scores")
        if scale != 1:
            scores = self.node("Mul", scores, self.number(scale), name=f"{name}/scaled")
        if mask:
            scores = self.node("Add", scores, *mask, name=f"{name}/masked")
        weights = self.node("Softmax", scores, name=f"{name}/weights", axis=-1)
        return self.node("MatMul", weights, value, name=name)

    def layout(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add a node that is no layer: it tells how its first input is read."""
        return self.node(op, *inputs, out=out, name=f"{_LAYOUT}{self._count}", **attributes)

    def transposed(self, name: str, *order: int) -> str:
        """A tensor with its axes in another order, which is no work."""
        out = self.layout("Transpose", name, perm=order)
        if name in self._constant_shapes:
            self._constant_shapes[out] = tuple(self._constant_shapes[name][n] for n in order)
        return out

    def reshaped(self, name: str, *shape: int) -> str:
        """A tensor in another shape, which is no work."""
        out = self.layout("Reshape", name, self.integers(*shape))
        if name in self._constant_shapes:
            self._constant_shapes[out] = shape
        return out

    def scalar(self, name: str) -> str:
        """A tensor of one number, without axes."""
        return self.reshaped(name)

    def unknown(
        self, op: str, inputs: Sequence[str], name: str, outputs: Sequence[tuple[Any, int]]
    ) -> list[str]:
        """Add an operator that has no equivalent, with what the file tells of its outputs.

        Args:
            op: the file's name of it.
            inputs: that it reads.
            name: of the layer.
            outputs: shape (None where it is not told) and type code of each.
        """
        from onnx import helper

        first = self.node(op, *inputs, name=name, outputs=len(outputs), domain=self._domain)
        names = list(self.producers[first].output)
        for out, (shape, code) in zip(names, outputs, strict=True):
            self._graph.value_info.append(helper.make_tensor_value_info(out, code, shape))
        return names[: len(outputs)]

    def activated(self, x: str, activation: str, *, name: str = "", **attributes: Any) -> str:
        """Add an activation that a runtime has as part of an operator; return its output."""
        if not activation:
            return x
        bounds = {"Relu6": (0.0, 6.0), "Relu1": (-1.0, 1.0), "Relu01": (0.0, 1.0)}.get(activation)
        if bounds:
            return self.node("Clip", x, *map(self.number, bounds), name=name)
        return self.node(activation, x, name=name, **attributes)

    def model(self) -> ModelProto:
        """The model; what is made of constants alone comes first."""
        del self._proto.graph.node[:]
        self._proto.graph.node.extend([*self._early, *self._nodes])
        return self._proto

    def graph(self, options: ReadOptions) -> Graph:
        """The layers of the network, without layouts (see :func:`read_onnx`)."""
        from .onnx import read_onnx

        model = self.model()
        # Copies of what the model has now, which are a fifth of the memory of a large network.
        self._early, self._nodes, self.producers, self._values = [], [], {}, {}
        graph = read_onnx(ModelFile(model, self._raw_bytes, None, self.name), options)
        kept: list[Layer] = []
        # Of every layer the place of what gives its output, and of a layout which output that is.
        places: dict[int, tuple[int, int | None]] = {GRAPH_INPUT: (GRAPH_INPUT, None)}
        for n, layer in enumerate(graph.layers):
            found = [places[i] for i in layer.inputs]
            own = layer.ports or (0,) * len(found)
            ports = tuple(p if of is None else of for (_, of), p in zip(found, own, strict=True))
            inputs = tuple(place for place, _ in found)
            own_name = layer.name.rpartition("/")[2]  # after those of the bodies around it
            if own_name.startswith(_LAYOUT) and len(inputs) == 1:
                places[n] = (inputs[0], ports[0])
                continue
            places[n] = (len(kept), None)
            ports = ports if any(ports) or inputs.count(GRAPH_INPUT) > 1 else ()
            kept.append(layer._replace(inputs=inputs, ports=ports))
        if not kept:
            raise ValueError("a network must have at least one layer; got none")
        ends = dict.fromkeys(places[n][0] for n in graph.outputs)
        outputs = tuple(n for n in ends if n != GRAPH_INPUT)
        return Graph.trusted(tuple(kept), graph.name, outputs).noted(graph.sources, graph.notes)
