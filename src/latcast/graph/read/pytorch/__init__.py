"""PyTorch modules and exported programs as graphs of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._imports import require
from latcast.graph._graph import Graph
from latcast.graph._operators import GRAPH_INPUT, UNKNOWN
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._layers import ElementType, Layers, Origin, Value

from ._archive import read_archive, reason
from ._program import (
    Call,
    CallGraph,
    Program,
    Ref,
    bound,
    closed,
    exported,
    program_of,
    tensor_names,
)
from ._rules import RULES, SHAPE_ONLY, VIEWS, Operation, Reading, Steps, composite, shape_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

__all__ = ["read_pytorch"]


def read_pytorch(
    model: nn.Module | ExportedProgram | str | Path | bytes,
    example_inputs: Sequence[Any] | None = None,
    *,
    keywords: Mapping[str, Any] | None = None,
    options: ReadOptions = DEFAULTS,
    name: str | None = None,
) -> Graph:
    """A PyTorch network as a graph of layers.

    Operators are those of ATen as ``torch.export`` writes them. What gives a constant
    whatever the input is no layer, nor is what does nothing (dropout, a cast to the same type,
    a view of the same shape). An operator that is not known is a layer of operator
    ``UNKNOWN``, with its shapes.

    A ``.pt2`` file is read without PyTorch: its graph is JSON, and neither its weights nor the
    pickles that :func:`torch.export.load` would open are. Nothing in it is executed.

    Args:
        model: a module, which is exported in evaluation mode; a program of
            ``torch.export.export``; or a file of ``torch.export.save``, or its bytes.
        example_inputs: of a module: its tensors, or one shape such as ``(1, 3, 224, 224)``.
        keywords: of a module: tensors by the names of its arguments.
        options: shapes of its inputs (of a module, of its arguments by their names, where they are
            floats), and what else is asked.
        name: of the graph; by default that of the module's class or of the file.

    Raises:
        ModuleNotFoundError: PyTorch is needed and not installed.
        FileNotFoundError: there is no such file.
        TypeError: the model is of another kind.
        ValueError: the module cannot be exported, the file is no exported program, or a shape
            stays open.
    """
    if isinstance(model, bytes):
        return _read_archive(model, name or "network", options)
    if isinstance(model, str | Path):
        return _read_archive(Path(model), name or Path(model).stem, options)
    torch = require("torch", "torch", "reading PyTorch models")
    if isinstance(model, torch.nn.Module):
        if example_inputs is None and not keywords:
            if not options.shapes:
                raise ValueError(
                    "a module must come with example_inputs: its tensors, or a shape such as "
                    "(1, 3, 224, 224), or with the shapes of its arguments; got none"
                )
            keywords = {n: torch.zeros(tuple(shape)) for n, shape in options.shapes.items()}
            options = replace(options, shapes={})
        name = name or type(model).__name__
        model = exported(model, example_inputs or (), keywords)
    if not isinstance(model, torch.export.ExportedProgram):
        raise TypeError(
            f"a model must be a module, an ExportedProgram or a .pt2 file; "
            f"got {type(model).__name__}"
        )
    return layers_of(program_of(model), name or "network", options)


def _read_archive(file: Path | bytes, name: str, options: ReadOptions) -> Graph:
    program = read_archive(file)
    try:
        return layers_of(program, name, options)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        told = "the model" if isinstance(file, bytes) else file.name
        raise ValueError(f"{told}: {reason(error)}") from error


# --- programs -----------------------------------------------------------------------------------

# Calls of a graph that only set something for it; the graph's inputs are the last arguments.
_INLINED = frozenset(("higher_order.wrap_with_set_grad_enabled", "higher_order.wrap_with_autocast"))


def layers_of(program: Program, name: str, options: ReadOptions = DEFAULTS) -> Graph:
    """The graph of a program.

    Raises:
        ValueError: an input has no fixed shape, or a call does not fit its operator.
    """
    inputs = bound(program, options)
    scope = _Scope(program.graph, inputs.symbols)
    for given in program.graph.tensors.keys() & program.constants:
        scope.put(given)
    for given, parameter in program.parameters.items():
        origin = Origin(parameter, prod(shape_of(scope.operand(given))))
        scope.put(given, None, frozenset((origin,)))
    tensors = (x for x in program.graph.inputs if x in program.graph.tensors)
    for port, given in enumerate(tensors):
        scope.put(given, GRAPH_INPUT, port=port)
    before = dict(scope.values)
    reader = _Reader()
    reader.run(scope)
    found = (scope.values.get(n) for n in program.graph.outputs)
    outputs = tuple(v.source for v in found if v is not None and v.source is not None)
    # Such as the state of a decoder: a buffer or an input that keeps what is written into it.
    now = (scope.values[n].source for n, v in before.items() if scope.values[n] is not v)
    written = (*reader.effects, *(n for n in now if n is not None and n != GRAPH_INPUT))
    graph = _checked(reader.layers.graph(name, outputs, written))
    return graph.noted(inputs.sources, inputs.notes)


def _checked(graph: Graph) -> Graph:
    # A program tells all shapes itself; a damaged one tells some that no operator could have.
    for layer in graph.layers:
        try:
            _ = layer.macs if layer.is_supported else 0
        except (LookupError, ArithmeticError, ValueError) as error:
            raise ValueError(
                f"layer {layer.name!r}: its shapes must fit {layer.operator}; "
                f"got {layer.in_shapes} to {layer.out_shapes}"
            ) from error
    return graph


@dataclass(slots=True)
class _Scope:
    """A graph while it is read.

    Attributes:
        graph: that is read.
        symbols: values of the symbols in its shapes.
        prefix: of the names of its layers.
        values: its tensors so far.
        views: tensor -> the tensor that it is a view of.
    """

    graph: CallGraph
    symbols: Mapping[str, int]
    prefix: str = ""
    values: dict[str, Value] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    read: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        arguments = [a for call in self.graph.calls for a in call.arguments.values()]
        self.read = frozenset((*tensor_names(arguments), *self.graph.outputs))

    def operand(
        self,
        name: str,
        source: int | None = None,
        origins: frozenset[Origin] = frozenset(),
        port: int = 0,
    ) -> Value:
        """The tensor of that name, as it comes from a source."""
        tensor = self.graph.tensors.get(name)
        if tensor is None:
            raise ValueError(f"tensor {name!r} must have a shape; it has none")
        shape = closed(tensor.shape, self.symbols)
        element = ElementType(tensor.dtype, 8 * tensor.element_bytes)
        return Value(shape, element, source, origins, port=port)

    def put(
        self,
        name: str,
        source: int | None = None,
        origins: frozenset[Origin] = frozenset(),
        port: int = 0,
    ) -> None:
        """Note where a tensor comes from."""
        if name in self.values:
            raise ValueError(f"tensor {name!r} must be given once")
        self.values[name] = self.operand(name, source, origins, port)

    def known(self, argument: Any) -> Any:
        """An argument with its tensors."""
        if isinstance(argument, Ref):
            return self.values[argument.name]
        return [self.known(a) for a in argument] if isinstance(argument, list) else argument


class _Reader:
    """Walks through calls, and lets the layers grow."""

    def __init__(self) -> None:
        self.layers = Layers()
        self.effects: list[int] = []

    def run(self, scope: _Scope) -> None:
        """Read the calls of a graph."""
        for call in scope.graph.calls:
            try:
                if call.target in _INLINED:
                    self._inline(scope, call)
                elif call.outputs:
                    self._call(scope, call)
                elif not call.target.startswith("aten."):
                    self._effect(scope, call)
            except (LookupError, TypeError, ArithmeticError, ValueError) as error:
                raise ValueError(f"call {call.name!r} of {call.target}: {error}") from error

    def _inline(self, scope: _Scope, call: Call) -> None:
        graphs = [a for a in call.arguments.values() if isinstance(a, CallGraph)]
        if len(graphs) != 1:
            raise ValueError(f"it must call one graph; it calls {len(graphs)}")
        inner = _Scope(graphs[0], scope.symbols, f"{scope.prefix}{call.name}.")
        outside = tensor_names(list(call.arguments.values()))
        for name, given in zip(graphs[0].inputs, outside, strict=True):
            inner.values[name] = scope.values[given]
        self.run(inner)
        for name, given in zip(graphs[0].outputs, call.outputs, strict=True):
            scope.values[given] = inner.values[name]

    def _effect(self, scope: _Scope, call: Call) -> None:
        """Read a call without outputs, which may write into its inputs (aten's only check them)."""
        names = [
            n
            for n in tensor_names(list(call.arguments.values()))
            if not scope.values[n].is_constant
        ]
        if not names:
            return
        reads = [scope.values[n] for n in names]
        source = self._steps(scope, call).layer(Reading(op=UNKNOWN), reads, ())
        self.effects.append(source)
        for n in names:
            scope.values[n] = replace(scope.values[n], source=source, port=0)

    def _call(self, scope: _Scope, call: Call) -> None:
        name, is_in_place = _aten_name(call.target)
        # Of what a tensor gets the type of, nothing is read.
        unread = ("other",) if name == "type_as" else ()
        arguments = {k: scope.known(v) for k, v in call.arguments.items() if k not in unread}
        operation = Operation(arguments, tuple(scope.operand(n) for n in call.outputs))
        source, origins, ports = self._source(scope, call, operation, name)
        for output in call.outputs:
            scope.put(output, source, origins, ports.get(output, 0))
        first = next(iter(tensor_names(list(call.arguments.values()))), "")
        if name in VIEWS:
            scope.views.update(dict.fromkeys(call.outputs, first))
        elif is_in_place:
            self._overwrite(scope, call, first, scope.values[call.outputs[0]])

    def _source(
        self, scope: _Scope, call: Call, operation: Operation, name: str
    ) -> tuple[int | None, frozenset[Origin], Mapping[str, int]]:
        """Return the origin of the outputs: None for a constant, else the position of a layer.

        Likewise the trainable tensors that a constant was computed from, and which of the layer's
        outputs each is that is not the first.
        """
        reads = operation.operands
        if name in SHAPE_ONLY:
            return None, frozenset(), {}
        if name and all(x.is_constant for x in reads):
            return None, frozenset(o for x in reads for o in x.origins), {}
        steps = self._steps(scope, call)
        if (add := composite(name, operation)) is not None:
            return add(steps, operation).source, frozenset(), {}
        rule = RULES.get(name)
        reading = rule.read(operation, rule.op) if rule else Reading(op=UNKNOWN)
        reads = reads if reading.reads is None else reading.reads
        if reading.op == "identity":
            if not reads:
                return None, frozenset(), {}
            return reads[0].source, reads[0].origins, dict.fromkeys(call.outputs, reads[0].port)
        # Parts that nobody reads are still copied by a split; indices of a pool are not written,
        # but where they are, runtimes compare one by one.
        kept = [x for x in call.outputs if x in scope.read or reading.op == "split"]
        kept = kept or list(call.outputs[:1])
        outputs = [x for n, x in zip(call.outputs, operation.outputs) if n in kept]  # noqa: B905
        ports = {x: port for port, x in enumerate(kept)}
        if reading.op == "max_pool" and len(kept) > 1:
            reading = replace(reading, op="max_pool_indices")
        return steps.layer(reading, reads, outputs), frozenset(), ports

    def _steps(self, scope: _Scope, call: Call) -> Steps:
        name = f"{call.module}/{scope.prefix}{call.name}".removeprefix("/")
        return Steps(self.layers, name, call.target)

    def _overwrite(self, scope: _Scope, call: Call, name: str, new: Value) -> None:
        """A tensor, and what it is a view of, holds something else from now on."""
        old = scope.values[name]
        origins = old.origins | new.origins
        scope.values[name] = replace(old, source=new.source, origins=origins, port=new.port)
        if name not in scope.views:
            return
        whole = scope.values[scope.views[name]]
        if prod(shape_of(whole)) != prod(shape_of(old)) and not (
            new.is_constant and whole.is_constant
        ):
            reading, step = Reading(op="scatter"), str(len(self.layers))
            source = self._steps(scope, call).layer(reading, (whole, new), (whole,), step)
            new = replace(whole, source=source, port=0)
        self._overwrite(scope, call, scope.views[name], new)


def _aten_name(target: str) -> tuple[str, bool]:
    """Name of an aten operator, empty of another one, and whether it writes into its input."""
    namespace, _, rest = target.partition(".")
    name = rest.partition(".")[0] if namespace == "aten" else ""
    is_in_place = name.endswith("_") and not name.endswith("__")
    return name.removesuffix("_") if is_in_place else name, is_in_place
