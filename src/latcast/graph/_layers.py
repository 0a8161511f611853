"""Operators that follow shapes by themselves, each one layer of the graph that is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

from ._graph import GRAPH_INPUT, Graph, Layer
from ._weights import ARGUMENT, BUFFER, NO_CONSTANTS, Constant, Constants
from .shapes import (
    broadcast,
    concatenated,
    is_channel_scale,
    permuted,
    product,
    reduced,
    window_side,
    with_axis,
)

Sides = int | tuple[int, int]
Shape = tuple[int, ...]

_BIAS_LIMIT = 0.1
_EPSILON = 1e-6
BIAS = "bias"
"""Word of the sum that gives a linear layer of tokens its bias."""


class Tensor(NamedTuple):
    """A value of a network that is being built.

    Attributes:
        source: position of the layer that gives it, or :data:`GRAPH_INPUT`.
        shape: with the batch.
        port: which output of that layer it is.
    """

    source: int
    shape: Shape
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
        *shapes: Shape,
        constants: Constants = NO_CONSTANTS,
        word: str = "",
        **facts: Any,
    ) -> list[Tensor]:
        """Add a layer.

        Args:
            op: a key of :data:`OPERATORS`.
            operator: ONNX's name of it.
            inputs: what it reads, but for its constants.
            shapes: of the outputs.
            constants: that it reads.
            word: its name without the number; ``op`` by default.
            facts: others that differ from their defaults (see :class:`Layer`).

        Returns:
            One tensor for each of ``shapes``.
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
        return [Tensor(n, shape, port) for port, shape in enumerate(shapes)]

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

    # -- layers with weights ----------------------------------------------------------------

    def weight(self, shape: Shape, limit: float, *, center: float = 0.0, slot: int = 0) -> Constant:
        """Trainable numbers, uniform from ``center - limit`` to ``center + limit``."""
        return Constant(slot, shape, limit, center)

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel_size: Sides = 1,
        *,
        stride: Sides = 1,
        groups: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        bias: bool = True,
        norm: bool = False,
        zero_bias: bool = False,
    ) -> Tensor:
        """A convolution of a map.

        Args:
            x: the map.
            channels: of the output.
            kernel_size: side, or height and width, of the window.
            stride: step of the window.
            groups: of channels; both channel counts are multiples of it.
            dilation: distance of the window's elements.
            padding: on every side; by default so that a stride of 1 keeps the sides.
            bias: whether it adds one.
            norm: whether a batch norm follows, which is folded into it.
            zero_bias: whether it adds zeros that are not trained, as runtimes do where a
                convolution is defined without a bias.
        """
        batch, in_channels, *sides = x.shape
        if in_channels % groups or channels % groups:
            raise ValueError(
                f"channels must be multiples of the groups; got {in_channels} in, {channels} out "
                f"and {groups} groups"
            )
        facts = _window_facts(kernel_size, stride, dilation, padding)
        window, pads = facts["window"], facts["attributes"][0][1]
        height, width = (
            window_side(side, window[n], facts["stride"][n], dilation, (pads[n], pads[n]))
            for n, side in enumerate(sides)
        )
        self.folded_params += channels * norm
        shape = (channels, in_channels // groups, *window)
        return self.layer(
            "depthwise_conv" if groups == in_channels == channels > 1 else "conv",
            "Conv",
            (x,),
            (batch, channels, height, width),
            constants=conv_constants(shape, "zero" if zero_bias else "bias" * (bias or norm)),
            groups=groups,
            **facts,
        )[0]

    def conv_transpose(self, x: Tensor, channels: int, factor: int) -> Tensor:
        """A transposed convolution that makes the sides of a map ``factor`` times as long."""
        batch, in_channels, height, width = x.shape
        sides = (factor, factor)
        weight = he_weight((in_channels, channels, *sides), in_channels)
        return self.layer(
            "conv_transpose",
            "ConvTranspose",
            (x,),
            (batch, channels, height * factor, width * factor),
            constants=Constants.of(weight, shift(channels, 2)),
            window=sides,
            stride=sides,
        )[0]

    def linear(self, x: Tensor, features: int, *, bias: bool = True) -> Tensor:
        """A linear layer: Gemm on vectors; on tokens a product and a sum, as PyTorch exports it."""
        fan_in, shape = x.shape[-1], (*x.shape[:-1], features)
        if len(shape) == 2:
            weight = he_weight((features, fan_in), fan_in)
            return self.layer(
                "linear", "Gemm", (x,), shape, sum_length=fan_in, attributes=(("transB", 1),),
                constants=Constants.of(weight, *[shift(features, 2)] * bias),
            )[0]  # fmt: skip
        weight = he_weight((fan_in, features), fan_in)
        computed = self.layer(
            "linear", "MatMul", (x,), shape, sum_length=fan_in, constants=Constants.of(weight)
        )[0]
        if not bias:
            return computed
        added = Constants.of(shift(features, 1))
        return self.layer("add", "Add", (computed,), shape, constants=added, word=BIAS)[0]

    def batch_norm(self, x: Tensor) -> Tensor:
        """A batch norm, whose mean and variance are not trained."""
        constants = _norm_constants(x.shape[1])
        return self.layer("batch_norm", "BatchNormalization", (x,), x.shape, constants=constants)[0]

    def layer_norm(self, x: Tensor, *, native: bool = True) -> Tensor:
        """A norm over the last axis: one layer, or its formula as exporters wrote it before."""
        features = x.shape[-1]
        scale, moved = Constant(1, (features,), 0.5, 1.0), shift(features, 2)
        if not native:
            centered = self.binary("Sub", x, self.mean(x, -1, keep=True))
            variance = self.mean(self.binary("Pow", centered, 2.0), -1, keep=True)
            deviation = self.unary("Sqrt", self.add(variance, _EPSILON))
            return self.add(self.mul(self.binary("Div", centered, deviation), scale), moved)
        return self.layer(
            "layer_norm", "LayerNormalization", (x,), x.shape, constants=Constants.of(scale, moved),
            attributes=(("axis", -1), ("epsilon", _EPSILON)),
        )[0]  # fmt: skip

    def instance_norm(self, x: Tensor) -> Tensor:
        """A norm of every channel of a map."""
        channels = x.shape[1]
        read = Constants.of(Constant(1, (channels,), 0.5, 1.0), shift(channels, 2))
        return self.layer("instance_norm", "InstanceNormalization", (x,), x.shape, constants=read)[
            0
        ]

    # -- layers of one input ----------------------------------------------------------------

    def unary(
        self, operator: str, x: Tensor, *constants: float, op: str = "", **attributes: Any
    ) -> Tensor:
        """An operator that keeps the shape, such as ``Relu`` or ``Clip`` with its bounds."""
        return self.layer(
            op or operator.lower(), operator, (x,), x.shape, constants=_numbers(*constants),
            attributes=tuple(attributes.items()),
        )[0]  # fmt: skip

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
        return self.layer("global_pool", "GlobalAveragePool", (x,), (*x.shape[:2], 1, 1))[0]

    def mean(self, x: Tensor, axis: int, *, keep: bool = False) -> Tensor:
        """The mean along ``axis``, which stays with a side of 1 if ``keep``."""
        axis %= len(x.shape)
        shape = reduced(x.shape, (axis,), keep=keep)
        return self.layer(
            "mean", "ReduceMean", (x,), shape, constants=_argument(axis),
            attributes=(("keepdims", int(keep)),),
        )[0]  # fmt: skip

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        """Shares that add up to 1 along ``axis``."""
        return self.layer("softmax", "Softmax", (x,), x.shape, attributes=(("axis", axis),))[0]

    def flatten(self, x: Tensor) -> Tensor:
        """A vector of all that a sample has."""
        shape = (x.shape[0], prod(x.shape[1:]))
        return self.layer("reshape", "Flatten", (x,), shape, word="flatten")[0]

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """The same elements in another shape (with the batch)."""
        if prod(shape) != prod(x.shape):
            raise ValueError(f"a shape of as many elements as {x.shape} is needed; got {shape}")
        # A side of 0 is kept, so that the file takes any batch.
        target = (0, *shape[1:]) if shape[0] == x.shape[0] else shape
        return self.layer("reshape", "Reshape", (x,), shape, constants=_argument(*target))[0]

    def expand(self, x: Tensor | Constant, *shape: int) -> Tensor | Constant:
        """Repeated to ``shape``; nothing is done where it has that shape."""
        if x.shape == shape:
            return x
        inputs, constants = ((x,), []) if isinstance(x, Tensor) else ([], (x,))
        read = Constants.of(*constants, *_argument(*shape).items)
        return self.layer("expand", "Expand", inputs, shape, constants=read)[0]

    def transpose(self, x: Tensor, *order: int) -> Tensor:
        """The axes in another order."""
        shape = permuted(x.shape, order)
        return self.layer("transpose", "Transpose", (x,), shape, order=order)[0]

    def pad(self, x: Tensor, around: int) -> Tensor:
        """Zeros around a map."""
        shape = (*x.shape[:2], *(s + 2 * around for s in x.shape[2:]))
        sides = _argument(*[0, 0, around, around] * 2)
        return self.layer("pad", "Pad", (x,), shape, constants=sides)[0]

    def resize(self, x: Tensor, factor: int, *, linear: bool = False) -> Tensor:
        """A map with sides ``factor`` times as long, repeated or interpolated."""
        shape = (*x.shape[:2], *(s * factor for s in x.shape[2:]))
        how = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": "floor"}
        how["coordinate_transformation_mode"] = "half_pixel" if linear else "asymmetric"
        sides = (1.0, 1.0, float(factor), float(factor))
        scales = Constants.of(Constant(2, (4,), values=sides, role=ARGUMENT))
        return self.layer(
            "resize", "Resize", (x,), shape, constants=scales, attributes=tuple(how.items())
        )[0]

    def gather(self, x: Tensor, index: int, axis: int) -> Tensor:
        """What is at ``index`` of ``axis``, which goes."""
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        at = Constants.of(Constant(1, values=(index,), role=BUFFER))
        along = (("axis", axis),)
        return self.layer("gather", "Gather", (x,), shape, constants=at, attributes=along)[0]

    def split(self, x: Tensor, sizes: Sequence[int], axis: int = 1) -> list[Tensor]:
        """Parts of ``sizes`` along ``axis``."""
        shapes = [with_axis(x.shape, axis, s) for s in sizes]
        along, parts = (("axis", axis),), _argument(*sizes)
        return self.layer("split", "Split", (x,), *shapes, constants=parts, attributes=along)

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
            return self.layer(word, operator, (x,), x.shape, constants=_numbers(y))[0]
        shape = x.shape if x.shape == y.shape else broadcast(x.shape, y.shape)
        is_scale = operator == "Mul" and (
            is_channel_scale(x.shape, y.shape) or is_channel_scale(y.shape, x.shape)
        )
        inputs, constants = _apart([x, y])
        return self.layer(
            "scale" if is_scale else word, operator, inputs, shape, constants=constants, word=word
        )[0]

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """A product of matrices, both computed."""
        shape = product(x.shape, y.shape)
        return self.layer("matmul", "MatMul", [x, y], shape, sum_length=x.shape[-1])[0]

    def concat(self, parts: Sequence[Tensor | Constant], axis: int = 1) -> Tensor:
        """``parts`` one after the other along ``axis``."""
        shape = concatenated([p.shape for p in parts], axis)
        inputs, constants = _apart(parts)
        along = (("axis", axis),)
        return self.layer("concat", "Concat", inputs, shape, constants=constants, attributes=along)[
            0
        ]

    def _pool(
        self, op: str, operator: str, x: Tensor, size: int, stride: int, padding: int, ceil: bool
    ) -> Tensor:
        pads = (padding, padding)
        sides, whole = (
            [window_side(s, size, stride, 1, pads, ceil=rounds_up) for s in x.shape[2:]]
            for rounds_up in (ceil, False)
        )
        attributes: tuple[tuple[str, Any], ...] = (("pads", (padding,) * 4),)
        if sides != whole:
            attributes = (*attributes, ("ceil_mode", 1))
        return self.layer(
            op, operator, (x,), (*x.shape[:2], *sides), attributes=attributes,
            window=(size, size), stride=(stride, stride),
        )[0]  # fmt: skip


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def he_weight(shape: Shape, fan_in: int) -> Constant:
    """Weights of a variance that keeps that of sums of ``fan_in`` terms."""
    return Constant(1, shape, sqrt(3 / fan_in))


def shift(features: int, slot: int) -> Constant:
    """A bias."""
    return Constant(slot, (features,), _BIAS_LIMIT)


@lru_cache(maxsize=256)
def _window_facts(
    kernel_size: Sides, stride: Sides, dilation: int, padding: int | None
) -> dict[str, Any]:
    """Facts of a convolution's layer that follow from its window alone; shared, not changed."""
    window = _pair(kernel_size)
    pads = tuple(dilation * (k - 1) // 2 if padding is None else padding for k in window)
    return {
        "window": window,
        "stride": _pair(stride),
        "dilation": (dilation, dilation),
        "attributes": (("pads", pads * 2),),
    }


@lru_cache(maxsize=4096)
def conv_constants(shape: Shape, bias: str = "") -> Constants:
    """Weights of a convolution, and its bias: ``bias``, ``zero`` (not trained) or none."""
    weight = he_weight(shape, prod(shape[1:]))
    if bias == "zero":
        return Constants.of(weight, Constant(2, shape[:1], role=BUFFER))
    return Constants.of(weight, shift(shape[0], 2)) if bias else Constants.of(weight)


@lru_cache(maxsize=1024)
def _norm_constants(channels: int) -> Constants:
    """Scale, shift, mean and variance of a batch norm."""
    spread = Constant(1, (channels,), 0.5, 1.0)
    mean = Constant(3, (channels,), _BIAS_LIMIT, role=BUFFER)
    return Constants.of(spread, shift(channels, 2), mean, replace(spread, slot=4, role=BUFFER))


@lru_cache(maxsize=64)
def _numbers(*values: float) -> Constants:
    """Single numbers after the input."""
    return Constants.of(
        *(Constant(n, values=(float(x),), role=BUFFER) for n, x in enumerate(values, 1))
    )


def _argument(*values: int) -> Constants:
    return Constants.of(Constant(1, (len(values),), values=values, role=ARGUMENT))


def _apart(read: Sequence[Tensor | Constant]) -> tuple[list[Tensor], Constants]:
    """Inputs, and constants with their places among all that is read."""
    inputs = [x for x in read if isinstance(x, Tensor)]
    if len(inputs) == len(read):
        return inputs, NO_CONSTANTS
    placed = [replace(x, slot=n) for n, x in enumerate(read) if isinstance(x, Constant)]
    return inputs, Constants.of(*placed)
