"""Any network as a graph of layers: read from ONNX or PyTorch, fused as runtimes fuse."""

from ._graph import GRAPH_INPUT, UNKNOWN, GraphLayer, LayerGraph, TensorShape
from ._kernels import Kernel
from ._operators import KINDS, OPERATORS, Operator
from .torch_reader import read_pytorch

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
    "read_pytorch",
]
