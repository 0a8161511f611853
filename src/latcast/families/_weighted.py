"""Operators that have weights."""

from __future__ import annotations

from math import prod, sqrt

from ._operators import Operators, out_side
from ._writer import Tensor

Sides = int | tuple[int, int]

_BIAS_LIMIT = 0.1
_EPSILON = 1e-6


class WeightedOperators(Operators):
    """Adds layers with weights, drawn as :meth:`to_onnx` tells."""

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
        """
        batch, in_channels, *sides = x.shape
        if in_channels % groups or channels % groups:
            raise ValueError(
                f"channels must be multiples of the groups; got {in_channels} in, {channels} out "
                f"and {groups} groups"
            )
        window, steps = _pair(kernel_size), _pair(stride)
        pads = [dilation * (k - 1) // 2 if padding is None else padding for k in window]
        out = [
            out_side(s, dilation * (k - 1) + 1, step, p)
            for s, k, step, p in zip(sides, window, steps, pads, strict=True)
        ]
        fan_in = in_channels // groups * prod(window)
        weight = self._he((channels, in_channels // groups, *window), fan_in)
        if norm:
            self.params += channels
            self.folded_params += channels
        shape = (batch, channels, *out)
        self.macs += prod(shape) * fan_in
        word = "depthwise_conv" if groups == in_channels == channels > 1 else "conv"
        return self.node(
            "Conv",
            [x, weight, *([self._bias(channels)] if bias or norm else [])],
            shape,
            word=word,
            kernel_shape=window,
            strides=steps,
            dilations=[dilation] * 2,
            pads=pads * 2,
            group=groups,
        )[0]

    def conv_transpose(self, x: Tensor, channels: int, factor: int) -> Tensor:
        """A transposed convolution that makes the sides of a map ``factor`` times as long."""
        batch, in_channels, height, width = x.shape
        weight = self._he((in_channels, channels, factor, factor), in_channels)
        self.macs += prod(x.shape) * channels * factor**2
        shape = (batch, channels, height * factor, width * factor)
        inputs = [x, weight, self._bias(channels)]
        sides = {"kernel_shape": [factor] * 2, "strides": [factor] * 2}
        return self.node("ConvTranspose", inputs, shape, word="conv_transpose", **sides)[0]

    def linear(self, x: Tensor, features: int, *, bias: bool = True) -> Tensor:
        """A linear layer: Gemm on vectors; on tokens a product and a sum, as PyTorch exports it."""
        fan_in, shape = x.shape[-1], (*x.shape[:-1], features)
        self.macs += prod(shape) * fan_in
        if len(shape) == 2:
            weight = self._he((features, fan_in), fan_in)
            inputs = [x, weight, *([self._bias(features)] if bias else [])]
            return self.node("Gemm", inputs, shape, word="linear", transB=1)[0]
        result = f"t{len(self._nodes) + bias}"
        weight = self.weight((fan_in, features), sqrt(3 / fan_in), result=result)
        product = self.node("MatMul", [x, weight], shape, word="linear")[0]
        if not bias:
            return product
        return self.node("Add", [product, self._bias(features)], shape, word="bias")[0]

    def batch_norm(self, x: Tensor) -> Tensor:
        """A batch norm that no convolution takes in."""
        channels = x.shape[1]
        scale, shift = self.weight((channels,), 0.5, center=1.0), self._bias(channels)
        mean, variance = self._bias(channels), self.weight((channels,), 0.5, center=1.0)
        self.params -= 2 * channels  # statistics are not trained
        inputs = [x, scale, shift, mean, variance]
        return self.node("BatchNormalization", inputs, x.shape, word="batch_norm")[0]

    def layer_norm(self, x: Tensor, *, native: bool = True) -> Tensor:
        """A norm over the last axis: one node, or its formula as exporters wrote it before."""
        features = x.shape[-1]
        scale, shift = self.weight((features,), 0.5, center=1.0), self._bias(features)
        if not native:
            centered = self.binary("Sub", x, self.mean(x, -1, keep=True))
            variance = self.mean(self.binary("Pow", centered, 2.0), -1, keep=True)
            deviation = self.unary("Sqrt", self.add(variance, _EPSILON))
            return self.add(self.mul(self.binary("Div", centered, deviation), scale), shift)
        inputs = [x, scale, shift]
        return self.node(
            "LayerNormalization", inputs, x.shape, word="layer_norm", axis=-1, epsilon=_EPSILON
        )[0]

    def instance_norm(self, x: Tensor) -> Tensor:
        """A norm of every channel of a map."""
        channels = x.shape[1]
        inputs = [x, self.weight((channels,), 0.5, center=1.0), self._bias(channels)]
        return self.node("InstanceNormalization", inputs, x.shape, word="instance_norm")[0]

    def _he(self, shape: tuple[int, ...], fan_in: int) -> Tensor:
        return self.weight(shape, sqrt(3 / fan_in), result=self.next_name)

    def _bias(self, features: int) -> Tensor:
        return self.weight((features,), _BIAS_LIMIT)


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides
