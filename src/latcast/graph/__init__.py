"""A network as a graph of layers, how it is built, and its fusion into what runtimes run."""

from ._builder import GraphBuilder, chained
from ._graph import Graph
from ._layer import GRAPH_INPUT, UNKNOWN, Layer
from ._layer_builder import Tensor
from ._operators import KINDS, OPERATORS, Operator
from ._weights import BUFFER, Constant, Constants, Weights
from .facts import KERNEL_FACTS, kernel_facts, kernel_label
from .fusion import Kernel, Rule
from .rules import OPENVINO_RULES, RULES, fuse, rules_of
from .shapes import TensorShape

__all__ = [
    "BUFFER",
    "GRAPH_INPUT",
    "KERNEL_FACTS",
    "KINDS",
    "OPENVINO_RULES",
    "OPERATORS",
    "RULES",
    "UNKNOWN",
    "Constant",
    "Constants",
    "Graph",
    "GraphBuilder",
    "Kernel",
    "Layer",
    "Operator",
    "Rule",
    "Tensor",
    "TensorShape",
    "Weights",
    "chained",
    "fuse",
    "kernel_facts",
    "kernel_label",
    "rules_of",
]
