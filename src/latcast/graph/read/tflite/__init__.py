"""TensorFlow Lite flatbuffers as graphs of layers.

Images have their channels last there, and operators keep them so; graphs have channels second.
Every tensor is known in the file's order, in ours (a *map*), or in both: what turns one into the
other is a layout, which nothing runs. Quantized tensors are followed as pairs of a quantization
and its inverse, as ONNX writes them.
"""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import error as StructError  # noqa: N812  # it is an exception
from typing import Any

from latcast._imports import require
from latcast._limits import MAX_TENSORS
from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._translation import Translation

from ._file import Budget, Operator, Table, names_of, tensor_of
from ._maps import AXIS_RULES, MAP_RULES, SAME, Rule, bias_of
from ._tensors import Tensors

__all__ = ["read_tflite", "translate_tflite"]

# Bytes 4 to 8 of a file.
IDENTIFIER = b"TFL3"
# Activations that operators apply to their outputs, by the schema's codes.
_FUSED = ("", "Relu", "Relu1", "Relu6", "Tanh")
# Converters may write one vector for several tensors.
_PARTS = 16


def read_tflite(model: str | Path | bytes, options: ReadOptions = DEFAULTS) -> Graph:
    """The layers of the first subgraph of a TensorFlow Lite model.

    Args:
        model: file, or its content.
        options: shapes of its inputs, and what else is asked; shapes are in the file's order.

    Raises:
        ModuleNotFoundError: ai_edge_litert, which has the schema, is not installed.
        ValueError: it holds no such model, or one that could not run.
    """
    return translate_tflite(model).graph(options)


def translate_tflite(model: str | Path | bytes, *, with_weights: bool = False) -> Translation:
    """The model as ONNX nodes; ``with_weights``, so that they can be run."""
    schema = require("ai_edge_litert.schema_py_generated", "litert", "reading TensorFlow Lite")
    name = "network" if isinstance(model, bytes) else Path(model).stem
    content = model if isinstance(model, bytes) else _mapped(Path(model))
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"a TensorFlow Lite model must have {IDENTIFIER!r} at byte 4; it has not")
    written = Translation(name, "tflite", with_weights=with_weights)
    try:
        _Reader(
            written, schema, schema.Model.GetRootAs(content, 0), Budget(_PARTS * len(content))
        ).read()
    except (LookupError, TypeError, StructError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"the TensorFlow Lite model is malformed: {error}") from error
    return written


def _mapped(path: Path) -> bytes | mmap:
    """A file's bytes, which are read where they are looked at alone."""
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b""


class _Reader:
    """Translates the operators of a subgraph, one after the other."""

    def __init__(self, written: Translation, schema: Any, model: Any, budget: Budget) -> None:
        self._schema, self._model, self._budget = schema, model, budget
        if not model.SubgraphsLength():
            raise ValueError("a TensorFlow Lite model must have a graph; it has none")
        self._graph = graph = model.Subgraphs(0)
        if max(graph.TensorsLength(), graph.OperatorsLength()) > MAX_TENSORS:
            raise ValueError(f"a model must have at most {MAX_TENSORS} tensors; it has more")
        tensors = map(graph.Tensors, range(graph.TensorsLength()))
        self._known = [tensor_of(Table.of(t), budget) for t in tensors]
        self._tensors = Tensors(written, model, self._known)
        self.t = written

    def read(self) -> None:
        """Translate the model."""
        for n in self._budget.numbers(self._graph.InputsAsNumpy()):
            tensor = self._known[n]
            self.t.input(tensor.name, tensor.sides, tensor.code)
            self._tensors.put(n, tensor.name)
        types = names_of(self._schema.BuiltinOperator)
        codes = map(self._model.OperatorCodes, range(self._model.OperatorCodesLength()))
        names = [self._operator_name(code, types) for code in codes]
        options = names_of(self._schema.BuiltinOptions)
        for n in range(self._graph.OperatorsLength()):
            operator = Table.of(self._graph.Operators(n))
            self._operator(self._read_operator(operator, names[operator.number(0, "<I")], options))
        for n in self._budget.numbers(self._graph.OutputsAsNumpy()):
            self.t.output(self._tensors.raw(n), self._known[n].code)

    def _operator_name(self, code: Any, types: dict[int, str]) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = types.get(number, f"OPERATOR_{number}")
        return self._budget.text(code.CustomCode()) or name if name == "CUSTOM" else name

    def _read_operator(self, operator: Table, name: str, options: dict[int, str]) -> Operator:
        outputs = self._budget.numbers(operator.vector(2))
        kind = options.get(operator.number(3, "<B"))
        given: Any = operator.vector(5, "u1")  # of an operator of somebody's own
        if kind and kind != "NONE" and (table := operator.table(4)) is not None:
            given = getattr(self._schema, kind)()
            given.Init(table.content, table.at)
        first = self._known[outputs[0]].name if outputs else name
        return Operator(name, self._budget.numbers(operator.vector(1)), outputs, given, first)

    def _operator(self, o: Operator) -> None:
        try:
            is_map, first = self._translated(o)
        except (LookupError, ValueError, TypeError):
            told = [(self._known[n].shape, self._known[n].code) for n in o.outputs]
            reads = [self._tensors.value(n) for n in o.inputs if n >= 0]
            names = self.t.unknown(o.type, reads, o.name, told)
            is_map = False
        else:
            first = self.t.activated(first, _FUSED[o.get("FusedActivationFunction")])
            names = [f"{first}:{n}" if n else first for n in range(len(o.outputs))]
        for tensor, name in zip(o.outputs, names, strict=False):
            self._tensors.put(tensor, name, is_map=is_map)

    def _translated(self, o: Operator) -> tuple[bool, str]:
        """Whether the outputs are maps, and the name of the first."""
        if o.type in MAP_RULES:
            return True, MAP_RULES[o.type](self._tensors, o)
        if o.type in AXIS_RULES:
            return AXIS_RULES[o.type](self._tensors, o)
        if o.type in _RULES:
            return False, _RULES[o.type](self._tensors, o)
        op, _, rest = SAME[o.type].partition(" ")
        is_map, inputs = self._tensors.alike(o.inputs)
        attributes = dict(pair.split("=") for pair in rest.split())
        given: Any = {k: float(o.get(v)) for k, v in attributes.items()}
        return is_map, self.t.node(op, *inputs, name=o.name, **given)


# --- operators that are not on maps ---------------------------------------------------------------


def _linear(r: Tensors, o: Operator) -> str:
    """A product with weights (out, in): of a matrix, or of tokens that keep their axes."""
    terms = r.shape(o.inputs[1])[1]
    x, weights = r.value(o.inputs[0]), r.value(o.inputs[1])
    if o.get("KeepNumDims") and len(r.shape(o.inputs[0])) > 2:
        turned = r.t.transposed(weights, 1, 0)
        product = r.t.node("MatMul", x, turned, name=o.name)
        bias = bias_of(r, o)
        return r.t.node("Add", product, *bias, name=f"{o.name}/bias") if bias else product
    if len(r.shape(o.inputs[0])) != 2:
        x = r.t.node("Reshape", x, r.t.integers(-1, terms), name=f"{o.name}/flat")
    return r.t.node("Gemm", x, weights, *bias_of(r, o), name=o.name, transB=1)


def _matmul(r: Tensors, o: Operator) -> str:
    sides = []
    for n, option in enumerate(("AdjX", "AdjY")):
        rank = len(r.shape(o.inputs[n]))
        order = (*range(rank - 2), rank - 1, rank - 2)
        x = r.value(o.inputs[n])
        sides.append(r.t.transposed(x, *order) if o.get(option) else x)
    return r.t.node("MatMul", *sides, name=o.name)


def _reshape(r: Tensors, o: Operator) -> str:
    try:
        target = r.integers(o.inputs[1])
    except LookupError:
        target = [int(x) for x in r.shape(o.outputs[0])]
    return r.t.node("Reshape", r.value(o.inputs[0]), r.t.integers(*target), name=o.name)


def _transpose(r: Tensors, o: Operator) -> str:
    order = r.integers(o.inputs[1])
    return r.t.node("Transpose", r.value(o.inputs[0]), name=o.name, perm=order)


def _squeeze(r: Tensors, o: Operator) -> str:
    dims = o.get("SqueezeDimsAsNumpy")
    axes = [] if isinstance(dims, int) else dims.tolist()
    given = [r.t.integers(*axes)] if axes else []
    return r.t.node("Squeeze", r.value(o.inputs[0]), *given, name=o.name)


def _split(r: Tensors, o: Operator) -> str:
    """Inputs: the axis and a tensor, or a tensor, lengths and the axis."""
    tensor, axis = (o.inputs[1], o.inputs[0]) if o.type == "SPLIT" else (o.inputs[0], o.inputs[2])
    (at,) = r.integers(axis)
    parts = r.t.integers(*(r.shape(n)[at % len(r.shape(n))] for n in o.outputs))
    count = len(o.outputs)
    return r.t.node("Split", r.value(tensor), parts, name=o.name, outputs=count, axis=at)


def _pack(r: Tensors, o: Operator) -> str:
    axis = r.t.integers(o.get("Axis"))
    parts = [r.t.layout("Unsqueeze", r.value(n), axis) for n in o.inputs]
    return r.t.node("Concat", *parts, name=o.name, axis=o.get("Axis"))


def _unpack(r: Tensors, o: Operator) -> str:
    axis, count = o.get("Axis"), len(o.outputs)
    x, parts = r.value(o.inputs[0]), r.t.integers(*[1] * count)
    out = r.t.node("Split", x, parts, name=o.name, outputs=count, axis=axis)
    first, at = f"{out}:squeezed", r.t.integers(axis)
    for n in range(count):
        source = f"{out}:{n}" if n else out
        r.t.layout("Squeeze", source, at, out=f"{first}:{n}" if n else first)
    return first


def _slice(r: Tensors, o: Operator) -> str:
    """Inputs: a tensor, where to begin, and how much to take (-1 for the rest)."""
    begins, sizes = r.integers(o.inputs[1]), r.integers(o.inputs[2])
    ends = [_FAR if size < 0 else begin + size for begin, size in zip(begins, sizes, strict=True)]
    limits = r.t.integers(*begins), r.t.integers(*ends)
    return r.t.node("Slice", r.value(o.inputs[0]), *limits, name=o.name)


# The schema's integers have 32 bits: no side is beyond it.
_FAR = 2**31 - 1


def _strided_slice(r: Tensors, o: Operator) -> str:
    if o.get("EllipsisMask") or o.get("NewAxisMask"):
        raise LookupError("it must take slices of all axes")
    begins, ends, steps = (r.integers(n) for n in o.inputs[1:4])
    gone = [n for n in range(len(begins)) if o.get("ShrinkAxisMask") >> n & 1]
    for n, step in enumerate(steps):
        if n in gone:
            ends[n] = begins[n] + 1 or _FAR
        else:
            if o.get("BeginMask") >> n & 1:
                begins[n] = 0 if step > 0 else _FAR
            if o.get("EndMask") >> n & 1:
                ends[n] = _FAR if step > 0 else -_FAR
    axes = r.t.integers(*range(len(begins)))
    bounds = (r.t.integers(*x) for x in (begins, ends))
    cut = r.t.node("Slice", r.value(o.inputs[0]), *bounds, axes, r.t.integers(*steps), name=o.name)
    if not gone:
        return cut
    return r.t.node("Squeeze", cut, r.t.integers(*gone), name=f"{o.name}/shrunk")


def _gather(r: Tensors, o: Operator) -> str:
    if o.get("BatchDims"):
        raise LookupError("it must gather the same of the whole batch")
    return r.t.node("Gather", *map(r.value, o.inputs[:2]), name=o.name, axis=o.get("Axis"))


def _arg(op: str) -> Rule:
    def translate(r: Tensors, o: Operator) -> str:
        (axis,) = r.integers(o.inputs[1])
        found = r.t.node(op, r.value(o.inputs[0]), name=o.name, axis=axis, keepdims=0)
        return r.t.layout("Cast", found, to=r.code(o.outputs[0]))

    return translate


def _cast(r: Tensors, o: Operator) -> str:
    return r.t.node("Cast", r.value(o.inputs[0]), name=o.name, to=r.code(o.outputs[0]))


def _dequantize(r: Tensors, o: Operator) -> str:
    """Real numbers, which quantized tensors are followed as; of half precision, a cast."""
    return _cast(r, o) if r.code(o.inputs[0]) == 10 else r.value(o.inputs[0])


def _whole(r: Tensors, n: int) -> str:
    """A tensor of integers, of which ONNX wants 64 bits."""
    try:
        return r.t.integers(*r.integers(n))
    except LookupError:
        return r.t.layout("Cast", r.value(n), to=7)


def _lstm(r: Tensors, o: Operator) -> str:
    """An LSTM over a sequence: weights and biases of the input, forget, cell and output gates."""
    at = o.inputs
    if any(n >= 0 for n in at[9:12]) or any(n >= 0 for n in at[16:18]) or min(at[1:9]) < 0:
        raise LookupError("it must have no peepholes, no projection, and all gates")
    hidden, order = r.shape(at[5])[1], (0, 3, 1, 2)
    weights, recurrent = (
        r.t.layout("Concat", *(
            r.t.layout("Unsqueeze", r.value(at[start + g]), r.t.integers(0)) for g in order
        ), axis=1)
        for start in (1, 5)
    )  # fmt: skip
    joined = r.t.layout("Concat", *(r.value(at[12 + g]) for g in order), axis=0)
    zeros = r.t.integers(0, 0, 0, 4 * hidden)
    biases = r.t.layout("Pad", r.t.layout("Unsqueeze", joined, r.t.integers(0)), zeros)
    x = r.value(at[0]) if o.get("TimeMajor") else r.t.transposed(r.value(at[0]), 1, 0, 2)
    out = r.t.node("LSTM", x, weights, recurrent, biases, name=o.name, hidden_size=hidden)
    one = r.t.layout("Squeeze", out, r.t.integers(1))
    return one if o.get("TimeMajor") else r.t.transposed(one, 1, 0, 2)


# Operators on tensors in the order of the file -> how they are translated; others are unknown.
_RULES: dict[str, Rule] = {
    "FULLY_CONNECTED": _linear,
    "BATCH_MATMUL": _matmul,
    "RESHAPE": _reshape,
    "TRANSPOSE": _transpose,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": lambda r, o: r.t.node(
        "Unsqueeze", r.value(o.inputs[0]), r.t.integers(*r.integers(o.inputs[1])), name=o.name
    ),
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "GATHER_ND": lambda r, o: r.t.node(
        "GatherND", r.value(o.inputs[0]), _whole(r, o.inputs[1]), name=o.name
    ),
    "EMBEDDING_LOOKUP": lambda r, o: r.t.node(
        "Gather", *map(r.value, o.inputs[1::-1]), name=o.name
    ),
    "ARG_MAX": _arg("ArgMax"),
    "ARG_MIN": _arg("ArgMin"),
    "TOPK_V2": lambda r, o: r.t.node(
        "TopK", r.value(o.inputs[0]), r.t.integers(*r.integers(o.inputs[1])), name=o.name, outputs=2
    ),
    "CAST": _cast,
    "DEQUANTIZE": _dequantize,
    "SHAPE": lambda r, o: r.t.layout(
        "Cast", r.t.node("Shape", r.value(o.inputs[0]), name=o.name), to=r.code(o.outputs[0])
    ),
    "DENSIFY": lambda r, o: r.value(o.inputs[0]),
    "TILE": lambda r, o: r.t.node(
        "Tile", r.value(o.inputs[0]), _whole(r, o.inputs[1]), name=o.name
    ),
    "BROADCAST_TO": lambda r, o: r.t.node(
        "Expand", r.value(o.inputs[0]), _whole(r, o.inputs[1]), name=o.name
    ),
    "REVERSE_V2": lambda r, o: r.t.node(
        "Slice", r.value(o.inputs[0]),
        *(r.t.integers(*[n] * len(r.integers(o.inputs[1]))) for n in (-1, -_FAR)),
        r.t.integers(*r.integers(o.inputs[1])),
        r.t.integers(*[-1] * len(r.integers(o.inputs[1]))), name=o.name,
    ),
    "CUMSUM": lambda r, o: r.t.node(
        "CumSum", *map(r.value, o.inputs), name=o.name, exclusive=int(o.get("Exclusive")),
        reverse=int(o.get("Reverse")),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}  # fmt: skip
