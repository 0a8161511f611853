"""Types of layers, and how they are translated: those that compute, and those that move numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._file import TYPES, Layer
from ._ports import FAR, Ports, Rule, axes_in, plain

# Types in which weights are compressed.
_LOW_BIT = {2, 3, 21, 22}


def _parameter(r: Ports, x: Layer, _: list[str]) -> str:
    sides, code, names = x.writes[0][1:]
    name = names.split(",")[0] or x.name
    r.t.input(name, sides, code)
    return name


def _convolution(*, grouped: bool, transposed: bool) -> Rule:
    """A convolution; the weights of groups have an axis of their own, (groups, out, in, …)."""

    def translate(r: Ports, x: Layer, i: list[str]) -> str:
        weights, kernel = i[1], x.shape(1)
        groups = kernel[0] if grouped else 1
        if grouped:
            first, second, *window = kernel[1:]
            weights = r.t.reshaped(weights, groups * first, second, *window)
        else:
            window = list(kernel[2:])
        pads = x.integers("pads_begin") + x.integers("pads_end")
        auto = _AUTO_PAD[x.text("auto_pad", "explicit")]
        more: dict[str, Any] = {}
        if transposed:
            more["output_padding"] = x.integers("output_padding") or None
            if len(i) > 2:
                more["output_shape"] = r.t.values(i[2])
        return r.t.node(
            "ConvTranspose" if transposed else "Conv", i[0], weights, name=x.name, group=groups,
            kernel_shape=window, strides=x.integers("strides") or None, auto_pad=auto,
            dilations=x.integers("dilations") or None,
            pads=pads if auto == "NOTSET" and pads else None, **more,
        )  # fmt: skip

    return translate


_AUTO_PAD = {
    "explicit": "NOTSET", "notset": "NOTSET", "valid": "VALID", "same_upper": "SAME_UPPER",
    "same_lower": "SAME_LOWER",
}  # fmt: skip


def _pool(op: str) -> Rule:
    def translate(r: Ports, x: Layer, i: list[str]) -> str:
        auto = _AUTO_PAD[x.text("auto_pad", "explicit")]
        more: dict[str, Any] = {}
        if op == "AveragePool":
            more["count_include_pad"] = int(not x.flag("exclude-pad", x.text("exclude_pad")))
        return r.t.node(
            op, i[0], name=x.name, outputs=len(x.writes) if op == "MaxPool" else 1,
            kernel_shape=x.integers("kernel"), strides=x.integers("strides") or None,
            dilations=x.integers("dilations") or None, auto_pad=auto,
            pads=x.integers("pads_begin") + x.integers("pads_end") if auto == "NOTSET" else None,
            ceil_mode=int(x.text("rounding_type").startswith("ceil")), **more,
        )  # fmt: skip

    return translate


def _adaptive_pool(op: str) -> Rule:
    """An adaptive pool; one of the whole map, or one whose windows are all alike."""

    def translate(r: Ports, x: Layer, i: list[str]) -> str:
        sides, wanted = x.shape()[2:], r.t.values(i[1])
        if any(s % w for s, w in zip(sides, wanted, strict=True)):
            raise LookupError("its windows must be alike")
        if set(wanted) == {1}:
            return r.t.node(f"Global{op}", i[0], name=x.name)
        window = [s // w for s, w in zip(sides, wanted, strict=True)]
        return r.t.node(op, i[0], name=x.name, kernel_shape=window, strides=window)

    return translate


def _matmul(r: Ports, x: Layer, i: list[str]) -> str:
    """A product; of a matrix by constant weights it is a Gemm, which takes its bias."""
    turned = (x.flag("transpose_a"), x.flag("transpose_b"))
    if x.rank(0) == x.rank(1) == 2 and r.t.constant_shape(i[1]) is not None:
        return r.t.node("Gemm", *i, name=x.name, transA=int(turned[0]), transB=int(turned[1]))
    sides = [
        r.t.transposed(name, *range(x.rank(n) - 2), x.rank(n) - 1, x.rank(n) - 2) if t else name
        for n, (name, t) in enumerate(zip(i, turned, strict=True))
    ]
    return r.t.node("MatMul", *sides, name=x.name)


def _eltwise(op: str) -> Rule:
    def translate(r: Ports, x: Layer, i: list[str]) -> str:
        if len(i) == 2 and op in ("Add", "Mul"):
            done = (r.decompressed(x, i) if op == "Mul" else "") or r.absorbed(x, i[0], i[1], op)
            if done := done or r.absorbed(x, i[1], i[0], op):
                return done
        return r.t.node(op, *i, name=x.name)

    return translate


def _convert(r: Ports, x: Layer, i: list[str]) -> str:
    to = TYPES[x.text("destination_type")]
    if r.types.get(i[0]) in _LOW_BIT and r.t.constant_shape(i[0]) is not None:
        out = r.t.layout("Cast", i[0], to=to)
        r.compressed[out] = (i[0],)
        return out
    return r.t.node("Cast", i[0], name=x.name, to=to)


def _subtract(r: Ports, x: Layer, i: list[str]) -> str:
    """A difference; of compressed weights and their zero point it goes into their scale."""
    out = r.t.node("Sub", *i, name=x.name)
    if all(len(r.compressed.get(n, ())) == 1 for n in i):
        r.compressed[out] = (*r.compressed[i[0]], *r.compressed[i[1]])
    return out


def _prelu(r: Ports, x: Layer, i: list[str]) -> str:
    slope = r.t.value(i[1])
    if slope is None or slope.size != 1:
        return r.t.node("PRelu", *i, name=x.name)
    return r.t.node("LeakyRelu", i[0], name=x.name, alpha=float(slope.item()))


def _mvn(r: Ports, x: Layer, i: list[str]) -> str:
    """A norm without scale and bias."""
    axes = sorted(a % x.rank() for a in r.t.values(i[1])) if len(i) > 1 else [*range(2, x.rank())]
    out = r.t.norm(i[0], x.shape(), axes, x.float("eps", "1e-5"), name=x.name)
    r.epsilons[out] = x.float("eps", "1e-5")
    return out


def _reduce(op: str) -> Rule:
    return lambda r, x, i: r.t.node(
        op, i[0], *axes_in(r, i), name=x.name, keepdims=int(x.flag("keep_dims"))
    )


def _swish(r: Ports, x: Layer, i: list[str]) -> str:
    scaled = r.t.node("Mul", *i, name=f"{x.name}/beta") if len(i) > 1 else i[0]
    return r.t.node("Mul", i[0], r.t.node("Sigmoid", scaled, name=f"{x.name}/gate"), name=x.name)


def _clamp(r: Ports, x: Layer, i: list[str]) -> str:
    low, high = (r.t.number(x.float(k, "0")) for k in ("min", "max"))
    return r.t.node("Clip", i[0], low, high, name=x.name)


def _hard_sigmoid(r: Ports, x: Layer, i: list[str]) -> str:
    alpha, beta = (r.t.value(n) for n in i[1:3])
    if alpha is None or beta is None:
        raise LookupError("its slope must be a constant")
    return r.t.node(
        "HardSigmoid", i[0], name=x.name, alpha=float(alpha.item()), beta=float(beta.item())
    )


def _softmax(op: str, default: str) -> Rule:
    return lambda r, x, i: r.t.node(op, i[0], name=x.name, axis=int(x.text("axis", default)))


def _recurrent(op: str, order: tuple[int, ...], *, is_cell: bool = False) -> Rule:
    """An LSTM, GRU or RNN over a sequence, batch first; ``order`` puts its gates as ONNX has them.

    Inputs: the sequence, states (batch, directions, hidden), lengths, weights of the input
    and of the state (directions, gates x hidden, …), and biases. A cell is one step of one
    direction, without axes of these and without lengths.
    """

    def translate(r: Ports, x: Layer, i: list[str]) -> str:
        t, hidden, states = r.t, int(x.text("hidden_size")), 2 if op == "LSTM" else 1
        zero = t.integers(0)
        if is_cell:
            i = [t.layout("Unsqueeze", n, zero) for n in i]
        else:
            i = [*(t.transposed(n, 1, 0, 2) for n in i[: 1 + states]), *i[1 + states :]]
        weights, recurrent, bias = i[-3:]
        after = x.flag("linear_before_reset")
        rows = t.integers(*(g * hidden + n for g in order for n in range(hidden)))
        pick = (
            t.layout("Gather", weights, rows, axis=1),
            t.layout("Gather", recurrent, rows, axis=1),
        )
        if op == "GRU" and after:
            # Four biases: of the update and the reset gate, and two of the hidden one.
            cut = [zero, t.integers(3 * hidden), t.integers(1)]
            first = t.layout("Slice", bias, *cut)
            rest = t.layout("Slice", bias, t.integers(3 * hidden), t.integers(FAR), cut[2])
            zeros = t.integers(0, 2 * hidden, 0, 0)
            biases = t.layout("Concat", first, t.layout("Pad", rest, zeros), axis=1)
        else:
            ordered = t.layout("Gather", bias, rows, axis=1)
            biases = t.layout("Pad", ordered, t.integers(0, 0, 0, len(order) * hidden))
        out = t.node(
            op, i[0], *pick, biases, "", *i[1 : 1 + states], name=x.name, outputs=1 + states,
            hidden_size=hidden, direction=x.text("direction", "forward").lower(),
            linear_before_reset=int(after) if op == "GRU" else None,
        )  # fmt: skip
        if is_cell:
            first = t.layout("Squeeze", f"{out}:1", zero)
            for n in range(1, states):
                t.layout("Squeeze", f"{out}:{n + 1}", zero, out=f"{first}:{n}")
            return first
        first = t.transposed(out, 2, 1, 0, 3)
        for n in range(1, 1 + states):
            t.layout("Transpose", f"{out}:{n}", out=f"{first}:{n}", perm=(1, 0, 2))
        return first

    return translate


def _fake_quantize(r: Ports, x: Layer, i: list[str]) -> str:
    """Values as 256 levels: a quantization and its inverse, of one range or one a channel."""
    low, high, out_low, out_high = (r.t.value(n) for n in i[1:5])
    levels = int(x.text("levels"))
    if low is None or high is None or out_low is None or out_high is None:
        raise LookupError("its range must be constant")
    if levels not in (255, 256) or not (np.allclose(low, out_low) and np.allclose(high, out_high)):
        raise LookupError("it must be of 8 bits, and give what it reads")
    low, high = np.broadcast_arrays(low, high)
    sides = [n for n, side in enumerate(low.shape) if side > 1]
    scale = ((high - low) / (levels - 1)).astype(np.float32)
    zero = np.round(-low / scale) - 128
    if len(sides) > 1 or np.any(scale <= 0) or np.any(np.abs(zero) > 128):
        raise LookupError("its range must hold 0, and be one or one a channel")
    shape = [low.size] if sides else []
    axis = x.rank() - low.ndim + sides[0] if sides else None
    zero = np.clip(zero, -128, 127).astype(np.int8)
    factors = (r.t.small(scale.reshape(shape)), r.t.small(zero.reshape(shape)))
    quantized = r.t.node("QuantizeLinear", i[0], *factors, name=f"{x.name}/quantize", axis=axis)
    return r.t.node("DequantizeLinear", quantized, *factors, name=f"{x.name}/dequantize", axis=axis)


def _attention(r: Ports, x: Layer, i: list[str]) -> str:
    given = len(i) > 4
    query = r.t.node("Mul", i[0], i[4], name=f"{x.name}/query") if given else i[0]
    masks = [n for n in i[3:4] if r.t.constant_shape(n) != ()]  # a scalar stands for none
    scale = 1.0 if given else x.shape()[-1] ** -0.5
    if x.flag("causal"):
        return r.t.node("Attention", query, *i[1:3], *masks, name=x.name, is_causal=1, scale=scale)
    return r.t.attention(query, *i[1:3], *masks, scale=scale, rank=x.rank(), name=x.name)


# Type -> ONNX's operator of the same inputs, and its attributes with their defaults.
SAME = {
    **{x: x for x in (
        "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Sign", "Sin", "Cos", "Tan", "Asin",
        "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Floor", "Mish", "HardSwish",
        "Tile", "NonZero", "Equal", "Greater", "Less", "Range", "GatherND",
    )},
    "ReLU": "Relu", "Negative": "Neg", "Ceiling": "Ceil", "HSwish": "HardSwish",
    "SoftPlus": "Softplus", "SoftSign": "Softsign", "Elu": "Elu alpha=1",
    "Divide": "Div", "Power": "Pow", "Maximum": "Max", "Minimum": "Min",
    "Mod": "Mod fmod=1", "FloorMod": "Mod", "GreaterEqual": "GreaterOrEqual",
    "LessEqual": "LessOrEqual", "LogicalAnd": "And", "LogicalOr": "Or",
    "LogicalXor": "Xor", "LogicalNot": "Not", "Select": "Where", "ConvertLike": "CastLike",
    "IsNaN": "IsNaN", "IsInf": "IsInf", "Identity": "Identity", "ReadValue": "Identity",
    "ScatterNDUpdate": "ScatterND",
}  # fmt: skip


# --- layers that move numbers ---------------------------------------------------------------------


def _reshape(r: Ports, x: Layer, i: list[str]) -> str:
    keeps_zero = int(not x.flag("special_zero"))
    return r.t.node("Reshape", *i, name=x.name, allowzero=keeps_zero)


def _transpose(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node("Transpose", i[0], name=x.name, perm=r.t.values(i[1]) or None)


def _concat(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node("Concat", *i, name=x.name, axis=int(x.text("axis")))


def _split(r: Ports, x: Layer, i: list[str]) -> str:
    (axis,), parts = r.t.values(i[1]), i[2:]
    if parts and -1 in (lengths := r.t.values(parts[0])):
        side = x.shape()[axis]
        rest = side - sum(n for n in lengths if n != -1)
        parts = [r.t.integers(*(rest if n == -1 else n for n in lengths))]
    more: Any = {} if parts else {"num_outputs": len(x.writes)}
    return r.t.node("Split", i[0], *parts, name=x.name, outputs=len(x.writes), axis=axis, **more)


def _strided_slice(r: Ports, x: Layer, i: list[str]) -> str:
    """A slice by masks; a 1 in the mask of begins or ends is a side that is taken from its end."""
    masks = {k: x.integers(f"{k}_mask") for k in ("begin", "end", "new_axis", "shrink_axis")}
    if any(x.integers("ellipsis_mask")) or any(masks["new_axis"]):
        raise LookupError("it must take slices of all axes")
    begins, ends = r.t.values(i[1]), r.t.values(i[2])
    steps = r.t.values(i[3]) if len(i) > 3 else [1] * len(begins)
    gone = [n for n, cut in enumerate(masks["shrink_axis"]) if cut]
    starts, limits = [], []
    for n, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        is_open = [n < len(masks[k]) and masks[k][n] for k in ("begin", "end")]
        starts.append((0 if step > 0 else FAR) if is_open[0] and n not in gone else begin)
        is_last = n in gone and begin == -1
        if n in gone:
            limits.append(FAR if is_last else begin + 1)
        else:
            limits.append((FAR if step > 0 else -FAR) if is_open[1] else end)
    axes = r.t.integers(*range(len(begins)))
    cut = r.t.node(
        "Slice", i[0], r.t.integers(*starts), r.t.integers(*limits), axes, r.t.integers(*steps),
        name=x.name,
    )  # fmt: skip
    if not gone:
        return cut
    return r.t.node("Squeeze", cut, r.t.integers(*gone), name=f"{x.name}/shrunk")


def _slice(r: Ports, x: Layer, i: list[str]) -> str:
    start, stop, step, *axes = i[1:]
    axes = axes or [r.t.integers(*range(len(r.t.values(start))))]
    return r.t.node("Slice", i[0], start, stop, *axes, step, name=x.name)


def _gather(r: Ports, x: Layer, i: list[str]) -> str:
    if int(x.text("batch_dims", "0")):
        raise LookupError("it must gather the same of the whole batch")
    return r.t.node("Gather", *i[:2], name=x.name, axis=r.t.values(i[2])[0])


def _pad(r: Ports, x: Layer, i: list[str]) -> str:
    pads = r.t.layout("Concat", *(r.t.layout("Cast", n, to=7) for n in i[1:3]), axis=0)
    mode = {"symmetric": "reflect"}.get(x.text("pad_mode"), x.text("pad_mode", "constant"))
    value = i[3:4] if mode == "constant" else []
    return r.t.node("Pad", i[0], pads, *value, name=x.name, mode=mode)


def _interpolate(r: Ports, x: Layer, i: list[str]) -> str:
    """A resize; version 4 has sizes and scales as inputs, later ones one of both."""
    is_sizes = x.text("shape_calculation_mode", "sizes") == "sizes"
    is_old = x.text("version") != "opset11" and len(i) > 3
    given, axes = (i[1] if is_sizes else i[2], i[3:]) if is_old else (i[1], i[2:])
    if any(x.integers("pads_begin")) or any(x.integers("pads_end")):
        raise LookupError("it must not pad")
    mode = {"linear_onnx": "linear", "bilinear_pillow": "linear", "bicubic_pillow": "cubic"}
    how = x.text("mode", "nearest")
    return r.t.node(
        "Resize", i[0], "", *(["", given] if is_sizes else [given]), name=x.name,
        axes=r.t.values(axes[0]) if axes else None, mode=mode.get(how, how),
        coordinate_transformation_mode=x.text("coordinate_transformation_mode", "half_pixel"),
        nearest_mode=x.text("nearest_mode", "round_prefer_floor") if how == "nearest" else None,
        antialias=int(x.flag("antialias")), cubic_coeff_a=x.float("cube_coeff", "-0.75"),
    )  # fmt: skip


def _top_k(r: Ports, x: Layer, i: list[str]) -> str:
    return r.t.node(
        "TopK", i[0], r.t.integers(*r.t.values(i[1])), name=x.name, outputs=len(x.writes),
        axis=int(x.text("axis", "-1")), largest=int(x.text("mode", "max") == "max"),
    )  # fmt: skip


def _shuffle(r: Ports, x: Layer, i: list[str]) -> str:
    """Channels as a matrix of groups, transposed."""
    shape, axis, groups = x.shape(), int(x.text("axis", "1")), int(x.text("group", "1"))
    sides = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    order = [*range(len(sides))]
    order[axis : axis + 2] = order[axis + 1], order[axis]
    grouped = r.t.node("Reshape", i[0], r.t.integers(*sides), name=f"{x.name}/grouped")
    dealt = r.t.node("Transpose", grouped, name=f"{x.name}/dealt", perm=order)
    return r.t.node("Reshape", dealt, r.t.integers(*shape), name=x.name)


# --- tables ---------------------------------------------------------------------------------------

# Type -> how its layers are translated.
_MOVES: dict[str, Rule] = {
    "Unsqueeze": lambda r, x, i: r.t.node("Unsqueeze", i[0], *axes_in(r, i), name=x.name),
    "Squeeze": lambda r, x, i: r.t.node("Squeeze", i[0], *axes_in(r, i), name=x.name),
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "VariadicSplit": _split,
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": lambda r, x, i: r.t.node(
        "GatherElements", *i, name=x.name, axis=int(x.text("axis"))
    ),
    "ScatterElementsUpdate": lambda r, x, i: r.t.node(
        "ScatterElements", *i[:3], name=x.name, axis=r.t.values(i[3])[0]
    ),
    "ShapeOf": plain("Shape"),
    "Broadcast": plain("Expand", inputs=2),
    "OneHot": lambda r, x, i: r.t.node(
        "OneHot", i[0], i[1], r.t.node("Concat", *(
            r.t.layout("Reshape", n, r.t.integers(1)) for n in (i[3], i[2])
        ), axis=0), name=x.name, axis=int(x.text("axis", "-1")),
    ),
    "Pad": _pad,
    "Interpolate": _interpolate,
    "TopK": _top_k,
    "ShuffleChannels": _shuffle,
    "DepthToSpace": lambda r, x, i: r.t.node(
        "DepthToSpace", i[0], name=x.name, blocksize=int(x.text("block_size", "1")),
        mode="DCR" if x.text("mode") == "blocks_first" else "CRD",
    ),
    "SpaceToDepth": lambda r, x, i: r.t.node(
        "SpaceToDepth", i[0], name=x.name, blocksize=int(x.text("block_size", "1"))
    ),
}  # fmt: skip

# Type -> how its layers are translated; one whose inputs do not allow it is unknown.
RULES: dict[str, Rule] = {
    **_MOVES,
    "Parameter": _parameter,
    "Const": lambda r, x, _: r.constant(x),
    "Constant": lambda r, x, _: r.constant(x),
    "Convolution": _convolution(grouped=False, transposed=False),
    "GroupConvolution": _convolution(grouped=True, transposed=False),
    "ConvolutionBackpropData": _convolution(grouped=False, transposed=True),
    "GroupConvolutionBackpropData": _convolution(grouped=True, transposed=True),
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool"),
    "AdaptiveAvgPool": _adaptive_pool("AveragePool"),
    "AdaptiveMaxPool": _adaptive_pool("MaxPool"),
    "MatMul": _matmul,
    "Add": _eltwise("Add"),
    "Multiply": _eltwise("Mul"),
    "SquaredDifference": lambda r, x, i: r.t.node(
        "Pow", r.t.node("Sub", *i, name=f"{x.name}/difference"), r.t.number(2.0), name=x.name
    ),
    "Subtract": _subtract,
    "PReLU": _prelu,
    "NotEqual": lambda r, x, i: r.t.node(
        "Not", r.t.node("Equal", *i, name=f"{x.name}/equal"), name=x.name
    ),
    "Convert": _convert,
    "MVN": _mvn,
    "BatchNormInference": lambda r, x, i: r.t.node(
        "BatchNormalization", *i, name=x.name, epsilon=x.float("epsilon", "1e-5")
    ),
    "GroupNormalization": lambda r, x, i: r.t.node(
        "GroupNormalization", *i, name=x.name, num_groups=int(x.text("num_groups")),
        epsilon=x.float("epsilon", "1e-5"),
    ),
    "LRN": lambda r, x, i: r.t.node(
        "LRN", i[0], name=x.name, size=int(x.text("size")), alpha=x.float("alpha", "1"),
        beta=x.float("beta", "1"), bias=x.float("bias", "1"),
    ),
    "NormalizeL2": lambda r, x, i: r.t.node(
        "LpNormalization", i[0], name=x.name, axis=r.t.values(i[1])[0], p=2
    ),
    **{
        x: _reduce(x if x.startswith("ReduceL") and x[-1].isdigit() else op)
        for x, op in {
            "ReduceMean": "ReduceMean", "ReduceSum": "ReduceSum", "ReduceMax": "ReduceMax",
            "ReduceMin": "ReduceMin", "ReduceProd": "ReduceProd", "ReduceL1": "", "ReduceL2": "",
            "ReduceLogicalAnd": "ReduceMin", "ReduceLogicalOr": "ReduceMax",
        }.items()
    },
    "SoftMax": _softmax("Softmax", "1"),
    "Softmax": _softmax("Softmax", "1"),
    "LogSoftmax": _softmax("LogSoftmax", "1"),
    "Swish": _swish,
    "Clamp": _clamp,
    "HardSigmoid": _hard_sigmoid,
    "HSigmoid": plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "Gelu": lambda r, x, i: r.t.node(
        "Gelu", i[0], name=x.name,
        approximate="tanh" if x.text("approximation_mode").lower() == "tanh" else "none",
    ),
    "Selu": lambda r, x, i: r.t.node("Selu", i[0], name=x.name),
    "Round": plain("Round"),
    "CumSum": plain("CumSum"),
    "Einsum": lambda r, x, i: r.t.node("Einsum", *i, name=x.name, equation=x.text("equation")),
    **{
        f"{op}{kind}": _recurrent(op, order, is_cell=kind == "Cell")
        for op, order in (("LSTM", (1, 3, 0, 2)), ("GRU", (0, 1, 2)), ("RNN", (0,)))
        for kind in ("Sequence", "Cell")
    },
    "FakeQuantize": _fake_quantize,
    "ScaledDotProductAttention": _attention,
}  # fmt: skip
