"""Layers as they are found, and the graph that is made of them at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from latcast.graph._graph import GRAPH_INPUT, UNKNOWN, Graph, Layer, TensorShape

from ._tensors import bytes_of, element_bytes
from ._values import Entry, Node, Origin, Reading, Value

_SUMS = frozenset({"add", "sub", "mul", "div", "scale", "concat", "pow", "min", "max"})
"""Operators whose constants are trained only where the file holds them: masks are computed."""


@dataclass
class Layers:
    """Layers of a graph that is being read."""

    _layers: list[Layer] = field(default_factory=list)
    _learned: list[frozenset[Origin]] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)

    def add(
        self, node: Node, entry: Entry | None, reading: Reading,
        outputs: Sequence[Value], operator: str,
    ) -> int:  # fmt: skip
        """Add the layer of a node; gives its position."""
        arguments = entry.arguments if entry else ()
        op = reading.op or (entry.op if entry else UNKNOWN)
        read = [v for v in node.inputs if v is not None and not v.is_constant]
        constants = [
            v for n, v in enumerate(node.inputs)
            if v is not None and v.is_constant and n not in arguments
        ]  # fmt: skip
        self._learned.append(_learned(node, op, reading))
        self._layers.append(
            Layer(
                name=self._unique(node.name),
                op=op,
                operator=operator,
                inputs=tuple(GRAPH_INPUT if v.source is None else v.source for v in read),
                in_shapes=tuple(v.shape for v in read),
                out_shapes=tuple(v.shape for v in outputs),
                param_bytes=sum(map(bytes_of, constants)),
                window=reading.window,
                stride=reading.stride,
                dilation=reading.dilation,
                groups=reading.groups,
                element_bytes=_largest_type([*outputs, *read]),
                sum_length=reading.sum_length,
                order=reading.order,
            )
        )
        return len(self._layers) - 1

    def graph(self, name: str, outputs: Sequence[int]) -> Graph:
        """The layers that the outputs need; a weight that several read counts in the first."""
        alive = self._alive(outputs)
        place = {GRAPH_INPUT: GRAPH_INPUT} | {n: new for new, n in enumerate(alive)}
        counted: set[Origin] = set()
        layers = []
        for n in alive:
            layer, new = self._layers[n], self._learned[n] - counted
            counted |= new
            inputs = tuple(place[i] for i in layer.inputs)
            layers.append(replace(layer, inputs=inputs, params=sum(o.elements for o in new)))
        return Graph(tuple(layers), name, tuple(place[n] for n in outputs))

    def _alive(self, outputs: Sequence[int]) -> list[int]:
        alive = {n for n in outputs if n != GRAPH_INPUT}
        for n in range(len(self._layers) - 1, -1, -1):
            if n in alive:
                alive.update(i for i in self._layers[n].inputs if i != GRAPH_INPUT)
        return sorted(alive)

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        return name if count == 1 else self._unique(f"{name}#{count}")


def _learned(node: Node, op: str, reading: Reading) -> frozenset[Origin]:
    """Trained constants that a node reads."""
    learned: set[Origin] = set()
    for n in reading.weights:
        value = node.get(n)
        if value is None or not value.is_constant or value.shape is None:
            continue
        learned |= value.origins
        if not value.origins and op not in _SUMS:
            learned.add(Origin(f"{node.name}: input {n}", prod(value.shape)))
    return frozenset(learned)


def _largest_type(values: Sequence[Value]) -> int:
    """Bytes of an element of the largest tensor; of the first one where no shape is known."""

    def size(value: Value) -> int:
        return 0 if value.shape is None else prod(value.shape)

    return element_bytes(max(values, key=size).dtype) if values else element_bytes(0)


def is_empty(shape: TensorShape | None) -> bool:
    """Whether a tensor has no elements."""
    return shape is not None and 0 in shape
