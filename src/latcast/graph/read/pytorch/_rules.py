"""Calls of aten operators as operators of our vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

from latcast.graph._operators import OPERATORS, RECURRENT, UNKNOWN
from latcast.graph.read._layers import Facts, Layers, Value, clip_op
from latcast.graph.shapes import TensorShape, Window, is_channel_scale, plane


@dataclass(frozen=True, slots=True)
class Operation:
    """A call whose tensors are known.

    Attributes:
        arguments: by name; tensors are :class:`Value`.
        outputs: what it gives, as far as shapes go.
    """

    arguments: Mapping[str, Any]
    outputs: tuple[Value, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """All tensors that it reads, in order."""
        return tuple(_tensors(self.arguments.values()))

    def tensor(self, name: str) -> Value:
        """The tensor of that name.

        Raises:
            ValueError: it is missing.
        """
        value = self.arguments.get(name)
        if not isinstance(value, Value):
            raise ValueError(f"argument {name} must be a tensor; got {type(value).__name__}")
        return value

    def scalars(self, *names: str) -> tuple[Value, ...]:
        """Numbers among the arguments, as the constants that runtimes read."""
        given = [n for n in names if isinstance(self.arguments.get(n), int | float)]
        return tuple(Value((), self.outputs[0].type) for _ in given)

    def pair(self, name: str, default: Sequence[int] = (1, 1)) -> tuple[int, int]:
        """Height and width of a window's argument; one number stands for both.

        The first of three (depth, height, width) is left out.
        """
        value = self.arguments.get(name)
        numbers = [value] if isinstance(value, int) else list(value or default)
        height, width = (numbers * 2)[-2:] if isinstance(value, int) else [1, *numbers][-2:]
        return int(height), int(width)

    def sides(self, name: str, rank: int, default: int) -> list[int]:
        """A window's argument along each of its axes; one number stands for all."""
        value = self.arguments.get(name)
        numbers = [value] if isinstance(value, int) else list(value or [default])
        return [int(n) for n in (numbers * rank if len(numbers) == 1 else numbers)]

    def number(self, name: str, default: int = 1) -> int:
        """A whole number."""
        value = self.arguments.get(name)
        return value if isinstance(value, int) else default


def _tensors(values: Iterable[Any]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        if isinstance(value, Value):
            found.append(value)
        elif isinstance(value, list):
            found += _tensors(value)
    return found


def shape_of(value: Value) -> TensorShape:
    """The shape of a tensor; programs tell those of all."""
    assert value.shape is not None
    return value.shape


@dataclass(frozen=True, slots=True)
class Reading(Facts):
    """The result of reading a call.

    Attributes:
        reads: the tensors that it reads, the one that its cost depends on first; None for all
            of its operands in their order.
        in_shapes: shapes of those, where it sees them in another shape of as many elements.
        out_shape: likewise of its first output.
    """

    reads: tuple[Value, ...] | None = None
    in_shapes: tuple[TensorShape, ...] | None = None
    out_shape: TensorShape | None = None


class Rule(NamedTuple):
    """The usual operator of our vocabulary for an aten operator, and how its calls are read."""

    op: str
    read: Callable[[Operation, str], Reading]


def _plain(_: Operation, op: str) -> Reading:
    return Reading(op=op)


def _of_two(o: Operation, op: str) -> Reading:
    """An operator of two tensors, or of one and a number."""
    return Reading((*o.operands, *o.scalars("other", "exponent")), op=op)


def _clamp(o: Operation, low: str, high: str) -> Reading:
    op = clip_op(o.arguments.get(low), o.arguments.get(high))
    return Reading(o.operands + (o.scalars(low, high) if op != "relu" else ()), op=op)


def _hardtanh(o: Operation, _: str) -> Reading:
    op = clip_op(o.arguments.get("min_val", -1), o.arguments.get("max_val", 1))
    return Reading((*o.operands, *o.scalars("min_val", "max_val")), op=op)


def _mul(o: Operation, op: str) -> Reading:
    """A product; of a map by one factor a channel it is a ``scale``."""
    shapes = [shape_of(t) for t in o.operands]
    pairs = (shapes, shapes[::-1]) if len(shapes) == 2 else ()
    return _of_two(o, "scale" if any(is_channel_scale(a, b) for a, b in pairs) else op)


def _power(o: Operation, op: str) -> Reading:
    """A power: of exponent 2 or 3 a product, as runtimes compute it."""
    return _of_two(o, op if o.arguments.get("exponent") in (2, 3) else "power")


def _sampled(o: Operation, op: str) -> Reading:
    """Maps read at the points of a grid; 2 is PyTorch's number of cubic interpolation."""
    return Reading(op="grid_sample_cubic" if o.number("interpolation_mode", 0) == 2 else op)


def _moved(o: Operation, op: str) -> Reading:
    """An operator that does nothing where the shape stays."""
    return Reading(op="identity" if o.operands[0].shape == o.outputs[0].shape else op)


def _copied(o: Operation, op: str) -> Reading:
    """A copy over another tensor: its source takes the place."""
    source = o.tensor("src")
    return Reading((source,), op=op if source.shape == o.outputs[0].shape else "expand")


def _cast(o: Operation, op: str) -> Reading:
    return Reading(op="identity" if o.operands[0].type == o.outputs[0].type else op)


def _conv(o: Operation, op: str) -> Reading:
    x, weight = o.tensor("input"), o.tensor("weight")
    if len(shape_of(weight)) < 3:
        raise ValueError(f"weights must have at least 3 axes; got {list(shape_of(weight))}")
    if o.arguments.get("transposed") is True:
        op = "conv_transpose"
    groups = o.number("groups")
    # A single sample: convolutions of graphs have a batch.
    alone = (1,) * (len(shape_of(weight)) - len(shape_of(x)))
    others = tuple(t for t in o.operands if t is not x)
    shapes = ((*alone, *shape_of(x)), *(shape_of(t) for t in others if not t.is_constant))
    return Reading(
        (x, *others),
        shapes,
        (*alone, *shape_of(o.outputs[0])),
        op="depthwise_conv" if op == "conv" and groups == shapes[0][1] > 1 else op,
        window=plane(shape_of(weight)[2:]),
        stride=o.pair("stride"),
        dilation=o.pair("dilation"),
        groups=groups,
        inside=_inside(o, shapes[0], shape_of(weight), (*alone, *shape_of(o.outputs[0]))),
    )


def _inside(o: Operation, x: TensorShape, weight: TensorShape, out: TensorShape) -> float:
    """Share of the taps of a dilated convolution that fall inside of what it reads."""
    rank = len(weight) - 2
    dilations = o.sides("dilation", rank, 1)
    if max(dilations) == 1 or o.arguments.get("transposed") is True:
        return 1.0
    how, pads = o.arguments.get("padding"), [0] * rank
    if not isinstance(how, str):
        pads = o.sides("padding", rank, 0)
    auto = "SAME_UPPER" if how == "same" else "NOTSET"
    window = Window(weight[2:], o.sides("stride", rank, 1), dilations, pads * 2, auto)
    return window.inside(x[2:], out[2:])


def _recurrent(o: Operation, op: str) -> Reading:
    """All layers and directions of an LSTM, GRU or RNN: of a step the product with each weight."""
    x = shape_of(o.tensor("input"))
    weights = [shape_of(t) for t in _tensors([o.arguments.get("params", [])])]
    first = 1 if o.arguments.get("batch_first") is True and len(x) > 2 else 0
    length = sum(prod(s) for s in weights if len(s) == 2)
    return Reading(op=op, sum_length=length, steps=max(1, x[first]))


def _product(first: str, second: str) -> Callable[[Operation, str], Reading]:
    """Reader of a product of matrices; its sums run over the last axis of the first."""

    def read(o: Operation, _: str) -> Reading:
        a, b = o.tensor(first), o.tensor(second)
        added = tuple(t for t in o.operands if t is not a and t is not b)
        op = "linear" if a.is_constant or b.is_constant else "matmul"
        return Reading((a, b, *added), op=op, sum_length=shape_of(a)[-1])

    return read


def _einsum(o: Operation, _: str) -> Reading:
    """A product of two operands, whose sums run over the axes that are not in the output."""
    left, arrow, out = str(o.arguments.get("equation")).replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or not arrow or not _is_product(terms[0], terms[1], out):
        return Reading(op=UNKNOWN)
    sides = dict(zip(terms[0], shape_of(o.operands[0]), strict=True))
    constant = any(x.is_constant for x in o.operands)
    length = prod(side for letter, side in sides.items() if letter not in out)
    return Reading(op="linear" if constant else "matmul", sum_length=length)


def _is_product(first: str, second: str, out: str) -> bool:
    """Whether every letter is once in a term, and in two of the three."""
    terms = (first, second, out)
    return all(t.isalpha() and len(set(t)) == len(t) for t in terms if t) and all(
        sum(c in t for t in terms) >= 2 for c in first + second + out
    )


def _pool(o: Operation, op: str) -> Reading:
    window = o.pair("kernel_size")
    stride = o.pair("stride") if o.arguments.get("stride") else window
    return Reading(op=op, window=window, stride=stride, dilation=o.pair("dilation"))


def _adaptive_pool(axes: int) -> Callable[[Operation, str], Reading]:
    """An adaptive pool; to one element a channel it is a pool of the whole map."""

    def read(o: Operation, op: str) -> Reading:
        return Reading(op=op if set(shape_of(o.outputs[0])[-axes:]) == {1} else "adaptive_pool")

    return read


# Name of an aten operator -> how its calls are read, where it is not as others of its kind.
_BY_NAME: dict[str, Callable[[Operation, str], Reading]] = {
    "clamp": lambda o, _: _clamp(o, "min", "max"),
    "clamp_min": lambda o, _: _clamp(o, "min", ""),
    "clamp_max": lambda o, _: _clamp(o, "", "max"),
    "hardtanh": _hardtanh,
    "copy": _copied,
    "fill": lambda _, op: Reading((), op=op),
    "zero": lambda _, op: Reading((), op=op),
    "mul": _mul,
    "multiply": _mul,
    "square": lambda o, op: Reading(o.operands * 2, op=op),
    **dict.fromkeys(("pow", "float_power"), _power),
    "linear": _product("input", "weight"),
    "matmul": _product("self", "other"),
    "mv": _product("self", "vec"),
    "dot": _product("self", "tensor"),
    "mm": _product("self", "mat2"),
    "bmm": _product("self", "mat2"),
    "addmm": _product("mat1", "mat2"),
    "baddbmm": _product("batch1", "batch2"),
    "einsum": _einsum,
    **{
        f"{prefix}adaptive_{kind}_pool{axes}d": _adaptive_pool(axes)
        for kind in ("avg", "max")
        for axes in (1, 2, 3)
        for prefix in ("", "_")
    },
}

# Operator of ours -> how calls of it are read; by default its name is all there is to tell.
_BY_OP: dict[str, Callable[[Operation, str], Reading]] = {
    **{op: _of_two for op, row in OPERATORS.items() if row.kind == "elementwise"},
    "where": _plain,
    **dict.fromkeys(("reshape", "expand", "slice"), _moved),
    "cast": _cast,
    "dropout": lambda *_: Reading(op="identity"),
    "grid_sample": _sampled,
    **dict.fromkeys(("conv", "conv_transpose"), _conv),
    **dict.fromkeys(("max_pool", "avg_pool"), _pool),
    **dict.fromkeys(RECURRENT, _recurrent),
}

RULES: dict[str, Rule] = {
    name: Rule(op, _BY_NAME.get(name) or _BY_OP.get(op, _plain))
    for op, row in OPERATORS.items()
    for name in row.aten
}
"""Name of an aten operator, without overload and without the underscore of one that works in
place, -> its rule. An ``identity`` is no layer: what reads it reads its source."""

# Operators whose tensors are constants: they read a tensor's shape alone, if any.
SHAPE_ONLY = frozenset(OPERATORS["constant"].aten)

# Operators that give a part of their input, or all of it, in the same memory: what is written into
# it is written into the input.
VIEWS = frozenset(
    (*(name for op in ("reshape", "expand", "slice", "transpose") for name in OPERATORS[op].aten),
     "select", "split", "split_with_sizes", "chunk", "tensor_split", "unbind", "alias", "detach")
)  # fmt: skip


class Steps:
    """Adds layers under the name of a call; a step made of constants alone is no layer."""

    def __init__(self, layers: Layers, name: str, operator: str) -> None:
        self._layers = layers
        self._name = name
        self._operator = operator

    def layer(
        self, reading: Reading, reads: Sequence[Value], outputs: Sequence[Value], step: str = ""
    ) -> int:
        """Add a layer; gives its position."""
        out_shapes = tuple(x.shape for x in outputs)
        return self._layers.add(
            f"{self._name}.{step}" if step else self._name,
            self._operator,
            reading.op or UNKNOWN,
            reading,
            reads,
            outputs,
            frozenset(o for x in reads if x.is_constant for o in x.origins),
            (*outputs, *reads)[0].type.bytes,
            in_shapes=reading.in_shapes,
            out_shapes=(reading.out_shape, *out_shapes[1:]) if reading.out_shape else None,
        )

    def add(self, step: str, op: str, shape: TensorShape, *reads: Value) -> Value:
        """Add a layer of one output of that shape, and of the first input's type."""
        out = replace(reads[0], shape=shape, source=None, port=0)
        if all(x.is_constant for x in reads):
            return replace(out, origins=frozenset(o for x in reads for o in x.origins))
        length = shape_of(reads[0])[-1] if op in ("linear", "matmul") else 0
        source = self.layer(Reading(op=op, sum_length=length), reads, (out,), step)
        return replace(out, source=source, origins=frozenset())


def _attention(steps: Steps, o: Operation) -> Value:
    """Scores of scaled queries and keys, softmax, and the values weighted.

    Both factors are scaled by the root of the scale, for the sake of the scores' range.
    """
    query, key, value = (o.tensor(n) for n in ("query", "key", "value"))
    out, of_keys = shape_of(o.outputs[0]), shape_of(key)
    scores = (*out[:-1], of_keys[-2])
    turned = (*of_keys[:-2], of_keys[-1], of_keys[-2])
    keys = steps.add("keys", "transpose", turned, key)
    queries = steps.add("queries", "mul", shape_of(query), query, Value((), query.type))
    keys = steps.add("scaled_keys", "mul", turned, keys, Value((), key.type))
    found = steps.add("scores", "matmul", scores, queries, keys)
    mask = o.arguments.get("attn_mask", o.arguments.get("attn_bias"))
    if isinstance(mask, Value):
        found = steps.add("masked", "add", scores, found, mask)
    elif o.arguments.get("is_causal"):
        found = steps.add("masked", "add", scores, found, Value(scores[-2:], o.outputs[0].type))
    found = steps.add("weights", "softmax", scores, found)
    return steps.add("values", "matmul", out, found, value)


def _channel_shuffle(steps: Steps, o: Operation) -> Value:
    """Channels as a table, which is transposed."""
    x, rows = o.operands[0], o.number("groups")
    batch, channels, *sides = shape_of(x)
    found = steps.add("grouped", "reshape", (batch, rows, channels // rows, *sides), x)
    found = steps.add("dealt", "transpose", (batch, channels // rows, rows, *sides), found)
    return steps.add("shuffled", "reshape", shape_of(x), found)


def _biased_linear(steps: Steps, o: Operation) -> Value:
    """A product, to which the bias is added."""
    shape = shape_of(o.outputs[0])
    product = steps.add("product", "linear", shape, o.tensor("input"), o.tensor("weight"))
    return steps.add("bias", "add", shape, product, o.tensor("bias"))


def _silu(steps: Steps, o: Operation) -> Value:
    x = o.operands[0]
    gate = steps.add("gate", "sigmoid", shape_of(x), x)
    return steps.add("product", "mul", shape_of(x), x, gate)


# Adds the layers of an operator that is several; gives the output of the last one.
Composite = Callable[[Steps, Operation], Value]

# Operator of ours -> the layers as which PyTorch's ONNX exporters write it.
_COMPOSITES: dict[str, Composite] = {
    "attention": _attention,
    "channel_shuffle": _channel_shuffle,
    "silu": _silu,
    "linear": _biased_linear,
}


def composite(name: str, o: Operation) -> Composite | None:
    """The function that adds the layers of an aten operator, if it is several of them.

    A linear layer of a matrix is one, as it is a ``Gemm`` in ONNX.
    """
    is_matrix = len(shape_of(o.outputs[0])) == 2
    if name == "linear" and (is_matrix or not isinstance(o.arguments.get("bias"), Value)):
        return None
    return _COMPOSITES.get(RULES[name].op) if name in RULES else None
