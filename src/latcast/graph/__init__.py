"""A network as a graph of layers, how it is built, and its fusion into what runtimes run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._builder import GraphBuilder, chained
    from ._graph import Graph, GraphInput
    from ._layer_builder import Tensor
    from ._operators import GRAPH_INPUT, KINDS, OPERATORS, RECURRENT, UNKNOWN, Layer, Operator
    from ._weights import BUFFER, Constant, Constants, Weights
    from .facts import KERNEL_FACTS, kernel_facts, kernel_label, kernel_reads, written_shape
    from .fusion import Kernel, Rule
    from .qdq import as_run, dequantized
    from .rules import EAGER, OPENVINO_RULES, RULES, fuse, rules_of
    from .shapes import TensorShape
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = [
    "BUFFER",
    "EAGER",
    "GRAPH_INPUT",
    "KERNEL_FACTS",
    "KINDS",
    "OPENVINO_RULES",
    "OPERATORS",
    "RECURRENT",
    "RULES",
    "UNKNOWN",
    "Constant",
    "Constants",
    "Graph",
    "GraphBuilder",
    "GraphInput",
    "Kernel",
    "Layer",
    "Operator",
    "Rule",
    "Tensor",
    "TensorShape",
    "Weights",
    "as_run",
    "chained",
    "dequantized",
    "fuse",
    "kernel_facts",
    "kernel_label",
    "kernel_reads",
    "rules_of",
    "written_shape",
]
