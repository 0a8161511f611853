"""ONNX operators that keep the shape, or stretch their inputs to one: activations, sums, norms."""

from __future__ import annotations

from math import nan

from latcast.graph.read._layers import clip_op
from latcast.graph.shapes import TensorShape, axis_of, broadcast, is_channel_scale

from ._node import Node, Reading, Rule, shape_rule
from ._tensors import BOOL, UINT8, type_of


def _same(node: Node) -> Reading:
    """One output of the first input's shape; constants of a parametric one are trained."""
    return Reading((node.shape(0),), weights=(1,))


def _clip(node: Node) -> Reading:
    low, high = (_bound(node, n, name) for n, name in ((1, "min"), (2, "max")))
    return Reading((node.shape(0),), op=clip_op(low, high))


def _bound(node: Node, position: int, name: str) -> float | None:
    """A bound: an attribute in older opsets, an input in newer ones; NaN where it is computed."""
    if name in node.attributes:
        bound = node.number(name)
        return None if abs(bound) > 3e38 else bound  # the largest float stands for none
    value = node.get(position)
    if value is None:
        return None
    data = value.data() if value.is_constant else None
    return nan if data is None or data.size != 1 else float(data.reshape(-1)[0])


def _batch_norm(node: Node) -> Reading:
    shape = node.shape(0)
    channels = shape[1] if len(shape) > 1 else 1
    for n in range(1, 5):
        if node.shape(n) != (channels,):
            raise ValueError(
                f"scale, shift, mean and variance must have {channels} numbers; "
                f"got {list(node.shape(n))}"
            )
    return _norm(node)


def _norm(node: Node) -> Reading:
    return Reading((node.shape(0), *(None,) * (node.outputs - 1)), weights=(1, 2))


def _layer_norm(node: Node) -> Reading:
    """A layer norm, which may give means and deviations as further outputs."""
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
    shapes = node.shapes()
    return Reading((broadcast(*shapes),), weights=_learned(shapes))


def _learned(shapes: list[TensorShape]) -> tuple[int, ...]:
    """Constants with more than one element: a layer scale, a position embedding, a bias."""
    return tuple(n for n, s in enumerate(shapes) if any(side != 1 for side in s))


def _mul(node: Node) -> Reading:
    """A product; of a map by one factor a channel it is a ``scale``."""
    shapes = [node.shape(0), node.shape(1)]
    out = broadcast(*shapes)
    scaled = any(is_channel_scale(a, b) for a, b in (shapes, shapes[::-1]))
    return Reading((out,), op="scale" if scaled else None, weights=_learned(shapes))


def _compare(node: Node) -> Reading:
    return Reading((broadcast(*node.shapes()),), BOOL)


def _where(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(3)]
    return Reading((broadcast(*shapes),), node.value(1).type)


def _quantize(node: Node) -> Reading:
    """A quantization into the type of its zero point (inputs: values, scale, zero point)."""
    zero, asked = node.get(2), node.integer("output_dtype", 0)
    default = UINT8 if zero is None else zero.type
    return Reading((node.shape(0),), type_of(asked) if asked else default)


def _dequantize(node: Node) -> Reading:
    return Reading((node.shape(0),), node.value(1).type)


def _dynamic_quantize(node: Node) -> Reading:
    return Reading((node.shape(0), (), ())[: node.outputs], UINT8)


def _cast(node: Node) -> Reading:
    """A cast; to the type that it reads, it is an identity."""
    to = type_of(node.integer("to")) if node.op_type == "Cast" else node.value(1).type
    return Reading((node.shape(0),), to, op="identity" if to == node.value(0).type else None)


def _copies(node: Node) -> Reading:
    return Reading((node.shape(0),) * node.outputs)


RULES_BY_KIND: dict[str, Rule] = {
    "activation": Rule(_same),
    "softmax": Rule(_same),
    "norm": Rule(_norm),
    "elementwise": Rule(_stretched),
}
"""Kind of an operator -> how it is read, unless it has a rule by its name."""

POINTWISE: dict[str, Rule] = {
    "Clip": Rule(_clip, (1, 2)),
    "BatchNormalization": Rule(_batch_norm),
    **dict.fromkeys(
        ("LayerNormalization", "com.microsoft::LayerNormalization", "RMSNormalization",
         "SimplifiedLayerNormalization"),
        Rule(_layer_norm),
    ),
    **dict.fromkeys(
        ("com.microsoft::SkipLayerNormalization",
         "com.microsoft::SkipSimplifiedLayerNormalization"),
        Rule(_skip_layer_norm),
    ),
    "LRN": Rule(_same),
    "Mul": Rule(_mul),
    **dict.fromkeys(
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not",
         "IsNaN", "IsInf"),
        Rule(_compare),
    ),
    "Where": Rule(_where),
    "Trilu": shape_rule(lambda n: n.shape(0), 1),
    **dict.fromkeys(("QuantizeLinear", "com.microsoft::QuantizeLinear"), Rule(_quantize)),
    **dict.fromkeys(("DequantizeLinear", "com.microsoft::DequantizeLinear"), Rule(_dequantize)),
    "DynamicQuantizeLinear": Rule(_dynamic_quantize),
    **dict.fromkeys(
        ("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"),
        shape_rule(lambda n: broadcast(n.shape(0), n.shape(3))),
    ),
    **dict.fromkeys(("Cast", "CastLike"), Rule(_cast)),
    "Identity": Rule(_copies),
    "Dropout": Rule(_copies, (1, 2)),
}  # fmt: skip
"""ONNX operator -> how it is read."""
