"""Operators that keep the shape, or stretch their inputs to one: activations, sums, norms."""

from __future__ import annotations

import numpy as np

from latcast.graph._graph import TensorShape

from ._shapes import axis_of, broadcast
from ._tensors import BOOL
from ._values import Entry, Node, Reading


def _same(node: Node) -> Reading:
    """One output of the first input's shape; constants of a parametric one are trained."""
    return Reading((node.shape(0),), weights=(1,))


def _clip(node: Node) -> Reading:
    """By its bounds: ``relu6`` from 0 to 6, ``relu`` from 0, else ``clip``."""
    low, high = (_bound(node, n, name) for n, name in ((1, "min"), (2, "max")))
    names: dict[tuple[float | None, float | None], str] = {
        (0.0, 6.0): "relu6",
        (0.0, None): "relu",
        (0.0, np.inf): "relu",
    }
    return Reading((node.shape(0),), names.get((low, high), "clip"))


def _bound(node: Node, position: int, name: str) -> float | None:
    """A bound: an attribute in older opsets, an input in newer ones; NaN where it is computed."""
    if name in node.attributes:
        bound = node.number(name)
        return None if abs(bound) > 3e38 else bound
    value = node.get(position)
    if value is None:
        return None
    data = value.data() if value.is_constant else None
    return np.nan if data is None or data.size != 1 else float(data.reshape(-1)[0])


def _batch_norm(node: Node) -> Reading:
    shape = node.shape(0)
    channels = shape[1] if len(shape) > 1 else 1
    for n in range(1, 5):
        if node.shape(n) != (channels,):
            raise ValueError(
                f"scale, shift, mean and variance must have {channels} numbers; "
                f"got {list(node.shape(n))}"
            )
    return Reading((shape, *(None,) * (node.outputs - 1)), weights=(1, 2))


def _norm(node: Node) -> Reading:
    return Reading((node.shape(0), *(None,) * (node.outputs - 1)), weights=(1, 2))


def _layer_norm(node: Node) -> Reading:
    """With means and deviations as further outputs."""
    shape = node.shape(0)
    axis = axis_of(node.integer("axis", -1), len(shape))
    rest = (*shape[:axis], *(1 for _ in shape[axis:]))
    return Reading((shape, *(rest,) * (node.outputs - 1)), weights=(1, 2))


def _skip_layer_norm(node: Node) -> Reading:
    """A sum and its layer norm; the sum may be given as the fourth output."""
    shape = broadcast(node.shape(0), node.shape(1))
    extra = (None, None, shape)[: max(0, node.outputs - 1)]
    return Reading((shape, *extra), weights=(2, 3, 4))


def _stretched(node: Node) -> Reading:
    """Several inputs that are stretched to one shape; constants that are no scalars are trained."""
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    if not shapes:
        raise ValueError("it must have an input; it has none")
    return Reading((broadcast(*shapes),), weights=_learned(shapes))


def _learned(shapes: list[TensorShape]) -> tuple[int, ...]:
    """Constants with more than one element: a layer scale, a position embedding, a bias."""
    return tuple(n for n, s in enumerate(shapes) if any(side != 1 for side in s))


def _mul(node: Node) -> Reading:
    """A product; of a map by one factor a channel it is a ``scale``."""
    shapes = [node.shape(0), node.shape(1)]
    out = broadcast(*shapes)
    scaled = any(_is_scale(a, b) for a, b in (shapes, shapes[::-1]))
    return Reading((out,), "scale" if scaled else None, weights=_learned(shapes))


def _is_scale(shape: TensorShape, factors: TensorShape) -> bool:
    if len(shape) != 4 or len(factors) not in {3, 4} or shape[2:] == (1, 1):
        return False
    batch, channels, *sides = (1, *factors)[-4:]
    return batch in {1, shape[0]} and channels == shape[1] and sides == [1, 1]


def _compare(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    return Reading((broadcast(*shapes),), dtype=BOOL)


def _where(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(3)]
    return Reading((broadcast(*shapes),), dtype=node.value(1).dtype)


def _quantize(node: Node) -> Reading:
    """Into the type of its zero point (inputs: values, scale, zero point)."""
    zero = node.get(2)
    default = 2 if zero is None else zero.dtype
    return Reading((node.shape(0),), dtype=node.integer("output_dtype", 0) or default)


def _dequantize(node: Node) -> Reading:
    return Reading((node.shape(0),), dtype=node.value(1).dtype)


def _dynamic_quantize(node: Node) -> Reading:
    return Reading((node.shape(0), (), ())[: node.outputs], dtype=2)


def _cast(node: Node) -> Reading:
    """To a type; to the same one it does nothing."""
    to = node.integer("to")
    return Reading((node.shape(0),), "identity" if to == node.value(0).dtype else None, dtype=to)


def _cast_like(node: Node) -> Reading:
    to = node.value(1).dtype
    return Reading((node.shape(0),), "identity" if to == node.value(0).dtype else None, dtype=to)


def _dropout(node: Node) -> Reading:
    return Reading((node.shape(0),) * node.outputs)


def _quantized_sum(node: Node) -> Reading:
    return Reading((broadcast(node.shape(0), node.shape(3)),))


_ACTIVATIONS = {
    "Relu": "relu", "ThresholdedRelu": "relu", "LeakyRelu": "leaky_relu", "Elu": "elu",
    "Selu": "selu", "Celu": "celu", "Sigmoid": "sigmoid", "HardSigmoid": "h_sigmoid",
    "HardSwish": "h_swish", "Swish": "silu", "com.microsoft::QuickGelu": "silu", "Mish": "mish",
    "Gelu": "gelu", "com.microsoft::Gelu": "gelu", "com.microsoft::FastGelu": "gelu",
    "com.microsoft::BiasGelu": "gelu", "Erf": "erf", "Tanh": "tanh", "Softplus": "softplus",
    "Softsign": "softsign", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
    "Reciprocal": "reciprocal", "Neg": "neg", "Abs": "abs", "Sign": "round", "Floor": "round",
    "Ceil": "round", "Round": "round", "Shrink": "clip", "BitwiseNot": "not",
    **dict.fromkeys(
        ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
        "trigonometric",
    ),
    "Softmax": "softmax", "LogSoftmax": "log_softmax",
    "com.microsoft::QLinearSigmoid": "sigmoid", "com.microsoft::QLinearLeakyRelu": "leaky_relu",
    "com.microsoft::QLinearSoftmax": "softmax",
}  # fmt: skip

POINTWISE: dict[str, Entry] = {
    **{name: Entry(op, _same) for name, op in _ACTIVATIONS.items()},
    "PRelu": Entry("prelu", _same),
    "Clip": Entry("clip", _clip, (1, 2)),
    "BatchNormalization": Entry("batch_norm", _batch_norm),
    "InstanceNormalization": Entry("instance_norm", _norm),
    "MeanVarianceNormalization": Entry("instance_norm", _norm),
    "GroupNormalization": Entry("group_norm", _norm),
    "com.microsoft::GroupNorm": Entry("group_norm", _norm),
    "LayerNormalization": Entry("layer_norm", _layer_norm),
    "com.microsoft::LayerNormalization": Entry("layer_norm", _layer_norm),
    "RMSNormalization": Entry("rms_norm", _layer_norm),
    "SimplifiedLayerNormalization": Entry("rms_norm", _layer_norm),
    "LpNormalization": Entry("rms_norm", _norm),
    "LRN": Entry("lrn", _same),
    "com.microsoft::SkipLayerNormalization": Entry("layer_norm", _skip_layer_norm),
    "com.microsoft::SkipSimplifiedLayerNormalization": Entry("rms_norm", _skip_layer_norm),
    "Add": Entry("add", _stretched),
    "Sum": Entry("add", _stretched),
    "Mean": Entry("add", _stretched),
    "Sub": Entry("sub", _stretched),
    "Mul": Entry("mul", _mul),
    "Div": Entry("div", _stretched),
    "Pow": Entry("pow", _stretched),
    "Mod": Entry("mod", _stretched),
    "Min": Entry("min", _stretched),
    "Max": Entry("max", _stretched),
    **{
        name: Entry("compare", _compare)
        for name in (
            "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor",
            "IsNaN", "IsInf",
        )
    },
    **{
        name: Entry("compare", _stretched)
        for name in ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
    "Not": Entry("not", _compare),
    "Where": Entry("where", _where),
    "QuantizeLinear": Entry("quantize", _quantize),
    "DequantizeLinear": Entry("quantize", _dequantize),
    "com.microsoft::QuantizeLinear": Entry("quantize", _quantize),
    "com.microsoft::DequantizeLinear": Entry("quantize", _dequantize),
    "DynamicQuantizeLinear": Entry("quantize", _dynamic_quantize),
    "com.microsoft::QLinearAdd": Entry("add", _quantized_sum),
    "com.microsoft::QLinearMul": Entry("mul", _quantized_sum),
    "Cast": Entry("cast", _cast),
    "CastLike": Entry("cast", _cast_like),
    "Identity": Entry("identity", _dropout),
    "Dropout": Entry("dropout", _dropout, (1, 2)),
}  # fmt: skip
"""ONNX operator -> how it is read."""
