"""Operators that follow shapes by themselves, each one layer of the graph that is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from ._graph import Graph
from ._operators import GRAPH_INPUT, Layer
from ._weights import (
    ARGUMENT,
    BUFFER,
    NO_CONSTANTS,
    Constant,
    Constants,
    argument,
    numbers,
)
from .shapes import (
    TensorShape,
    broadcast,
    concatenated,
    is_channel_scale,
    permuted,
    product,
    reduced,
    window_side,
    with_axis,
)


class Tensor(NamedTuple):
    """A value of a network that is being built.

    Attributes:
        source: position of the layer that gives it, or :data:`GRAPH_INPUT`.
        shape: with the batch.
        port: which output of that layer it is.
    """

    source: int
    shape: TensorShape
    port: int = 0


class LayerBuilder:
    """Builds a :class:`Graph` that can be written, layer by layer.

    Maps are (batch, channels, height, width), tokens (batch, tokens, features), vectors
    (batch, features). Every method returns what the operator gives. Layer ``n`` is named
    ``WORD_n``, so that a runtime's profile can be read back.

    Args:
        batch: of all inputs.
        name: of the graph.

    Attributes:
        folded_params: trainable numbers that the graph lacks beside the network as it is defined:
            folded into a convolution, a batch norm of two numbers a channel is one bias.
    """

    def __init__(self, batch: int = 1, name: str = "network") -> None:
        if batch < 1:
            raise ValueError(f"the batch must be at least 1; got {batch}")
        self.batch = batch
        self.folded_params = 0
        self._name = name
        self._layers: list[Layer] = []

    def input(self, *shape: int) -> Tensor:
        """An input of the graph, ``shape`` without the batch."""
        return Tensor(GRAPH_INPUT, (self.batch, *shape))

    def build(self, output: Tensor | None = None) -> Graph:
        """The graph that gives ``output``, by default what its last layer gives.

        Raises:
            ValueError: there is no layer, or the output is not the first one of a layer.
        """
        if not self._layers:
            raise ValueError("a network must have at least one layer; got none")
        end = len(self._layers) - 1 if output is None else output.source
        if end < 0 or (output is not None and output.port):
            raise ValueError(f"the output must be the first one of a layer; got {output}")
        return Graph.trusted(tuple(self._layers), self._name, (end,))

    def layer(
        self,
        op: str,
        operator: str,
        inputs: Sequence[Tensor],
        *shapes: TensorShape,
        constants: Constants = NO_CONSTANTS,
        word: str = "",
        **facts: Any,
    ) -> Tensor:
        """Add a layer; gives the first of its outputs.

        Args:
            op: a key of :data:`OPERATORS`.
            operator: ONNX's name of it.
            inputs: what it reads, but for its constants.
            shapes: of the outputs.
            constants: that it reads.
            word: its name without the number; ``op`` by default.
            facts: others that differ from their defaults (see :class:`Layer`).
        """
        # Spaces have tens of thousands of layers: columns are cheaper than a loop over inputs.
        sources, read, ports = zip(*inputs, strict=True) if inputs else ((), (), ())
        n = len(self._layers)
        self._layers.append(
            Layer(
                f"{word or op}_{n}",
                op,
                operator,
                sources,
                read,
                shapes,
                constants.params,
                constants.bytes,
                ports=ports if any(ports) else (),
                constants=constants.items,
                **facts,
            )
        )
        return Tensor(n, shapes[0])

    def extend(self, graph: Graph, *inputs: Tensor) -> Tensor:
        """Add the layers of a graph that reads ``inputs``; too few of them are read again.

        Raises:
            ValueError: an input is not what the graph reads.
        """
        start = len(self._layers)
        for n, layer in enumerate(graph.layers):
            sources = []
            entry = iter([*inputs, *[inputs[-1]] * len(layer.inputs)])
            for source, shape in zip(layer.inputs, layer.in_shapes, strict=True):
                given = next(entry) if source == GRAPH_INPUT else None
                if given is not None and given.shape != shape:
                    raise ValueError(
                        f"block {graph.name!r} must read what comes before it, {given.shape}; "
                        f"it reads {shape}"
                    )
                sources.append(start + source if given is None else given.source)
            name = f"{layer.word}_{start + n}"
            self._layers.append(layer._replace(name=name, inputs=tuple(sources)))
        end = graph.outputs[0]
        shape = graph.layers[end].out_shapes[0]
        assert shape is not None  # builders know all shapes
        return Tensor(start + end, shape)

    # -- layers of one input ----------------------------------------------------------------

    def unary(
        self, operator: str, x: Tensor, *constants: float, op: str = "", **attributes: Any
    ) -> Tensor:
        """An operator that keeps the shape, such as ``Relu`` or ``Clip`` with its bounds."""
        return self.layer(
            op or operator.lower(), operator, (x,), x.shape, constants=numbers(*constants),
            attributes=tuple(attributes.items()),
        )  # fmt: skip

    def max_pool(
        self, x: Tensor, kernel_size: int, *, stride: int = 1, padding: int = 0, ceil: bool = False
    ) -> Tensor:
        """The largest of every window; ``ceil`` keeps windows that end outside."""
        return self._pool("max_pool", "MaxPool", x, kernel_size, stride, padding, ceil)

    def avg_pool(
        self, x: Tensor, kernel_size: int, *, stride: int = 1, padding: int = 0, ceil: bool = False
    ) -> Tensor:
        """The mean of every window, padding left out; ``ceil`` keeps windows that end outside."""
        return self._pool("avg_pool", "AveragePool", x, kernel_size, stride, padding, ceil)

    def global_pool(self, x: Tensor) -> Tensor:
        """The mean of every channel, sides of 1."""
        return self.layer("global_pool", "GlobalAveragePool", (x,), (*x.shape[:2], 1, 1))

    def mean(self, x: Tensor, axis: int, *, keep: bool = False) -> Tensor:
        """The mean along ``axis``, which stays with a side of 1 if ``keep``."""
        axis, shape = axis % len(x.shape), reduced(x.shape, [axis], keep=keep)
        return self.layer(
            "mean", "ReduceMean", (x,), shape, constants=argument(axis),
            attributes=(("keepdims", int(keep)),),
        )  # fmt: skip

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """Shares that add up to 1 along ``axis``."""
        return self.layer("softmax", "Softmax", (x,), x.shape, attributes=(("axis", axis),))

    def flatten(self, x: Tensor) -> Tensor:
        """A vector of all that a sample has."""
        shape = (x.shape[0], prod(x.shape[1:]))
        return self.layer("reshape", "Flatten", (x,), shape, word="flatten")

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """The elements in another shape, which includes the batch."""
        if prod(shape) != prod(x.shape):
            raise ValueError(f"a shape of as many elements as {x.shape} is needed; got {shape}")
        # A side of 0 is kept, so that the file takes any batch.
        target = (0, *shape[1:]) if shape[0] == x.shape[0] else shape
        return self.layer("reshape", "Reshape", (x,), shape, constants=argument(*target))

    def expand(self, x: Tensor | Constant, *shape: int) -> Tensor | Constant:
        """Repeated to ``shape``; nothing is done where it has that shape."""
        if x.shape == shape:
            return x
        inputs, constants = ((x,), []) if isinstance(x, Tensor) else ([], (x,))
        read = Constants.of(*constants, *argument(*shape).items)
        return self.layer("expand", "Expand", inputs, shape, constants=read)

    def transpose(self, x: Tensor, *order: int) -> Tensor:
        """The axes in another order."""
        shape = permuted(x.shape, order)
        return self.layer("transpose", "Transpose", (x,), shape, order=order)

    def pad(self, x: Tensor, around: int) -> Tensor:
        """Zeros around a map."""
        shape = (*x.shape[:2], *(s + 2 * around for s in x.shape[2:]))
        sides = argument(*[0, 0, around, around] * 2)
        return self.layer("pad", "Pad", (x,), shape, constants=sides)

    def resize(self, x: Tensor, factor: int, *, linear: bool = False) -> Tensor:
        """A map with sides ``factor`` times as long, repeated or interpolated."""
        shape = (*x.shape[:2], *(s * factor for s in x.shape[2:]))
        how = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": "floor"}
        how["coordinate_transformation_mode"] = "half_pixel" if linear else "asymmetric"
        sides = (1.0, 1.0, float(factor), float(factor))
        scales = Constants.of(Constant(2, (4,), values=sides, role=ARGUMENT))
        return self.layer(
            "resize", "Resize", (x,), shape, constants=scales, attributes=tuple(how.items())
        )

    def gather(self, x: Tensor, index: int, axis: int) -> Tensor:
        """The slice at ``index`` of ``axis``; the axis is dropped."""
        shape = reduced(x.shape, [axis], keep=False)
        at = Constants.of(Constant(1, values=(index,), role=BUFFER))
        along = (("axis", axis),)
        return self.layer("gather", "Gather", (x,), shape, constants=at, attributes=along)

    def split(self, x: Tensor, sizes: Sequence[int], axis: int = 1) -> list[Tensor]:
        """Parts of ``sizes`` along ``axis``."""
        shapes = [with_axis(x.shape, axis, s) for s in sizes]
        along, parts = (("axis", axis),), argument(*sizes)
        first = self.layer("split", "Split", (x,), *shapes, constants=parts, attributes=along)
        return [Tensor(first.source, shape, port) for port, shape in enumerate(shapes)]

    # -- layers of several inputs -----------------------------------------------------------

    def add(self, x: Tensor, y: Tensor | Constant | float) -> Tensor:
        """A sum, broadcast."""
        return self.binary("Add", x, y)

    def mul(self, x: Tensor, y: Tensor | Constant | float) -> Tensor:
        """A product element by element, broadcast."""
        return self.binary("Mul", x, y)

    def binary(self, operator: str, x: Tensor, y: Tensor | Constant | float) -> Tensor:
        """``Add``, ``Sub``, ``Mul``, ``Div``, ``Pow`` or ``Max``, broadcast."""
        word = operator.lower()
        if isinstance(y, int | float):
            return self.layer(word, operator, (x,), x.shape, constants=numbers(y))
        shape = x.shape if x.shape == y.shape else broadcast(x.shape, y.shape)
        is_scale = operator == "Mul" and any(
            is_channel_scale(*shapes) for shapes in ((x.shape, y.shape), (y.shape, x.shape))
        )
        inputs, constants = _apart([x, y])
        return self.layer(
            "scale" if is_scale else word, operator, inputs, shape, constants=constants, word=word
        )

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """A product of matrices, both computed."""
        shape, length = product(x.shape, y.shape), x.shape[-1]
        return self.layer("matmul", "MatMul", [x, y], shape, sum_length=length)

    def concat(self, parts: Sequence[Tensor | Constant], axis: int = 1) -> Tensor:
        """``parts`` one after the other along ``axis``."""
        shape = concatenated([p.shape for p in parts], axis)
        inputs, constants = _apart(parts)
        along = (("axis", axis),)
        return self.layer("concat", "Concat", inputs, shape, constants=constants, attributes=along)

    def _pool(
        self, op: str, operator: str, x: Tensor, size: int, stride: int, padding: int, ceil: bool
    ) -> Tensor:
        pads = (padding, padding)
        whole, sides = (
            [window_side_of(s, size, stride, 1, pads, ceil=reaches) for s in x.shape[2:]]
            for reaches in (False, ceil)
        )
        attributes: tuple[tuple[str, Any], ...] = (("pads", pads * 2),)
        if sides != whole:
            attributes = (*attributes, ("ceil_mode", 1))
        return self.layer(
            op, operator, (x,), (*x.shape[:2], *sides), attributes=attributes,
            window=(size, size), stride=(stride, stride),
        )  # fmt: skip


# Cached: the block tables of spaces ask tens of thousands of times for a few hundred sides.
window_side_of = lru_cache(maxsize=4096)(window_side)


def _apart(read: Sequence[Tensor | Constant]) -> tuple[list[Tensor], Constants]:
    """Inputs, and constants with their places among all that is read."""
    inputs = [x for x in read if isinstance(x, Tensor)]
    if len(inputs) == len(read):
        return inputs, NO_CONSTANTS
    placed = [replace(x, slot=n) for n, x in enumerate(read) if isinstance(x, Constant)]
    return inputs, Constants.of(*placed)
