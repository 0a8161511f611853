"""ONNX models as graphs of layers."""

from ._file import read_inputs
from ._reader import read_onnx

__all__ = ["read_inputs", "read_onnx"]
