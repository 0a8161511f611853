"""The language in which families, spaces and tests write networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import sqrt
from typing import Any

from latcast._names import unknown_name

from ._graph import Graph
from ._layer_builder import LayerBuilder, Tensor, window_side_of
from ._operators import GRAPH_INPUT, OPERATORS
from ._weights import (
    Constant,
    Constants,
    conv_constants,
    he_weight,
    norm_constants,
    shift,
)
from .shapes import TensorShape, inside_share

# Activation that ONNX has under another name -> that name, and its constants.
_CONSTANTS: dict[str, tuple[str, tuple[float, ...]]] = {"relu6": ("Clip", (0.0, 6.0))}
_ATTRIBUTES: dict[str, dict[str, float]] = {
    "leaky_relu": {"alpha": 0.1},
    "h_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
}
# Activations that ONNX has in later opsets than are written here; they are formulas.
_LATER = ("silu", "mish")

_EPSILON = 1e-6
# Word of the sum that gives a linear layer of tokens its bias.
_BIAS = "bias"
Sides = int | tuple[int, int]
_WEIGHTED = ("conv", "depthwise_conv", "conv_transpose", "linear")


class GraphBuilder(LayerBuilder):
    """Builds a graph of layers, and of what is written as several of them."""

    def weight(self, shape: TensorShape, limit: float, *, center: float = 0.0) -> Constant:
        """Trainable numbers, uniform from ``center - limit`` to ``center + limit``."""
        return Constant(0, shape, limit, center)

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
        (k, across), (step, aside) = window, facts["stride"]
        height = window_side_of(sides[0], k, step, dilation, (pads[0], pads[0]))
        width = window_side_of(sides[1], across, aside, dilation, (pads[1], pads[1]))
        self.folded_params += channels * norm
        if dilation > 1:
            facts = facts | {
                "inside": inside_share(sides[0], k, step, dilation, pads[0], height)
                * inside_share(sides[1], across, aside, dilation, pads[1], width)
            }
        shape = (channels, in_channels // groups, *window)
        return self.layer(
            "depthwise_conv" if groups == in_channels == channels > 1 else "conv",
            "Conv",
            (x,),
            (batch, channels, height, width),
            constants=conv_constants(shape, "zero" if zero_bias else "bias" * (bias or norm)),
            groups=groups,
            **facts,
        )

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
        )

    def linear(self, x: Tensor, features: int, *, bias: bool = True) -> Tensor:
        """A linear layer: Gemm on vectors; on tokens a product and a sum, as PyTorch exports it."""
        fan_in, shape = x.shape[-1], (*x.shape[:-1], features)
        if len(shape) == 2:
            weight = he_weight((features, fan_in), fan_in)
            return self.layer(
                "linear", "Gemm", (x,), shape, sum_length=fan_in, attributes=(("transB", 1),),
                constants=Constants.of(weight, *[shift(features, 2)] * bias),
            )  # fmt: skip
        weight = he_weight((fan_in, features), fan_in)
        product = self.layer(
            "linear", "MatMul", (x,), shape, sum_length=fan_in, constants=Constants.of(weight)
        )
        if not bias:
            return product
        added = Constants.of(shift(features, 1))
        return self.layer("add", "Add", (product,), shape, constants=added, word=_BIAS)

    def batch_norm(self, x: Tensor) -> Tensor:
        """A batch norm, whose mean and variance are not trained."""
        constants = norm_constants(x.shape[1])
        return self.layer("batch_norm", "BatchNormalization", (x,), x.shape, constants=constants)

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
        )  # fmt: skip

    def instance_norm(self, x: Tensor) -> Tensor:
        """A norm of every channel of a map."""
        channels = x.shape[1]
        read = Constants.of(Constant(1, (channels,), 0.5, 1.0), shift(channels, 2))
        return self.layer("instance_norm", "InstanceNormalization", (x,), x.shape, constants=read)

    def activation(self, x: Tensor, kind: str, *, native: bool = True) -> Tensor:
        """An activation: one layer where ONNX has it and ``native`` is set, else its formula.

        Args:
            x: what is activated.
            kind: an operator of :data:`OPERATORS` that is an activation with a name in ONNX, or a
                key of :data:`FORMULAS`.
            native: whether one layer is wanted.

        Raises:
            ValueError: there is no such activation.
        """
        operator = OPERATORS.get(kind)
        names = operator.onnx[:1] if operator and operator.kind == "activation" else ()
        name, constants = _CONSTANTS.get(kind, ("".join(names), ()))
        if kind in FORMULAS and not (native and name and kind not in _LATER):
            return FORMULAS[kind](self, x)
        if not name:
            known = sorted(
                {*FORMULAS, *(k for k, x in OPERATORS.items() if x.kind == "activation")}
            )
            raise ValueError(unknown_name("activation", kind, known))
        return self.unary(name, x, *constants, op=kind, **_ATTRIBUTES.get(kind, {}))

    def conv_norm(
        self, x: Tensor, channels: int, kernel_size: int, activation: str = "", **options: Any
    ) -> Tensor:
        """A convolution with a folded batch norm, and an activation unless it is empty.

        ``native`` goes to the activation, other options to :meth:`conv`.
        """
        native = options.pop("native", True)
        x = self.conv(x, channels, kernel_size, norm=True, **options)
        return self.activation(x, activation, native=native) if activation else x

    def depthwise(
        self, x: Tensor, kernel_size: int, stride: int, activation: str = "", **options: Any
    ) -> Tensor:
        """A depthwise convolution with a folded batch norm, as :meth:`conv_norm`."""
        channels = x.shape[1]
        return self.conv_norm(
            x, channels, kernel_size, activation, stride=stride, groups=channels, **options
        )

    def squeeze_excitation(
        self,
        x: Tensor,
        squeezed: int,
        activation: str = "relu",
        gate: str = "sigmoid",
        *,
        native: bool = True,
    ) -> Tensor:
        """A map times one factor a channel, computed from all means (arXiv:1709.01507)."""
        hidden = self.activation(
            self.conv(self.global_pool(x), squeezed), activation, native=native
        )
        return self.mul(x, self.activation(self.conv(hidden, x.shape[1]), gate, native=native))

    def channel_shuffle(self, x: Tensor, groups: int) -> Tensor:
        """Channel ``i`` of group ``g`` becomes channel ``i * groups + g`` (arXiv:1707.01083).

        Channels are a matrix of groups, transposed.
        """
        batch, channels, height, width = x.shape
        grouped = self.reshape(x, batch, groups, channels // groups, height, width)
        return self.reshape(self.transpose(grouped, 0, 2, 1, 3, 4), *x.shape)

    def attention(self, x: Tensor, heads: int) -> Tensor:
        """Self-attention of tokens as PyTorch exports it: products, a scale and a softmax.

        From *Attention Is All You Need* (arXiv:1706.03762), written as in timm's ViT.
        """
        batch, tokens, width = x.shape
        side = width // heads
        joint = self.reshape(self.linear(x, 3 * width), batch, tokens, 3, heads, side)
        joint = self.transpose(joint, 2, 0, 3, 1, 4)
        query, key, value = (self.gather(joint, i, 0) for i in range(3))
        scores = self.mul(self.matmul(query, self.transpose(key, 0, 1, 3, 2)), side**-0.5)
        mixed = self.transpose(self.matmul(self.softmax(scores), value), 0, 2, 1, 3)
        return self.linear(self.reshape(mixed, batch, tokens, width), width)

    def classifier(self, x: Tensor, classes: int) -> Tensor:
        """The mean of every channel, and a linear layer."""
        return self.linear(self.flatten(self.global_pool(x)), classes)

    def raise_gain(self, x: Tensor) -> None:
        """A formula of an activation reads ``x``, whose second moment it halves.

        The weights of the layer before make it up, as those that native activations read do.
        """
        n = x.source
        if n >= 0 and self._layers[n].word == _BIAS:
            n = self._layers[n].inputs[0]
        if n >= 0 and self._layers[n].op in _WEIGHTED:
            weight, *others = self._layers[n].constants
            weight = replace(weight, limit=weight.limit * sqrt(2))
            self._layers[n] = self._layers[n]._replace(constants=(weight, *others))


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


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


def _gelu(b: GraphBuilder, x: Tensor) -> Tensor:
    b.raise_gain(x)
    erf = b.add(b.unary("Erf", b.binary("Div", x, sqrt(2))), 1.0)
    return b.mul(b.mul(x, erf), 0.5)


def _silu(b: GraphBuilder, x: Tensor) -> Tensor:
    b.raise_gain(x)
    return b.mul(x, b.activation(x, "sigmoid"))


def _clipped(b: GraphBuilder, x: Tensor) -> Tensor:
    """``clip(x + 3, 0, 6)``."""
    return b.activation(b.add(x, 3.0), "relu6")


def _h_sigmoid(b: GraphBuilder, x: Tensor) -> Tensor:
    return b.binary("Div", _clipped(b, x), 6.0)


def _h_swish(b: GraphBuilder, x: Tensor) -> Tensor:
    b.raise_gain(x)
    return b.binary("Div", b.mul(x, _clipped(b, x)), 6.0)


def _mish(b: GraphBuilder, x: Tensor) -> Tensor:
    return b.mul(x, b.activation(b.activation(x, "softplus"), "tanh"))


# Activation -> how it is written where it is not one layer.
FORMULAS: dict[str, Callable[[GraphBuilder, Tensor], Tensor]] = {
    "gelu": _gelu,
    "silu": _silu,
    "h_sigmoid": _h_sigmoid,
    "h_swish": _h_swish,
    "mish": _mish,
}


def chained(blocks: Sequence[Graph], reads: Sequence[tuple[int, ...]] | None = None) -> Graph:
    """Blocks as one network, batch norms folded (see :attr:`Graph.folded`).

    Args:
        blocks: in the order in which they run.
        reads: of every block the positions of the blocks that it reads, in the order of its
            inputs; -1 is the network's input. By default blocks are a chain.

    Raises:
        ValueError: there is no block, or blocks do not fit.
    """
    if not blocks:
        raise ValueError("a network must have at least one block; got none")
    b = GraphBuilder()
    given = {GRAPH_INPUT: b.input(*blocks[0].in_shape[1:])}
    for n, block in enumerate(blocks):
        sources = (n - 1,) if reads is None else reads[n]
        given[n] = b.extend(block.folded, *(given[i] for i in sources))
    return b.build()
