"""What an exported program says, whether it is in memory or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Side = int | str
"""Side of a tensor; an open one is an expression of symbols (see ``_sizes``)."""


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
