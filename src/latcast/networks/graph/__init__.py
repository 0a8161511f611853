"""Any network as a graph of layers: read from ONNX or PyTorch, fused as runtimes fuse."""

from ._facts import KERNEL_FACTS, kernel_facts, kernel_label
from ._from_blocks import graph_of_layers
from ._fusion import fuse
from ._graph import GRAPH_INPUT, UNKNOWN, GraphLayer, LayerGraph, TensorShape
from ._kernels import Kernel
from ._operators import KINDS, OPERATORS, Operator
from ._read import SUFFIXES, read_graph
from ._rules import OPENVINO_RULES, RULES, Rule, rules_of
from .onnx_reader import read_onnx
from .torch_reader import read_pytorch

__all__ = [
    "GRAPH_INPUT",
    "KERNEL_FACTS",
    "KINDS",
    "OPENVINO_RULES",
    "OPERATORS",
    "RULES",
    "SUFFIXES",
    "UNKNOWN",
    "GraphLayer",
    "Kernel",
    "LayerGraph",
    "Operator",
    "Rule",
    "TensorShape",
    "fuse",
    "graph_of_layers",
    "kernel_facts",
    "kernel_label",
    "read_graph",
    "read_onnx",
    "read_pytorch",
    "rules_of",
]
