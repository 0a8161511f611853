"""Layers that compute: products, windows, activations, norms, attention and recurrence."""

from __future__ import annotations

from math import prod
from typing import Any

from latcast.graph.shapes import TensorShape, Window, broadcast, product, reduced

from ._blobs import Blobs, Rule, axis_in
from ._file import FLOAT, Layer


def _input(r: Blobs, x: Layer) -> None:
    for blob in x.outputs:
        sides = [x.integer(key) for key in (2, 11, 1, 0)]
        shape = r.asked.get(blob) or [s for s in (1, *sides) if s]
        known = tuple(shape) if len(shape) > 1 else None  # else what reads inputs says so
        r.t.input(blob, known, FLOAT)
        r.give(blob, blob, known)


_SIDES = {  # of width, height and depth: kernel, dilation, stride, and padding before and after
    1: ((1,), (2,), (3,), (4,), (15,)),
    2: ((11, 1), (12, 2), (13, 3), (14, 4), (16, 15)),
    3: ((21, 11, 1), (22, 12, 2), (23, 13, 3), (24, 14, 4), (17, 16, 15)),
}


def _window(x: Layer, rank: int) -> tuple[dict[str, Any], list[int]]:
    """Attributes of a window, and its kernel; a side that is left out is the width's."""
    kernel, dilations, strides, before, after = _SIDES[rank]
    width = [x.integer(k[-1], d) for k, d in ((kernel, 0), (dilations, 1), (strides, 1))]
    found = [
        [x.integer(key, default) for key in keys]
        for keys, default in zip((kernel, dilations, strides), width, strict=True)
    ]
    begin = [x.integer(key, x.integer(before[-1])) for key in before]
    end = [x.integer(key, b) for key, b in zip(after, begin, strict=True)]
    auto = {-233: "SAME_UPPER", -234: "SAME_LOWER"}.get(begin[-1], "NOTSET")
    attributes = {"dilations": found[1], "strides": found[2], "auto_pad": auto}
    if auto == "NOTSET":
        attributes["pads"] = [*begin, *end]
    return attributes, found[0]


def _conv(rank: int) -> Rule:
    def translate(r: Blobs, x: Layer) -> None:
        if x.integer(19):
            raise LookupError("its weights must be in the file")
        window, kernel = _window(x, rank)
        out, groups = x.integer(0), x.integer(7, 1)
        inside = x.integer(6) // max(prod(kernel) * out, 1)
        weights = r.constant(out, inside, *kernel, flagged=True)
        bias = [r.constant(out)] if x.integer(5) else []
        term = x.integer(8)
        rows = 1 if groups > 1 and term in (2, 102) else groups if groups > 1 else out
        scales = [r.constant(n) for n in (rows, 1, *[1] * (term > 100))] if term else []
        data, weights = r.real(r.input(x), weights, scales[:2])
        if x.number(18):
            raise LookupError("it must pad with zeros")
        name = r.t.node("Conv", data, weights, *bias, name=x.name, group=groups, **window)
        shape = r.shapes[x.inputs[0]]
        if shape is not None:
            if shape[1] != inside * groups:
                raise ValueError(f"its weights are for {inside * groups} channels; got {shape[1]}")
            pads = window.get("pads", [0] * 2 * rank)
            auto = window["auto_pad"]
            sides = Window(kernel, window["strides"], window["dilations"], pads, auto)
            shape = (1, out, *sides.sides(shape[2:]))
        r.give(x.outputs[0], r.activated(x, name), shape)

    return translate


def _deconv(rank: int) -> Rule:
    """A transposed convolution, whose weights are (groups, out, in, …)."""

    def translate(r: Blobs, x: Layer) -> None:
        window, kernel = _window(x, rank)
        out, groups = x.integer(0), x.integer(7, 1)
        inside = x.integer(6) // max(prod(kernel) * out, 1)
        held = r.constant(groups, out // groups, inside, *kernel, flagged=True)
        bias = [r.constant(out)] if x.integer(5) else []
        turned = r.t.transposed(held, 0, 2, 1, *range(3, 3 + rank))
        weights = r.t.reshaped(turned, inside * groups, out // groups, *kernel)
        beyond = [x.integer(19), x.integer(18)][-rank:] if rank < 3 else [0] * rank
        if x.integer(20) or x.integer(21) or window["auto_pad"] != "NOTSET":
            raise LookupError("its padding must be told")
        name = r.t.node(
            "ConvTranspose", r.input(x), weights, *bias, name=x.name, group=groups,
            output_padding=beyond, **window,
        )  # fmt: skip
        slid = Window(kernel, window["strides"], window["dilations"], window["pads"])
        shape = (1, out, *slid.transposed_sides(r.shape(x)[2:], beyond))
        r.give(x.outputs[0], r.activated(x, name), shape)

    return translate


def _linear(r: Blobs, x: Layer) -> None:
    """A product of the whole blob, or of every row of one with two axes."""
    out = x.integer(0)
    terms = x.integer(2) // max(out, 1)
    weights = r.constant(out, terms, flagged=True)
    bias = [r.constant(out)] if x.integer(1) else []
    scales = [r.constant(n) for n in (out, 1)] if x.integer(8) else []
    data, weights = r.real(r.input(x), weights, scales)
    shape = r.shapes[x.inputs[0]]
    if shape is not None and len(shape) == 3 and shape[-1] == terms:
        name = r.t.node("MatMul", data, r.t.transposed(weights, 1, 0), name=x.name)
        name = r.t.node("Add", name, *bias, name=f"{x.name}/bias") if bias else name
        r.give(x.outputs[0], r.activated(x, name), (*shape[:2], out))
        return
    if shape is not None and len(shape) > 2:
        data = r.t.layout("Flatten", data)
    name = r.t.node("Gemm", data, weights, *bias, name=x.name, transB=1)
    r.give(x.outputs[0], r.activated(x, name), (1, out))


def _gemm(r: Blobs, x: Layer) -> None:
    """A product of which either side, and what is added, may be in the file."""
    m, n, k = (x.integer(key) for key in (7, 8, 9))
    turned = x.integer(2), x.integer(3)
    bits = x.integer(18)
    if bits >= 400 or x.integer(14) or x.number(0, 1) != 1 or x.number(1, 1) != 1:
        raise LookupError("it must be a plain product")
    names, shapes, reads = [], [], iter(range(len(x.inputs)))
    for side, (rows, columns) in enumerate(((m, k), (k, n))):
        sides: TensorShape = (columns, rows) if turned[side] else (rows, columns)
        if x.integer(4 + side):
            names.append(r.constant(*sides, flagged=True))
        else:
            at = next(reads, len(x.inputs))
            names.append(r.input(x, at))
            # Behind a layer that is unknown, the file may tell how many rows there are.
            sides = r.shapes[x.inputs[at]] or ((1, *sides) if min(sides) else r.shape(x, at))
        shapes.append(sides)
        if turned[side]:
            *batch, a, b = range(len(sides))
            names[-1] = r.t.transposed(names[-1], *batch, b, a)
            shapes[-1] = (*sides[:-2], sides[-1], sides[-2])
    kind, added = x.integer(10), []
    if x.integer(6) and kind != -1:
        rows, columns = m or shapes[0][-2], n or shapes[1][-1]
        held = {0: (1,), 1: (rows, 1), 2: (rows, 1), 3: (rows, columns), 4: (columns,)}[kind]
        added = [r.constant(*held, flagged=True)]
    elif (at := next(reads, -1)) >= 0:
        added = [r.input(x, at)]
    if bits:  # scales of the rows of A, and of B
        scales = [r.constant(n) for n in ([m] * x.integer(4) + [1] * x.integer(5))]
        if x.integer(5):
            _, names[1] = r.real("", names[1], scales[-1:])
    name = r.t.node("MatMul", *names, name=x.name)
    name = r.t.node("Add", name, *added, name=f"{x.name}/bias") if added else name
    r.give(x.outputs[0], name, product(*shapes))


def _matmul(r: Blobs, x: Layer) -> None:
    names, shapes = [r.input(x, n) for n in (0, 1)], [r.shape(x, n) for n in (0, 1)]
    if x.integer(0):
        *batch, a, b = range(len(shapes[1]))
        names[1] = r.t.transposed(names[1], *batch, b, a)
        shapes[1] = (*shapes[1][:-2], shapes[1][-1], shapes[1][-2])
    r.give(x.outputs[0], r.t.node("MatMul", *names, name=x.name), product(*shapes))


def _pool(rank: int) -> Rule:
    def translate(r: Blobs, x: Layer) -> None:
        op, shape = ("AveragePool" if x.integer(0) else "MaxPool"), r.shape(x)
        if x.integer(4):
            name = r.t.node(f"Global{op}", r.input(x), name=x.name)
            flat = r.t.layout("Flatten", name)
            r.give(x.outputs[0], flat, shape[:2])
            return
        if x.integer(7):
            _adaptive_pool(r, x, op)
            return
        keys = ({1: ((1,), (2,), (3,), (14,)), 2: ((11, 1), (12, 2), (13, 3), (15, 14))})[rank]
        kernel, strides, before, after = (
            [x.integer(key, x.integer(side[-1], d)) for key in side]
            for side, d in zip(keys, (0, 1, 0, x.integer(3)), strict=True)
        )
        mode = x.integer(5)
        auto = {2: "SAME_UPPER", 3: "SAME_LOWER"}.get(mode, "NOTSET")
        slid = Window(kernel, strides, [1] * rank, [*before, *after], auto, ceil=mode == 0)
        more: Any = {"count_include_pad": x.integer(6)} if x.integer(0) else {}
        name = r.t.node(
            op, r.input(x), name=x.name, kernel_shape=kernel, strides=strides, auto_pad=auto,
            pads=[*before, *after] if auto == "NOTSET" else None, ceil_mode=int(mode == 0), **more,
        )  # fmt: skip
        r.give(x.outputs[0], name, (*shape[:2], *slid.sides(shape[2:])))

    return translate


def _adaptive_pool(r: Blobs, x: Layer, op: str) -> None:
    """Windows that make sides of a given length; those of unequal windows are unknown."""
    shape = r.shape(x)
    wanted = [s if s > 0 else own for s, own in zip(
        (x.integer(18, x.integer(8)), x.integer(8))[-len(shape[2:]) :], shape[2:], strict=True
    )]  # fmt: skip
    if any(s % w for s, w in zip(shape[2:], wanted, strict=True)):
        raise LookupError("its windows must be alike")
    window = [s // w for s, w in zip(shape[2:], wanted, strict=True)]
    name = r.t.node(op, r.input(x), name=x.name, kernel_shape=window, strides=window)
    r.give(x.outputs[0], name, (*shape[:2], *wanted))


_BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sub", "Div", "Pow")
_REVERSED = (7, 8, 9)


def _binary(r: Blobs, x: Layer) -> None:
    """An operator of two blobs, or of one and a number.

    A blob of fewer axes is one along the channels where those are as many as it has, and else
    along the width; its axes come first otherwise.
    """
    kind = x.integer(0)
    op = _BINARY[kind]
    if x.integer(1):
        sides, shape = [r.input(x), r.t.number(x.number(2))], r.shapes[x.inputs[0]]
    else:
        names, shapes = [r.input(x, n) for n in (0, 1)], [r.shape(x, n) for n in (0, 1)]
        rank = max(map(len, shapes))
        for n, own in enumerate(shapes):
            if len(own) == rank:
                continue
            other = shapes[1 - n]
            ones = (1,) * (rank - len(own))
            is_width = len(own) == 2 and own[1] != other[1]
            shapes[n] = (1, *ones, own[1]) if is_width else (*own, *ones)
            names[n] = r.t.reshaped(names[n], *shapes[n])
        sides, shape = names, broadcast(*shapes)
    sides = sides[::-1] if kind in _REVERSED else sides
    r.give(x.outputs[0], r.t.node(op, *sides, name=x.name), shape)


def _eltwise(r: Blobs, x: Layer) -> None:
    op = ("Mul", "Add" if len(x.inputs) == 2 else "Sum", "Max")[x.integer(0)]
    if op == "Mul" and len(x.inputs) > 2:
        raise LookupError("it must be of two blobs")
    names = [r.input(x, n) for n in range(len(x.inputs))]
    for n, factor in enumerate(x.values.get(1, [])[: len(names)]):
        if factor != 1:
            names[n] = r.t.node("Mul", names[n], r.t.number(factor), name=f"{x.name}/factor")
    r.node(x, op, *names)


_UNARY = (
    "Abs", "Neg", "Floor", "Ceil", "", "Sqrt", "", "Exp", "Log", "Sin", "Cos", "Tan", "Asin",
    "Acos", "Atan", "Reciprocal", "Tanh", "", "Round",
)  # fmt: skip


def _unary(r: Blobs, x: Layer) -> None:
    kind = x.integer(0)
    if kind == 4:
        r.node(x, "Mul", r.input(x), r.input(x))
    elif kind == 6:
        r.node(x, "Reciprocal", r.t.node("Sqrt", r.input(x), name=f"{x.name}/root"))
    elif not 0 <= kind < len(_UNARY) or not _UNARY[kind]:
        raise LookupError("it has no equivalent")
    else:
        r.node(x, _UNARY[kind])


_REDUCTIONS = ("Sum", "L1", "SumSquare", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum",
               "LogSumExp")  # fmt: skip


def _reduce(r: Blobs, x: Layer) -> None:
    op, shape = f"Reduce{_REDUCTIONS[x.integer(0)]}", r.shape(x)
    axes = [*range(1, len(shape))]
    if not x.integer(1, 1) and x.integers(3):
        axes = [axis_in(r, x, a) for a in x.integers(3)]
    keep = x.integer(4)
    out = r.t.node(op, r.input(x), r.t.integers(*axes), name=x.name, keepdims=keep)
    after = reduced(shape, axes, keep=bool(keep))
    if len(after) == 1:  # one number
        out, after = r.t.reshaped(out, 1, 1), (1, 1)
    r.give(x.outputs[0], out, after)


def alias(r: Blobs, x: Layer) -> None:
    """A layer that hands on its input, once or several times."""
    for blob in x.outputs:
        r.same(Layer(x.type, x.name, x.inputs, [blob], {}), r.input(x))


def _relu(r: Blobs, x: Layer) -> None:
    slope = x.number(0)
    r.node(x, "LeakyRelu", alpha=slope) if slope else r.node(x, "Relu")


def _prelu(r: Blobs, x: Layer) -> None:
    count, rank = x.integer(0), len(r.shape(x))
    slopes = r.t.reshaped(r.constant(count), count, *(1,) * max(rank - 2, 0))
    r.node(x, "PRelu", r.input(x), slopes)


def _swish(r: Blobs, x: Layer) -> None:
    gate = r.t.node("Sigmoid", r.input(x), name=f"{x.name}/gate")
    r.node(x, "Mul", r.input(x), gate)


def _plain(op: str, **defaults: tuple[int, float]) -> Rule:
    """An operator of one input; attributes are numbers of the file, by their keys."""

    def translate(r: Blobs, x: Layer) -> None:
        given: Any = {k: x.number(key, value) for k, (key, value) in defaults.items()}
        r.node(x, op, **given)

    return translate


# --- norms, attention and recurrence --------------------------------------------------------------


def _batch_norm(r: Blobs, x: Layer) -> None:
    slope, mean, variance, bias = (r.constant(x.integer(0)) for _ in range(4))
    parts = slope, bias, mean, variance
    r.node(x, "BatchNormalization", r.input(x), *parts, epsilon=x.number(1))


def _scale(r: Blobs, x: Layer) -> None:
    if x.integer(0) < 0:
        raise LookupError("its scales must be in the file")
    count, rank = x.integer(0), len(r.shape(x))
    scales = r.t.reshaped(r.constant(count), 1, count, *(1,) * (rank - 2))
    out = r.t.node("Mul", r.input(x), scales, name=x.name)
    if x.integer(1):
        bias = r.t.reshaped(r.constant(count), 1, count, *(1,) * (rank - 2))
        out = r.t.node("Add", out, bias, name=f"{x.name}/bias")
    r.same(x, out)


def _layer_norm(op: str) -> Rule:
    def translate(r: Blobs, x: Layer) -> None:
        size, shape = x.integer(0), r.shape(x)
        axes = [len(shape) - 1]
        while prod(shape[axes[0] :]) < size and axes[0] > 1:
            axes.insert(0, axes[0] - 1)
        sides = shape[axes[0] :]
        epsilon = x.number(1, 0.001)
        if x.integer(2, 1):
            parts = [r.constant(*sides) for _ in range(1 if op == "RMSNormalization" else 2)]
            r.node(x, op, r.input(x), *parts, axis=axes[0], epsilon=epsilon)
        elif op == "RMSNormalization":
            raise LookupError("it must have a scale")
        else:
            r.same(x, r.t.norm(r.input(x), shape, axes, epsilon, name=x.name))

    return translate


def _channel_norm(op: str, *, channels: int, affine: int) -> Rule:
    """A norm with a scale and a bias a channel."""

    def translate(r: Blobs, x: Layer) -> None:
        count = x.integer(channels) or r.shape(x)[1]
        more = {"num_groups": x.integer(0)} if op == "GroupNormalization" else {}
        if not x.integer(affine, 1):
            raise LookupError("it must have a scale")
        parts = r.constant(count), r.constant(count)
        epsilon = x.number(channels + 1, 0.001)
        r.node(x, op, r.input(x), *parts, epsilon=epsilon, **more)

    return translate


def _softmax(r: Blobs, x: Layer) -> None:
    r.node(x, "Softmax", r.input(x), axis=axis_in(r, x, x.integer(0)))


def _sdpa(r: Blobs, x: Layer) -> None:
    """Attention of (heads, tokens, features), with a mask."""
    if x.integer(7) or x.integer(18):
        raise LookupError("it must keep nothing, and be of real numbers")
    names = [r.input(x, n) for n in range(len(x.inputs))]
    query, key, value = (r.shape(x, n) for n in range(3))
    if key[1] != query[1]:
        raise LookupError("queries and keys must have as many heads")
    scale = x.number(6) or query[-1] ** -0.5
    out = r.t.attention(*names, scale=scale, rank=len(query), name=x.name)
    r.give(x.outputs[0], out, (*query[:-1], value[-1]))


def _multi_head(r: Blobs, x: Layer) -> None:
    """Attention with its four products; one of a single input is of itself."""
    width, heads = x.integer(0), x.integer(1, 1)
    own = x.integer(2) // max(width, 1)
    if x.integer(7) or x.integer(18) or x.integer(5) or len(x.inputs) > 3:
        raise LookupError("it must keep nothing, have no mask, and be of real numbers")
    sides = (own, x.integer(3, width), x.integer(4, width))
    parts = []
    count = len(x.inputs)
    for n, (word, terms) in enumerate(zip(("query", "key", "value"), sides, strict=True)):
        weights, bias = r.constant(width, terms, flagged=True), r.constant(width)
        source = r.input(x, min(n, count - 1))
        part = r.t.node("MatMul", source, r.t.transposed(weights, 1, 0), name=f"{x.name}/{word}")
        parts.append(r.t.node("Add", part, bias, name=f"{x.name}/{word}_bias"))
    weights, bias = r.constant(own, width, flagged=True), r.constant(own)
    scale: Any = {"scale": x.number(6)} if 6 in x.values else {}
    mixed = r.t.node(
        "Attention", *parts, name=x.name, q_num_heads=heads, kv_num_heads=heads, **scale
    )
    out = r.t.node("MatMul", mixed, r.t.transposed(weights, 1, 0), name=f"{x.name}/out")
    out = r.t.node("Add", out, bias, name=f"{x.name}/out_bias")
    r.give(x.outputs[0], out, (*r.shape(x)[:-1], own))


def _recurrent(op: str, gates: int, order: tuple[int, ...]) -> Rule:
    """An LSTM, GRU or RNN over (tokens, features); ``order`` puts its gates as ONNX has them."""

    def translate(r: Blobs, x: Layer) -> None:
        t, out, kind = r.t, x.integer(0), x.integer(2)
        hidden = x.integer(3, out) if op == "LSTM" else out
        count = 2 if kind == 2 else 1
        terms = x.integer(1) // max(count * gates * hidden, 1)
        held = r.constant(count, gates, hidden, terms, flagged=True)
        rows = {"LSTM": 4, "GRU": 4, "RNN": 1}[op]
        biases = r.constant(count, rows, hidden, flagged=True)
        states = r.constant(count, gates, hidden, hidden, flagged=True)
        if hidden != out or x.integer(8) or len(x.inputs) > 1 or len(x.outputs) > 1:
            raise LookupError("it must have no projection, no states, and real numbers")
        pick = t.integers(*order)
        flat = [
            t.reshaped(t.layout("Gather", w, pick, axis=1), count, gates * hidden, n)
            for w, n in ((held, terms), (states, hidden))
        ]
        if op == "GRU":  # of the reset and the update gate, and two of the new state
            first = t.layout("Gather", biases, t.integers(1, 0, 2), axis=1)
            last = t.layout("Gather", biases, t.integers(3), axis=1)
            last = t.layout("Pad", last, t.integers(0, 2, 0, 0, 0, 0))
            bias = t.layout("Concat", first, last, axis=1)
        else:
            ordered = t.layout("Gather", biases, pick, axis=1)
            bias = t.layout("Pad", ordered, t.integers(0, 0, 0, 0, gates, 0))
        bias = t.reshaped(bias, count, 2 * gates * hidden)
        name = t.node(
            op, t.transposed(r.input(x), 1, 0, 2), *flat, bias, name=x.name, hidden_size=hidden,
            direction=("forward", "reverse", "bidirectional")[kind],
            linear_before_reset=1 if op == "GRU" else None,
        )  # fmt: skip
        after = (1, r.shape(x)[1], count * hidden)
        r.give(x.outputs[0], t.layout("Reshape", t.transposed(name, 2, 0, 1, 3),
                                      t.integers(0, *after[1:])), after)  # fmt: skip

    return translate


def _normalize(r: Blobs, x: Layer) -> None:
    scales = x.integer(3)
    if scales and (x.integer(1) or x.integer(4)) != 0:
        r.constant(scales)
    r.node(x, "LpNormalization", r.input(x), axis=1, p=2)


# Type -> how its layers are translated; one whose parameters do not allow it is unknown.
COMPUTE: dict[str, Rule] = {
    "Input": _input,
    "Convolution": _conv(2),
    "ConvolutionDepthWise": _conv(2),
    "Convolution1D": _conv(1),
    "ConvolutionDepthWise1D": _conv(1),
    "Convolution3D": _conv(3),
    "ConvolutionDepthWise3D": _conv(3),
    "Deconvolution": _deconv(2),
    "DeconvolutionDepthWise": _deconv(2),
    "Deconvolution1D": _deconv(1),
    "DeconvolutionDepthWise1D": _deconv(1),
    "InnerProduct": _linear,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pooling": _pool(2),
    "Pooling1D": _pool(1),
    "BinaryOp": _binary,
    "Eltwise": _eltwise,
    "UnaryOp": _unary,
    "ReLU": _relu,
    "PReLU": _prelu,
    "Clip": lambda r, x: r.node(
        x, "Clip", r.input(x), r.t.number(x.number(0, -3.4e38)), r.t.number(x.number(1, 3.4e38))
    ),
    "HardSwish": lambda r, x: r.same(
        x, r.hard_swish(r.input(x), x.number(0, 0.2), x.number(1, 0.5), x.name)
    ),
    "HardSigmoid": _plain("HardSigmoid", alpha=(0, 0.2), beta=(1, 0.5)),
    "ELU": _plain("Elu", alpha=(0, 0.1)),
    "CELU": _plain("Celu", alpha=(0, 1.0)),
    "SELU": _plain("Selu"),
    "GELU": lambda r, x: r.node(
        x, "Gelu", r.input(x), approximate="tanh" if x.integer(0) else "none"
    ),
    "Swish": _swish,
    **{
        x: _plain(op)
        for x, op in {
            "Sigmoid": "Sigmoid", "TanH": "Tanh", "Mish": "Mish", "Softplus": "Softplus",
            "AbsVal": "Abs", "Erf": "Erf", "Exp": "Exp", "Log": "Log",
        }.items()
    },
    "Reduction": _reduce,
    **dict.fromkeys(("Split", "Dropout", "Noop", "Cast", "Packing"), alias),
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "LayerNorm": _layer_norm("LayerNormalization"),
    "RMSNorm": _layer_norm("RMSNormalization"),
    "InstanceNorm": _channel_norm("InstanceNormalization", channels=0, affine=2),
    "GroupNorm": _channel_norm("GroupNormalization", channels=1, affine=3),
    "Softmax": _softmax,
    "SDPA": _sdpa,
    "MultiHeadAttention": _multi_head,
    "LSTM": _recurrent("LSTM", 4, (0, 2, 1, 3)),
    "GRU": _recurrent("GRU", 3, (1, 0, 2)),
    "RNN": _recurrent("RNN", 1, (0,)),
    "Normalize": _normalize,
}  # fmt: skip
