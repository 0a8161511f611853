"""Nodes in an order in which they can run; what no output needs is left out."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, NodeProto

_GRAPH, _GRAPHS = 5, 10
"""Types of attributes that hold graphs."""
_MOST_LETTERS = 100
"""Of a name in a message."""
_MOST_MESSAGE = 300


def label(node: NodeProto) -> str:
    """Name of a node for messages: its own, or that of what it gives."""
    name = node.name or next(filter(None, node.output), "?")
    kind = "".join(c if c.isprintable() else "?" for c in operator(node))
    return f"node {name[:_MOST_LETTERS]!r} ({kind[:_MOST_LETTERS]})"


def shortened(message: str) -> str:
    """A message that a file's numbers may have made long."""
    return message if len(message) <= _MOST_MESSAGE else f"{message[:_MOST_MESSAGE]}…"


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
    stack = [("an output", name) for name in used]
    while stack:
        reader, name = stack.pop()
        if name in giver:
            n = giver[name]
            if n not in reads:
                node = nodes[n]
                check_text(*node.input)
                reads[n] = [*filter(None, node.input), *captured(node)]
                used.update(reads[n])
                stack.extend((label(node), source) for source in reads[n])
        elif not here(name) and not around(name):
            raise ValueError(f"{reader} reads {name[:_MOST_LETTERS]!r}, which no node gives")
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
    waits = {n: {giver[name] for name in names if name in giver} for n, names in reads.items()}
    readers: dict[int, list[int]] = {n: [] for n in reads}
    for n, sources in waits.items():
        for source in sources:
            readers[source].append(n)
    ready = [n for n, sources in waits.items() if not sources]
    heapq.heapify(ready)
    order = []
    while ready:
        n = heapq.heappop(ready)
        order.append(n)
        for reader in readers[n]:
            waits[reader].discard(n)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(reads):
        stuck = min(reads.keys() - set(order))
        raise ValueError(f"{label(nodes[stuck])} must not wait for its own output: a cycle")
    return order
