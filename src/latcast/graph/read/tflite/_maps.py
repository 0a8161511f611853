"""Operators on maps, and those that work on tensors in either order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._file import Operator
from ._tensors import Tensors

# Adds the nodes of an operator; gives the name of its first output.
Rule = Callable[[Tensors, Operator], str]
# Likewise, with whether the outputs are maps.
AxisRule = Callable[[Tensors, Operator], tuple[bool, str]]


def _window(r: Tensors, o: Operator, kernel: Sequence[int]) -> dict[str, Any]:
    """Strides, dilations and padding of a window; where that is SAME (0), it is computed."""
    axes = ("D", "H", "W") if hasattr(o.options, "StrideD") else ("H", "W")
    strides = [o.get(f"Stride{a}") for a in axes]
    dilations = [o.get(f"Dilation{a}Factor", 1) for a in axes]
    window = {"strides": strides, "dilations": dilations}
    if o.get("Padding") or set(dilations) == {1}:
        return window | {"auto_pad": "VALID" if o.get("Padding") else "SAME_UPPER"}
    totals = [
        max((-(-side // step) - 1) * step + far * (k - 1) + 1 - side, 0)
        for side, step, far, k in zip(
            r.shape(o.inputs[0])[1:-1], strides, dilations, kernel, strict=True
        )
    ]
    return window | {"pads": [*(t // 2 for t in totals), *(t - t // 2 for t in totals)]}


def bias_of(r: Tensors, o: Operator, n: int = 2) -> list[str]:
    return [r.value(o.inputs[n])] if len(o.inputs) > n and o.inputs[n] >= 0 else []


def _conv(*order: int) -> Rule:
    """A convolution; ``order`` makes the weights (out, in, …) of what the file has."""

    def translate(r: Tensors, o: Operator) -> str:
        shape, weights = r.shape(o.inputs[1]), r.t.transposed(r.value(o.inputs[1]), *order)
        window = _window(r, o, [shape[n] for n in order[2:]])
        inside = r.shape(o.inputs[0])[-1]
        return r.t.node(
            "Conv", r.map(o.inputs[0]), weights, *bias_of(r, o), name=o.name,
            group=inside // shape[order[1]], **window,
        )  # fmt: skip

    return translate


def _transposed(r: Tensors, o: Operator, source: int, bias: list[str], strides: list[int]) -> str:
    """A transposed convolution with weights (out, height, width, in) as its second input."""
    kernel, before, after = o.inputs[1], [], []
    weights = r.t.transposed(r.value(kernel), 3, 0, 1, 2)
    for n in (1, 2):
        full = strides[n - 1] * (r.shape(source)[n] - 1) + r.shape(kernel)[n]
        extra = full - r.shape(o.outputs[0])[n]
        before.append(max(extra, 0) // 2)
        after.append(extra - max(extra, 0) // 2)
    beyond = [max(-x, 0) for x in after]
    pads = [*before, *(max(x, 0) for x in after)]
    return r.t.node(
        "ConvTranspose", r.map(source), weights, *bias, name=o.name, strides=strides,
        pads=pads, output_padding=beyond,
    )  # fmt: skip


def _conv_transpose(r: Tensors, o: Operator) -> str:
    """Inputs: the shape of the output, weights, a map, a bias."""
    strides = [o.get("StrideH"), o.get("StrideW")]
    return _transposed(r, o, o.inputs[2], bias_of(r, o, 3), strides)


def _conv_transpose_of_mediapipe(r: Tensors, o: Operator) -> str:
    """Inputs: a map, weights, a bias; options: padding, and the steps of width and height."""
    _, across, down = np.frombuffer(o.options, "<i4").tolist()
    return _transposed(r, o, o.inputs[0], bias_of(r, o), [down, across])


def _pool(op: str) -> Rule:
    return lambda r, o: r.t.node(
        op, r.map(o.inputs[0]), name=o.name,
        kernel_shape=(sides := [o.get("FilterHeight"), o.get("FilterWidth")]),
        **{k: v for k, v in _window(r, o, sides).items() if k != "dilations"},
    )  # fmt: skip


def _resize(mode: str) -> Rule:
    def translate(r: Tensors, o: Operator) -> str:
        corners, centers = o.get("AlignCorners"), o.get("HalfPixelCenters")
        how = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
        sizes = r.t.integers(*r.shape(o.outputs[0])[1:3])
        nearest: Any = {"nearest_mode": "round_prefer_ceil" if corners else "floor"}
        if mode == "nearest" and centers:
            how = "tf_half_pixel_for_nn"
        more: Any = nearest if mode == "nearest" else {}
        return r.t.node(
            "Resize", r.map(o.inputs[0]), "", "", sizes, name=o.name, mode=mode, axes=[2, 3],
            coordinate_transformation_mode=how, **more,
        )  # fmt: skip

    return translate


def _norm_of_neighbours(r: Tensors, o: Operator) -> str:
    size = 2 * o.get("Radius") + 1
    return r.t.node(
        "LRN", r.map(o.inputs[0]), name=o.name, size=size, alpha=o.get("Alpha") * size,
        beta=o.get("Beta"), bias=o.get("Bias"),
    )  # fmt: skip


def _rank(r: Tensors, n: int) -> int:
    """Number of axes of a tensor that an operator names one of.

    Raises:
        ValueError: it has none.
    """
    if not (rank := len(r.shape(n))):
        raise ValueError("an operator must name an axis that its input has; it has none")
    return rank


def _axis(r: Tensors, n: int, axis: int, *, is_map: bool) -> int:
    """An axis of a tensor in the order that it is in."""
    rank = _rank(r, n)
    axis %= rank
    return axis if not is_map or axis == 0 else 1 if axis == rank - 1 else axis + 1


def _concat(r: Tensors, o: Operator) -> tuple[bool, str]:
    is_map, inputs = r.alike(o.inputs)
    axis = _axis(r, o.inputs[0], o.get("Axis"), is_map=is_map)
    return is_map, r.t.node("Concat", *inputs, name=o.name, axis=axis)


def _along_last(op: str, **given: Any) -> AxisRule:
    def translate(r: Tensors, o: Operator) -> tuple[bool, str]:
        is_map, (x,) = r.alike(o.inputs[:1])
        axis = 1 if is_map else len(r.shape(o.inputs[0])) - 1
        return is_map, r.t.node(op, x, name=o.name, axis=axis, **given)

    return translate


def _reduce(op: str) -> AxisRule:
    """A reduction; without the reduced axes, others may be in another order than a map's."""

    def translate(r: Tensors, o: Operator) -> tuple[bool, str]:
        axes, keep = r.integers(o.inputs[1]), bool(o.get("KeepDims"))
        rank = _rank(r, o.inputs[0]) if axes else len(r.shape(o.inputs[0]))
        sides = {a % rank for a in axes}
        is_map = r.is_map(o.inputs[0]) and (keep or sides >= set(range(1, rank - 1)))
        x = r.map(o.inputs[0]) if is_map else r.value(o.inputs[0])
        over = [_axis(r, o.inputs[0], a, is_map=is_map) for a in axes]
        out = r.t.node(op, x, r.t.integers(*over), name=o.name, keepdims=int(keep))
        return is_map and keep, out

    return translate


def _pad(r: Tensors, o: Operator) -> tuple[bool, str]:
    pads, is_map = r.integers(o.inputs[1]), r.is_map(o.inputs[0])
    rank = len(r.shape(o.inputs[0]))
    order = [0, rank - 1, *range(1, rank - 1)] if is_map else [*range(rank)]
    amounts = r.t.integers(*(pads[2 * n] for n in order), *(pads[2 * n + 1] for n in order))
    x = r.map(o.inputs[0]) if is_map else r.value(o.inputs[0])
    value = [r.value(o.inputs[2])] if len(o.inputs) > 2 else []
    if value and r.t.constant_shape(value[0]) not in ((), None):
        value = [r.t.reshaped(value[0])]
    mode = "reflect" if o.type == "MIRROR_PAD" else "constant"
    return is_map, r.t.node("Pad", x, amounts, *value, name=o.name, mode=mode)


# Operators that work element by element -> ONNX's, and attributes with the options' names.
SAME = {
    "ADD": "Add", "MUL": "Mul", "SUB": "Sub", "DIV": "Div", "POW": "Pow", "MAXIMUM": "Max",
    "MINIMUM": "Min", "ADD_N": "Sum", "RELU": "Relu", "LOGISTIC": "Sigmoid", "TANH": "Tanh",
    "HARD_SWISH": "HardSwish", "ELU": "Elu", "LEAKY_RELU": "LeakyRelu alpha=Alpha",
    "PRELU": "PRelu", "EXP": "Exp", "LOG": "Log", "SQRT": "Sqrt", "NEG": "Neg", "ABS": "Abs",
    "SIN": "Sin", "COS": "Cos", "FLOOR": "Floor", "CEIL": "Ceil", "ROUND": "Round",
    "SIGN": "Sign", "LOGICAL_NOT": "Not", "LESS": "Less", "LESS_EQUAL": "LessOrEqual",
    "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "EQUAL": "Equal",
    "LOGICAL_AND": "And", "LOGICAL_OR": "Or", "SELECT": "Where", "SELECT_V2": "Where",
    "FLOOR_MOD": "Mod",
}  # fmt: skip


def _elementwise(
    write: Callable[[Tensors, Operator, list[str]], str],
) -> AxisRule:
    def translate(r: Tensors, o: Operator) -> tuple[bool, str]:
        is_map, inputs = r.alike(o.inputs)
        return is_map, write(r, o, inputs)

    return translate


def _first(_: Tensors, __: Operator, inputs: list[str]) -> str:
    return inputs[0]


# Operators on tensors in either order -> how they are translated, and into which order.
AXIS_RULES: dict[str, AxisRule] = {
    "CONCATENATION": _concat,
    "SOFTMAX": _along_last("Softmax"),
    "LOG_SOFTMAX": _along_last("LogSoftmax"),
    "L2_NORMALIZATION": _along_last("LpNormalization", p=2),
    "MEAN": _reduce("ReduceMean"),
    "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_MIN": _reduce("ReduceMin"),
    "REDUCE_PROD": _reduce("ReduceProd"),
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    **{
        name: _elementwise(lambda r, o, x, f=f: r.t.activated(x[0], f, name=o.name))  # type: ignore[misc]
        for name, f in (("RELU6", "Relu6"), ("RELU_N1_TO_1", "Relu1"), ("RELU_0_TO_1", "Relu01"))
    },
    "GELU": _elementwise(lambda r, o, x: r.t.node(
        "Gelu", x[0], name=o.name, approximate="tanh" if o.get("Approximate") else "none"
    )),
    "QUANTIZE": _elementwise(_first),
    "SQUARE": _elementwise(lambda r, o, x: r.t.node("Mul", x[0], x[0], name=o.name)),
    "RSQRT": _elementwise(lambda r, o, x: r.t.node(
        "Reciprocal", r.t.node("Sqrt", x[0], name=o.name), name=f"{o.name}/inverse"
    )),
    "SQUARED_DIFFERENCE": _elementwise(lambda r, o, x: r.t.node(
        "Pow", r.t.node("Sub", *x, name=o.name), r.t.number(2.0), name=f"{o.name}/square"
    )),
    "NOT_EQUAL": _elementwise(lambda r, o, x: r.t.node(
        "Not", r.t.node("Equal", *x, name=o.name), name=f"{o.name}/not"
    )),
    "FLOOR_DIV": _elementwise(lambda r, o, x: r.t.node(
        "Floor", r.t.node("Div", *x, name=o.name), name=f"{o.name}/floor"
    )),
}  # fmt: skip


# Operators on maps -> how they are translated.
MAP_RULES: dict[str, Rule] = {
    "CONV_2D": _conv(0, 3, 1, 2),
    "CONV_3D": _conv(4, 3, 0, 1, 2),
    "DEPTHWISE_CONV_2D": _conv(3, 0, 1, 2),
    "TRANSPOSE_CONV": _conv_transpose,
    "Convolution2DTransposeBias": _conv_transpose_of_mediapipe,
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "DEPTH_TO_SPACE": lambda r, o: r.t.node(
        "DepthToSpace", r.map(o.inputs[0]), name=o.name, blocksize=o.get("BlockSize")
    ),
    "SPACE_TO_DEPTH": lambda r, o: r.t.node(
        "SpaceToDepth", r.map(o.inputs[0]), name=o.name, blocksize=o.get("BlockSize")
    ),
    "LOCAL_RESPONSE_NORMALIZATION": _norm_of_neighbours,
}
