"""Reading an ONNX model node by node: shapes, constants, and the layers that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latcast._limits import MAX_FOLDED, MAX_FOLDED_ELEMENTS, MAX_NODES
from latcast.graph._graph import Graph
from latcast.graph._operators import GRAPH_INPUT, OPERATORS, UNKNOWN
from latcast.graph.read._inputs import DEFAULTS, KnownInputs, ReadOptions
from latcast.graph.read._layers import ElementType, Layers, Origin, Value
from latcast.graph.shapes import TensorShape, check_shape

from ._arithmetic import ARITHMETIC
from ._control import CONTROL, Bodies
from ._file import ModelFile, load, read_inputs, sides_of
from ._folding import folded, inferred, inferred_by_runtimes, quantized
from ._moves import MOVES
from ._nodes import (
    Entry,
    Node,
    Reading,
    Scope,
    UnknownShape,
    attributes_of,
    branch_of,
    captured,
    check_text,
    function_scope,
    in_order,
    label,
    operator,
    opset_of,
    shortened,
)
from ._runtime import RUNTIME
from ._tensors import constant, read_constant, read_sparse, read_tensor, type_of

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

# Errors that a malformed file can cause; they are raised as a ValueError that names the node.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError)


# Operators whose constants are trained only where the file holds them: masks are computed.
_SUMS = frozenset({"add", "sub", "mul", "div", "scale", "concat", "pow", "power", "min", "max"})


def _entries() -> dict[str, Entry]:
    """The rule of every name: its own, or that of its operator, or that of the operator's kind."""
    rules = {**ARITHMETIC, **MOVES, **RUNTIME}
    return {
        name: Entry(op, *next(rules[key] for key in (name, op, row.kind) if key in rules))
        for op, row in OPERATORS.items()
        for name in row.onnx
    }


# Name of an operator, after its domain where that is not ONNX's own, -> how it is read.
_ENTRIES = _entries()


def read_onnx(model: str | Path | bytes | ModelFile, options: ReadOptions = DEFAULTS) -> Graph:
    """The layers of an ONNX model.

    Shapes are followed from the inputs; what depends on constants alone is computed and is no
    layer. An operator that is not known is a layer of operator ``unknown``: its shapes are those
    that the file or ONNX's own inference tells, or None. The bodies of loops and branches are read
    too (see :mod:`._control`). No code of the file's is run.

    Args:
        model: file, or its content (then without external data).
        options: shapes of its inputs, and what else is asked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no ONNX model that could run, or a shape that it needs is not known.
    """
    try:
        file = model if isinstance(model, ModelFile) else load(model)
        return _read(file, options)
    except _MALFORMED as error:
        raise ValueError(f"the model is malformed: {error}") from error


def _read(file: ModelFile, options: ReadOptions) -> Graph:
    reader = _Reader(file, options)
    graph = reader.graph()
    if reader.inputs.batch is not None:
        as_made = _Reader(file, replace(options, batch=None)).graph()
        _check_work(graph, as_made, *reader.inputs.batch)
    return graph.noted(reader.inputs.sources, (*reader.inputs.notes, *reader.bodies.notes))


def _check_work(graph: Graph, as_made: Graph, old: int, new: int) -> None:
    """Make sure that all layers do the same for each sample of another batch.

    Where a file tells shapes as numbers, what the batch is in them can be mistaken.
    """
    made = {x.name: x for x in as_made.layers if x.is_supported}
    for layer in graph.layers:
        before = made.get(layer.name)
        if before and layer.is_supported and layer.macs * old != before.macs * new:
            raise ValueError(
                f"the model must be made for any batch, or for {new}; it is made for {old}, and "
                f"{layer.name!r} would not do {new} / {old} of its work"
            )


class _Reader:
    def __init__(self, file: ModelFile, options: ReadOptions) -> None:
        self._file = file
        self._graph = file.proto.graph
        self._functions = {(f.domain, f.name, f.overload): f for f in file.proto.functions}
        self._layers = Layers()
        self.bodies = Bodies(self._run_graph, self._layers, options.trip_count)
        self._nodes = self._folded = 0
        self.inputs: KnownInputs = read_inputs(self._graph, options)

    def graph(self) -> Graph:
        """The whole model."""
        types = {x.name: type_of(x.type.tensor_type.elem_type) for x in self._graph.input}
        sources = enumerate(self.inputs.sources)
        scope = Scope(
            {x.name: _given(x.shape, types[x.name], n) for n, x in sources},
            opset=opset_of(self._file.proto.opset_import),
        )
        try:
            found = self._run_graph(self._graph, scope)
        except ValueError as error:
            if self.inputs.batch is None:
                raise
            old, new = self.inputs.batch
            raise ValueError(
                f"the model must be made for any batch, or for {new}; it is made for {old}: {error}"
            ) from error
        self._check_batch(found)
        outputs = [v.source for v in found if v is not None and v.source is not None]
        return self._layers.graph(self._file.name, outputs)

    def _check_batch(self, outputs: Sequence[Value | None]) -> None:
        """Make sure that another batch has reached the outputs."""
        if self.inputs.batch is None:
            return
        old, new = self.inputs.batch
        for info, value in zip(self._graph.output, outputs, strict=True):
            sides, shape = sides_of(info.type), None if value is None else value.shape
            pairs = list(zip(sides or (), shape or (), strict=False))
            if shape is not None and old in (sides or ()) and (old, new) not in pairs:
                raise ValueError(
                    f"the model must be made for any batch, or for {new}; it is made for {old}, "
                    f"and its output {info.name!r} has {list(shape)}"
                )

    def _run_graph(self, graph: GraphProto, scope: Scope) -> list[Value | None]:
        """Add constants and nodes of a graph to its scope; gives its outputs."""
        # Weights were left out of the main graph alone.
        raw_bytes = self._file.raw_bytes if graph is self._graph else {}
        for n, tensor in enumerate(graph.initializer):
            check_text(tensor.name)
            scope.values[tensor.name] = read_tensor(
                tensor, scope.prefix + tensor.name, self._file.folder, raw_bytes.get(n)
            )
        for sparse in graph.sparse_initializer:
            scope.values[sparse.values.name] = read_sparse(sparse)
        scope.infos = {x.name: x for x in (*graph.value_info, *graph.output)}
        return self._run(graph.node, [x.name for x in graph.output], scope)

    def _run(
        self, nodes: Sequence[NodeProto], wanted: Sequence[str], scope: Scope
    ) -> list[Value | None]:
        around = scope.around
        order, scope.used = in_order(
            nodes, wanted, scope.values.__contains__,
            lambda name: around is not None and name in around,
        )  # fmt: skip
        self._nodes += len(order)
        if self._nodes > MAX_NODES:
            raise ValueError(f"a model must have at most {MAX_NODES} nodes; this one has more")
        for node in order:
            try:
                outputs = self._outputs(node, scope)
            except _MALFORMED as error:
                raise ValueError(f"{label(node)} is malformed: {shortened(str(error))}") from error
            scope.values.update(zip(node.output, outputs, strict=False))
        return [scope.find(name) for name in wanted]

    def _outputs(self, proto: NodeProto, scope: Scope) -> list[Value | None]:
        """The outputs of a node."""
        attributes = attributes_of(proto, scope)
        key = operator(proto)
        if key == "Constant":
            return [read_constant(proto, attributes, scope.prefix, self._file.folder)]
        if key not in _ENTRIES:
            domain, _, name = key.rpartition("::")
            function = self._functions.get((domain, name, proto.overload))
            if function is not None:
                inner = function_scope(proto, function, attributes, scope)
                return self._run(function.node, function.output, inner)
        if key == "If" and (branch := branch_of(proto, attributes, scope)) is not None:
            inner = scope.inner(proto.name or "If", around=scope)
            inner.attributes = scope.attributes
            return self._run_graph(branch, inner)
        if key in CONTROL:
            return self.bodies.read(proto, attributes, scope)
        # What reads it in graphs of its own, an operator that is not known reads too.
        names = proto.input if key in _ENTRIES else [*proto.input, *captured(proto)]
        node = Node(
            scope.prefix + (proto.name or next(filter(None, proto.output), proto.op_type)),
            proto.op_type,
            [scope.find(n) if n else None for n in names],
            len(proto.output),
            attributes,
            self.inputs.batch,
            scope.opset,
        )
        try:
            return self._read(node, key, proto, scope)
        except ValueError as error:
            raise ValueError(f"{label(proto)}: {shortened(str(error))}") from error

    def _counted(self, constants: list[Value]) -> list[Value | None]:
        """Constants that were computed, whose elements are counted."""
        sizes = (prod(v.shape) for v in constants if v.shape is not None)
        self._folded += sum(size for size in sizes if size <= MAX_FOLDED)
        if self._folded > MAX_FOLDED_ELEMENTS:
            raise ValueError(
                f"constants that are computed must have at most {MAX_FOLDED_ELEMENTS} elements in "
                "all; these have more"
            )
        return list(constants)

    def _read(self, node: Node, key: str, proto: NodeProto, scope: Scope) -> list[Value | None]:
        """Compute a node that is constant; of another one add the layer."""
        entry, names = _ENTRIES.get(key), proto.output
        reading = _reading(node, entry)
        shapes = (*reading.shapes, *(None,) * node.outputs)[: node.outputs]
        for shape in shapes:
            check_shape(shape)
        given = [v for v in node.inputs if v is not None]
        constant_inputs = entry is not None and all(v.is_constant for v in given)
        if entry is not None and (constant_inputs or (entry.is_constant and None not in shapes)):
            return self._counted(folded(node, entry, reading, shapes))
        kinds = (*reading.types, *(reading.type,) * node.outputs)[: node.outputs]
        outputs = [
            self._value(name, shape, reading, node, scope, entry, kind)
            for name, shape, kind in zip(names, shapes, kinds, strict=True)
        ]
        if any(v.shape is None for v in outputs):
            for value, found in zip(outputs, inferred(proto, node), strict=False):
                if value.shape is None:
                    value.shape = found.shape
                    value.type = found.type if entry is None else value.type
        # An optional output that nothing reads, as the mask of a dropout, is not written.
        live = [
            v for n, v in enumerate(outputs)
            if not v.is_empty
            and (names[n] in scope.used or (n == 0 and v.shape is not None))
        ]  # fmt: skip
        if live:
            source = self._add(node, entry, reading, live, key, scope.runs)
            for value in outputs:
                if not value.is_empty:
                    value.source = source
            for port, value in enumerate(live):
                value.port = port
        return list(outputs)

    def _value(
        self, name: str, shape: TensorShape | None, reading: Reading, node: Node, scope: Scope,
        entry: Entry | None, element: ElementType | None,
    ) -> Value:  # fmt: skip
        """An output; what reading does not tell is what the file tells, if it does."""
        info = scope.infos.get(name)
        if shape is None and info is not None:
            shape = self._told_shape(info)
            check_shape(shape)
        if reading.op == UNKNOWN:
            element = type_of(info.type.tensor_type.elem_type if info is not None else 0)
        if element is None:
            element = next((v.type for v in node.inputs if v is not None), type_of(0))
        if shape is not None and 0 in shape:
            return constant(np.zeros(shape, np.float32))
        held, told = quantized(node, entry), inferred_by_runtimes(node, entry)
        return Value(shape, element, quantized=held, inferred=told)

    def _told_shape(self, info: ValueInfoProto) -> TensorShape | None:
        """A shape of the file where it is known; with another batch it may no longer hold."""
        shape = self.inputs.shape(sides_of(info.type))
        if shape is None or self.inputs.batch is None:
            return shape
        return shape if shape[:1] == self.inputs.batch[1:] else None

    def _add(
        self,
        node: Node,
        entry: Entry | None,
        reading: Reading,
        outputs: Sequence[Value],
        operator: str,
        runs: tuple[int, int],
    ) -> int:
        """Add the layer of a node; gives its position."""
        arguments = entry.arguments if entry else ()
        op = reading.op or (entry.op if entry else UNKNOWN)
        reads = [
            v
            for n, v in enumerate(node.inputs)
            if v is not None and not (v.is_constant and n in arguments)
        ]
        activations = [*outputs, *(v for v in reads if not v.is_constant)]
        # The largest tensor tells the type, or the first one where no shape is known: of what
        # reads or gives indices or masks besides, those are the smaller ones.
        largest = max(activations, key=lambda v: 0 if v.shape is None else prod(v.shape))
        in_shapes = tuple(v.shape for v in reads if not v.is_constant)
        out_shapes = tuple(v.shape for v in outputs)
        if reading.channels_last:
            in_shapes = (*map(_channels_first, in_shapes[:1]), *in_shapes[1:])
            out_shapes = tuple(map(_channels_first, out_shapes))
        return self._layers.add(
            node.name, operator, op, reading, reads, outputs, _learned(node, op, reading),
            largest.type.bytes, in_shapes=in_shapes, out_shapes=out_shapes, runs=runs,
        )  # fmt: skip


def _given(shape: TensorShape, element: ElementType, port: int) -> Value:
    """An input; one without elements, such as the past of a first token, is a constant."""
    if 0 in shape:
        return constant(np.zeros(shape, element.numpy or np.float32))
    return Value(shape, element, GRAPH_INPUT, port=port)


def _channels_first(shape: TensorShape | None) -> TensorShape | None:
    return shape and (shape[0], shape[-1], *shape[1:-1])


def _learned(node: Node, op: str, reading: Reading) -> frozenset[Origin]:
    """Trained constants that a node reads."""
    learned: set[Origin] = set()
    for n in reading.weights:
        value = node.get(n)
        if value is None or not value.is_constant or value.shape is None:
            continue
        if reading.trained and n == reading.weights[0]:
            names = sorted(o.name for o in value.origins) or [f"{node.name}: input {n}"]
            learned.add(Origin(names[0], reading.trained))
            continue
        learned |= value.origins
        if not value.origins and op not in _SUMS:
            learned.add(Origin(f"{node.name}: input {n}", prod(value.shape)))
    return frozenset(learned)


def _reading(node: Node, entry: Entry | None) -> Reading:
    if entry is None:
        held = tuple(n for n, v in enumerate(node.inputs) if v is not None and v.origins)
        return Reading((None,) * node.outputs, weights=held, op=UNKNOWN)
    try:
        return entry.read(node)
    except UnknownShape:
        # What it has learned is known all the same: a product of what nobody knows has weights.
        weights = tuple(
            n for n, v in enumerate(node.inputs)
            if v is not None and v.shape is not None and n not in entry.arguments
            and prod(v.shape) > 1 and not entry.is_constant
            and (entry.op != "batch_norm" or n < 3)  # means and variances are not trained
        )  # fmt: skip
        return Reading((None,) * node.outputs, weights=weights)
