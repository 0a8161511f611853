"""Programs that :func:`torch.export.export` made, and modules by way of it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._program import Call, CallGraph, Program, Ref, Side, Tensor, tensor_names

if TYPE_CHECKING:
    from torch import fx, nn
    from torch.export import ExportedProgram

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
