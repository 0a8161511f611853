"""The language in which families, spaces and tests write networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Any

from latcast._names import unknown_name

from ._layers import BIAS, LayerBuilder, Tensor

ACTIVATIONS: dict[str, tuple[str, tuple[float, ...], dict[str, Any]]] = {
    "relu": ("Relu", (), {}),
    "relu6": ("Clip", (0.0, 6.0), {}),
    "leaky_relu": ("LeakyRelu", (), {"alpha": 0.1}),
    "elu": ("Elu", (), {}),
    "sigmoid": ("Sigmoid", (), {}),
    "h_sigmoid": ("HardSigmoid", (), {"alpha": 1 / 6, "beta": 0.5}),
    "h_swish": ("HardSwish", (), {}),
    "tanh": ("Tanh", (), {}),
    "gelu": ("Gelu", (), {}),
    "softplus": ("Softplus", (), {}),
}
"""Activation -> ONNX's operator, its constants and its attributes."""

_WEIGHTED = ("conv", "depthwise_conv", "conv_transpose", "linear")


class GraphBuilder(LayerBuilder):
    """Builds a graph of layers, and of what is written as several of them."""

    def activation(self, x: Tensor, kind: str, *, native: bool = True) -> Tensor:
        """An activation: one layer where ONNX has it and ``native`` is set, else its formula.

        Raises:
            ValueError: neither :data:`ACTIVATIONS` nor :data:`FORMULAS` has it.
        """
        if kind not in ACTIVATIONS and kind not in FORMULAS:
            raise ValueError(unknown_name("activation", kind, sorted({*ACTIVATIONS, *FORMULAS})))
        if kind in FORMULAS and not (native and kind in ACTIVATIONS):
            return FORMULAS[kind](self, x)
        operator, constants, attributes = ACTIVATIONS[kind]
        return self.unary(operator, x, *constants, op=kind, **attributes)

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
        if n >= 0 and self._layers[n].word == BIAS:
            n = self._layers[n].inputs[0]
        if n >= 0 and self._layers[n].op in _WEIGHTED:
            weight, *others = self._layers[n].constants
            weight = replace(weight, limit=weight.limit * sqrt(2))
            self._layers[n] = self._layers[n]._replace(constants=(weight, *others))


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


FORMULAS: dict[str, Callable[[GraphBuilder, Tensor], Tensor]] = {
    "gelu": _gelu,
    "silu": _silu,
    "h_sigmoid": _h_sigmoid,
    "h_swish": _h_swish,
    "mish": _mish,
}
"""Activation -> how it is written where it is not one layer."""
