"""A network as a graph of layers, and its fusion into the kernels that runtimes run."""

from ._from_blocks import graph_of_layers
from ._graph import GRAPH_INPUT, UNKNOWN, Graph, Layer
from ._operators import KINDS, OPERATORS, Operator
from .facts import KERNEL_FACTS, kernel_facts, kernel_label
from .fusion import fuse
from .partition import Kernel
from .rules import OPENVINO_RULES, RULES, Rule, rules_of
from .shapes import TensorShape

__all__ = [
    "GRAPH_INPUT",
    "KERNEL_FACTS",
    "KINDS",
    "OPENVINO_RULES",
    "OPERATORS",
    "RULES",
    "UNKNOWN",
    "Graph",
    "Kernel",
    "Layer",
    "Operator",
    "Rule",
    "TensorShape",
    "fuse",
    "graph_of_layers",
    "kernel_facts",
    "kernel_label",
    "rules_of",
]
