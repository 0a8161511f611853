"""Any network as a graph of layers: read from ONNX or PyTorch, fused as runtimes fuse."""

from ._from_blocks import graph_of_layers
from ._graph import GRAPH_INPUT, UNKNOWN, GraphLayer, LayerGraph, TensorShape
from ._kernels import Kernel
from ._operators import KINDS, OPERATORS, Operator
from .onnx_reader import read_onnx

__all__ = [
    "GRAPH_INPUT",
    "KINDS",
    "OPERATORS",
    "UNKNOWN",
    "GraphLayer",
    "Kernel",
    "LayerGraph",
    "Operator",
    "TensorShape",
    "graph_of_layers",
    "read_onnx",
]
