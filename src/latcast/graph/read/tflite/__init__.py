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
from latcast._limits import MAX_NODES
from latcast.graph._graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.graph.read._translation import Translation

from ._file import Budget, Operator, Table, names_of, tensor_of
from ._maps import AXIS_RULES, MAP_RULES, SAME
from ._rules import RULES
from ._tensors import Tensors

__all__ = ["read_tflite", "translate_tflite"]

# Bytes 4 to 8 of a file.
IDENTIFIER = b"TFL3"
# Activations that operators apply to their outputs, by the schema's codes.
_FUSED = ("", "Relu", "Relu1", "Relu6", "Tanh")
# An operator has a few.
_MAX_TENSORS = 4 * MAX_NODES
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
    except (LookupError, TypeError, StructError, OverflowError, AttributeError) as error:
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
        if max(graph.TensorsLength(), graph.OperatorsLength()) > _MAX_TENSORS:
            raise ValueError(f"a model must have at most {_MAX_TENSORS} tensors; it has more")
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
        if o.type in RULES:
            return False, RULES[o.type](self._tensors, o)
        op, _, rest = SAME[o.type].partition(" ")
        is_map, inputs = self._tensors.alike(o.inputs)
        attributes = dict(pair.split("=") for pair in rest.split())
        given: Any = {k: float(o.get(v)) for k, v in attributes.items()}
        return is_map, self.t.node(op, *inputs, name=o.name, **given)
