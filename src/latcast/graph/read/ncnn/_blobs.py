"""Blobs of a model while it is translated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from latcast.graph.read._translation import Translation
from latcast.graph.shapes import TensorShape, axis_of

from ._file import FLOAT, HALF, INT8, Layer, Weights, missing


@dataclass
class Blobs:
    """The known blobs of layers that were translated.

    Attributes:
        t: the model that is written.
        weights: of layers to come.
        asked: shapes of inputs.
        names: blob -> name of the value.
        shapes: blob -> shape with the batch; None where it is not known.
        read: blobs that a layer reads.
        codes: weights -> code of their type.
        constants: how many weights were taken.
    """

    t: Translation
    weights: Weights
    asked: Mapping[str, Sequence[int]]
    names: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, TensorShape | None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    codes: dict[str, int] = field(default_factory=dict)
    constants: int = 0

    def give(self, blob: str, name: str, shape: TensorShape | None) -> None:
        """Note what a blob is."""
        if blob in self.names:
            raise ValueError(f"blob {blob!r} must be given once")
        self.names[blob], self.shapes[blob] = name, shape

    def input(self, x: Layer, n: int = 0) -> str:
        return self.names[x.inputs[n]]

    def shape(self, x: Layer, n: int = 0) -> TensorShape:
        """Shape of an input with the batch.

        Raises:
            LookupError: it is not known.
        """
        shape = self.shapes[x.inputs[n]]
        if shape is None:
            raise LookupError(f"layer {x.name!r} must read a known shape")
        return shape

    def constant(self, *shape: int, flagged: bool = False) -> str:
        """The next weights of the file; those of few bits, or of half precision, as numbers."""
        code, load = self.weights.take(prod(shape), flagged=flagged)
        if load is missing and not self.t.with_weights:
            load = lambda: bytes(4 * prod(shape))  # noqa: E731  # no shape depends on weights
        self.constants += 1
        name = self.t.constant(f"weights:{self.constants}", code, shape, load)
        self.codes[name] = code
        return self.t.layout("Cast", name, to=FLOAT) if code == HALF else name

    def real(self, x: str, weights: str, scales: Sequence[str]) -> tuple[str, str]:
        """An input and weights of 8 bits as the numbers that they stand for.

        Their scales are those of the rows of the weights, and that of the input; ncnn multiplies
        by scales what ONNX divides by them.
        """
        if self.codes.get(weights) != INT8:
            return x, weights
        of_rows, *of_input = (self.t.layout("Reciprocal", s) for s in scales)
        if self.t.constant_shape(scales[0]) == (1,):
            weights = self.t.node("DequantizeLinear", weights, self.t.scalar(of_rows))
        else:
            weights = self.t.node("DequantizeLinear", weights, of_rows, axis=0)
        if of_input:
            factors = self.t.scalar(of_input[0]), self.t.byte(0)
            x = self.t.node("QuantizeLinear", x, *factors)
            x = self.t.node("DequantizeLinear", x, *factors)
        return x, weights

    def same(self, x: Layer, name: str) -> None:
        """Note an output of the shape of the first input."""
        self.give(x.outputs[0], name, self.shapes[x.inputs[0]])

    def node(self, x: Layer, op: str, *inputs: str, **attributes: Any) -> None:
        """Add a node of an operator that keeps the shape of the first input."""
        self.same(x, self.t.node(op, *(inputs or [self.input(x)]), name=x.name, **attributes))

    def activated(self, x: Layer, name: str) -> str:
        """Add the activation that is part of a layer; return its output."""
        kind, given = x.integer(9), [float(v) for v in x.values.get(10, [])]
        if kind == 2:
            return self.t.node("LeakyRelu", name, alpha=given[0])
        if kind == 3:
            return self.t.node("Clip", name, *map(self.t.number, given))
        if kind == 6:
            return self.hard_swish(name, given[0], given[1])
        return self.t.activated(name, ("", "Relu", "", "", "Sigmoid", "Mish")[kind])

    def hard_swish(self, x: str, alpha: float, beta: float, name: str = "") -> str:
        """``x`` times a clipped line; with the usual slope it has a name of its own."""
        if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
            return self.t.node("HardSwish", x, name=name)
        gate = self.t.node("HardSigmoid", x, alpha=alpha, beta=beta)
        return self.t.node("Mul", x, gate, name=name)


# Adds the nodes of a layer, and notes its outputs.
Rule = Callable[[Blobs, Layer], None]


def axis_in(r: Blobs, x: Layer, axis: int) -> int:
    """An axis of a layer's first blob as one with the batch."""
    return axis_of(axis, len(r.shape(x)) - 1) + 1
