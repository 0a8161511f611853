"""An exported program, whether it is in memory or in a file.

Open sides of its tensors are expressions of symbols, as sympy writes them. A file's expressions are
never evaluated as Python: they are parsed, and only the calls of :data:`_FUNCTIONS` on whole
numbers are computed.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

from latcast._limits import MAX_PYTORCH_CHARACTERS, MAX_PYTORCH_SIDE
from latcast.graph.read._inputs import KnownInputs, ReadOptions, ToldInput, known_inputs
from latcast.graph.shapes import TensorShape

if TYPE_CHECKING:
    from torch import fx, nn
    from torch.export import ExportedProgram

# Side of a tensor; an open one is an expression of symbols.
Side = int | str


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and type of a tensor.

    Attributes:
        shape: including the batch.
        dtype: PyTorch's name, such as ``float32``.
        element_bytes: bytes of one element.
    """

    shape: tuple[Side, ...]
    dtype: str
    element_bytes: int


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that is a tensor, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator.

    Attributes:
        name: of the call, unique in its graph.
        target: the operator with its overload, such as ``aten.conv2d.default``.
        arguments: by the names that the operator's schema gives them; tensors are
            :class:`Ref`, a graph that is called is a :class:`CallGraph`. What is not known before
            the network runs is None.
        outputs: names of the tensors that it gives.
        module: path of the module that calls it, such as ``layer1.0.conv1``.
    """

    name: str
    target: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    module: str = ""


@dataclass(frozen=True, slots=True)
class CallGraph:
    """Calls in the order in which they run.

    Attributes:
        inputs: names of its inputs.
        outputs: names of the tensors that it gives.
        calls: every call reads inputs and outputs of earlier calls.
        tensors: of all these names; what has none is no tensor.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Program:
    """A graph with its constants.

    Attributes:
        graph: its inputs are the network's inputs alone.
        parameters: name in the graph -> name of the trainable tensor.
        constants: names in the graph of buffers and other constants.
    """

    graph: CallGraph
    parameters: Mapping[str, str]
    constants: frozenset[str] = field(default_factory=frozenset)


def tensor_names(value: Any) -> list[str]:
    """Names of all tensors in an argument or in a list of them, in order."""
    if isinstance(value, Ref):
        return [value.name]
    return [n for v in value for n in tensor_names(v)] if isinstance(value, list) else []


def _power(base: int, exponent: int) -> int:
    if not 0 <= exponent < 64:
        raise ValueError(f"a power must have an exponent from 0 to 63; got {exponent}")
    return int(base**exponent)


_FUNCTIONS: dict[str, Callable[..., int]] = {
    "Integer": int,
    "Add": lambda *terms: sum(terms),
    "Mul": lambda *factors: prod(factors),
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": lambda a, b: a // b,
    "CleanDiv": lambda a, b: a // b,
    "CeilToInt": int,
    "FloorToInt": int,
    "TruncToInt": int,
    "Mod": lambda a, b: a % b,
    "PythonMod": lambda a, b: a % b,
    "Max": max,
    "Min": min,
}


def evaluate(expression: str, symbols: Mapping[str, int]) -> int:
    """An expression such as ``Mul(Integer(2), Symbol('s77', integer=True))``.

    Raises:
        ValueError: it is no such expression, or has a symbol that is not given.
    """
    if len(expression) > MAX_PYTORCH_CHARACTERS:
        raise ValueError(
            f"a side must have at most {MAX_PYTORCH_CHARACTERS} characters; got {len(expression)}"
        )
    try:
        return _value(ast.parse(expression, mode="eval").body, symbols)
    except (SyntaxError, TypeError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise ValueError(f"side {expression[:80]!r} cannot be computed: {error}") from None


def _value(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(value)):
            result = value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand, symbols)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            if name not in symbols:
                raise ValueError(f"symbol {name} has no value")
            result = symbols[name]
        case ast.Call(func=ast.Name(id=name), args=terms) if name in _FUNCTIONS:
            result = _FUNCTIONS[name](*(_value(t, symbols) for t in terms))
        case _:
            raise ValueError(
                f"{ast.unparse(node)[:80]} is not understood; known: {', '.join(_FUNCTIONS)}"
            )
    # After every step: a tower of powers would need more memory than there is.
    if abs(result) >= MAX_PYTORCH_SIDE:
        raise ValueError(f"sides must be below {MAX_PYTORCH_SIDE}")
    return result


def _infix(node: ast.expr) -> str:
    """An expression as people write it, such as ``2*s77``; empty where it has no such form."""
    match node:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            return name
        case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(number))]):
            return str(number)
        case ast.Call(func=ast.Name(id=name), args=terms) if name in _SIGNS:
            parts = list(map(_infix, terms))
            return f"({_SIGNS[name].join(parts)})" if all(parts) else ""
    return ""


_SIGNS = {"Add": "+", "Mul": "*", "FloorDiv": "//"}


def _told_side(side: Side) -> Side | None:
    """A side as it is asked for; None where its expression has no form for that."""
    if isinstance(side, int) or len(side) > MAX_PYTORCH_CHARACTERS:
        return side if isinstance(side, int) else None
    try:
        text = _infix(ast.parse(side, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        return None
    return (text[1:-1] if text.startswith("(") else text) or None


def bound(program: Program, options: ReadOptions) -> KnownInputs:
    """The inputs, and symbols with the values that make them as wanted.

    Raises:
        ValueError: an input cannot have such a shape, or stays open.
    """
    tensors = program.graph.tensors
    inputs = {n: tensors[n] for n in program.graph.inputs if n in tensors}
    found = known_inputs(
        (ToldInput(n, tuple(map(_told_side, x.shape)), x.dtype) for n, x in inputs.items()),
        options,
        can_change=False,
    )
    for source in found.sources:
        if _closed_or_none(inputs[source.name].shape, found.symbols) != source.shape:
            raise ValueError(
                f"input {source.name!r} was exported as {source.told} and cannot be "
                f"{list(source.shape)}; export it with that shape, or with an open side "
                "(dynamic_shapes)"
            )
    return found


def _closed_or_none(shape: Sequence[Side], symbols: Mapping[str, int]) -> TensorShape | None:
    try:
        return closed(shape, symbols)
    except ValueError:
        return None


def closed(shape: Sequence[Side], symbols: Mapping[str, int]) -> TensorShape:
    """A shape with the values of its symbols.

    Raises:
        ValueError: a side cannot be computed.
    """
    return tuple(s if isinstance(s, int) else evaluate(s, symbols) for s in shape)


# --- programs in memory, and modules by way of them -----------------------------------------------

# Node of a graph -> name of its tensor, or a tuple of those of its tensors.
_Names = dict[Any, Any]


def exported(
    module: nn.Module, example_inputs: Sequence[Any], keywords: Mapping[str, Any] | None = None
) -> ExportedProgram:
    """The module as a program, in evaluation mode.

    Args:
        module: stays as it is.
        example_inputs: tensors, or one shape of a float tensor.
        keywords: tensors by the names of the module's arguments.

    Raises:
        ValueError: PyTorch cannot export the module with these inputs.
    """
    import torch

    inputs = tuple(example_inputs)
    if inputs and all(isinstance(side, int) for side in inputs):
        inputs = (torch.zeros(inputs),)
    was_training = [m for m in module.modules() if m.training]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The fast path is one operator that hides the layers of a whole transformer block.
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    logged = logging.root.manager.disable
    # Of what it cannot export, PyTorch logs a traceback beside the error.
    logging.disable(logging.CRITICAL)
    try:
        # What PyTorch warns of is about running or training the program.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, inputs, dict(keywords or {}), strict=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"torch.export must be able to export {type(module).__name__} with these inputs; "
            f"it said: {reason}"
        ) from error
    finally:
        logging.disable(logged)
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for m in was_training:
            m.training = True


def program_of(exported_program: ExportedProgram) -> Program:
    """The program that PyTorch holds as an ``ExportedProgram``."""
    signature = exported_program.graph_signature
    parameters = dict(signature.inputs_to_parameters)
    constants = {
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
        **signature.inputs_to_lifted_custom_objs,
    }
    graph = _graph(exported_program.graph_module, signature.user_outputs)
    inner = CallGraph(
        tuple(n for n in graph.inputs if n not in parameters and n not in constants),
        graph.outputs,
        graph.calls,
        graph.tensors,
    )
    return Program(inner, parameters, frozenset(constants))


def _graph(module: fx.GraphModule, wanted: Collection[Any] | None = None) -> CallGraph:
    """A graph with those of its outputs that are wanted, by the names of their nodes."""
    from torch import fx

    names: _Names = {}
    tensors: dict[str, Tensor] = {}
    inputs: list[str] = []
    outputs: tuple[str, ...] = ()
    calls: list[Call] = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
            names[node] = _named(node, tensors)
        elif node.op == "get_attr":
            attribute = getattr(module, str(node.target), None)
            names[node] = _graph(attribute) if isinstance(attribute, fx.GraphModule) else None
        elif node.op == "output":
            given = [n for n in node.args[0] if wanted is None or getattr(n, "name", n) in wanted]
            outputs = tuple(tensor_names(_argument(given, names)))
        elif _is_getitem(node, names):
            names[node] = names[node.args[0]][node.args[1]]
        else:
            names[node] = _named(node, tensors)
            calls.append(_call(node, names))
    return CallGraph(tuple(inputs), outputs, tuple(calls), tensors)


def _is_getitem(node: fx.Node, names: _Names) -> bool:
    import operator

    return node.target is operator.getitem and isinstance(names.get(node.args[0]), tuple)


def _named(node: fx.Node, tensors: dict[str, Tensor]) -> Any:
    """Names of what a node gives, whose tensors are noted: a name, a tuple of them, or None."""
    value = node.meta.get("val")
    if isinstance(value, tuple | list):
        return tuple(_noted(f"{node.name}.{n}", v, tensors) for n, v in enumerate(value))
    return _noted(node.name, value, tensors)


def _noted(name: str, value: Any, tensors: dict[str, Tensor]) -> str | None:
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    shape = tuple(_side(s) for s in value.shape)
    tensors[name] = Tensor(shape, str(value.dtype).removeprefix("torch."), value.dtype.itemsize)
    return name


def _side(side: Any) -> Side:
    if isinstance(side, int):
        return side
    sympy = import_module("sympy")  # PyTorch needs it, and it has no types

    expression = side.node.expr
    return int(expression) if expression.is_number else str(sympy.srepr(expression))


def _call(node: fx.Node, names: _Names) -> Call:
    arguments = {k: _argument(v, names) for k, v in _by_name(node).items()}
    given = names[node] if isinstance(names[node], tuple) else (names[node],)
    outputs = tuple(n for n in given if n is not None)
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    module = next((str(path) for path, _ in reversed(list(stack.values()))), "")
    return Call(node.name, _target(node.target), arguments, outputs, module)


def _target(target: Any) -> str:
    """``aten.conv2d.default``; ``higher_order.cond`` of what calls graphs."""
    namespace = getattr(target, "namespace", None)
    if isinstance(namespace, str) and "." not in str(target):
        return f"{namespace}.{target}"
    return str(target) if hasattr(target, "_schema") else str(getattr(target, "__name__", target))


def _by_name(node: fx.Node) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    names = [a.name for a in schema.arguments] if schema is not None else []
    positional = {
        names[n] if n < len(names) else str(n): value for n, value in enumerate(node.args)
    }
    return {**positional, **node.kwargs}


def _argument(value: Any, names: _Names) -> Any:
    from torch import fx

    if isinstance(value, fx.Node):
        named = names[value]
        if isinstance(named, tuple):
            return [None if n is None else Ref(n) for n in named]
        return Ref(named) if isinstance(named, str) else named
    if isinstance(value, list | tuple):
        return [_argument(v, names) for v in value]
    if isinstance(value, dict):
        return [_argument(v, names) for v in value.values()]
    return value if isinstance(value, bool | int | float | str) else None
