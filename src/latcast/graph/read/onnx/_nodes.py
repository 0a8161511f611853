"""Nodes of an ONNX graph: their names and order, and what is known of one that is read.

A graph or a function is a :class:`Scope` within those around it. A node is a :class:`Node`, which
its operator's :class:`Rule` makes a :class:`Reading` of.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from latcast._limits import MAX_GRAPH_DEPTH
from latcast.graph.read._layers import ElementType, Facts, Value
from latcast.graph.shapes import TensorShape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import (
        AttributeProto,
        FunctionProto,
        GraphProto,
        NodeProto,
        OperatorSetIdProto,
        ValueInfoProto,
    )

# Types of attributes that hold graphs.
_GRAPH, _GRAPHS = 5, 10
# Length of a name in a message; a file's names may be of any length.
_MAX_LETTERS = 100
_MAX_MESSAGE = 300
# Of a file that imports operators of other domains alone.
ANY_OPSET = 17
_BRANCHES = {True: "then_branch", False: "else_branch"}


def label(node: NodeProto) -> str:
    """Name of a node for messages: its own, or that of what it gives."""
    name = node.name or next(filter(None, node.output), "?")
    kind = "".join(c if c.isprintable() else "?" for c in operator(node))
    return f"node {name[:_MAX_LETTERS]!r} ({kind[:_MAX_LETTERS]})"


def shortened(message: str) -> str:
    """A message that a file's numbers may have made long."""
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"


def check_text(*names: object) -> None:
    """Make sure that names are text; protobuf gives those that are not UTF-8 as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"names in an ONNX model must be UTF-8; got {name!r}")


def operator(node: NodeProto) -> str:
    """Operator of a node, after its domain where that is not ONNX's own."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    return f"{domain}::{node.op_type}" if domain else node.op_type


def subgraphs(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    """Graphs that attributes hold."""
    for attribute in attributes:
        if attribute.type == _GRAPH:
            yield attribute.g
        elif attribute.type == _GRAPHS:
            yield from attribute.graphs


def captured(node: NodeProto) -> list[str]:
    """Names that the node's subgraphs read from around them."""
    read: dict[str, None] = {}
    given: set[str] = set()
    open_graphs = list(subgraphs(node.attribute))
    while open_graphs:
        graph = open_graphs.pop()
        given.update(x.name for x in (*graph.input, *graph.initializer))
        for inner in graph.node:
            read.update(dict.fromkeys(filter(None, inner.input)))
            given.update(inner.output)
            open_graphs.extend(subgraphs(inner.attribute))
        read.update(dict.fromkeys(x.name for x in graph.output))
    return [name for name in read if name not in given]


def in_order(
    nodes: Sequence[NodeProto],
    wanted: Iterable[str],
    here: Callable[[str], bool],
    around: Callable[[str], bool],
) -> tuple[list[NodeProto], set[str]]:
    """The nodes that ``wanted`` needs, in an order in which they can run, and all that is read.

    Args:
        nodes: of one graph.
        wanted: names of its outputs.
        here: whether the graph has an input or a constant of a name.
        around: whether a graph around it has a value of a name.

    Raises:
        ValueError: a name is given twice, or read and given by nothing; nodes wait for each
            other.
    """
    giver = _givers(nodes, here)
    reads: dict[int, list[str]] = {}
    used = set(wanted)
    # No recursion: a chain of thousands of nodes would be too deep for one.
    stack: list[tuple[int | None, str]] = [(None, name) for name in used]
    while stack:
        reader, name = stack.pop()
        if name in giver:
            n = giver[name]
            if n not in reads:
                node = nodes[n]
                check_text(*node.input)
                reads[n] = [*filter(None, node.input), *captured(node)]
                used.update(reads[n])
                stack.extend((n, source) for source in reads[n])
        elif not here(name) and not around(name):
            told = "an output" if reader is None else label(nodes[reader])
            raise ValueError(f"{told} reads {name[:_MAX_LETTERS]!r}, which no node gives")
    return [nodes[n] for n in _sorted(nodes, reads, giver)], used


def _givers(nodes: Sequence[NodeProto], here: Callable[[str], bool]) -> dict[str, int]:
    giver: dict[str, int] = {}
    for n, node in enumerate(nodes):
        for name in filter(None, node.output):
            check_text(name, node.name, node.op_type, node.domain)
            if name in giver or here(name):
                raise ValueError(f"{label(node)} gives {name!r}, which another one gives already")
            giver[name] = n
    return giver


def _sorted(
    nodes: Sequence[NodeProto], reads: dict[int, list[str]], giver: dict[str, int]
) -> list[int]:
    """Positions in the file's order, changed only as far as it has to be."""
    if all(giver[name] < n for n, names in reads.items() for name in names if name in giver):
        return sorted(reads)
    sorter = TopologicalSorter(
        {n: {giver[name] for name in names if name in giver} for n, names in reads.items()}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        stuck = min(error.args[1])
        raise ValueError(
            f"{label(nodes[stuck])} must not wait for its own output: a cycle"
        ) from None
    ready: list[int] = []
    order = []
    while sorter.is_active():
        for n in sorter.get_ready():
            heapq.heappush(ready, n)
        # The first in the file: the layers of a sorted one keep their order and their names.
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
    return order


@dataclass
class Scope:
    """Names of a graph or a function, within those around it.

    What it holds runs ``runs`` times a pass, with the dearest branches and with the cheapest, and
    is written in version ``opset`` of ONNX's operators.
    """

    values: dict[str, Value | None]
    around: Scope | None = None
    prefix: str = ""
    depth: int = 0
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    infos: dict[str, ValueInfoProto] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    runs: tuple[int, int] = (1, 1)
    opset: int = ANY_OPSET

    def __contains__(self, name: str) -> bool:
        return name in self.values or (self.around is not None and name in self.around)

    def find(self, name: str) -> Value | None:
        """A value; None for one that was left out."""
        if name in self.values or self.around is None:
            return self.values.get(name)
        return self.around.find(name)

    def inner(self, name: str, *, around: Scope | None) -> Scope:
        """A scope of a graph or a function that the node ``name`` of this one runs.

        Raises:
            ValueError: there are too many in each other.
        """
        if self.depth >= MAX_GRAPH_DEPTH:
            raise ValueError(
                f"graphs and functions must be at most {MAX_GRAPH_DEPTH} deep in each other; "
                f"at {name!r} there are more"
            )
        prefix = f"{self.prefix}{name}/"
        return Scope({}, around, prefix, self.depth + 1, runs=self.runs, opset=self.opset)


def opset_of(imports: Sequence[OperatorSetIdProto]) -> int:
    """Version of ONNX's operators that a model or a function is written in.

    Files of the first years name none; those of operators of other domains alone need none.
    """
    own = (x.version for x in imports if x.domain in ("", "ai.onnx"))
    return next(own, ANY_OPSET if imports else 1)


def attributes_of(node: NodeProto, scope: Scope) -> dict[str, AttributeProto]:
    """Attributes by name; those that refer to a function's are what its caller has given."""
    found = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
        elif attribute.ref_attr_name in scope.attributes:
            found[attribute.name] = scope.attributes[attribute.ref_attr_name]
    return found


def function_scope(
    node: NodeProto, function: FunctionProto, given: Mapping[str, AttributeProto], scope: Scope
) -> Scope:
    """The scope of a function's body; what is left out is None there."""
    inner = scope.inner(node.name or function.name, around=None)
    inner.opset = opset_of(function.opset_import)
    values = [scope.find(name) if name else None for name in node.input]
    if len(values) > len(function.input):
        raise ValueError(
            f"function {function.name!r} must have at most {len(function.input)} "
            f"inputs; got {len(values)}"
        )
    values += [None] * (len(function.input) - len(values))
    inner.values.update(zip(function.input, values, strict=True))
    inner.attributes = {a.name: a for a in function.attribute_proto} | dict(given)
    return inner


def branch_of(
    node: NodeProto, attributes: Mapping[str, AttributeProto], scope: Scope
) -> GraphProto | None:
    """The branch that an ``If`` takes; None where that is decided when it runs."""
    condition = scope.find(node.input[0]) if node.input else None
    data = condition.data() if condition is not None and condition.is_constant else None
    if data is None or data.size != 1:
        return None
    branch = attributes.get(_BRANCHES[bool(data.reshape(-1)[0])])
    return None if branch is None else next(subgraphs([branch]), None)


def branches(attributes: Mapping[str, AttributeProto]) -> list[GraphProto]:
    """The branches of an ``If``, as far as it has them."""
    held = (attributes[name] for name in _BRANCHES.values() if name in attributes)
    return [branch for attribute in held for branch in islice(subgraphs([attribute]), 1)]


class UnknownShape(Exception):  # noqa: N818  # no error: what reads it has no shape either
    """A shape or a constant that a node's shape depends on is not known."""


@dataclass(frozen=True, slots=True)
class Reading(Facts):
    """The result of reading a node.

    Attributes:
        shapes: shapes of its outputs; None where they are not known.
        type: element type of its outputs; None for that of its first input.
        types: those of the outputs one by one, where they are of several.
        weights: positions of the inputs whose constants are trained.
        channels_last: whether the channels of its first input and of its outputs come last.
    """

    shapes: tuple[TensorShape | None, ...]
    type: ElementType | None = None
    types: tuple[ElementType, ...] = ()
    weights: tuple[int, ...] = ()
    channels_last: bool = False


class Rule(NamedTuple):
    """How nodes of an ONNX operator are read.

    Attributes:
        read: gives the shapes of a node's outputs, and what else is to know of it. It raises
            UnknownShape where they depend on what is not known, ValueError where a node is wrong.
        arguments: positions of inputs that say what to do; they are no data that it reads.
        is_constant: whether it gives a constant whatever its inputs hold.
    """

    read: Callable[[Node], Reading]
    arguments: tuple[int, ...] = ()
    is_constant: bool = False


def shape_rule(shape: Callable[[Node], TensorShape], *arguments: int) -> Rule:
    """The rule of an operator of which the shape of its one output is all there is to tell."""
    return Rule(lambda node: Reading((shape(node),)), arguments)


class Entry(NamedTuple):
    """An ONNX operator: its name in our vocabulary, and the fields of its :class:`Rule`."""

    op: str
    read: Callable[[Node], Reading]
    arguments: tuple[int, ...] = ()
    is_constant: bool = False


@dataclass(slots=True)
class Node:
    """A node with what is known of its inputs; its methods check what the file says.

    Attributes:
        name: of the node.
        op_type: ONNX's name of its operator.
        inputs: None for one that is left out.
        outputs: how many it gives.
        attributes: by name.
        batch: the batch of the file and the one wanted, where they differ.
        opset: version of ONNX's operators that the file is written in.
    """

    name: str
    op_type: str
    inputs: Sequence[Value | None]
    outputs: int
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    batch: tuple[int, int] | None = None
    opset: int = 1

    def get(self, position: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        value = self.get(position)
        if value is None:
            raise ValueError(f"input {position} must be given; it is missing")
        return value

    def shape(self, position: int, *, min_axes: int = 0) -> TensorShape:
        """Shape of an input, of at least ``min_axes`` axes."""
        shape = self.value(position).shape
        if shape is None:
            raise UnknownShape
        if len(shape) < min_axes:
            raise ValueError(
                f"input {position} must have at least {min_axes} axes; got {list(shape)}"
            )
        return shape

    def shapes(self) -> list[TensorShape]:
        """Shapes of all inputs, of which there must be one."""
        if not self.inputs:
            raise ValueError("it must have an input; it has none")
        return [self.shape(n) for n in range(len(self.inputs))]

    def data(self, position: int) -> NDArray[Any]:
        """Elements of a small constant."""
        data = self.value(position).data()
        if data is None:
            raise UnknownShape
        return data

    def whole_numbers(self, position: int) -> list[int]:
        """Elements of a small constant of integers."""
        data = self.data(position)
        if data.dtype.kind not in "iu":
            raise ValueError(f"input {position} must hold integers; got {data.dtype}")
        return [int(v) for v in data.reshape(-1).tolist()]

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute; one without ``default`` must be there."""
        return int(self._attribute(name, "INT", "i", default))

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """An attribute; one without ``default`` must be there."""
        return [int(v) for v in self._attribute(name, "INTS", "ints", default)]

    def number(self, name: str, default: float | None = None) -> float:
        """An attribute; one without ``default`` must be there."""
        return float(self._attribute(name, "FLOAT", "f", default))

    def numbers(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        """An attribute; one without ``default`` must be there."""
        return [float(v) for v in self._attribute(name, "FLOATS", "floats", default)]

    def text(self, name: str, default: str | None = None) -> str:
        """An attribute; one without ``default`` must be there."""
        got = self._attribute(name, "STRING", "s", default)
        return got if isinstance(got, str) else bytes(got).decode("utf-8", "replace")

    def axes(self, position: int) -> list[int] | None:
        """Axes: an attribute in older opsets, an input in newer ones; None where neither is."""
        if "axes" in self.attributes:
            return self.integers("axes")
        return None if self.get(position) is None else self.whole_numbers(position)

    def _attribute(self, name: str, kind: str, field: str, default: object) -> Any:
        attribute = self.attributes.get(name)
        if attribute is None:
            if default is None:
                raise ValueError(f"attribute {name!r} must be given; it is missing")
            return default
        if attribute.type != getattr(attribute, kind):
            raise ValueError(f"attribute {name!r} must be of type {kind}; got {attribute.type}")
        return getattr(attribute, field)
