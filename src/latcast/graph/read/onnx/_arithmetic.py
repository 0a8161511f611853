"""ONNX operators that compute: windows, products of matrices, activations, sums, norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan, prod

from latcast.graph._operators import RECURRENT, UNKNOWN
from latcast.graph.read._layers import ElementType, clip_op, least_integer
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
from ._tensors import BOOL, FLOAT, INT32, UINT8, named_type, type_of


def window_of(node: Node, kernel: Sequence[int]) -> Window:
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
    op: str | None,
    groups: int = 1,
    weights: tuple[int, ...] = (),
    inside: float = 1.0,
) -> Reading:
    return Reading(
        shapes,
        weights=weights,
        op=op,
        window=plane(window.kernel),
        stride=_last_two(window.strides),
        dilation=_last_two(window.dilations),
        groups=groups,
        inside=inside,
    )


def _last_two(steps: Sequence[int]) -> tuple[int, int]:
    height, width = (1, 1, *steps)[-2:]
    return height, width


def convolution(
    *, weights: int = 1, bias: int = 2, extra: int | None = None, is_last: bool = False
) -> Callable[[Node], Reading]:
    """Reader of a convolution with its weights at input ``weights``.

    An input ``extra``, as fused convolutions have it, is added to the output. Channels come last
    where ``is_last``, or where the node says so.
    """

    def read(node: Node) -> Reading:
        shape, kernel = node.shape(0, min_axes=2), node.shape(weights, min_axes=2)
        last = is_last or bool(node.integer("channels_last", 0))
        if last:
            shape = (shape[0], shape[-1], *shape[1:-1])
        groups = node.integer("group", 1)
        window = window_of(node, node.integers("kernel_shape", kernel[2:]))
        if tuple(window.kernel) != kernel[2:]:
            raise ValueError(
                f"kernel_shape must be that of the weights {list(kernel)}; "
                f"got {list(window.kernel)}"
            )
        if groups < 1 or kernel[1] * groups != shape[1] or kernel[0] % groups:
            raise ValueError(
                f"weights {list(kernel)} in {groups} groups must fit the channels of {list(shape)}"
            )
        sides = window.sides(shape[2:])
        out = (shape[0], *sides, kernel[0]) if last else (shape[0], kernel[0], *sides)
        if extra is not None and node.get(extra) is not None and node.shape(extra) != out:
            raise ValueError(f"what is added must have the shape of the output {list(out)}")
        op = "depthwise_conv" if groups == shape[1] > 1 else "conv"
        inside = window.inside(shape[2:], sides)
        found = _windowed(window, (out,), op, groups, (weights, bias), inside)
        return replace(found, channels_last=True) if last else found

    return read


def _conv_transpose(node: Node) -> Reading:
    shape, kernel = node.shape(0, min_axes=2), node.shape(1, min_axes=2)
    groups = node.integer("group", 1)
    window = window_of(node, node.integers("kernel_shape", kernel[2:]))
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


def pool(node: Node, *, is_last: bool = False) -> Reading:
    """A pool; its channels come last where ``is_last``, or where the node says so."""
    shape = node.shape(0, min_axes=2)
    last = is_last or bool(node.integer("channels_last", 0))
    window = window_of(node, node.integers("kernel_shape"))
    sides = window.sides(shape[1:-1] if last else shape[2:])
    out = (shape[0], *sides, shape[-1]) if last else (*shape[:2], *sides)
    # Where the positions of the maxima are asked for, runtimes compare one by one.
    op = "max_pool_indices" if node.op_type == "MaxPool" and node.outputs > 1 else None
    return replace(_windowed(window, (out,) * node.outputs, op), channels_last=last)


def _global_pool(node: Node) -> Reading:
    shape = node.shape(0, min_axes=2)
    last = bool(node.integer("channels_last", 0))
    ones = (1,) * (len(shape) - 2)
    out = (shape[0], *ones, shape[-1]) if last else (*shape[:2], *ones)
    return Reading((out,), channels_last=last)


def product_op(node: Node, first: int = 0, second: int = 1) -> str:
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
    order = () if node.integer("transB", 0) else (0, 1)
    return Reading((out,), op=product_op(node), weights=(0, 1, 2), sum_length=terms, order=order)


def matmul(
    first: int = 0, second: int = 1, bias: tuple[int, ...] = ()
) -> Callable[[Node], Reading]:
    def read(node: Node) -> Reading:
        left, right = node.shape(first), node.shape(second)
        out, op = product(left, right), product_op(node, first, second)
        return Reading((out,), op=op, weights=(first, second, *bias), sum_length=left[-1])

    return read


def typed(read: Callable[[Node], Reading], kind: ElementType) -> Callable[[Node], Reading]:
    """The same reader of nodes whose outputs are of a type of their own."""
    return lambda node: replace(read(node), type=kind)


def _recurrent(*, is_turned: bool = False) -> Callable[[Node], Reading]:
    """Reader of LSTM, GRU and RNN: of every step a product with what it reads and with its state.

    Weights are (directions, gates x hidden, features), or turned in quantized ones; what is
    computed between them, peepholes included, is no product.
    """

    def read(node: Node) -> Reading:
        shape, weights, states = (node.shape(n) for n in range(3))
        if not len(shape) == len(weights) == len(states) == 3:
            raise ValueError("sequences and weights must have 3 axes")
        if is_turned:
            weights, states = _turned(weights, 1), _turned(states, 1)
        gates = next(g for op, g in RECURRENT.items() if node.op_type.lower().endswith(op))
        batch_first = bool(node.integer("layout", 0))
        (batch, steps), features = (shape[:2] if batch_first else shape[1::-1]), shape[2]
        directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
        hidden = node.integer("hidden_size", states[2])
        rows = gates * hidden
        if weights != (directions, rows, features) or states != (directions, rows, hidden):
            raise ValueError(
                f"weights must be {[directions, rows, features]} and {[directions, rows, hidden]}; "
                f"got {list(weights)} and {list(states)}"
            )
        every = (
            (batch, steps, directions, hidden)
            if batch_first
            else (steps, directions, batch, hidden)
        )
        last = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
        return Reading(
            (every, last, last)[: node.outputs],
            weights=(1, 2, 3, 7),
            sum_length=directions * rows * (features + hidden),
            steps=max(1, steps),
        )

    return read


def _fused_matmul(node: Node) -> Reading:
    """A product of matrices that may be turned, and have their first axis before the last one."""
    left, right = node.shape(0, min_axes=2), node.shape(1, min_axes=2)
    if node.integer("transBatchA", 0):
        left = (*left[1:-1], left[0], left[-1])
    if node.integer("transBatchB", 0):
        right = (*right[1:-1], right[0], right[-1])
    left = _turned(left, node.integer("transA", 0))
    right = _turned(right, node.integer("transB", 0))
    out = product(left, right)
    return Reading((out,), op=product_op(node), weights=(0, 1), sum_length=left[-1])


def _einsum(node: Node) -> Reading:
    """A sum of products by its equation: of two tensors a product of matrices, of one a sum."""
    shapes = [node.shape(n) for n in range(len(node.inputs))]
    terms, result, sides = einsum_axes(node.text("equation"), shapes)
    out = tuple(sides[letter] for letter in result)
    if len(shapes) == 1:
        summed = len(result) < len(set(terms[0]))
        return Reading((out,), op="reduce" if summed else "transpose")
    if len(shapes) > 2:
        return Reading((out,), op=UNKNOWN, weights=tuple(range(len(shapes))))
    length = prod(sides[letter] for letter in sides.keys() - set(result))
    return Reading((out,), op=product_op(node), weights=(0, 1), sum_length=length)


def _attention(node: Node) -> Reading:
    """Attention of opset 23: (batch, tokens, features) or (batch, heads, tokens, features).

    Keys and values that were computed before are (batch, heads, tokens, features).
    """
    query, key, value = (node.shape(n, min_axes=3) for n in range(3))
    if not len(query) == len(key) == len(value) <= 4:
        raise ValueError(
            f"queries, keys and values must have 3 or 4 axes alike; got {list(query)}, "
            f"{list(key)}, {list(value)}"
        )
    heads = node.integer("q_num_heads", 1)
    key_heads = node.integer("kv_num_heads", heads)
    if len(query) == 4:
        heads = query[1]
        out: TensorShape = (*query[:3], value[3])
    elif heads < 1 or key_heads < 1 or value[2] % key_heads:
        raise ValueError(f"{heads} and {key_heads} heads must share {list(value)} evenly")
    else:
        out = (*query[:2], value[2] // key_heads * heads)
    before = 0 if node.get(4) is None else node.shape(4, min_axes=2)[-2]
    keys = before + key[-2]
    held = (
        (*s[:2], keys, s[3]) if len(s) == 4 else (s[0], key_heads, keys, s[2] // max(1, key_heads))
        for s in (key, value)
    )
    scores = (query[0], heads, query[-2], keys)
    return Reading(
        (out, *held, scores)[: node.outputs],
        groups=heads,
        sum_length=keys * (query[-1] + out[-1]),
    )


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


def _stretched(node: Node) -> Reading:
    """Several inputs that are stretched to one shape; constants that are no scalars are trained."""
    shapes = _aligned(node)
    if _keeps_values(node, shapes):
        return Reading((shapes[0],), op="identity")
    return Reading((broadcast(*shapes),), weights=_learned(shapes))


# Operator of two inputs -> the second one that changes nothing.
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def _keeps_values(node: Node, shapes: list[TensorShape]) -> bool:
    """Whether a node adds 0 or multiplies by 1, which no runtime does."""
    second = node.get(1)
    if node.op_type not in _NEUTRAL or second is None or len(shapes) != 2 or prod(shapes[1]) != 1:
        return False
    data = second.data() if second.is_constant and len(shapes[1]) <= len(shapes[0]) else None
    return data is not None and bool(data.reshape(-1)[0] == _NEUTRAL[node.op_type])


def _aligned(node: Node) -> list[TensorShape]:
    """Shapes of all inputs; before opset 7 the second one may be put at an axis of the first.

    Raises:
        ValueError: an old node does not say that it stretches what it would have to.
    """
    shapes = node.shapes()
    if node.opset >= 7 or len(shapes) != 2 or shapes[0] == shapes[1]:
        return shapes
    first, second = shapes
    if "broadcast" in node.attributes and node.integer("broadcast") and "axis" in node.attributes:
        behind = len(first) - axis_of(node.integer("axis"), len(first)) - len(second)
        second = (*second, *(1,) * max(0, behind))
    return [first, second]


def _learned(shapes: list[TensorShape]) -> tuple[int, ...]:
    """Constants with more than one element: a layer scale, a position embedding, a bias."""
    return tuple(n for n, s in enumerate(shapes) if any(side != 1 for side in s))


def _mul(node: Node) -> Reading:
    """A product; of a map by one factor a channel it is a ``scale``."""
    shapes = _aligned(node)
    if _keeps_values(node, shapes):
        return Reading((shapes[0],), op="identity")
    out = broadcast(*shapes)
    scaled = any(is_channel_scale(a, b) for a, b in (shapes, shapes[::-1]))
    return Reading((out,), op="scale" if scaled else None, weights=_learned(shapes))


def _power(node: Node) -> Reading:
    """A power: of exponent 2 or 3 a product, as runtimes compute it."""
    found, exponent = _stretched(node), node.value(1)
    data = exponent.data() if exponent.is_constant else None
    is_product = data is not None and data.size == 1 and float(data.reshape(-1)[0]) in (2.0, 3.0)
    return found if is_product else replace(found, op="power")


def _compare(node: Node) -> Reading:
    return Reading((broadcast(*_aligned(node)),), BOOL)


def _where(node: Node) -> Reading:
    shapes = [node.shape(n) for n in range(3)]
    return Reading((broadcast(*shapes),), node.value(1).type)


def _quantize(node: Node) -> Reading:
    """A quantization into the type of its zero point (inputs: values, scale, zero point)."""
    zero, asked = node.get(2), node.integer("output_dtype", 0)
    kind = type_of(asked) if asked else UINT8 if zero is None else zero.type
    return Reading((node.shape(0),), kind, grid=_grid(node, kind))


def _dequantize(node: Node) -> Reading:
    return Reading((node.shape(0),), node.value(1).type, grid=_grid(node, node.value(0).type))


def _grid(node: Node, kind: ElementType) -> tuple[float, ...]:
    """Scale, zero point and least integer of a quantization with one scale that is a constant."""
    scale, zero = (None if v is None else v.data() for v in (node.value(1), node.get(2)))
    if scale is None or scale.size != 1 or "int" not in kind.name:
        return ()
    if node.get(2) is not None and (zero is None or zero.size != 1):
        return ()
    middle = 0 if zero is None else float(zero.reshape(-1)[0])
    return float(scale.reshape(-1)[0]), middle, least_integer(kind)


def _dynamic_quantize(node: Node) -> Reading:
    """Integers, and the scale and zero point that their range gave."""
    return Reading((node.shape(0), (), ())[: node.outputs], types=(UINT8, FLOAT, UINT8))


def _cast(node: Node) -> Reading:
    """A cast; to the type that it reads, it is an identity."""
    if node.op_type == "Cast" and node.opset < 6:  # by name
        to = named_type(node.text("to"))
    else:
        to = type_of(node.integer("to")) if node.op_type == "Cast" else node.value(1).type
    return Reading((node.shape(0),), to, op="identity" if to == node.value(0).type else None)


def _copies(node: Node) -> Reading:
    return Reading((node.shape(0),) * node.outputs)


# Name in ONNX, or operator of ours, or kind of operators -> how its nodes are read.
ARITHMETIC: dict[str, Rule] = {
    "conv": Rule(convolution()),
    "com.microsoft::FusedConv": Rule(convolution(extra=3)),
    "ConvInteger": Rule(typed(convolution(bias=1), INT32)),
    "MatMulInteger": Rule(typed(matmul(), INT32)),
    "QLinearConv": Rule(convolution(weights=3, bias=8)),
    "DeformConv": Rule(convolution(bias=3)),
    "conv_transpose": Rule(_conv_transpose),
    "pool": Rule(pool),
    "global_pool": Rule(_global_pool),
    **dict.fromkeys(("global_max_pool", "global_lp_pool"), Rule(_global_pool)),
    "linear": Rule(_gemm),
    "matmul": Rule(matmul()),
    "QLinearMatMul": Rule(matmul(0, 3)),
    "lstm": Rule(_recurrent()),
    "gru": Rule(_recurrent()),
    "rnn": Rule(_recurrent()),
    "com.microsoft::DynamicQuantizeLSTM": Rule(_recurrent(is_turned=True)),
    "com.microsoft::FusedMatMul": Rule(_fused_matmul),
    "com.microsoft::TransposeMatMul": Rule(_fused_matmul),
    "Einsum": Rule(_einsum),
    "attention": Rule(_attention),
    "softmax": Rule(_same),
    "norm": Rule(_norm),
    "batch_norm": Rule(_batch_norm),
    "layer_norm": Rule(_layer_norm),
    "rms_norm": Rule(_layer_norm),
    "LpNormalization": Rule(_norm),
    "lrn": Rule(_same),
    "activation": Rule(_same),
    "Clip": Rule(_clip, (1, 2)),
    "Not": Rule(_compare),
    "cast": Rule(_cast),
    "quantize": Rule(_quantize),
    "dequantize": Rule(_dequantize),
    "DynamicQuantizeLinear": Rule(_dynamic_quantize),
    "elementwise": Rule(_stretched),
    "Mul": Rule(_mul),
    "Pow": Rule(_power),
    **dict.fromkeys(("ImageScaler", "Affine"), Rule(_same)),
    "compare": Rule(_compare),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), Rule(_stretched)),
    "Where": Rule(_where),
    "Trilu": shape_rule(lambda n: n.shape(0), 1),
    "identity": Rule(_copies),
    "dropout": Rule(_copies, (1, 2)),
}
