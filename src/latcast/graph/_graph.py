"""Any network as a graph of layers with the shapes that they work on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

from ._operators import OPERATORS
from .shapes import MAX_ELEMENTS, TensorShape

GRAPH_INPUT = -1
"""Index by which a layer names an input of its graph."""

UNKNOWN = "unknown"
"""Operator of a layer whose cost nobody knows."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a graph, with shapes that include the batch.

    Attributes:
        name: of the node in the file that it was read from; unique in its graph.
        op: a key of :data:`OPERATORS`, or :data:`UNKNOWN`.
        operator: what its source calls it, such as ``Conv``, ``com.example::Conv`` or
            ``aten.convolution.default``.
        inputs: positions of the layers whose outputs it reads, in order;
            :data:`GRAPH_INPUT` for an input of the graph. Constants are not listed.
        in_shapes: shapes of those inputs, in the same order; None where nobody knows.
        out_shapes: shapes of its outputs; None where nobody knows.
        params: trainable numbers that it reads: weights, biases, scales and shifts.
        param_bytes: bytes of all constants that it reads.
        window: height and width of the window of a convolution or pool.
        stride: steps of the window; of a slice the largest one, as a width.
        dilation: of the window.
        groups: convolution groups, or heads of an attention.
        element_bytes: bytes of one element of its activations.
        sum_length: terms of each sum of a product (``linear``, ``matmul``); 0 where it is the
            last axis of its first input.
        order: axes of the input in the order in which a transpose writes them; empty where nobody
            knows.
    """

    name: str
    op: str
    operator: str
    inputs: tuple[int, ...]
    in_shapes: tuple[TensorShape | None, ...]
    out_shapes: tuple[TensorShape | None, ...]
    params: int = 0
    param_bytes: int = 0
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    element_bytes: int = 4
    sum_length: int = 0
    order: tuple[int, ...] = ()

    @property
    def is_costed(self) -> bool:
        """Whether its cost is known: the operator, and all shapes."""
        return self.op in OPERATORS and None not in (*self.in_shapes, *self.out_shapes)

    @property
    def kind(self) -> str:
        """Kind of its operator (see :data:`OPERATORS`), or :data:`UNKNOWN`."""
        return OPERATORS[self.op].kind if self.is_costed else UNKNOWN

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch (0 of what has no weights and no product).

        Raises:
            ValueError: the cost is not known.
        """
        if not self.is_costed:
            raise ValueError(f"layer {self.name!r}: the cost of {self.operator} is not known")
        return OPERATORS[self.op].macs(self)

    @property
    def read_bytes(self) -> int:
        """Bytes of its activations that are read; what is not known counts nothing."""
        return self.element_bytes * sum(prod(s) for s in self.in_shapes if s is not None)

    @property
    def write_bytes(self) -> int:
        """Bytes of its outputs; what is not known counts nothing."""
        return self.element_bytes * sum(prod(s) for s in self.out_shapes if s is not None)


@dataclass(frozen=True)
class Graph:
    """Layers in an order in which they can run.

    Attributes:
        layers: every layer reads earlier ones only.
        name: of the network, for messages.
        outputs: positions of the layers that give the network's outputs.
    """

    layers: tuple[Layer, ...]
    name: str = "network"
    outputs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a network must have at least one layer; got none")
        for n, layer in enumerate(self.layers):
            _check_layer(n, layer)
        for n in self.outputs:
            if not GRAPH_INPUT <= n < len(self.layers):
                raise ValueError(f"outputs must be positions of layers; got {n}")

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def batch(self) -> int | None:
        """Leading side of all inputs of the graph; None where they have none in common."""
        shapes = [
            shape
            for layer in self.layers
            for source, shape in zip(layer.inputs, layer.in_shapes, strict=True)
            if source == GRAPH_INPUT
        ]
        leading = {shape[0] if shape else None for shape in shapes}
        return leading.pop() if len(leading) == 1 else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layers whose cost is known, for the whole batch."""
        return sum(x.macs for x in self.layers if x.is_costed)

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(x.params for x in self.layers)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """Of every layer the positions of the layers that read it."""
        readers: list[list[int]] = [[] for _ in self.layers]
        for n, layer in enumerate(self.layers):
            for source in dict.fromkeys(layer.inputs):
                if source != GRAPH_INPUT:
                    readers[source].append(n)
        return tuple(tuple(r) for r in readers)

    @property
    def uncosted(self) -> dict[str, int]:
        """Operators of the layers whose cost is not known, with how many there are of each."""
        return dict(Counter(x.operator for x in self.layers if not x.is_costed))

    def to_json(self) -> str:
        """Compact JSON, the inverse of :meth:`from_json`; defaults are left out."""
        layers = [
            {k: v for k, v in asdict(x).items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
            for x in self.layers
        ]
        record = {"name": self.name, "outputs": self.outputs, "layers": layers}
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """The graph that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is of another form, or no graph.
        """
        try:
            record = json.loads(text)
            layers = tuple(_layer(x) for x in record["layers"])
            return cls(layers, str(record["name"]), tuple(int(n) for n in record["outputs"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"a graph must be JSON as latcast writes it; got {error}") from error


_DEFAULTS: dict[str, Any] = {
    f.name: f.default for f in fields(Layer) if isinstance(f.default, int | tuple)
}


def _layer(record: Mapping[str, Any]) -> Layer:
    known = {**_DEFAULTS, **record}
    for name in ("inputs", "window", "stride", "dilation", "order"):
        known[name] = tuple(known[name])
    for name in ("in_shapes", "out_shapes"):
        known[name] = tuple(None if s is None else tuple(s) for s in known[name])
    return Layer(**known)


def _check_layer(n: int, layer: Layer) -> None:
    if not all(GRAPH_INPUT <= i < n for i in layer.inputs):
        raise ValueError(
            f"layer {layer.name!r} must read layers before it (or {GRAPH_INPUT}, an input); "
            f"it is at {n} and reads {layer.inputs}"
        )
    if len(layer.in_shapes) != len(layer.inputs):
        raise ValueError(
            f"layer {layer.name!r} must have a shape for each of its {len(layer.inputs)} inputs; "
            f"got {len(layer.in_shapes)}"
        )
    for shape in (*layer.in_shapes, *layer.out_shapes):
        if shape is not None and not _possible(shape):
            raise ValueError(
                f"layer {layer.name!r}: a shape must have positive integer sides and at most "
                f"{MAX_ELEMENTS} elements; got {list(shape)}"
            )
    numbers = (*layer.window, *layer.stride, *layer.dilation, layer.groups, layer.element_bytes)
    if not all(isinstance(v, int) and v > 0 for v in numbers):
        raise ValueError(f"layer {layer.name!r}: window, stride, groups … must be positive")
    if not all(
        isinstance(v, int) and v >= 0 for v in (layer.params, layer.param_bytes, layer.sum_length)
    ):
        raise ValueError(f"layer {layer.name!r}: parameters and sums must be counted from 0")


def _possible(shape: Sequence[int]) -> bool:
    return all(isinstance(s, int) and s > 0 for s in shape) and prod(shape) <= MAX_ELEMENTS
