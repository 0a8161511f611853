"""ONNX operators that compute: windows, products of matrices, activations, sums, norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, prod

from latcast.graph._operators import UNKNOWN
from latcast.graph.read._layers import clip_op
from latcast.graph.shapes import (
    TensorShape,
    Window,
    axis_of,
    broadcast,
    einsum_axes,
    is_channel_scale,
    plane,
    product,
)

from ._nodes import Node, Reading, Rule, shape_rule
from ._tensors import BOOL, UINT8, type_of


def _window(node: Node, kernel: Sequence[int]) -> Window:
    rank = len(kernel)
    ones = [1] * rank
    return Window(
        kernel,
        node.integers("strides", ones),
        node.integers("dilations", ones),
        node.integers("pads", [0] * 2 * rank),
        node.text("auto_pad", "NOTSET"),
        bool(node.integer("ceil_mode", 0)),
    )


def _windowed(
    window: Window,
    shapes: tuple[TensorShape | None, ...],
    op: str | None = None,
    groups: int = 1,
    weights: tuple[int, ...] = (),
) -> Reading:
    return Reading(
        shapes,
        weights=weights,
        op=op,
        window=plane(window.kernel),
        stride=_last_two(window.strides),
        dilation=_last_two(window.dilations),
        groups=groups,
    )


def _last_two(steps: Sequence[int]) -> tuple[int, int]:
    height, width = (1, 1, *steps)[-2:]
    return height, width


def _convolution(
    *, weights: int = 1, bias: int = 2, extra: int | None = None
) -> Callable[[Node], Reading]:
    """Reader of a convolution with its weights at input ``weights``.

    An input ``extra``, as fused convolutions have it, is added to the output.
    """

    def read(node: Node) -> Reading:
        shape, kernel = node.shape(0, min_axes=2), node.shape(weights, min_axes=2)
        groups = node.integer("group", 1)
        window = _window(node, node.integers("kernel_shape", kernel[2:]))
        if tuple(window.kernel) != kernel[2:]:
            raise ValueError(
                f"kernel_shape must be that of the weights {list(kernel)}; "
                f"got {list(window.kernel)}"
            )
        if groups < 1 or kernel[1] * groups != shape[1] or kernel[0] % groups:
            raise ValueError(
                f"weights {list(kernel)} in {groups} groups must fit the channels of {list(shape)}"
            )
        out = (shape[0], kernel[0], *window.sides(shape[2:]))
        if extra is not None and node.get(extra) is not None and node.shape(extra) != out:
            raise ValueError(f"what is added must have the shape of the output {list(out)}")
        op = "depthwise_conv" if groups == shape[1] > 1 else "conv"
        return _windowed(window, (out,), op, groups, (weights, bias))

    return read


def _conv_transpose(node: Node) -> Reading:
    shape, kernel = node.shape(0, min_axes=2), node.shape(1, min_axes=2)
    groups = node.integer("group", 1)
    window = _window(node, node.integers("kernel_shape", kernel[2:]))
    rank = len(window.kernel)
    if kernel[0] != shape[1] or groups < 1 or shape[1] % groups or len(shape) != rank + 2:
        raise ValueError(f"weights {list(kernel)} in {groups} groups must fit {list(shape)}")
    beyond = node.integers("output_padding", [0] * rank)
    asked = node.integers("output_shape", [])
    if len(beyond) != rank or len(asked) not in {0, rank, rank + 2}:
        raise ValueError(f"output_padding and output_shape must have {rank} numbers")
    sides = window.transposed_sides(shape[2:], beyond)
    out = (shape[0], kernel[1] * groups, *(asked[-rank:] or sides))
    return _windowed(window, (out,), None, groups, (1, 2))


def _pool(node: Node) -> Reading:
    shape = node.shape(0, min_axes=2)
    window = _window(node, node.integers("kernel_shape"))
    out = (*shape[:2], *window.sides(shape[2:]))
    return _windowed(window, (out,) * node.outputs)


def _global_pool(node: Node) -> TensorShape:
    shape = node.shape(0, min_axes=2)
    return (*shape[:2], *(1 for _ in shape[2:]))


def _product_op(node: Node, first: int = 0, second: int = 1) -> str:
    """A product with a constant is ``linear``."""
    constant = node.value(first).is_constant or node.value(second).is_constant
    return "linear" if constant else "matmul"


def _turned(shape: TensorShape, turned: int) -> TensorShape:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def _gemm(node: Node) -> Reading:
    """Alpha A B + beta C, of matrices."""
    left, right = node.shape(0), node.shape(1)
    if len(left) != 2 or len(right) != 2:
        raise ValueError(f"both must be matrices; got {list(left)} and {list(right)}")
    rows, terms = _turned(left, node.integer("transA", 0))
    right_terms, columns = _turned(right, node.integer("transB", 0))
    if terms != right_terms:
        raise ValueError(f"matrices {list(left)} and {list(right)} must fit each other")
    out = (rows, columns)
    if node.get(2) is not None and broadcast(out, node.shape(2)) != out:
        raise ValueError(f"what is added must fit the shape {list(out)}; got {list(node.shape(2))}")
    return Reading((out,), op=_product_op(node), weights=(0, 1, 2), sum_length=terms)


def _matmul(first: int = 0, second: int = 1) -> Callable[[Node], Reading]:
    def read(node: Node) -> Reading:
        left, right = node.shape(first), node.shape(second)
        out, op = product(left, right), _product_op(node, first, second)
        return Reading((out,), op=op, weights=(first, second), sum_length=left[-1])

    return read


def _fused_matmul(node: Node) -> Reading:
    left = _turned(node.shape(0, min_axes=2), node.integer("transA", 0))
    right = _turned(node.shape(1, min_axes=2), node.integer("transB", 0))
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        return Reading((None,), op=UNKNOWN)
    out = product(left, right)
    return Reading((out,), op=_product_op(node), weights=(0, 1), sum_length=left[-1])


def _einsum(node: Node) -> Reading:
    """A sum of products by its equation: of two tensors a product of matrices, of one a sum."""
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    terms, result, sides = einsum_axes(node.text("equation"), shapes)
    out = tuple(sides[letter] for letter in result)
    if len(shapes) == 1:
        summed = len(result) < len(set(terms[0]))
        return Reading((out,), op="reduce" if summed else "transpose")
    if len(shapes) > 2:
        return Reading((out,), op=UNKNOWN)
    length = prod(sides[letter] for letter in sides.keys() - set(result))
    return Reading((out,), op=_product_op(node), weights=(0, 1), sum_length=length)


def _attention(node: Node) -> Reading:
    """Attention of opset 23: (batch, tokens, features) or (batch, heads, tokens, features)."""
    query, key, value = (node.shape(n, min_axes=3) for n in range(3))
    if node.get(4) is not None or not len(query) == len(key) == len(value) <= 4:
        return Reading((None,) * node.outputs, op=UNKNOWN)
    heads = node.integer("q_num_heads", 1)
    key_heads = node.integer("kv_num_heads", heads)
    if len(query) == 4:
        heads = query[1]
        out: TensorShape = (*query[:3], value[3])
    elif heads < 1 or key_heads < 1 or value[2] % key_heads:
        raise ValueError(f"{heads} and {key_heads} heads must share {list(value)} evenly")
    else:
        out = (*query[:2], value[2] // key_heads * heads)
    return Reading((out, *(None,) * (node.outputs - 1)), groups=heads)


def _multi_head_attention(node: Node) -> Reading:
    """Attention as ONNX Runtime fuses it: all inputs of (batch, tokens, features)."""
    query = node.shape(0)
    packed = node.get(1) is None or node.get(2) is None
    if packed or len(query) != 3 or len(node.shape(1)) != 3 or node.get(6) is not None:
        return Reading((None,) * node.outputs, op=UNKNOWN)
    value = node.shape(2)
    if len(value) not in {3, 4}:
        raise ValueError(f"values must have 3 or 4 axes; got {list(value)}")
    features = value[2] if len(value) == 3 else value[1] * value[3]
    out = (*query[:2], features)
    heads = max(1, node.integer("num_heads"))
    return Reading((out, *(None,) * (node.outputs - 1)), weights=(3,), groups=heads)


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


_QUANTIZED_SUM = shape_rule(lambda n: broadcast(n.shape(0), n.shape(3)))

# Name in ONNX, or operator of ours, or kind of operators -> how its nodes are read.
ARITHMETIC: dict[str, Rule] = {
    "conv": Rule(_convolution()),
    "com.microsoft::FusedConv": Rule(_convolution(extra=3)),
    "ConvInteger": Rule(_convolution(bias=1)),
    "QLinearConv": Rule(_convolution(weights=3, bias=8)),
    "conv_transpose": Rule(_conv_transpose),
    "pool": Rule(_pool),
    "global_pool": shape_rule(_global_pool),
    "global_max_pool": shape_rule(_global_pool),
    "linear": Rule(_gemm),
    "matmul": Rule(_matmul()),
    "QLinearMatMul": Rule(_matmul(0, 3)),
    "com.microsoft::FusedMatMul": Rule(_fused_matmul),
    "com.microsoft::TransposeMatMul": Rule(_fused_matmul),
    "Einsum": Rule(_einsum),
    "attention": Rule(_attention),
    "com.microsoft::MultiHeadAttention": Rule(_multi_head_attention),
    "softmax": Rule(_same),
    "norm": Rule(_norm),
    "batch_norm": Rule(_batch_norm),
    "layer_norm": Rule(_layer_norm),
    "rms_norm": Rule(_layer_norm),
    "LpNormalization": Rule(_norm),
    "com.microsoft::SkipLayerNormalization": Rule(_skip_layer_norm),
    "com.microsoft::SkipSimplifiedLayerNormalization": Rule(_skip_layer_norm),
    "lrn": Rule(_same),
    "activation": Rule(_same),
    "Clip": Rule(_clip, (1, 2)),
    "Not": Rule(_compare),
    "cast": Rule(_cast),
    "quantize": Rule(_quantize),
    "DequantizeLinear": Rule(_dequantize),
    "com.microsoft::DequantizeLinear": Rule(_dequantize),
    "DynamicQuantizeLinear": Rule(_dynamic_quantize),
    "elementwise": Rule(_stretched),
    "Mul": Rule(_mul),
    "com.microsoft::QLinearAdd": _QUANTIZED_SUM,
    "com.microsoft::QLinearMul": _QUANTIZED_SUM,
    "compare": Rule(_compare),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), Rule(_stretched)),
    "Where": Rule(_where),
    "Trilu": shape_rule(lambda n: n.shape(0), 1),
    "identity": Rule(_copies),
    "dropout": Rule(_copies, (1, 2)),
}
