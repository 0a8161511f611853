"""One operator of a network, with the shapes that it works on."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from ._operators import OPERATORS
from ._weights import Constant, Constants
from .shapes import TensorShape

GRAPH_INPUT = -1
"""Index by which a layer names an input of its graph. A layer that names it several times reads as
many inputs, in order; two layers that name it once read the same."""

UNKNOWN = "unknown"
"""Operator of a layer whose cost nobody knows."""


class Layer(NamedTuple):
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
        ports: of every input which output of that layer it is; empty if all are the first.
        constants: what it reads beside its inputs, where it was built to be written; empty where
            it was read from a file.
        attributes: names and values of what a writer must know besides, as ONNX calls them: the
            ``pads`` of a window, the ``axis`` of a softmax.
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
    ports: tuple[int, ...] = ()
    constants: tuple[Constant, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def in_shape(self) -> TensorShape:
        """Shape of the first input, which must be known."""
        return _known(self.in_shapes[0])

    @property
    def out_shape(self) -> TensorShape:
        """Shape of the first output, which must be known."""
        return _known(self.out_shapes[0])

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
        return self.element_bytes * _elements(self.in_shapes)

    @property
    def write_bytes(self) -> int:
        """Bytes of its outputs; what is not known counts nothing."""
        return self.element_bytes * _elements(self.out_shapes)

    @property
    def word(self) -> str:
        """The name without its number."""
        return self.name.rpartition("_")[0] or self.name

    def reading(self, constants: Constants) -> Layer:
        """The layer with other constants."""
        return self._replace(
            constants=constants.items, params=constants.params, param_bytes=constants.bytes
        )

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return dict(self.attributes).get(name, default)


def _elements(shapes: tuple[TensorShape | None, ...]) -> int:
    total = 0
    for shape in shapes:  # as a sum it would take twice as long, which spaces feel
        if shape is not None:
            total += prod(shape)
    return total


def _known(shape: TensorShape | None) -> TensorShape:
    assert shape is not None  # asked of graphs that were built, or of layers with a known cost
    return shape
